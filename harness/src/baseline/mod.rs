//! Baselines: what ran on which target, so that coverage cannot get lost unseen.
//!
//! A scenario that has a verdict about its target (conforms, deviates, known deviation, unexpectedly
//! conforms) *ran*. A kernel that loses a capability turns such verdicts into unsupported ones, and
//! nothing else of a run would show it.
//!
//! The file is a YAML mapping. An entry is called by the target, behind the command unless that is `run`, with
//! the options that change what can run:
//!
//! ```yaml
//! "svm@debian:6.12":                  # the cases that ran
//!   - smm/auto-halt-restart
//! "svm@debian:6.12 --migrate":        # the same but these; without an entry all of the same
//!   unsupported:
//!     "the reason":
//!       - stage2/hole-between-slots
//! "gates svm@debian:6.12":            # all members of the group ran but these
//!   core: 9216
//!   bits:
//!     members: 64
//!     unsupported:
//!       "the reason":
//!         - gates/bit-104
//! ```
//!
//! * [`how`]: the names of entries;
//! * [`cases`]: what `conform run` ran;
//! * [`members`]: what `conform sequences`, `gates` and `explore` ran.

pub mod cases;
mod entry;
pub mod how;
pub mod members;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use entry::Entry;

pub use cases::{Change, GONE, Ran};
pub use how::{Command, How};
pub use members::{FamilyChange, RanGroup, UnsupportedMember};

/// What the first lines of a file say.
const HEADING: &str = "\
# What ran on which target; made by `conform run --write-baseline FILE` and the same option of `sequences`,
# `gates` and `explore`, held against a run by `--baseline FILE`. What ran and is unsupported now fails the run.
";

/// What ran on which target, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    entries: BTreeMap<String, Entry>,
}

/// Something that ran before and that an update forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The entry.
    pub entry: String,
    /// The case or scenario.
    pub name: String,
    /// Why it does not run any more.
    pub reason: String,
}

/// A baseline cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
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
    /// It is no baseline.
    #[error(
        "{}: not a baseline: {problem}; `conform run --write-baseline FILE` makes one", path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: BadBaseline,
    },
}

/// A text is no baseline.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadBaseline(String);

impl FromStr for Baseline {
    type Err = BadBaseline;

    fn from_str(text: &str) -> Result<Self, BadBaseline> {
        let entries: BTreeMap<String, Entry> =
            serde_yaml::from_str(text).map_err(|error| BadBaseline(error.to_string()))?;
        for (key, entry) in &entries {
            let is_run = how::command_of(key).0 == Command::Run;
            if is_run == matches!(entry, Entry::Groups(_)) {
                let wanted = if is_run {
                    "a list of cases"
                } else {
                    "numbers of groups"
                };
                return Err(BadBaseline(format!("`{key}` should have {wanted}")));
            }
        }
        Ok(Self { entries })
    }
}

impl Baseline {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is no baseline.
    pub fn load(path: &Path) -> Result<Self, BaselineError> {
        let text = std::fs::read_to_string(path).map_err(|source| BaselineError::File {
            path: path.to_owned(),
            what: "read",
            source,
        })?;
        text.parse().map_err(|problem| BaselineError::Syntax {
            path: path.to_owned(),
            problem,
        })
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), BaselineError> {
        let failed = |source| BaselineError::File {
            path: path.to_owned(),
            what: "written",
            source,
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Others may read it, as any file.
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(failed)?;
        std::io::Write::write_all(&mut file, self.text().as_bytes()).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// What the file says.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEADING.to_owned();
        for (key, entry) in &self.entries {
            entry.write(&mut text, key);
        }
        text
    }

    /// Whether a run like this on a target can be held against it.
    #[must_use]
    pub fn knows(&self, how: &How, target: &str) -> bool {
        self.entries.contains_key(&how.key(target)) || self.entries.contains_key(&how.plain_key(target))
    }

    /// The targets that a run like this can be held against.
    #[must_use]
    pub fn targets(&self, how: &How) -> Vec<&str> {
        let mut targets: Vec<&str> = self.entries.keys().filter_map(|key| how.target_of(key)).collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.yaml");
        let mut baseline = Baseline::default();
        baseline.update(&How::plain(Command::Run), "kvm", [("smm/a", Ran::Yes)]);
        let group = RanGroup {
            name: "core".to_owned(),
            members: 9216,
            complete: true,
            unsupported: Vec::new(),
        };
        baseline.update_family(&How::plain(Command::Gates), "kvm", &[group], true);
        baseline.save(&path).unwrap();
        assert_eq!(Baseline::load(&path).unwrap(), baseline);
        for wrong in [
            "- a\n",
            "a: {b: c}\n",
            "\"a",
            "kvm: {core: 3}\n",
            "gates kvm: [smm/a]\n",
            "gates kvm: {core: {members: 3, lost: 2}}\n",
        ] {
            std::fs::write(&path, wrong).unwrap();
            let error = Baseline::load(&path).expect_err(wrong).to_string();
            assert!(error.contains("baseline.yaml: not a baseline"), "{error}");
        }
        let missing = Baseline::load(&folder.path().join("missing")).expect_err("missing");
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
    }

    #[test]
    fn the_targets_of_a_way_of_running_are_told() {
        let text = "kvm: []\nsvm@debian:6.12 --migrate: []\ngates kvm: {core: 3}\n";
        let baseline: Baseline = text.parse().expect("it is one");
        assert_eq!(baseline.targets(&How::plain(Command::Run)), ["kvm"]);
        assert_eq!(baseline.targets(&How::plain(Command::Gates)), ["kvm"]);
        assert!(baseline.targets(&How::plain(Command::Explore)).is_empty());
    }
}
