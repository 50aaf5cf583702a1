//! String instructions with their repeat prefixes.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::After;
use super::choices::{ComparedFirst, PortsOfNothing};
use super::io::sync_point;
use super::operand::ones;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::StringEnd;
use crate::requirement::{DBG_DATA_004, INS_CMPS_001, INS_PORT_001, SMM_STRING_002};
use crate::x86::control::flag;
use crate::x86::debug::RepeatedStore;
use crate::x86::exception::Step;
use crate::x86::processor::Processor;
use crate::x86::segment::SegmentName;
use crate::x86::state::{RAX, RCX, RDI, RDX, RSI};

/// Iterations of one instruction that payloads need at most; the model would run on for hours
/// if RCX were large.
const MOST_ITERATIONS: u32 = 1 << 20;

/// What one iteration does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Move,
    Store,
    Load,
    Compare,
    Scan,
    Input,
    Output,
}

impl Processor<'_, '_> {
    /// Executes a string instruction to its end, or, where something comes between two
    /// iterations, to the end of one, with RIP at the instruction again: a single-step trap
    /// (EXC-STEP-001), a data breakpoint (DBG-DATA-003), or the stop at a sync point of OUTSB, at which the host may raise an
    /// event (SMM-STRING-001). An exception in an iteration leaves the registers as they were
    /// before that iteration (SDM vol. 2, REP), so nothing here may change a register before
    /// the iteration's accesses have succeeded.
    pub(super) fn execute_string(&mut self, instruction: &Instruction, points: usize) -> Step<After> {
        let (operation, width) = shape(instruction)?;
        let (source, mask) = self.string_source(instruction);
        let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        for _ in 0..MOST_ITERATIONS {
            if repeated && self.state().general[RCX] & mask == 0 {
                self.check_port_of_nothing(operation, width)?;
                return Ok(After::Continue);
            }
            let after = self.iterate(operation, width, (source, mask), points)?;
            if !repeated {
                return Ok(after);
            }
            self.advance(RCX, -1, mask);
            let compares = matches!(operation, Operation::Compare | Operation::Scan);
            if compares && self.flag(flag::ZF) != instruction.has_rep_prefix() {
                return Ok(after);
            }
            let steps = self.flag(flag::TF) && !self.rules.broken(Defect::RepeatIsOneStep);
            let watched = self.vcpu.debug.met != 0 && self.reports_between_iterations(operation);
            if steps || watched || after != After::Continue {
                let more = self.state().general[RCX] & mask != 0;
                let ends = after != After::Continue && self.rules.broken(Defect::StringEndsAtEvent);
                if !ends && (more || self.stays_after_last_iteration(after, steps)) {
                    self.state_mut().rip = instruction.ip();
                }
                return Ok(after);
            }
        }
        let message = format!("a string instruction repeats more than {MOST_ITERATIONS} times");
        Err(ModelError::NotModelled(message).into())
    }

    /// INS-PORT-001.
    fn check_port_of_nothing(&mut self, operation: Operation, width: usize) -> Step {
        let port = self.state().general[RDX] as u16;
        if !matches!(operation, Operation::Input | Operation::Output) || self.check_port(port, width).is_ok()
        {
            return Ok(());
        }
        let choice = self.rules.profile.instructions.ports_of_nothing;
        match self.rules.choices.settle_for_good(choice, &INS_PORT_001) {
            PortsOfNothing::Unchecked => Ok(()),
            PortsOfNothing::Checked => self.check_port(port, width),
        }
    }

    /// Whether RIP is still at the instruction when the count has become 0 (SMM-STRING-002).
    fn stays_after_last_iteration(&mut self, after: After, steps: bool) -> bool {
        if after == After::Continue {
            return steps && self.rules.broken(Defect::SteppedStringEndsLate);
        }
        let choice = self.rules.profile.string_end;
        self.rules.choices.settle_for_good(choice, &SMM_STRING_002) == StringEnd::AtInstruction
    }

    /// Whether a data breakpoint ends the run of iterations (DBG-DATA-003, DBG-DATA-004).
    fn reports_between_iterations(&mut self, operation: Operation) -> bool {
        if self.rules.broken(Defect::DataBreakpointAfterRepeat) {
            return false;
        }
        if !matches!(operation, Operation::Move | Operation::Store) {
            return true;
        }
        let choice = self.rules.profile.debug.repeated_store;
        self.rules.choices.settle_for_good(choice, &DBG_DATA_004) == RepeatedStore::AfterIteration
    }

    fn string_source(&self, instruction: &Instruction) -> (SegmentName, u64) {
        let source = self.override_that_counts(instruction).unwrap_or(SegmentName::Ds);
        let mut mask = ones((self.code_bits() / 8) as usize);
        for operand in 0..instruction.op_count() {
            mask = match instruction.op_kind(operand) {
                OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => 0xffff,
                OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => 0xffff_ffff,
                OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => u64::MAX,
                _ => continue,
            };
        }
        (source, mask)
    }

    /// One iteration; `source` is the source's segment and the mask of the address size.
    fn iterate(
        &mut self,
        operation: Operation,
        width: usize,
        (source, mask): (SegmentName, u64),
        points: usize,
    ) -> Step<After> {
        let mut after = After::Continue;
        let general = &self.state().general;
        let (from, to, accumulator, port) = (
            general[RSI] & mask,
            general[RDI] & mask,
            general[RAX] & ones(width),
            general[RDX] as u16,
        );
        let step = if self.flag(flag::DF) {
            -(width as i64)
        } else {
            width as i64
        };
        match operation {
            Operation::Move => {
                let value = self.read_segment(source, from, width)?;
                self.write_segment(SegmentName::Es, to, width, value)?;
            }
            Operation::Store => self.write_segment(SegmentName::Es, to, width, accumulator)?,
            Operation::Load => {
                let value = self.read_segment(source, from, width)?;
                let rax = &mut self.state_mut().general[RAX];
                *rax = if width >= 4 {
                    value
                } else {
                    *rax & !ones(width) | value
                };
            }
            Operation::Compare => {
                let (left, right) = self.read_compared((source, from), (SegmentName::Es, to), width)?;
                self.subtract(left, right, 0, width);
            }
            Operation::Scan => {
                let right = self.read_segment(SegmentName::Es, to, width)?;
                self.subtract(accumulator, right, 0, width);
            }
            Operation::Input => {
                self.check_port(port, width)?;
                self.check_writable(SegmentName::Es, to, width)?;
                let value = self.read_port(port, width);
                self.note_port_access(port, width);
                self.write_segment(SegmentName::Es, to, width, value)?;
            }
            Operation::Output => {
                self.check_port(port, width)?;
                let value = self.read_segment(source, from, width)?;
                self.note_port_access(port, width);
                match sync_point(port, width, points) {
                    Some(point) => after = After::Sync(point),
                    None => self.write_port(port, width, value)?,
                }
            }
        }
        let reads_source = matches!(
            operation,
            Operation::Move | Operation::Load | Operation::Compare | Operation::Output
        );
        if reads_source {
            self.advance(RSI, step, mask);
        }
        if !matches!(operation, Operation::Load | Operation::Output) {
            self.advance(RDI, step, mask);
        }
        Ok(after)
    }

    /// The two items of CMPS. Which is read first shows if neither can be (INS-CMPS-001).
    fn read_compared(
        &mut self,
        source: (SegmentName, u64),
        destination: (SegmentName, u64),
        width: usize,
    ) -> Step<(u64, u64)> {
        let choice = self.rules.profile.instructions.compared_first;
        let settled = self.rules.choices.settle_for_good(choice, &INS_CMPS_001);
        if settled == ComparedFirst::Source {
            let left = self.read_segment(source.0, source.1, width)?;
            let right = self.read_segment(destination.0, destination.1, width)?;
            return Ok((left, right));
        }
        let right = self.read_segment(destination.0, destination.1, width)?;
        let left = self.read_segment(source.0, source.1, width)?;
        Ok((left, right))
    }

    fn advance(&mut self, register: usize, delta: i64, mask: u64) {
        let slot = &mut self.state_mut().general[register];
        let value = slot.wrapping_add_signed(delta) & mask;
        *slot = if mask == 0xffff {
            *slot & !mask | value
        } else {
            value
        };
    }
}

fn shape(instruction: &Instruction) -> Result<(Operation, usize), ModelError> {
    use Mnemonic as M;
    Ok(match instruction.mnemonic() {
        M::Movsb => (Operation::Move, 1),
        M::Movsw => (Operation::Move, 2),
        M::Movsd => (Operation::Move, 4),
        M::Movsq => (Operation::Move, 8),
        M::Stosb => (Operation::Store, 1),
        M::Stosw => (Operation::Store, 2),
        M::Stosd => (Operation::Store, 4),
        M::Stosq => (Operation::Store, 8),
        M::Lodsb => (Operation::Load, 1),
        M::Lodsw => (Operation::Load, 2),
        M::Lodsd => (Operation::Load, 4),
        M::Lodsq => (Operation::Load, 8),
        M::Cmpsb => (Operation::Compare, 1),
        M::Cmpsw => (Operation::Compare, 2),
        M::Cmpsd => (Operation::Compare, 4),
        M::Cmpsq => (Operation::Compare, 8),
        M::Scasb => (Operation::Scan, 1),
        M::Scasw => (Operation::Scan, 2),
        M::Scasd => (Operation::Scan, 4),
        M::Scasq => (Operation::Scan, 8),
        M::Insb => (Operation::Input, 1),
        M::Insw => (Operation::Input, 2),
        M::Insd => (Operation::Input, 4),
        M::Outsb => (Operation::Output, 1),
        M::Outsw => (Operation::Output, 2),
        M::Outsd => (Operation::Output, 4),
        other => {
            return Err(ModelError::BadScenario(format!(
                "{other:?} is not a string instruction"
            )));
        }
    })
}
