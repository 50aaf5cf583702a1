//! What deviation files say and no run has shown.

use std::collections::BTreeMap;
use std::fmt;

use spec_model::scenario::Observe;

use super::{SeenRun, Sightings};
use crate::deviation::{Answer, Deviation};
use crate::target::{Backend, Mode};

/// Something that a deviation file says and that was not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// It says that it shows on a version of a backend, and no run there showed it.
    NotSeen {
        /// The deviation.
        deviation: String,
        /// The backend.
        backend: Backend,
        /// The version of the kernel, or Xen's.
        version: String,
    },
    /// It says that it shows in a mode, and no run in it showed it.
    NotSeenInMode {
        /// The deviation.
        deviation: String,
        /// The mode.
        mode: Mode,
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
            Self::NotSeen {
                deviation,
                backend,
                version,
            } => write!(
                formatter,
                "{deviation}: not seen on {backend} of {version}, where its file says that it shows"
            ),
            Self::NotSeenInMode { deviation, mode } => write!(
                formatter,
                "{deviation}: seen in no run of mode {}, which its file names",
                mode.name()
            ),
            Self::NotRun { deviation, backend } => {
                write!(
                    formatter,
                    "{deviation}: nothing that it is about ran on {backend}"
                )
            }
            Self::Seen { deviation, run } => {
                write!(
                    formatter,
                    "{deviation}: seen on {run}, where its file only expects it"
                )
            }
            Self::NoFile(deviation) => write!(formatter, "{deviation}: seen, and there is no such file"),
        }
    }
}

/// What the files say and the runs did not show, and the other way round.
///
/// On each version that ran, one of the runs there has to show it, and in each mode that a file names. A run in
/// which only the ends were looked at shows what it shows, and proves nothing missing.
#[must_use]
pub fn gaps(sightings: &Sightings, deviations: &[Deviation]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = deviations
        .iter()
        .flat_map(|deviation| Runs::of(sightings, deviation).gaps())
        .collect();
    for name in sightings.seen.keys() {
        if !deviations.iter().any(|deviation| deviation.name() == *name) {
            gaps.push(Gap::NoFile(name.clone()));
        }
    }
    gaps
}

/// The runs that a deviation is about.
struct Runs<'a> {
    deviation: &'a Deviation,
    /// Each with whether it certainly shows there, and whether it was seen.
    runs: Vec<(&'a str, &'a SeenRun, Answer, bool)>,
}

impl<'a> Runs<'a> {
    fn of(sightings: &'a Sightings, deviation: &'a Deviation) -> Self {
        let seen = sightings.seen.get(&deviation.name());
        let runs = sightings.runs.iter().filter_map(|(name, run)| {
            let answer = deviation.applies_to(&run.identity(name), run.mode);
            let is_seen = seen.is_some_and(|seen| seen.contains_key(name));
            (is_seen || answer != Answer::No).then_some((name.as_str(), run, answer, is_seen))
        });
        Self {
            deviation,
            runs: runs.collect(),
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let name = self.deviation.name();
        let mut gaps = Vec::new();
        let mut by_version: BTreeMap<(String, String), (Backend, bool)> = BTreeMap::new();
        for (_, run, answer, is_seen) in &self.runs {
            if *answer == Answer::Yes && (*is_seen || run.observe == Observe::Points) {
                let place = (run.backend.to_string(), run.version());
                by_version.entry(place).or_insert((run.backend, false)).1 |= is_seen;
            }
        }
        for ((_, version), (backend, is_seen)) in by_version {
            if !is_seen {
                gaps.push(Gap::NotSeen {
                    deviation: name.clone(),
                    backend,
                    version,
                });
            }
        }
        for &mode in &self.deviation.modes {
            let mut in_mode = self
                .runs
                .iter()
                .filter(|(_, run, ..)| run.mode == mode)
                .peekable();
            if in_mode.peek().is_some() && !in_mode.any(|(.., is_seen)| *is_seen) {
                gaps.push(Gap::NotSeenInMode {
                    deviation: name.clone(),
                    mode,
                });
            }
        }
        for &backend in &self.deviation.targets {
            if !self.runs.iter().any(|(_, run, ..)| run.backend == backend) {
                gaps.push(Gap::NotRun {
                    deviation: name.clone(),
                    backend,
                });
            }
        }
        let only_expected = |backend: Backend| {
            self.deviation.expected.contains(&backend) && !self.deviation.targets.contains(&backend)
        };
        for (run, about, _, is_seen) in &self.runs {
            if *is_seen && only_expected(about.backend) {
                gaps.push(Gap::Seen {
                    deviation: name.clone(),
                    run: (*run).to_owned(),
                });
            }
        }
        gaps
    }
}
