//! Splits one line of assembly text into tokens.

use super::error::Mistake;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Column of its first character, counted from 1.
    pub column: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name: mnemonic, register, label, keyword.
    Word(String),
    /// A number.
    Number(i128),
    /// Text between quotation marks.
    Quoted(String),
    /// One of the signs in [`SIGNS`].
    Sign(&'static str),
}

impl std::fmt::Display for TokenKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(formatter, "`{word}`"),
            Self::Number(number) => write!(formatter, "`{number:#x}`"),
            Self::Quoted(text) => write!(formatter, "'{text}'"),
            Self::Sign(sign) => write!(formatter, "`{sign}`"),
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: [&str; 15] = [
    "<<", ">>", "[", "]", "(", ")", "+", "-", "*", "|", "&", "~", ",", ":", "$",
];

/// A mistake with its column.
pub(super) type Located<T> = Result<T, (usize, Mistake)>;

/// Whether a name may begin with this character.
pub(super) fn begins_name(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || character == '.'
}

/// Whether a name may go on with this character.
pub(super) fn continues_name(character: char) -> bool {
    begins_name(character) || character.is_ascii_digit()
}

/// Number of characters before the comment, which `;` and `#` outside quotation marks begin.
pub(super) fn length_without_comment(line: &[char]) -> usize {
    let mut quotation = None;
    for (index, &character) in line.iter().enumerate() {
        match quotation {
            Some(mark) if mark == character => quotation = None,
            Some(_) => {}
            None if character == '\'' || character == '"' => quotation = Some(character),
            None if character == ';' || character == '#' => return index,
            None => {}
        }
    }
    line.len()
}

/// Splits `text`, whose first character stands in `first_column`, into tokens.
pub(super) fn tokens(text: &[char], first_column: usize) -> Located<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(&character) = rest.first() {
        let column = first_column + text.len() - rest.len();
        let (kind, length) = if character.is_whitespace() {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        } else if begins_name(character) {
            let word = leading(rest, continues_name);
            let length = word.chars().count();
            (TokenKind::Word(word), length)
        } else if character.is_ascii_digit() {
            let digits = leading(rest, |character| {
                character.is_ascii_alphanumeric() || character == '_'
            });
            let length = digits.chars().count();
            (
                TokenKind::Number(number(&digits).ok_or((column, Mistake::Number(digits)))?),
                length,
            )
        } else if character == '\'' || character == '"' {
            let inside: Vec<char> = rest.iter().skip(1).copied().collect();
            let end = inside.iter().position(|&other| other == character);
            let end = end.ok_or((column, Mistake::Quotation(character)))?;
            (TokenKind::Quoted(inside.into_iter().take(end).collect()), end + 2)
        } else {
            let sign = SIGNS
                .into_iter()
                .find(|sign| sign.chars().eq(rest.iter().copied().take(sign.len())));
            let sign = sign.ok_or((
                column,
                Mistake::Expected {
                    expected: "an operand, an operator or a comment",
                    found: format!("`{character}`"),
                },
            ))?;
            (TokenKind::Sign(sign), sign.len())
        };
        found.push(Token { kind, column });
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(found)
}

/// The characters at the start of `text` that `belongs` accepts.
pub(super) fn leading(text: &[char], belongs: fn(char) -> bool) -> String {
    text.iter()
        .copied()
        .take_while(|&character| belongs(character))
        .collect()
}

/// Reads a decimal, `0x` or `0b` number of up to 64 bits.
fn number(digits: &str) -> Option<i128> {
    let plain = digits.replace('_', "").to_ascii_lowercase();
    let value = if let Some(hexadecimal) = plain.strip_prefix("0x") {
        u64::from_str_radix(hexadecimal, 16)
    } else if let Some(binary) = plain.strip_prefix("0b") {
        u64::from_str_radix(binary, 2)
    } else {
        plain.parse()
    };
    value.ok().map(i128::from)
}

/// Reads tokens one after the other.
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    position: usize,
    /// Column after the last token.
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first token; `end` is the column after the last.
    pub(super) fn new(tokens: &'a [Token], end: usize) -> Self {
        Self {
            tokens,
            position: 0,
            end,
        }
    }

    /// The next token but `ahead`, without taking it.
    pub(super) fn peek(&self, ahead: usize) -> Option<&'a TokenKind> {
        self.tokens.get(self.position + ahead).map(|token| &token.kind)
    }

    /// The next word in lower case, without taking it.
    pub(super) fn peek_word(&self) -> Option<String> {
        match self.peek(0) {
            Some(TokenKind::Word(word)) => Some(word.to_ascii_lowercase()),
            _ => None,
        }
    }

    /// Column of the next token, or of the end.
    pub(super) fn column(&self) -> usize {
        self.tokens
            .get(self.position)
            .map_or(self.end, |token| token.column)
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Option<&'a TokenKind> {
        let token = self.peek(0);
        self.position += usize::from(token.is_some());
        token
    }

    /// Takes the next token if it is this sign.
    pub(super) fn take_sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(0), Some(TokenKind::Sign(other)) if *other == sign);
        self.position += usize::from(there);
        there
    }

    /// Takes the next token if it is this word in any case.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let there = self.peek_word().is_some_and(|other| other == word);
        self.position += usize::from(there);
        there
    }

    /// Whether nothing is left.
    pub(super) fn at_end(&self) -> bool {
        self.position >= self.tokens.len()
    }

    /// The mistake of finding something else here.
    pub(super) fn unexpected(&self, expected: &'static str) -> (usize, Mistake) {
        let found = self
            .peek(0)
            .map_or_else(|| "the end of the line".to_owned(), ToString::to_string);
        (self.column(), Mistake::Expected { expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(line: &str) -> Vec<TokenKind> {
        let characters: Vec<char> = line.chars().collect();
        tokens(&characters, 1)
            .expect("tokens")
            .into_iter()
            .map(|token| token.kind)
            .collect()
    }

    #[test]
    fn numbers_have_three_bases_and_underscores() {
        let expected = [10, 0xff_ff, 5, 0xffff_ffff_ffff_ffff].map(TokenKind::Number);
        assert_eq!(kinds("10 0xff_FF 0b1_01 0xffffffffffffffff"), expected);
        for wrong in ["0x", "12ab", "0b2", "0x1_0000_0000_0000_0000"] {
            let characters: Vec<char> = wrong.chars().collect();
            assert_eq!(
                tokens(&characters, 3),
                Err((3, Mistake::Number(wrong.to_owned())))
            );
        }
    }

    #[test]
    fn comments_end_the_line_outside_quotes_only() {
        let text: Vec<char> = "db 'a;#', \";\" # rest ; more".chars().collect();
        assert_eq!(length_without_comment(&text), 14);
    }

    #[test]
    fn columns_count_characters() {
        let text: Vec<char> = "mov  eax,\t'é'".chars().collect();
        let columns: Vec<usize> = tokens(&text, 5)
            .expect("tokens")
            .iter()
            .map(|token| token.column)
            .collect();
        assert_eq!(columns, [5, 10, 13, 15]);
        assert_eq!(tokens(&['\'', 'a'], 1), Err((1, Mistake::Quotation('\''))));
    }
}
