//! The processor of this machine as an oracle: single steps of a program at CPL 3 are made on it and in
//! the model, and compared.
//!
//! Nothing but ptrace(2) and modify_ldt(2) is needed, neither root nor `/dev/kvm`. A traced process
//! ([`tracee`]) has the pages and segments of [`layout`]; [`random`] draws instructions from the model's
//! own set, with registers and memory around those pages; [`mod@reference`] makes the same step in the model;
//! [`compare`] says what differs, [`explained`] what of it is known, and [`run`] counts. [`machine`] says
//! whose processor it is, and [`debug_exceptions`] whether its debug exceptions are its own.

pub mod compare;
pub mod debug_exceptions;
pub mod encoding;
pub mod explained;
pub mod layout;
pub mod machine;
pub mod numbers;
pub mod random;
pub mod reference;
pub mod run;
pub mod state;
pub mod tracee;
