//! Runs conformance cases on the reference model and on real KVM, and judges what it saw.
//!
//! Without the feature `suite` there is only what runs in a booted kernel.

#[cfg(feature = "suite")]
pub mod assembler;
#[cfg(feature = "suite")]
pub mod baseline;
#[cfg(feature = "suite")]
pub mod batch;
#[cfg(feature = "suite")]
pub mod case;
#[cfg(feature = "suite")]
pub mod cli;
#[cfg(feature = "suite")]
pub mod confirmation;
#[cfg(feature = "suite")]
pub mod coverage;
#[cfg(feature = "suite")]
pub mod deviation;
#[cfg(feature = "suite")]
pub mod explore;
#[cfg(feature = "suite")]
pub mod gates;
#[cfg(feature = "suite")]
pub(crate) mod interrupt;
#[cfg(feature = "suite")]
pub mod judge;
#[cfg(feature = "suite")]
pub mod native;
#[cfg(feature = "suite")]
pub mod provision;
#[cfg(feature = "suite")]
pub mod report;
#[cfg(feature = "suite")]
pub mod sequences;
#[cfg(feature = "suite")]
pub mod sighting;
pub mod target;

/// Generated scenarios: what travels between a host and a target.
#[cfg(not(feature = "suite"))]
pub mod batch {
    pub mod item;
}

/// The gate sweep: what tells one combination from another.
#[cfg(not(feature = "suite"))]
pub mod gates {
    pub mod row;
}

/// Event sequences: of what they are made.
#[cfg(not(feature = "suite"))]
pub mod sequences {
    pub mod symbol;
}
