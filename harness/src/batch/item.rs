//! Running the scenarios of a family on a KVM, wherever it is.
//!
//! A target is told what is allowed for each as fingerprints of whole transcripts, so that
//! almost nothing travels back: which of them was seen. Only a run that is none of them comes
//! back in full.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spec_model::scenario::Scenario;

use super::digest::fingerprint;
use super::{BadPayload, Family};
use crate::gates;
use crate::sequences::Symbol;
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
    Gates(Vec<Cow<'a, Item<gates::Row>>>),
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

/// Runs one item after the other.
pub struct Runner<F> {
    payload: F,
    scenario: Scenario,
}

impl<F: Family> Runner<F> {
    /// With the host's events as they are on a machine with or without SMM.
    ///
    /// # Errors
    /// If the payload cannot be put together.
    pub fn new(smm: bool) -> Result<Self, BadPayload> {
        let payload = F::payload(smm)?;
        Ok(Self {
            scenario: payload.template(),
            payload,
        })
    }

    /// Runs an item with `run`.
    pub fn run(&mut self, item: &Item<F::Row>, run: impl FnOnce(&Scenario) -> Run) -> Seen {
        self.payload.set(&mut self.scenario, &item.row);
        let run = run(&self.scenario);
        let Run::Done(transcript) = &run else {
            return Seen::Other(Box::new(run));
        };
        let seen = fingerprint(transcript);
        let index = item.known.iter().position(|known| *known == seen);
        match index.and_then(|index| u8::try_from(index).ok()) {
            Some(index) => Seen::Known(index),
            None => Seen::Other(Box::new(run)),
        }
    }
}
