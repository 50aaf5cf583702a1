//! Who confirms what cases expect: counted from reports of runs, never typed.
//!
//! An expectation that a person wrote is *confirmed* by a target on which it was seen to hold, without the help of a
//! deviation: what a deviation has otherwise is not confirmed by the run that shows it, nor is anything behind the stop
//! at which such a run leaves the expected path. The model confirms nothing, and neither does a run that nothing
//! explains. What the model adds to a case is confirmed as a whole, by a run that conforms.
//!
//! `golden/confirmed.yaml` keeps what `conform findings REPORT.. --write` has found. It grows: what was seen once stays
//! until the case changes, of which it keeps a digest.

mod found;
mod unconfirmed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

pub use found::Found;
pub use unconfirmed::{Counts, Reason, Unconfirmed, counts, requirements, unconfirmed};

use crate::case::Case;
use crate::judge::case::view;
use crate::judge::held;
use crate::target::{Backend, Identity, Processor};

/// All that is seen in a run, with what the model adds to the case; not the name of an expectation.
pub const WHOLE: &str = "the whole run";
/// Every expectation of the case, and [`WHOLE`].
const ALL: &str = "all";

/// What is written above the file.
const HEAD: &str = "\
# What targets have confirmed of the expectations that people wrote; found by `conform findings REPORT.. --write` in
# reports of `conform run --json`, and not to be edited. `of` is a digest of the case; `seen` has by targets what was
# seen there as expected, `deviates` by deviation what was only ever seen otherwise, `lacks` why it could not run.
";

/// By name of the case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmations {
    cases: BTreeMap<String, Entry>,
}

/// What is known of one case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    /// Digest of the case that ran.
    of: String,
    /// By targets, with a blank between them: the expectations that all of them confirm, and no other does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seen: BTreeMap<String, Vec<String>>,
    /// By deviation: what was seen otherwise because of it, and is confirmed by nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    deviates: BTreeMap<String, BTreeSet<String>>,
    /// Expectations about which runs say nothing that counts, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    open: BTreeMap<Open, BTreeSet<String>>,
    /// The kinds of what targets lack to run it, if none could.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    lacks: BTreeSet<String>,
}

/// Why a run says nothing of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Open {
    /// The host did not look.
    NotLookedAt,
    /// The run, otherwise explained, never came there.
    NotReached,
    /// Nothing explains the run.
    Unexplained,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmationsError {
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
    #[error("{}: says not who confirms what: {problem}; `conform findings REPORT.. --write` makes it", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Confirmations {
    /// Reads a file; nothing is confirmed if there is none.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Self, ConfirmationsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ConfirmationsError::File {
                    path: path.to_owned(),
                    what: "read",
                    source,
                });
            }
        };
        serde_yaml::from_str(&text).map_err(|error| ConfirmationsError::Syntax {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), ConfirmationsError> {
        std::fs::write(path, self.text()).map_err(|source| ConfirmationsError::File {
            path: path.to_owned(),
            what: "written",
            source,
        })
    }

    /// What the file says, a line for each case.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        text += if self.cases.is_empty() {
            "cases: {}\n"
        } else {
            "cases:\n"
        };
        for (name, entry) in &self.cases {
            // What is JSON is YAML.
            let entry = serde_json::to_string(entry).unwrap_or_default();
            text += &format!("  {name}: {entry}\n");
        }
        text
    }

    /// Forgets cases that there are no more, and what was seen of cases that have changed.
    pub fn keep(&mut self, cases: &[Case]) {
        let digests: BTreeMap<&str, String> = cases
            .iter()
            .map(|case| (case.name.as_str(), digest(case)))
            .collect();
        self.cases
            .retain(|name, entry| digests.get(name.as_str()) == Some(&entry.of));
    }

    /// Cases in the file that there are not, and expectations and deviations that are not theirs, a line each.
    #[must_use]
    pub fn strangers(&self, cases: &[Case], deviations: &[String]) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, entry) in &self.cases {
            let Some(case) = cases.iter().find(|case| case.name == *name) else {
                lines.push(format!("{name}: there is no such case"));
                continue;
            };
            if entry.of != digest(case) {
                continue;
            }
            let known = names(case);
            let is_known = |one: &&String| known.contains(*one) || [ALL, WHOLE].contains(&one.as_str());
            let named = entry.seen.values().flatten();
            let named = named
                .chain(entry.deviates.values().flatten())
                .chain(entry.open.values().flatten());
            let strange = named.filter(|one| !is_known(one));
            lines.extend(strange.map(|one| format!("{name}: it expects nothing of the name `{one}`")));
            let gone = entry.deviates.keys().filter(|one| !deviations.contains(one));
            lines.extend(gone.map(|one| format!("{name}: there is no deviation `{one}`")));
        }
        lines
    }
}

impl Entry {
    /// The targets that confirm an expectation.
    fn targets(&self, name: &str) -> BTreeSet<&str> {
        let all = |names: &Vec<String>| names.iter().any(|one| one == name || one == ALL);
        let groups = self.seen.iter().filter(|(_, names)| all(names));
        groups.flat_map(|(targets, _)| targets.split(' ')).collect()
    }

    /// Whether a target confirms it that is more than the software backend of the development machines.
    fn confirms(&self, name: &str) -> bool {
        self.targets(name).iter().any(|target| !is_software(target))
    }
}

/// What a target is, in a word: the backend, and the emulator if its processor is one.
#[must_use]
pub fn target(identity: &Identity) -> String {
    match identity.processor {
        Processor::Native => identity.backend.to_string(),
        Processor::QemuTcg => format!("{}/qemu-tcg", identity.backend),
    }
}

/// KVM's software backend executes and delivers by KVM's instruction emulator: what it does no processor has said.
fn is_software(target: &str) -> bool {
    target == Backend::Pvm.to_string()
}

/// The names of what a person expects in a case.
fn names(case: &Case) -> Vec<String> {
    held::names(&view(case, case.own_profile()))
}

/// What tells a case from what it was when it ran: all that runs, and what is expected.
fn digest(case: &Case) -> String {
    let mut bytes = postcard::to_allocvec(&case.scenario).unwrap_or_default();
    let expectations = &case.expectations;
    // Names in place of fields, which have addresses in them.
    for field in &expectations.fields {
        let name = field.field.name(&case.scenario.watches);
        let what = format!(
            "{:?}{:?}{:?}{name}{:?};",
            field.at, field.nth, field.vcpu, field.allowed
        );
        bytes.extend(what.into_bytes());
    }
    for step in &expectations.steps {
        bytes.extend(format!("{}{:?};", step.step, step.expected).into_bytes());
    }
    for refusal in &expectations.refusals {
        let what = format!("{:?}{}{};", refusal.at, refusal.call.name(), refusal.errno);
        bytes.extend(what.into_bytes());
    }
    bytes.extend(format!("{:?}", expectations.paths).into_bytes());
    format!("{:016x}", xxh3_64(&bytes))
}

#[cfg(test)]
mod tests;
