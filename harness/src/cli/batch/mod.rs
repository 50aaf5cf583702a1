//! What `conform sequences` and `conform gates` share: running a family on targets, judging,
//! and telling.

mod running;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::run::outcomes;
use spec_model::scenario::Observe;

use crate::baseline::{Command, How, RanGroup};
use crate::batch::expected::Expected;
use crate::batch::item::Item;
use crate::batch::tally::{Judge, Tally};
use crate::batch::{Family, processor_time, report};
use crate::cli::args::FamilyArguments;
use crate::cli::console::Progress;
use crate::cli::coverage::{Coverage, RanTarget};
use crate::cli::exit::{Failure, Status};
use crate::cli::report_file::ReportFile;
use crate::cli::session::{Kind, Prepared, own_executable};
use crate::cli::target_name::TargetName;
use crate::deviation::{Applicable, Deviation};
use crate::interrupt;
use crate::judge::VerdictKind;
use crate::judge::case::profile;
use crate::judge::stop;
use crate::provision::Cache;
use crate::report::summary::SummarizedLoss;
use crate::target::booted::Report;
use crate::target::{Identity, Mode, RunOptions};

/// Deviating scenarios that are printed as case files.
const PRINTED: usize = 3;

/// What the user asked for, of whatever family.
pub(super) struct Wanted<'a> {
    pub(super) targets: &'a [TargetName],
    pub(super) json: Option<&'a PathBuf>,
    pub(super) save: Option<&'a PathBuf>,
    /// How many times at once a kernel is booted.
    pub(super) jobs: usize,
    /// What the host looks at in the course of a run.
    pub(super) observe: Observe,
    /// Switched on in the model.
    pub(super) defects: DefectSet,
}

/// Whether a target can have the events of whole x86 machines, of which the families are.
const fn is_whole_machine(name: &TargetName) -> bool {
    !matches!(
        name,
        TargetName::XenPv(_) | TargetName::Arm64(_) | TargetName::Arm64Vhe(_)
    )
}

/// The targets of the user, or all there are.
fn prepared(names: &[TargetName], coverage: &Coverage) -> Result<Vec<Prepared>, Failure> {
    let cache = Cache::open(None)?;
    let names = if names.is_empty() {
        let mut names = coverage.set(&cache)?.targets;
        names.retain(is_whole_machine);
        names
    } else {
        names.to_vec()
    };
    let executable = own_executable().map_err(Failure::incomplete)?;
    let prepare = |name| Prepared::new(name, &cache, &executable);
    Ok(names.iter().map(prepare).collect())
}

/// What a family says about one target.
pub(super) trait Plan<F: Family> {
    /// Names of the groups, on a KVM.
    fn groups(&self) -> Vec<String>;

    /// Scenarios that were asked for, on a KVM.
    fn wanted(&self) -> usize;

    /// How much of the family was asked for.
    fn scope(&self) -> Scope;

    /// Whether one of those that were asked for has a name that fits.
    fn has(&self, fits: &dyn Fn(&str) -> bool) -> bool;

    /// What is allowed on a target with these deviations. What it cannot run is counted.
    fn expected(
        &self,
        tally: &mut Tally<'_, F::Row>,
        identity: &Identity,
        judged_by: (&'static Profile, DefectSet),
        deviations: DefectSet,
    ) -> Result<Vec<Expected<F::Row>>, Failure>;

    /// How many of the rows show each deviation: those that it changes when it is on alone.
    fn named(
        &self,
        identity: &Identity,
        judged_by: (&'static Profile, DefectSet),
        deviations: &[&Deviation],
        known: &[&Expected<F::Row>],
    ) -> Result<BTreeMap<String, usize>, Failure>;
}

/// How much of a family is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every group that there is.
    All,
    /// Some groups, each of them whole.
    Groups,
    /// Parts of groups.
    Parts,
}

/// Runs a family on one target after the other.
pub(super) struct All<'a, F: Family> {
    pub(super) wanted: Wanted<'a>,
    pub(super) payload: &'a F,
    pub(super) deviations: &'a [Deviation],
    coverage: Coverage,
    pub(super) progress: Progress,
    pub(super) tallies: Vec<Tally<'a, F::Row>>,
}

impl<'a, F: Family> All<'a, F> {
    /// Nothing has been run yet.
    ///
    /// # Errors
    /// If a baseline cannot be read.
    pub(super) fn new(
        command: Command,
        arguments: &'a FamilyArguments,
        payload: &'a F,
        deviations: &'a [Deviation],
    ) -> Result<Self, Failure> {
        let options = RunOptions {
            observe: arguments.observe,
            ..RunOptions::default()
        };
        let named = !arguments.targets.is_empty();
        Ok(Self {
            coverage: Coverage::new(&arguments.coverage, How::with(command, options), named)?,
            wanted: Wanted {
                targets: &arguments.targets,
                json: arguments.json.as_ref(),
                save: arguments.save.as_ref(),
                jobs: arguments.jobs,
                observe: arguments.observe,
                defects: arguments.defects.iter().copied().collect(),
            },
            payload,
            deviations,
            progress: Progress::new(),
            tallies: Vec::new(),
        })
    }

    /// On the targets that are wanted; `model` does what the target `model` does.
    pub(super) fn run(
        mut self,
        plan: &impl Plan<F>,
        mut model: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Status, Failure> {
        self.coverage.check_globs(|fits| plan.has(fits))?;
        interrupt::catch();
        for target in &prepared(self.wanted.targets, &self.coverage)? {
            if interrupt::interrupted() {
                break;
            }
            match &target.kind {
                Kind::Model => model(&mut self)?,
                Kind::Unusable(reason) => self.unusable(plan, target, reason),
                Kind::XenPv { .. } => self.unusable(plan, target, "a guest of Xen is no whole machine"),
                Kind::Kvm(identity) | Kind::Booted { identity, .. } => self.target(plan, target, identity)?,
            }
        }
        self.finish(plan.scope())
    }

    fn unusable(&mut self, plan: &impl Plan<F>, target: &Prepared, reason: &str) {
        let mut tally = Tally::new(target.name.to_string(), &plan.groups(), plan.wanted());
        tally.remarks.push(format!("it cannot be used: {reason}"));
        self.tallies.push(tally);
    }

    fn target(&mut self, plan: &impl Plan<F>, target: &Prepared, identity: &Identity) -> Result<(), Failure> {
        let mut presumed = identity.clone();
        // What is expected follows from what the target is, and what it is it says when it is up.
        // Should it be something else than its files say, that is what counts from then on.
        while let Some(other) = self.run_as(plan, target, &presumed)? {
            let name = target.name.to_string();
            let (says, thought) = (other.describe(), presumed.describe());
            self.progress.say(&format!(
                "{name}: it says that it is {says}, and was taken for {thought}: beginning again\n"
            ))?;
            presumed = other;
        }
        Ok(())
    }

    /// Runs a target that is taken for what it is said to be. Gives back what it is if it turns out to
    /// be something else that is judged otherwise; then nothing of this run counts.
    fn run_as(
        &mut self,
        plan: &impl Plan<F>,
        target: &Prepared,
        identity: &Identity,
    ) -> Result<Option<Identity>, Failure> {
        let start = Instant::now();
        let processor_before = processor_time::of_process_and_children();
        let name = target.name.to_string();
        let mut tally = Tally::new(name.clone(), &plan.groups(), plan.wanted());
        let Some(profile) = profile(identity.backend) else {
            tally
                .remarks
                .push("the model has no profile for this KVM backend".to_owned());
            self.tallies.push(tally);
            return Ok(None);
        };
        self.progress.show(&format!("{name}: asking the model"));
        let applicable = Applicable::to(self.deviations, identity, Mode::Normal);
        tally.remarks.extend(applicable.remark(identity));
        let applicable = applicable.certain;
        let defects = self.wanted.defects;
        let judged_by = (profile, defects);
        let expected = plan.expected(&mut tally, identity, judged_by, all_of(&applicable))?;
        let items: Vec<Item<F::Row>> = (0..)
            .zip(&expected)
            .map(|(number, expected)| expected.item(number))
            .collect();
        let mut known: Vec<usize> = Vec::new();
        let mut up: Option<Instant> = None;
        let events = running::start::<F>(target, &items, &self.wanted, identity.smm);
        while let Some(report) = running::next(&events) {
            let (number, seen, complaints) = match report {
                Report::Identified(is) => {
                    if !is.is_judged_like(identity) {
                        return Ok(Some(*is));
                    }
                    up.get_or_insert_with(Instant::now);
                    if tally.identity.is_none() {
                        tally.remarks.extend(is.system.complaints.gap());
                    }
                    tally.identity = Some(*is);
                    continue;
                }
                Report::Note(note) => {
                    tally.remarks.push(note);
                    continue;
                }
                Report::Unusable(reason) => {
                    tally.remarks.push(format!("it cannot be used: {reason}"));
                    continue;
                }
                Report::Complained(complaints) => {
                    tally.complaints.extend(complaints);
                    continue;
                }
                Report::BootLost(lost) => {
                    let row = lost.during.and_then(|number| expected.get(number as usize));
                    tally.boots_lost.push(SummarizedLoss {
                        case: row.map(|expected| F::words(&expected.row)),
                        reason: lost.reason,
                    });
                    continue;
                }
                Report::Ran(number, seen, complaints) => (number as usize, seen, complaints),
            };
            let Some(expected) = expected.get(number) else {
                continue;
            };
            let Some(is) = &tally.identity else {
                // Whose result that is nobody knows.
                tally.count(expected.group, VerdictKind::Broken, None);
                continue;
            };
            let judge = Judge {
                payload: self.payload,
                identity: &is.clone(),
                deviations: self.deviations,
                defects,
            };
            let before = tally.of(VerdictKind::KnownDeviation);
            judge
                .judge(&mut tally, expected, seen, complaints)
                .map_err(Failure::incomplete)?;
            if tally.of(VerdictKind::KnownDeviation) > before {
                known.push(number);
            }
            let (done, wanted) = (tally.judged(), tally.wanted);
            if done.is_multiple_of(64) {
                self.progress
                    .show(&format!("{name}: {done} of {wanted} {}", F::NOUN));
            }
        }
        tally.running = up.map(|up| up.elapsed()).unwrap_or_default();
        if !known.is_empty() {
            self.progress
                .show(&format!("{name}: naming the known deviations"));
            let of = |number: &usize| expected.get(*number);
            let known: Vec<&Expected<F::Row>> = known.iter().filter_map(of).collect();
            tally.known = plan.named(identity, judged_by, &applicable, &known)?;
        }
        tally.took = start.elapsed();
        let processor_after = processor_time::of_process_and_children();
        let processor = processor_before.zip(processor_after);
        tally.processor = processor.map(|(before, after)| after.saturating_sub(before));
        self.show(&tally, profile)?;
        self.tallies.push(tally);
        Ok(None)
    }

    /// Prints what deviates, the first ones as case files, and saves them if that was asked for.
    pub(super) fn show(
        &mut self,
        tally: &Tally<'_, F::Row>,
        profile: &'static Profile,
    ) -> Result<(), Failure> {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::differences::<F>(&mut out, tally);
        for (index, shown) in tally.shown.iter().enumerate() {
            let text = case_file(self.payload, &shown.row, profile)?;
            let name = F::name(&shown.row);
            if index < PRINTED {
                out += &format!("\n# {name} as a case file:\n{text}\n");
            }
            if let Some(folder) = self.wanted.save {
                save(folder, &name, &text)?;
            }
        }
        Ok(self.progress.say(&out)?)
    }

    fn finish(mut self, scope: Scope) -> Result<Status, Failure> {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::table::<F>(&mut out, &self.tallies);
        let ran: Vec<RanTarget> = self
            .tallies
            .iter()
            .filter_map(|tally| ran(tally, scope))
            .collect();
        let mut status = status(&self.tallies).max_with(self.coverage.tell_groups(&mut out, &ran));
        let names: Vec<&str> = self.tallies.iter().map(|tally| tally.target.as_str()).collect();
        status = status.max_with(self.coverage.tell_absent(&mut out, &names, is_whole_machine));
        if !interrupt::interrupted() {
            let (text, written) = self.coverage.write_groups(&ran)?;
            out += &text;
            status = status.max_with(written);
        }
        self.progress.say(&out)?;
        let judged = |tally: &Tally<'_, F::Row>| tally.target != "model" && tally.judged() > 0;
        if self.wanted.targets.is_empty() && !self.tallies.iter().any(judged) {
            self.progress.say("no hypervisor was judged\n")?;
            status = status.max_with(Status::Incomplete);
        }
        if let Some(path) = self.wanted.json {
            let mut file = ReportFile::create(path)?;
            for tally in &self.tallies {
                let line =
                    serde_json::to_string(&report::Entry::of::<F>(tally)).map_err(Failure::incomplete)?;
                file.add(|out| writeln!(out, "{line}"));
            }
            if let Some(problem) = file.finish() {
                self.progress.say(&format!("{problem}\n"))?;
                status = status.max_with(Status::Incomplete);
            }
        }
        Ok(Status::of_signal().unwrap_or(status))
    }
}

/// A row as a case file, with the stops that the model allows.
pub(super) fn case_file<F: Family>(
    payload: &F,
    row: &F::Row,
    profile: &'static Profile,
) -> Result<String, Failure> {
    let case = payload.case(row).map_err(Failure::incomplete)?;
    let allowed = outcomes(&case.scenario, profile, DefectSet::NONE).map_err(Failure::incomplete)?;
    let mut paths: Vec<Vec<String>> = Vec::new();
    for outcome in &allowed {
        let stops = outcome.transcript.observations.iter();
        let path: Vec<String> = stops
            .map(|observation| stop::name(&case.scenario, observation.stop).to_owned())
            .collect();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let mut text = F::case_text(row, &paths);
    if case.scenario.observe != Observe::default() {
        text += &format!("observe: {}\n", case.scenario.observe.name());
    }
    Ok(text)
}

/// What ran on a hypervisor; none for the model.
fn ran<R: Clone>(tally: &Tally<'_, R>, scope: Scope) -> Option<RanTarget> {
    if tally.target == "model" {
        return None;
    }
    let is_whole = scope != Scope::Parts && tally.judged() == tally.wanted;
    let asked_for = tally.groups.iter().enumerate();
    let asked_for = asked_for.filter(|(_, group)| group.judged() > 0);
    let groups = asked_for.map(|(index, group)| RanGroup {
        name: group.name.clone(),
        members: group.judged(),
        complete: is_whole && group.of(VerdictKind::Broken) == 0,
        unsupported: tally.unsupported_members(index).cloned().collect(),
    });
    Some(RanTarget {
        name: tally.target.clone(),
        groups: groups.collect(),
        all: scope == Scope::All && is_whole,
    })
}

/// As for `conform run`.
fn status<R: Clone>(tallies: &[Tally<'_, R>]) -> Status {
    if tallies.is_empty() {
        return Status::Incomplete;
    }
    let of_one = |tally: &Tally<'_, R>| {
        let complained = !tally.complaints.is_empty();
        Status::of_target(|kind| tally.of(kind), complained, tally.is_complete())
    };
    Status::worst(tallies.iter().map(of_one))
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.yaml"));
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&path, text));
    written.map_err(|error| Failure::wrong(format_args!("{}: cannot be written: {error}", path.display())))
}

/// The defects of all of these deviations.
pub(super) fn all_of(deviations: &[&Deviation]) -> DefectSet {
    deviations
        .iter()
        .flat_map(|deviation| &deviation.defects)
        .copied()
        .collect()
}

/// A deviation as the report calls it.
pub(super) fn deviation_name(deviation: &Deviation) -> String {
    let file = deviation.file.file_stem().unwrap_or_default().to_string_lossy();
    format!("{file}: {} [{}]", deviation.title, deviation.requirement.id)
}
