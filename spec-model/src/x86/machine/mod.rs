//! The machine: processors taking turns, the host's events, and what is observed.
//!
//! [`Machine::run`] follows the scenario's schedule to the end. Whoever looks at more than one
//! schedule takes single turns with [`Machine::advance`], and keeps and restores the
//! [`MachineState`] in between.

mod host;
mod host_state;
mod observe;
mod saved_state;
mod trace;

pub use trace::TraceLine;
use trace::{describe, disassemble};

use super::decode_cache::DecodeCache;
use super::exception::Interruption;
use super::execute::After;
use super::local_apic::Message;
use super::memory::{Image, PhysicalMemory};
use super::processor::{Activity, Processor, Rules, Vcpu};
use super::segment::SegmentName;
use super::state::VcpuState;
use super::xen_pv::HYPERVISOR_MEMORY;
use crate::chipset::HostBridge;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::host_state::StateFault;
use crate::outcome::Allowance;
use crate::scenario::{PointId, PointKind, Scenario};
use crate::transcript::{Access, Observation, Stop, Transcript};

/// A machine in the middle of a run.
pub struct Machine<'run> {
    scenario: &'run Scenario,
    state: MachineState<'run>,
    /// Instructions that each processor has decoded so far.
    decoded: Vec<DecodeCache>,
    /// The rules in force and the choices made so far.
    pub rules: Rules,
    trace: Option<Vec<TraceLine>>,
    /// What the host set in vain.
    state_faults: Vec<StateFault>,
}

/// Everything about a machine that a run changes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct MachineState<'run> {
    /// Guest-physical memory.
    pub memory: PhysicalMemory<'run>,
    /// The processors.
    pub vcpus: Vec<Vcpu>,
    /// Whose part in the run is over.
    pub finished: Vec<bool>,
    accesses: Vec<Vec<Access>>,
    /// How often each point was reached.
    pub reached: Vec<u32>,
    /// Number of observations made.
    pub observed: usize,
}

impl Clone for MachineState<'_> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            vcpus: self.vcpus.clone(),
            finished: self.finished.clone(),
            accesses: self.accesses.clone(),
            reached: self.reached.clone(),
            observed: self.observed,
        }
    }

    /// Whoever goes back to a state many times allocates nothing.
    fn clone_from(&mut self, source: &Self) {
        self.memory.clone_from(&source.memory);
        self.vcpus.clone_from(&source.vcpus);
        self.finished.clone_from(&source.finished);
        self.accesses.clone_from(&source.accesses);
        self.reached.clone_from(&source.reached);
        self.observed = source.observed;
    }
}

/// One turn of one processor: from where it was to its next stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What is observed there, before the host acts.
    pub observation: Observation,
    /// Where more than the one value is allowed.
    pub allowances: Vec<Allowance>,
}

/// What a run leaves behind.
pub struct Finished {
    /// What was observed.
    pub transcript: Transcript,
    /// Where more than one value is allowed.
    pub allowances: Vec<Allowance>,
    /// The rules with the choices that were made.
    pub rules: Rules,
    /// Every instruction, if asked for.
    pub trace: Vec<TraceLine>,
}

/// KVM_INTERNAL_ERROR_EMULATION (KVM API, "The kvm_run structure").
const EMULATION: u32 = 1;
/// KVM_INTERNAL_ERROR_DELIVERY_EV.
const DELIVERY: u32 = 3;
/// What KVM_RUN fails with on a virtual machine that KVM has declared dead.
const EIO: i32 = 5;
/// What it fails with where KVM mistook the refusal of an MSR for an error code.
const EPERM: i32 = 1;

impl<'run> Machine<'run> {
    /// A machine at the start of the scenario.
    ///
    /// # Errors
    /// If the chipset cannot be what the scenario says.
    pub fn new(
        scenario: &'run Scenario,
        image: &'run Image,
        rules: Rules,
        trace: bool,
    ) -> Result<Self, ModelError> {
        let vcpu = |state: &VcpuState| Vcpu {
            state: state.clone(),
            activity: match state.apic.as_deref() {
                Some(apic) if apic.waiting_for_sipi => Activity::WaitForSipi,
                _ => Activity::Running,
            },
            ..Vcpu::default()
        };
        let bridge = match &scenario.chipset {
            Some(chipset) => Some(HostBridge::new(chipset, rules.defects)?),
            None => None,
        };
        Ok(Self {
            scenario,
            state: MachineState {
                memory: PhysicalMemory::new(image).behind(bridge),
                vcpus: scenario.vcpus.iter().map(vcpu).collect(),
                finished: vec![false; scenario.vcpus.len()],
                accesses: vec![Vec::new(); scenario.vcpus.len()],
                reached: vec![0; scenario.points.len()],
                observed: 0,
            },
            decoded: scenario.vcpus.iter().map(|_| DecodeCache::default()).collect(),
            rules,
            trace: trace.then(Vec::new),
            state_faults: Vec::new(),
        })
    }

    /// The state between two turns.
    #[must_use]
    pub fn state(&self) -> &MachineState<'run> {
        &self.state
    }

    /// The same, to change between two turns: what a host does outside the scenario's events.
    pub fn state_mut(&mut self) -> &mut MachineState<'run> {
        &mut self.state
    }

    /// Goes back, or over, to a state of a machine for the same scenario.
    pub fn set_state(&mut self, state: &MachineState<'run>) {
        self.state.clone_from(state);
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// If the scenario is inconsistent or uses what the model does not know.
    pub fn run(mut self) -> Result<Finished, ModelError> {
        self.take_initial_state();
        if !self.state_faults.is_empty() {
            return Ok(Finished {
                transcript: Transcript::of_state_faults(self.state_faults),
                allowances: Vec::new(),
                rules: self.rules,
                trace: self.trace.unwrap_or_default(),
            });
        }
        let mut schedule = self.scenario.schedule.iter();
        let (mut observations, mut allowances) = (Vec::new(), Vec::new());
        while let Some(index) = self.next_vcpu(&mut schedule) {
            let stretch = self.advance(index)?;
            observations.push(stretch.observation);
            allowances.extend(stretch.allowances);
        }
        allowances.extend(self.observe_ends(&mut observations));
        let (mut memory_changes, smm_memory_changes) = self.state.memory.changes();
        if self.scenario.needs_xen_pv() {
            memory_changes.retain(|blob| blob.address < HYPERVISOR_MEMORY);
        }
        Ok(Finished {
            transcript: Transcript {
                stage2: None,
                remains: Vec::new(),
                observations,
                memory_changes,
                smm_memory_changes,
                state_faults: self.state_faults,
            },
            allowances,
            rules: self.rules,
            trace: self.trace.unwrap_or_default(),
        })
    }

    /// One turn: lets a processor run to its next stop, records what is observed there, and
    /// lets the host act.
    ///
    /// # Errors
    /// If the scenario is inconsistent or uses what the model does not know.
    ///
    /// # Panics
    /// If there is no such processor.
    pub fn advance(&mut self, index: usize) -> Result<Stretch, ModelError> {
        let mut stop = self.run_until_stop(index)?;
        if self.rules.broken(Defect::TaskPrioritySubclassLost)
            && let Some(apic) = self.state.vcpus[index].state.apic.as_deref_mut()
        {
            apic.lose_priority_subclass();
        }
        if self.state.observed + 1 >= self.scenario.limits.observations as usize {
            stop = Stop::LimitReached;
            self.state.finished.fill(true);
        }
        let stretch = self.observe(index, stop);
        self.state.observed += 1;
        match stop {
            Stop::Sync(point) | Stop::Halted(Some(point)) => {
                self.host_events(index, point)?;
                self.save_and_restore();
            }
            Stop::WaitsForSipi => {}
            _ => self.state.finished[index] = true,
        }
        self.settle_messages();
        Ok(stretch)
    }

    /// The processor that the schedule names next, passing over those that cannot run; when
    /// the schedule is used up, the lowest-numbered one that can.
    fn next_vcpu(&self, schedule: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
        let scheduled = schedule
            .map(|vcpu| usize::from(*vcpu))
            .find(|vcpu| self.can_run(*vcpu));
        scheduled.or_else(|| self.runnable().next())
    }

    /// The processors that can take a turn, in ascending order.
    pub fn runnable(&self) -> impl Iterator<Item = usize> {
        (0..self.state.vcpus.len()).filter(|vcpu| self.can_run(*vcpu))
    }

    /// Whether a processor can take a turn. A debug exception, too, wakes it from HLT
    /// (EXC-STEP-005).
    fn can_run(&self, index: usize) -> bool {
        let Some(vcpu) = self.state.vcpus.get(index) else {
            return false;
        };
        let deaf = self.rules.broken(Defect::SmiDoesNotWakeHalted);
        !self.state.finished[index]
            && match vcpu.activity {
                Activity::Running => true,
                Activity::Halted if vcpu.nmi_disturbs => true,
                Activity::Halted if vcpu.machine_check_slept_through => {
                    vcpu.state.is_woken_by_interrupt(deaf)
                }
                Activity::Halted => {
                    vcpu.shutdown_pending
                        || vcpu.machine_check_unnoticed
                        || vcpu.debug.trap != 0
                        || self.wakes(&vcpu.state, deaf)
                }
                Activity::WaitForSipi
                | Activity::Shutdown
                | Activity::GivenUp
                | Activity::Undelivered
                | Activity::Dead
                | Activity::Refused
                | Activity::Looping
                | Activity::EntryFailed => false,
            }
    }

    fn wakes(&self, state: &VcpuState, deaf_to_smi: bool) -> bool {
        if self.rules.broken(Defect::MachineCheckDoesNotWakeHalted) {
            return state.is_woken_by_interrupt(deaf_to_smi);
        }
        if self.rules.broken(Defect::NmiDoesNotWakeHalted) && state.events.nmi_pending > 0 {
            let mut without = state.clone();
            without.events.nmi_pending = 0;
            return without.wakes_from_halt(deaf_to_smi);
        }
        if self.rules.broken(Defect::InterruptDoesNotWakeHalted) && state.apic.is_some() {
            let mut without = state.clone();
            without.apic = None;
            return without.wakes_from_halt(deaf_to_smi);
        }
        state.wakes_from_halt(deaf_to_smi)
    }

    pub(in crate::x86) fn processor(&mut self, index: usize) -> Processor<'_, 'run> {
        Processor {
            vcpu: &mut self.state.vcpus[index],
            memory: &mut self.state.memory,
            decoded: &mut self.decoded[index],
            rules: &mut self.rules,
            accesses: &mut self.state.accesses[index],
        }
    }

    fn run_until_stop(&mut self, index: usize) -> Result<Stop, ModelError> {
        self.state.vcpus[index].just_entered = true;
        if std::mem::take(&mut self.state.vcpus[index].nmi_disturbs) {
            self.state.vcpus[index].activity = Activity::Running;
        }
        if self.processor(index).has_illegal_code_width() || self.state.vcpus[index].unenterable {
            self.state.vcpus[index].activity = Activity::EntryFailed;
        }
        for _ in 0..self.scenario.limits.instructions {
            // Delivering one event may leave another due at the same boundary (EXC-STEP-003).
            while let Some(event) = self.processor(index).take_event()? {
                let smbase = self.state.vcpus[index].state.smbase;
                self.note_event(index, || match event {
                    "SMI" => format!("enters SMM, SMBASE {smbase:#x}"),
                    other => other.to_owned(),
                });
                if self.state.vcpus[index].activity != Activity::Running {
                    break;
                }
            }
            match self.state.vcpus[index].activity {
                Activity::Running => {}
                Activity::Halted => return Ok(Stop::Halted(self.halt_point(index))),
                Activity::WaitForSipi => return Ok(Stop::WaitsForSipi),
                Activity::Shutdown => return Ok(Stop::Shutdown),
                Activity::GivenUp => return Ok(Stop::InternalError(EMULATION)),
                Activity::Undelivered => return Ok(Stop::InternalError(DELIVERY)),
                Activity::Dead => return Ok(Stop::RunFailed(EIO)),
                Activity::Refused => return Ok(Stop::RunFailed(EPERM)),
                Activity::Looping => return Ok(Stop::Stuck),
                Activity::EntryFailed => return Ok(Stop::EntryFailed),
            }
            match self.step(index)? {
                After::Continue => {}
                After::Sync(point) => return Ok(Stop::Sync(point)),
                After::GivenUp => return Ok(Stop::InternalError(EMULATION)),
                After::Halt => {
                    if !self.step_over_hlt(index) {
                        self.state.vcpus[index].activity = Activity::GivenUp;
                        return Ok(Stop::InternalError(EMULATION));
                    }
                    self.state.vcpus[index].activity = Activity::Halted;
                    if self.is_woken_at_once(index) {
                        continue;
                    }
                    return Ok(Stop::Halted(self.halt_point(index)));
                }
            }
        }
        Ok(Stop::Stuck)
    }

    /// Whether a processor that has just executed HLT has an event that wakes it again. With an
    /// in-kernel APIC the host does not see such a HLT; without one it sees every HLT.
    fn is_woken_at_once(&self, index: usize) -> bool {
        let state = &self.state.vcpus[index].state;
        state.apic.is_some() && (self.can_run(index) || state.events.init_latched && !state.events.in_smm)
    }

    /// Takes what a processor has sent.
    pub(in crate::x86) fn take_messages(&mut self, sender: usize) -> Vec<Message> {
        std::mem::take(&mut self.state.vcpus[sender].messages)
    }

    fn step(&mut self, index: usize) -> Result<After, ModelError> {
        let points = self.scenario.points.len();
        if self.processor(index).instruction_breakpoint()? {
            self.note_event(index, || "#DB, instruction breakpoint".to_owned());
            return Ok(After::Continue);
        }
        let instruction = match self.processor(index).fetch() {
            Ok(instruction) => instruction,
            Err(Interruption::Model(error)) => return Err(error),
            Err(Interruption::Exception(_)) if self.state.vcpus[index].activity == Activity::GivenUp => {
                self.note_event(index, || "no memory to execute from".to_owned());
                return Ok(After::GivenUp);
            }
            Err(Interruption::Exception(exception)) => {
                self.note_event(index, || describe(exception));
                self.processor(index).raise(exception)?;
                return Ok(After::Continue);
            }
        };
        self.note(index, false, || disassemble(&instruction));
        let before = self.notable(index);
        let mut processor = self.processor(index);
        match processor.complete(&instruction, points)? {
            Ok(after) => {
                self.note_changes(index, before);
                self.deliver_messages(index)?;
                Ok(after)
            }
            Err(_)
                if matches!(
                    processor.vcpu.activity,
                    Activity::Refused | Activity::Undelivered | Activity::GivenUp
                ) =>
            {
                Ok(After::Continue)
            }
            Err(exception) => {
                processor.raise(exception)?;
                self.note_event(index, || describe(exception));
                Ok(After::Continue)
            }
        }
    }

    fn halt_point(&self, index: usize) -> Option<PointId> {
        let state = &self.state.vcpus[index].state;
        let after = state.segment(SegmentName::Cs).base.wrapping_add(state.rip);
        let is_here = |kind: PointKind| kind == PointKind::Halt { resume: after };
        let position = self.scenario.points.iter().position(|point| is_here(point.kind));
        position.map(|point| PointId(point as u16))
    }
}
