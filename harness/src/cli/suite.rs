//! Finding and loading cases and known deviations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::exit::{Failure, Status};
use super::glob;
use crate::case::{BadFile, Case, CaseFolder, wrong_ending};
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
    /// Case files that cannot be used.
    bad: Vec<BadFile>,
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
    /// folder, and the cases of further folders. Case files with mistakes are left out; whoever
    /// chooses them with [`Self::choose`] is told the mistakes.
    ///
    /// # Errors
    /// Mistakes in deviation files, which are about any case; folders that cannot be read; or
    /// that there is no folder of cases at all.
    pub fn load(further: &[PathBuf]) -> Result<Self, Failure> {
        let folders = folders(further)?;
        if folders.is_empty() {
            return Err(Failure::wrong(
                "no cases here: change to the repository, or name a folder with --cases DIR",
            ));
        }
        Self::read(&folders)
    }

    /// The same, but that there is no folder of cases at all is fine.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_if_any(further: &[PathBuf]) -> Result<Self, Failure> {
        Self::read(&folders(further)?)
    }

    /// Loads these folders, all of whose files must be right.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn load_folders(folders: &[PathBuf]) -> Result<Self, Failure> {
        let (suite, mut messages) = Self::read_all(folders);
        messages.extend(suite.bad.iter().flat_map(messages_of));
        suite.unless(messages)
    }

    fn read(folders: &[PathBuf]) -> Result<Self, Failure> {
        let (suite, messages) = Self::read_all(folders);
        suite.unless(messages)
    }

    /// Everything that can be read, and the mistakes that are not those of one case.
    fn read_all(folders: &[PathBuf]) -> (Self, Vec<String>) {
        let mut suite = Self::default();
        let mut messages: Vec<String> = Vec::new();
        let current = std::env::current_dir().unwrap_or_default();
        let suites = repository_cases(&current).map(|folder| shortest(&folder, &current));
        for folder in folders {
            let is_users_own = suites.as_ref() != Some(folder);
            let read = CaseFolder::read(folder);
            suite.cases.extend(read.cases);
            suite.bad.extend(read.bad);
            messages.extend(read.unreadable.iter().map(ToString::to_string));
            match deviation::load_folder(&folder.join(DEVIATIONS)) {
                Ok(deviations) => {
                    suite
                        .deviations
                        .extend(deviations.into_iter().map(|deviation| Deviation {
                            is_users_own,
                            ..deviation
                        }))
                }
                Err(mistakes) => messages.extend(mistakes.iter().map(ToString::to_string)),
            }
        }
        messages.extend(suite.shared_titles_of_deviations());
        suite.leave_out_duplicates();
        suite.cases.sort_by(|one, two| one.name.cmp(&two.name));
        (suite, messages)
    }

    fn unless(self, messages: Vec<String>) -> Result<Self, Failure> {
        if messages.is_empty() {
            Ok(self)
        } else {
            Err(Failure {
                status: Status::Wrong,
                messages,
            })
        }
    }

    /// Of cases in two folders with the same name or title, the first one counts.
    fn leave_out_duplicates(&mut self) {
        let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut titles: BTreeMap<String, PathBuf> = BTreeMap::new();
        let (cases, bad) = (&mut self.cases, &mut self.bad);
        cases.retain(|case| {
            let first = names.get(&case.name).map(|first| (first, "name", &case.name));
            let first = first.or_else(|| titles.get(&case.title).map(|first| (first, "title", &case.title)));
            if let Some((first, what, shared)) = first {
                bad.push(BadFile::shared(case, &format!("the {what} `{shared}`"), first));
                return false;
            }
            names.insert(case.name.clone(), case.file.clone());
            titles.insert(case.title.clone(), case.file.clone());
            true
        });
    }

    fn shared_titles_of_deviations(&self) -> Vec<String> {
        let mut titles: BTreeMap<&str, &Path> = BTreeMap::new();
        let mut messages = Vec::new();
        for deviation in &self.deviations {
            if let Some(first) = titles.insert(&deviation.title, &deviation.file) {
                messages.push(format!(
                    "{}:1:1: the title `{}` is also that of {}; give each deviation its own",
                    deviation.file.display(),
                    deviation.title,
                    first.display()
                ));
            }
        }
        messages
    }

    /// Keeps the cases that fit any of the patterns, all of them if there is no pattern. A
    /// pattern may be a case file, wherever it lies: then that file is what runs, also in place
    /// of a case of the same name.
    ///
    /// Says on standard error which files with mistakes are left out, and which cases others
    /// take the place of.
    ///
    /// # Errors
    /// The mistakes of the files that are chosen; or that a pattern fits no case.
    pub fn choose(&mut self, patterns: &[String]) -> Result<(), Failure> {
        let mut globs = Vec::new();
        let mut named: Vec<Case> = Vec::new();
        for pattern in patterns {
            let path = Path::new(pattern);
            if !is_case_file(path) {
                globs.push(pattern.clone());
                continue;
            }
            let case = Case::load(path).map_err(|mistakes| Failure {
                status: Status::Wrong,
                messages: mistakes.iter().map(ToString::to_string).collect(),
            })?;
            match named.iter().find(|other| other.name == case.name) {
                Some(other) if same_file(&other.file, &case.file) => {}
                Some(other) => {
                    return Err(Failure::wrong(format_args!(
                        "{} and {} are both the case `{}`, after their folder and name; rename one, or run one at a time",
                        other.file.display(),
                        case.file.display(),
                        case.name
                    )));
                }
                None => named.push(case),
            }
        }
        let everything = patterns.is_empty();
        let is_named = |name: &str| named.iter().any(|case| case.name == name);
        self.bad.retain(|bad| !is_named(&bad.name));
        self.check_chosen(&globs, everything)?;
        let is_wanted = |name: &str| everything || globs.iter().any(|pattern| glob::matches(pattern, name));
        self.cases
            .retain(|case| is_wanted(&case.name) || is_named(&case.name));
        for case in named {
            let same_name = self.cases.iter().position(|known| known.name == case.name);
            let Some(known) = same_name.and_then(|index| self.cases.get_mut(index)) else {
                self.cases.push(case);
                continue;
            };
            if !same_file(&known.file, &case.file) {
                eprintln!(
                    "{}: runs as `{}` in place of {}",
                    case.file.display(),
                    case.name,
                    known.file.display()
                );
            }
            *known = case;
        }
        self.cases.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(())
    }

    /// Fails if files with mistakes are chosen, or if a pattern fits nothing.
    fn check_chosen(&self, globs: &[String], everything: bool) -> Result<(), Failure> {
        let fits = |name: &str| everything || globs.iter().any(|pattern| glob::matches(pattern, name));
        let (chosen, others): (Vec<&BadFile>, Vec<&BadFile>) =
            self.bad.iter().partition(|bad| fits(&bad.name));
        if !chosen.is_empty() {
            return Err(Failure {
                status: Status::Wrong,
                messages: chosen.into_iter().flat_map(messages_of).collect(),
            });
        }
        for pattern in globs {
            if !self.cases.iter().any(|case| glob::matches(pattern, &case.name)) {
                return Err(Failure::wrong(format_args!(
                    "no case is called `{pattern}`; `conform list` shows all {}",
                    self.cases.len()
                )));
            }
        }
        warn(others);
        Ok(())
    }

    /// Says on standard error which files are left out because of their mistakes.
    pub fn warn_of_bad_files(&self) {
        warn(&self.bad);
    }
}

fn warn<'b>(bad: impl IntoIterator<Item = &'b BadFile>) {
    for file in bad {
        let count = file.mistakes.len();
        let plural = if count == 1 { "" } else { "s" };
        let path = file.file.display();
        eprintln!("{path}: left out, it has {count} mistake{plural}; `conform check {path}` shows them");
    }
}

fn messages_of(bad: &BadFile) -> impl Iterator<Item = String> {
    bad.mistakes.iter().map(ToString::to_string)
}

/// Whether a pattern is the path of a case file, or of one that is meant to be.
fn is_case_file(path: &Path) -> bool {
    let is_yaml = path.extension().is_some_and(|ending| ending == "yaml") || wrong_ending(path).is_some();
    is_yaml && path.is_file()
}

fn same_file(one: &Path, two: &Path) -> bool {
    match (one.canonicalize(), two.canonicalize()) {
        (Ok(one), Ok(two)) => one == two,
        _ => one == two,
    }
}

#[cfg(test)]
mod tests;
