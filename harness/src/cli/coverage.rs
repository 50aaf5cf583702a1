//! Options of a run about what must not be unsupported: baselines and globs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::args::RunArguments;
use super::exit::{Failure, Status};
use super::glob;
use super::suite::{Suite, repository_cases};
use crate::baseline::{Baseline, BaselineError, Ran, key};
use crate::judge::VerdictKind;
use crate::report::summary::{CaseVerdict, TargetSummary};
use crate::target::Mode;

/// The repository's baseline, beside its folder of cases.
pub const REPOSITORY_BASELINE: &str = "golden/baseline.yaml";
/// Cases of a kind that are named one by one.
const NAMED: usize = 10;

/// What a run is held against.
pub(super) struct Coverage {
    baseline: Option<(PathBuf, Baseline)>,
    /// The user gave the baseline, and did not name targets: then it has to say something about each
    /// target, and each target that it knows has to be there.
    given: bool,
    /// The user named targets.
    named: bool,
    /// The names of all cases that there are; none if only some of them were chosen.
    there: Option<BTreeSet<String>>,
    write: Option<(PathBuf, Baseline)>,
    globs: Vec<String>,
}

impl From<BaselineError> for Failure {
    fn from(error: BaselineError) -> Self {
        Self::wrong(error)
    }
}

impl Coverage {
    /// Reads the files, so that a wrong one ends the command before anything runs.
    ///
    /// # Errors
    /// If one cannot be read, or a glob fits no case.
    pub(super) fn new(arguments: &RunArguments, suite: &Suite) -> Result<Self, Failure> {
        for pattern in &arguments.fail_on_unsupported {
            if !suite.cases.iter().any(|case| glob::matches(pattern, &case.name)) {
                return Err(Failure::wrong(format_args!(
                    "--fail-on-unsupported {pattern}: none of the chosen cases is called so"
                )));
            }
        }
        let baseline = match &arguments.baseline {
            Some(path) => Some((path.clone(), Baseline::load(path)?)),
            None => repository_baseline()?,
        };
        let write = match &arguments.write_baseline {
            None => None,
            Some(path) if path.exists() => Some((path.clone(), Baseline::load(path)?)),
            Some(path) => Some((path.clone(), Baseline::default())),
        };
        let names = || suite.cases.iter().map(|case| case.name.clone()).collect();
        Ok(Self {
            baseline,
            given: arguments.baseline.is_some(),
            named: !arguments.targets.is_empty(),
            there: arguments.globs.is_empty().then(names),
            write,
            globs: arguments.fail_on_unsupported.clone(),
        })
    }

    /// Says what is unsupported and must not be, and what the baseline does not have.
    pub(super) fn tell(&self, out: &mut String, summaries: &[TargetSummary], mode: Mode) -> Status {
        let mut status = self.tell_what_is_missing(out, summaries, mode);
        for summary in summaries {
            status = status.max_with(self.tell_change(out, summary, mode));
            let unwanted = cases(summary).filter_map(|(case, ran)| match ran {
                Ran::Unsupported(reason) if self.globs.iter().any(|glob| glob::matches(glob, case)) => {
                    Some((case.to_owned(), reason))
                }
                _ => None,
            });
            let unwanted: Vec<(String, String)> = unwanted.collect();
            if !unwanted.is_empty() {
                list(
                    out,
                    &summary.target,
                    "unsupported, against --fail-on-unsupported",
                    &unwanted,
                );
                status = status.max_with(Status::Deviates);
            }
        }
        status
    }

    /// Targets that the baseline does not know, and those that it knows and the run was not on.
    fn tell_what_is_missing(&self, out: &mut String, summaries: &[TargetSummary], mode: Mode) -> Status {
        let Some((path, baseline)) = self.baseline.as_ref().filter(|_| self.given) else {
            return Status::Conforms;
        };
        let ran: Vec<String> = summaries.iter().map(|summary| target(summary, mode)).collect();
        let model = |name: &String| name.split(' ').next() == Some("model");
        let unknown = ran.iter().filter(|name| !model(name) && !baseline.knows(name));
        let mut status = Status::Conforms;
        for name in unknown {
            // Writing to a string does not fail.
            let _ = writeln!(out, "\n{} says nothing about `{name}`", path.display());
            status = Status::Incomplete;
        }
        let absent = baseline
            .targets()
            .filter(|name| !ran.iter().any(|ran| ran == name));
        for name in absent.filter(|name| !self.named && is_in_mode(name, mode)) {
            let _ = writeln!(
                out,
                "\n`{name}`, on which cases ran by {}, is not there",
                path.display()
            );
            status = Status::Incomplete;
        }
        status
    }

    fn tell_change(&self, out: &mut String, summary: &TargetSummary, mode: Mode) -> Status {
        let Some((path, baseline)) = &self.baseline else {
            return Status::Conforms;
        };
        let key = target(summary, mode);
        let mut change = baseline.change(&key, cases(summary));
        if let Some(there) = &self.there {
            let gone = baseline.cases(&key).filter(|case| !there.contains(*case));
            let reason = "there is no such case any more; --write-baseline forgets it";
            change
                .lost
                .extend(gone.map(|case| (case.to_owned(), reason.to_owned())));
        }
        if !change.new.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "\n{}: {} {} that {} does not have: `--write-baseline {}` adds what runs",
                summary.target,
                change.new.len(),
                if change.new.len() == 1 {
                    "case runs"
                } else {
                    "cases run"
                },
                path.display(),
                path.display(),
            );
        }
        if change.lost.is_empty() {
            return Status::Conforms;
        }
        let what = format!("LOST: unsupported now, and ran by {}", path.display());
        list(out, &summary.target, &what, &change.lost);
        Status::Deviates
    }

    /// Writes the new baseline, if one is wanted.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(self, suite: &Suite, summaries: &[TargetSummary], mode: Mode) -> Result<(), Failure> {
        let Some((path, mut baseline)) = self.write else {
            return Ok(());
        };
        for summary in summaries.iter().filter(|summary| summary.is_judged_hypervisor()) {
            baseline.update(&target(summary, mode), cases(summary));
        }
        let all = Suite::load_if_any(&[]).unwrap_or_default();
        let exists = |name: &str| {
            let mut cases = all.cases.iter().chain(&suite.cases);
            cases.any(|case| case.name == name)
        };
        baseline.keep_only(exists);
        Ok(baseline.save(&path)?)
    }
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

/// What the baseline calls a target in a mode.
fn target(summary: &TargetSummary, mode: Mode) -> String {
    match mode {
        Mode::Normal => key(&summary.target, ""),
        mode => key(&summary.target, &format!("--{}", mode.name())),
    }
}

/// Whether the baseline means runs of that mode by this name of a target.
fn is_in_mode(name: &str, mode: Mode) -> bool {
    match mode {
        Mode::Normal => !name.contains(" --"),
        mode => name.ends_with(&format!(" --{}", mode.name())),
    }
}

/// Whether each case ran.
fn cases(summary: &TargetSummary) -> impl Iterator<Item = (&str, Ran)> {
    summary
        .verdicts
        .iter()
        .map(|(case, verdict)| (case.as_str(), ran(verdict)))
}

fn ran(verdict: &CaseVerdict) -> Ran {
    match (verdict.kind, &verdict.unsupported) {
        (VerdictKind::Unsupported, reason) => Ran::Unsupported(reason.clone().unwrap_or_default()),
        (VerdictKind::Broken, _) => Ran::Unknown,
        _ => Ran::Yes,
    }
}

fn list(out: &mut String, target: &str, what: &str, cases: &[(String, String)]) {
    let count = cases.len();
    let noun = if count == 1 { "case" } else { "cases" };
    // Writing to a string does not fail.
    let _ = writeln!(out, "\n{target}: {count} {noun} {what}:");
    for (case, reason) in cases.iter().take(NAMED) {
        let _ = writeln!(out, "  {case}: {reason}");
    }
    if count > NAMED {
        let _ = writeln!(out, "  and {} more", count - NAMED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verdict;
    use crate::target::Lack;

    fn summary() -> TargetSummary {
        let mut summary = TargetSummary {
            target: "kvm".to_owned(),
            cases: 3,
            ..TargetSummary::default()
        };
        summary.count(
            "smm/a",
            &Verdict::Unsupported(Lack::Capability {
                text: "KVM_CAP_X86_SMM is 0".to_owned(),
            }),
        );
        summary.count("smm/b", &Verdict::Broken("it hangs".to_owned()));
        summary.count("nmi/c", &Verdict::Conforms);
        summary
    }

    fn told(baseline: &[&str], globs: &[&str], mode: Mode) -> (Status, String) {
        let mut known = Baseline::default();
        known.update("kvm", baseline.iter().map(|case| (*case, Ran::Yes)));
        let coverage = Coverage {
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given: false,
            named: true,
            there: None,
            write: None,
            globs: globs.iter().map(ToString::to_string).collect(),
        };
        let mut out = String::new();
        let status = coverage.tell(&mut out, &[summary()], mode);
        (status, out)
    }

    #[test]
    fn a_case_that_ran_and_is_unsupported_now_fails_the_run() {
        let (status, text) = told(&["smm/a", "smm/b", "nmi/c"], &[], Mode::Normal);
        assert_eq!(status, Status::Deviates);
        let expected =
            "\nkvm: 1 case LOST: unsupported now, and ran by mine.yaml:\n  smm/a: KVM_CAP_X86_SMM is 0\n";
        assert_eq!(text, expected);
        // A run in another mode is no run that the baseline knows.
        assert_eq!(told(&["smm/a"], &[], Mode::Migrate).0, Status::Conforms);
    }

    #[test]
    fn a_case_that_newly_runs_asks_for_an_update() {
        let (status, text) = told(&["smm/b"], &[], Mode::Normal);
        assert_eq!(status, Status::Conforms);
        assert!(
            text.contains("kvm: 1 case runs that mine.yaml does not have"),
            "{text}"
        );
    }

    #[test]
    fn what_the_baseline_or_the_run_does_not_have_is_told() {
        let mut known = Baseline::default();
        known.update("svm@debian:6.1", [("smm/a", Ran::Yes)]);
        known.update("kvm --migrate", [("smm/a", Ran::Yes)]);
        let mut coverage = Coverage {
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given: true,
            named: false,
            there: None,
            write: None,
            globs: Vec::new(),
        };
        let mut out = String::new();
        assert_eq!(
            coverage.tell(&mut out, &[summary()], Mode::Normal),
            Status::Incomplete
        );
        assert!(out.contains("mine.yaml says nothing about `kvm`"), "{out}");
        assert!(
            out.contains("`svm@debian:6.1`, on which cases ran by mine.yaml, is not there"),
            "{out}"
        );
        assert!(!out.contains("--migrate"), "{out}");
        coverage.given = false;
        assert_eq!(
            coverage.tell(&mut out, &[summary()], Mode::Normal),
            Status::Conforms
        );
    }

    #[test]
    fn a_case_that_is_gone_is_lost() {
        let mut known = Baseline::default();
        known.update("kvm", [("smm/gone", Ran::Yes), ("nmi/c", Ran::Yes)]);
        let coverage = Coverage {
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given: false,
            named: true,
            there: Some(["smm/a", "smm/b", "nmi/c"].map(str::to_owned).into()),
            write: None,
            globs: Vec::new(),
        };
        let mut out = String::new();
        assert_eq!(
            coverage.tell(&mut out, &[summary()], Mode::Normal),
            Status::Deviates
        );
        assert!(out.contains("smm/gone: there is no such case any more"), "{out}");
    }

    #[test]
    fn a_glob_is_the_short_form() {
        for (glob, status) in [
            ("smm/*", Status::Deviates),
            ("nmi", Status::Conforms),
            ("smm/b", Status::Conforms),
        ] {
            assert_eq!(told(&[], &[glob], Mode::Normal).0, status, "{glob}");
        }
    }
}
