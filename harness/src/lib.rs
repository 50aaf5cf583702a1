//! Runs conformance cases on the reference model and on real KVM, and judges what it saw.

pub mod assembler;
pub mod batch;
pub mod case;
pub mod cli;
pub mod deviation;
pub mod explore;
pub mod gates;
pub(crate) mod interrupt;
pub mod judge;
pub mod provision;
pub mod report;
pub mod sequences;
pub mod target;
