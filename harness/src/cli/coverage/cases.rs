//! What of the cases of `conform run` must not be unsupported.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Coverage, Noun, counted};
use crate::baseline::{GONE, Ran};
use crate::cli::exit::{Failure, Status};
use crate::cli::glob;
use crate::cli::suite::Suite;
use crate::judge::VerdictKind;
use crate::report::summary::{CaseVerdict, TargetSummary};
use crate::target::Lack;

const CASES: Noun = ("case", "cases");

impl Coverage {
    /// Says what is unsupported and must not be, and what the baseline does not have. `there` has the names of
    /// all cases that there are, if all were chosen.
    pub(in crate::cli) fn tell(
        &self,
        out: &mut String,
        summaries: &[TargetSummary],
        there: &BTreeSet<&str>,
        wanted: &[String],
    ) -> Status {
        let mut status = Status::Conforms;
        for summary in summaries {
            let target = &summary.target;
            status = status.max_with(self.tell_unknown(out, target));
            status = status.max_with(self.tell_change(out, summary, there, wanted));
            let is_named = |case: &str| self.globs.iter().any(|glob| glob::matches(glob, case));
            let unwanted = summary.verdicts.iter().filter_map(|(case, verdict)| {
                let lack = verdict.unsupported.as_ref().filter(|_| is_named(case))?;
                Some((case.clone(), lack.to_string()))
            });
            let unwanted: Vec<(String, String)> = unwanted.collect();
            status = status.max_with(self.tell_unwanted(out, target, CASES, &unwanted));
        }
        status
    }

    fn tell_change(
        &self,
        out: &mut String,
        summary: &TargetSummary,
        there: &BTreeSet<&str>,
        wanted: &[String],
    ) -> Status {
        let Some((path, baseline)) = &self.baseline else {
            return Status::Conforms;
        };
        let target = &summary.target;
        let mut change = baseline.change(&self.how, target, cases(summary));
        let is_wanted = |case: &str| wanted.is_empty() || wanted.iter().any(|glob| glob::matches(glob, case));
        let known = baseline.cases(&self.how, target).into_iter();
        let gone = known.filter(|case| is_wanted(case) && !there.contains(case));
        let reason = format!("{GONE}; --write-baseline with --drop forgets it");
        change
            .lost
            .extend(gone.map(|case| (case.to_owned(), reason.clone())));
        if !change.new.is_empty() {
            let count = change.new.len();
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "\n{target}: {} {} that {path} does not have: `--write-baseline {path}` adds what runs",
                counted(count, CASES),
                if count == 1 { "runs" } else { "run" },
                path = path.display(),
            );
        }
        self.tell_lost(out, path, target, CASES, &change.lost)
    }

    /// Writes the new baseline, if one is wanted, and gives back what to say about it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(in crate::cli) fn write(
        self,
        suite: &Suite,
        summaries: &[TargetSummary],
    ) -> Result<(String, Status), Failure> {
        let Some((path, mut baseline)) = self.write else {
            return Ok((String::new(), Status::Conforms));
        };
        let mut dropped = Vec::new();
        for summary in summaries.iter().filter(|summary| summary.is_judged_hypervisor()) {
            dropped.extend(baseline.update(&self.how, &summary.target, cases(summary)));
        }
        let all = Suite::load_if_any(&[]).unwrap_or_default();
        let exists = |name: &str| {
            let mut cases = all.cases.iter().chain(&suite.cases);
            cases.any(|case| case.name == name)
        };
        dropped.extend(baseline.keep_only(exists));
        super::write(&path, &baseline, &dropped, self.drop)
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
        // No target can lose what it could never run in this mode.
        (_, Some(Lack::Mode { .. })) | (VerdictKind::Broken, _) => Ran::Unknown,
        (_, Some(lack)) => Ran::Unsupported(lack.to_string()),
        _ => Ran::Yes,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::baseline::{Baseline, Command, How};
    use crate::judge::Verdict;
    use crate::target::{Mode, RunOptions};

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

    fn plain() -> How {
        How::plain(Command::Run)
    }

    fn coverage(baseline: &[&str], globs: &[&str], how: How) -> Coverage {
        let mut known = Baseline::default();
        known.update(&plain(), "kvm", baseline.iter().map(|case| (*case, Ran::Yes)));
        Coverage {
            how,
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given: false,
            only: false,
            named: true,
            write: None,
            drop: false,
            globs: globs.iter().map(ToString::to_string).collect(),
        }
    }

    fn all() -> BTreeSet<&'static str> {
        ["smm/a", "smm/b", "nmi/c", "stage2/d"].into()
    }

    fn told(baseline: &[&str], globs: &[&str], how: How) -> (Status, String) {
        let mut out = String::new();
        let status = coverage(baseline, globs, how).tell(&mut out, &[summary()], &all(), &[]);
        (status, out)
    }

    #[test]
    fn a_case_that_ran_and_is_unsupported_now_fails_the_run() {
        let migrate = RunOptions {
            mode: Mode::Migrate,
            ..RunOptions::default()
        };
        // With options, too: what runs without them has to run with them.
        for how in [plain(), How::with(Command::Run, migrate)] {
            let (status, text) = told(&["smm/a", "smm/b", "nmi/c"], &[], how);
            assert_eq!(status, Status::Deviates);
            let expected =
                "\nkvm: 1 case LOST: unsupported now, and ran by mine.yaml:\n  smm/a: KVM_CAP_X86_SMM is 0\n";
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn what_the_mode_means_nothing_to_is_not_lost() {
        let mut summary = summary();
        summary.count("stage2/d", &Verdict::Unsupported(Lack::mode("it has no points")));
        let mut out = String::new();
        let held = coverage(&["stage2/d", "nmi/c"], &[], plain());
        let held = held.tell(&mut out, &[summary.clone()], &all(), &[]);
        assert_eq!((held, out.as_str()), (Status::Conforms, ""));
        let held = coverage(&[], &["stage2"], plain()).tell(&mut out, &[summary], &all(), &[]);
        assert_eq!(held, Status::Deviates);
    }

    #[test]
    fn a_case_that_newly_runs_asks_for_an_update() {
        let (status, text) = told(&["smm/b"], &[], plain());
        assert_eq!(status, Status::Conforms);
        assert!(
            text.contains("kvm: 1 case runs that mine.yaml does not have"),
            "{text}"
        );
    }

    #[test]
    fn a_case_that_is_gone_is_lost() {
        for (wanted, status) in [
            (vec![], Status::Deviates),
            (vec!["smm/*".to_owned()], Status::Deviates),
            (vec!["nmi".to_owned()], Status::Conforms),
        ] {
            let mut out = String::new();
            let coverage = coverage(&["smm/gone", "nmi/c"], &[], plain());
            let told = coverage.tell(&mut out, &[summary()], &all(), &wanted);
            assert_eq!(told, status, "{wanted:?}");
            let is_told = out.contains("smm/gone: there is no such case any more");
            assert_eq!(is_told, status == Status::Deviates, "{out}");
        }
    }

    #[test]
    fn a_glob_is_the_short_form() {
        for (glob, status) in [
            ("smm/*", Status::Deviates),
            ("nmi", Status::Conforms),
            ("smm/b", Status::Conforms),
        ] {
            assert_eq!(told(&[], &[glob], plain()).0, status, "{glob}");
        }
    }
}
