//! Names of stops: points, and the ways in which a run ends.

use std::mem::discriminant;

use spec_model::scenario::{PointId, Scenario};
use spec_model::transcript::{Stop, Transcript};

/// The name that paths and expectations use for a stop: the name of the point, or one of
/// `halted`, `shutdown`, `internal-error`, `entry-failed`, `run-failed`, `stuck`, `limit`,
/// `wait-for-sipi`. Those that a path can give are [`ENDS`](crate::case::ENDS).
#[must_use]
pub fn name(scenario: &Scenario, stop: Stop) -> &str {
    match stop {
        Stop::Sync(point) | Stop::Halted(Some(point)) => point_name(scenario, point),
        Stop::Halted(None) => "halted",
        Stop::WaitsForSipi => "wait-for-sipi",
        Stop::Shutdown => "shutdown",
        Stop::InternalError(_) => "internal-error",
        Stop::EntryFailed => "entry-failed",
        Stop::RunFailed(_) => "run-failed",
        Stop::Stuck => "stuck",
        Stop::LimitReached => "limit",
    }
}

/// The stop that a run of this name ends with; nothing for the name of a point.
#[must_use]
pub fn end(name: &str) -> Option<Stop> {
    Some(match name {
        "halted" => Stop::Halted(None),
        "wait-for-sipi" => Stop::WaitsForSipi,
        "shutdown" => Stop::Shutdown,
        "internal-error" => Stop::InternalError(0),
        "entry-failed" => Stop::EntryFailed,
        "run-failed" => Stop::RunFailed(0),
        "stuck" => Stop::Stuck,
        "limit" => Stop::LimitReached,
        _ => return None,
    })
}

/// Whether a stop is the one that a path or an expectation calls so: that very point, or that way
/// to end. What it is called in a report does not matter.
#[must_use]
pub fn is_called(scenario: &Scenario, stop: Stop, wanted: &str) -> bool {
    match stop {
        Stop::Sync(point) | Stop::Halted(Some(point)) => {
            let point = scenario.points.get(usize::from(point.0));
            point.is_some_and(|point| point.name == wanted)
        }
        other => end(wanted).is_some_and(|end| discriminant(&end) == discriminant(&other)),
    }
}

fn point_name(scenario: &Scenario, point: PointId) -> &str {
    let point = scenario.points.get(usize::from(point.0));
    point.map_or("unknown-point", |point| point.name.as_str())
}

/// The stop in words, with the numbers that its name leaves out.
#[must_use]
pub fn describe(scenario: &Scenario, stop: Stop) -> String {
    match stop {
        Stop::Sync(point) => format!("sync point `{}`", point_name(scenario, point)),
        Stop::Halted(Some(point)) => format!("HLT at `{}`", point_name(scenario, point)),
        Stop::Halted(None) => "HLT that is not a point".to_owned(),
        Stop::WaitsForSipi => "waiting for a startup IPI".to_owned(),
        Stop::Shutdown => "shutdown".to_owned(),
        Stop::InternalError(suberror) => format!("KVM_EXIT_INTERNAL_ERROR, suberror {suberror}"),
        Stop::EntryFailed => "KVM_EXIT_FAIL_ENTRY".to_owned(),
        Stop::RunFailed(errno) => {
            format!("KVM_RUN failed: {}", std::io::Error::from_raw_os_error(errno))
        }
        Stop::Stuck => "stuck without reaching a point".to_owned(),
        Stop::LimitReached => "limit of observations".to_owned(),
    }
}

/// Where in a run something was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Before anything ran.
    Start,
    /// At an observation.
    At {
        /// Index into the transcript's observations.
        index: usize,
        /// Name of the point, or how the run ended.
        point: String,
        /// The how-manieth time that it was reached by any processor, from 1.
        nth: u32,
        /// The processor.
        vcpu: u8,
    },
    /// At a step of a scenario about stage-2 mappings.
    Step {
        /// Its number, from 0.
        index: usize,
        /// What is done there, in a word and an address.
        what: String,
    },
    /// In memory after the end of the run.
    End,
}

impl Place {
    /// Where an observation was made; [`Place::End`] if there is none of that index.
    #[must_use]
    pub fn of(scenario: &Scenario, transcript: &Transcript, index: usize) -> Self {
        let Some(observation) = transcript.observations.get(index) else {
            return Self::End;
        };
        let point = name(scenario, observation.stop);
        let earlier = transcript.observations.iter().take(index);
        let before = earlier
            .filter(|earlier| name(scenario, earlier.stop) == point)
            .count();
        Self::At {
            index,
            point: point.to_owned(),
            nth: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1),
            vcpu: observation.vcpu,
        }
    }

    /// Position for ordering: the observation's index, the end last.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Self::At { index, .. } | Self::Step { index, .. } => *index,
            Self::Start => 0,
            Self::End => usize::MAX,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At {
                point, nth: 1, vcpu, ..
            } => write!(formatter, "at `{point}` (vCPU {vcpu})"),
            Self::At { point, nth, vcpu, .. } => {
                write!(formatter, "at `{point}`, time {nth} (vCPU {vcpu})")
            }
            Self::Step { index, what } => write!(formatter, "at step {}, `{what}`", index + 1),
            Self::Start => formatter.write_str("at the start, before anything ran"),
            Self::End => formatter.write_str("in memory at the end"),
        }
    }
}
