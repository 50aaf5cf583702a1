//! What travels between a host and a target that runs the scenarios of a family.
//!
//! A target is told what is allowed for each as fingerprints of whole transcripts, so that
//! almost nothing travels back: which of them was seen. Only a run that is none of them comes
//! back in full.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::gates::row::Row;
use crate::sequences::symbol::Symbol;
use crate::target::Run;

/// A scenario to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<R> {
    /// The number by which its result is known.
    pub number: u32,
    /// Which one of its family.
    pub row: R,
    /// Fingerprints of what is known to come of it, fewer than 255.
    pub known: Vec<u128>,
}

/// Items of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work<'a> {
    /// Event sequences.
    Sequences(Vec<Cow<'a, Item<Vec<Symbol>>>>),
    /// Combinations of the gate sweep.
    Gates(Vec<Cow<'a, Item<Row>>>),
}

/// What came of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// What [`Item::known`] has at this index.
    Known(u8),
    /// Something else.
    Other(Box<Run>),
    /// Something else again: so much of it came back in full that this did not.
    Untold,
}
