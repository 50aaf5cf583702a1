//! The gate sweep: an event meets every kind of gate, from every privilege level, with every
//! kind of stack.
//!
//! All combinations share one payload in 64-bit mode. An event happens (INT n, an exception, an
//! NMI), and its gate, the stack that the gate takes, the limits of the tables and the gates of the
//! faults that may follow are as the combination says. Each run ends at a sync point: in
//! the handler of the event, in that of a fault, or in shutdown.
//!
//! * [`row`]: one combination;
//! * [`place`]: where things lie in memory;
//! * [`tables`]: the bytes of gates, descriptors and stack pointers;
//! * [`payload`]: the payload, and what sets one combination apart;
//! * [`case_file`]: a combination as a case file;
//! * [`sweep`](mod@sweep): the combinations that are run;
//! * [`pairs`]: those that make every two values meet.

pub mod case_file;
pub mod pairs;
pub mod payload;
pub mod place;
pub mod row;
pub mod sweep;
pub mod tables;

pub use payload::Payload;
pub use row::Row;
pub use sweep::{GROUPS, sweep};
