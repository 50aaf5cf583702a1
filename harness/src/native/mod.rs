//! The processor of this machine as an oracle: single steps of a program at CPL 3 are made on it and in
//! the model, and compared.
//!
//! Nothing but ptrace(2) and modify_ldt(2) is needed, neither root nor `/dev/kvm`. A traced process
//! ([`tracee`]) has the pages and segments of [`layout`]; [`random`] draws instructions from the model's
//! own set, with registers and memory around those pages; [`reference`] makes the same step in the model;
//! [`compare`] says what differs, and [`run`] counts. [`machine`] says whose processor it is, and
//! whether its debug exceptions can be trusted.

pub mod compare;
pub mod encoding;
pub mod layout;
pub mod machine;
pub mod numbers;
pub mod random;
pub mod reference;
pub mod run;
pub mod state;
pub mod tracee;
