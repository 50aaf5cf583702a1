//! What deviation files say and no run has shown.

use std::fmt;

use super::Sightings;
use crate::deviation::{Answer, Deviation};
use crate::target::Backend;

/// Something that a deviation file says and that was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// It says that it shows in a run, and the run did not show it.
    NotSeen {
        /// The deviation.
        deviation: String,
        /// The run.
        run: String,
    },
    /// It names a backend, and nothing that it is about ran there.
    NotRun {
        /// The deviation.
        deviation: String,
        /// The backend.
        backend: Backend,
    },
    /// It is only expected on a backend, and was seen there.
    Seen {
        /// The deviation.
        deviation: String,
        /// The run.
        run: String,
    },
    /// There is no such file.
    NoFile(String),
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSeen { deviation, run } => {
                write!(formatter, "{deviation}: not seen on {run}, where its file says that it shows")
            }
            Self::NotRun { deviation, backend } => write!(
                formatter,
                "{deviation}: nothing that it is about ran on {backend}"
            ),
            Self::Seen { deviation, run } => {
                write!(formatter, "{deviation}: seen on {run}, where its file only expects it")
            }
            Self::NoFile(deviation) => write!(formatter, "{deviation}: seen, and there is no such file"),
        }
    }
}

/// What the files say and the runs did not show, and the other way round.
///
/// A run in which only the ends were looked at, or that the version of the kernel does not place, shows what it
/// shows and proves nothing missing.
#[must_use]
pub fn gaps(sightings: &Sightings, deviations: &[Deviation]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for deviation in deviations {
        let name = deviation.name();
        let seen = sightings.seen.get(&name);
        let in_run = |run: &String| seen.is_some_and(|seen| seen.contains_key(run));
        for (run, about) in &sightings.runs {
            let answer = deviation.applies_to(&about.identity(run), about.mode);
            let is_expected_only = !deviation.targets.contains(&about.backend)
                && deviation.expected.contains(&about.backend);
            let (deviation, run_name) = (name.clone(), run.clone());
            match (answer, in_run(run)) {
                (Answer::Yes, false) if about.observe == spec_model::scenario::Observe::Points => {
                    gaps.push(Gap::NotSeen {
                        deviation,
                        run: run_name,
                    });
                }
                (_, true) if is_expected_only => gaps.push(Gap::Seen {
                    deviation,
                    run: run_name,
                }),
                _ => {}
            }
        }
        for &backend in &deviation.targets {
            let is_about = |(run, about): (&String, &super::SeenRun)| {
                about.backend == backend
                    && deviation.applies_to(&about.identity(run), about.mode) != Answer::No
            };
            if !sightings.runs.iter().any(is_about) {
                gaps.push(Gap::NotRun {
                    deviation: name.clone(),
                    backend,
                });
            }
        }
    }
    for name in sightings.seen.keys() {
        if !deviations.iter().any(|deviation| deviation.name() == *name) {
            gaps.push(Gap::NoFile(name.clone()));
        }
    }
    gaps
}
