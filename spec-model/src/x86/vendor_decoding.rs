//! Bytes that processors read in more than one way, and bytes that are too many.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use super::decode::decoder_ran_out;
use super::decode_cache::LONGEST;
use super::exception::{Exception, Interruption};
use super::execute::{FarPointer, NearBranch, PauseWithRex, UndefinedOperand};
use super::processor::Processor;
use crate::defect::Defect;
use crate::requirement::{INS_BRANCH_001, INS_FAR_001, INS_PAUSE_001, INS_SET_002};

const OPERAND_SIZE: u8 = 0x66;
const REPEAT: u8 = 0xf3;

impl Processor<'_, '_> {
    /// What the bytes of 64-bit code are on a processor that does not read them as `instruction`, if
    /// this is one (INS-BRANCH-001, INS-FAR-001, INS-PAUSE-001); they may be too few for `instruction`.
    pub(super) fn read_otherwise(&mut self, instruction: &Instruction, bytes: &[u8]) -> Option<Instruction> {
        if self.code_bits() != 64 {
            return None;
        }
        let ip = self.state().rip;
        let choices = &self.rules.profile.instructions;
        if is_pause_with_rex(instruction, bytes) {
            let settled = self
                .rules
                .choices
                .settle_for_good(choices.pause_with_rex, &INS_PAUSE_001);
            return (settled == PauseWithRex::Exchange).then(|| without_repeat(bytes, ip, instruction.len()));
        }
        let other = as_amd(bytes, ip).filter(|other| other.code() != instruction.code())?;
        let taken = if is_far(&other) {
            let settled = self
                .rules
                .choices
                .settle_for_good(choices.far_pointer, &INS_FAR_001);
            settled == FarPointer::Offset32
        } else {
            let settled = self
                .rules
                .choices
                .settle_for_good(choices.near_branch, &INS_BRANCH_001);
            settled == NearBranch::Sized16 && !self.rules.broken(Defect::NearBranchSizeIgnored)
        };
        taken.then_some(other)
    }

    /// The fault of a fetch that ended with `bytes`: there is none if no instruction begins with them, and
    /// UD0 and UD1 may need no more (INS-SET-002).
    pub(super) fn fetch_fault(&mut self, fault: Interruption, bytes: &[u8]) -> Interruption {
        let bits = self.code_bits();
        let opcode = &bytes[prefixes(bytes, bits)..];
        if !begins_instruction(bytes, bits) {
            return Exception::UNDEFINED.into();
        }
        if !matches!(opcode, [0x0f, 0xb9 | 0xff, ..]) {
            return fault;
        }
        let choice = self.rules.profile.instructions.undefined_operand;
        match self.rules.choices.settle_for_good(choice, &INS_SET_002) {
            UndefinedOperand::Fetched => fault,
            UndefinedOperand::None => Exception::UNDEFINED.into(),
        }
    }
}

/// Whether some processor reads an instruction of 64-bit code otherwise.
pub(super) fn is_read_in_two_ways(instruction: &Instruction, bytes: &[u8]) -> bool {
    let is_branch = instruction.flow_control() != FlowControl::Next;
    is_branch && bytes[..instruction.len()].contains(&OPERAND_SIZE)
        || matches!(instruction.code(), Code::Jmp_m1664 | Code::Call_m1664)
        || is_pause_with_rex(instruction, bytes)
}

fn is_far(instruction: &Instruction) -> bool {
    instruction.is_jmp_far_indirect() || instruction.is_call_far_indirect()
}

fn is_pause_with_rex(instruction: &Instruction, bytes: &[u8]) -> bool {
    let rex = instruction
        .len()
        .checked_sub(2)
        .and_then(|place| bytes.get(place));
    let has_base_bit = rex.is_some_and(|rex| rex & 0xf1 == 0x41);
    instruction.mnemonic() == Mnemonic::Pause && has_base_bit
}

/// A branch as AMD's processors read it: near ones with a 66h prefix and far ones with REX.W
/// (INS-BRANCH-001, INS-FAR-001).
fn as_amd(bytes: &[u8], ip: u64) -> Option<Instruction> {
    let other = Decoder::with_ip(64, bytes, ip, DecoderOptions::AMD).decode();
    let is_branch = !other.is_invalid() && other.flow_control() != FlowControl::Next;
    let prefixed = bytes[..other.len()].contains(&OPERAND_SIZE);
    (is_branch && (prefixed || is_far(&other))).then_some(other)
}

/// The instruction without its F3, as long as with it.
fn without_repeat(bytes: &[u8], ip: u64, length: usize) -> Instruction {
    let rest: Vec<u8> = bytes[..length]
        .iter()
        .copied()
        .filter(|byte| *byte != REPEAT)
        .collect();
    let mut instruction = Decoder::with_ip(64, &rest, ip, DecoderOptions::NONE).decode();
    instruction.set_len(length);
    instruction.set_next_ip(ip.wrapping_add(length as u64));
    instruction
}

/// Number of prefixes that bytes begin with.
fn prefixes(bytes: &[u8], bits: u32) -> usize {
    let is_prefix = |byte: &&u8| {
        is_no_matter(**byte) || matches!(byte, 0x66 | 0x67) || bits == 64 && **byte & 0xf0 == 0x40
    };
    bytes.iter().take_while(is_prefix).count()
}

/// Prefixes that change the length of no instruction of the set.
fn is_no_matter(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3)
}

/// Whether some instruction begins with these bytes, which are too few: an opcode that is none in this
/// mode needs no operand to be none.
fn begins_instruction(bytes: &[u8], bits: u32) -> bool {
    let opcode = &bytes[prefixes(bytes, bits)..];
    (0..=u8::MAX).any(|next| {
        let mut whole = opcode.to_vec();
        whole.push(next);
        whole.resize(LONGEST, 0);
        !Decoder::new(bits, &whole, DecoderOptions::NONE)
            .decode()
            .is_invalid()
    })
}

/// Whether bytes that are no instruction are the beginning of one of more than 15 (INS-LENGTH-001).
pub(super) fn is_too_long(bytes: &[u8], bits: u32) -> bool {
    if bytes.len() < LONGEST {
        return false;
    }
    // Without a prefix that changes no length it would be an instruction that goes on behind its end:
    // what is so long has one.
    let prefixes = &bytes[..prefixes(bytes, bits)];
    let repeated = |place: usize| prefixes[place + 1..].contains(&prefixes[place]);
    let spare = (0..prefixes.len()).find(|place| is_no_matter(prefixes[*place]) || repeated(*place));
    let Some(spare) = spare else { return false };
    let mut rest = bytes.to_vec();
    rest.remove(spare);
    let mut decoder = Decoder::new(bits, &rest, DecoderOptions::NONE);
    decoder.decode().is_invalid() && decoder_ran_out(&decoder)
}
