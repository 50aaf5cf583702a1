//! SYSENTER and SYSEXIT.

use iced_x86::{Instruction, Mnemonic};

use super::system_call::flat;
use crate::defect::Defect;
use crate::profile::SysenterInLongMode;
use crate::requirement::SYS_ENTER_001;
use crate::x86::control::{flag, is_canonical};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::{Activity, Mode, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::{RCX, RDX, RSP};

impl Processor<'_, '_> {
    /// SYSENTER (SYS-ENTER-001 to SYS-ENTER-003). TF is as it was, so that a trap follows.
    pub(super) fn sysenter(&mut self) -> Step {
        if !self.has_sysenter(false) {
            if self.mode() == Mode::Long64
                && self.cpl() == 0
                && self.rules.broken(Defect::SysenterGivesUpIn64BitMode)
            {
                self.vcpu.activity = Activity::GivenUp;
            }
            return Err(Exception::UNDEFINED.into());
        }
        self.require_sysenter_selector()?;
        let long = self.long_mode_active();
        let mut cleared = flag::IF | flag::VM;
        if self.rules.broken(Defect::SysenterKeepsInterruptFlag) {
            cleared &= !flag::IF;
        }
        if self.rules.broken(Defect::SysenterClearsTf) {
            cleared |= flag::TF;
        }
        let width = if long { u64::MAX } else { 0xffff_ffff };
        let attributes = if long && self.rules.broken(Defect::SysenterInCompatibilityMode) {
            0xe09b
        } else if long {
            0xa09b
        } else {
            0xc09b
        };
        let state = self.state_mut();
        state.rip = state.sysenter_eip & width;
        state.general[RSP] = state.sysenter_esp & width;
        let selector = state.sysenter_cs as u16 & !3;
        *state.segment_mut(SegmentName::Cs) = flat(selector, attributes);
        *state.segment_mut(SegmentName::Ss) = flat(selector.wrapping_add(8), 0xc093);
        self.set_flag(cleared, false);
        Ok(())
    }

    /// SYSEXIT (SYS-ENTER-001, SYS-ENTER-003, SYS-EXIT-001, SYS-EXIT-002).
    pub(super) fn sysexit(&mut self, instruction: &Instruction) -> Step {
        let in_64_bit_mode = self.mode() == Mode::Long64 && self.rules.broken(Defect::SysexitIn64BitMode);
        if !self.has_sysenter(in_64_bit_mode) {
            return Err(Exception::UNDEFINED.into());
        }
        self.require_sysenter_selector()?;
        if !self.rules.broken(Defect::SysexitIgnoresPrivilege) {
            self.require_kernel()?;
        }
        let to_64_bit = instruction.mnemonic() == Mnemonic::Sysexitq;
        let (stack, target) = (self.state().general[RCX], self.state().general[RDX]);
        if to_64_bit && !(is_canonical(stack) && is_canonical(target)) {
            return Err(Exception::GP0.into());
        }
        let one_behind = self.rules.broken(Defect::SysexitLoadsNextSelectors);
        let state = self.state_mut();
        let (distance, attributes, width) = if to_64_bit {
            (32, 0xa0fb, u64::MAX)
        } else {
            (16, 0xc0fb, 0xffff_ffff)
        };
        let distance = if one_behind { distance - 8 } else { distance };
        let selector = (state.sysenter_cs as u16).wrapping_add(distance) | 3;
        state.rip = target & width;
        state.general[RSP] = stack & width;
        *state.segment_mut(SegmentName::Cs) = flat(selector, attributes);
        *state.segment_mut(SegmentName::Ss) = flat(selector.wrapping_add(8), 0xc0f3);
        Ok(())
    }

    /// Whether the mode has the two instructions: long mode does not on AMD's processors (SYS-ENTER-001), unless
    /// a defect has them `also` there.
    fn has_sysenter(&mut self, also: bool) -> bool {
        if !self.long_mode_active() {
            return true;
        }
        let choice = self.rules.profile.sysenter_in_long_mode;
        let settled = self.rules.choices.settle_for_good(choice, &SYS_ENTER_001);
        settled == SysenterInLongMode::Defined
            || also
            || self.rules.broken(Defect::SysenterInLongMode)
            || self.mode() != Mode::Long64 && self.rules.broken(Defect::SysenterInCompatibilityMode)
    }

    /// #GP(0) in real mode and without a selector (SYS-ENTER-003).
    fn require_sysenter_selector(&mut self) -> Step {
        let selector = self.state().sysenter_cs;
        let null = selector & 0xfffc == 0
            && !self.rules.broken(Defect::SysenterTakesNull)
            && !(selector != 0 && self.rules.broken(Defect::SysenterTakesNullWithRpl));
        if self.mode() == Mode::Real || null {
            return Err(Exception::GP0.into());
        }
        Ok(())
    }
}
