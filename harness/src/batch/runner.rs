//! Running the scenarios of a family on a KVM, wherever it is.

use spec_model::scenario::Scenario;

use super::digest::fingerprint;
use super::item::{Item, Seen};
use super::{BadPayload, Family};
use crate::target::Run;

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
