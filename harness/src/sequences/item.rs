//! What travels between a host and a target that runs sequences.

use serde::{Deserialize, Serialize};

use super::symbol::Symbol;
use crate::target::Run;

/// A sequence to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The number by which its result is known.
    pub number: u32,
    /// The sequence.
    pub sequence: Vec<Symbol>,
    /// Fingerprints of what is known to come of it, fewer than 255.
    pub known: Vec<u128>,
}

/// What came of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// What [`Item::known`] has at this index.
    Known(u8),
    /// Something else.
    Other(Box<Run>),
    /// Something else again: so much of it came back in full that this did not.
    Untold,
}
