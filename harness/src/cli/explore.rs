//! `conform explore`.

use std::fmt::Write as _;
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::explore::{Exploration, Path};

use super::args::ExploreArguments;
use super::console::Progress;
use super::coverage::{Coverage, RanTarget};
use super::default_set::can_run_none;
use super::exit::{Failure, Status};
use super::session::{Event, Kind, Prepared, own_executable};
use super::suite::Suite;
use super::target_name::TargetName;
use crate::baseline::{Command, How, RanGroup, UnsupportedMember};
use crate::case::{Case, PointClaim};
use crate::explore::{check, diagram::diagram, explored, replay, report};
use crate::interrupt;
use crate::judge::case::{judge_run, nothing_counts};
use crate::judge::{Verdict, VerdictKind};
use crate::provision::Cache;
use crate::report::summary::{self, CaseVerdict, SummarizedLoss, TargetSummary};
use crate::report::{Judgement, text};
use crate::target::{Mode, Run, RunOptions};

pub(super) fn explore(arguments: &ExploreArguments) -> Result<Status, Failure> {
    let mut suite = Suite::load(&arguments.cases)?;
    suite.choose(&arguments.globs)?;
    if arguments.no_deviations {
        suite.deviations.clear();
    }
    if arguments.globs.is_empty() {
        suite.cases.retain(|case| case.explore.is_some());
    }
    let how = How::plain(Command::Explore);
    let coverage = Coverage::new(&arguments.coverage, how, !arguments.targets.is_empty())?;
    coverage.check_globs(|fits| suite.cases.iter().any(|case| fits(&case.name)))?;
    let cache = Cache::open(None)?;
    interrupt::catch();
    let defects = arguments.defects.iter().copied().collect();
    let mut explorer = Explorer {
        arguments,
        defects,
        progress: Progress::new(),
        refuted: false,
        incomplete: false,
        replays: Vec::new(),
    };
    for case in &suite.cases {
        if let Some(status) = Status::of_signal() {
            return Ok(status);
        }
        explorer.case(case)?;
    }
    explorer.replay_all(&suite, &cache, coverage)
}

struct Explorer<'a> {
    arguments: &'a ExploreArguments,
    defects: DefectSet,
    progress: Progress,
    refuted: bool,
    incomplete: bool,
    /// Each distinct ending of each case, as a case with its schedule.
    replays: Vec<Case>,
}

impl Explorer<'_> {
    fn case(&mut self, case: &Case) -> Result<(), Failure> {
        self.progress.show(&format!("exploring {}", case.name));
        let found = explored(case, self.arguments.profile, self.defects, self.arguments.states)
            .map_err(|error| Failure::wrong(format_args!("{}: {error}", case.file.display())))?;
        // What a person claims holds for the profiles that the case is about.
        let is_about = case.is_about(self.arguments.profile);
        let claim = case.explore.as_ref().filter(|_| found.complete && is_about);
        let unjudged = case.explore.is_some() && !is_about;
        self.incomplete |= unjudged;
        let refuted = claim.map(|claim| check(claim, &found)).unwrap_or_default();
        self.refuted |= !refuted.is_empty();
        self.incomplete |= !found.complete;
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::write(
            &mut out,
            &case.name,
            &case.scenario,
            &found,
            points_of(case),
            &refuted,
        );
        if unjudged {
            let why = nothing_counts(case, self.arguments.profile);
            let _ = writeln!(out, "  {why}");
        }
        self.diagrams(case, &found, &mut out)?;
        self.progress.say(&out)?;
        for ending in &found.endings {
            let mut replay = replay(case, &ending.path);
            replay.name = format!("{} [{}]", case.name, report::stops(&case.scenario, ending));
            self.replays.push(replay);
        }
        for (point, path) in points_of(case).iter().zip(&found.sought) {
            if let Some(path) = path {
                let mut replay = replay(case, path);
                replay.name = format!("{} [to {}]", case.name, point.text);
                self.replays.push(replay);
            }
        }
        Ok(())
    }

    fn diagrams(&self, case: &Case, found: &Exploration, out: &mut String) -> Result<(), Failure> {
        let mut shown: Vec<(String, &Path)> = Vec::new();
        let crash = found.crash.iter();
        shown.extend(crash.map(|path| ("a shortest schedule to the crash".to_owned(), path)));
        let stranded = found.stranded.iter();
        shown.extend(stranded.map(|path| ("a shortest schedule to the wait without end".to_owned(), path)));
        for (point, path) in points_of(case).iter().zip(&found.sought) {
            if let Some(path) = path {
                shown.push((format!("a shortest schedule to {}", point.text), path));
            }
        }
        if shown.is_empty() && self.arguments.diagram {
            shown.extend(
                found
                    .endings
                    .first()
                    .map(|ending| ("a shortest schedule to an ending".to_owned(), &ending.path)),
            );
        }
        for (title, path) in shown {
            let text = diagram(&case.scenario, self.arguments.profile, self.defects, path)
                .map_err(Failure::incomplete)?;
            out.push_str(&format!("\n{title}:\n\n{text}\n"));
        }
        Ok(())
    }

    /// Replays each distinct ending on every target and judges it like any other run.
    fn replay_all(&mut self, suite: &Suite, cache: &Cache, coverage: Coverage) -> Result<Status, Failure> {
        let targets = if self.arguments.targets.is_empty() {
            let scenarios = self.replays.iter().map(|case| &case.scenario);
            let set = coverage.set(cache)?.for_scenarios(scenarios);
            for left_out in &set.left_out {
                self.progress.say(&format!("{left_out}\n"))?;
            }
            set.targets
        } else {
            self.arguments.targets.clone()
        };
        let executable = own_executable().map_err(Failure::incomplete)?;
        let mut summaries = Vec::new();
        for name in &targets {
            let target = Prepared::new(name, cache, &executable);
            if matches!(target.kind, Kind::Model) {
                continue;
            }
            summaries.push(self.replay_on(&target, suite)?);
        }
        let mut out = String::new();
        if !summaries.is_empty() {
            out.push_str("replays\n");
            // Writing to a string does not fail.
            let _ = summary::write(&mut out, &summaries);
        }
        let held = self.hold(&mut out, &summaries, coverage)?;
        self.progress.say(&out)?;
        let default_set = self.arguments.targets.is_empty();
        let replayed = if self.replays.is_empty() {
            Status::Conforms
        } else if summaries.is_empty() && default_set {
            self.progress.say("no hypervisor was judged\n")?;
            Status::Incomplete
        } else if summaries.is_empty() {
            Status::Conforms
        } else {
            Status::of_run(&summaries)
        }
        .max_with(held);
        Ok(match (Status::of_signal(), replayed) {
            (Some(status), _) => status,
            // What the model itself refutes is the case's fault; with defects on, that is what shows them.
            _ if self.refuted && self.defects == DefectSet::NONE => Status::Incomplete,
            _ if self.refuted => Status::Deviates,
            (_, Status::Deviates) => Status::Deviates,
            _ if self.incomplete => Status::Incomplete,
            (_, status) => status,
        })
    }

    /// Holds what was replayed against a baseline, and writes one if that is wanted.
    fn hold(
        &self,
        out: &mut String,
        summaries: &[TargetSummary],
        coverage: Coverage,
    ) -> Result<Status, Failure> {
        let replayed: Vec<RanTarget> = summaries.iter().map(|summary| self.replayed(summary)).collect();
        let mut status = coverage.tell_groups(out, &replayed);
        let names: Vec<&str> = summaries.iter().map(|summary| summary.target.as_str()).collect();
        let scenarios = || self.replays.iter().map(|case| &case.scenario);
        let can_run = |name: &TargetName| can_run_none(name, scenarios()).is_none();
        status = status.max_with(coverage.tell_absent(out, &names, can_run));
        if !interrupt::interrupted() {
            let (text, written) = coverage.write_groups(&replayed)?;
            out.push_str(&text);
            status = status.max_with(written);
        }
        Ok(status)
    }

    /// What was replayed on a target.
    fn replayed(&self, summary: &TargetSummary) -> RanTarget {
        let is_there = summary.judged() > 0;
        let names = self.replays.iter().map(|replay| replay.name.as_str());
        RanTarget {
            name: summary.target.clone(),
            groups: groups(names.filter(|_| is_there), summary, !self.incomplete),
            all: is_there && self.arguments.globs.is_empty() && !self.incomplete,
        }
    }

    fn replay_on(&mut self, target: &Prepared, suite: &Suite) -> Result<TargetSummary, Failure> {
        let name = target.name.to_string();
        let mut summary = TargetSummary {
            target: name.clone(),
            cases: self.replays.len(),
            ..TargetSummary::default()
        };
        let Some(identity) = target.identity() else {
            if let Kind::Unusable(reason) = &target.kind {
                summary.unusable = Some(reason.clone());
            }
            return Ok(summary);
        };
        let start = Instant::now();
        self.progress.show(&format!("{name}: replaying"));
        let scenarios = self.replays.iter().map(|case| case.scenario.clone()).collect();
        for event in target.start(scenarios, RunOptions::default()) {
            if interrupt::interrupted() {
                break;
            }
            let (index, ran) = match event {
                Event::Ran(index, ran) => (index, ran),
                Event::Identified(identity) => {
                    summary.identified(*identity);
                    continue;
                }
                Event::Complained(complaints) => {
                    summary.complaints.extend(complaints);
                    continue;
                }
                Event::BootLost(lost) => {
                    let case = lost.during.and_then(|index| self.replays.get(index as usize));
                    summary.boots_lost.push(SummarizedLoss {
                        case: case.map(|case| case.name.clone()),
                        reason: lost.reason,
                    });
                    continue;
                }
                Event::Note(note) => {
                    summary.notes.push(note);
                    continue;
                }
                Event::Unusable(reason) => {
                    summary.unusable = Some(reason);
                    continue;
                }
            };
            let Some(case) = self.replays.get(index) else {
                continue;
            };
            let verdict = match (&summary.identity, &ran.run) {
                (None, Run::Done(_) | Run::GaveUp(..) | Run::Died(_) | Run::Broken(_)) => {
                    Verdict::Broken("a result came before the target said what it is".to_owned())
                }
                (said, _) => {
                    let identity = said.as_ref().unwrap_or(identity);
                    let (mode, deviations) = (Mode::Normal, &suite.deviations);
                    judge_run(case, identity, mode, deviations, self.defects, &ran)
                }
            };
            summary.count(&case.name, &verdict);
            if matches!(
                verdict.kind(),
                VerdictKind::Deviates | VerdictKind::UnexpectedlyConforms | VerdictKind::Broken
            ) {
                self.progress.say(&described(case, &name, verdict))?;
            }
        }
        summary.took = start.elapsed();
        Ok(summary)
    }
}

/// The replays of each case, by their names, and what came of them. `complete` says that these are all ways to end.
fn groups<'a>(
    names: impl Iterator<Item = &'a str>,
    summary: &TargetSummary,
    complete: bool,
) -> Vec<RanGroup> {
    let mut groups: Vec<RanGroup> = Vec::new();
    for name in names {
        // A replay is called by its case, and how it ends behind that.
        let case = name.split(' ').next().unwrap_or(name);
        if groups.last().is_none_or(|group| group.name != case) {
            groups.push(RanGroup {
                name: case.to_owned(),
                complete,
                ..RanGroup::default()
            });
        }
        let Some(group) = groups.last_mut() else { continue };
        group.members += 1;
        match summary.verdicts.get(name) {
            Some(CaseVerdict {
                unsupported: Some(lack),
                ..
            }) => group.unsupported.push(UnsupportedMember {
                name: name.to_owned(),
                reason: lack.to_string(),
                pattern: None,
            }),
            verdict => group.complete &= verdict.is_some_and(CaseVerdict::is_about_the_target),
        }
    }
    groups
}

/// The points that a case claims something about.
fn points_of(case: &Case) -> &[PointClaim] {
    case.explore.as_ref().map_or(&[], |claim| &claim.points)
}

/// What a replay is worth, with every difference.
fn described(case: &Case, target: &str, verdict: Verdict<'_>) -> String {
    let mut out = String::new();
    let judgement = Judgement {
        case: &case.name,
        target,
        verdict,
        transcript: None,
    };
    // Writing to a string does not fail.
    let _ = text::write(&mut out, &judgement);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Lack;

    #[test]
    fn the_replays_of_a_case_are_a_group() {
        let names = [
            "s3/a [0:x]",
            "s3/a [to y, vcpu 1]",
            "s3/b [0:x]",
            "s3/c [0:x]",
            "s3/c [0:z]",
        ];
        let mut summary = TargetSummary::default();
        for (name, verdict) in [
            (names[0], Verdict::Conforms),
            (names[1], Verdict::Unsupported(Lack::suite("no APIC"))),
            (names[2], Verdict::KnownDeviation(Vec::new())),
            (names[3], Verdict::Broken("it hangs".to_owned())),
        ] {
            summary.count(name, &verdict);
        }
        let groups = groups(names.into_iter(), &summary, true);
        let seen: Vec<(&str, usize, bool, usize)> = groups
            .iter()
            .map(|group| {
                (
                    group.name.as_str(),
                    group.members,
                    group.complete,
                    group.unsupported.len(),
                )
            })
            .collect();
        // Of the last one a replay is broken, and another has no verdict.
        assert_eq!(
            seen,
            [("s3/a", 2, true, 1), ("s3/b", 1, true, 0), ("s3/c", 2, false, 0)]
        );
        assert_eq!(groups[0].unsupported[0].name, "s3/a [to y, vcpu 1]");
    }
}
