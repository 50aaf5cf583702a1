//! `conform run`.

use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::run::{outcomes, trace};
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::Transcript;

use super::args::RunArguments;
use super::console::Progress;
use super::coverage::Coverage;
use super::default_set::{LeftOut, can_run_none};
use super::exit::{Failure, Status};
use super::report_file::ReportFile;
use super::session::{Event, Events, Kind, Prepared, own_executable};
use super::shuffle::shuffle;
use super::suite::Suite;
use super::target_name::TargetName;
use crate::baseline::{Command, How};
use crate::case::Case;
use crate::deviation::untested_emulator;
use crate::interrupt;
use crate::judge::case::{judge_own, judge_run, profile, view};
use crate::judge::{Verdict, VerdictKind, not_looked_at};
use crate::provision::{Cache, KernelName, XenName, provision, provision_xen};
use crate::report::json::{TargetEntry, write_case, write_footer, write_header, write_identity};
use crate::report::summary::{self, SummarizedLoss, TargetSummary};
use crate::report::{Judgement, conclusion, text, trace as trace_report};
use crate::target::{Identity, Mode, Ran, Run};

/// What `--provision` fetches when no target is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

pub(super) fn run(arguments: &RunArguments) -> Result<Status, Failure> {
    let mut suite = Suite::load(&arguments.cases)?;
    suite.choose(&arguments.globs)?;
    if arguments.no_deviations {
        suite.deviations.clear();
    }
    for case in &mut suite.cases {
        case.observe_at_most(arguments.observe, arguments.mode());
    }
    if let Some(seed) = arguments.shuffle {
        shuffle(&mut suite.cases, seed);
    }
    let how = How::with(Command::Run, arguments.options());
    let coverage = Coverage::new(&arguments.coverage, how, !arguments.targets.is_empty())?;
    coverage.check_globs(|fits| suite.cases.iter().any(|case| fits(&case.name)))?;
    let cache = if arguments.provision {
        Cache::to_fill(None)?
    } else {
        Cache::open(None)?
    };
    interrupt::catch();
    let Targets { targets, left_out } = targets(arguments, &suite, &cache, &coverage)?;
    let mut runner = Runner {
        arguments,
        suite: &suite,
        coverage,
        left_out,
        defects: arguments.defects.iter().copied().collect(),
        json: None,
        progress: Progress::new(),
    };
    runner.open_json(&targets)?;
    let mut summaries = Vec::new();
    for target in &targets {
        if interrupt::interrupted() {
            break;
        }
        summaries.push(runner.target(target)?);
    }
    runner.finish(&summaries)
}

/// What a run is on.
struct Targets {
    targets: Vec<Prepared>,
    left_out: Vec<LeftOut>,
}

/// The targets of this run, made ready.
fn targets(
    arguments: &RunArguments,
    suite: &Suite,
    cache: &Cache,
    coverage: &Coverage,
) -> Result<Targets, Failure> {
    let mut names = arguments.targets.clone();
    let mode = arguments.mode();
    if mode != Mode::Normal && names.contains(&TargetName::Model) {
        return Err(Failure::wrong(format_args!(
            "the model has no state that goes through the KVM API, so --{} means nothing to it; \
             leave `--target model` out",
            mode.name()
        )));
    }
    if arguments.provision {
        let wanted = kernels_to_provision(&names)?;
        let mut progress = Progress::new();
        provision(cache, &wanted, &mut |step| progress.step(step))?;
        for name in xens_to_provision(&names) {
            provision_xen(cache, name, &mut |step| progress.step(step))?;
        }
    }
    let mut left_out = Vec::new();
    if names.is_empty() {
        let scenarios = suite.cases.iter().map(|case| &case.scenario);
        let set = coverage.set(cache)?.for_scenarios(scenarios);
        names = set.targets;
        names.retain(|name| mode == Mode::Normal || *name != TargetName::Model);
        left_out = set.left_out;
    }
    if let Some(profile) = arguments.profile.filter(|_| !names.contains(&TargetName::Model)) {
        return Err(Failure::wrong(format_args!(
            "--profile {} is about the target `model`, which does not run here; a KVM makes the choices of \
             its backend. Leave it out, or add `--target model`",
            profile.name
        )));
    }
    let mut distinct: Vec<TargetName> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    let executable = own_executable().map_err(Failure::incomplete)?;
    let prepare = |name| Prepared::new(name, cache, &executable);
    let targets = distinct.iter().map(prepare).collect();
    Ok(Targets { targets, left_out })
}

fn kernels_to_provision(targets: &[TargetName]) -> Result<Vec<KernelName>, Failure> {
    if targets.is_empty() {
        return Ok(vec![DEFAULT_KERNEL.parse().map_err(Failure::wrong)?]);
    }
    let kernel = |target: &TargetName| target.booted().map(|(_, kernel)| kernel.clone());
    Ok(targets.iter().filter_map(kernel).collect())
}

fn xens_to_provision(targets: &[TargetName]) -> Vec<XenName> {
    if targets.is_empty() {
        return vec![XenName::default()];
    }
    let xen = |target: &TargetName| match target {
        TargetName::XenPv(name) => Some(*name),
        _ => None,
    };
    targets.iter().filter_map(xen).collect()
}

struct Runner<'a> {
    arguments: &'a RunArguments,
    suite: &'a Suite,
    coverage: Coverage,
    /// Targets that a user might expect here.
    left_out: Vec<LeftOut>,
    defects: DefectSet,
    json: Option<ReportFile>,
    progress: Progress,
}

impl Runner<'_> {
    fn open_json(&mut self, targets: &[Prepared]) -> Result<(), Failure> {
        let Some(path) = &self.arguments.json else {
            return Ok(());
        };
        let mut file = ReportFile::create(path)?;
        let entries: Vec<TargetEntry> = targets.iter().map(entry).collect();
        let command: Vec<String> = std::env::args_os()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let how = (self.arguments.mode(), self.arguments.observe);
        file.add(|out| write_header(out, &command, how, &entries));
        self.json = Some(file);
        Ok(())
    }

    fn target(&mut self, target: &Prepared) -> Result<TargetSummary, Failure> {
        let start = Instant::now();
        let mut summary = TargetSummary {
            target: target.name.to_string(),
            cases: self.suite.cases.len(),
            ..TargetSummary::default()
        };
        match &target.kind {
            Kind::Model => self.model(&mut summary)?,
            Kind::Unusable(reason) => summary.unusable = Some(reason.clone()),
            Kind::Kvm(identity) | Kind::Booted { identity, .. } | Kind::XenPv { identity, .. } => {
                self.kvm(target, identity, &mut summary)?;
            }
        }
        self.progress.clear();
        summary.took = start.elapsed();
        Ok(summary)
    }

    fn model(&mut self, summary: &mut TargetSummary) -> Result<(), Failure> {
        let suite = self.suite;
        for case in &suite.cases {
            if interrupt::interrupted() {
                break;
            }
            let profile = self.own_profile(case);
            let (verdict, transcript) = judge_own(case, profile, self.defects);
            if let Some(transcript) = &transcript {
                summary.not_looked_at += not_looked_at(&view(case, profile), transcript);
            }
            self.verdict(summary, case, verdict, transcript.as_ref())?;
            if self.arguments.trace {
                self.trace(case, None)?;
            }
        }
        Ok(())
    }

    fn kvm(
        &mut self,
        target: &Prepared,
        identity: &Identity,
        summary: &mut TargetSummary,
    ) -> Result<(), Failure> {
        let suite = self.suite;
        let scenarios: Vec<Scenario> = suite.cases.iter().map(|case| case.scenario.clone()).collect();
        let options = self.arguments.options();
        self.progress.show(&format!("{}: starting", summary.target));
        let events = target.start(scenarios, options);
        while let Some(event) = next(&events) {
            let Some((index, ran)) = self.event(summary, event)? else {
                continue;
            };
            let Some(case) = suite.cases.get(index) else {
                continue;
            };
            let verdict = match (&summary.identity, &ran.run) {
                (None, Run::Done(_) | Run::GaveUp(..) | Run::Died(_) | Run::Broken(_)) => {
                    Verdict::Broken("a result came before the target said what it is".to_owned())
                }
                // That it lacks something may be known without starting it.
                (said, _) => {
                    let identity = said.as_ref().unwrap_or(identity);
                    let deviations = &suite.deviations;
                    judge_run(case, identity, options.mode, deviations, self.defects, &ran)
                }
            };
            let transcript = match &ran.run {
                Run::Done(transcript) | Run::GaveUp(_, transcript) => Some(transcript),
                Run::Unsupported(_) | Run::Died(_) | Run::Broken(_) => None,
            };
            if let (Some(transcript), Some(profile)) = (transcript, profile(identity.backend)) {
                summary.not_looked_at += not_looked_at(&view(case, profile), transcript);
            }
            self.verdict(summary, case, verdict, transcript)?;
            if self.arguments.trace {
                self.trace(case, Some((identity, transcript)))?;
            }
        }
        Ok(())
    }

    /// Takes what a target tells; gives back the result, if it is one.
    fn event(&mut self, summary: &mut TargetSummary, event: Event) -> Result<Option<(usize, Ran)>, Failure> {
        match event {
            Event::Ran(index, ran) => return Ok(Some((index, ran))),
            Event::Identified(identity) => {
                if summary.identity.as_ref() != Some(&*identity)
                    && let Some(json) = &mut self.json
                {
                    json.add(|out| write_identity(out, &summary.target, &identity));
                }
                if let Some(note) = untested_emulator(&self.suite.deviations, &identity)
                    && !summary.notes.contains(&note)
                {
                    summary.notes.push(note);
                }
                summary.identified(*identity);
            }
            Event::Complained(complaints) => summary.complaints.extend(complaints),
            Event::BootLost(lost) => {
                let case = lost.during.and_then(|index| self.suite.cases.get(index as usize));
                summary.boots_lost.push(SummarizedLoss {
                    case: case.map(|case| case.name.clone()),
                    reason: lost.reason,
                });
            }
            Event::Note(note) => summary.notes.push(note),
            Event::Unusable(reason) => summary.unusable = Some(reason),
        }
        Ok(None)
    }

    fn verdict(
        &mut self,
        summary: &mut TargetSummary,
        case: &Case,
        verdict: Verdict<'_>,
        transcript: Option<&Transcript>,
    ) -> Result<(), Failure> {
        summary.count(&case.name, &verdict);
        let target = summary.target.clone();
        let judgement = Judgement {
            case: &case.name,
            target: &target,
            verdict,
            transcript,
        };
        if let Some(json) = &mut self.json {
            json.add(|out| write_case(out, &judgement));
        }
        // These are grouped below the summary; --json names every case.
        let grouped = matches!(
            judgement.verdict.kind(),
            VerdictKind::Unsupported | VerdictKind::KnownDeviation
        );
        if !grouped {
            let mut out = String::new();
            // Writing to a string does not fail.
            let _ = text::write(&mut out, &judgement);
            self.progress.say(&out)?;
        }
        let done = summary.judged();
        self.progress.show(&format!(
            "{target}: {done} of {} cases, last {}",
            summary.cases, case.name
        ));
        Ok(())
    }

    /// The implementation that the model takes the place of.
    fn own_profile(&self, case: &Case) -> &'static Profile {
        self.arguments.profile.unwrap_or_else(|| case.own_profile())
    }

    /// Shows what the model did, and beside it what the target did.
    fn trace(
        &mut self,
        case: &Case,
        target: Option<(&Identity, Option<&Transcript>)>,
    ) -> Result<(), Failure> {
        let profile = target
            .and_then(|(identity, _)| profile(identity.backend))
            .unwrap_or_else(|| self.own_profile(case));
        let scenario = &case.scenario;
        let lines = trace(scenario, profile, self.defects).unwrap_or_default();
        let first = outcomes(scenario, profile, self.defects)
            .ok()
            .and_then(|outcomes| outcomes.into_iter().next());
        let Some(first) = first else { return Ok(()) };
        let seen = target.and_then(|(identity, seen)| Some((identity.name.as_str(), seen?)));
        let mut out = format!("trace of {}\n", case.name);
        // Writing to a string does not fail.
        let _ = trace_report::write(&mut out, scenario, &lines, &first.transcript, seen);
        Ok(self.progress.say(&out)?)
    }

    fn finish(mut self, summaries: &[TargetSummary]) -> Result<Status, Failure> {
        let mut out = match self.arguments.mode() {
            Mode::Normal if self.arguments.observe == Observe::Ends => {
                "state looked at where runs end, and at no point before:\n".to_owned()
            }
            Mode::Normal => String::new(),
            Mode::UserspaceRewrite => "all state read and written back at every point:\n".to_owned(),
            Mode::Migrate => "all state moved to a new virtual machine at every point:\n".to_owned(),
        };
        // Writing to a string does not fail.
        let _ = summary::write_table(&mut out, summaries);
        out += &format!("\n{}", conclusion::sentence(summaries));
        for left_out in &self.left_out {
            out += &format!("{left_out}\n");
        }
        let _ = summary::write_details(&mut out, summaries);
        let cases = &self.suite.cases;
        let there: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let wanted = &self.arguments.globs;
        let lost = self.coverage.tell(&mut out, summaries, &there, wanted);
        let ran: Vec<&str> = summaries.iter().map(|summary| summary.target.as_str()).collect();
        let absent = self.coverage.tell_absent(&mut out, &ran, |name| {
            can_run_none(name, cases.iter().map(|case| &case.scenario)).is_none()
        });
        let mut status = Status::of_run(summaries).max_with(lost).max_with(absent);
        if !self.judges_a_hypervisor(summaries) {
            status = status.max_with(Status::Incomplete);
        }
        if let Some(json) = &mut self.json
            && !interrupt::interrupted()
        {
            let complete = summaries.iter().all(TargetSummary::is_complete) && status != Status::Incomplete;
            json.add(|out| write_footer(out, complete, summaries));
        }
        // The table is there whatever happened to the report.
        let problem = self.json.take().and_then(ReportFile::finish);
        if let Some(problem) = &problem {
            out += &format!("{problem}\n");
            status = status.max_with(Status::Incomplete);
        }
        // A baseline of a run that was cut short would forget what it did not get to.
        if !interrupt::interrupted() {
            let (text, written) = self.coverage.write(self.suite, summaries)?;
            out += &text;
            status = status.max_with(written);
        }
        let status = Status::of_signal().unwrap_or(status);
        out += match status {
            Status::Interrupted | Status::Terminated => {
                "interrupted: this run says nothing about what is missing\n"
            }
            Status::Incomplete => "incomplete: this run proves nothing about what is missing\n",
            _ => "",
        };
        self.progress.say(&out)?;
        Ok(status)
    }

    /// Whether the run says something about a hypervisor, or was to be on the model alone.
    fn judges_a_hypervisor(&self, summaries: &[TargetSummary]) -> bool {
        let model_alone = |name: &TargetName| *name == TargetName::Model;
        let named = &self.arguments.targets;
        (!named.is_empty() && named.iter().all(model_alone))
            || summaries.iter().any(TargetSummary::is_judged_hypervisor)
    }
}

/// The next event; nothing when the target is done or the user wants to stop.
fn next(events: &Events) -> Option<Event> {
    loop {
        if interrupt::interrupted() {
            return None;
        }
        match events.next_within(interrupt::LOOK) {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn entry(target: &Prepared) -> TargetEntry {
    TargetEntry {
        name: target.name.to_string(),
        identity: match &target.kind {
            Kind::Kvm(identity) => Some(identity.clone()),
            _ => None,
        },
        unusable: match &target.kind {
            Kind::Unusable(reason) => Some(reason.clone()),
            _ => None,
        },
    }
}
