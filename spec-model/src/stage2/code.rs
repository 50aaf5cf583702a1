//! Code that scenarios put into guest memory: it returns a number, and nothing else.

/// Longest such code in bytes.
pub const LONGEST: usize = 6;

/// MOV EAX, imm32 and RET, in 32- and 64-bit mode.
#[must_use]
pub fn returning(value: u32) -> [u8; LONGEST] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d, 0xc3]
}

/// The number that code returns, if it is of that form.
#[must_use]
pub fn returned(code: [u8; LONGEST]) -> Option<u32> {
    match code {
        [0xb8, a, b, c, d, 0xc3] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}
