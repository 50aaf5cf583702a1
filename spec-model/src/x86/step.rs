//! One step of a processor: the event at the instruction boundary, then the instruction.

use iced_x86::{FlowControl, Instruction, Mnemonic};

use super::control::flag;
use super::debug::Emulated;
use super::exception::{Class, Event, Exception, Interruption, NMI, Source};
use super::execute::After;
use super::processor::{Activity, Processor};
use super::segment::SegmentName;
use super::state::Shadow;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::{Choice, InShadow, NmiLatch, ShadowInShadow};
use crate::requirement::{
    APIC_INT_004, EXC_IRET_002, EXC_SHADOW_003, NMI_MASK_003, NMI_MASK_004, NMI_MASK_008, Requirement,
    SMM_ENTRY_012,
};

/// The host may have had a reason of its own to leave and enter the guest.
const HOST_EITHER: Choice<InShadow> = Choice::AnyOf(&[InShadow::Held, InShadow::Taken]);

impl Processor<'_, '_> {
    /// An NMI arrives (NMI-MASK-004, NMI-MASK-005, NMI-MASK-011, NMI-SMM-001).
    pub fn latch_nmi(&mut self) {
        if self.rules.broken(Defect::BlockedNmiWakesHalted) {
            self.disturb();
        }
        let latch = self.rules.profile.nmi_latch;
        let drops = self.rules.broken(Defect::NmiDroppedWhileMasked);
        let one = self.rules.broken(Defect::OneNmiPending);
        let drops_in_smm = self.rules.broken(Defect::NmiDroppedInSmm);
        let events = &mut self.state_mut().events;
        let depth = match latch {
            NmiLatch::OneBehindTheNext if !events.nmi_masked && !one => 2,
            _ => 1,
        };
        if !(drops && events.nmi_masked || drops_in_smm && events.in_smm) {
            events.nmi_pending = (events.nmi_pending + 1).min(depth);
        }
    }

    /// With a defect: a processor with a local APIC that sleeps goes on after HLT when it next runs,
    /// which nobody sees if it jumps straight back to that HLT.
    pub(super) fn disturb(&mut self) {
        let asleep = self.vcpu.activity == Activity::Halted && self.state().apic.is_some();
        let hlt = self.state().rip.wrapping_sub(1);
        let jumps_back = |instruction: Instruction| {
            instruction.is_jmp_short_or_near() && instruction.near_branch_target() == hlt
        };
        self.vcpu.nmi_disturbs |= asleep && !self.fetch().is_ok_and(jumps_back);
    }

    /// An SMI arrives (SMM-LATCH-001).
    ///
    /// # Errors
    /// If the profile has no system-management mode.
    pub fn latch_smi(&mut self) -> Result<(), ModelError> {
        if !self.rules.profile.smm {
            let message = format!("{} has no system-management mode", self.rules.profile.name);
            return Err(ModelError::NotModelled(message));
        }
        let drops = self.rules.broken(Defect::SmiDroppedInSmm);
        let events = &mut self.state_mut().events;
        if !(drops && events.in_smm) {
            events.smi_pending = true;
        }
        Ok(())
    }

    /// At an instruction boundary: takes the pending event of the highest priority, if one
    /// is not blocked (SMM-LATCH-002, SMM-LATCH-003, EXC-STEP-003), machine checks first (MC-EXC-005). In wait-for-SIPI only INIT
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
        if let Some(taken) = self.take_machine_check()? {
            return Ok(Some(taken));
        }
        if self.rules.broken(Defect::NmiBeforeSmi) && self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        let trap_first = self.vcpu.debug.trap != 0 && self.rules.broken(Defect::DebugTrapBeforeSmi);
        if !trap_first && self.smi_is_due() {
            self.require_nothing_told()?;
            self.enter_smm();
            return Ok(Some("SMI"));
        }
        if self.rules.broken(Defect::InterruptBeforeNmi)
            && let Some(vector) = self.interrupt_due()
        {
            self.take_interrupt(vector)?;
            return Ok(Some("interrupt"));
        }
        if self.rules.broken(Defect::NmiBeforeTrap) && self.nmi_is_due() {
            self.take_nmi()?;
            return Ok(Some("NMI"));
        }
        if let Some(taken) = self.take_debug_trap()? {
            self.note_injection();
            return Ok(Some(taken));
        }
        if self.nmi_is_due() {
            self.take_nmi()?;
            self.note_injection();
            return Ok(Some("NMI"));
        }
        if let Some(vector) = self.interrupt_due() {
            self.take_interrupt(vector)?;
            self.note_injection();
            return Ok(Some("interrupt"));
        }
        Ok(None)
    }

    /// No interrupt shadow is in force when a handler starts, whatever instruction the hypervisor
    /// executed to get there (EXC-SHADOW-004).
    fn note_injection(&mut self) {
        if self.rules.broken(Defect::InjectionStartsShadow) {
            self.state_mut().events.shadow = Shadow::Sti;
        }
    }

    /// With `code-width-unchecked`: the host may have had a reason of its own to leave the guest since
    /// it loaded CS, and cannot enter it again.
    fn leave_with_illegal_code_width(&mut self) {
        let both = self.has_illegal_code_width();
        if both && self.rules.choices.settle_for_good(HOST_EITHER, &EXC_IRET_002) == InShadow::Taken {
            self.vcpu.activity = Activity::EntryFailed;
        }
    }

    /// Whether, with a defect, the code segment is both 32 and 64 bits wide, with which the hardware
    /// does not enter a guest (AMD APM vol. 2, 15.5.1, "Canonicalization and Consistency Checks").
    pub(super) fn has_illegal_code_width(&self) -> bool {
        let code = self.segment(SegmentName::Cs).attributes;
        let both = self.long_mode_active() && code.long() && code.big();
        let defects = [Defect::CodeWidthUnchecked, Defect::SysenterInCompatibilityMode];
        both && defects.into_iter().any(|defect| self.rules.broken(defect))
    }

    /// APIC-INT-004.
    fn interrupt_due(&mut self) -> Option<u8> {
        let vector = self.state().interrupt()?;
        let shadow = self.state().events.shadow != Shadow::None;
        let held = shadow && !self.rules.broken(Defect::InterruptInShadow)
            || self.vcpu.activity == Activity::Halted
                && self.rules.broken(Defect::InterruptDoesNotWakeHalted);
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
    pub(super) fn smi_is_due(&mut self) -> bool {
        let events = self.state().events;
        let profile = self.rules.profile;
        let asleep =
            self.vcpu.activity == Activity::Halted && self.rules.broken(Defect::SmiDoesNotWakeHalted);
        let late = self.vcpu.just_entered
            && self.vcpu.activity == Activity::Running
            && self.rules.broken(Defect::SmiLateByOne);
        events.smi_pending
            && !events.in_smm
            && !asleep
            && !late
            && match events.shadow {
                Shadow::None => true,
                Shadow::Sti => self.taken_in_shadow(profile.smi_in_sti_shadow, &SMM_ENTRY_012),
                Shadow::MovSs => self.taken_in_shadow(profile.smi_in_mov_ss_shadow, &SMM_ENTRY_012),
            }
    }

    /// NMI-MASK-001, NMI-MASK-007, NMI-MASK-008.
    pub(super) fn nmi_is_due(&mut self) -> bool {
        self.unblock_nmis_if_host_left();
        let events = self.state().events;
        let profile = self.rules.profile;
        let held = self.rules.broken(Defect::NmiNeedsInterruptFlag) && !self.flag(flag::IF)
            || self.rules.broken(Defect::NmiDoesNotWakeHalted) && self.vcpu.activity == Activity::Halted;
        events.nmi_pending > 0
            && !events.nmi_masked
            && !held
            && !self.vcpu.nmi_awaits_step
            && match events.shadow {
                Shadow::None => true,
                Shadow::Sti => self.taken_in_shadow(profile.nmi_in_sti_shadow, &NMI_MASK_008),
                Shadow::MovSs => self.rules.broken(Defect::MovSsShadowMissing),
            }
            && !self.host_keeps_nmi()
    }

    /// With `nmi-late-behind-skipped`: an NMI that the shadow `before` held is looked at again when
    /// the processor has executed an instruction itself, which one that the hypervisor skips is not.
    fn note_skipped(&mut self, instruction: &Instruction, before: Shadow, single_steps: bool) {
        let events = self.state().events;
        let waits = events.nmi_pending > 0 && !events.nmi_masked;
        let held = before != Shadow::None && self.rules.broken(Defect::NmiLateBehindSkipped);
        let skipped = matches!(
            instruction.mnemonic(),
            Mnemonic::In
                | Mnemonic::Out
                | Mnemonic::Rdmsr
                | Mnemonic::Wbinvd
                | Mnemonic::Cpuid
                | Mnemonic::Vmmcall
        );
        let vcpu = &mut self.vcpu;
        vcpu.nmi_awaits_step = waits && skipped && !single_steps && (held || vcpu.nmi_awaits_step);
    }

    /// With `nmi-at-entry-only`: the host may or may not have had a reason of its own, such as
    /// a timer, to leave and enter the guest since the NMI became deliverable.
    fn host_keeps_nmi(&mut self) -> bool {
        self.rules.broken(Defect::NmiAtEntryOnly)
            && !self.vcpu.just_entered
            && self.rules.choices.settle(HOST_EITHER, &NMI_MASK_004) == InShadow::Held
    }

    /// With `nmi-late-after-faulting-iret` NMIs are unblocked when the guest is next left, for
    /// which the host may or may not have had a reason of its own.
    fn unblock_nmis_if_host_left(&mut self) {
        if self.vcpu.nmi_unblocks_at_exit
            && self.state().events.nmi_pending > 0
            && self.rules.choices.settle(HOST_EITHER, &NMI_MASK_003) == InShadow::Taken
        {
            self.vcpu.nmi_unblocks_at_exit = false;
            self.state_mut().events.nmi_masked = false;
        }
    }

    fn taken_in_shadow(&mut self, choice: Choice<InShadow>, requirement: &'static Requirement) -> bool {
        self.rules.choices.settle(choice, requirement) == InShadow::Taken
    }

    /// NMI-MASK-001, NMI-MASK-006, NMI-MASK-009.
    fn take_nmi(&mut self) -> Result<(), ModelError> {
        let blocks = !self.rules.broken(Defect::NmiNotBlockedByNmi);
        let events = &mut self.state_mut().events;
        events.nmi_pending -= 1;
        events.nmi_masked |= blocks;
        self.vcpu.event_just_delivered = self.rules.broken(Defect::AccessAfterEventFails);
        let event = Event {
            vector: NMI,
            error_code: None,
            source: Source::Hardware,
        };
        self.interrupt(event, Class::Benign)
    }

    /// Executes an instruction as a whole and clears RF (EXC-FLAGS-002), or one iteration of a
    /// string instruction and sets RF if more follow (EXC-FLAGS-003), or leaves everything
    /// but the NMI mask as it was and returns the exception (INS-FAULT-001).
    ///
    /// # Errors
    /// If the model does not know the instruction.
    pub fn complete(
        &mut self,
        instruction: &Instruction,
        points: usize,
    ) -> Result<Result<After, Exception>, ModelError> {
        self.require_told_unread(instruction, points)?;
        let before = self.state().clone();
        let undefined_flags = self.vcpu.undefined_flags;
        let shadow = before.events.shadow;
        let single_steps = before.rflags & flag::TF != 0 && !self.rules.broken(Defect::SingleStepIgnored);
        self.vcpu.was_in_shadow = shadow != Shadow::None;
        self.vcpu.just_entered = false;
        self.vcpu.debug.emulated = Emulated::Not;
        let io = self.io_instruction(instruction);
        let state = self.state_mut();
        state.events.shadow = Shadow::None;
        state.rip = instruction.next_ip();
        match self.execute(instruction, points) {
            Ok(after) => {
                self.note_overwritten(instruction);
                let loads_rf = match instruction.mnemonic() {
                    Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => true,
                    Mnemonic::Sysret | Mnemonic::Sysretq => self.rules.broken(Defect::SysretLoadsRf),
                    Mnemonic::Syscall => self.vcpu.debug.returned_by_iret,
                    _ => false,
                };
                let kept =
                    instruction.mnemonic() == Mnemonic::Out && self.rules.broken(Defect::EmulatedOutKeepsRf);
                let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
                let straight = instruction.flow_control() == FlowControl::Next
                    && !matches!(instruction.mnemonic(), Mnemonic::Hlt)
                    && !(instruction.is_string_instruction() && repeats);
                // What the hypervisor executes is no business of the processor.
                let executed =
                    instruction.mnemonic() != Mnemonic::Out && self.vcpu.debug.emulated == Emulated::Not;
                let late = straight
                    && executed
                    && !single_steps
                    && self.rules.broken(Defect::RfClearedByBranchesOnly);
                let between_iterations =
                    instruction.is_string_instruction() && self.state().rip == instruction.ip();
                let lost = loads_rf
                    && before.rflags & flag::RF != 0
                    && self.rules.broken(Defect::RfClearedByBranchesOnly);
                if between_iterations && !self.rules.broken(Defect::RfClearBetweenIterations) {
                    self.state_mut().rflags |= flag::RF;
                } else if lost || !loads_rf && !kept && !late {
                    self.state_mut().rflags &= !flag::RF;
                }
                self.note_completion(instruction, single_steps);
                self.note_skipped(instruction, shadow, single_steps);
                self.leave_with_illegal_code_width();
                self.vcpu.last_io = io;
                Ok(Ok(after))
            }
            Err(Interruption::Model(error)) => {
                self.vcpu.undefined_flags = undefined_flags;
                self.vcpu.debug.emulated = Emulated::Not;
                *self.state_mut() = before;
                Err(error)
            }
            Err(Interruption::Exception(exception)) => {
                self.vcpu.last_io = None;
                self.vcpu.debug.emulated = Emulated::Not;
                self.vcpu.debug.met = 0;
                self.vcpu.debug.held = 0;
                self.vcpu.debug.branched = false;
                self.vcpu.debug.step_at_mov_ss = false;
                // These have put back themselves what is as before (INS-POP-001).
                let in_parts = instruction.is_string_instruction()
                    || matches!(instruction.mnemonic(), Mnemonic::Popa | Mnemonic::Popad);
                let state = self.state_mut();
                let events = state.events;
                if in_parts {
                    state.rip = before.rip;
                } else {
                    *state = before;
                    self.vcpu.undefined_flags = undefined_flags;
                }
                self.state_mut().events = events;
                Ok(Err(exception))
            }
        }
    }
}
