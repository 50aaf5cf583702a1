//! Running sequences on a KVM, wherever it is.
//!
//! A target is told what is allowed for each sequence as fingerprints of whole transcripts, so
//! that almost nothing travels back: which of them was seen. Only a run that is none of them
//! comes back in full.

use spec_model::scenario::Scenario;

use super::digest::fingerprint;
pub use super::item::{Item, Seen};
use super::payload::{BadPayload, Payload};
use crate::target::Run;

/// Runs one sequence after the other.
pub struct Runner {
    payload: Payload,
    scenario: Scenario,
}

impl Runner {
    /// With the host's events as they are on a machine with or without SMM.
    ///
    /// # Errors
    /// If the payload cannot be put together.
    pub fn new(smm: bool) -> Result<Self, BadPayload> {
        let payload = Payload::new()?;
        let payload = if smm { payload } else { payload.without_smi() };
        Ok(Self {
            scenario: payload.template(),
            payload,
        })
    }

    /// Runs a sequence with `run`.
    pub fn run(&mut self, item: &Item, run: impl FnOnce(&Scenario) -> Run) -> Seen {
        self.payload.set(&mut self.scenario, &item.sequence);
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
