//! Every sequence of NMI, SMI, IRET, RSM, INT3, a fault and interrupt shadows, up to a length.
//!
//! * [`symbol`]: the alphabet;
//! * [`payload`]: the one payload that all sequences share;
//! * [`case_file`]: a sequence as a case file;
//! * [`walk`]: the tree of sequences on the model;
//! * [`invariant`]: what holds whatever the sequence;
//! * [`digest`]: what happened, and all that was observed, in a number;
//! * [`alone`]: the model alone;
//! * [`expected`], [`batch`], [`tally`]: what is allowed, running it on a KVM, and judging it;
//! * [`report`]: the table.

pub mod alone;
pub mod batch;
pub mod case_file;
pub mod digest;
pub mod expected;
pub mod history;
pub mod invariant;
pub mod item;
pub mod payload;
pub mod place;
pub mod processor_time;
pub mod report;
pub mod symbol;
pub mod tally;
pub mod walk;

pub use payload::Payload;
pub use place::LONGEST;
pub use symbol::Symbol;
