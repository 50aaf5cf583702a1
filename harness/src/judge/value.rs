//! One observed value, and how a kernel engineer wants to read it.

use std::fmt;

use serde::Serialize;

/// A value that was seen or is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// A number of so many bits; one bit is a truth value.
    Number {
        /// The value.
        value: u64,
        /// Width in bits, 1 to 64.
        bits: u8,
    },
    /// Bytes in the order of their addresses.
    Bytes(Vec<u8>),
    /// Anything that has no number: a stop reason, an access, a mask.
    Text(String),
    /// It could not be observed there.
    Absent,
}

impl Value {
    /// A number of `bits` bits.
    #[must_use]
    pub const fn number(value: u64, bits: u8) -> Self {
        Self::Number { value, bits }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { value, bits: 1 } => write!(formatter, "{}", *value != 0),
            Self::Number { value, bits: 2..=8 } => write!(formatter, "{value:#04x}"),
            Self::Number { value, .. } => write!(formatter, "{value:#x}"),
            Self::Bytes(bytes) => write_bytes(formatter, bytes),
            Self::Text(text) => formatter.write_str(text),
            Self::Absent => formatter.write_str("not observable"),
        }
    }
}

/// Longest run of bytes that is printed whole.
const BYTES_SHOWN: usize = 24;

fn write_bytes(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for (index, byte) in bytes.iter().take(BYTES_SHOWN).enumerate() {
        let space = if index == 0 { "" } else { " " };
        write!(formatter, "{space}{byte:02x}")?;
    }
    match bytes.len().checked_sub(BYTES_SHOWN) {
        Some(rest @ 1..) => write!(formatter, " and {rest} more"),
        _ => Ok(()),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn write_alternatives(formatter: &mut impl fmt::Write, values: &[Value]) -> fmt::Result {
    for (index, value) in values.iter().enumerate() {
        match index {
            0 => {}
            last if last + 1 == values.len() => formatter.write_str(" or ")?,
            _ => formatter.write_str(", ")?,
        }
        write!(formatter, "{value}")?;
    }
    Ok(())
}
