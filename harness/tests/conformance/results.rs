//! What came of running all scenarios on one target.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use harness::case::Case;
use harness::cli::session::{Event, Prepared};
use harness::target::{Identity, LostBoot, Ran, Run, RunOptions};
use spec_model::scenario::Scenario;

use super::shared::SharedRun;

/// One run per case, in the order of the cases.
pub struct Results {
    told: Arc<Told>,
    /// Why there are runs missing.
    missing: String,
}

/// What a target told.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Told {
    runs: Vec<Option<Ran>>,
    /// What it said that it is.
    identity: Option<Identity>,
    /// What no case accounts for: complaints of its kernel between them, boots that were lost.
    troubles: Vec<String>,
}

impl Results {
    /// No results: the trials are not going to run.
    pub fn none() -> Self {
        Self {
            told: Arc::default(),
            missing: "this trial was not going to run".to_owned(),
        }
    }

    /// Runs all cases, or takes what another process of the same test run got.
    pub fn get(target: &Prepared, cases: &[Case], run: Option<&SharedRun>) -> Self {
        let scenarios: Vec<Scenario> = cases.iter().map(|case| case.scenario.clone()).collect();
        if let Some(run) = run {
            match Self::of_run(run, target, &scenarios) {
                Ok(results) => return results,
                Err(error) => eprintln!("results cannot be shared between processes: {error}"),
            }
        }
        Self::run(target, scenarios)
    }

    /// The run of one case.
    pub fn of(&self, index: usize) -> Ran {
        let run = self.told.runs.get(index).cloned().flatten();
        run.unwrap_or_else(|| Run::Broken(self.missing.clone()).into())
    }

    /// What the target said that it is, if it ran.
    pub fn identity(&self) -> Option<&Identity> {
        self.told.identity.as_ref()
    }

    /// What no case accounts for.
    pub fn troubles(&self) -> &[String] {
        &self.told.troubles
    }

    fn run(target: &Prepared, scenarios: Vec<Scenario>) -> Self {
        let mut told = Told {
            runs: vec![None; scenarios.len()],
            ..Told::default()
        };
        let mut missing = "the target ended without a result".to_owned();
        for event in target.start(scenarios, RunOptions::default()) {
            match event {
                Event::Ran(index, ran) => {
                    if let Some(place) = told.runs.get_mut(index) {
                        *place = Some(ran);
                    }
                }
                Event::Identified(identity) => told.identity = Some(*identity),
                Event::Complained(complaints) => {
                    let texts = complaints.iter().map(|complaint| complaint.report.join("\n"));
                    told.troubles.extend(texts);
                }
                Event::BootLost(LostBoot { during: None, reason }) => {
                    told.troubles.push(format!("a boot was lost: {reason}"));
                }
                Event::BootLost(_) | Event::Note(_) => {}
                Event::Unusable(reason) => missing = reason,
            }
        }
        Self {
            told: Arc::new(told),
            missing,
        }
    }

    fn of_run(run: &SharedRun, target: &Prepared, scenarios: &[Scenario]) -> io::Result<Self> {
        let found: (Told, String) = run.once(key(target, scenarios)?, || {
            let results = Self::run(target, scenarios.to_vec());
            let told = Arc::into_inner(results.told).unwrap_or_default();
            (told, results.missing)
        })?;
        Ok(Self {
            told: Arc::new(found.0),
            missing: found.1,
        })
    }
}

/// The same for the same program, target and scenarios.
fn key(target: &Prepared, scenarios: &[Scenario]) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    target.name.hash(&mut hasher);
    scenarios.hash(&mut hasher);
    std::env::current_exe()?.hash(&mut hasher);
    Ok(hasher.finish())
}
