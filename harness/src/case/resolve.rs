//! Numbers in case files: expressions over labels, ranges and bytes.

use super::declared::Labels;
use super::document::Located;
use super::mistake::{Mistakes, Position, suggest};
use super::tree;
use super::value::{Bytes, Number};

/// What is known while the parts of a case are resolved.
pub(super) struct Resolver<'m> {
    pub(super) mistakes: &'m mut Mistakes,
    pub(super) labels: Labels,
    /// Number of processors.
    pub(super) vcpus: u8,
    /// Whether that number was written, and not put in place of a wrong one.
    pub(super) vcpus_known: bool,
    /// Whether the mode was written: else nothing is said about what goes with it.
    pub(super) mode_known: bool,
}

impl Resolver<'_> {
    /// A number that must fit in some bits. `name` says what it is for.
    pub(super) fn number(&mut self, number: &Located<Number>, bits: u8, name: &str) -> Option<u64> {
        self.number_at(&number.value, number.at, bits, name)
    }

    /// The same for a number whose place is known from elsewhere.
    pub(super) fn number_at(&mut self, number: &Number, at: Position, bits: u8, name: &str) -> Option<u64> {
        let value = match number {
            Number::Value(value) => *value,
            Number::Expression(text) => match self.evaluate(text) {
                Ok(value) => value?,
                Err((what, remedy)) => {
                    self.mistakes.add(at, what, remedy);
                    return None;
                }
            },
        };
        let largest = u64::MAX >> (64 - bits.clamp(1, 64));
        match u64::try_from(value) {
            Ok(value) if value <= largest => Some(value),
            _ => {
                let what = if value < 0 {
                    format!("{value} is negative")
                } else {
                    format!("{value:#x} does not fit the {bits} bits of {name}")
                };
                let remedy = if bits == 1 {
                    "write true or false".to_owned()
                } else {
                    format!("write 0 to {largest:#x}")
                };
                self.mistakes.add(at, what, remedy);
                None
            }
        }
    }

    /// An optional number with its default.
    pub(super) fn number_or(
        &mut self,
        number: Option<&Located<Number>>,
        bits: u8,
        name: &str,
        default: u64,
    ) -> u64 {
        number
            .and_then(|number| self.number(number, bits, name))
            .unwrap_or(default)
    }

    /// A number that is a key.
    pub(super) fn key(&mut self, key: &Located<String>, bits: u8, name: &str) -> Option<u64> {
        let number =
            tree::integer(&key.value).map_or_else(|| Number::Expression(key.value.clone()), Number::Value);
        self.number_at(&number, key.at, bits, name)
    }

    /// A processor number.
    pub(super) fn vcpu(&mut self, vcpu: &Located<u8>) -> Option<u8> {
        if vcpu.value < self.vcpus || !self.vcpus_known {
            return Some(vcpu.value);
        }
        self.mistakes.add(
            vcpu.at,
            format!("there is no processor {}", vcpu.value),
            match self.vcpus {
                1 => "the machine has processor 0 only; `machine.vcpus` adds others".to_owned(),
                count => format!("the machine has processors 0 to {}", count - 1),
            },
        );
        None
    }

    /// Bytes of memory.
    pub(super) fn bytes(&mut self, bytes: &Located<Bytes>) -> Option<Vec<u8>> {
        match &bytes.value {
            Bytes::List(list) => self.byte_list(list, bytes.at),
            Bytes::Hexadecimal(text) => {
                let digits: Option<Vec<u8>> = text
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
                    .collect();
                let whole = digits.filter(|digits| digits.len() % 2 == 0);
                if whole.is_none() {
                    self.mistakes.add(
                        bytes.at,
                        "these are not hexadecimal bytes",
                        "write two hexadecimal digits per byte, such as \"90 f4\"",
                    );
                }
                whole.map(|digits| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
        }
    }

    /// Bytes written as numbers.
    pub(super) fn byte_list(&mut self, list: &[Number], at: Position) -> Option<Vec<u8>> {
        let values: Vec<Option<u64>> = list
            .iter()
            .map(|number| self.number_at(number, at, 8, "a byte"))
            .collect();
        values
            .into_iter()
            .map(|value| value.and_then(|value| u8::try_from(value).ok()))
            .collect()
    }

    /// Computes a sum of numbers and labels; `None` where a label has no value because the
    /// code has mistakes.
    fn evaluate(&self, text: &str) -> Result<Option<i128>, (String, String)> {
        const FORM: &str =
            "write a number, or a sum such as `offset after` or `linear start + 2` over labels of the code";
        let malformed = || (format!("`{text}` is not a number"), FORM.to_owned());
        let mut rest = text.trim();
        let mut total: Option<i128> = Some(0);
        let mut sign: i128 = 1;
        loop {
            let linear = take_word(&mut rest, "linear");
            let offset = !linear && take_word(&mut rest, "offset");
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                .unwrap_or(rest.len());
            let (operand, after) = rest.split_at(length);
            if operand.is_empty() {
                return Err(malformed());
            }
            let value = match tree::integer(operand) {
                Some(value) if !linear && !offset => Some(value),
                _ => self.label(operand, linear)?,
            };
            total = total
                .zip(value)
                .map(|(total, value)| total.saturating_add(sign.saturating_mul(value)));
            rest = after.trim_start();
            sign = match rest.chars().next() {
                None => return Ok(total),
                Some('+') => 1,
                Some('-') => -1,
                Some(_) => return Err(malformed()),
            };
            rest = rest[1..].trim_start();
        }
    }

    fn label(&self, name: &str, linear: bool) -> Result<Option<i128>, (String, String)> {
        let undefined = |known: Vec<&String>| {
            (
                format!("label `{name}` is not defined"),
                suggest(name, known.into_iter().map(String::as_str), "the labels"),
            )
        };
        match &self.labels {
            Labels::Placed(labels) => match labels.get(name) {
                Some(label) if linear => Ok(Some(i128::from(label.linear))),
                Some(label) => Ok(Some(i128::from(label.offset))),
                None => Err(undefined(labels.keys().collect())),
            },
            Labels::Named(known) if known.admits(name) => Ok(None),
            Labels::Named(known) => Err(undefined(known.names.iter().collect())),
        }
    }
}

/// Takes a leading word off a text.
fn take_word(text: &mut &str, word: &str) -> bool {
    match text.strip_prefix(word) {
        Some(rest) if rest.starts_with(' ') => {
            *text = rest.trim_start();
            true
        }
        _ => false,
    }
}
