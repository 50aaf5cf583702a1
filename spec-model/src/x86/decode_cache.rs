//! Instructions decoded so far.

use iced_x86::Instruction;

/// The longest instruction in bytes.
pub const LONGEST: usize = 15;
const SLOTS: usize = 64;

/// Instructions decoded so far, found by where and in which mode they were decoded. An
/// entry counts only while memory still holds its bytes, so self-modifying code works.
#[derive(Debug, Default)]
pub struct DecodeCache {
    slots: Vec<Option<Decoded>>,
}

#[derive(Clone, Copy, Debug)]
struct Decoded {
    rip: u64,
    bits: u32,
    bytes: [u8; LONGEST],
    instruction: Instruction,
}

impl DecodeCache {
    fn slot(rip: u64) -> usize {
        (rip ^ rip >> 6) as usize % SLOTS
    }

    /// The instruction at `rip` in code of `bits` bits, if `memory` still begins with its bytes.
    #[must_use]
    pub fn find(&self, rip: u64, bits: u32, memory: &[u8]) -> Option<Instruction> {
        let decoded = self.slots.get(Self::slot(rip))?.as_ref()?;
        let length = decoded.instruction.len();
        let bytes = decoded.bytes.get(..length)?;
        let same = decoded.rip == rip && decoded.bits == bits && memory.starts_with(bytes);
        same.then_some(decoded.instruction)
    }

    /// Keeps an instruction and the bytes that it was decoded from.
    pub fn keep(&mut self, rip: u64, bits: u32, bytes: [u8; LONGEST], instruction: Instruction) {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        self.slots[Self::slot(rip)] = Some(Decoded {
            rip,
            bits,
            bytes,
            instruction,
        });
    }
}
