//! Finding and loading cases and known deviations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::exit::{Failure, Status};
use super::glob;
use crate::case::{self, Case};
use crate::deviation::{self, Deviation};

/// Name of the folder of known deviations in a folder of cases.
pub const DEVIATIONS: &str = "deviations";

/// All cases and deviations.
#[derive(Debug, Default)]
pub struct Suite {
    /// The cases, by name.
    pub cases: Vec<Case>,
    /// The deviations, by file.
    pub deviations: Vec<Deviation>,
}

/// The repository's folder of cases: `cases` beside a Cargo.toml, in `current` or above it.
#[must_use]
pub fn repository_cases(current: &Path) -> Option<PathBuf> {
    let has_cases = |folder: &&Path| folder.join("Cargo.toml").is_file() && folder.join("cases").is_dir();
    Some(current.ancestors().find(has_cases)?.join("cases"))
}

fn folders(further: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let current = std::env::current_dir().map_err(Failure::incomplete)?;
    let repository = repository_cases(&current).into_iter();
    let folders = repository.chain(further.iter().cloned());
    Ok(folders.map(|folder| shortest(&folder, &current)).collect())
}

/// A path as messages show it: relative if it lies below the current folder.
pub(super) fn shortest(path: &Path, current: &Path) -> PathBuf {
    match path.strip_prefix(current) {
        Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
        Ok(below) => below.to_owned(),
        Err(_) => path.to_owned(),
    }
}

impl Suite {
    /// Loads the repository's cases, if there is a repository at or above the current
    /// folder, and the cases of further folders.
    ///
    /// # Errors
    /// Every mistake in every file; or that there is no folder of cases at all.
    pub fn load(further: &[PathBuf]) -> Result<Self, Failure> {
        let folders = folders(further)?;
        if folders.is_empty() {
            return Err(Failure::wrong(
                "no cases here: change to the repository, or name a folder with --cases DIR",
            ));
        }
        Self::load_folders(&folders)
    }

    /// The same, but that there is no folder of cases at all is fine.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn load_if_any(further: &[PathBuf]) -> Result<Self, Failure> {
        Self::load_folders(&folders(further)?)
    }

    /// Loads these folders.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn load_folders(folders: &[PathBuf]) -> Result<Self, Failure> {
        let mut suite = Self::default();
        let mut messages: Vec<String> = Vec::new();
        for folder in folders {
            match case::load_folder(folder) {
                Ok(cases) => suite.cases.extend(cases),
                Err(mistakes) => messages.extend(mistakes.iter().map(ToString::to_string)),
            }
            match deviation::load_folder(&folder.join(DEVIATIONS)) {
                Ok(deviations) => suite.deviations.extend(deviations),
                Err(mistakes) => messages.extend(mistakes.iter().map(ToString::to_string)),
            }
        }
        messages.extend(suite.duplicates());
        if messages.is_empty() {
            suite.cases.sort_by(|one, two| one.name.cmp(&two.name));
            Ok(suite)
        } else {
            Err(Failure {
                status: Status::Wrong,
                messages,
            })
        }
    }

    fn duplicates(&self) -> Vec<String> {
        let mut files: BTreeMap<&str, &Path> = BTreeMap::new();
        let mut messages = Vec::new();
        for case in &self.cases {
            if let Some(first) = files.insert(&case.name, &case.file) {
                messages.push(format!(
                    "{}:1:1: there is a case `{}` already, in {}; rename the file",
                    case.file.display(),
                    case.name,
                    first.display()
                ));
            }
        }
        messages
    }

    /// Loads those of the patterns that are case files, wherever they lie, and gives the
    /// patterns with the names of their cases in their place. A file of the suite itself is not
    /// loaded twice.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn add_files(&mut self, patterns: &[String]) -> Result<Vec<String>, Failure> {
        let mut names = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let path = Path::new(pattern);
            if path.extension().is_none_or(|extension| extension != "yaml") || !path.is_file() {
                names.push(pattern.clone());
                continue;
            }
            let case = Case::load(path).map_err(|mistakes| Failure {
                status: Status::Wrong,
                messages: mistakes.iter().map(ToString::to_string).collect(),
            })?;
            names.push(case.name.clone());
            if self.cases.iter().all(|known| known.name != case.name) {
                self.cases.push(case);
            }
        }
        Ok(names)
    }

    /// Keeps the cases that fit any of the patterns; all of them if there is no pattern.
    ///
    /// # Errors
    /// If a pattern fits no case.
    pub fn select(&mut self, patterns: &[String]) -> Result<(), Failure> {
        for pattern in patterns {
            if !self.cases.iter().any(|case| glob::matches(pattern, &case.name)) {
                return Err(Failure::wrong(format_args!(
                    "no case is called `{pattern}`; `conform list` shows all {}",
                    self.cases.len()
                )));
            }
        }
        if !patterns.is_empty() {
            let wanted = |case: &Case| patterns.iter().any(|pattern| glob::matches(pattern, &case.name));
            self.cases.retain(wanted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_below_the_current_one_are_relative() {
        let shortest = |folder: &str| shortest(Path::new(folder), Path::new("/a/b"));
        assert_eq!(shortest("/a/b/cases"), Path::new("cases"));
        assert_eq!(shortest("/a/b"), Path::new("."));
        assert_eq!(shortest("/a/bc"), Path::new("/a/bc"));
        assert_eq!(shortest("x"), Path::new("x"));
    }
}
