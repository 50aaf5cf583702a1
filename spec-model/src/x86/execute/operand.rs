//! Operands: registers, memory and immediates.

use iced_x86::{Instruction, OpKind, Register};

use crate::error::ModelError;
use crate::x86::exception::Step;
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

/// The register of iced-x86 for one of the six segment registers that instructions name.
pub(super) const fn register_of(name: SegmentName) -> Register {
    match name {
        SegmentName::Es => Register::ES,
        SegmentName::Cs => Register::CS,
        SegmentName::Ss => Register::SS,
        SegmentName::Ds => Register::DS,
        SegmentName::Fs => Register::FS,
        SegmentName::Gs => Register::GS,
        SegmentName::Ldtr | SegmentName::Tr => Register::None,
    }
}

impl Processor<'_, '_> {
    /// Reads a register of any size, zero-extended.
    pub(super) fn register(&self, register: Register) -> u64 {
        let state = self.state();
        if let Some(segment) = segment_of(register) {
            return u64::from(state.segment(segment).selector);
        }
        if is_high_byte(register) {
            return state.general[register.number() - 4] >> 8 & 0xff;
        }
        match register {
            Register::RIP | Register::EIP => state.rip,
            Register::None => 0,
            _ => state.general[register.number()] & ones(register.size()),
        }
    }

    /// Writes a general register; 32-bit writes clear the upper half (SDM vol. 1, "General-
    /// Purpose Registers in 64-Bit Mode"), also outside 64-bit mode, where it cannot be seen.
    pub(super) fn set_register(&mut self, register: Register, value: u64) {
        let general = &mut self.state_mut().general;
        if is_high_byte(register) {
            let slot = &mut general[register.number() - 4];
            *slot = *slot & !0xff00 | (value & 0xff) << 8;
            return;
        }
        let slot = &mut general[register.number()];
        *slot = match register.size() {
            8 => value,
            4 => value & 0xffff_ffff,
            width => *slot & !ones(width) | value & ones(width),
        };
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
        let segment = segment_of(instruction.memory_segment())
            .ok_or_else(|| ModelError::BadScenario("a memory operand has no segment".to_owned()))?;
        let base = instruction.memory_base();
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
        })
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
                ModelError::Unmodelled(format!("the model cannot read an operand of kind {kind:?}")).into()
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

    /// Checks that a memory destination can be written before anything is changed.
    pub(super) fn probe_operand(&mut self, instruction: &Instruction, operand: u32) -> Step {
        if instruction.op_kind(operand) == OpKind::Memory {
            let address = self.address(instruction)?;
            let width = instruction.memory_size().size();
            let linear = self.linear(address.segment, address.offset, width, true)?;
            self.probe_write(linear, width, crate::x86::paging::Privilege::Program)?;
        }
        Ok(())
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

    /// Reads the `slot`th value of `width` bytes from the top of the stack.
    ///
    /// # Errors
    /// #SS(0) or #PF.
    pub(in crate::x86) fn peek(&mut self, slot: u64, width: usize) -> Step<u64> {
        let offset = self.state().general[RSP].wrapping_add(slot * width as u64) & self.stack_mask();
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

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}
