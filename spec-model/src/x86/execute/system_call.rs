//! SYSCALL and SYSRET.

use iced_x86::{Instruction, Mnemonic};

use crate::defect::Defect;
use crate::profile::{SyscallOutside64Bit, SysretFault};
use crate::requirement::{SYS_CALL_004, SYS_RET_004};
use crate::x86::control::{efer, flag, is_canonical};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::{Segment, SegmentAttributes, SegmentName};
use crate::x86::state::RCX;

/// Index of R11 in the general registers.
const R11: usize = 11;

impl Processor<'_, '_> {
    /// SYSCALL (EXC-SYS-001, SYS-CALL-001 to SYS-CALL-004). The stack stays that of the program.
    pub(super) fn syscall(&mut self) -> Step {
        self.require_system_calls()?;
        let from_64_bit = self.mode() == Mode::Long64;
        if !from_64_bit {
            let choice = self.rules.profile.syscall_outside_64_bit;
            let settled = self.rules.choices.settle_for_good(choice, &SYS_CALL_004);
            if settled == SyscallOutside64Bit::Undefined {
                return Err(Exception::UNDEFINED.into());
            }
        }
        let legacy = !self.long_mode_active();
        let clears_more = self.rules.broken(Defect::SyscallClearsArithmeticFlags);
        let ignores_mask = self.rules.broken(Defect::SyscallIgnoresMask);
        let leaves_r11 = self.rules.broken(Defect::SyscallLeavesR11);
        let state = self.state_mut();
        state.general[RCX] = state.rip;
        let mut cleared = if ignores_mask { 0 } else { state.sfmask };
        let mut attributes = 0xa09b;
        if legacy {
            // EIP comes from STAR, and only IF, VM and RF are cleared.
            state.rip = state.star & 0xffff_ffff;
            cleared = flag::IF | flag::VM;
            attributes = 0xc09b;
        } else {
            if !leaves_r11 {
                state.general[R11] = state.rflags & !flag::RF;
            }
            state.rip = if from_64_bit { state.lstar } else { state.cstar };
        }
        if clears_more && !legacy {
            cleared |= flag::ARITHMETIC | flag::DF;
        }
        let selector = (state.star >> 32) as u16 & !3;
        let flags = state.rflags & !cleared & !flag::RF;
        *state.segment_mut(SegmentName::Cs) = flat(selector, attributes);
        *state.segment_mut(SegmentName::Ss) = flat(selector.wrapping_add(8), 0xc093);
        self.load_flags(flags);
        Ok(())
    }

    /// SYSRET (EXC-SYS-001, SYS-RET-001 to SYS-RET-004).
    pub(super) fn sysret(&mut self, instruction: &Instruction) -> Step {
        self.require_system_calls()?;
        if !self.rules.broken(Defect::SysretIgnoresPrivilege) {
            self.require_kernel()?;
        }
        let to_64_bit = instruction.mnemonic() == Mnemonic::Sysretq;
        let target = self.state().general[RCX];
        if to_64_bit && !is_canonical(target) && self.sysret_checks_target() {
            return Err(Exception::GP0.into());
        }
        let legacy = !self.long_mode_active();
        let dropped = if self.rules.broken(Defect::SysretLoadsRf) {
            flag::VM
        } else {
            flag::RF | flag::VM
        };
        let state = self.state_mut();
        let base = (state.star >> 48) as u16;
        let (selector, attributes) = if to_64_bit {
            (base.wrapping_add(16), 0xa0fb)
        } else {
            (base, 0xc0fb)
        };
        state.rip = if to_64_bit { target } else { target & 0xffff_ffff };
        let flags = if legacy {
            state.rflags | flag::IF
        } else {
            state.general[R11]
        };
        *state.segment_mut(SegmentName::Cs) = flat(selector | 3, attributes);
        *state.segment_mut(SegmentName::Ss) = flat(base.wrapping_add(8) | 3, 0xc0f3);
        let known = flag::ARITHMETIC | flag::TF | flag::IF | flag::DF | flag::IOPL | flag::NT;
        let known = known | flag::RF | flag::VM | flag::AC | flag::ID | flag::VIF_VIP;
        self.load_flags(flags & known & !dropped);
        Ok(())
    }

    /// #UD unless EFER.SCE is set, in protected mode (SYS-CALL-001).
    fn require_system_calls(&self) -> Step {
        let enabled = self.state().efer & efer::SCE != 0 || self.rules.broken(Defect::SyscallAlwaysEnabled);
        if enabled && self.mode() != Mode::Real {
            Ok(())
        } else {
            Err(Exception::UNDEFINED.into())
        }
    }

    /// SYS-RET-004.
    fn sysret_checks_target(&mut self) -> bool {
        let choice = self.rules.profile.sysret_fault;
        self.rules.choices.settle_for_good(choice, &SYS_RET_004) == SysretFault::AtSysret
    }
}

/// A flat segment as system calls and returns from them load it, without reading a descriptor.
pub(super) fn flat(selector: u16, attributes: u32) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: 0xffff_ffff,
        attributes: SegmentAttributes(attributes),
    }
}
