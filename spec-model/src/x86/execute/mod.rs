//! Executing one instruction of the closed set.

mod arithmetic;
mod bits;
mod branch;
mod io;
mod movement;
mod operand;
mod return_from_interrupt;
mod string;
mod system;

use iced_x86::{Formatter, Instruction, Mnemonic, NasmFormatter};

use super::exception::{BP, Event, Exception, OF, Source, Step};
use super::processor::Processor;
use super::segment::SegmentName;
use crate::error::ModelError;
use crate::scenario::PointId;

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
    /// Executes a decoded instruction (EXC-UD-001, EXC-OF-001, EXC-HLT-001 here, the rest by
    /// chapter). RIP already points behind it.
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
        match instruction.mnemonic() {
            _ if instruction.is_string_instruction() => return self.execute_string(instruction, points),
            M::Nop | M::Pause | M::Wbinvd | M::Wait | M::Endbr64 | M::Endbr32 => {
                if instruction.mnemonic() == M::Wbinvd {
                    self.require_kernel()?;
                }
            }
            M::Hlt => {
                self.require_kernel()?;
                return Ok(After::Halt);
            }
            M::Out | M::In => return self.execute_port(instruction, points),
            M::Int => self.software_interrupt(instruction.immediate8())?,
            M::Int3 => self.software_interrupt(BP)?,
            M::Into => {
                if self.flag(super::control::flag::OF) {
                    self.software_interrupt(OF)?;
                }
            }
            M::Ud2 => return Err(Exception::UNDEFINED.into()),
            M::Iret | M::Iretd | M::Iretq => self.interrupt_return(instruction)?,
            M::Rsm => self.resume_from_smm()?,
            _ if self.execute_movement(instruction)? => {}
            _ if self.execute_arithmetic(instruction)? => {}
            _ if self.execute_bits(instruction)? => {}
            _ if self.execute_branch(instruction)? => {}
            _ if self.execute_system(instruction)? => {}
            _ => return Err(unknown(self.linear_ip(instruction), instruction).into()),
        }
        Ok(After::Continue)
    }

    /// INT n, INT3 and INTO: the return address is the next instruction (EXC-BP-001). If the
    /// delivery faults, the fault reports the INT instruction itself, as for any other.
    fn software_interrupt(&mut self, vector: u8) -> Step {
        if self.state().xen_pv.is_some() {
            return self.bounce_software_interrupt(vector);
        }
        let event = Event {
            vector,
            error_code: None,
            source: Source::Software,
        };
        self.deliver(event)
    }

    fn linear_ip(&self, instruction: &Instruction) -> u64 {
        self.segment(SegmentName::Cs).base.wrapping_add(instruction.ip())
    }

    /// #GP(0) unless CPL is 0 (EXC-PRIV-001).
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn require_kernel(&self) -> Step {
        if self.cpl() == 0 {
            Ok(())
        } else {
            Err(Exception::GP0.into())
        }
    }
}

/// The error for an instruction outside the closed set.
fn unknown(address: u64, instruction: &Instruction) -> ModelError {
    let mut text = String::new();
    NasmFormatter::new().format(instruction, &mut text);
    ModelError::UnknownInstruction {
        instruction: text,
        address,
    }
}
