//! What a processor and its hypervisor must do, as an executable reference model.
//!
//! The model covers the places where bugs hide: entering and leaving
//! system-management mode, masking NMIs, delivering exceptions on IST stacks. It
//! executes the very bytes that the harness also runs on a real KVM and yields the
//! [`transcript::Transcript`]s that are allowed.
//!
//! Nothing here does I/O, reads a clock, draws a random number or knows KVM's
//! system calls. The same [`scenario::Scenario`] always yields the same outcomes.
//!
//! How to read it, with a manual open beside it:
//!
//! * [`x86`]: the processor, one module per chapter of the manuals;
//! * [`chipset`]: the host bridge that opens, closes and locks SMRAM;
//! * [`stage2`]: memory slots, the host memory under them, and accesses of the guest to it;
//! * [`requirement`]: every rule as one sentence with its clause;
//! * [`profile`]: the choices that the manuals leave to an implementation;
//! * [`defect`]: named ways to break one requirement;
//! * [`historic_bug`]: bugs of the past and the defects that express them;
//! * [`host_state`]: what the host sets and reads of a processor, and what it cannot set;
//! * [`scenario`] and [`transcript`]: what goes in and what comes out;
//! * [`run`]: from one to the set of [`outcome`]s that are allowed;
//! * [`explore`]: every order in which several processors can take their turns.

#![forbid(unsafe_code)]

pub mod architecture;
pub mod chipset;
pub mod choice;
pub mod defect;
pub mod error;
pub mod explore;
pub mod historic_bug;
pub mod host_state;
pub mod outcome;
pub mod profile;
pub mod requirement;
pub mod run;
pub mod scenario;
pub mod stage2;
pub mod transcript;
pub mod x86;
