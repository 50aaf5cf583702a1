//! Shifts, rotates, bit tests, and the conditional instructions that read the flags.

use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind};

use super::operand::{ones, sign_bit, sign_extend};
use crate::defect::Defect;
use crate::x86::control::flag;
use crate::x86::exception::Step;
use crate::x86::processor::Processor;

impl Processor<'_, '_> {
    /// Executes a shift, bit test, SETcc or CMOVcc.
    pub(super) fn execute_bits(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        match instruction.mnemonic() {
            M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror => self.shift(instruction)?,
            M::Bt | M::Bts | M::Btr | M::Btc => self.bit_test(instruction)?,
            _ if instruction.op_count() == 1 && is_setcc(instruction) => {
                let value = u64::from(self.condition(instruction.condition_code()));
                self.write_operand(instruction, 0, value)?;
            }
            _ if is_cmovcc(instruction) => {
                let value = self.read_operand(instruction, 1)?;
                if self.condition(instruction.condition_code()) {
                    self.write_operand(instruction, 0, value)?;
                } else {
                    // The upper half is cleared even if the condition is false.
                    let old = self.read_operand(instruction, 0)?;
                    self.write_operand(instruction, 0, old)?;
                }
            }
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(())
    }

    /// SHL, SHR, SAR, ROL and ROR. With a count of 0 the flags stay, but the destination is
    /// written all the same (INS-SHIFT-001).
    fn shift(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        let width = self.width(instruction, 0);
        let bits = 8 * width as u32;
        let (destination, value) = self.read_to_write(instruction)?;
        let mask = if width == 8 { 0x3f } else { 0x1f };
        let count = self.read_operand(instruction, 1)? as u32 & mask;
        if count == 0 && self.rules.broken(Defect::ShiftByZeroWritesNothing) {
            return Ok(());
        }
        if count == 0 {
            return self.write_back(destination, value);
        }
        let mnemonic = instruction.mnemonic();
        let wide = u128::from(value);
        let signed = sign_extend(value, width).cast_signed();
        let (result, carry) = match mnemonic {
            M::Shr => ((wide >> count) as u64, wide >> (count - 1) & 1 != 0),
            M::Sar => {
                let shifted = signed >> count.min(63);
                (shifted.cast_unsigned(), signed >> (count - 1).min(63) & 1 != 0)
            }
            M::Rol | M::Ror => {
                let turn = count % bits;
                let left = if mnemonic == M::Rol {
                    turn
                } else {
                    (bits - turn) % bits
                };
                let result = (wide << left | wide >> (bits - left)) as u64 & ones(width);
                let carry = if mnemonic == M::Rol {
                    result & 1 != 0
                } else {
                    result & sign_bit(width) != 0
                };
                (result, carry)
            }
            _ => (
                (wide << count) as u64,
                count <= bits && wide << count >> bits & 1 != 0,
            ),
        };
        let result = result & ones(width);
        let top = |value: u64| value & sign_bit(width) != 0;
        let second = |value: u64| value & sign_bit(width) >> 1 != 0;
        let overflow = match mnemonic {
            M::Shr => top(value),
            M::Sar => false,
            M::Ror => top(result) != second(result),
            _ => top(result) != carry,
        };
        self.set_flag(flag::CF, carry);
        self.set_flag(flag::OF, overflow);
        if !matches!(mnemonic, M::Rol | M::Ror) {
            self.set_result_flags(result, width);
            self.vcpu.undefined_flags |= flag::AF;
        }
        if count > 1 {
            self.vcpu.undefined_flags |= flag::OF;
        }
        if count >= bits && matches!(mnemonic, M::Shl | M::Sal | M::Shr) {
            self.vcpu.undefined_flags |= flag::CF;
        }
        self.write_back(destination, result)
    }

    /// BT, BTS, BTR and BTC. A register index into memory reaches beyond the operand: it is
    /// signed, and whole operands away lies what is read (SDM vol. 2, BT).
    fn bit_test(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        let mnemonic = instruction.mnemonic();
        let width = self.width(instruction, 0);
        let bits = 8 * width as u64;
        let index = self.read_operand(instruction, 1)?;
        let far = instruction.op_kind(0) == OpKind::Memory && instruction.op_kind(1) == OpKind::Register;
        let operands_away = if far {
            sign_extend(index, width)
                .cast_signed()
                .div_euclid(bits.cast_signed())
        } else {
            0
        };
        let bit = 1u64 << (index % bits);
        if instruction.op_kind(0) == OpKind::Register && mnemonic == M::Bt {
            let value = self.read_operand(instruction, 0)?;
            self.set_tested_bit(value & bit != 0);
            return Ok(());
        }
        let away = operands_away.wrapping_mul(width as i64).cast_unsigned();
        if mnemonic == M::Bt {
            let address = self.address(instruction)?.after(away);
            let value = self.read_segment(address.segment, address.offset, width)?;
            self.set_tested_bit(value & bit != 0);
            return Ok(());
        }
        let (destination, value) = if far {
            let address = self.address(instruction)?.after(away);
            self.read_memory_to_write(instruction, address)?
        } else {
            self.read_to_write(instruction)?
        };
        let result = match mnemonic {
            M::Bts => value | bit,
            M::Btr => value & !bit,
            _ => value ^ bit,
        };
        self.write_back(destination, result)?;
        self.set_tested_bit(value & bit != 0);
        Ok(())
    }

    fn set_tested_bit(&mut self, bit: bool) {
        self.set_flag(flag::CF, bit);
        self.vcpu.undefined_flags |= flag::OF | flag::SF | flag::AF | flag::PF;
    }

    /// Whether a condition holds.
    pub(super) fn condition(&self, code: ConditionCode) -> bool {
        let set = |mask| self.state().rflags & mask != 0;
        let less = set(flag::SF) != set(flag::OF);
        match code {
            ConditionCode::None => true,
            ConditionCode::o => set(flag::OF),
            ConditionCode::no => !set(flag::OF),
            ConditionCode::b => set(flag::CF),
            ConditionCode::ae => !set(flag::CF),
            ConditionCode::e => set(flag::ZF),
            ConditionCode::ne => !set(flag::ZF),
            ConditionCode::be => set(flag::CF | flag::ZF),
            ConditionCode::a => !set(flag::CF | flag::ZF),
            ConditionCode::s => set(flag::SF),
            ConditionCode::ns => !set(flag::SF),
            ConditionCode::p => set(flag::PF),
            ConditionCode::np => !set(flag::PF),
            ConditionCode::l => less,
            ConditionCode::ge => !less,
            ConditionCode::le => set(flag::ZF) || less,
            ConditionCode::g => !set(flag::ZF) && !less,
        }
    }
}

/// SETcc: a condition and one byte-sized destination.
fn is_setcc(instruction: &Instruction) -> bool {
    instruction.condition_code() != ConditionCode::None && instruction.flow_control() == FlowControl::Next
}

/// CMOVcc: a condition and two operands.
fn is_cmovcc(instruction: &Instruction) -> bool {
    is_setcc(instruction) && instruction.op_count() == 2
}
