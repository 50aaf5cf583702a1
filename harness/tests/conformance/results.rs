//! What came of running all scenarios on one target.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use harness::case::Case;
use harness::cli::session::{Event, Prepared};
use harness::target::{Run, RunOptions};
use spec_model::scenario::Scenario;

use super::shared::SharedRun;

/// One run per case, in the order of the cases.
pub struct Results {
    runs: Arc<Vec<Option<Run>>>,
    /// Why there are runs missing.
    missing: String,
}

impl Results {
    /// No results: the trials are not going to run.
    pub fn none() -> Self {
        Self {
            runs: Arc::default(),
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
    pub fn of(&self, index: usize) -> Run {
        let run = self.runs.get(index).cloned().flatten();
        run.unwrap_or_else(|| Run::Broken(self.missing.clone()))
    }

    fn run(target: &Prepared, scenarios: Vec<Scenario>) -> Self {
        let mut runs = vec![None; scenarios.len()];
        let mut missing = "the target ended without a result".to_owned();
        for event in target.start(scenarios, RunOptions::default()) {
            match event {
                Event::Run(index, run) => {
                    if let Some(place) = runs.get_mut(index) {
                        *place = Some(run);
                    }
                }
                Event::Unusable(reason) => missing = reason,
            }
        }
        Self {
            runs: Arc::new(runs),
            missing,
        }
    }

    fn of_run(run: &SharedRun, target: &Prepared, scenarios: &[Scenario]) -> io::Result<Self> {
        let found = run.once(key(target, scenarios)?, || {
            let results = Self::run(target, scenarios.to_vec());
            (results.runs.as_ref().clone(), results.missing)
        });
        found.map(|(runs, missing)| Self {
            runs: Arc::new(runs),
            missing,
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
