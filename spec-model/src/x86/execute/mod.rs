//! Executing one instruction of the closed set.

mod arithmetic;
mod bits;
mod branch;
mod choices;
mod cpuid;
mod hypercall;
mod io;
mod movement;
mod operand;
mod return_from_interrupt;
mod string;
mod sysenter;
mod system;
mod system_call;

pub use choices::{
    ComparedFirst, EntriesAboveFault, FarCall, FarPointer, FrameOrder, InstructionChoices, NearBranch,
    NearCall, OffsetBeforeBase, PauseWithRex, PopAllAtFault, PortsOfNothing, PushAllAtEnd, PushAllAtFault,
    PushOfSelector, ResumeOfInterrupt, ReturnedStack, UndefinedOperand,
};
pub use cpuid::TOLD_BY_CPUID;
use iced_x86::{Formatter, Instruction, Mnemonic, NasmFormatter};

use super::control::{cr0, flag};
use super::debug::{FaultOfInt1, HeldAtInt1, dr6};
use super::exception::{BP, DB, Event, Exception, Interruption, NM, OF, Source, Step};
use super::instruction_set::{Group, group};
use super::processor::Processor;
use super::segment::SegmentName;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::requirement::{DBG_INT1_003, DBG_SS_005, EXC_FRAME_001, EXC_FRAME_007};
use crate::scenario::PointId;

/// CR0.MP and CR0.TS, with which WAIT raises #NM.
const WAITS_FOR_SWITCH: u64 = cr0::MP | cr0::TS;

/// What follows an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next instruction.
    Continue,
    /// The host regains control at a sync point.
    Sync(PointId),
    /// The processor waits for an event.
    Halt,
    /// The hypervisor cannot go on.
    GivenUp,
}

impl Processor<'_, '_> {
    /// Executes a decoded instruction (EXC-UD-001, EXC-OF-001, EXC-HLT-001, INS-SET-001 here, the
    /// rest by chapter). RIP already points behind it.
    ///
    /// # Errors
    /// The exception that it raises, or that the model does not know the instruction.
    pub fn execute(&mut self, instruction: &Instruction, points: usize) -> Step<After> {
        use Mnemonic as M;
        if self.state().xen_pv.is_some()
            && let Some(after) = self.execute_in_guest(instruction, points)?
        {
            return Ok(after);
        }
        let Some(group) = group(instruction.code()) else {
            return Err(self.unknown(instruction).into());
        };
        match group {
            Group::Idle => match instruction.mnemonic() {
                M::Wbinvd => self.require_kernel()?,
                M::Wait if self.state().cr0 & WAITS_FOR_SWITCH == WAITS_FOR_SWITCH => {
                    return Err(Exception::plain(NM).into());
                }
                _ => {}
            },
            Group::String => return self.execute_string(instruction, points),
            Group::Port => return self.execute_port(instruction, points),
            Group::Event => return self.execute_event(instruction),
            Group::Undefined if self.rules.broken(Defect::UndefinedOpcodeBehind) => {
                self.raise(Exception::UNDEFINED)?;
            }
            Group::Undefined => return Err(Exception::UNDEFINED.into()),
            Group::Movement => self.execute_movement(instruction)?,
            Group::Arithmetic => self.execute_arithmetic(instruction)?,
            Group::Bits => self.execute_bits(instruction)?,
            Group::Branch => self.execute_branch(instruction)?,
            Group::System => self.execute_system(instruction)?,
        }
        Ok(After::Continue)
    }

    /// HLT, software interrupts and IRET.
    fn execute_event(&mut self, instruction: &Instruction) -> Step<After> {
        use Mnemonic as M;
        match instruction.mnemonic() {
            M::Hlt => {
                self.require_kernel()?;
                if !self.rules.broken(Defect::HltDoesNotStop) {
                    return Ok(After::Halt);
                }
            }
            M::Int => self.software_interrupt(instruction, instruction.immediate8())?,
            M::Int1 => self.debug_interrupt()?,
            M::Int3 => self.software_interrupt(instruction, BP)?,
            M::Into => {
                if self.flag(flag::OF) {
                    self.software_interrupt(instruction, OF)?;
                }
            }
            M::Iret | M::Iretd | M::Iretq => self.interrupt_return(instruction)?,
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(After::Continue)
    }

    /// INT n, INT3 and INTO: the return address is the next instruction, one byte after CC and two
    /// after CD 03 (EXC-BP-001, EXC-BP-002, EXC-FRAME-007). If the delivery faults, the fault reports the INT
    /// instruction itself, as for any other.
    fn software_interrupt(&mut self, instruction: &Instruction, vector: u8) -> Step {
        if self.state().xen_pv.is_some() {
            return self.bounce_software_interrupt(instruction, vector);
        }
        let event = Event {
            vector,
            error_code: None,
            source: Source::Software,
        };
        let is_long = instruction.mnemonic() == Mnemonic::Int && vector == BP;
        if is_long && self.rules.broken(Defect::IntThreeIsOneByte) {
            self.state_mut().rip = instruction.ip().wrapping_add(1);
        }
        if self.rules.broken(Defect::SoftwareInterruptRetried) {
            self.state_mut().rip = instruction.ip();
        }
        if self.flag(flag::RF) {
            let choice = self.rules.profile.instructions.resume_of_interrupt;
            if self.rules.choices.settle_for_good(choice, &EXC_FRAME_007) == ResumeOfInterrupt::Cleared {
                self.set_flag(flag::RF, false);
            }
        }
        if let Err(interruption) = self.deliver(event) {
            let Interruption::Exception(exception) = interruption else {
                return Err(interruption);
            };
            if self.rules.broken(Defect::FaultOfSoftwareInterruptBehind) && self.injected_anew(&EXC_FRAME_001)
            {
                return Ok(self.raise(exception)?);
            }
            return Err(interruption);
        }
        // What has been pushed is no access of the program's.
        self.vcpu.debug.met = 0;
        Ok(())
    }

    /// INT1: a #DB that no condition caused (DBG-INT1-001). It counts as an event that the
    /// processor found: any gate will do, and a fault in its delivery has EXT set (DBG-INT1-002) and
    /// reports the INT1 or what follows it (DBG-INT1-003).
    fn debug_interrupt(&mut self) -> Step {
        if self.rules.broken(Defect::Int1IsFault) {
            return Err(Exception::debug(0).into());
        }
        let source = if self.rules.broken(Defect::Int1ChecksDpl) {
            Source::Software
        } else {
            Source::Hardware
        };
        let event = Event {
            vector: DB,
            error_code: None,
            source,
        };
        if let Err(interruption) = self.deliver(event) {
            let Interruption::Exception(exception) = interruption else {
                return Err(interruption);
            };
            let exception = self.with_ext(exception, source);
            let choice = self.rules.profile.debug.fault_of_int1;
            if self.rules.choices.settle_for_good(choice, &DBG_INT1_003) == FaultOfInt1::AtInstruction {
                return Err(exception.into());
            }
            return Ok(self.raise(exception)?);
        }
        self.vcpu.debug.met = 0;
        let step = if self.rules.broken(Defect::Int1ReportsStep) {
            dr6::BS
        } else {
            0
        };
        let reported = step | self.held_at_int1();
        self.note_debug_exception(reported);
        Ok(())
    }

    /// What MOV SS has held off and the exception of INT1 reports with its own (DBG-SS-005).
    fn held_at_int1(&mut self) -> u64 {
        if self.vcpu.debug.held == 0 {
            return 0;
        }
        let choice = self.rules.profile.debug.held_at_int1;
        match self.rules.choices.settle_for_good(choice, &DBG_SS_005) {
            HeldAtInt1::InHandler => 0,
            HeldAtInt1::Merged => std::mem::take(&mut self.vcpu.debug.held),
        }
    }

    fn linear_ip(&self, instruction: &Instruction) -> u64 {
        self.segment(SegmentName::Cs).base.wrapping_add(instruction.ip())
    }

    /// The error for an instruction outside the closed set.
    fn unknown(&self, instruction: &Instruction) -> ModelError {
        let mut text = String::new();
        NasmFormatter::new().format(instruction, &mut text);
        ModelError::UnknownInstruction {
            instruction: text,
            address: self.linear_ip(instruction),
        }
    }

    /// #GP(0) unless CPL is 0 (EXC-PRIV-001).
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn require_kernel(&self) -> Step {
        if self.cpl() == 0 || self.rules.broken(Defect::PrivilegeUnchecked) {
            Ok(())
        } else {
            Err(Exception::GP0.into())
        }
    }
}
