//! Chooses the shortest encoding that holds the values, through iced-x86.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, OpCodeOperandKind as K, OpKind, Register,
};

use super::Bits;
use super::error::Mistake;
use super::expression::{Scope, Value};
use super::operand::{Distance, Memory, Operand, OperandKind};
use super::selection::{Candidate, Repeat, Selection, branch_width};

/// Why one encoding does not do.
enum Refusal {
    /// Another encoding may do.
    TryAnother(Mistake),
    /// The text is wrong whatever the encoding.
    Final(Mistake),
}

/// A mistake of an operand is wrong in all encodings, unless it is about the width.
impl From<Mistake> for Refusal {
    fn from(mistake: Mistake) -> Self {
        match mistake {
            Mistake::OutOfRange { .. } | Mistake::TargetTooFar { .. } | Mistake::NotEncodable { .. } => {
                Self::TryAnother(mistake)
            }
            other => Self::Final(other),
        }
    }
}

/// Encodes an instruction with its first byte at the offset `scope.here`, in at least
/// `least` bytes if an encoding of that length exists.
pub(super) fn encode(selection: &Selection, scope: &Scope<'_>, least: usize) -> Result<Vec<u8>, Mistake> {
    let mut best: Option<(Rank, Vec<u8>)> = None;
    let mut mistake: Option<Mistake> = None;
    for candidate in &selection.candidates {
        match encode_candidate(selection, candidate, scope) {
            Ok(bytes) => {
                let rank = Rank::new(bytes.len(), least, candidate.code);
                if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                    best = Some((rank, bytes));
                }
            }
            Err(Refusal::Final(mistake)) => return Err(mistake),
            Err(Refusal::TryAnother(other)) => {
                if mistake
                    .as_ref()
                    .is_none_or(|mistake| weight(&other) > weight(mistake))
                {
                    mistake = Some(other);
                }
            }
        }
    }
    match (best, mistake) {
        (Some((_, bytes)), _) => Ok(bytes),
        (None, Some(mistake)) => Err(mistake),
        (None, None) => Err(Mistake::NotEncodable {
            name: selection.name.clone(),
            reason: "it has no encoding".to_owned(),
        }),
    }
}

/// What makes one encoding better than another; the least is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// By how much it is shorter than it must be.
    missing: usize,
    length: usize,
    /// Of two encodings with the same length GNU `as` takes the one whose immediate is
    /// sign-extended.
    extends_no_sign: bool,
}

impl Rank {
    fn new(length: usize, least: usize, code: Code) -> Self {
        let extends_sign = |kind: &K| matches!(kind, K::imm8sex16 | K::imm8sex32 | K::imm8sex64);
        Self {
            missing: least.saturating_sub(length),
            length,
            extends_no_sign: !code.op_code().op_kinds().iter().any(extends_sign),
        }
    }
}

/// Which of several mistakes tells most: the one about the widest place.
fn weight(mistake: &Mistake) -> u32 {
    match mistake {
        Mistake::TargetTooFar { .. } => 2,
        Mistake::OutOfRange { width, .. } => 2 + width,
        _ => 0,
    }
}

fn encode_candidate(
    selection: &Selection,
    candidate: &Candidate,
    scope: &Scope<'_>,
) -> Result<Vec<u8>, Refusal> {
    let mut instruction = Instruction::default();
    instruction.set_code(candidate.code);
    instruction.set_has_lock_prefix(selection.prefixes.lock);
    match selection.prefixes.repeat {
        Some(Repeat::Equal) => instruction.set_has_rep_prefix(true),
        Some(Repeat::NotEqual) => instruction.set_has_repne_prefix(true),
        None => {}
    }
    let builder = Builder { selection, scope };
    let mut after_next = None;
    for (index, (operand, &kind)) in
        (0u32..).zip(candidate.operands.iter().zip(candidate.code.op_code().op_kinds()))
    {
        if let Some(distance) = builder.set_operand(&mut instruction, index, kind, operand)? {
            after_next = Some(distance);
        }
    }
    let bytes = builder.write(&instruction)?;
    let bytes = match after_next {
        None => bytes,
        // `[rip + number]` counts from the end of the instruction, whose length is known now.
        Some(distance) => {
            let end = scope.here.wrapping_add(bytes.len() as u64);
            let target = end.wrapping_add_signed(distance);
            let narrow = instruction.memory_base() == Register::EIP;
            instruction.set_memory_displacement64(if narrow {
                target & u64::from(u32::MAX)
            } else {
                target
            });
            builder.write(&instruction)?
        }
    };
    builder.verify(&bytes, candidate.code)?;
    Ok(bytes)
}

struct Builder<'a> {
    selection: &'a Selection,
    scope: &'a Scope<'a>,
}

impl Builder<'_> {
    fn not_encodable(&self, reason: impl Into<String>) -> Mistake {
        Mistake::NotEncodable {
            name: self.selection.name.clone(),
            reason: reason.into(),
        }
    }

    fn write(&self, instruction: &Instruction) -> Result<Vec<u8>, Mistake> {
        let mut encoder = Encoder::new(self.selection.bits.width());
        match encoder.encode(instruction, self.scope.here) {
            Ok(_) => Ok(encoder.take_buffer()),
            Err(error) => Err(self.explain(instruction, &error.to_string())),
        }
    }

    /// Puts the encoder's refusal into our words where they are better.
    fn explain(&self, instruction: &Instruction, reason: &str) -> Mistake {
        match instruction
            .code()
            .op_code()
            .op_kinds()
            .first()
            .copied()
            .and_then(branch_width)
        {
            Some((_, distance)) => Mistake::TargetTooFar {
                name: self.selection.name.clone(),
                distance: i128::from(instruction.near_branch_target()) - i128::from(self.scope.here),
                reach: match distance {
                    Distance::Short => "this form reaches from -128 to 127 bytes after its end",
                    Distance::Near => "it reaches 2 GiB to either side",
                },
            },
            None => self.not_encodable(reason),
        }
    }

    /// Checks that a decoder reads the bytes as what was meant: some encodings stand for
    /// another instruction with certain operands (90h is NOP, not XCHG EAX, EAX).
    fn verify(&self, bytes: &[u8], code: Code) -> Result<(), Mistake> {
        let bits = self.selection.bits.width();
        let decoded = Decoder::with_ip(bits, bytes, self.scope.here, DecoderOptions::NONE).decode();
        if decoded.code() == code && decoded.len() == bytes.len() {
            Ok(())
        } else {
            let reason = format!("a processor would read `{decoded}`; use db if you mean these bytes");
            Err(self.not_encodable(reason))
        }
    }

    /// Fills in one operand. For `[rip + number]` the result is the number.
    fn set_operand(
        &self,
        instruction: &mut Instruction,
        index: u32,
        kind: K,
        operand: &Operand,
    ) -> Result<Option<i64>, Refusal> {
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
                    let plain = Scope {
                        branch_segment: None,
                        ..*self.scope
                    };
                    let value = value.evaluate(&plain)?.explicit()?;
                    self.set_immediate(instruction, index, kind, &value)?;
                }
                Ok(None)
            }
            OperandKind::FarPointer { selector, offset, .. } => {
                // The base of the segment that the selector names is not known here.
                let plain = Scope {
                    branch_segment: None,
                    ..*self.scope
                };
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
                if number != 1 {
                    return Err(self.not_encodable("the form without a number shifts by 1"));
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
            _ => return Err(self.not_encodable("it takes no number here")),
        }
        Ok(())
    }

    fn set_memory(
        &self,
        instruction: &mut Instruction,
        index: u32,
        kind: K,
        memory: &Memory,
    ) -> Result<Option<i64>, Refusal> {
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
        let scope = if relative {
            *self.scope
        } else {
            Scope {
                branch_segment: None,
                ..*self.scope
            }
        };
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
            self.selection.bits.width()
        } else {
            register.size() as u32 * 8
        };
        let number = displacement.as_ref().map_or(0, |value| value.number);
        let what = "the displacement";
        let bits = fit(number, width, what)?;
        let signed = sign_extend(bits, width);
        let in_modrm = kind != K::mem_offs;
        if in_modrm && width == 64 && i32::try_from(signed).is_err() {
            return Err(Refusal::TryAnother(Mistake::OutOfRange {
                value: number,
                width: 32,
                what,
                low: i128::from(i32::MIN),
                high: i128::from(i32::MAX),
            }));
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
        if absolute && in_modrm && width == 64 {
            instruction.set_memory_displacement64(signed as u64);
        }
        Ok(None)
    }

    /// Addresses relative to RIP: with a label the target is meant, without one the
    /// distance from the next instruction, which is returned.
    fn set_relative(
        &self,
        instruction: &mut Instruction,
        memory: &Memory,
        displacement: Option<Value>,
    ) -> Result<Option<i64>, Refusal> {
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

impl Bits {
    /// Width in bits.
    pub(super) fn width(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
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
