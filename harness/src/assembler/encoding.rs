//! Chooses the shortest encoding that holds the values, through iced-x86.

use iced_x86::{Code, Decoder, DecoderOptions, Encoder, Instruction, OpCodeOperandKind as K, Register};

use super::error::Mistake;
use super::expression::Scope;
use super::operand::Distance;
use super::selection::{Candidate, Repeat, Selection, branch_width};
use super::values::Filler;

/// A mistake, and its column if it belongs to an operand.
type Refusal = (Option<usize>, Mistake);

/// Whether another encoding may be right where one meets this mistake.
fn another_may_do(mistake: &Mistake) -> bool {
    matches!(
        mistake,
        Mistake::OutOfRange { .. } | Mistake::TargetTooFar { .. } | Mistake::NotEncodable { .. }
    )
}

/// Encodes an instruction with its first byte at the offset `scope.here`, in at least
/// `least` bytes if an encoding of that length exists.
///
/// # Errors
/// The mistake of the encoding that comes nearest, with the column of the operand.
pub(super) fn encode(selection: &Selection, scope: &Scope<'_>, least: usize) -> Result<Vec<u8>, Refusal> {
    let mut best: Option<(Rank, Vec<u8>)> = None;
    let mut refusal: Option<Refusal> = None;
    for candidate in &selection.candidates {
        match encode_candidate(selection, candidate, scope) {
            Ok(bytes) => {
                let rank = Rank::new(bytes.len(), least, candidate.code);
                if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                    best = Some((rank, bytes));
                }
            }
            Err(other) if !another_may_do(&other.1) => return Err(other),
            Err(other) => {
                if refusal
                    .as_ref()
                    .is_none_or(|(_, mistake)| weight(&other.1) > weight(mistake))
                {
                    refusal = Some(other);
                }
            }
        }
    }
    match (best, refusal) {
        (Some((_, bytes)), _) => Ok(bytes),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err((None, not_encodable(selection, "it has no encoding"))),
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
    let filler = Filler {
        bits: selection.bits,
        scope,
    };
    let mut after_next = None;
    for (index, (operand, &kind)) in
        (0u32..).zip(candidate.operands.iter().zip(candidate.code.op_code().op_kinds()))
    {
        let filled = filler.set_operand(&mut instruction, index, kind, operand);
        let distance = filled.map_err(|mistake| (Some(operand.column), mistake))?;
        after_next = after_next.or(distance);
    }
    let write = |instruction: &Instruction| {
        let mut encoder = Encoder::new(selection.bits.width());
        match encoder.encode(instruction, scope.here) {
            Ok(_) => Ok(encoder.take_buffer()),
            Err(error) => {
                let column = candidate.operands.first().map(|operand| operand.column);
                Err((column, explain(selection, scope, instruction, &error.to_string())))
            }
        }
    };
    let bytes = write(&instruction)?;
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
            write(&instruction)?
        }
    };
    verify(selection, scope, &bytes, candidate.code).map_err(|mistake| (None, mistake))?;
    Ok(bytes)
}

fn not_encodable(selection: &Selection, reason: impl Into<String>) -> Mistake {
    Mistake::NotEncodable {
        name: selection.name.clone(),
        reason: reason.into(),
    }
}

/// Puts the encoder's refusal into our words where they are better.
fn explain(selection: &Selection, scope: &Scope<'_>, instruction: &Instruction, reason: &str) -> Mistake {
    match instruction
        .code()
        .op_code()
        .op_kinds()
        .first()
        .copied()
        .and_then(branch_width)
    {
        Some((_, distance)) => Mistake::TargetTooFar {
            name: selection.name.clone(),
            distance: i128::from(instruction.near_branch_target()) - i128::from(scope.here),
            reach: match distance {
                Distance::Short => "this form reaches from -128 to 127 bytes after its end",
                Distance::Near => "it reaches 2 GiB to either side",
            },
        },
        None => not_encodable(selection, reason),
    }
}

/// Checks that a decoder reads the bytes as what was meant: some encodings stand for
/// another instruction with certain operands (90h is NOP, not XCHG EAX, EAX).
fn verify(selection: &Selection, scope: &Scope<'_>, bytes: &[u8], code: Code) -> Result<(), Mistake> {
    let bits = selection.bits.width();
    let decoded = Decoder::with_ip(bits, bytes, scope.here, DecoderOptions::NONE).decode();
    if decoded.code() == code && decoded.len() == bytes.len() {
        Ok(())
    } else {
        let reason = format!("a processor would read `{decoded}`; use db if you mean these bytes");
        Err(not_encodable(selection, reason))
    }
}
