//! Operands as written: registers, memory, immediates, branch targets and far pointers.

use iced_x86::Register;

use super::error::Mistake;
use super::expression::{Binary, Expression};
use super::lexer::{Cursor, Located, TokenKind};
use super::register;

/// An operand and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    /// Column of its first character, counted from 1.
    pub column: usize,
    /// What it is.
    pub kind: OperandKind,
}

/// What an operand is.
#[derive(Clone, Debug)]
pub(super) enum OperandKind {
    /// A register.
    Register(Register),
    /// A place in memory.
    Memory(Memory),
    /// A number or a branch target.
    Immediate {
        /// Its value.
        value: Expression,
        /// Size in bytes that a keyword gives it.
        size: Option<usize>,
        /// What a keyword says about the length of a branch.
        distance: Option<Distance>,
    },
    /// `SELECTOR:OFFSET` of a far branch.
    FarPointer {
        /// The selector.
        selector: Expression,
        /// The offset.
        offset: Expression,
        /// Size of the offset in bytes that a keyword gives it.
        size: Option<usize>,
    },
}

/// The length of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    /// One byte.
    Short,
    /// Two or four bytes.
    Near,
}

/// A place in memory.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// Segment override as written, or [`Register::None`].
    pub segment: Register,
    /// Base register, `rip`, `eip` or [`Register::None`].
    pub base: Register,
    /// Index register or [`Register::None`].
    pub index: Register,
    /// What the index is multiplied by: 1, 2, 4 or 8.
    pub scale: u32,
    /// Displacement. With base `rip` or `eip` and a label in it, the target.
    pub displacement: Option<Expression>,
    /// Size in bytes that a keyword gives it.
    pub size: Option<usize>,
    /// Whether it holds a far pointer (`far`).
    pub far: bool,
}

/// Size keywords and their sizes in bytes.
const SIZES: [(&str, usize); 6] = [
    ("byte", 1),
    ("word", 2),
    ("dword", 4),
    ("fword", 6),
    ("qword", 8),
    ("tbyte", 10),
];

/// The keyword for a size in bytes.
pub(super) fn size_keyword(size: usize) -> Option<&'static str> {
    SIZES
        .iter()
        .find(|(_, bytes)| *bytes == size)
        .map(|(keyword, _)| *keyword)
}

/// Whether a word has a meaning of its own inside operands.
pub(super) fn is_keyword(word: &str) -> bool {
    let others = ["ptr", "offset", "linear", "short", "near", "far", "rel"];
    SIZES.iter().any(|(keyword, _)| *keyword == word) || others.contains(&word)
}

/// Reads operands up to the end of the line.
pub(super) fn parse_operands(cursor: &mut Cursor<'_>) -> Located<Vec<Operand>> {
    let mut operands = Vec::new();
    if cursor.at_end() {
        return Ok(operands);
    }
    loop {
        operands.push(parse_operand(cursor)?);
        if cursor.at_end() {
            return Ok(operands);
        }
        if !cursor.take_sign(",") {
            return Err(cursor.unexpected("`,` or the end of the line"));
        }
    }
}

fn parse_operand(cursor: &mut Cursor<'_>) -> Located<Operand> {
    let column = cursor.column();
    let mut size = None;
    let mut distance = None;
    let mut far = false;
    // A keyword that a label or nothing follows might be a label itself; it is not, since
    // keywords cannot be labels.
    while let Some(word) = cursor.peek_word() {
        if let Some((_, bytes)) = SIZES.iter().find(|(keyword, _)| *keyword == word) {
            size = Some(*bytes);
        } else {
            match word.as_str() {
                "far" => far = true,
                "short" => distance = Some(Distance::Short),
                "near" => distance = Some(Distance::Near),
                "ptr" if size.is_some() || far || distance.is_some() => {}
                _ => break,
            }
        }
        cursor.next();
    }
    let kind = parse_after_keywords(cursor, size, far, distance)?;
    Ok(Operand { column, kind })
}

fn parse_after_keywords(
    cursor: &mut Cursor<'_>,
    size: Option<usize>,
    far: bool,
    distance: Option<Distance>,
) -> Located<OperandKind> {
    let found = cursor.peek_word().and_then(|word| register::named(&word));
    if let Some(register) = found {
        if register.is_segment_register() && cursor.peek(1) == Some(&TokenKind::Sign(":")) {
            cursor.next();
            cursor.next();
            if cursor.peek(0) == Some(&TokenKind::Sign("[")) {
                return parse_memory(cursor, register, size, far).map(OperandKind::Memory);
            }
            // `ds:0x500`, an address without brackets.
            let memory = Memory {
                displacement: Some(Expression::parse(cursor)?),
                ..Memory::new(register, size, far)
            };
            return Ok(OperandKind::Memory(memory));
        }
        if size.is_some() || far || distance.is_some() {
            return Err(cursor.unexpected("`[` after the size of a memory operand"));
        }
        cursor.next();
        return Ok(OperandKind::Register(register));
    }
    if cursor.peek(0) == Some(&TokenKind::Sign("[")) {
        return parse_memory(cursor, Register::None, size, far).map(OperandKind::Memory);
    }
    let value = Expression::parse(cursor)?;
    if cursor.take_sign(":") {
        return Ok(OperandKind::FarPointer {
            selector: value,
            offset: Expression::parse(cursor)?,
            size,
        });
    }
    if far {
        return Err(cursor.unexpected("`SELECTOR:OFFSET` or `[ADDRESS]` after `far`"));
    }
    Ok(OperandKind::Immediate {
        value,
        size,
        distance,
    })
}

impl Memory {
    fn new(segment: Register, size: Option<usize>, far: bool) -> Self {
        Self {
            segment,
            base: Register::None,
            index: Register::None,
            scale: 1,
            displacement: None,
            size,
            far,
        }
    }

    /// Adds `register * scale`.
    fn add_register(&mut self, register: Register, scale: Option<u32>) -> Result<(), Mistake> {
        let addressable =
            register.is_gpr16() || register.is_gpr32() || register.is_gpr64() || register.is_ip();
        if !addressable {
            return Err(Mistake::Address(
                "an address is made of 16-, 32- or 64-bit general registers, rip or eip",
            ));
        }
        match scale {
            None | Some(1) if self.base == Register::None => self.base = register,
            _ if self.index == Register::None => {
                self.index = register;
                self.scale = scale.unwrap_or(1);
            }
            _ => {
                return Err(Mistake::Address(
                    "an address has at most one base and one index register",
                ));
            }
        }
        Ok(())
    }

    /// Puts base and index where they can be encoded, and checks that they go together.
    fn settle(&mut self) -> Result<(), Mistake> {
        let stack_pointer = |register| [Register::SP, Register::ESP, Register::RSP].contains(&register);
        let swappable = self.scale == 1 && self.index != Register::None;
        let wrong_16 = [Register::SI, Register::DI].contains(&self.base)
            && [Register::BX, Register::BP].contains(&self.index);
        if swappable && (stack_pointer(self.index) || wrong_16) {
            std::mem::swap(&mut self.base, &mut self.index);
        }
        if stack_pointer(self.index) {
            return Err(Mistake::Address("the stack pointer cannot be an index register"));
        }
        let both = self.base != Register::None && self.index != Register::None;
        if self.base.is_ip() && both || self.index.is_ip() {
            return Err(Mistake::Address("rip and eip stand alone, as [rip + label]"));
        }
        if both && self.base.size() != self.index.size() {
            return Err(Mistake::Address(
                "base and index register must have the same width",
            ));
        }
        if self.base.is_gpr16() || self.index.is_gpr16() {
            let base = [Register::BX, Register::BP, Register::SI, Register::DI].contains(&self.base);
            let pair = [Register::BX, Register::BP].contains(&self.base)
                && [Register::SI, Register::DI].contains(&self.index);
            if self.scale != 1 || !(pair || base && self.index == Register::None) {
                return Err(Mistake::Address(
                    "a 16-bit address is [bx], [bp], [si], [di] or one of bx and bp with one of si and di",
                ));
            }
        }
        Ok(())
    }
}

/// Reads `[ ... ]`.
fn parse_memory(
    cursor: &mut Cursor<'_>,
    segment: Register,
    size: Option<usize>,
    far: bool,
) -> Located<Memory> {
    let start = cursor.column();
    cursor.next();
    let mut memory = Memory::new(segment, size, far);
    let first = cursor.peek_word().and_then(|word| register::named(&word));
    if let Some(inner) = first.filter(|register| register.is_segment_register())
        && cursor.peek(1) == Some(&TokenKind::Sign(":"))
        && segment == Register::None
    {
        memory.segment = inner;
        cursor.next();
        cursor.next();
    }
    if matches!(cursor.peek(1), Some(TokenKind::Word(_))) && cursor.take_word("rel") {
        memory.base = Register::RIP;
    }
    let mut negative = cursor.take_sign("-");
    loop {
        parse_term(cursor, &mut memory, negative)?;
        if cursor.take_sign("+") {
            negative = false;
        } else if cursor.take_sign("-") {
            negative = true;
        } else if cursor.take_sign("]") {
            break;
        } else {
            return Err(cursor.unexpected("`+`, `-` or `]` (other operators need parentheses in an address)"));
        }
    }
    memory.settle().map_err(|mistake| (start, mistake))?;
    Ok(memory)
}

/// Reads one of the summands of an address.
fn parse_term(cursor: &mut Cursor<'_>, memory: &mut Memory, negative: bool) -> Located<()> {
    let column = cursor.column();
    if let Some((register, scale, length)) = scaled_register(cursor) {
        if negative {
            return Err((
                column,
                Mistake::Address("a register cannot be subtracted in an address"),
            ));
        }
        if !matches!(scale, None | Some(1 | 2 | 4 | 8)) {
            return Err((
                column,
                Mistake::Address("an index register is multiplied by 1, 2, 4 or 8"),
            ));
        }
        for _ in 0..length {
            cursor.next();
        }
        return memory
            .add_register(register, scale)
            .map_err(|mistake| (column, mistake));
    }
    let term = Expression::parse_product(cursor)?;
    let before = memory.displacement.take();
    let operator = if negative { Binary::Subtract } else { Binary::Add };
    memory.displacement = Some(match (before, negative) {
        (None, false) => term,
        (before, _) => Expression::combine(operator, before.unwrap_or(Expression::Number(0)), term),
    });
    Ok(())
}

/// Whether `register`, `register * scale` or `scale * register` comes next, and how many
/// tokens it has.
fn scaled_register(cursor: &Cursor<'_>) -> Option<(Register, Option<u32>, usize)> {
    let register_at = |ahead| match cursor.peek(ahead) {
        Some(TokenKind::Word(word)) => register::named(word),
        _ => None,
    };
    let number_at = |ahead| match cursor.peek(ahead) {
        Some(TokenKind::Number(number)) => Some(u32::try_from(*number).unwrap_or(u32::MAX)),
        _ => None,
    };
    let times = cursor.peek(1) == Some(&TokenKind::Sign("*"));
    match (register_at(0), number_at(0)) {
        (Some(register), _) if times => number_at(2).map(|scale| (register, Some(scale), 3)),
        (Some(register), _) => Some((register, None, 1)),
        (None, Some(scale)) if times => register_at(2).map(|register| (register, Some(scale), 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn memory(text: &str) -> Result<Memory, Mistake> {
        let characters: Vec<char> = text.chars().collect();
        let tokens = tokens(&characters, 1).map_err(|(_, mistake)| mistake)?;
        let operands = parse_operands(&mut Cursor::new(&tokens, characters.len() + 1));
        match operands
            .map_err(|(_, mistake)| mistake)?
            .pop()
            .map(|operand| operand.kind)
        {
            Some(OperandKind::Memory(memory)) => Ok(memory),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let plain = memory("[eax + ecx*4 + 0x10]").expect("address");
        assert_eq!(
            (plain.base, plain.index, plain.scale),
            (Register::EAX, Register::ECX, 4)
        );
        let swapped = memory("word ptr es:[si+bx]").expect("address");
        assert_eq!((swapped.base, swapped.index), (Register::BX, Register::SI));
        assert_eq!((swapped.segment, swapped.size), (Register::ES, Some(2)));
        assert_eq!(memory("[eax+esp]").expect("address").base, Register::ESP);
        assert_eq!(memory("[rel label]").expect("address").base, Register::RIP);
        assert_eq!(memory("[fs:bp]").expect("address").segment, Register::FS);
        assert_eq!(memory("[8*rcx]").expect("address").scale, 8);
    }

    #[test]
    fn impossible_addresses_are_mistakes() {
        for wrong in [
            "[ax]",
            "[bx+cx]",
            "[eax*3]",
            "[bx+eax]",
            "[esp*2]",
            "[rip+rax]",
            "[-eax]",
            "[al]",
            "[eax+ecx+edx]",
        ] {
            assert!(matches!(memory(wrong), Err(Mistake::Address(_))), "{wrong}");
        }
        for wrong in ["[", "[eax", "[]", "[eax & 1]", "byte"] {
            assert!(matches!(memory(wrong), Err(Mistake::Expected { .. })), "{wrong}");
        }
    }
}
