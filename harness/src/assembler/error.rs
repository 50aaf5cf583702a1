//! What can be wrong with assembly text, each with what would be right.

use super::Bits;

/// A mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("line {line}, column {column}: {mistake}")]
pub struct AssemblyError {
    /// Index of the section in the slice given to [`super::assemble`].
    pub section: usize,
    /// Line within the section's text, counted from 1.
    pub line: usize,
    /// Column within the line in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub mistake: Mistake,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Mistake {
    /// The first word of a statement is neither an instruction nor a directive.
    #[error("unknown instruction or directive `{name}`{}", suggestion(.nearest))]
    UnknownMnemonic {
        /// The word.
        name: String,
        /// Known words that are spelled nearly the same.
        nearest: Vec<String>,
    },
    /// The processor has the instruction, and the model does not.
    #[error("`{0}` is an instruction that the model does not have, so that no case can use it")]
    NotModelled(String),
    /// No form of the instruction takes these operands.
    #[error("`{name}` does not take these operands in {bits} code; it takes: {}", .shapes.join(" | "))]
    OperandShapes {
        /// The instruction.
        name: String,
        /// Code size.
        bits: Bits,
        /// The forms that exist, as the manuals write them.
        shapes: Vec<String>,
    },
    /// The instruction does not exist in this code size.
    #[error("`{name}` does not exist in {bits} code")]
    NotInThisMode {
        /// The instruction.
        name: String,
        /// Code size.
        bits: Bits,
    },
    /// A register does not exist in this code size.
    #[error("register `{0}` exists in 64-bit code only")]
    RegisterNeeds64(String),
    /// Nothing says how wide a memory operand is.
    #[error("the size of the memory operand is open; write {}", .0.join(" or "))]
    MemorySize(Vec<String>),
    /// An instruction whose usual size in 64-bit code is rarely the one meant.
    #[error(
        "`{name}` would be 32 bits wide in 64-bit code; write `{name}d` if that is meant, else `{name}q`"
    )]
    SayTheWidth {
        /// The instruction.
        name: String,
    },
    /// A label is used like a number.
    #[error(
        "write `offset {0}` for the label's offset, `linear {0}` for its linear address or `[{0}]` for what is stored there"
    )]
    BareLabel(String),
    /// A symbol that nobody defines.
    #[error("label `{name}` is not defined; {}", known_labels(.known))]
    UndefinedLabel {
        /// The symbol.
        name: String,
        /// Labels and constants, the nearest first.
        known: Vec<String>,
    },
    /// Two definitions of one label.
    #[error("label `{name}` is already defined: {first}; choose another name")]
    DuplicateLabel {
        /// The label.
        name: String,
        /// Where the first definition is.
        first: String,
    },
    /// A label that means something else.
    #[error("`{0}` cannot be a label: it is {1}")]
    ReservedName(String, &'static str),
    /// A number outside the range of the place where it stands.
    #[error("{} does not fit in {width} bits: {what} must lie between {} and {}",
        signed(*.value), signed(*.low), signed(*.high))]
    OutOfRange {
        /// The number.
        value: i128,
        /// Width of the place.
        width: u32,
        /// What stands there.
        what: &'static str,
        /// Least number that fits.
        low: i128,
        /// Greatest number that fits.
        high: i128,
    },
    /// A branch that does not reach.
    #[error("`{name}` does not reach its target {distance} bytes away; {reach}")]
    TargetTooFar {
        /// The instruction.
        name: String,
        /// From the start of the instruction to the target, in bytes.
        distance: i128,
        /// How far it reaches.
        reach: &'static str,
    },
    /// A target that has no offset in the segment of the branch.
    #[error("target {} is not in the {width}-bit segment of this branch; use a far jump or call", signed(*.offset))]
    TargetOutsideSegment {
        /// Offset that the target would have.
        offset: i128,
        /// Width of an offset in bits.
        width: u32,
    },
    /// A prefix that the instruction does not take.
    #[error("prefix `{prefix}` does not go with `{name}`{hint}")]
    Prefix {
        /// The prefix.
        prefix: &'static str,
        /// The instruction.
        name: String,
        /// What would be right.
        hint: &'static str,
    },
    /// A combination of registers that no address has.
    #[error("{0}")]
    Address(&'static str),
    /// iced-x86 cannot encode it, or what it encodes means something else.
    #[error("`{name}` cannot be encoded this way: {reason}")]
    NotEncodable {
        /// The instruction.
        name: String,
        /// Why.
        reason: String,
    },
    /// The text breaks off or goes on where it should not.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A word that looks like a number but is none.
    #[error(
        "`{0}` is not a number; write decimal, 0x hexadecimal or 0b binary digits, `_` between them if you like"
    )]
    Number(String),
    /// A quotation without an end.
    #[error("the quotation mark {0} is not closed on this line")]
    Quotation(char),
    /// An expression whose value is too large, or which shifts by a strange amount.
    #[error("the expression overflows 128 bits or shifts by a number outside 0 to 127")]
    Overflow,
    /// A pseudo-instruction without its name.
    #[error("`{0}` needs a name of letters, digits, `_`, `.` and `-`, for instance `{0} in-handler`")]
    PointName(&'static str),
    /// A name of a halt that is already in use.
    #[error("point `{0}` exists already; a halt needs a name of its own")]
    DuplicatePoint(String),
    /// More sync points than there are ports.
    #[error("at most {0} different sync points fit; this is one more")]
    TooManyPoints(usize),
    /// `.align` with a number that is not a power of two.
    #[error("{0} is not an alignment; write a power of two up to 65536")]
    Alignment(i128),
    /// `.space` with a number that is negative or unreasonably large.
    #[error("{0} bytes of space; write 0 to 16777216")]
    Space(i128),
    /// An offset outside what the code size can address.
    #[error("offset {} is outside {bits} code; offsets there go up to {limit:#x}", signed(*.offset))]
    Offset {
        /// The offset in the segment in bytes.
        offset: i128,
        /// Code size.
        bits: Bits,
        /// Greatest offset.
        limit: u64,
    },
    /// Two pieces of code at one address.
    #[error(
        "linear address {address:#x} already holds line {line} of section `{section}`; move one of them with an origin or `.at`"
    )]
    Overlap {
        /// First linear address that both want.
        address: u64,
        /// Name of the other section.
        section: String,
        /// Line in the other section.
        line: usize,
    },
    /// Sizes that depend on each other in a circle.
    #[error("the length of this depends on itself; use numbers instead of labels in .align, .space and .at")]
    DoesNotSettle,
}

/// Hexadecimal with a minus sign; Rust prints negative numbers in two's complement.
fn signed(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:#x}", number.unsigned_abs())
}

fn suggestion(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; did you mean `{}`?", nearest.join("` or `"))
    }
}

fn known_labels(known: &[String]) -> String {
    if known.is_empty() {
        "there are no labels here".to_owned()
    } else {
        format!("labels here are {}", known.join(", "))
    }
}

/// Up to `limit` of `names`, the most alike to `name` first.
pub(super) fn most_alike<'a>(name: &str, names: impl Iterator<Item = &'a str>, limit: usize) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> = names.map(|other| (edit_distance(name, other), other)).collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked
        .into_iter()
        .take(limit)
        .map(|(_, other)| other.to_owned())
        .collect()
}

/// Those of `names` that differ from `name` by at most two letters, the most alike first.
pub(super) fn nearly<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let allowed = if name.len() < 4 { 1 } else { 2 };
    let close = names.filter(|other| edit_distance(name, other) <= allowed);
    most_alike(name, close, 3)
}

/// Number of letters to insert, remove, replace or swap with their neighbour (optimal
/// string alignment).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let cell = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (i, letter) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, other) in right.iter().enumerate() {
            let replaced = cell(&row, j) + usize::from(letter != *other);
            let best = replaced.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            let neighbour = j.checked_sub(1).and_then(|j| right.get(j));
            let swapped = neighbour == Some(&letter) && last == Some(*other);
            let swap = if swapped { cell(&before, j - 1) + 1 } else { best };
            next.push(best.min(swap));
        }
        last = Some(letter);
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_letters() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("move", "mov"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
        assert_eq!(edit_distance("mvo", "mov"), 1);
        assert_eq!(edit_distance("ca", "abc"), 3);
    }
}
