//! Where deviations were seen: counted from reports of runs, never typed.
//!
//! A deviation is *seen* in a case on a target if the run is not explained without it: with all other known
//! deviations on, the model does something else. What is merely listed for a case is not seen there.
//!
//! `golden/seen.yaml` keeps what `conform findings REPORT.. --write` has counted: every run with the versions of
//! kernel and emulator, and for every deviation the number of cases per run. [`gaps`] holds it against the
//! deviation files.

mod collect;
mod gaps;
mod record;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spec_model::scenario::Observe;

pub use collect::{CollectError, Collected, collect};
pub use gaps::{Gap, gaps};
pub use table::{MARKERS, Section, rendered_in, seen_on};

use crate::baseline::{Command, How};
use crate::target::system::System;
use crate::target::{Backend, Identity, Mode, Processor, RunOptions};

/// Runs, and what was seen in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sightings {
    /// By target and options of the run.
    pub runs: BTreeMap<String, SeenRun>,
    /// By name of the deviation's file and run: in how many cases it was seen.
    pub seen: BTreeMap<String, BTreeMap<String, usize>>,
}

/// A run of all cases on a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SeenRun {
    /// Which KVM backend, or Xen.
    pub backend: Backend,
    /// What it ran on.
    pub processor: Processor,
    /// Release of the kernel, as `uname -r` prints it, or of Xen.
    pub kernel: String,
    /// Which build of it, as `uname -v` prints it.
    pub build: String,
    /// The emulator and its version, if there was one.
    pub emulator: Option<String>,
    /// How state was saved and restored.
    pub mode: Mode,
    /// What was looked at.
    pub observe: Observe,
    /// Cases with a verdict about the target.
    pub cases: usize,
    /// Cases that deviate in a way that is the hypervisor's alone.
    pub of_hypervisor: usize,
    /// Cases that deviate in a way that is the emulated processor's alone.
    pub of_emulator: usize,
    /// Cases that show both.
    pub of_both: usize,
}

impl SeenRun {
    /// What a target said that it is.
    #[must_use]
    pub fn of(identity: &Identity, mode: Mode, observe: Observe) -> Self {
        Self {
            backend: identity.backend,
            processor: identity.processor,
            kernel: identity.kernel.clone(),
            build: identity.system.version.clone(),
            emulator: identity.system.emulator.clone(),
            mode,
            observe,
            cases: 0,
            of_hypervisor: 0,
            of_emulator: 0,
            of_both: 0,
        }
    }

    /// The target, as far as deviations tell targets apart.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        Identity {
            name: name.to_owned(),
            backend: self.backend,
            processor: self.processor,
            kernel: self.kernel.clone(),
            smm: true,
            system: System {
                version: self.build.clone(),
                emulator: self.emulator.clone(),
                ..System::default()
            },
        }
    }
}

/// What a run is called: the target, and the options that change what it shows.
#[must_use]
pub fn key(target: &str, mode: Mode, observe: Observe) -> String {
    let options = RunOptions {
        mode,
        observe,
        ..RunOptions::default()
    };
    How::with(Command::Run, options).key(target)
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SightingsError {
    /// The file system refused.
    #[error("{}: cannot be {what}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}: says not what was seen where: {problem}; `conform findings REPORT.. --write` makes it", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Sightings {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Self, SightingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SightingsError::File {
            path: path.to_owned(),
            what: "read",
            source,
        })?;
        serde_yaml::from_str(&text).map_err(|error| SightingsError::Syntax {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), SightingsError> {
        std::fs::write(path, self.text()).map_err(|source| SightingsError::File {
            path: path.to_owned(),
            what: "written",
            source,
        })
    }

    /// Takes over newer runs. What is known of other runs stays.
    pub fn update(&mut self, newer: Self) {
        for by_run in self.seen.values_mut() {
            by_run.retain(|run, _| !newer.runs.contains_key(run));
        }
        for (deviation, by_run) in newer.seen {
            self.seen.entry(deviation).or_default().extend(by_run);
        }
        self.seen.retain(|_, by_run| !by_run.is_empty());
        self.runs.extend(newer.runs);
    }

    /// What the file says.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# Where known deviations were seen; counted by `conform findings REPORT.. --write` from reports of\n\
             # `conform run --json`, and not to be edited. A deviation is seen in a case if the run is not explained without it.\n\
             runs:\n",
        );
        // Writing to a string does not fail.
        for (name, run) in &self.runs {
            let _ = writeln!(text, "  {}:", quoted(name));
            let emulator = run.emulator.as_deref().map_or("null".to_owned(), quoted);
            for (key, value) in [
                ("backend", word(&run.backend)),
                ("processor", word(&run.processor)),
                ("kernel", quoted(&run.kernel)),
                ("build", quoted(&run.build)),
                ("emulator", emulator),
                ("mode", run.mode.name().to_owned()),
                ("observe", word(&run.observe)),
                ("cases", run.cases.to_string()),
                ("of-hypervisor", run.of_hypervisor.to_string()),
                ("of-emulator", run.of_emulator.to_string()),
                ("of-both", run.of_both.to_string()),
            ] {
                let _ = writeln!(text, "    {key}: {value}");
            }
        }
        text += "seen:\n";
        for (deviation, by_run) in &self.seen {
            let _ = writeln!(text, "  {deviation}:");
            for (run, cases) in by_run {
                let _ = writeln!(text, "    {}: {cases}", quoted(run));
            }
        }
        text
    }
}

fn quoted(text: &str) -> String {
    // Strings of JSON are strings of YAML.
    serde_json::to_string(text).unwrap_or_default()
}

/// The name that a value without fields has in reports.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
