//! Where this suite's assembler and GNU `as` differ, and why.

use harness::assembler::Bits;

/// A difference that is meant.
pub struct Difference {
    /// Code sizes in which it occurs.
    pub bits: &'static [Bits],
    /// Where it occurs.
    place: Place,
    /// Whether a decoder reads the same from both.
    pub same_meaning: bool,
    /// Why.
    pub reason: &'static str,
}

/// Where a difference occurs.
enum Place {
    /// In lines that read like this; `?` is any character.
    Line(&'static str),
    /// Wherever the bytes are the same but for the order of the prefixes.
    PrefixOrder,
}

/// Every difference that is meant.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        bits: super::ALL,
        place: Place::PrefixOrder,
        same_meaning: true,
        reason: "the order of legacy prefixes has no meaning; iced-x86 writes segment, lock, 66, 67, rep",
    },
    Difference {
        bits: super::ALL,
        place: Place::Line("int 3"),
        same_meaning: false,
        reason: "as turns INT 3 into INT3, which differs in virtual-8086 mode and in its length",
    },
    Difference {
        bits: &[Bits::Bits16],
        place: Place::Line("xchg ax, ax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits32],
        place: Place::Line("xchg eax, eax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("xchg rax, rax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits16],
        place: Place::Line("xchg eax, eax"),
        same_meaning: true,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits32, Bits::Bits64],
        place: Place::Line("xchg ax, ax"),
        same_meaning: true,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("mov rax, ?s"),
        same_meaning: false,
        reason: "as leaves out REX.W, because the 32-bit form zero-extends; the width stays as written here",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("mov r12, ?s"),
        same_meaning: false,
        reason: "as leaves out REX.W, because the 32-bit form zero-extends; the width stays as written here",
    },
];

impl Difference {
    /// Whether the row speaks of this line.
    pub fn explains(&self, line: &str, ours: &[u8], gas: &[u8]) -> bool {
        match self.place {
            Place::Line(pattern) => {
                pattern.len() == line.len()
                    && pattern
                        .bytes()
                        .zip(line.bytes())
                        .all(|(expected, byte)| expected == b'?' || expected == byte)
            }
            Place::PrefixOrder => {
                let (mut our_prefixes, our_rest) = split_prefixes(ours);
                let (mut gas_prefixes, gas_rest) = split_prefixes(gas);
                our_prefixes.sort_unstable();
                gas_prefixes.sort_unstable();
                our_prefixes == gas_prefixes && gas_rest.starts_with(our_rest)
            }
        }
    }
}

/// The legacy prefixes of an instruction, and the rest of it.
fn split_prefixes(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let prefix =
        |byte: &u8| [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].contains(byte);
    let count = bytes.iter().take_while(|byte| prefix(byte)).count();
    let (prefixes, rest) = bytes.split_at(count);
    (prefixes.to_vec(), rest)
}
