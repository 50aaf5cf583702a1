//! Fills the values of operands into an iced-x86 instruction.

use iced_x86::{Instruction, OpCodeOperandKind as K, OpKind, Register};

use super::Bits;
use super::error::Mistake;
use super::expression::{Scope, Value};
use super::operand::{Memory, Operand, OperandKind};
use super::selection::branch_width;

/// Fills in operands for one code size and one place.
pub(super) struct Filler<'a> {
    /// Code size.
    pub bits: Bits,
    /// What names mean. In branches a bare label counts from `branch_segment`.
    pub scope: &'a Scope<'a>,
}

impl Filler<'_> {
    /// The scope outside branches.
    fn plain(&self) -> Scope<'_> {
        Scope {
            branch_segment: None,
            ..*self.scope
        }
    }

    /// Fills in one operand. For `[rip + number]` the result is the number.
    pub(super) fn set_operand(
        &self,
        instruction: &mut Instruction,
        index: u32,
        kind: K,
        operand: &Operand,
    ) -> Result<Option<i64>, Mistake> {
        match &operand.kind {
            OperandKind::Register(register) => {
                instruction.set_op_kind(index, OpKind::Register);
                instruction.set_op_register(index, *register);
                Ok(None)
            }
            OperandKind::Memory(memory) => self.set_memory(instruction, index, kind, memory),
            OperandKind::Immediate { value, .. } => {
                if let Some((width, _)) = branch_width(kind) {
                    let target = value.evaluate(self.scope)?.number;
                    self.set_target(instruction, index, width, target)?;
                } else {
                    let plain = self.plain();
                    let value = value.evaluate(&plain)?.explicit()?;
                    self.set_immediate(instruction, index, kind, &value)?;
                }
                Ok(None)
            }
            OperandKind::FarPointer { selector, offset, .. } => {
                // The base of the segment that the selector names is not known here.
                let plain = self.plain();
                let selector = fit(selector.evaluate(&plain)?.explicit()?.number, 16, "a selector")?;
                let offset = offset.evaluate(&plain)?.number;
                instruction.set_far_branch_selector(narrow16(selector));
                if kind == K::farbr2_2 {
                    instruction.set_op_kind(index, OpKind::FarBranch16);
                    instruction.set_far_branch16(narrow16(fit(
                        offset,
                        16,
                        "the offset of a 16-bit far branch",
                    )?));
                } else {
                    instruction.set_op_kind(index, OpKind::FarBranch32);
                    instruction.set_far_branch32(narrow32(fit(offset, 32, "the offset of a far branch")?));
                }
                Ok(None)
            }
        }
    }

    fn set_target(
        &self,
        instruction: &mut Instruction,
        index: u32,
        width: u32,
        target: i128,
    ) -> Result<(), Mistake> {
        let outside = Mistake::TargetOutsideSegment {
            offset: target,
            width,
        };
        let Ok(offset) = u64::try_from(target) else {
            return Err(outside);
        };
        match width {
            16 => {
                instruction.set_op_kind(index, OpKind::NearBranch16);
                instruction.set_near_branch16(u16::try_from(offset).map_err(|_| outside)?);
            }
            32 => {
                instruction.set_op_kind(index, OpKind::NearBranch32);
                instruction.set_near_branch32(u32::try_from(offset).map_err(|_| outside)?);
            }
            _ => {
                instruction.set_op_kind(index, OpKind::NearBranch64);
                instruction.set_near_branch64(offset);
            }
        }
        Ok(())
    }

    fn set_immediate(
        &self,
        instruction: &mut Instruction,
        index: u32,
        kind: K,
        value: &Value,
    ) -> Result<(), Mistake> {
        let number = value.number;
        let what = "the number";
        // The number as the operation sees it, and as it has to look to be sign-extended.
        let extended = |width: u32, from: u32| {
            let bits = fit(number, width, what)?;
            let signed = sign_extend(bits, width);
            if value.has_label && from == 8 || sign_extend(bits, from) != signed {
                return Err(Mistake::OutOfRange {
                    value: number,
                    width: from,
                    what,
                    low: -(1 << (from - 1)),
                    high: (1 << (from - 1)) - 1,
                });
            }
            Ok(signed)
        };
        match kind {
            K::imm8 => {
                instruction.set_op_kind(index, OpKind::Immediate8);
                instruction.set_immediate8(narrow8(fit(number, 8, what)?));
            }
            K::imm8_const_1 => {
                // The form without a number in its bytes; any other number has a form with one.
                if number != 1 {
                    return Err(Mistake::OutOfRange {
                        value: number,
                        width: 1,
                        what,
                        low: 1,
                        high: 1,
                    });
                }
                instruction.set_op_kind(index, OpKind::Immediate8);
                instruction.set_immediate8(1);
            }
            K::imm8sex16 => {
                let signed = extended(16, 8)?;
                instruction.set_op_kind(index, OpKind::Immediate8to16);
                instruction.set_immediate8to16(signed as i16);
            }
            K::imm8sex32 => {
                let signed = extended(32, 8)?;
                instruction.set_op_kind(index, OpKind::Immediate8to32);
                instruction.set_immediate8to32(signed as i32);
            }
            K::imm8sex64 => {
                let signed = extended(64, 8)?;
                instruction.set_op_kind(index, OpKind::Immediate8to64);
                instruction.set_immediate8to64(signed);
            }
            K::imm16 => {
                instruction.set_op_kind(index, OpKind::Immediate16);
                instruction.set_immediate16(narrow16(fit(number, 16, what)?));
            }
            K::imm32 => {
                instruction.set_op_kind(index, OpKind::Immediate32);
                instruction.set_immediate32(narrow32(fit(number, 32, what)?));
            }
            K::imm32sex64 => {
                let signed = extended(64, 32)?;
                instruction.set_op_kind(index, OpKind::Immediate32to64);
                instruction.set_immediate32to64(signed);
            }
            K::imm64 => {
                instruction.set_op_kind(index, OpKind::Immediate64);
                instruction.set_immediate64(fit(number, 64, what)?);
            }
            _ => {
                return Err(Mistake::Expected {
                    expected: "a register or an address",
                    found: format!("the number {number:#x}"),
                });
            }
        }
        Ok(())
    }

    fn set_memory(
        &self,
        instruction: &mut Instruction,
        index: u32,
        kind: K,
        memory: &Memory,
    ) -> Result<Option<i64>, Mistake> {
        if kind == K::seg_rSI || kind == K::es_rDI {
            instruction.set_op_kind(
                index,
                match memory.base {
                    Register::SI => OpKind::MemorySegSI,
                    Register::ESI => OpKind::MemorySegESI,
                    Register::RSI => OpKind::MemorySegRSI,
                    Register::DI => OpKind::MemoryESDI,
                    Register::EDI => OpKind::MemoryESEDI,
                    _ => OpKind::MemoryESRDI,
                },
            );
            if kind == K::seg_rSI {
                instruction.set_segment_prefix(memory.segment);
            }
            return Ok(None);
        }
        instruction.set_op_kind(index, OpKind::Memory);
        instruction.set_segment_prefix(memory.segment);
        instruction.set_memory_base(memory.base);
        instruction.set_memory_index(memory.index);
        instruction.set_memory_index_scale(memory.scale);
        let relative = memory.base.is_ip();
        // Relative to RIP, a label stands for itself, not for its offset in another segment.
        let scope = if relative { *self.scope } else { self.plain() };
        let displacement = memory
            .displacement
            .as_ref()
            .map(|expression| expression.evaluate(&scope))
            .transpose()?;
        if relative {
            return self.set_relative(instruction, memory, displacement);
        }
        let register = if memory.base == Register::None {
            memory.index
        } else {
            memory.base
        };
        let absolute = register == Register::None;
        let width = if absolute {
            self.bits.width()
        } else {
            register.size() as u32 * 8
        };
        let number = displacement.as_ref().map_or(0, |value| value.number);
        let what = "the displacement";
        let bits = fit(number, width, what)?;
        let signed = sign_extend(bits, width);
        let in_modrm = kind != K::mem_offs;
        if in_modrm && width == 64 && i32::try_from(signed).is_err() {
            return Err(Mistake::OutOfRange {
                value: number,
                width: 32,
                what,
                low: i128::from(i32::MIN),
                high: i128::from(i32::MAX),
            });
        }
        let has_label = displacement.is_some_and(|value| value.has_label);
        // iced-x86's sizes: 0 none, 1 as short as possible, else the full size.
        let size = match (absolute || has_label, number) {
            (true, _) => width / 8,
            (false, 0) => 0,
            (false, _) => 1,
        };
        instruction.set_memory_displ_size(size);
        instruction.set_memory_displacement64(if absolute { bits } else { signed as u64 });
        Ok(None)
    }

    /// Addresses relative to RIP: with a label the target is meant, without one the
    /// distance from the next instruction, which is returned.
    fn set_relative(
        &self,
        instruction: &mut Instruction,
        memory: &Memory,
        displacement: Option<Value>,
    ) -> Result<Option<i64>, Mistake> {
        let width = memory.base.size() as u32 * 8;
        instruction.set_memory_displ_size(width / 8);
        match displacement {
            Some(value) if value.has_label => {
                let target = fit(value.number, width, "the target")?;
                instruction.set_memory_displacement64(target);
                Ok(None)
            }
            other => {
                let number = other.map_or(0, |value| value.number);
                let bits = fit(number, 32, "the displacement")?;
                let here = self.scope.here;
                instruction.set_memory_displacement64(if width == 32 {
                    here & u64::from(u32::MAX)
                } else {
                    here
                });
                Ok(Some(sign_extend(bits, 32)))
            }
        }
    }
}

/// The low `width` bits of a number that fits in them, signed or unsigned.
pub(super) fn fit(value: i128, width: u32, what: &'static str) -> Result<u64, Mistake> {
    let (low, high) = (-(1_i128 << (width - 1)), (1_i128 << width) - 1);
    if (low..=high).contains(&value) {
        Ok((value & high) as u64)
    } else {
        Err(Mistake::OutOfRange {
            value,
            width,
            what,
            low,
            high,
        })
    }
}

/// Extends the sign of a `width`-bit number.
fn sign_extend(bits: u64, width: u32) -> i64 {
    let unused = 64 - width;
    ((bits << unused) as i64) >> unused
}

fn narrow8(bits: u64) -> u8 {
    bits as u8
}

fn narrow16(bits: u64) -> u16 {
    bits as u16
}

fn narrow32(bits: u64) -> u32 {
    bits as u32
}
