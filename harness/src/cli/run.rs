//! `conform run`.

use std::fs::File;
use std::io::BufWriter;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::run::{outcomes, trace};
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::Transcript;

use super::args::RunArguments;
use super::console::Progress;
use super::exit::{Failure, Status};
use super::session::{Event, Events, Kind, Prepared, default_arm64_targets, default_targets, own_executable};
use super::shuffle::shuffle;
use super::suite::Suite;
use super::target_name::TargetName;
use crate::case::Case;
use crate::interrupt;
use crate::judge::case::{judge_own, judge_run, profile, view};
use crate::judge::{Verdict, VerdictKind, not_looked_at};
use crate::provision::{Cache, KernelName, provision, provision_xen};
use crate::report::json::{TargetEntry, write_case, write_footer, write_header};
use crate::report::summary::{self, TargetSummary};
use crate::report::{Judgement, text, trace as trace_report};
use crate::target::{Identity, Mode, Run, RunOptions};

/// What `--provision` fetches when no target is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

pub(super) fn run(arguments: &RunArguments) -> Result<Status, Failure> {
    let mut suite = Suite::load(&arguments.cases)?;
    let globs = suite.add_files(&arguments.globs)?;
    suite.select(&globs)?;
    for case in &mut suite.cases {
        case.observe_at_most(arguments.observe, arguments.mode());
    }
    if let Some(seed) = arguments.shuffle {
        shuffle(&mut suite.cases, seed);
    }
    let cache = Cache::open(None).map_err(Failure::incomplete)?;
    interrupt::catch();
    let targets = targets(arguments, &cache)?;
    let mut runner = Runner {
        arguments,
        suite: &suite,
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

/// The targets of this run, made ready.
fn targets(arguments: &RunArguments, cache: &Cache) -> Result<Vec<Prepared>, Failure> {
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
        if names.is_empty() || names.contains(&TargetName::XenPv) {
            provision_xen(cache, &mut |step| progress.step(step))?;
        }
    }
    if names.is_empty() {
        names = default_targets(cache);
        match default_arm64_targets(cache) {
            Ok(arm64) => names.extend(arm64),
            Err(reason) => eprintln!("arm64 targets are left out: {reason}"),
        }
        names.retain(|name| mode == Mode::Normal || *name != TargetName::Model);
    }
    let mut distinct: Vec<TargetName> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    let executable = own_executable().map_err(Failure::incomplete)?;
    let prepare = |name| Prepared::new(name, cache, &executable);
    Ok(distinct.iter().map(prepare).collect())
}

fn kernels_to_provision(targets: &[TargetName]) -> Result<Vec<KernelName>, Failure> {
    if targets.is_empty() {
        return Ok(vec![DEFAULT_KERNEL.parse().map_err(Failure::wrong)?]);
    }
    let kernel = |target: &TargetName| target.booted().map(|(_, kernel)| kernel.clone());
    Ok(targets.iter().filter_map(kernel).collect())
}

struct Runner<'a> {
    arguments: &'a RunArguments,
    suite: &'a Suite,
    defects: DefectSet,
    json: Option<BufWriter<File>>,
    progress: Progress,
}

impl Runner<'_> {
    fn open_json(&mut self, targets: &[Prepared]) -> Result<(), Failure> {
        let Some(path) = &self.arguments.json else {
            return Ok(());
        };
        let file = File::create(path).map_err(|error| {
            Failure::wrong(format_args!("{}: cannot be written: {error}", path.display()))
        })?;
        let entries: Vec<TargetEntry> = targets.iter().map(entry).collect();
        let command: Vec<String> = std::env::args_os()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let mut writer = BufWriter::new(file);
        let how = (self.arguments.mode(), self.arguments.observe);
        write_header(&mut writer, &command, how, &entries)?;
        self.json = Some(writer);
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
        let options = RunOptions {
            fresh_vm: self.arguments.fresh_vm,
            mode: self.arguments.mode(),
            observe: self.arguments.observe,
            allow_host_risk: self.arguments.allow_host_risk,
        };
        self.progress.show(&format!("{}: starting", summary.target));
        let events = target.start(scenarios, options);
        while let Some(event) = next(&events) {
            let (index, run) = match event {
                Event::Run(index, run) => (index, run),
                Event::Unusable(reason) => {
                    summary.unusable = Some(reason);
                    continue;
                }
            };
            let Some(case) = suite.cases.get(index) else {
                continue;
            };
            let verdict = judge_run(
                case,
                identity,
                options.mode,
                &suite.deviations,
                self.defects,
                &run,
            );
            let transcript = match &run {
                Run::Done(transcript) => Some(transcript),
                Run::Unsupported(_) | Run::Broken(_) => None,
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

    fn verdict(
        &mut self,
        summary: &mut TargetSummary,
        case: &Case,
        verdict: Verdict<'_>,
        transcript: Option<&Transcript>,
    ) -> Result<(), Failure> {
        summary.count(&verdict);
        let target = summary.target.clone();
        let judgement = Judgement {
            case: &case.name,
            target: &target,
            verdict,
            transcript,
        };
        if let Some(json) = &mut self.json {
            write_case(json, &judgement)?;
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
        let interrupted = interrupt::interrupted();
        let status = Status::of_signal().unwrap_or_else(|| Status::of_run(summaries));
        if let Some(json) = &mut self.json
            && !interrupted
        {
            let complete = summaries.iter().all(TargetSummary::is_complete);
            write_footer(json, complete && status != Status::Incomplete, summaries)?;
        }
        let mut out = match self.arguments.mode() {
            Mode::Normal if self.arguments.observe == Observe::Ends => {
                "state looked at where runs end, and at no point before:\n".to_owned()
            }
            Mode::Normal => String::new(),
            Mode::UserspaceRewrite => "all state read and written back at every point:\n".to_owned(),
            Mode::Migrate => "all state moved to a new virtual machine at every point:\n".to_owned(),
        };
        // Writing to a string does not fail.
        let _ = summary::write(&mut out, summaries);
        self.progress.say(&out)?;
        match status {
            Status::Interrupted | Status::Terminated => self
                .progress
                .say("interrupted: this run says nothing about what is missing\n")?,
            Status::Incomplete => self
                .progress
                .say("incomplete: this run proves nothing about what is missing\n")?,
            _ => {}
        }
        Ok(status)
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
        identity: target.identity().cloned(),
        unusable: match &target.kind {
            Kind::Unusable(reason) => Some(reason.clone()),
            _ => None,
        },
    }
}
