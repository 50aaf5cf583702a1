//! Moving data: MOV in all forms, PUSH, POP, XCHG, LEA, extensions.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::choices::{PopAllAtFault, PushAllAtEnd, PushAllAtFault, PushOfSelector};
use super::operand::{ones, sign_extend};
use crate::defect::Defect;
use crate::requirement::{INS_POP_001, INS_PUSH_001, INS_PUSH_002, INS_PUSH_003};
use crate::x86::control::flag;
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::{RAX, RDX, RSP, Shadow};

impl Processor<'_, '_> {
    /// Executes a data movement.
    pub(super) fn execute_movement(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        match instruction.mnemonic() {
            M::Mov => self.mov(instruction)?,
            M::Movzx => {
                let value = self.read_operand(instruction, 1)?;
                self.write_operand(instruction, 0, value)?;
            }
            M::Movsx | M::Movsxd => {
                let width = self.width(instruction, 1);
                let value = self.read_operand(instruction, 1)?;
                self.write_operand(instruction, 0, sign_extend(value, width))?;
            }
            M::Lea => {
                let address = self.address(instruction)?;
                self.write_operand(instruction, 0, address.offset)?;
            }
            M::Xchg => {
                let (destination, first) = self.read_to_write(instruction)?;
                let second = self.read_operand(instruction, 1)?;
                self.write_operand(instruction, 1, first)?;
                self.write_back(destination, second)?;
            }
            M::Push => self.push_instruction(instruction)?,
            M::Pop => self.pop_instruction(instruction)?,
            M::Pusha | M::Pushad => self.push_all(if instruction.mnemonic() == M::Pusha { 2 } else { 4 })?,
            M::Popa | M::Popad => self.pop_all(if instruction.mnemonic() == M::Popa { 2 } else { 4 })?,
            M::Pushf => self.push_flags(2)?,
            M::Pushfd => self.push_flags(4)?,
            M::Pushfq => self.push_flags(8)?,
            M::Popf => self.pop_flags(2)?,
            M::Popfd => self.pop_flags(4)?,
            M::Popfq => self.pop_flags(8)?,
            M::Cbw => self.extend_accumulator(1, 2),
            M::Cwde => self.extend_accumulator(2, 4),
            M::Cdqe => self.extend_accumulator(4, 8),
            M::Cwd => self.sign_into_rdx(2),
            M::Cdq => self.sign_into_rdx(4),
            M::Cqo => self.sign_into_rdx(8),
            M::Lahf => {
                let flags = self.state().rflags & 0xff;
                self.set_register(Register::AH, flags);
            }
            M::Sahf => {
                let low = flag::CF | flag::PF | flag::AF | flag::ZF | flag::SF;
                let flags = self.register(Register::AH) & low;
                self.set_flag(low, false);
                self.set_flag(flags, true);
            }
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(())
    }

    fn mov(&mut self, instruction: &Instruction) -> Step {
        if let Some(name) = self.segment_operand(instruction, 0) {
            let selector = self.read_operand(instruction, 1)? as u16;
            return self.load_segment_instruction(name, selector);
        }
        let (to, from) = (instruction.op_register(0), instruction.op_register(1));
        let is_register = |operand: u32| instruction.op_kind(operand) == OpKind::Register;
        if is_register(0) && (to.is_cr() || to.is_dr()) {
            let value = self.register(from);
            return self.move_to_special(to, value);
        }
        if is_register(1) && (from.is_cr() || from.is_dr()) {
            let value = self.move_from_special(from)?;
            self.set_register(to, value);
            return Ok(());
        }
        let value = self.read_operand(instruction, 1)?;
        self.write_operand(instruction, 0, value)
    }

    /// MOV and POP to a segment register. SS starts an interrupt shadow (EXC-SHADOW-001,
    /// NMI-MASK-007).
    fn load_segment_instruction(&mut self, name: SegmentName, selector: u16) -> Step {
        if name == SegmentName::Cs {
            return Err(Exception::UNDEFINED.into());
        }
        self.load_data_segment(name, selector)?;
        if name == SegmentName::Ss && !self.rules.broken(Defect::MovSsShadowMissing) {
            self.start_shadow(Shadow::MovSs);
        }
        Ok(())
    }

    fn push_instruction(&mut self, instruction: &Instruction) -> Step {
        let width = instruction.stack_pointer_increment().unsigned_abs() as usize;
        let value = match instruction.op_kind(0) {
            OpKind::Register if self.segment_operand(instruction, 0).is_none() => {
                self.register(instruction.op_register(0))
            }
            OpKind::Register => return self.push_segment(instruction, width),
            _ => self.read_operand(instruction, 0)?,
        };
        self.push(value, width)
    }

    /// PUSH of a segment register. With a 32-bit operand some processors write the selector only
    /// and leave the upper half of the slot as it was (INS-PUSH-001).
    fn push_segment(&mut self, instruction: &Instruction, width: usize) -> Step {
        let selector = self.read_operand(instruction, 0)?;
        if width == 4 {
            let choice = self.rules.profile.instructions.push_of_selector;
            let settled = self.rules.choices.settle_for_good(choice, &INS_PUSH_001);
            if settled == PushOfSelector::SelectorOnly {
                let offset = self.state().general[RSP].wrapping_sub(4) & self.stack_mask();
                self.write_segment(SegmentName::Ss, offset, 2, selector)?;
                self.move_stack(-4);
                return Ok(());
            }
        }
        self.push(selector, width)
    }

    /// POP. The stack pointer moves by the width of the stack that was popped from, also where
    /// SS itself is loaded (INS-STACK-001).
    fn pop_instruction(&mut self, instruction: &Instruction) -> Step {
        let width = instruction.stack_pointer_increment().unsigned_abs() as usize;
        let value = self.peek(0, width)?;
        if let Some(name) = self.segment_operand(instruction, 0)
            && self.rules.broken(Defect::PopSsMovesByNewStack)
        {
            self.load_segment_instruction(name, value as u16)?;
            self.move_stack(width as i64);
            return Ok(());
        }
        self.move_stack(width as i64);
        if let Some(name) = self.segment_operand(instruction, 0) {
            return self.load_segment_instruction(name, value as u16);
        }
        // The destination's address is computed after RSP has moved (SDM vol. 2, POP).
        self.write_operand(instruction, 0, value)
    }

    /// PUSHA and PUSHAD, which store EAX first (INS-PUSH-004). Where the stack of real mode ends at an odd address within the values it
    /// is #GP or #SS (INS-PUSH-002).
    fn push_all(&mut self, width: usize) -> Step {
        if self.mode() == Mode::Long64 {
            return Err(Exception::UNDEFINED.into());
        }
        let general = self.state().general;
        let top = general[RSP] & self.stack_mask();
        if self.mode() == Mode::Real && matches!(top, 7 | 9 | 11 | 13 | 15) {
            let choice = self.rules.profile.instructions.push_all_at_end;
            let settled = self.rules.choices.settle_for_good(choice, &INS_PUSH_002);
            if settled == PushAllAtEnd::GeneralProtection {
                return Err(Exception::GP0.into());
            }
        }
        if self.rules.broken(Defect::PushAllFromTheLast) {
            return self.push_all_from_the_last(width);
        }
        if !self.rules.broken(Defect::PushAllWritesAsItGoes) && !self.push_all_faults_late(width) {
            return self.push_all_or_none(&general[..8], width);
        }
        for value in &general[..8] {
            if let Err(fault) = self.push(*value, width) {
                self.state_mut().general[RSP] = general[RSP];
                return Err(fault);
            }
        }
        Ok(())
    }

    fn push_all_from_the_last(&mut self, width: usize) -> Step {
        let general = self.state().general;
        for (slot, value) in (1..=8).rev().zip(general[..8].iter().rev()) {
            let offset = general[RSP].wrapping_sub(slot * width as u64) & self.stack_mask();
            self.write_segment(SegmentName::Ss, offset, width, value & ones(width))?;
        }
        self.move_stack(-8 * width as i64);
        Ok(())
    }

    /// Whether a PUSHA faults and leaves in memory what it has pushed before (INS-PUSH-003).
    fn push_all_faults_late(&mut self, width: usize) -> bool {
        if self.mode() != Mode::Protected || self.check_pushes(8, width).is_ok() {
            return false;
        }
        let choice = self.rules.profile.instructions.push_all_at_fault;
        self.rules.choices.settle_for_good(choice, &INS_PUSH_003) == PushAllAtFault::Written
    }

    /// POPA and POPAD. One that faults may have loaded registers (INS-POP-001).
    fn pop_all(&mut self, width: usize) -> Step {
        if self.mode() == Mode::Long64 {
            return Err(Exception::UNDEFINED.into());
        }
        let before = self.state().general;
        for index in (0..8).rev() {
            let value = match self.pop(width) {
                Ok(value) => value,
                Err(fault) => {
                    let general = &mut self.state_mut().general;
                    general[RSP] = before[RSP];
                    if *general != before && !self.keeps_popped() {
                        self.state_mut().general = before;
                    }
                    return Err(fault);
                }
            };
            if index != RSP {
                let slot = &mut self.state_mut().general[index];
                *slot = *slot & !ones(width) | value;
            }
        }
        Ok(())
    }

    fn keeps_popped(&mut self) -> bool {
        let choice = self.rules.profile.instructions.pop_all_at_fault;
        self.rules.choices.settle_for_good(choice, &INS_POP_001) == PopAllAtFault::Popped
    }

    fn push_flags(&mut self, width: usize) -> Step {
        let flags = self.state().rflags & !(flag::VM | flag::RF);
        self.push(flags, width)
    }

    fn pop_flags(&mut self, width: usize) -> Step {
        let value = self.pop(width)?;
        let changeable = self.changeable_flags(width) & !flag::RF;
        let kept = self.state().rflags & !changeable & !flag::RF;
        self.load_flags(kept | value & changeable);
        Ok(())
    }

    /// The flags that POPF and IRET of this width can change at the current CPL (SDM vol. 2,
    /// POPF).
    pub(super) fn changeable_flags(&self, width: usize) -> u64 {
        let mut flags = flag::ARITHMETIC | flag::TF | flag::DF | flag::NT;
        if width > 2 {
            flags |= flag::RF | flag::AC | flag::ID;
        }
        if self.cpl() <= self.iopl() {
            flags |= flag::IF;
        }
        if self.cpl() == 0 {
            flags |= flag::IOPL;
        }
        flags
    }

    fn extend_accumulator(&mut self, from: usize, to: usize) {
        let value = sign_extend(self.state().general[RAX], from) & ones(to);
        let rax = &mut self.state_mut().general[RAX];
        *rax = if to >= 4 { value } else { *rax & !ones(to) | value };
    }

    fn sign_into_rdx(&mut self, width: usize) {
        let negative = self.state().general[RAX] & super::operand::sign_bit(width) != 0;
        let value = if negative { ones(width) } else { 0 };
        let rdx = &mut self.state_mut().general[RDX];
        *rdx = if width >= 4 {
            value
        } else {
            *rdx & !ones(width) | value
        };
    }
}
