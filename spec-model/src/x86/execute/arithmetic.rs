//! Arithmetic and logic, with the flags that they set or leave undefined.

use iced_x86::{Instruction, Mnemonic};

use super::operand::{Destination, ones, sign_bit, sign_extend};
use crate::defect::Defect;
use crate::x86::control::flag;
use crate::x86::exception::{DE, Exception, Step};
use crate::x86::processor::Processor;
use crate::x86::state::{RAX, RBX, RCX, RDX};

impl Processor<'_, '_> {
    /// Executes an arithmetic instruction.
    pub(super) fn execute_arithmetic(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        let mnemonic = instruction.mnemonic();
        match mnemonic {
            M::Cmp | M::Test => {
                let width = self.width(instruction, 0);
                let left = self.read_operand(instruction, 0)?;
                let right = self.read_operand(instruction, 1)?;
                if mnemonic == M::Cmp {
                    self.subtract(left, right, 0, width);
                } else {
                    self.logic(left & right, width);
                }
            }
            M::Add | M::Adc | M::Sub | M::Sbb | M::And | M::Or | M::Xor => {
                let width = self.width(instruction, 0);
                let (destination, left) = self.read_to_write(instruction)?;
                let right = self.read_operand(instruction, 1)?;
                let carry = u64::from(self.flag(flag::CF));
                let result = match mnemonic {
                    M::Add => self.add(left, right, 0, width),
                    M::Adc => self.add(left, right, carry, width),
                    M::Sub => self.subtract(left, right, 0, width),
                    M::Sbb => self.subtract(left, right, carry, width),
                    M::And => self.logic(left & right, width),
                    M::Or => self.logic(left | right, width),
                    _ => self.logic(left ^ right, width),
                };
                self.write_back(destination, result)?;
            }
            M::Inc | M::Dec | M::Neg | M::Not => {
                let width = self.width(instruction, 0);
                let (destination, value) = self.read_to_write(instruction)?;
                let carry = self.flag(flag::CF);
                let result = match mnemonic {
                    M::Inc => self.add(value, 1, 0, width),
                    M::Dec => self.subtract(value, 1, 0, width),
                    M::Neg => self.subtract(0, value, 0, width),
                    _ => !value & ones(width),
                };
                if matches!(mnemonic, M::Inc | M::Dec) {
                    self.set_flag(flag::CF, carry);
                }
                self.write_back(destination, result)?;
            }
            M::Xadd => {
                let width = self.width(instruction, 0);
                let (destination, left) = self.read_to_write(instruction)?;
                let right = self.read_operand(instruction, 1)?;
                let sum = self.add(left, right, 0, width);
                self.write_operand(instruction, 1, left)?;
                if self.rules.broken(Defect::XaddAddressAfterwards) {
                    return self.write_operand(instruction, 0, sum);
                }
                self.write_back(destination, sum)?;
            }
            M::Cmpxchg => self.compare_exchange(instruction)?,
            M::Cmpxchg8b => self.compare_exchange_pair(instruction)?,
            M::Mul => self.multiply(instruction)?,
            M::Imul => self.multiply_signed(instruction)?,
            M::Div => self.divide(instruction)?,
            M::Idiv => self.divide_signed(instruction)?,
            M::Clc => self.set_flag(flag::CF, false),
            M::Stc => self.set_flag(flag::CF, true),
            M::Cmc => {
                let carry = self.flag(flag::CF);
                self.set_flag(flag::CF, !carry);
            }
            M::Cld => self.set_flag(flag::DF, false),
            M::Std => self.set_flag(flag::DF, true),
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(())
    }

    /// Sets ZF, SF and PF from a result.
    pub(super) fn set_result_flags(&mut self, result: u64, width: usize) {
        self.set_flag(flag::ZF, result & ones(width) == 0);
        self.set_flag(flag::SF, result & sign_bit(width) != 0);
        self.set_flag(flag::PF, (result as u8).count_ones().is_multiple_of(2));
    }

    fn add(&mut self, left: u64, right: u64, carry: u64, width: usize) -> u64 {
        let (left, right) = (left & ones(width), right & ones(width));
        let wide = u128::from(left) + u128::from(right) + u128::from(carry);
        let result = wide as u64 & ones(width);
        self.set_flag(flag::CF, wide > u128::from(ones(width)));
        self.set_flag(flag::AF, (left ^ right ^ result) & 0x10 != 0);
        self.set_flag(
            flag::OF,
            (left ^ result) & (right ^ result) & sign_bit(width) != 0,
        );
        self.set_result_flags(result, width);
        result
    }

    pub(super) fn subtract(&mut self, left: u64, right: u64, borrow: u64, width: usize) -> u64 {
        let (left, right) = (left & ones(width), right & ones(width));
        let result = left.wrapping_sub(right).wrapping_sub(borrow) & ones(width);
        self.set_flag(
            flag::CF,
            u128::from(left) < u128::from(right) + u128::from(borrow),
        );
        self.set_flag(flag::AF, (left ^ right ^ result) & 0x10 != 0);
        self.set_flag(flag::OF, (left ^ right) & (left ^ result) & sign_bit(width) != 0);
        self.set_result_flags(result, width);
        result
    }

    /// Flags of AND, OR, XOR and TEST; AF is undefined.
    fn logic(&mut self, result: u64, width: usize) -> u64 {
        let result = result & ones(width);
        self.set_flag(flag::CF | flag::OF | flag::AF, false);
        self.set_result_flags(result, width);
        self.vcpu.undefined_flags |= flag::AF;
        result
    }

    /// CMPXCHG. If the comparison fails memory is written with what it holds, and a register is
    /// left alone, also its upper half (INS-CMPXCHG-001).
    fn compare_exchange(&mut self, instruction: &Instruction) -> Step {
        let width = self.width(instruction, 0);
        let (destination, current) = self.read_to_write(instruction)?;
        let source = self.read_operand(instruction, 1)?;
        let accumulator = self.state().general[RAX] & ones(width);
        self.subtract(accumulator, current, 0, width);
        if accumulator == current {
            return self.write_back(destination, source);
        }
        let is_memory = matches!(destination, Destination::Memory { .. });
        if is_memory || self.rules.broken(Defect::FailedCmpxchgWritesRegister) {
            self.write_back(destination, current)?;
        }
        self.set_accumulator(current, width);
        Ok(())
    }

    /// CMPXCHG8B: ZF alone says whether the 8 bytes were EDX:EAX; they are written in any case.
    fn compare_exchange_pair(&mut self, instruction: &Instruction) -> Step {
        let pair = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
        let (destination, current) = self.read_to_write(instruction)?;
        let general = &self.state().general;
        let equal = pair(general[RDX], general[RAX]) == current;
        let value = if equal {
            pair(general[RCX], general[RBX])
        } else {
            current
        };
        self.write_back(destination, value)?;
        if !equal {
            self.set_partial(RAX, current, 4);
            self.set_partial(RDX, current >> 32, 4);
        }
        self.set_flag(flag::ZF, equal);
        Ok(())
    }

    fn set_accumulator(&mut self, value: u64, width: usize) {
        self.set_partial(RAX, value, width);
    }

    fn set_partial(&mut self, register: usize, value: u64, width: usize) {
        let slot = &mut self.state_mut().general[register];
        *slot = if width >= 4 {
            value & ones(width)
        } else {
            *slot & !ones(width) | value & ones(width)
        };
    }

    /// Stores a double-width result: AX for bytes, else RDX:RAX.
    fn set_double(&mut self, value: u128, width: usize) {
        if width == 1 {
            self.set_partial(RAX, value as u64, 2);
        } else {
            self.set_partial(RAX, value as u64, width);
            self.set_partial(RDX, (value >> (8 * width)) as u64, width);
        }
    }

    fn double(&self, width: usize) -> u128 {
        let general = &self.state().general;
        if width == 1 {
            u128::from(general[RAX] & 0xffff)
        } else {
            u128::from(general[RDX] & ones(width)) << (8 * width) | u128::from(general[RAX] & ones(width))
        }
    }

    /// Flags of MUL and IMUL; SF, ZF, AF and PF are undefined (EXC-FLAGS-001).
    fn multiplication_flags(&mut self, overflow: bool) {
        self.set_flag(flag::CF | flag::OF, overflow);
        self.vcpu.undefined_flags |= flag::SF | flag::ZF | flag::AF | flag::PF;
    }

    fn multiply(&mut self, instruction: &Instruction) -> Step {
        let width = self.width(instruction, 0);
        let value = self.read_operand(instruction, 0)?;
        let product = u128::from(self.state().general[RAX] & ones(width)) * u128::from(value);
        self.set_double(product, width);
        self.multiplication_flags(product >> (8 * width) != 0);
        Ok(())
    }

    #[allow(
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "two's complement is meant"
    )]
    fn multiply_signed(&mut self, instruction: &Instruction) -> Step {
        let width = self.width(instruction, 0);
        let signed = |value: u64| i128::from(sign_extend(value, width) as i64);
        let first = self.read_operand(instruction, 0)?;
        let product = match instruction.op_count() {
            1 => signed(self.state().general[RAX]) * signed(first),
            2 => signed(first) * signed(self.read_operand(instruction, 1)?),
            _ => signed(self.read_operand(instruction, 1)?) * signed(self.read_operand(instruction, 2)?),
        };
        let truncated = signed(product as u64);
        if instruction.op_count() == 1 {
            self.set_double(product as u128, width);
        } else {
            self.write_operand(instruction, 0, product as u64)?;
        }
        self.multiplication_flags(truncated != product);
        Ok(())
    }

    /// DIV (EXC-DE-001).
    fn divide(&mut self, instruction: &Instruction) -> Step {
        let width = self.width(instruction, 0);
        let divisor = u128::from(self.read_operand(instruction, 0)?);
        let dividend = self.double(width);
        if divisor == 0 || dividend / divisor > u128::from(ones(width)) {
            if self.rules.broken(Defect::DivideOverflowWraps) {
                return Ok(());
            }
            return Err(Exception::plain(DE).into());
        }
        self.set_quotient((dividend / divisor) as u64, (dividend % divisor) as u64, width);
        Ok(())
    }

    /// IDIV (EXC-DE-001).
    #[allow(
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "two's complement is meant"
    )]
    fn divide_signed(&mut self, instruction: &Instruction) -> Step {
        let width = self.width(instruction, 0);
        let divisor = i128::from(sign_extend(self.read_operand(instruction, 0)?, width) as i64);
        let shift = 128 - 16 * width as u32;
        let dividend = (self.double(width) << shift) as i128 >> shift;
        let limit = 1i128 << (8 * width - 1);
        let quotient = if divisor == 0 {
            None
        } else {
            dividend.checked_div(divisor)
        };
        let Some(quotient) = quotient.filter(|quotient| (-limit..limit).contains(quotient)) else {
            return Err(Exception::plain(DE).into());
        };
        self.set_quotient(quotient as u64, (dividend % divisor) as u64, width);
        Ok(())
    }

    fn set_quotient(&mut self, quotient: u64, remainder: u64, width: usize) {
        if width == 1 {
            self.set_partial(RAX, quotient & 0xff | (remainder & 0xff) << 8, 2);
        } else {
            self.set_partial(RAX, quotient, width);
            self.set_partial(RDX, remainder, width);
        }
        self.vcpu.undefined_flags |= flag::ARITHMETIC;
    }
}
