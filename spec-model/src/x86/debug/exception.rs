//! When a debug exception is raised, and what it leaves in DR6 and DR7.

use iced_x86::{FlowControl, Instruction, Mnemonic};

use super::{BreakpointAfterMovSs, Emulated, StaleBreakpoints, StepAtMovSs, debugctl, dr6, dr7};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::outcome::Facility;
use crate::requirement::{DBG_DR6_002, DBG_SS_003, DBG_SS_004};
use crate::x86::control::{dr6_loaded, flag};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::{Activity, Mode, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::Shadow;

impl Processor<'_, '_> {
    /// Raises #DB before the next instruction if there is a breakpoint at it and RF is clear
    /// (DBG-BP-001 to DBG-BP-003, DBG-SS-004). Says whether it did.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn instruction_breakpoint(&mut self) -> Result<bool, ModelError> {
        self.vcpu.debug.met = 0;
        let here = self.instruction_breakpoints_here();
        let resumes = self.flag(flag::RF) && !self.rules.broken(Defect::RfIgnoredByBreakpoints);
        if here == 0 || resumes {
            return Ok(false);
        }
        if self.state().events.shadow == Shadow::MovSs {
            let choice = self.rules.profile.debug.breakpoint_after_mov_ss;
            let settled = self.rules.choices.settle_for_good(choice, &DBG_SS_004);
            if settled == BreakpointAfterMovSs::Suppressed {
                return Ok(false);
            }
        }
        let has_base = self.segment(SegmentName::Cs).base != 0 && self.mode() != Mode::Long64;
        if has_base && !self.rules.facilities.contains(&Facility::BreakpointWithCodeBase) {
            self.rules.facilities.push(Facility::BreakpointWithCodeBase);
        }
        if self.rules.broken(Defect::InstructionBreakpointIsTrap) {
            self.vcpu.debug.met = here;
            return Ok(false);
        }
        self.raise(Exception::debug(here))?;
        Ok(true)
    }

    /// #DB if general detect guards the debug registers (DBG-GD-001).
    ///
    /// # Errors
    /// #DB with DR6.BD.
    pub(in crate::x86) fn general_detect(&mut self) -> Step {
        if self.state().dr7 & dr7::GD == 0 {
            return Ok(());
        }
        if self.rules.broken(Defect::GeneralDetectIsTrap) {
            self.state_mut().dr7 &= !dr7::GD;
            self.vcpu.debug.met |= dr6::BD;
            return Ok(());
        }
        Err(Exception::debug(dr6::BD).into())
    }

    /// DR6 and DR7 when #DB is delivered: the causes are added, B0 to B3 are as this exception
    /// has them, the rest of DR6 stays, and GD is cleared (DBG-DR6-001 to DBG-DR6-005,
    /// DBG-GD-002). BTF is cleared, too (EXC-STEP-007).
    pub(in crate::x86) fn note_debug_exception(&mut self, causes: u64) {
        let old = self.state().dr6;
        let steps_only = causes & !dr6::BS == 0;
        let stale = if steps_only {
            0
        } else {
            old & dr6::BREAKPOINTS & !causes
        };
        let choice = self.rules.profile.debug.stale_breakpoints;
        let clears = stale != 0
            && self.rules.choices.settle_for_good(choice, &DBG_DR6_002) == StaleBreakpoints::Cleared;
        let kept = if clears { old & !stale } else { old };
        self.vcpu.debug.undefined = if causes & dr6::BS == 0 {
            0
        } else {
            dr6::BREAKPOINTS & !self.data_breakpoints_enabled()
        };
        let hidden = causes & dr6::BREAKPOINTS != 0 && self.rules.broken(Defect::BreakpointHidesStep);
        let causes = if hidden { causes & !dr6::BS } else { causes };
        let overwritten = self.rules.broken(Defect::Dr6Overwritten);
        let sets_bus_lock = self.rules.broken(Defect::BusLockBitSetByOthers);
        let keeps_guard = self.rules.broken(Defect::GeneralDetectStaysSet);
        if !self.rules.broken(Defect::BranchStepStaysSet) {
            self.vcpu.debug_control &= !debugctl::BTF;
        }
        let state = self.state_mut();
        state.dr6 = if overwritten {
            dr6_loaded(causes, false)
        } else if sets_bus_lock {
            kept | causes | dr6::BLD
        } else {
            kept | causes
        };
        if !keeps_guard {
            state.dr7 &= !dr7::GD;
        }
    }

    /// Delivers the debug trap that waits at this boundary, if one does (EXC-STEP-001,
    /// DBG-DATA-001, DBG-SS-002). Says what it was.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub(in crate::x86) fn take_debug_trap(&mut self) -> Result<Option<&'static str>, ModelError> {
        let causes = std::mem::take(&mut self.vcpu.debug.trap);
        if causes == 0 {
            return Ok(None);
        }
        let after_sti = self.state().events.shadow == Shadow::Sti;
        if after_sti && causes & dr6::BS != 0 && self.rules.broken(Defect::StepAfterStiFailsEntry) {
            self.vcpu.activity = Activity::EntryFailed;
            return Ok(Some("entry refused"));
        }
        self.raise(Exception::debug(causes))?;
        Ok(Some(if causes == dr6::BS {
            "#DB, single step"
        } else {
            "#DB, trap"
        }))
    }

    /// Works out the trap that follows an instruction that has completed. `stepping` is TF as it
    /// was when the instruction started. What MOV SS or POP SS has met waits for the next instruction
    /// (DBG-SS-001).
    pub(in crate::x86) fn note_completion(&mut self, instruction: &Instruction, stepping: bool) {
        let branched = std::mem::take(&mut self.vcpu.debug.branched) || always_branches(instruction);
        let stepping = stepping && (branched || self.vcpu.debug_control & debugctl::BTF == 0);
        let moved_ss = self.state().events.shadow == Shadow::MovSs;
        let was_held = std::mem::take(&mut self.vcpu.debug.held);
        let emulated = std::mem::take(&mut self.vcpu.debug.emulated);
        let returned_by_iret = std::mem::take(&mut self.vcpu.debug.returned_by_iret);
        let mut met = std::mem::take(&mut self.vcpu.debug.met);
        if emulated != Emulated::Not && self.rules.broken(Defect::EmulatorMissesDataBreakpoints) {
            met = 0;
        }
        let mut causes = met | was_held;
        let misses_step =
            emulated == Emulated::HostWrites && self.rules.broken(Defect::HostWriteIsNotStepped);
        if self.is_followed_by_step(instruction, stepping, emulated) && !misses_step && !returned_by_iret {
            causes |= dr6::BS;
        }
        let step_at_mov_ss = std::mem::take(&mut self.vcpu.debug.step_at_mov_ss);
        if moved_ss {
            self.vcpu.debug.step_at_mov_ss = stepping;
        } else if step_at_mov_ss && causes & dr6::BS == 0 && self.holds_step() {
            causes |= dr6::BS;
        }
        let ends_in_handler = was_held != 0 && is_system_entry(instruction);
        if ends_in_handler && self.rules.broken(Defect::HeldTrapLostAtInterrupt) {
            return;
        }
        if was_held != 0 && self.rules.broken(Defect::HeldTrapTakenForInt1) {
            let state = self.state_mut();
            state.rip = state.rip.wrapping_add(1);
        }
        let popped = instruction.mnemonic() == Mnemonic::Pop;
        if moved_ss && popped && causes != 0 && !self.rules.facilities.contains(&Facility::BreakpointOnPopSs)
        {
            self.rules.facilities.push(Facility::BreakpointOnPopSs);
        }
        let waits = moved_ss && !self.rules.broken(Defect::MovSsDoesNotHoldTraps);
        let steps_late = causes & dr6::BS;
        if waits {
            self.vcpu.debug.held = causes & !dr6::BS;
            self.vcpu.debug.trap |= steps_late;
        } else {
            self.vcpu.debug.trap |= causes;
        }
    }

    /// DBG-SS-003.
    fn holds_step(&mut self) -> bool {
        let choice = self.rules.profile.debug.step_at_mov_ss;
        self.rules.choices.settle_for_good(choice, &DBG_SS_003) == StepAtMovSs::Held
    }

    /// Whether a single-step trap follows an instruction that has completed (EXC-STEP-001): not
    /// if it started a MOV SS shadow (EXC-STEP-002), nor if it was a software interrupt, whose
    /// delivery has cleared TF, and with BTF set only if it has branched (EXC-STEP-006). After SYSCALL and SYSRET it is TF as they have left it that
    /// counts (SYS-STEP-001, SYS-STEP-002).
    fn is_followed_by_step(&self, instruction: &Instruction, stepping: bool, emulated: Emulated) -> bool {
        use Mnemonic as M;
        let steps_now = self.flag(flag::TF);
        let stepping = match instruction.mnemonic() {
            M::Syscall | M::Sysret | M::Sysretq if !self.rules.broken(Defect::SyscallStepsByOldTf) => {
                steps_now
            }
            M::Int | M::Int1 | M::Int3 | M::Into => stepping && steps_now,
            // The host has taken it out of the guest of Xen, which has executed nothing.
            M::Out | M::Hlt if self.state().xen_pv.is_some() => false,
            _ => stepping,
        };
        let moved_ss = self.state().events.shadow == Shadow::MovSs;
        let steps_at_once = self.rules.broken(Defect::SingleStepAfterMovSs)
            || emulated != Emulated::Not && self.rules.broken(Defect::EmulatedPopSsIsStepped);
        stepping && (!moved_ss || steps_at_once)
    }
}

/// Whether an instruction that has completed is a branch, conditional ones apart (EXC-STEP-006).
fn always_branches(instruction: &Instruction) -> bool {
    let hypercall = matches!(instruction.mnemonic(), Mnemonic::Vmcall | Mnemonic::Vmmcall);
    !hypercall
        && matches!(
            instruction.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Call
                | FlowControl::IndirectCall
        )
}

/// Whether an instruction continues in a handler of the kernel.
fn is_system_entry(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Int | M::Int1 | M::Int3 | M::Into | M::Syscall
    )
}
