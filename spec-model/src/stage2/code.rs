//! Code that scenarios put into guest memory: it returns a number, and nothing else.

use crate::architecture::Architecture;

/// Longest such code in bytes.
pub const LONGEST: usize = 12;

/// RET of A64.
const RETURN: u32 = 0xd65f_03c0;
/// `movz w0, #0` and `movk w0, #0, lsl #16` of A64, the numbers being in bits 20 to 5.
const MOVE: [u32; 2] = [0x5280_0000, 0x72a0_0000];

/// MOV EAX, imm32 and RET, in 32- and 64-bit mode; MOVZ, MOVK and RET on arm64.
#[must_use]
pub fn returning(architecture: Architecture, value: u32) -> Vec<u8> {
    match architecture {
        Architecture::X86 => {
            let [a, b, c, d] = value.to_le_bytes();
            vec![0xb8, a, b, c, d, 0xc3]
        }
        Architecture::Arm64 => {
            let [low, high] = MOVE;
            let words = [low | (value & 0xffff) << 5, high | (value >> 16) << 5, RETURN];
            words.into_iter().flat_map(u32::to_le_bytes).collect()
        }
    }
}

/// The number that code returns, if it is of that form.
#[must_use]
pub fn returned(architecture: Architecture, code: [u8; LONGEST]) -> Option<u32> {
    match (architecture, code) {
        (Architecture::X86, [0xb8, a, b, c, d, 0xc3, ..]) => Some(u32::from_le_bytes([a, b, c, d])),
        (Architecture::X86, _) => None,
        (Architecture::Arm64, [a, b, c, d, e, f, g, h, ..]) => {
            let number = |word: u32| word >> 5 & 0xffff;
            let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            let value = number(low) | number(high) << 16;
            (returning(architecture, value) == code).then_some(value)
        }
    }
}

/// Bytes of such code.
#[must_use]
pub const fn length(architecture: Architecture) -> usize {
    match architecture {
        Architecture::X86 => 6,
        Architecture::Arm64 => LONGEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_returns_what_it_was_made_for() {
        for architecture in [Architecture::X86, Architecture::Arm64] {
            for value in [0, 1, 0x1234_5678, u32::MAX] {
                let code = returning(architecture, value);
                assert_eq!(code.len(), length(architecture));
                let mut bytes = [0; LONGEST];
                bytes.iter_mut().zip(code).for_each(|(to, from)| *to = from);
                assert_eq!(returned(architecture, bytes), Some(value));
            }
            assert_eq!(returned(architecture, [0; LONGEST]), None);
        }
    }
}
