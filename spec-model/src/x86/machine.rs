//! The machine: processors taking turns, the host's events, and what is observed.

use iced_x86::{Formatter, Instruction, NasmFormatter};

use super::exception::{Exception, Interruption};
use super::execute::After;
use super::field::Field;
use super::memory::{Image, PhysicalMemory};
use super::processor::{Activity, Processor, Rules, Vcpu};
use super::save_area::SAVE_AREA_OFFSET;
use super::smm;
use super::state::Shadow;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::outcome::Allowance;
use crate::profile::ShadowKinds;
use crate::requirement::{EXC_FLAGS_001, SEG_CACHE_002};
use crate::scenario::{Action, PointId, PointKind, Scenario};
use crate::transcript::{Access, Observation, STACK_SLOTS, Stop, Transcript};

/// One line of a trace: an instruction about to execute, or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// The processor.
    pub vcpu: u8,
    /// Number of observations made before it.
    pub observation: usize,
    /// Linear address of the instruction, or of the next one for an event.
    pub address: u64,
    /// Disassembly, or what happened.
    pub text: String,
}

/// A machine in the middle of a run.
pub struct Machine<'run> {
    scenario: &'run Scenario,
    memory: PhysicalMemory<'run>,
    vcpus: Vec<Vcpu>,
    finished: Vec<bool>,
    accesses: Vec<Vec<Access>>,
    reached: Vec<u32>,
    observations: Vec<Observation>,
    allowances: Vec<Allowance>,
    rules: Rules,
    trace: Option<Vec<TraceLine>>,
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

impl<'run> Machine<'run> {
    /// A machine at the start of the scenario.
    #[must_use]
    pub fn new(scenario: &'run Scenario, image: &'run Image, rules: Rules, trace: bool) -> Self {
        let vcpu = |state: &super::state::VcpuState| Vcpu {
            state: state.clone(),
            ..Vcpu::default()
        };
        Self {
            scenario,
            memory: PhysicalMemory::new(image),
            vcpus: scenario.vcpus.iter().map(vcpu).collect(),
            finished: vec![false; scenario.vcpus.len()],
            accesses: vec![Vec::new(); scenario.vcpus.len()],
            reached: vec![0; scenario.points.len()],
            observations: Vec::new(),
            allowances: Vec::new(),
            rules,
            trace: trace.then(Vec::new),
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// If the scenario is inconsistent or uses what the model does not know.
    pub fn run(mut self) -> Result<Finished, ModelError> {
        let mut schedule = self.scenario.schedule.iter();
        while let Some(index) = self.next_vcpu(&mut schedule) {
            let stop = self.run_until_stop(index)?;
            let at_limit = self.observations.len() + 1 >= self.scenario.limits.observations as usize;
            self.observe(index, if at_limit { Stop::LimitReached } else { stop });
            if at_limit {
                break;
            }
            match stop {
                Stop::Sync(point) | Stop::Halted(Some(point)) => self.host_events(index, point)?,
                _ => self.finished[index] = true,
            }
        }
        let (memory_changes, smm_memory_changes) = self.memory.changes();
        let observations = self.observations;
        Ok(Finished {
            transcript: Transcript {
                observations,
                memory_changes,
                smm_memory_changes,
            },
            allowances: self.allowances,
            rules: self.rules,
            trace: self.trace.unwrap_or_default(),
        })
    }

    /// The processor that the schedule names next, passing over those that cannot run; when
    /// the schedule is used up, the lowest-numbered one that can.
    fn next_vcpu(&self, schedule: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
        let scheduled = schedule
            .map(|vcpu| usize::from(*vcpu))
            .find(|vcpu| self.can_run(*vcpu));
        scheduled.or_else(|| (0..self.vcpus.len()).find(|vcpu| self.can_run(*vcpu)))
    }

    fn can_run(&self, index: usize) -> bool {
        let Some(vcpu) = self.vcpus.get(index) else {
            return false;
        };
        let events = &vcpu.state.events;
        let wakes = events.smi_pending && !events.in_smm || events.nmi_pending > 0 && !events.nmi_masked;
        !self.finished[index]
            && match vcpu.activity {
                Activity::Running => true,
                Activity::Halted => wakes,
                Activity::Shutdown | Activity::GivenUp => false,
            }
    }

    fn processor(&mut self, index: usize) -> Processor<'_, 'run> {
        Processor {
            vcpu: &mut self.vcpus[index],
            memory: &mut self.memory,
            rules: &mut self.rules,
            accesses: &mut self.accesses[index],
        }
    }

    fn run_until_stop(&mut self, index: usize) -> Result<Stop, ModelError> {
        self.vcpus[index].just_entered = true;
        for _ in 0..self.scenario.limits.instructions {
            if let Some(event) = self.processor(index).take_event()? {
                self.note(index, || event.to_owned());
            }
            match self.vcpus[index].activity {
                Activity::Running => {}
                Activity::Halted => return Ok(Stop::Halted(self.halt_point(index))),
                Activity::Shutdown => return Ok(Stop::Shutdown),
                Activity::GivenUp => return Ok(Stop::InternalError(EMULATION)),
            }
            match self.step(index)? {
                After::Continue => {}
                After::Sync(point) => return Ok(Stop::Sync(point)),
                After::Halt => {
                    self.vcpus[index].activity = Activity::Halted;
                    return Ok(Stop::Halted(self.halt_point(index)));
                }
            }
        }
        Ok(Stop::Stuck)
    }

    fn step(&mut self, index: usize) -> Result<After, ModelError> {
        let points = self.scenario.points.len();
        let instruction = match self.processor(index).fetch() {
            Ok(instruction) => instruction,
            Err(Interruption::Model(error)) => return Err(error),
            Err(Interruption::Exception(exception)) => {
                self.note(index, || describe(exception));
                self.processor(index).raise(exception)?;
                return Ok(After::Continue);
            }
        };
        self.note(index, || disassemble(&instruction));
        let mut processor = self.processor(index);
        match processor.complete(&instruction, points)? {
            Ok(after) => Ok(after),
            Err(exception) => {
                processor.raise(exception)?;
                self.note(index, || describe(exception));
                Ok(After::Continue)
            }
        }
    }

    fn note(&mut self, index: usize, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let state = &self.vcpus[index].state;
            let base = state.segment(super::segment::SegmentName::Cs).base;
            trace.push(TraceLine {
                vcpu: index as u8,
                observation: self.observations.len(),
                address: base.wrapping_add(state.rip),
                text: text(),
            });
        }
    }

    fn halt_point(&self, index: usize) -> Option<PointId> {
        let state = &self.vcpus[index].state;
        let after = state
            .segment(super::segment::SegmentName::Cs)
            .base
            .wrapping_add(state.rip);
        let is_here = |kind: PointKind| kind == PointKind::Halt { resume: after };
        let position = self.scenario.points.iter().position(|point| is_here(point.kind));
        position.map(|point| PointId(point as u16))
    }

    /// Records a stop, with the number of pending NMIs and the shadow as the host reads them
    /// (NMI-API-001, SHADOW-KIND-001).
    fn observe(&mut self, index: usize, stop: Stop) {
        self.notice_at_exit(index);
        let vcpu = &self.vcpus[index];
        let visible = !matches!(stop, Stop::Shutdown | Stop::Stuck | Stop::InternalError(_));
        let state = visible.then(|| {
            let mut state = Box::new(vcpu.state.clone().observable());
            for segment in &mut state.segments {
                *segment = self.rules.cached(*segment);
            }
            if self.rules.profile.shadow_kinds == ShadowKinds::One && state.events.shadow == Shadow::Sti {
                state.events.shadow = Shadow::MovSs;
            }
            if self.rules.broken(Defect::PendingNmisReportedAsOne) {
                state.events.nmi_pending = state.events.nmi_pending.min(1);
            }
            state
        });
        if visible && vcpu.undefined_flags != 0 {
            self.allowances.push(Allowance {
                observation: self.observations.len(),
                field: "rflags".to_owned(),
                any_bits: vcpu.undefined_flags,
                requirement: &EXC_FLAGS_001,
            });
        }
        let in_smm = vcpu.state.events.in_smm;
        if visible && in_smm {
            let leftovers = vcpu.save_area_leftovers.iter().map(|(row, bits)| Allowance {
                observation: self.observations.len(),
                field: format!("save.{row}"),
                any_bits: *bits,
                requirement: &SEG_CACHE_002,
            });
            self.allowances.extend(leftovers);
        }
        let stack = if visible { self.stack(vcpu) } else { Vec::new() };
        let save_area = if visible && in_smm {
            smm::save_area(&vcpu.state, &self.memory)
        } else {
            None
        };
        let watch = |watch: &crate::scenario::Watch| {
            let bytes = self
                .memory
                .read_bytes(watch.address, watch.length as usize, watch.smm);
            bytes.unwrap_or_default()
        };
        let watches = self.scenario.watches.iter().map(watch).collect();
        let accesses = std::mem::take(&mut self.accesses[index]);
        self.observations.push(Observation {
            vcpu: index as u8,
            stop,
            state,
            stack,
            save_area,
            watches,
            accesses,
        });
    }

    /// What an exit to the host and its reading of the event state change by themselves:
    /// nothing, by rights (NMI-API-002).
    fn notice_at_exit(&mut self, index: usize) {
        let drops_nmi = self.rules.broken(Defect::ReadingEventsDropsNmi);
        let vcpu = &mut self.vcpus[index];
        if std::mem::take(&mut vcpu.nmi_unblocks_at_exit) {
            vcpu.state.events.nmi_masked = false;
        }
        let events = &mut vcpu.state.events;
        if drops_nmi && events.nmi_masked {
            events.nmi_pending = events.nmi_pending.min(1);
        }
    }

    fn stack(&self, vcpu: &Vcpu) -> Vec<u64> {
        let width = vcpu.state.stack_width();
        let in_smm = vcpu.state.events.in_smm;
        let bytes = self
            .memory
            .read_bytes(vcpu.state.stack_top(), STACK_SLOTS * width, in_smm);
        let slot = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        bytes.map_or_else(Vec::new, |bytes| bytes.chunks(width).map(slot).collect())
    }

    fn host_events(&mut self, index: usize, point: PointId) -> Result<(), ModelError> {
        let scenario = self.scenario;
        let count = self.reached.get_mut(usize::from(point.0)).ok_or_else(|| {
            ModelError::BadScenario(format!(
                "the guest reached sync point {}, which is not declared",
                point.0
            ))
        })?;
        *count += 1;
        let count = *count;
        for event in &scenario.events {
            let here = event.at == point
                && event.occurrence.is_none_or(|occurrence| occurrence == count)
                && event.by.is_none_or(|vcpu| usize::from(vcpu) == index);
            if here {
                for action in &event.actions {
                    self.act(action)?;
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), ModelError> {
        match action {
            Action::Nmi { vcpu } => {
                self.vcpu(*vcpu)?;
                self.processor(usize::from(*vcpu)).latch_nmi();
            }
            Action::Smi { vcpu } => {
                self.vcpu(*vcpu)?;
                self.processor(usize::from(*vcpu)).latch_smi()?;
            }
            Action::Shadow { vcpu, shadow } => self.vcpu(*vcpu)?.state.events.shadow = *shadow,
            Action::SetField { vcpu, field, value } => {
                let field = Field::named(field)
                    .ok_or_else(|| ModelError::BadScenario(format!("no field is called `{field}`")))?;
                field.write(&mut self.vcpu(*vcpu)?.state, *value);
            }
            Action::WriteMemory { address, bytes, smm } => {
                if !self.memory.write_bytes(*address, bytes, *smm) {
                    let message = format!("the host writes to {address:#x}, where there is no memory");
                    return Err(ModelError::BadScenario(message));
                }
            }
            Action::WriteSaveArea { vcpu, field, value } => {
                let layout = smm::layout(&self.rules);
                let row = layout.row(field).ok_or_else(|| {
                    ModelError::BadScenario(format!("the layout {} has no field `{field}`", layout.name))
                })?;
                let address = self.vcpu(*vcpu)?.state.smbase.wrapping_add(SAVE_AREA_OFFSET);
                let bytes = &value.to_le_bytes()[..usize::from(row.width).min(8)];
                if !self
                    .memory
                    .write_bytes(address.wrapping_add(row.index() as u64), bytes, true)
                {
                    let message = format!("the state-save area at {address:#x} is not in RAM");
                    return Err(ModelError::BadScenario(message));
                }
            }
        }
        Ok(())
    }

    fn vcpu(&mut self, index: u8) -> Result<&mut Vcpu, ModelError> {
        self.vcpus
            .get_mut(usize::from(index))
            .ok_or_else(|| ModelError::BadScenario(format!("there is no processor {index}")))
    }
}

fn disassemble(instruction: &Instruction) -> String {
    let mut text = String::new();
    NasmFormatter::new().format(instruction, &mut text);
    text
}

fn describe(exception: Exception) -> String {
    match exception.error_code {
        Some(code) => format!("exception {}, error code {code:#x}", exception.vector),
        None => format!("exception {}", exception.vector),
    }
}
