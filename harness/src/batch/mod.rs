//! Many scenarios that share a payload, run on a KVM and judged by the thousand.
//!
//! A [`Family`] says how one of its scenarios differs from the next; everything else is the same
//! for all families:
//!
//! * [`runner`]: running them on a KVM, wherever it is, and [`item`]: what travels there and back;
//! * [`digest`]: what happened, and all that was observed, in a number;
//! * [`expected`]: what is allowed;
//! * [`tally`]: judging and counting;
//! * [`report`]: the table, and what deviates;
//! * [`processor_time`]: what it costs.

pub mod digest;
pub mod expected;
pub mod item;
pub mod processor_time;
pub mod report;
pub mod runner;
pub mod tally;

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use spec_model::scenario::{AddressSpace, MemoryRegion, Scenario};

use crate::case::Case;
use item::{Item, Work};

/// The payload cannot be put together: the suite's own assembler or case format changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is wrong: {0}; this is a fault of the program")]
pub struct BadPayload(pub String);

/// Scenarios that share a payload.
pub trait Family: Sized {
    /// What tells one scenario from the others.
    type Row: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What its scenarios are called in reports, in the plural.
    const NOUN: &'static str;
    /// What the groups are called in which they are counted.
    const GROUP: &'static str;

    /// The payload, with the host's events as they are on a machine with or without SMM.
    ///
    /// # Errors
    /// If it cannot be put together.
    fn payload(smm: bool) -> Result<Self, BadPayload>;

    /// A scenario that [`Self::set`] can be used on.
    fn template(&self) -> Scenario;

    /// Makes a scenario that came from [`Self::template`] or from here that of a row.
    fn set(&self, scenario: &mut Scenario, row: &Self::Row);

    /// A row as a case.
    ///
    /// # Errors
    /// If the case format changed.
    fn case(&self, row: &Self::Row) -> Result<Case, BadPayload>;

    /// Name of the case of a row.
    fn name(row: &Self::Row) -> String;

    /// The row as the user writes it.
    fn words(row: &Self::Row) -> String;

    /// The row as a case file. `paths` are the orders of stops that the model allows.
    fn case_text(row: &Self::Row, paths: &[Vec<String>]) -> String;

    /// Rows as work for a booted kernel.
    fn work<'a>(items: Vec<Cow<'a, Item<Self::Row>>>) -> Work<'a>;
}

/// The scenario with no more RAM than it uses, address and size in bytes.
///
/// # Errors
/// If it has contents elsewhere.
pub fn trimmed(mut scenario: Scenario, ram: &[(u64, u64)]) -> Result<Scenario, BadPayload> {
    let regions = ram.iter().map(|&(address, size)| MemoryRegion {
        address,
        size,
        space: AddressSpace::Both,
        contents: Vec::new(),
    });
    let before = std::mem::replace(&mut scenario.memory, regions.collect());
    for blob in before.into_iter().flat_map(|region| region.contents) {
        let end = blob.address + blob.bytes.len() as u64;
        let holds = |region: &&mut MemoryRegion| {
            region.address <= blob.address && end <= region.address + region.size
        };
        let Some(region) = scenario.memory.iter_mut().find(holds) else {
            return Err(BadPayload(format!("it has contents at {:#x}", blob.address)));
        };
        region.contents.push(blob);
    }
    Ok(scenario)
}
