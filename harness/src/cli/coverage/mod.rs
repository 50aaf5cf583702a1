//! Options of a command about what must not be unsupported: baselines and globs.
//!
//! * [`cases`]: of `conform run`;
//! * [`members`]: of `conform sequences`, `gates` and `explore`.

mod cases;
mod members;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::args::CoverageArguments;
use super::default_set::DefaultSet;
use super::exit::{Failure, Status};
use super::glob;
use super::suite::repository_cases;
use super::target_name::TargetName;
use crate::baseline::{Baseline, BaselineError, Dropped, How};
use crate::provision::Cache;

pub(super) use members::RanTarget;

/// The repository's baseline, beside its folder of cases.
pub const REPOSITORY_BASELINE: &str = "golden/baseline.yaml";
/// Members of a list that are named one by one.
const NAMED: usize = 10;
/// The same where a file forgets them.
const NAMED_DROPPED: usize = 200;

/// What a run is held against.
pub(super) struct Coverage {
    how: How,
    baseline: Option<(PathBuf, Baseline)>,
    /// The user gave the baseline: then it has to say something about each target, and if he did not name targets,
    /// each target that it has has to be there.
    given: bool,
    /// The targets are those of the baseline.
    only: bool,
    /// The user named targets.
    named: bool,
    write: Option<(PathBuf, Baseline)>,
    /// What does not run any more may be forgotten.
    drop: bool,
    globs: Vec<String>,
}

impl From<BaselineError> for Failure {
    fn from(error: BaselineError) -> Self {
        Self::wrong(error)
    }
}

impl Coverage {
    /// Reads the files, so that a wrong one ends the command before anything runs. `named` says that the
    /// user named targets.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn new(arguments: &CoverageArguments, how: How, named: bool) -> Result<Self, Failure> {
        let baseline = match &arguments.baseline {
            Some(path) => Some((path.clone(), Baseline::load(path)?)),
            None => repository_baseline()?,
        };
        let write = match &arguments.write_baseline {
            None => None,
            Some(path) if path.exists() => Some((path.clone(), Baseline::load(path)?)),
            Some(path) => Some((path.clone(), Baseline::default())),
        };
        Ok(Self {
            how,
            baseline,
            given: arguments.baseline.is_some(),
            only: arguments.baseline_targets,
            named,
            write,
            drop: arguments.drop,
            globs: arguments.fail_on_unsupported.clone(),
        })
    }

    /// Refuses a glob that none of the chosen names fits; `any` says whether one does that is told.
    ///
    /// # Errors
    /// If there is such a glob.
    pub(super) fn check_globs(&self, any: impl Fn(&dyn Fn(&str) -> bool) -> bool) -> Result<(), Failure> {
        let fits_none = |pattern: &&String| !any(&|name| glob::matches(pattern, name));
        match self.globs.iter().find(fits_none) {
            None => Ok(()),
            Some(pattern) => Err(Failure::wrong(format_args!(
                "--fail-on-unsupported {pattern}: nothing that was chosen is called so"
            ))),
        }
    }

    /// What to run on where no target is named: all that is there, or the targets of the baseline.
    ///
    /// # Errors
    /// If the cache cannot be looked into, or there is no baseline, or it has a target that is none.
    pub(super) fn set(&self, cache: &Cache) -> Result<DefaultSet, Failure> {
        if !self.only {
            return Ok(DefaultSet::of(cache)?);
        }
        let Some((path, baseline)) = &self.baseline else {
            return Err(Failure::wrong(
                "--baseline-targets: there is no baseline here; give one with --baseline FILE",
            ));
        };
        let parse = |name: &str| {
            name.parse()
                .map_err(|error| Failure::wrong(format_args!("{}: {error}", path.display())))
        };
        let targets: Vec<TargetName> = baseline
            .targets(&self.how)
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()?;
        if targets.is_empty() {
            return Err(Failure::wrong(format_args!(
                "{}: it has no target for this command",
                path.display()
            )));
        }
        Ok(DefaultSet {
            targets,
            ..DefaultSet::default()
        })
    }

    /// Names the targets of the baseline that the run was not on, although it took all that is there. If the user gave
    /// the baseline, they are missing. `can_run` says whether a target can run any of what was chosen.
    pub(super) fn tell_absent(
        &self,
        out: &mut String,
        ran: &[&str],
        can_run: impl Fn(&TargetName) -> bool,
    ) -> Status {
        let Some((path, baseline)) = self.baseline.as_ref().filter(|_| !self.only && !self.named) else {
            return Status::Conforms;
        };
        let mut known = baseline.targets(&self.how);
        known.retain(|name| name.parse().map_or(true, |name| can_run(&name)));
        let absent: Vec<&str> = known.iter().filter(|name| !ran.contains(name)).copied().collect();
        if absent.is_empty() {
            return Status::Conforms;
        }
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "\n{} has {} targets for this, and {} of them {} not run on here: {}; `--baseline-targets` runs on \
             those that it has",
            path.display(),
            known.len(),
            absent.len(),
            if absent.len() == 1 { "was" } else { "were" },
            absent.join(", "),
        );
        if self.given {
            Status::Incomplete
        } else {
            Status::Conforms
        }
    }

    /// Targets about which a baseline that was given says nothing.
    fn tell_unknown(&self, out: &mut String, target: &str) -> Status {
        match self.baseline.as_ref().filter(|_| self.given) {
            Some((path, baseline)) if target != "model" && !baseline.knows(&self.how, target) => {
                // Writing to a string does not fail.
                let _ = writeln!(
                    out,
                    "\n{} says nothing about `{}`",
                    path.display(),
                    self.how.key(target)
                );
                Status::Incomplete
            }
            _ => Status::Conforms,
        }
    }

    /// Tells what is unsupported against a glob.
    fn tell_unwanted(
        &self,
        out: &mut String,
        target: &str,
        noun: Noun,
        unwanted: &[(String, String)],
    ) -> Status {
        if unwanted.is_empty() {
            return Status::Conforms;
        }
        list(
            out,
            target,
            noun,
            "unsupported, against --fail-on-unsupported",
            unwanted,
        );
        Status::Deviates
    }

    /// Tells what ran and does not any more.
    fn tell_lost(
        &self,
        out: &mut String,
        path: &Path,
        target: &str,
        noun: Noun,
        lost: &[(String, String)],
    ) -> Status {
        if lost.is_empty() {
            return Status::Conforms;
        }
        let what = format!("LOST: unsupported now, and ran by {}", path.display());
        list(out, target, noun, &what, lost);
        Status::Deviates
    }
}

/// Writes a new baseline, unless it forgets something that it must not. Gives back what to say.
fn write(
    path: &Path,
    baseline: &Baseline,
    dropped: &[Dropped],
    may_drop: bool,
) -> Result<(String, Status), Failure> {
    let mut out = String::new();
    let count = dropped.len();
    // Writing to a string does not fail.
    let _ = match (count, may_drop) {
        (0, _) => Ok(()),
        (_, true) => writeln!(
            out,
            "\n{}: {count} dropped, which ran and do not now:",
            path.display()
        ),
        (_, false) => writeln!(
            out,
            "\n{}: NOT WRITTEN, since it would drop {count}, which ran and do not now; with --drop it does:",
            path.display()
        ),
    };
    for Dropped { entry, name, reason } in dropped.iter().take(NAMED_DROPPED) {
        let _ = writeln!(out, "  {entry}: {name}: {reason}");
    }
    if count > NAMED_DROPPED {
        let _ = writeln!(out, "  and {} more", count - NAMED_DROPPED);
    }
    if count > 0 && !may_drop {
        return Ok((out, Status::Deviates));
    }
    baseline.save(path)?;
    Ok((out, Status::Conforms))
}

/// The repository's own, for the targets that its CI has; none outside of it.
fn repository_baseline() -> Result<Option<(PathBuf, Baseline)>, Failure> {
    let current = std::env::current_dir().map_err(Failure::incomplete)?;
    let root = repository_cases(&current).and_then(|cases| cases.parent().map(PathBuf::from));
    let Some(path) = root.map(|root| root.join(REPOSITORY_BASELINE)) else {
        return Ok(None);
    };
    if !path.exists() {
        return Ok(None);
    }
    let baseline = Baseline::load(&path)?;
    Ok(Some((super::suite::shortest(&path, &current), baseline)))
}

/// What is counted, one and several.
type Noun = (&'static str, &'static str);

/// `1 case`, `2 cases`.
fn counted(count: usize, (one, more): Noun) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn list(out: &mut String, target: &str, noun: Noun, what: &str, names: &[(String, String)]) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "\n{target}: {} {what}:", counted(names.len(), noun));
    for (name, reason) in names.iter().take(NAMED) {
        let _ = writeln!(out, "  {name}: {reason}");
    }
    if names.len() > NAMED {
        let _ = writeln!(out, "  and {} more", names.len() - NAMED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::{Command, Ran};

    /// A run of all that is there, held against a baseline that has a target more.
    pub(super) fn coverage(given: bool, named: bool) -> Coverage {
        let how = How::plain(Command::Run);
        let mut known = Baseline::default();
        known.update(&how, "kvm", [("smm/a", Ran::Yes)]);
        known.update(&how, "svm@debian:6.1", [("smm/a", Ran::Yes)]);
        Coverage {
            how,
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given,
            only: false,
            named,
            write: None,
            drop: false,
            globs: Vec::new(),
        }
    }

    #[test]
    fn a_target_that_is_gone_is_named() {
        let told = |given, named, can_run: bool| {
            let mut out = String::new();
            let status = coverage(given, named).tell_absent(&mut out, &["model", "kvm"], |_| can_run);
            (status, out)
        };
        for (given, status) in [(false, Status::Conforms), (true, Status::Incomplete)] {
            let (told, text) = told(given, false, true);
            assert_eq!(told, status);
            assert!(
                text.contains(
                    "mine.yaml has 2 targets for this, and 1 of them was not run on here: svm@debian:6.1;"
                ),
                "{text}"
            );
        }
        // One that could run nothing of it, or was not wanted, is not missing.
        assert_eq!(told(true, false, false), (Status::Conforms, String::new()));
        assert_eq!(told(true, true, true), (Status::Conforms, String::new()));
    }

    #[test]
    fn a_run_can_be_on_the_targets_of_the_baseline() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(Some(folder.path().to_owned())).expect("it can be");
        let mut coverage = coverage(false, false);
        coverage.only = true;
        let set = coverage.set(&cache).expect("they are targets");
        let names: Vec<String> = set.targets.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["kvm", "svm@debian:6.1"]);
        coverage.how = How::plain(Command::Gates);
        let failure = coverage.set(&cache).expect_err("it has none for that");
        assert_eq!(failure.status, Status::Wrong);
    }

    #[test]
    fn a_target_that_a_given_baseline_does_not_have_is_named() {
        let told = |given, target| {
            let mut out = String::new();
            let status = coverage(given, true).tell_unknown(&mut out, target);
            (status, out)
        };
        let (status, text) = told(true, "svm@debian:7.2");
        assert_eq!(status, Status::Incomplete);
        assert!(
            text.contains("mine.yaml says nothing about `svm@debian:7.2`"),
            "{text}"
        );
        for (given, target) in [(true, "model"), (true, "kvm"), (false, "svm@debian:7.2")] {
            assert_eq!(told(given, target), (Status::Conforms, String::new()));
        }
    }

    #[test]
    fn a_file_forgets_nothing_unless_it_is_told_to() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("baseline.yaml");
        let how = How::plain(Command::Run);
        let mut baseline = Baseline::default();
        baseline.update(&how, "kvm", [("smm/a", Ran::Yes)]);
        let written = write(&path, &baseline, &[], false).expect("it can be written");
        assert_eq!(written, (String::new(), Status::Conforms));
        let dropped = baseline.update(&how, "kvm", [("smm/a", Ran::Unsupported("no SMM".to_owned()))]);
        let (text, status) = write(&path, &baseline, &dropped, false).expect("it is not written");
        assert_eq!(status, Status::Deviates);
        assert!(text.contains("NOT WRITTEN"), "{text}");
        assert!(text.contains("  kvm: smm/a: no SMM\n"), "{text}");
        assert_ne!(Baseline::load(&path).expect("it is there"), baseline);
        let (text, status) = write(&path, &baseline, &dropped, true).expect("it can be written");
        assert_eq!(status, Status::Conforms);
        assert!(text.contains("1 dropped"), "{text}");
        assert_eq!(Baseline::load(&path).expect("it is there"), baseline);
    }

    #[test]
    fn a_glob_that_fits_nothing_is_refused() {
        let mut coverage = coverage(false, false);
        coverage.globs = vec!["smm/*".to_owned()];
        let has = |name: &'static str| move |fits: &dyn Fn(&str) -> bool| fits(name);
        assert!(coverage.check_globs(has("smm/a")).is_ok());
        let failure = coverage.check_globs(has("nmi/a")).expect_err("it fits nothing");
        assert_eq!(failure.status, Status::Wrong);
    }
}
