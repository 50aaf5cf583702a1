//! Every schedule of a case: explored on the model, and each way in which it can end replayed
//! on real targets.

pub mod diagram;
pub mod report;

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::explore::{Ending, Exploration, explore};
use spec_model::profile::Profile;

use crate::case::{Case, Claim};

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refuted {
    /// A crash that must not be.
    #[error("a processor crashes after {turns} turns, and the case says that none can")]
    Crashes {
        /// Length of the schedule.
        turns: usize,
    },
    /// No crash where there must be one.
    #[error("no schedule makes a processor crash, and the case says that one does")]
    NeverCrashes,
    /// The shortest way to the crash has another length.
    #[error("the shortest schedule to the crash has {found} turns, and the case says {claimed}")]
    OtherLength {
        /// What the model found.
        found: usize,
        /// What the case says.
        claimed: usize,
    },
    /// Processors that wait for ever.
    #[error(
        "after {turns} turns no ending can be reached any more, and the case says that one always can be"
    )]
    Strands {
        /// Length of the schedule.
        turns: usize,
    },
    /// None where there must be.
    #[error("an ending can always be reached, and the case says that processors can wait for ever")]
    NeverStrands,
    /// Another number of endings.
    #[error("the case can end in {found} ways, and it says {claimed}")]
    OtherEndings {
        /// What the model found.
        found: usize,
        /// What the case says.
        claimed: usize,
    },
}

/// What of a claim a complete exploration refutes.
#[must_use]
pub fn check(claim: &Claim, found: &Exploration) -> Vec<Refuted> {
    let mut refuted = Vec::new();
    let turns = |path: &spec_model::explore::Path| path.schedule.len();
    match (&found.crash, claim.crash) {
        (Some(path), false) => refuted.push(Refuted::Crashes { turns: turns(path) }),
        (None, true) => refuted.push(Refuted::NeverCrashes),
        (Some(path), true) => {
            if let Some(claimed) = claim.shortest.filter(|claimed| *claimed != turns(path)) {
                let found = turns(path);
                refuted.push(Refuted::OtherLength { found, claimed });
            }
        }
        (None, false) => {}
    }
    match (&found.stranded, claim.stranded) {
        (Some(path), false) => refuted.push(Refuted::Strands { turns: turns(path) }),
        (None, true) => refuted.push(Refuted::NeverStrands),
        _ => {}
    }
    let endings = found.endings.len();
    if let Some(claimed) = claim.endings.filter(|claimed| *claimed != endings) {
        refuted.push(Refuted::OtherEndings {
            found: endings,
            claimed,
        });
    }
    refuted
}

/// Explores a case on the model.
///
/// # Errors
/// If the model cannot run it.
pub fn explored(
    case: &Case,
    profile: &'static Profile,
    defects: DefectSet,
    most_states: usize,
) -> Result<Exploration, ModelError> {
    explore(&case.scenario, profile, defects, most_states)
}

/// The case with the schedule of an ending: what a target is to replay. Nothing but the model
/// says what must be seen there.
#[must_use]
pub fn replay(case: &Case, ending: &Ending) -> Case {
    let mut replay = case.clone();
    replay.scenario.schedule = ending.path.schedule.clone();
    let turns = u32::try_from(ending.path.schedule.len()).unwrap_or(u32::MAX);
    let limits = &mut replay.scenario.limits;
    limits.observations = limits.observations.max(turns.saturating_add(1));
    replay.expectations = crate::case::Expectations::default();
    replay
}
