//! Baselines: which cases ran on which target, so that coverage cannot get lost unseen.
//!
//! A case that has a verdict about its target (conforms, deviates, known deviation, unexpectedly
//! conforms) *ran*. A kernel that loses a capability turns such cases into unsupported ones, and
//! nothing else of a run would show it.
//!
//! The file is a YAML mapping from targets to sorted lists of cases, one case a line, so that a
//! diff of it can be read:
//!
//! ```yaml
//! "svm@debian:6.12":
//!   - smm/auto-halt-restart
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Which cases ran, by target. A target in a mode other than the normal one is a target of its own
/// here; see [`key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    targets: BTreeMap<String, BTreeSet<String>>,
}

/// Whether a case ran on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It has a verdict about the target.
    Yes,
    /// The target lacks something; the reason says what.
    Unsupported(String),
    /// Nobody knows: it is broken, or the run did not get to it.
    Unknown,
}

/// How a run differs from a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Cases that ran and are unsupported now, with the reason.
    pub lost: Vec<(String, String)>,
    /// Cases that run now and that the baseline does not have.
    pub new: Vec<String>,
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
        "{}: not a baseline (a mapping from targets to lists of cases): {problem}; \
         `conform run --write-baseline FILE` makes one", path.display()
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a baseline calls a target: its name on the command line, with the options of the run that
/// change what it can run.
#[must_use]
pub fn key(target: &str, options: &str) -> String {
    match options {
        "" => target.to_owned(),
        options => format!("{target} {options}"),
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
        let targets = serde_yaml::from_str(&text).map_err(|error| BaselineError::Syntax {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self { targets })
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
        let mut text = String::from(
            "# Which cases ran on which target; made by `conform run --write-baseline FILE`, held against a\n\
             # run by `--baseline FILE`. A case that ran and is unsupported now fails the run.\n",
        );
        for (target, cases) in &self.targets {
            // Writing to a string does not fail.
            let _ = writeln!(text, "\"{target}\":{}", if cases.is_empty() { " []" } else { "" });
            for case in cases {
                let _ = writeln!(text, "  - {case}");
            }
        }
        text
    }

    /// Whether it says anything about a target.
    #[must_use]
    pub fn knows(&self, target: &str) -> bool {
        self.targets.contains_key(target)
    }

    /// The targets that it says something about.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// The cases that ran on a target.
    pub fn cases(&self, target: &str) -> impl Iterator<Item = &str> {
        self.targets.get(target).into_iter().flatten().map(String::as_str)
    }

    /// Whether a case ran on a target.
    #[must_use]
    pub fn ran(&self, target: &str, case: &str) -> bool {
        self.targets.get(target).is_some_and(|cases| cases.contains(case))
    }

    /// Holds a run against it. Nothing is lost or new on a target that it does not know.
    #[must_use]
    pub fn change<'a>(&self, target: &str, cases: impl IntoIterator<Item = (&'a str, Ran)>) -> Change {
        let mut change = Change::default();
        let Some(before) = self.targets.get(target) else {
            return change;
        };
        for (case, ran) in cases {
            match (before.contains(case), ran) {
                (true, Ran::Unsupported(reason)) => change.lost.push((case.to_owned(), reason)),
                (false, Ran::Yes) => change.new.push(case.to_owned()),
                _ => {}
            }
        }
        change
    }

    /// Takes over what ran. Cases that the run was not about, and those of which nobody knows, stay
    /// as they were.
    pub fn update<'a>(&mut self, target: &str, cases: impl IntoIterator<Item = (&'a str, Ran)>) {
        let known = self.targets.entry(target.to_owned()).or_default();
        for (case, ran) in cases {
            match ran {
                Ran::Yes => {
                    known.insert(case.to_owned());
                }
                Ran::Unsupported(_) => {
                    known.remove(case);
                }
                Ran::Unknown => {}
            }
        }
    }

    /// Drops cases that there are no more.
    pub fn keep_only(&mut self, exists: impl Fn(&str) -> bool) {
        for cases in self.targets.values_mut() {
            cases.retain(|case| exists(case));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsupported() -> Ran {
        Ran::Unsupported("KVM_CAP_X86_SMM is 0".to_owned())
    }

    fn some() -> Baseline {
        let mut baseline = Baseline::default();
        baseline.update("svm@debian:6.12", [("smm/a", Ran::Yes), ("smm/b", Ran::Yes)]);
        baseline.update("kvm --migrate", [("smm/a", unsupported())]);
        baseline
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.yaml");
        some().save(&path).unwrap();
        assert_eq!(Baseline::load(&path).unwrap(), some());
        for wrong in ["- a\n", "a: {b: c}\n", "\"a"] {
            std::fs::write(&path, wrong).unwrap();
            let error = Baseline::load(&path).expect_err(wrong).to_string();
            assert!(error.contains("baseline.yaml: not a baseline"), "{error}");
        }
        let missing = Baseline::load(&folder.path().join("missing")).expect_err("missing");
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
    }

    #[test]
    fn what_ran_and_is_unsupported_now_is_lost() {
        let now = [("smm/a", unsupported()), ("smm/b", Ran::Yes), ("smm/c", Ran::Yes)];
        let change = some().change("svm@debian:6.12", now.clone());
        assert_eq!(
            change.lost,
            [("smm/a".to_owned(), "KVM_CAP_X86_SMM is 0".to_owned())]
        );
        assert_eq!(change.new, ["smm/c"]);
        // What nobody knows is the business of the verdicts, which make the run incomplete.
        let change = some().change("svm@debian:6.12", [("smm/a", Ran::Unknown)]);
        assert_eq!(change, Change::default());
        assert_eq!(some().change("svm@debian:5.10", now), Change::default());
    }

    #[test]
    fn an_update_leaves_what_the_run_was_not_about() {
        let mut baseline = some();
        baseline.update("svm@debian:6.12", [("smm/a", unsupported()), ("smm/c", Ran::Yes)]);
        assert!(!baseline.ran("svm@debian:6.12", "smm/a"));
        assert!(baseline.ran("svm@debian:6.12", "smm/b"));
        baseline.update("svm@debian:6.12", [("smm/b", Ran::Unknown)]);
        assert!(baseline.ran("svm@debian:6.12", "smm/b"));
        baseline.keep_only(|case| case != "smm/b");
        assert!(!baseline.ran("svm@debian:6.12", "smm/b"));
        assert!(baseline.knows("kvm --migrate"));
    }
}
