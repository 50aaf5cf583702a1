//! IRET in real, protected and long mode, and what it does to the NMI mask.

use iced_x86::{Instruction, Mnemonic};

use super::operand::ones;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::{Choice, FaultingIret};
use crate::requirement::EXC_FRAME_006;
use crate::x86::control::flag;
use crate::x86::exception::{Exception, Interruption, Step};
use crate::x86::processor::{Mode, Processor};
use crate::x86::state::RSP;

/// The TF with which a hypervisor steps over an IRET, in the frame of the fault that the IRET raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepFlag {
    Shows,
    /// The delivery left the guest, for instance at a page that is not mapped in the nested tables,
    /// and the hypervisor took TF back before it injected the fault again.
    TakenBack,
}

const STEP_FLAG: Choice<StepFlag> = Choice::AnyOf(&[StepFlag::Shows, StepFlag::TakenBack]);

impl Processor<'_, '_> {
    /// IRET, IRETD and IRETQ (EXC-IRET-001 to EXC-IRET-004, NMI-MASK-002, NMI-MASK-003,
    /// NMI-SMM-003).
    pub(super) fn interrupt_return(&mut self, instruction: &Instruction) -> Step {
        let width = match instruction.mnemonic() {
            Mnemonic::Iret => 2,
            Mnemonic::Iretd => 4,
            _ => 8,
        };
        let before = self.state().rflags;
        let result = self.return_to_frame(width);
        let faulted = result.is_err();
        let kept = self.rules.broken(Defect::IretKeepsNmiMask)
            || faulted && self.rules.broken(Defect::FaultingIretKeepsNmiMask)
            || self.state().events.in_smm && self.rules.broken(Defect::IretInSmmKeepsNmiMask);
        let was_masked = self.state().events.nmi_masked;
        let holds_nmi = was_masked && self.state().events.nmi_pending > 0;
        self.vcpu.frame_shows_tf = faulted
            && holds_nmi
            && self.rules.broken(Defect::IretStepShowsTf)
            && self.rules.choices.settle(STEP_FLAG, &EXC_FRAME_006) == StepFlag::Shows;
        if !faulted && holds_nmi && self.rules.broken(Defect::IretStepLosesFlags) {
            // The hypervisor takes back the flags with which it has stepped over the IRET, unless the program had
            // them before it.
            self.state_mut().rflags &= !(flag::TF | flag::RF) | before;
        }
        let unblocks = if faulted && was_masked {
            self.rules.profile.faulting_iret
        } else {
            FaultingIret::Unblocks
        };
        let late = unblocks == FaultingIret::UnblocksAtExit
            || faulted && was_masked && self.rules.broken(Defect::NmiLateAfterFaultingIret);
        let kept = kept || unblocks == FaultingIret::Keeps;
        if late && !kept {
            self.vcpu.nmi_unblocks_at_exit = true;
        } else if !kept {
            self.state_mut().events.nmi_masked = false;
        }
        result
    }

    /// RIP, CS, RFLAGS and perhaps RSP and SS from the stack. IOPL changes at CPL 0 only, IF only if
    /// CPL is within IOPL, and the upper half of RFLAGS not with a 16-bit frame (EXC-IRET-005,
    /// EXC-IRET-006). A fault changes nothing (EXC-IRET-009, EXC-IRET-010).
    fn return_to_frame(&mut self, width: usize) -> Step {
        let ignores_nt = self.rules.broken(Defect::IretIgnoresNestedTask) && self.long_mode_active();
        if self.long_mode_active() && self.flag(flag::NT) && !ignores_nt {
            return Err(Exception::GP0.into());
        }
        let by_stack = ignores_nt || self.rules.broken(Defect::NestedTaskReturnsByStack);
        if self.mode() != Mode::Real && self.flag(flag::NT) && !by_stack {
            return self.return_to_task();
        }
        self.read_frame(&[0, 1, 2], width)?;
        let rip = self.peek(0, width)?;
        let selector = self.peek(1, width)? as u16;
        let flags = self.peek(2, width)?;
        if self.mode() == Mode::Long64 || self.changes_level(selector) {
            self.look_at_outer_stack(3 * width as u64, width)?;
        }
        let cpl = self.cpl();
        let legacy = self.mode() == Mode::Protected && !self.long_mode_active();
        if legacy && cpl == 0 && width == 4 && flags & flag::VM != 0 {
            let message = "virtual-8086 mode, and IRETD with VM set enters it".to_owned();
            return Err(ModelError::NotModelled(message).into());
        }
        let target = self.code_segment(selector, cpl, true);
        let target = target.map_err(|fault| match fault {
            Interruption::Exception(exception) if self.rules.broken(Defect::IretCodeErrorZero) => Exception {
                error_code: exception.error_code.map(|_| 0),
                ..exception
            }
            .into(),
            fault => fault,
        })?;
        self.check_return_target(&target.segment, rip)?;
        let mut changeable = self.changeable_flags(width) & ones(width);
        if width > 2 && cpl == 0 && self.mode() != Mode::Real {
            changeable |= flag::VIF_VIP;
        }
        if self.rules.broken(Defect::IretIgnoresPrivilege) {
            changeable |= flag::IF | flag::IOPL;
        }
        let top = self.state().general[RSP];
        let outer = self.mode() != Mode::Real && (selector & 3) as u8 > cpl;
        if outer || self.mode() == Mode::Long64 {
            let rsp = self.peek(3, width)?;
            let stack = self.peek(4, width)? as u16;
            self.enter_outer(target, rip, rsp, stack)?;
        } else {
            let code = self.load_code(target)?;
            self.return_within_level(code, rip, 3 * width as i64);
        }
        if self.rules.broken(Defect::IretKeepsStack) {
            self.state_mut().general[RSP] = top;
        }
        if self.rules.broken(Defect::IretKeepsFlags) {
            changeable = 0;
        }
        let kept = self.state().rflags & !changeable;
        let kept = if width == 2 && self.rules.broken(Defect::Iret16ClearsUpperFlags) {
            kept & 0xffff
        } else {
            kept
        };
        self.load_flags(kept | flags & changeable);
        Ok(())
    }
}
