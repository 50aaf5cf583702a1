//! Stage-2 mappings: what an access of the guest does to guest-physical memory.
//!
//! * [`scenario`], [`transcript`]: what goes in and what comes out;
//! * `slots`: memory slots, their validation and dirty logs;
//! * `host`, `page`: what lies under them in the host's process;
//! * `machine`: guest operations and host operations, step by step;
//! * [`arm64`]: what scenarios on arm64 have beside that;
//! * [`code`], [`errno`]: what the scenario and its targets share.
//!
//! A run of the pure model depends on slots and host memory only. Mappings that a hypervisor
//! has made earlier do not count, which is the point: bugs are where they do.

pub mod arm64;
mod check;
pub mod code;
pub mod errno;
mod host;
mod machine;
mod page;
pub mod scenario;
mod slots;
pub mod tables;
pub mod trace;
pub mod transcript;

pub(crate) use machine::run;
