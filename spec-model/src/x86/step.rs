//! One step of a processor: the event at the instruction boundary, then the instruction.

use iced_x86::{FlowControl, Instruction, Mnemonic};

use super::control::{DR6_BS, flag};
use super::exception::{Class, DB, Event, Exception, Interruption, NMI, Source};
use super::execute::After;
use super::processor::{Activity, Processor};
use super::state::Shadow;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::{Choice, InShadow, NmiLatch, ShadowInShadow};
use crate::requirement::{
    APIC_INT_004, EXC_SHADOW_003, NMI_MASK_004, NMI_MASK_008, Requirement, SMM_ENTRY_012,
};

/// The host may have had a reason of its own to leave and enter the guest.
const HOST_EITHER: Choice<InShadow> = Choice::AnyOf(&[InShadow::Held, InShadow::Taken]);

impl Processor<'_, '_> {
    /// An NMI arrives (NMI-MASK-004, NMI-MASK-005, NMI-SMM-001).
    pub fn latch_nmi(&mut self) {
        let latch = self.rules.profile.nmi_latch;
        let drops = self.rules.broken(Defect::NmiDroppedWhileMasked);
        let events = &mut self.state_mut().events;
        let depth = match latch {
            NmiLatch::OneBehindTheNext if !events.nmi_masked => 2,
            _ => 1,
        };
        if !(drops && events.nmi_masked) {
            events.nmi_pending = (events.nmi_pending + 1).min(depth);
        }
    }

    /// An SMI arrives (SMM-LATCH-001).
    ///
    /// # Errors
    /// If the profile has no system-management mode.
    pub fn latch_smi(&mut self) -> Result<(), ModelError> {
        if !self.rules.profile.smm {
            let message = format!("{} has no system-management mode", self.rules.profile.name);
            return Err(ModelError::BadScenario(message));
        }
        let drops = self.rules.broken(Defect::SmiDroppedInSmm);
        let events = &mut self.state_mut().events;
        if !(drops && events.in_smm) {
            events.smi_pending = true;
        }
        Ok(())
    }

    /// At an instruction boundary: takes the pending event of the highest priority, if one
    /// is not blocked (SMM-LATCH-002, SMM-LATCH-003, EXC-STEP-003). In wait-for-SIPI only INIT
    /// and startup IPIs are taken (INIT-WAIT-001, INIT-WAIT-002). Returns what was taken.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn take_event(&mut self) -> Result<Option<&'static str>, ModelError> {
        if let Some(taken) = self.take_init_and_startup() {
            return Ok(Some(taken));
        }
        if self.vcpu.activity == Activity::WaitForSipi {
            return Ok(None);
        }
        if self.rules.broken(Defect::NmiBeforeSmi) && self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        let trap_first = self.vcpu.single_step_pending && self.rules.broken(Defect::DebugTrapBeforeSmi);
        if !trap_first && self.smi_is_due() {
            self.enter_smm();
            return Ok(Some("SMI"));
        }
        if self.vcpu.single_step_pending {
            self.vcpu.single_step_pending = false;
            // A guest of Xen does not have the processor's DR6.
            if self.state().xen_pv.is_none() {
                self.state_mut().dr6 |= DR6_BS;
            }
            self.raise(Exception::plain(DB))?;
            return Ok(Some("#DB, single step"));
        }
        if self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        if let Some(vector) = self.interrupt_due() {
            self.take_interrupt(vector)?;
            return Ok(Some("interrupt"));
        }
        Ok(None)
    }

    /// Whether a single-step trap follows an instruction that has completed with TF set
    /// (EXC-STEP-001): not if it started a MOV SS shadow (EXC-STEP-002), nor if it was a software
    /// interrupt, whose delivery has cleared TF.
    fn is_followed_by_trap(&self, instruction: &Instruction) -> bool {
        let moved_ss = self.state().events.shadow == Shadow::MovSs;
        let interrupted = matches!(
            instruction.mnemonic(),
            Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Into
        ) && !self.flag(flag::TF);
        (!moved_ss || self.rules.broken(Defect::SingleStepAfterMovSs)) && !interrupted
    }

    /// APIC-INT-004.
    fn interrupt_due(&mut self) -> Option<u8> {
        let vector = self.state().interrupt()?;
        let shadow = self.state().events.shadow != Shadow::None;
        let held = shadow && !self.rules.broken(Defect::InterruptInShadow);
        (!held && !self.host_keeps_interrupt()).then_some(vector)
    }

    /// With `interrupt-at-entry-only`, as `host_keeps_nmi`. A HLT ends up in the host.
    fn host_keeps_interrupt(&mut self) -> bool {
        self.rules.broken(Defect::InterruptAtEntryOnly)
            && !self.vcpu.just_entered
            && self.vcpu.activity != Activity::Halted
            && self.rules.choices.settle(HOST_EITHER, &APIC_INT_004) == InShadow::Held
    }

    /// APIC-INT-001, APIC-INT-008.
    fn take_interrupt(&mut self, vector: u8) -> Result<(), ModelError> {
        let forgets = self.rules.broken(Defect::InterruptNotInService);
        if let Some(apic) = self.state_mut().apic.as_deref_mut() {
            apic.begin_service(vector);
            if forgets {
                apic.end_of_interrupt();
            }
        }
        let event = Event {
            vector,
            error_code: None,
            source: Source::Hardware,
        };
        self.interrupt(event, Class::Benign)
    }

    /// STI, MOV SS and POP SS start a shadow (EXC-SHADOW-001); in a shadow they may or may not
    /// start another (EXC-SHADOW-003).
    pub(super) fn start_shadow(&mut self, shadow: Shadow) {
        let choice = self.rules.profile.shadow_in_shadow;
        let starts = !self.vcpu.was_in_shadow
            || self.rules.choices.settle_for_good(choice, &EXC_SHADOW_003) == ShadowInShadow::Started;
        if starts {
            self.state_mut().events.shadow = shadow;
        }
    }

    /// SMM-ENTRY-012.
    fn smi_is_due(&mut self) -> bool {
        let events = self.state().events;
        let profile = self.rules.profile;
        let asleep =
            self.vcpu.activity == Activity::Halted && self.rules.broken(Defect::SmiDoesNotWakeHalted);
        events.smi_pending
            && !events.in_smm
            && !asleep
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
            && !self.host_keeps_nmi()
    }

    /// With `nmi-at-entry-only`: the host may or may not have had a reason of its own, such as
    /// a timer, to leave and enter the guest since the NMI became deliverable.
    fn host_keeps_nmi(&mut self) -> bool {
        self.rules.broken(Defect::NmiAtEntryOnly)
            && !self.vcpu.just_entered
            && self.rules.choices.settle(HOST_EITHER, &NMI_MASK_004) == InShadow::Held
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

    /// Executes an instruction as a whole and clears RF (EXC-FLAGS-002), or one iteration of a
    /// string instruction and sets RF if more follow (EXC-FLAGS-003), or leaves everything
    /// but the NMI mask as it was and returns the exception.
    ///
    /// # Errors
    /// If the model does not know the instruction.
    pub fn complete(
        &mut self,
        instruction: &Instruction,
        points: usize,
    ) -> Result<Result<After, Exception>, ModelError> {
        let before = self.state().clone();
        let shadow = before.events.shadow;
        let single_steps = before.rflags & flag::TF != 0;
        self.vcpu.was_in_shadow = shadow != Shadow::None;
        self.vcpu.just_entered = false;
        let io = self.io_instruction(instruction);
        let state = self.state_mut();
        state.events.shadow = Shadow::None;
        state.rip = instruction.next_ip();
        match self.execute(instruction, points) {
            Ok(after) => {
                let loads_rf = matches!(
                    instruction.mnemonic(),
                    Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq
                );
                let kept =
                    instruction.mnemonic() == Mnemonic::Out && self.rules.broken(Defect::EmulatedOutKeepsRf);
                let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
                let straight = instruction.flow_control() == FlowControl::Next
                    && !matches!(instruction.mnemonic(), Mnemonic::Hlt)
                    && !(instruction.is_string_instruction() && repeats);
                let late = straight && self.rules.broken(Defect::RfClearedByBranchesOnly);
                let between_iterations =
                    instruction.is_string_instruction() && self.state().rip == instruction.ip();
                let lost = loads_rf
                    && before.rflags & flag::RF != 0
                    && self.rules.broken(Defect::RfClearedByBranchesOnly);
                if between_iterations {
                    self.state_mut().rflags |= flag::RF;
                } else if lost || !loads_rf && !kept && !late {
                    self.state_mut().rflags &= !flag::RF;
                }
                self.vcpu.single_step_pending |= single_steps && self.is_followed_by_trap(instruction);
                self.vcpu.last_io = io;
                Ok(Ok(after))
            }
            Err(Interruption::Model(error)) => Err(error),
            Err(Interruption::Exception(exception)) => {
                self.vcpu.last_io = None;
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
