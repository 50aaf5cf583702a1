//! Operands: registers, memory and immediates.

use iced_x86::{Instruction, OpKind, Register};

use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::exception::Step;
use crate::x86::paging::{Privilege, Purpose};
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::RSP;

/// All bits of a value of `width` bytes.
pub(in crate::x86) const fn ones(width: usize) -> u64 {
    if width >= 8 {
        u64::MAX
    } else {
        (1 << (8 * width)) - 1
    }
}

/// The top bit of a value of `width` bytes.
pub(in crate::x86) const fn sign_bit(width: usize) -> u64 {
    1 << (8 * width - 1)
}

/// Sign extension from `width` bytes.
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sign extension is the purpose"
)]
pub(in crate::x86) const fn sign_extend(value: u64, width: usize) -> u64 {
    let shift = 64 - 8 * width as u32;
    ((value << shift) as i64 >> shift) as u64
}

/// A resolved memory operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub segment: SegmentName,
    pub offset: u64,
    /// The bits of the address size.
    mask: u64,
}

impl Address {
    /// Where the operand's part lies that begins `bytes` further on. Offsets wrap with the
    /// address size (INS-ADDR-002).
    pub(super) const fn after(self, bytes: u64) -> Self {
        Self {
            offset: self.offset.wrapping_add(bytes) & self.mask,
            ..self
        }
    }
}

/// A destination that is read before it is written. The address is that of before the
/// instruction, whatever it changes in between (INS-ADDR-001).
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination {
    /// A register.
    Register(Register),
    /// `width` bytes at a linear address.
    Memory { linear: u64, width: usize },
}

fn segment_of(register: Register) -> Option<SegmentName> {
    Some(match register {
        Register::ES => SegmentName::Es,
        Register::CS => SegmentName::Cs,
        Register::SS => SegmentName::Ss,
        Register::DS => SegmentName::Ds,
        Register::FS => SegmentName::Fs,
        Register::GS => SegmentName::Gs,
        _ => return None,
    })
}

impl Processor<'_, '_> {
    /// Reads a register of any size, zero-extended. A byte register that needs REX is the low
    /// byte of its own register (INS-REG-001).
    pub(in crate::x86) fn register(&self, register: Register) -> u64 {
        let state = self.state();
        if let Some(segment) = segment_of(register) {
            return u64::from(state.segment(segment).selector);
        }
        let register = self.byte_register(register);
        if is_high_byte(register) {
            return state.general[general_number(register)] >> 8 & 0xff;
        }
        match register {
            Register::RIP | Register::EIP => state.rip,
            Register::None => 0,
            _ => state.general[general_number(register)] & ones(register.size()),
        }
    }

    /// Writes a general register; 32-bit writes clear the upper half (SDM vol. 1, "General-
    /// Purpose Registers in 64-Bit Mode"), also outside 64-bit mode, where it cannot be seen.
    pub(in crate::x86) fn set_register(&mut self, register: Register, value: u64) {
        let register = self.byte_register(register);
        let general = &mut self.state_mut().general;
        if is_high_byte(register) {
            let slot = &mut general[general_number(register)];
            *slot = *slot & !0xff00 | (value & 0xff) << 8;
            return;
        }
        let slot = &mut general[general_number(register)];
        *slot = match register.size() {
            8 => value,
            4 => value & 0xffff_ffff,
            width => *slot & !ones(width) | value & ones(width),
        };
    }

    /// The register that a byte register is; another one with a defect.
    fn byte_register(&self, register: Register) -> Register {
        if !self.rules.broken(Defect::RexByteRegisterIsHighByte) {
            return register;
        }
        match register {
            Register::SPL => Register::AH,
            Register::BPL => Register::CH,
            Register::SIL => Register::DH,
            Register::DIL => Register::BH,
            other => other,
        }
    }

    /// Width of an operand in bytes.
    pub(super) fn width(&self, instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            OpKind::Immediate8 => 1,
            OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
            OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
            OpKind::Immediate64 | OpKind::Immediate8to64 | OpKind::Immediate32to64 => 8,
            _ => instruction.memory_size().size(),
        }
    }

    /// The memory operand's segment and offset.
    pub(super) fn address(&self, instruction: &Instruction) -> Step<Address> {
        let base = instruction.memory_base();
        let segment = self
            .override_that_counts(instruction)
            .unwrap_or_else(|| default_segment(base));
        let index = instruction.memory_index();
        let width = if base != Register::None {
            base.size()
        } else if index != Register::None {
            index.size()
        } else {
            match instruction.memory_displ_size() {
                0 => (self.code_bits() / 8) as usize,
                width => width as usize,
            }
        };
        let offset = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else {
            let scaled = self
                .register(index)
                .wrapping_mul(u64::from(instruction.memory_index_scale()));
            let displacement = instruction.memory_displacement64();
            self.register(base)
                .wrapping_add(scaled)
                .wrapping_add(displacement)
        };
        Ok(Address {
            segment,
            offset: offset & ones(width),
            mask: ones(width),
        })
    }

    /// The segment that a prefix names instead of the default one. 64-bit code ignores all
    /// but FS and GS (INS-SEG-001).
    pub(super) fn override_that_counts(&self, instruction: &Instruction) -> Option<SegmentName> {
        let named = segment_of(instruction.segment_prefix())?;
        let has_base = matches!(named, SegmentName::Fs | SegmentName::Gs);
        let counts = has_base || self.mode() != Mode::Long64;
        (counts || self.rules.broken(Defect::OverridesCountIn64BitCode)).then_some(named)
    }

    /// Reads the first operand of an instruction that goes on to write it. Memory must be
    /// writable before anything is read: a page fault is one of a write, and the rights of the
    /// segment come before pages (INS-RMW-001).
    ///
    /// # Errors
    /// #GP(0), #SS(0) or #PF.
    pub(super) fn read_to_write(&mut self, instruction: &Instruction) -> Step<(Destination, u64)> {
        if instruction.op_kind(0) == OpKind::Register {
            let register = instruction.op_register(0);
            return Ok((Destination::Register(register), self.register(register)));
        }
        let address = self.address(instruction)?;
        self.read_memory_to_write(instruction, address)
    }

    /// The same for memory at an address that the caller has worked out.
    ///
    /// # Errors
    /// #GP(0), #SS(0) or #PF.
    pub(super) fn read_memory_to_write(
        &mut self,
        instruction: &Instruction,
        address: Address,
    ) -> Step<(Destination, u64)> {
        let width = instruction.memory_size().size();
        let linear = self.linear(address.segment, address.offset, width, true)?;
        if self.rules.broken(Defect::ReadModifyWriteFaultsAsRead) {
            let value = self.read_linear(linear, width, Privilege::Program)?;
            self.translate_all(linear, width, Purpose::Write)?;
            return Ok((Destination::Memory { linear, width }, value));
        }
        self.translate_all(linear, width, Purpose::Write)?;
        let value = self.read_linear(linear, width, Privilege::Program)?;
        Ok((Destination::Memory { linear, width }, value))
    }

    /// Writes what an instruction makes of what [`Self::read_to_write`] has read.
    ///
    /// # Errors
    /// Only those that reading has checked for, and what a device answers.
    pub(super) fn write_back(&mut self, destination: Destination, value: u64) -> Step {
        match destination {
            Destination::Register(register) => {
                self.set_register(register, value);
                Ok(())
            }
            Destination::Memory { linear, width } => {
                self.write_linear(linear, width, value & ones(width), Privilege::Program)
            }
        }
    }

    /// Reads an operand, zero-extended; immediates are sign-extended to 64 bits.
    pub(super) fn read_operand(&mut self, instruction: &Instruction, operand: u32) -> Step<u64> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.register(instruction.op_register(operand))),
            OpKind::Memory => {
                let address = self.address(instruction)?;
                let width = instruction.memory_size().size();
                self.read_segment(address.segment, address.offset, width)
            }
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                Ok(instruction.near_branch_target())
            }
            kind => instruction.try_immediate(operand).map_err(|_| {
                ModelError::NotModelled(format!("the model cannot read an operand of kind {kind:?}")).into()
            }),
        }
    }

    /// Writes an operand of its own width.
    pub(super) fn write_operand(&mut self, instruction: &Instruction, operand: u32, value: u64) -> Step {
        if instruction.op_kind(operand) == OpKind::Register {
            self.set_register(instruction.op_register(operand), value);
            return Ok(());
        }
        let address = self.address(instruction)?;
        let width = instruction.memory_size().size();
        self.write_segment(address.segment, address.offset, width, value & ones(width))
    }

    /// Checks that `width` bytes could be written, without writing.
    ///
    /// # Errors
    /// #GP(0), #SS(0) or #PF.
    pub(super) fn check_writable(&mut self, name: SegmentName, offset: u64, width: usize) -> Step {
        let linear = self.linear(name, offset, width, true)?;
        self.translate_all(linear, width, Purpose::Write)
    }

    /// Bits of RSP that address the stack.
    pub(in crate::x86) fn stack_mask(&self) -> u64 {
        if self.mode() == Mode::Long64 {
            u64::MAX
        } else if self.segment(SegmentName::Ss).attributes.big() {
            0xffff_ffff
        } else {
            0xffff
        }
    }

    /// Moves RSP by `delta` bytes within the width of the stack.
    pub(in crate::x86) fn move_stack(&mut self, delta: i64) {
        let mask = self.stack_mask();
        let rsp = &mut self.state_mut().general[RSP];
        *rsp = *rsp & !mask | rsp.wrapping_add_signed(delta) & mask;
    }

    /// Pushes a value of `width` bytes.
    ///
    /// # Errors
    /// #SS(0) or #PF; nothing has changed then.
    pub(in crate::x86) fn push(&mut self, value: u64, width: usize) -> Step {
        let mask = self.stack_mask();
        let offset = self.state().general[RSP].wrapping_sub(width as u64) & mask;
        self.write_segment(SegmentName::Ss, offset, width, value & ones(width))?;
        self.move_stack(-(width as i64));
        Ok(())
    }

    /// Pushes values one after the other, or none of them (INS-FAULT-001).
    ///
    /// # Errors
    /// #SS(0) or #PF; nothing has changed then.
    pub(super) fn push_all_or_none(&mut self, values: &[u64], width: usize) -> Step {
        self.check_pushes(values.len() as u64, width)?;
        for value in values {
            self.push(*value, width)?;
        }
        Ok(())
    }

    /// Checks that `count` values can be pushed.
    ///
    /// # Errors
    /// #SS(0) or #PF.
    pub(super) fn check_pushes(&mut self, count: u64, width: usize) -> Step {
        let mask = self.stack_mask();
        let top = self.state().general[RSP];
        for slot in 1..=count {
            let offset = top.wrapping_sub(slot * width as u64) & mask;
            self.check_writable(SegmentName::Ss, offset, width)?;
        }
        Ok(())
    }

    /// Reads the `slot`th value of `width` bytes from the top of the stack.
    ///
    /// # Errors
    /// #SS(0) or #PF.
    pub(in crate::x86) fn peek(&mut self, slot: u64, width: usize) -> Step<u64> {
        self.peek_behind(slot * width as u64, width)
    }

    /// Reads a value of `width` bytes that lies `bytes` above the top of the stack.
    ///
    /// # Errors
    /// #SS(0) or #PF.
    pub(super) fn peek_behind(&mut self, bytes: u64, width: usize) -> Step<u64> {
        let offset = self.state().general[RSP].wrapping_add(bytes) & self.stack_mask();
        self.read_segment(SegmentName::Ss, offset, width)
    }

    /// Pops a value of `width` bytes.
    ///
    /// # Errors
    /// #SS(0) or #PF; nothing has changed then.
    pub(in crate::x86) fn pop(&mut self, width: usize) -> Step<u64> {
        let value = self.peek(0, width)?;
        self.move_stack(width as i64);
        Ok(value)
    }

    /// The segment register operand.
    pub(super) fn segment_operand(&self, instruction: &Instruction, operand: u32) -> Option<SegmentName> {
        if instruction.op_kind(operand) == OpKind::Register {
            segment_of(instruction.op_register(operand))
        } else {
            None
        }
    }
}

/// The segment of an operand without a prefix: SS if its address begins with the stack or frame
/// pointer, else DS.
fn default_segment(base: Register) -> SegmentName {
    match base.full_register() {
        Register::RSP | Register::RBP => SegmentName::Ss,
        _ => SegmentName::Ds,
    }
}

/// Which of the sixteen general registers one is part of.
fn general_number(register: Register) -> usize {
    register.full_register().number()
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}
