//! Turns assembly text into bytes.
//!
//! The text is in Intel syntax, one statement per line:
//!
//! ```text
//! start:                      ; labels end with a colon, comments begin with ; or #
//!     mov     ax, 0x1000      ; numbers: 10, 0xff, 0b11, 1_000, 'c'
//!     mov     ds, ax
//!     lea     eax, [ebx + ecx*4 + 8]
//!     mov     byte ptr es:[di], 'A'
//!     jmp     0x08:protected  ; selector and offset
//!     sync    before-smi      ; the host regains control here
//!     halt    waiting         ; HLT, and the host regains control here
//! table:
//!     dw      table_end - table - 1
//!     dd      linear table
//! table_end:
//! ```
//!
//! * A label in a jump or call means the place itself. Elsewhere `offset label` is its
//!   offset in the segment of its section, `linear label` its linear address, `[label]`
//!   what is stored at its offset. In `db` to `dq` and in far pointers a bare label is
//!   its offset.
//! * In 64-bit code `[label]` is an absolute 32-bit displacement; `[rip + label]` and
//!   `[rel label]` are relative to RIP.
//! * Prefixes for operand and address size come out of the operands. Where an instruction
//!   has none (`ret`, `lgdt [x]`, `jmp far [x]`), `data16` or `data32` before it chooses.
//! * `iret`, `retf` and `sysret` in 64-bit code must say their width, as in
//!   `iretd` and `iretq`.
//! * The shortest encoding is taken, but numbers that depend on labels take the full
//!   width of their place, so that moving code does not change encodings. Jumps are
//!   short where that reaches; `short` and `near` choose by hand.
//! * An override that names the default segment is emitted as written.
//!
//! [`mnemonics`] lists the instructions, [`directives`] the rest. The operators of
//! expressions are `| & << >> + - *`, unary `-` and `~`, parentheses, and `$` for the
//! offset of the statement.

mod definitions;
mod encoding;
mod error;
mod expression;
mod instruction_set;
mod layout;
mod lexer;
mod operand;
mod register;
mod selection;
mod statement;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use spec_model::scenario::{Blob, Point};

pub use error::{AssemblyError, Mistake};

/// The size of code: default operand and address size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// 16-bit code: real mode, and code segments with CS.D = 0.
    Bits16,
    /// 32-bit code: code segments with CS.D = 1.
    Bits32,
    /// 64-bit code: code segments with CS.L = 1 in long mode.
    Bits64,
}

impl Bits {
    /// Width in bits.
    #[must_use]
    pub fn width(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }
}

impl std::fmt::Display for Bits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-bit", self.width())
    }
}

/// A piece of assembly text with a name and a place.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Name; if it is a valid label, it is the label of the section's start.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
    /// Code size at the start; `.code16`, `.code32` and `.code64` change it.
    pub bits: Bits,
    /// Linear address of the segment in which the code runs, in bytes. Offsets of labels
    /// count from it.
    pub segment_base: u64,
    /// Offset of the start in that segment, in bytes. Without one the section begins right
    /// after the last one before it that has the same segment and no origin either, at a
    /// multiple of 16, or at offset 0 if there is none.
    pub origin: Option<u64>,
}

/// Where a label lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Offset in the segment of its section, in bytes.
    pub offset: u64,
    /// Linear address in bytes.
    pub linear: u64,
    /// Code size in force there.
    pub bits: Bits,
}

/// What one statement became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingLine {
    /// Index of its section in the slice given to [`assemble`].
    pub section: usize,
    /// Line in the section's text, counted from 1.
    pub line: usize,
    /// Linear address of the first byte.
    pub address: u64,
    /// Code size in force.
    pub bits: Bits,
    /// The bytes, at least one.
    pub bytes: Vec<u8>,
}

/// Assembled text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The bytes at their linear addresses, ascending and without overlap. Code without a
    /// gap is one blob.
    pub blobs: Vec<Blob>,
    /// All labels.
    pub labels: BTreeMap<String, Label>,
    /// The sync points in the order of their numbers, then the halts.
    pub points: Vec<Point>,
    /// What each statement became, in the order of the text.
    pub listing: Vec<ListingLine>,
}

/// Assembles sections that share their labels. `symbols` are constants.
///
/// ```
/// use std::collections::BTreeMap;
/// use harness::assembler::{Bits, Section, assemble};
///
/// let section = Section {
///     name: "start",
///     text: "mov ax, VALUE\nsync before-smi\nhlt",
///     bits: Bits::Bits16,
///     segment_base: 0x1_0000,
///     origin: Some(0x100),
/// };
/// let symbols = BTreeMap::from([("VALUE".to_owned(), 0x1234)]);
/// let program = assemble(&[section], &symbols).unwrap();
/// assert_eq!(program.blobs[0].address, 0x1_0100);
/// assert_eq!(program.blobs[0].bytes, [0xb8, 0x34, 0x12, 0xe6, 0xc0, 0xf4]);
/// assert_eq!(program.points[0].name, "before-smi");
/// ```
///
/// # Errors
/// All mistakes in the text, ordered by section, line and column.
pub fn assemble(
    sections: &[Section<'_>],
    symbols: &BTreeMap<String, u64>,
) -> Result<Program, Vec<AssemblyError>> {
    let mut errors = Vec::new();
    let mut statements = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        statements.extend(statement::parse_section(index, section, &mut errors));
    }
    let result = layout::lay_out(sections, symbols, &statements, &mut errors);
    match result {
        Some(program) if errors.is_empty() => Ok(program),
        _ => {
            errors.sort();
            errors.dedup();
            Err(errors)
        }
    }
}

/// Names of all instructions that the assembler knows, in alphabetical order. Prefixes
/// ([`prefixes`]) are not among them.
pub fn mnemonics() -> impl Iterator<Item = &'static str> {
    instruction_set::names()
}

/// Words that can stand before an instruction.
pub fn prefixes() -> impl Iterator<Item = &'static str> {
    statement::PREFIXES.into_iter()
}

/// Directives and pseudo-instructions, each with what it is for.
pub fn directives() -> impl Iterator<Item = (&'static str, &'static str)> {
    statement::DIRECTIVES.into_iter()
}
