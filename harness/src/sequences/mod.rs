//! Every sequence of NMI, SMI, IRET, RSM, INT3, a fault and interrupt shadows, up to a length.
//!
//! * [`symbol`]: the alphabet;
//! * [`payload`]: the one payload that all sequences share;
//! * [`case_file`]: a sequence as a case file;
//! * [`walk`]: the tree of sequences on the model;
//! * [`invariant`]: what holds whatever the sequence;
//! * [`alone`]: the model alone, and [`report`]: invariants that do not hold there;
//! * [`expected`]: what is allowed. Running and judging is the same as for every
//!   [family](crate::batch).

pub mod alone;
pub mod case_file;
pub mod expected;
pub mod history;
pub mod invariant;
pub mod payload;
pub mod place;
pub mod report;
pub mod symbol;
pub mod walk;

pub use payload::Payload;
pub use place::LONGEST;
pub use symbol::Symbol;
