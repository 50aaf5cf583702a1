//! The table: what is broken, on which cases, and what must come of it.
//!
//! What a row wants is what is right, not what comes out today. `conform` must not end with 0,
//! and has to name the member, the event or the call that is wrong.

mod booted;
mod calls;
mod events;
mod getters;
pub mod legal;
mod setters;

/// A sabotage of the local device.
#[derive(Debug)]
pub struct Local {
    /// In the words of the library (`harness/sabotage/src/spec.rs`).
    pub sabotage: &'static str,
    /// The cases that run.
    pub cases: &'static [&'static str],
    /// Further options.
    pub options: &'static [&'static str],
    /// The exit statuses that are right.
    pub statuses: &'static [i32],
    /// What must be said.
    pub says: &'static [&'static str],
}

/// A sabotage in a booted kernel: its case has to deviate.
#[derive(Debug)]
pub struct Booted {
    /// In the words of the library, without `vm=`.
    pub sabotage: &'static str,
    /// The case, which conforms otherwise.
    pub case: &'static str,
    /// What must be said of the case.
    pub says: &'static [&'static str],
    /// Whether it may also be broken: a call that fails can be told either way.
    pub may_break: bool,
}

const fn local(
    sabotage: &'static str,
    cases: &'static [&'static str],
    statuses: &'static [i32],
    says: &'static [&'static str],
) -> Local {
    Local {
        sabotage,
        cases,
        options: &[],
        statuses,
        says,
    }
}

const fn booted_row(sabotage: &'static str, case: &'static str, says: &'static [&'static str]) -> Booted {
    Booted {
        sabotage,
        case,
        says,
        may_break: false,
    }
}

const fn failing_row(sabotage: &'static str, case: &'static str, says: &'static [&'static str]) -> Booted {
    Booted {
        may_break: true,
        ..booted_row(sabotage, case, says)
    }
}

/// The rows for the local device.
pub fn local_rows() -> impl Iterator<Item = &'static Local> {
    [getters::ROWS, setters::ROWS, events::ROWS, calls::ROWS]
        .into_iter()
        .flatten()
}

/// The rows for a booted kernel.
pub fn booted() -> impl Iterator<Item = &'static Booted> {
    booted::ROWS.iter()
}
