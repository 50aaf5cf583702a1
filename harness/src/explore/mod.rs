//! Every schedule of a case: explored on the model, and each way in which it can end replayed
//! on real targets.

pub mod diagram;
pub mod report;

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::explore::{Exploration, Path, Sought, explore};
use spec_model::profile::Profile;
use spec_model::transcript::Observation;
use spec_model::x86::save_area::Layout;

use crate::case::{Case, Claim, FieldExpectation, PointClaim};
use crate::judge::observed::{admits, read};
use crate::judge::stop;

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
    /// A point that must not be reached.
    #[error("after {turns} turns {point} is reached, and the case says that it never is")]
    Reached {
        /// The point, as the case has it.
        point: String,
        /// Length of the schedule.
        turns: usize,
    },
    /// A point that must be possible.
    #[error("no schedule comes to {point}, and the case says that one does")]
    NeverReached {
        /// The point, as the case has it.
        point: String,
    },
    /// The shortest way to a point has another length.
    #[error("the shortest schedule to {point} has {found} turns, and the case says {claimed}")]
    OtherLengthTo {
        /// The point, as the case has it.
        point: String,
        /// What the model found.
        found: usize,
        /// What the case says.
        claimed: usize,
    },
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
    let turns = |path: &Path| path.schedule.len();
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
    for (point, way) in claim.points.iter().zip(&found.sought) {
        let text = point.text.clone();
        match (way.as_ref().map(turns), point.possible) {
            (Some(turns), false) => refuted.push(Refuted::Reached { point: text, turns }),
            (None, true) => refuted.push(Refuted::NeverReached { point: text }),
            (Some(found), true) => {
                if let Some(claimed) = point.turns.filter(|claimed| *claimed != found) {
                    refuted.push(Refuted::OtherLengthTo {
                        point: text,
                        found,
                        claimed,
                    });
                }
            }
            (None, false) => {}
        }
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

/// Explores a case on the model, and looks for the points that it claims something about.
///
/// # Errors
/// If the model cannot run it.
pub fn explored(
    case: &Case,
    profile: &'static Profile,
    defects: DefectSet,
    most_states: usize,
) -> Result<Exploration, ModelError> {
    let layout = profile.layout(case.scenario.cpuid);
    let points = case.explore.iter().flat_map(|claim| &claim.points);
    let seen: Vec<_> = points
        .map(|point| {
            move |observation: &Observation| {
                stop::is_called(&case.scenario, observation.stop, &point.at)
                    && is_about(point, observation, layout)
            }
        })
        .collect();
    let sought: Vec<Sought<'_>> = seen.iter().map(|seen| seen as Sought<'_>).collect();
    explore(&case.scenario, profile, defects, most_states, &sought)
}

/// Whether an observation at the point of a claim is what the claim is about.
fn is_about(claim: &PointClaim, observation: &Observation, layout: &Layout) -> bool {
    let holds =
        |wanted: &FieldExpectation| admits(&wanted.allowed, &read(&wanted.field, observation, layout));
    claim.vcpu.is_none_or(|vcpu| vcpu == observation.vcpu) && claim.fields.iter().all(holds)
}

/// The case with one schedule: what a target is to replay. Nothing but the model says what must be
/// seen there.
#[must_use]
pub fn replay(case: &Case, path: &Path) -> Case {
    let mut replay = case.clone();
    replay.scenario.schedule.clone_from(&path.schedule);
    let turns = u32::try_from(path.schedule.len()).unwrap_or(u32::MAX);
    let limits = &mut replay.scenario.limits;
    limits.observations = limits.observations.max(turns.saturating_add(1));
    replay.expectations = crate::case::Expectations::default();
    replay
}
