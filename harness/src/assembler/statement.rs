//! Reads lines of assembly text: labels, instructions, directives, pseudo-instructions.

use super::error::{Mistake, nearly};
use super::expression::Expression;
use super::instruction_set;
use super::lexer::{self, Cursor, Located, TokenKind};
use super::operand::{self, parse_operands};
use super::register;
use super::selection::{Prefixes, Repeat, Selection, select};
use super::{AssemblyError, Bits, Section};

/// A statement and where it stands.
#[derive(Debug)]
pub(super) struct Statement {
    /// Index of its section.
    pub section: usize,
    /// Line in the section's text, counted from 1.
    pub line: usize,
    /// Column of its first word, counted from 1.
    pub column: usize,
    /// Code size in force.
    pub bits: Bits,
    /// What it says.
    pub kind: StatementKind,
}

impl Statement {
    /// The mistake at the statement's first word.
    pub(super) fn error(&self, mistake: Mistake) -> AssemblyError {
        self.error_at(self.column, mistake)
    }

    /// The mistake at a column of the statement's line.
    pub(super) fn error_at(&self, column: usize, mistake: Mistake) -> AssemblyError {
        AssemblyError {
            section: self.section,
            line: self.line,
            column,
            mistake,
        }
    }
}

/// What a statement says.
#[derive(Debug)]
pub(super) enum StatementKind {
    /// `NAME:`
    Label(String),
    /// An instruction.
    Instruction(Selection),
    /// `sync NAME`
    Sync(String),
    /// `halt NAME`
    Halt(String),
    /// `db`, `dw`, `dd`, `dq`
    Data {
        /// Size of an item in bytes.
        size: usize,
        /// The items and their columns.
        items: Vec<(usize, Datum)>,
    },
    /// `.align N`
    Align(Expression),
    /// `.space N`
    Space(Expression),
    /// `.at OFFSET`
    At(Expression),
}

/// An item of data.
#[derive(Debug)]
pub(super) enum Datum {
    /// A number or label.
    Number(Expression),
    /// Text, as bytes.
    Text(String),
}

/// Words that begin a statement without being instructions, with an explanation.
pub(super) const DIRECTIVES: [(&str, &str); 12] = [
    ("db", "bytes, also 'text'"),
    ("dw", "16-bit numbers"),
    ("dd", "32-bit numbers"),
    ("dq", "64-bit numbers"),
    (".align", "up to a multiple of a power of two; NOPs fill the gap"),
    (".space", "zero bytes"),
    (".at", "go on at this offset in the segment"),
    (".code16", "16-bit code from here"),
    (".code32", "32-bit code from here"),
    (".code64", "64-bit code from here"),
    ("sync", "report a sync point to the host"),
    ("halt", "HLT as a point at which the host acts"),
];

/// Words that stand before an instruction.
pub(super) const PREFIXES: [&str; 8] = [
    "lock", "rep", "repe", "repz", "repne", "repnz", "data16", "data32",
];

/// Why a label cannot have this name, if it cannot.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if register::named(&lower).is_some() {
        Some("a register")
    } else if instruction_set::named(&lower).is_some() || PREFIXES.contains(&lower.as_str()) {
        Some("an instruction")
    } else if DIRECTIVES.iter().any(|(word, _)| *word == lower) {
        Some("a directive")
    } else if operand::is_keyword(&lower) {
        Some("a keyword of operands")
    } else {
        None
    }
}

/// Whether a section's name can be a label as well.
pub(super) fn is_label(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(lexer::begins_name)
        && characters.all(lexer::continues_name)
        && reserved(name).is_none()
}

/// Reads the text of a section. Lines with mistakes go to `errors`; the rest is returned.
pub(super) fn parse_section(
    index: usize,
    section: &Section<'_>,
    errors: &mut Vec<AssemblyError>,
) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut bits = section.bits;
    for (number, text) in (1..).zip(section.text.lines()) {
        let mut line = Line {
            section: index,
            line: number,
            bits,
            statements: &mut statements,
        };
        if let Err((column, mistake)) = line.parse(text) {
            errors.push(AssemblyError {
                section: index,
                line: number,
                column,
                mistake,
            });
        }
        bits = line.bits;
    }
    statements
}

struct Line<'a> {
    section: usize,
    line: usize,
    bits: Bits,
    statements: &'a mut Vec<Statement>,
}

impl Line<'_> {
    fn push(&mut self, column: usize, kind: StatementKind) {
        self.statements.push(Statement {
            section: self.section,
            line: self.line,
            column,
            bits: self.bits,
            kind,
        });
    }

    fn parse(&mut self, text: &str) -> Located<()> {
        let all: Vec<char> = text.chars().collect();
        let mut rest = all
            .get(..lexer::length_without_comment(&all))
            .unwrap_or_default()
            .trimmed_end();
        let end = rest.len();
        loop {
            let blank = rest
                .iter()
                .take_while(|character| character.is_whitespace())
                .count();
            rest = rest.get(blank..).unwrap_or_default();
            let column = end - rest.len() + 1;
            if rest.is_empty() {
                return Ok(());
            }
            if !rest.first().copied().is_some_and(lexer::begins_name) {
                let tokens = lexer::tokens(rest, column)?;
                return Err(
                    Cursor::new(&tokens, end + 1).unexpected("a label, an instruction or a directive")
                );
            }
            let word = lexer::leading(rest, lexer::continues_name);
            let after = rest.get(word.len()..).unwrap_or_default();
            let gap = after
                .iter()
                .take_while(|character| character.is_whitespace())
                .count();
            if after.get(gap) == Some(&':') {
                if let Some(meaning) = reserved(&word) {
                    return Err((column, Mistake::ReservedName(word, meaning)));
                }
                self.push(column, StatementKind::Label(word));
                rest = after.get(gap + 1..).unwrap_or_default();
                continue;
            }
            return self.parse_statement(&word.to_ascii_lowercase(), column, after, end);
        }
    }

    /// Reads what follows the first word of a statement; `end` is the length of the line.
    fn parse_statement(&mut self, word: &str, column: usize, after: &[char], end: usize) -> Located<()> {
        match word {
            "sync" => {
                let name = point_name("sync", after, end)?;
                self.push(column, StatementKind::Sync(name));
                return Ok(());
            }
            "halt" => {
                let name = point_name("halt", after, end)?;
                self.push(column, StatementKind::Halt(name));
                return Ok(());
            }
            _ => {}
        }
        let tokens = lexer::tokens(after, end - after.len() + 1)?;
        let mut cursor = Cursor::new(&tokens, end + 1);
        let kind = match word {
            "db" => parse_data(1, &mut cursor)?,
            "dw" => parse_data(2, &mut cursor)?,
            "dd" => parse_data(4, &mut cursor)?,
            "dq" => parse_data(8, &mut cursor)?,
            ".align" => StatementKind::Align(Expression::parse(&mut cursor)?),
            ".space" => StatementKind::Space(Expression::parse(&mut cursor)?),
            ".at" => StatementKind::At(Expression::parse(&mut cursor)?),
            ".code16" | ".code32" | ".code64" => {
                self.bits = match word {
                    ".code16" => Bits::Bits16,
                    ".code32" => Bits::Bits32,
                    _ => Bits::Bits64,
                };
                if cursor.at_end() {
                    return Ok(());
                }
                return Err(cursor.unexpected("the end of the line"));
            }
            _ => self.parse_instruction(word, column, &mut cursor)?,
        };
        if !cursor.at_end() {
            return Err(cursor.unexpected("the end of the line"));
        }
        self.push(column, kind);
        Ok(())
    }

    fn parse_instruction(
        &self,
        word: &str,
        column: usize,
        cursor: &mut Cursor<'_>,
    ) -> Located<StatementKind> {
        let mut prefixes = Prefixes::default();
        let (mut name, mut name_column) = (word.to_owned(), column);
        while prefixes.add(&name) {
            name_column = cursor.column();
            name = match cursor.peek_word() {
                Some(next) => next,
                None => return Err(cursor.unexpected("an instruction after the prefix")),
            };
            cursor.next();
        }
        let Some(entry) = instruction_set::named(&name) else {
            if instruction_set::exists_elsewhere(&name) {
                return Err((name_column, Mistake::NotModelled(name)));
            }
            let words = instruction_set::names()
                .chain(PREFIXES)
                .chain(DIRECTIVES.map(|(word, _)| word));
            let nearest = nearly(&name, words);
            return Err((name_column, Mistake::UnknownMnemonic { name, nearest }));
        };
        let operands = parse_operands(cursor)?;
        select(entry, prefixes, operands, self.bits, name_column).map(StatementKind::Instruction)
    }
}

impl Prefixes {
    /// Adds a prefix; `false` if the word is none.
    fn add(&mut self, word: &str) -> bool {
        match word {
            "lock" => self.lock = true,
            "rep" | "repe" | "repz" => self.repeat = Some(Repeat::Equal),
            "repne" | "repnz" => self.repeat = Some(Repeat::NotEqual),
            "data16" => self.operand_size = Some(16),
            "data32" => self.operand_size = Some(32),
            _ => return false,
        }
        true
    }
}

/// Slices of characters know no trimming.
trait TrimEnd {
    fn trimmed_end(&self) -> &Self;
}

impl TrimEnd for [char] {
    fn trimmed_end(&self) -> &Self {
        let kept = self
            .iter()
            .rposition(|character| !character.is_whitespace())
            .map_or(0, |last| last + 1);
        self.get(..kept).unwrap_or_default()
    }
}

/// Reads the name of a point; `end` is the length of the line.
fn point_name(word: &'static str, after: &[char], end: usize) -> Located<String> {
    let blank = after
        .iter()
        .take_while(|character| character.is_whitespace())
        .count();
    let rest = after.get(blank..).unwrap_or_default();
    let named = |character: char| lexer::continues_name(character) || character == '-';
    let name = lexer::leading(rest, named);
    if name.is_empty() || name.len() != rest.len() {
        return Err((end - rest.len() + name.len() + 1, Mistake::PointName(word)));
    }
    Ok(name)
}

fn parse_data(size: usize, cursor: &mut Cursor<'_>) -> Located<StatementKind> {
    let mut items = Vec::new();
    loop {
        let column = cursor.column();
        let datum = match (cursor.peek(0), cursor.peek(1)) {
            (Some(TokenKind::Quoted(text)), None | Some(TokenKind::Sign(","))) if size == 1 => {
                cursor.next();
                Datum::Text(text.clone())
            }
            _ => Datum::Number(Expression::parse(cursor)?),
        };
        items.push((column, datum));
        if cursor.at_end() {
            return Ok(StatementKind::Data { size, items });
        }
        if !cursor.take_sign(",") {
            return Err(cursor.unexpected("`,` or the end of the line"));
        }
    }
}
