//! The alphabet of event sequences.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One event of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Symbol {
    /// The host raises an NMI.
    Nmi,
    /// The host raises an SMI.
    Smi,
    /// IRET: it ends the handler that runs; outside a handler it returns to where it is.
    Iret,
    /// RSM: it leaves SMM; outside SMM it is an invalid opcode.
    Rsm,
    /// INT3.
    Int3,
    /// UD2, an instruction that faults; its handler skips it.
    Fault,
    /// STI directly before whatever comes next.
    Sti,
    /// MOV SS directly before whatever comes next.
    MovSs,
}

impl Symbol {
    /// Every symbol.
    pub const ALL: [Self; 8] = [
        Self::Nmi,
        Self::Smi,
        Self::Iret,
        Self::Rsm,
        Self::Int3,
        Self::Fault,
        Self::Sti,
        Self::MovSs,
    ];

    /// Name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nmi => "NMI",
            Self::Smi => "SMI",
            Self::Iret => "IRET",
            Self::Rsm => "RSM",
            Self::Int3 => "INT3",
            Self::Fault => "FAULT",
            Self::Sti => "STI",
            Self::MovSs => "MOVSS",
        }
    }

    /// Whether it starts an interrupt shadow, and so belongs to the instruction or event that
    /// follows it.
    #[must_use]
    pub const fn is_shadow(self) -> bool {
        matches!(self, Self::Sti | Self::MovSs)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// This names no symbol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event; there are NMI, SMI, IRET, RSM, INT3, FAULT, STI and MOVSS")]
pub struct UnknownSymbol(String);

impl FromStr for Symbol {
    type Err = UnknownSymbol;

    fn from_str(name: &str) -> Result<Self, UnknownSymbol> {
        let found = Self::ALL
            .iter()
            .find(|symbol| symbol.name().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| UnknownSymbol(name.to_owned()))
    }
}

/// A sequence of events in words, for instance `NMI SMI IRET`.
#[must_use]
pub fn words(sequence: &[Symbol]) -> String {
    let names: Vec<&str> = sequence.iter().map(|symbol| symbol.name()).collect();
    names.join(" ")
}

/// A sequence from words that blanks or commas separate.
///
/// # Errors
/// If a word names no event.
pub fn parse(text: &str) -> Result<Vec<Symbol>, UnknownSymbol> {
    let words = text.split([' ', ',', '-']).filter(|word| !word.is_empty());
    words.map(str::parse).collect()
}

/// Names of the groups in which sequences are counted: their lengths.
#[must_use]
pub fn lengths(longest: usize) -> Vec<String> {
    (1..=longest).map(|length| length.to_string()).collect()
}

/// Every sequence of so many events out of `symbols`, in the order of those.
pub fn of_length(symbols: &[Symbol], length: usize) -> impl Iterator<Item = Vec<Symbol>> {
    let number = count(symbols.len(), length) - count(symbols.len(), length.saturating_sub(1));
    (0..number).map(move |mut number| {
        let mut sequence = Vec::with_capacity(length);
        for _ in 0..length {
            sequence.extend(symbols.get(number % symbols.len()));
            number /= symbols.len();
        }
        sequence.reverse();
        sequence
    })
}

/// Number of sequences of 1 to `length` events out of `symbols`.
#[must_use]
pub fn count(symbols: usize, length: usize) -> usize {
    (1..=length).fold(0, |sum: usize, length| {
        let of_length = u32::try_from(length)
            .ok()
            .and_then(|length| symbols.checked_pow(length));
        sum.saturating_add(of_length.unwrap_or(usize::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read_as_they_are_printed() {
        assert_eq!(parse(&words(&Symbol::ALL)).as_deref(), Ok(&Symbol::ALL[..]));
        assert_eq!(parse("nmi,movss"), Ok(vec![Symbol::Nmi, Symbol::MovSs]));
        assert!(parse("nmi init").unwrap_err().to_string().contains("`init`"));
    }

    #[test]
    fn sequences_are_counted() {
        assert_eq!(count(8, 5), 37_448);
        assert_eq!(count(8, 7), 2_396_744);
    }

    #[test]
    fn every_sequence_of_a_length_comes_once() {
        for length in 1..=3 {
            let all: Vec<Vec<Symbol>> = of_length(&Symbol::ALL, length).collect();
            assert_eq!(all.len(), count(8, length) - count(8, length - 1));
            assert!(all.iter().all(|sequence| sequence.len() == length));
            assert!(all.is_sorted_by(|one, two| one < two), "{all:?}");
        }
    }
}
