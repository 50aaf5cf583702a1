//! Registers and addresses of each code size.

use harness::assembler::Bits;

/// Operands of one code size.
pub struct Shapes {
    /// Registers by size in bytes.
    pub registers: [(usize, &'static [&'static str]); 4],
    /// Addresses.
    pub addresses: &'static [&'static str],
    /// The width of a pushed word.
    pub stack: &'static str,
}

/// The operands of that code size.
pub fn shapes(bits: Bits) -> Shapes {
    match bits {
        Bits::Bits16 => Shapes {
            registers: [
                (1, &["al", "dh"]),
                (2, &["ax", "di"]),
                (4, &["eax", "ebp"]),
                (8, &[]),
            ],
            addresses: &[
                "[bx+si+4]",
                "[0x1234]",
                "[bp]",
                "es:[di-0x200]",
                "[eax+ecx*4+0x10]",
                "[target]",
            ],
            stack: "word",
        },
        Bits::Bits32 => Shapes {
            registers: [
                (1, &["al", "dh"]),
                (2, &["ax", "di"]),
                (4, &["eax", "ebp"]),
                (8, &[]),
            ],
            addresses: &[
                "[ebx]",
                "[esp+4]",
                "[0x12345678]",
                "fs:[ecx*8+0x100]",
                "[bx+di]",
                "[target]",
            ],
            stack: "dword",
        },
        Bits::Bits64 => Shapes {
            registers: [
                (1, &["al", "dh", "sil", "r9b"]),
                (2, &["ax", "r10w"]),
                (4, &["eax", "r14d"]),
                (8, &["rax", "r12"]),
            ],
            addresses: &[
                "[rax]",
                "[rsp+8]",
                "[r13]",
                "[rip+target]",
                "[0x1000]",
                "gs:[rbx+r9*2-0x81]",
                "[ecx+4]",
            ],
            stack: "qword",
        },
    }
}

const KEYWORDS: [(usize, &str); 4] = [(1, "byte"), (2, "word"), (4, "dword"), (8, "qword")];

/// The keyword for a size in bytes.
pub fn keyword(size: usize) -> &'static str {
    KEYWORDS
        .iter()
        .find(|(bytes, _)| *bytes == size)
        .map_or("", |(_, keyword)| keyword)
}
