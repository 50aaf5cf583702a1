//! Judging: is what a target did among what the model and the case allow?
//!
//! Nothing here does I/O. What goes in is plain data: a case, the outcomes that the model
//! allows, and a run. What comes out is a [`Verdict`], whose [`Difference`]s name the case,
//! the place in the run, the field, both values and the requirement.
//!
//! * [`observed`]: reads what a person can expect of a run;
//! * [`allowed`]: what the model allows, with and without known deviations;
//! * `compare`, `memory`: one run against one outcome, field by field;
//! * `host_state`: what became of the state that the host set;
//! * [`stage2`]: the same for runs about stage-2 mappings;
//! * `nearest`: one run against all of them;
//! * [`cited`], `rules`: which requirements decide what differs;
//! * `by_hand`: what a run is worth where the model cannot run the case;
//! * [`check`]: what is wrong with a case before anything but the model has run it;
//! * [`verdict`]: what it is worth;
//! * [`held`]: which hand-written expectations a run shows to hold;
//! * [`left_open`]: what the model leaves open in a case, and by which rule;
//! * [`complaint`]: what the kernel that ran it said meanwhile;
//! * [`case`]: all of it for a loaded case and a target.

pub mod allowed;
mod bits;
mod by_hand;
pub mod case;
pub mod check;
pub mod cited;
mod compare;
pub mod complaint;
pub mod difference;
mod expected;
mod gave_up;
pub mod held;
mod host_state;
pub mod left_open;
mod levelled;
mod memory;
mod nearest;
pub mod observed;
mod rules;
pub mod stage2;
pub mod stop;
pub mod value;
pub mod verdict;

use spec_model::profile::Profile;
use spec_model::requirement::Requirement;
use spec_model::scenario::Scenario;
use spec_model::transcript::Transcript;
use spec_model::x86::save_area::Layout;

use crate::case::Expectations;

pub use allowed::AllowedOutcomes;
pub use cited::Cited;
pub use difference::Difference;
pub use verdict::{Against, Verdict, VerdictKind, judge, judge_model};

/// What judging needs to know about a case.
#[derive(Clone, Copy, Debug)]
pub struct CaseView<'a> {
    /// `<area>/<name>`.
    pub name: &'a str,
    /// The requirements that the case checks. A difference never cites them for being here.
    pub checks: &'a [&'static Requirement],
    /// What was run.
    pub scenario: &'a Scenario,
    /// What a person expects.
    pub expectations: &'a Expectations,
    /// The layout of the state-save area in force.
    pub layout: &'static Layout,
}

/// The layout of the state-save area that a scenario gets on a kind of target
/// (SMM-SAVE-002).
#[must_use]
pub fn layout(scenario: &Scenario, profile: &Profile) -> &'static Layout {
    profile.layout(scenario.cpuid)
}

/// How many hand-written expectations a run says nothing about, since the host looked at none of
/// the places where they apply ([`spec_model::scenario::Observe::Ends`]).
#[must_use]
pub fn not_looked_at(case: &CaseView<'_>, seen: &Transcript) -> usize {
    expected::check(case, seen).not_looked_at
}

#[cfg(test)]
mod tests;
