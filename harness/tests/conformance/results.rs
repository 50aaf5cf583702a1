//! What came of running all scenarios on one target.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::case::Case;
use harness::cli::session::{Event, Kind, Prepared};
use harness::target::{Identity, LostBoot, Ran, Run, RunOptions};
use spec_model::scenario::Scenario;

/// How long a result file in which something failed is good: longer than a test run, so
/// that not every trial boots a kernel that fails, and short enough to try again soon.
const FAILURES_LAST: Duration = Duration::from_mins(10);

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

    /// Runs all cases, or, if `shared`, takes what another process with the same program,
    /// kernel and scenarios got.
    pub fn get(target: &Prepared, cases: &[Case], shared: bool) -> Self {
        let scenarios: Vec<Scenario> = cases.iter().map(|case| case.scenario.clone()).collect();
        if shared {
            match Self::through_file(target, &scenarios) {
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

    fn through_file(target: &Prepared, scenarios: &[Scenario]) -> io::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{:016x}", key(target, scenarios)?));
        // Whoever comes first runs; the others wait here and find the file.
        let lock = File::create(path.with_extension("lock"))?;
        lock.lock()?;
        if let Ok(bytes) = fs::read(&path)
            && let Ok(told) = postcard::from_bytes::<Told>(&bytes)
            && (is_whole(&told) || age(&path)? < FAILURES_LAST)
        {
            return Ok(Self {
                told: Arc::new(told),
                missing: "the target ended without a result".to_owned(),
            });
        }
        let results = Self::run(target, scenarios.to_vec());
        let bytes = postcard::to_stdvec(results.told.as_ref()).map_err(io::Error::other)?;
        let part = path.with_extension("part");
        fs::write(&part, bytes)?;
        fs::rename(&part, &path)?;
        Ok(results)
    }
}

fn is_whole(told: &Told) -> bool {
    let is_good =
        |ran: &Ran| ran.complaints.is_empty() && matches!(ran.run, Run::Done(_) | Run::Unsupported(_));
    told.troubles.is_empty() && told.runs.iter().all(|ran| ran.as_ref().is_some_and(is_good))
}

/// Time since a file was written; none if the clock went back.
fn age(path: &Path) -> io::Result<Duration> {
    let written = fs::metadata(path)?.modified()?;
    Ok(written.elapsed().unwrap_or_default())
}

/// The same for the same program, kernel and scenarios.
fn key(target: &Prepared, scenarios: &[Scenario]) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    target.name.hash(&mut hasher);
    scenarios.hash(&mut hasher);
    hash_file(&std::env::current_exe()?, &mut hasher)?;
    match &target.kind {
        Kind::Booted { config, .. } => {
            hash_file(&config.executable, &mut hasher)?;
            hash_file(&config.kernel.image, &mut hasher)?;
            for module in &config.kernel.modules {
                hash_file(module, &mut hasher)?;
            }
        }
        Kind::Kvm(identity) => {
            (&identity.kernel, identity.backend, identity.smm).hash(&mut hasher);
            // A module that was loaded again, or a reboot, may have changed what KVM does.
            boot_id().hash(&mut hasher);
        }
        Kind::XenPv { config, .. } => {
            // The executable of the trials has all of the target in it.
            hash_file(&config.xen.image, &mut hasher)?;
        }
        Kind::Model | Kind::Unusable(_) => {}
    }
    Ok(hasher.finish())
}

/// The kernel's random id of this boot; nothing where there is none.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Its name, size and age: reading a kernel in every one of hundreds of processes would
/// take longer than the trials.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    path.hash(hasher);
    metadata.len().hash(hasher);
    metadata.modified()?.hash(hasher);
    Ok(())
}
