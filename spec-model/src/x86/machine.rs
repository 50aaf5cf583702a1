//! The machine: processors taking turns, the host's events, and what is observed.

use iced_x86::{Formatter, Instruction, Mnemonic, NasmFormatter};

use super::control::flag;
use super::exception::{Class, DB, Event, Exception, Interruption, NMI, Source};
use super::execute::After;
use super::field::Field;
use super::memory::{Image, PhysicalMemory};
use super::processor::{Activity, Processor, Rules, Vcpu};
use super::save_area::SAVE_AREA_OFFSET;
use super::smm;
use super::state::Shadow;
use crate::defect::Defect;
use crate::outcome::{Allowance, ModelError};
use crate::profile::{Choice, InShadow, NmiLatch};
use crate::requirement::{EXC_FLAGS_001, NMI_MASK_008, Requirement, SMM_ENTRY_012};
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
                Activity::Shutdown => false,
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
        for _ in 0..self.scenario.limits.instructions {
            if let Some(event) = self.processor(index).take_event()? {
                self.note(index, || event.to_owned());
            }
            match self.vcpus[index].activity {
                Activity::Running => {}
                Activity::Halted => return Ok(Stop::Halted(self.halt_point(index))),
                Activity::Shutdown => return Ok(Stop::Shutdown),
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

    fn observe(&mut self, index: usize, stop: Stop) {
        let vcpu = &self.vcpus[index];
        let visible = !matches!(stop, Stop::Shutdown | Stop::Stuck);
        let state = visible.then(|| {
            let mut state = Box::new(vcpu.state.clone().observable());
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
            Action::Nmi { vcpu } => self.raise_nmi(*vcpu)?,
            Action::Smi { vcpu } => self.raise_smi(*vcpu)?,
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

    /// NMI-MASK-004, NMI-MASK-005, NMI-SMM-001.
    fn raise_nmi(&mut self, index: u8) -> Result<(), ModelError> {
        let latch = self.rules.profile.nmi_latch;
        let drops = self.rules.broken(Defect::NmiDroppedWhileMasked);
        let events = &mut self.vcpu(index)?.state.events;
        let depth = match latch {
            NmiLatch::OneBehindTheNext if !events.nmi_masked => 2,
            _ => 1,
        };
        if !(drops && events.nmi_masked) {
            events.nmi_pending = (events.nmi_pending + 1).min(depth);
        }
        Ok(())
    }

    /// SMM-LATCH-001.
    fn raise_smi(&mut self, index: u8) -> Result<(), ModelError> {
        if !self.rules.profile.smm {
            let message = format!("{} has no system-management mode", self.rules.profile.name);
            return Err(ModelError::BadScenario(message));
        }
        let drops = self.rules.broken(Defect::SmiDroppedInSmm);
        let events = &mut self.vcpu(index)?.state.events;
        if !(drops && events.in_smm) {
            events.smi_pending = true;
        }
        Ok(())
    }
}

impl Processor<'_, '_> {
    /// At an instruction boundary: takes the pending event of the highest priority, if one
    /// is not blocked (SMM-LATCH-002). Returns what was taken.
    fn take_event(&mut self) -> Result<Option<&'static str>, ModelError> {
        if self.rules.broken(Defect::NmiBeforeSmi) && self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        if self.smi_is_due() {
            self.enter_smm()?;
            return Ok(Some("SMI"));
        }
        if self.vcpu.single_step_pending {
            const SINGLE_STEP: u64 = 1 << 14;
            self.vcpu.single_step_pending = false;
            self.state_mut().dr6 |= SINGLE_STEP;
            self.raise(Exception::plain(DB))?;
            return Ok(Some("#DB, single step"));
        }
        if self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        Ok(None)
    }

    /// SMM-ENTRY-012.
    fn smi_is_due(&mut self) -> bool {
        let events = self.state().events;
        let profile = self.rules.profile;
        events.smi_pending
            && !events.in_smm
            && match events.shadow {
                Shadow::None => true,
                Shadow::Sti => self.taken_in_shadow(profile.smi_in_sti_shadow, &SMM_ENTRY_012),
                Shadow::MovSs => self.taken_in_shadow(profile.smi_in_mov_ss_shadow, &SMM_ENTRY_012),
            }
    }

    /// NMI-MASK-001, NMI-MASK-007, NMI-MASK-008.
    fn nmi_is_due(&mut self) -> bool {
        let events = self.state().events;
        let profile = self.rules.profile;
        events.nmi_pending > 0
            && !events.nmi_masked
            && match events.shadow {
                Shadow::None => true,
                Shadow::Sti => self.taken_in_shadow(profile.nmi_in_sti_shadow, &NMI_MASK_008),
                Shadow::MovSs => self.rules.broken(Defect::MovSsShadowMissing),
            }
    }

    fn taken_in_shadow(&mut self, choice: Choice<InShadow>, requirement: &'static Requirement) -> bool {
        self.rules.choices.settle(choice, requirement) == InShadow::Taken
    }

    /// NMI-MASK-001, NMI-MASK-006, NMI-MASK-009.
    fn take_nmi(&mut self) -> Result<(), ModelError> {
        let events = &mut self.state_mut().events;
        events.nmi_pending -= 1;
        events.nmi_masked = true;
        let event = Event {
            vector: NMI,
            error_code: None,
            source: Source::Hardware,
        };
        self.interrupt(event, Class::Benign)
    }

    /// Executes an instruction as a whole, or leaves everything but the NMI mask as it was
    /// and returns the exception.
    fn complete(
        &mut self,
        instruction: &Instruction,
        points: usize,
    ) -> Result<Result<After, Exception>, ModelError> {
        let before = self.state().clone();
        let shadow = before.events.shadow;
        let single_step = before.rflags & flag::TF != 0 && shadow != Shadow::MovSs;
        let state = self.state_mut();
        state.events.shadow = Shadow::None;
        state.rip = instruction.next_ip();
        match self.execute(instruction, points) {
            Ok(after) => {
                if !matches!(
                    instruction.mnemonic(),
                    Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq
                ) {
                    self.state_mut().rflags &= !flag::RF;
                }
                // Only the first of back-to-back MOV SS is guaranteed to hold events off.
                self.vcpu.single_step_pending |= single_step;
                Ok(Ok(after))
            }
            Err(Interruption::Model(error)) => Err(error),
            Err(Interruption::Exception(exception)) => {
                let repeats = instruction.is_string_instruction();
                let state = self.state_mut();
                let events = state.events;
                if repeats {
                    state.rip = before.rip;
                } else {
                    *state = before;
                }
                state.events = events;
                Ok(Err(exception))
            }
        }
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
