//! Operands that lead somewhere: registers of the address, and what instructions read that lead further.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::{Poke, any_selector, code_selector, registers, split, stack_mask};
use crate::native::layout::{self, CODE, LOW, PAGE};
use crate::native::numbers::Numbers;
use crate::native::state::{CS, FS, Registers, SEGMENTS, SS};
use spec_model::x86::segment::Segment;
use spec_model::x86::state::{RAX, RCX, RDI, RDX, RSI, RSP};

/// A step whose operands are being chosen.
pub(super) struct Step<'a> {
    pub(super) numbers: &'a mut Numbers,
    pub(super) bits: u32,
    pub(super) registers: &'a mut Registers,
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) pokes: Vec<Poke>,
}

impl Step<'_> {
    fn decode(&self) -> Instruction {
        let ip = self.registers.rip;
        Decoder::with_ip(self.bits, self.bytes, ip, DecoderOptions::NONE).decode()
    }

    /// Chooses them for the instruction in `bytes`.
    pub(super) fn choose_operands(&mut self) {
        self.aim_stack();
        if self.numbers.one_in(16) {
            // As they came.
            return;
        }
        self.aim_memory();
        let instruction = self.decode();
        if instruction.is_string_instruction() {
            self.aim_string(&instruction);
        }
        self.aim_values(&instruction);
        if instruction.mnemonic() == Mnemonic::Pop && instruction.op0_register() == Register::SS {
            self.aim_stack_at_its_end(&instruction);
        }
        self.fill_memory(&instruction);
        self.fill_stack(&instruction);
    }

    /// The segment through which an operand goes; none where segments have no base.
    fn segment(&self, register: Register) -> Option<Segment> {
        let index = segment_index(register)?;
        let selector = self.registers.selectors[index];
        if index >= FS {
            let base = self.registers.bases[index - FS];
            let segment = layout::segment(selector).unwrap_or_default();
            return Some(Segment { base, ..segment });
        }
        if self.bits == 64 {
            return None;
        }
        layout::segment(selector)
    }

    fn aim_stack(&mut self) {
        let stack = self.segment(Register::SS);
        let offset = registers::offset(self.numbers, self.bits, stack);
        let mask = stack_mask(self.registers, self.bits);
        let rsp = &mut self.registers.general[RSP];
        *rsp = *rsp & !mask | offset & mask;
        if self.bits != 64 {
            *rsp &= 0xffff_ffff;
        }
        if self.numbers.one_in(2) {
            *rsp &= !7;
        }
    }

    /// Half of the steps that load SS pop the last bytes of 64 KiB, where the width of the stack shows.
    fn aim_stack_at_its_end(&mut self, instruction: &Instruction) {
        if self.numbers.one_in(2) {
            return;
        }
        let width = stack_width(instruction, self.bits) as u64;
        let base = self.segment(Register::SS).map_or(0, |segment| segment.base);
        let mask = stack_mask(self.registers, self.bits);
        let top = (LOW + 0x1_0000 - width).wrapping_sub(base) & mask;
        let rsp = &mut self.registers.general[RSP];
        *rsp = *rsp & !mask | top;
    }

    /// Sets the base register or the displacement so that the memory operand lies somewhere of interest.
    fn aim_memory(&mut self) {
        let mut decoder = Decoder::with_ip(self.bits, self.bytes, self.registers.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        let has_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
        if !has_memory {
            return;
        }
        let segment = self.segment(instruction.memory_segment());
        let wanted = registers::offset(self.numbers, self.bits, segment);
        let wanted = if is_far(&instruction) && self.numbers.one_in(6) {
            // The selector lies where offsets wrap.
            2u64.wrapping_sub(instruction.memory_size().size() as u64)
        } else {
            wanted
        };
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        if index != Register::None && index.full_register() != base.full_register() && !self.numbers.one_in(8)
        {
            let small = self.numbers.below(16);
            self.set(index, small);
        }
        let scaled = self
            .get(index)
            .wrapping_mul(instruction.memory_index_scale().into());
        let is_relative = instruction.is_ip_rel_memory_operand();
        if base != Register::None && !is_relative {
            let displacement = instruction.memory_displacement64();
            self.set(base, wanted.wrapping_sub(scaled).wrapping_sub(displacement));
            return;
        }
        let value = if is_relative {
            wanted.wrapping_sub(instruction.next_ip())
        } else {
            wanted.wrapping_sub(scaled)
        };
        let place = offsets.displacement_offset();
        let size = offsets.displacement_size();
        if offsets.has_displacement() && place + size <= self.bytes.len() {
            self.bytes[place..place + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }

    fn aim_string(&mut self, instruction: &Instruction) {
        let source = self.segment(instruction.memory_segment());
        let from = registers::offset(self.numbers, self.bits, source);
        let to = registers::offset(self.numbers, self.bits, self.segment(Register::ES));
        self.registers.general[RSI] = from;
        self.registers.general[RDI] = to;
        if !self.numbers.one_in(8) {
            self.registers.general[RCX] = self.numbers.below(4);
        }
    }

    /// Values that take an instruction down its rarer ways.
    #[allow(
        clippy::collapsible_match,
        reason = "the guard of an arm would send the rest on to another arm"
    )]
    fn aim_values(&mut self, instruction: &Instruction) {
        use Mnemonic as M;
        let general = &mut self.registers.general;
        match instruction.mnemonic() {
            M::Div | M::Idiv if self.numbers.one_in(2) => {
                let negative = general[RAX] >> 63 != 0 && self.numbers.one_in(2);
                general[RDX] = if negative { u64::MAX } else { self.numbers.below(3) };
                if self.numbers.one_in(2) {
                    general[RAX] &= 0xff;
                }
            }
            M::Loop | M::Loope | M::Loopne | M::Jcxz | M::Jecxz | M::Jrcxz => {
                if self.numbers.one_in(2) {
                    let high = self.numbers.pick(&[0, 0x1_0000, 0x1_0000_0000]);
                    general[RCX] = high | self.numbers.below(3);
                }
            }
            M::Bt | M::Bts | M::Btr | M::Btc => {
                let register = instruction.op1_register();
                if register != Register::None && !self.numbers.one_in(4) {
                    let index = self.numbers.below(0x200).wrapping_sub(0x100);
                    self.set(register, index);
                }
            }
            M::Cmpxchg if self.numbers.one_in(3) && instruction.op0_kind() == OpKind::Register => {
                let value = self.get(instruction.op0_register().full_register());
                self.registers.general[RAX] = value;
            }
            M::Jmp | M::Call if instruction.op0_kind() == OpKind::Register => {
                let target = self.target();
                self.set(instruction.op0_register(), target);
            }
            M::Mov if segment_index(instruction.op0_register()).is_some() => {
                if instruction.op1_kind() == OpKind::Register {
                    let selector = any_selector(self.numbers).into();
                    self.set(instruction.op1_register(), selector);
                }
            }
            _ => {}
        }
    }

    /// An offset for code, mostly a good one.
    fn target(&mut self) -> u64 {
        let base = if self.bits == 64 {
            0
        } else {
            layout::segment(self.registers.selectors[CS]).map_or(0, |segment| segment.base)
        };
        match self.numbers.below(4) {
            0 => registers::offset(self.numbers, self.bits, self.segment(Register::CS)),
            _ => self.code().wrapping_sub(base),
        }
    }

    fn code(&mut self) -> u64 {
        self.numbers.pick(&CODE) + self.numbers.below(PAGE as u64)
    }

    /// Puts into the memory operand what the instruction goes on from.
    fn fill_memory(&mut self, instruction: &Instruction) {
        use Mnemonic as M;
        let Some(operand) =
            (0..instruction.op_count()).find(|index| instruction.op_kind(*index) == OpKind::Memory)
        else {
            return;
        };
        let width = instruction.memory_size().size();
        let general = self.registers.general;
        let bytes = match instruction.mnemonic() {
            M::Jmp | M::Call => {
                let offset_width = if matches!(width, 4 | 6 | 10) && is_far(instruction) {
                    width - 2
                } else {
                    width
                };
                let selector = code_selector(self.numbers);
                let target = if is_far(instruction) {
                    self.far_target(selector)
                } else {
                    self.target()
                };
                let mut bytes = target.to_le_bytes()[..offset_width.min(8)].to_vec();
                bytes.extend(selector.to_le_bytes());
                bytes
            }
            M::Mov if segment_index(instruction.op0_register()).is_some() => {
                any_selector(self.numbers).to_le_bytes().to_vec()
            }
            M::Cmpxchg if self.numbers.one_in(2) => general[RAX].to_le_bytes()[..width.min(8)].to_vec(),
            M::Cmpxchg8b if self.numbers.one_in(2) => {
                let value = general[RDX] << 32 | general[RAX] & 0xffff_ffff;
                value.to_le_bytes().to_vec()
            }
            _ => return,
        };
        let linear = instruction.virtual_address(operand, 0, |register, _, _| {
            Some(match segment_index(register) {
                Some(_) => self.segment(register).map_or(0, |segment| segment.base),
                None => self.get(register),
            })
        });
        if let Some(linear) = linear {
            let linear = if self.bits == 64 {
                linear
            } else {
                linear & 0xffff_ffff
            };
            self.pokes.extend(split(linear, &bytes));
        }
    }

    /// An offset in the segment of a far transfer.
    fn far_target(&mut self, selector: u16) -> u64 {
        if self.numbers.one_in(5) {
            return registers::offset(self.numbers, self.bits, layout::segment(selector));
        }
        let base = layout::segment(selector).map_or(0, |segment| segment.base);
        self.code().wrapping_sub(base)
    }

    /// Puts on the stack what the instruction pops.
    fn fill_stack(&mut self, instruction: &Instruction) {
        use Mnemonic as M;
        let width = stack_width(instruction, self.bits);
        let flags = self.numbers.number() & 0x3f_ffff;
        let values = match instruction.mnemonic() {
            M::Ret => vec![self.target()],
            M::Retf | M::Iret | M::Iretd | M::Iretq => {
                let selector = code_selector(self.numbers);
                let target = self.far_target(selector);
                let mut values = vec![target, selector.into()];
                if instruction.mnemonic() != M::Retf {
                    values.push(flags);
                }
                let stack = if self.numbers.one_in(4) {
                    any_selector(self.numbers)
                } else {
                    self.numbers.pick(&super::STACKS)
                };
                values.extend([registers::linear(self.numbers, self.bits), stack.into()]);
                values
            }
            M::Popf | M::Popfd | M::Popfq => vec![flags],
            M::Pop if instruction.op0_register() == Register::SS && self.numbers.one_in(2) => {
                vec![self.numbers.pick(&super::STACKS).into()]
            }
            M::Pop if segment_index(instruction.op0_register()).is_some() => {
                vec![any_selector(self.numbers).into()]
            }
            _ => return,
        };
        let mask = stack_mask(self.registers, self.bits);
        let base = self.segment(Register::SS).map_or(0, |segment| segment.base);
        let top = self.registers.general[RSP] & mask;
        for (index, value) in values.iter().enumerate() {
            let offset = top.wrapping_add((index * width) as u64) & mask;
            let linear = base.wrapping_add(offset);
            let linear = if self.bits == 64 {
                linear
            } else {
                linear & 0xffff_ffff
            };
            self.pokes.extend(split(linear, &value.to_le_bytes()[..width]));
        }
    }

    /// A register, or 0 for what is none.
    fn get(&self, register: Register) -> u64 {
        if !register.is_gpr() {
            return 0;
        }
        let width = register.size();
        let value = self.registers.general[register.full_register().number()];
        if width >= 8 {
            value
        } else {
            value & ((1 << (8 * width)) - 1)
        }
    }

    /// Gives the low bits of a register a value; the high bits stay.
    fn set(&mut self, register: Register, value: u64) {
        if !register.is_gpr() {
            return;
        }
        let width = register.size();
        let mask = if width >= 8 {
            u64::MAX
        } else {
            (1 << (8 * width)) - 1
        };
        let slot = &mut self.registers.general[register.full_register().number()];
        *slot = *slot & !mask | value & mask;
    }
}

fn is_far(instruction: &Instruction) -> bool {
    instruction.is_jmp_far_indirect() || instruction.is_call_far_indirect()
}

/// Bytes of a slot that the instruction pops.
fn stack_width(instruction: &Instruction, bits: u32) -> usize {
    use iced_x86::Code as C;
    match instruction.code() {
        C::Retnw | C::Retnw_imm16 | C::Retfw | C::Retfw_imm16 | C::Iretw | C::Popfw => 2,
        C::Retnd | C::Retnd_imm16 | C::Retfd | C::Retfd_imm16 | C::Iretd | C::Popfd => 4,
        C::Retnq | C::Retnq_imm16 | C::Retfq | C::Retfq_imm16 | C::Iretq | C::Popfq => 8,
        _ => match instruction.stack_pointer_increment() {
            2 => 2,
            4 => 4,
            _ if bits == 64 => 8,
            _ => 4,
        },
    }
}

/// The place of a segment register among a step's selectors.
fn segment_index(register: Register) -> Option<usize> {
    if !register.is_segment_register() {
        return None;
    }
    let index = register.number();
    debug_assert!(index < SEGMENTS.len() && SS < SEGMENTS.len());
    Some(index)
}
