//! `conform sequences`.

mod running;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::run::outcomes;

use crate::cli::args::SequencesArguments;
use crate::cli::console::{Progress, print};
use crate::cli::exit::{Failure, Status};
use crate::cli::session::{Kind, Prepared, default_targets, own_executable};
use crate::cli::suite::Suite;
use crate::cli::target_name::TargetName;
use crate::deviation::{self, Deviation};
use crate::interrupt;
use crate::judge::VerdictKind;
use crate::judge::case::profile;
use crate::judge::stop;
use crate::provision::Cache;
use crate::sequences::batch::Item;
use crate::sequences::case_file::{case_text, name};
use crate::sequences::expected::{self, Expected};
use crate::sequences::symbol::{Symbol, count, parse};
use crate::sequences::tally::{Judge, Tally};
use crate::sequences::{LONGEST, Payload};
use crate::sequences::{alone, processor_time, report};
use crate::target::{Identity, Mode};
use running::Event;

/// Events of the longest sequences on a KVM, and in the model alone.
const LENGTH: usize = 5;
const LENGTH_ALONE: usize = 7;
/// Deviating sequences that are printed as case files.
const PRINTED: usize = 3;
/// Events of the sequences by which known deviations are looked for.
const PROBE: usize = 3;
/// Why sequences with an SMI do not run on a target without SMM.
const NO_SMM: &str =
    "KVM_CAP_X86_SMM is 0, and the sequence has an SMI; a KVM with CONFIG_KVM_SMM=y can run it";

pub(super) fn sequences(arguments: &SequencesArguments) -> Result<Status, Failure> {
    let payload = Payload::new().map_err(Failure::incomplete)?;
    if let Some(sequence) = &arguments.print {
        return print_case(&payload, sequence, arguments.profile);
    }
    let symbols = symbols(arguments)?;
    check_length(arguments)?;
    let suite = Suite::load_if_any(&[])?;
    let cache = Cache::open(None).map_err(Failure::incomplete)?;
    let names = if arguments.targets.is_empty() {
        // The sequences are events of whole machines.
        let mut names = default_targets(&cache);
        names.retain(|name| *name != TargetName::XenPv);
        names
    } else {
        arguments.targets.clone()
    };
    let executable = own_executable().map_err(Failure::incomplete)?;
    interrupt::catch();
    let mut all = All {
        arguments,
        payload: &payload,
        symbols,
        deviations: &suite.deviations,
        progress: Progress::new(),
        tallies: Vec::new(),
    };
    let targets: Vec<Prepared> = names
        .iter()
        .map(|name| Prepared::new(name, &cache, &executable))
        .collect();
    for target in &targets {
        if interrupt::interrupted() {
            break;
        }
        match &target.kind {
            Kind::Model => all.model()?,
            Kind::Unusable(reason) => all.unusable(target, reason),
            Kind::XenPv { .. } => all.unusable(target, "a guest of Xen has no SMI, RSM, STI and MOV SS"),
            Kind::Kvm(identity) | Kind::Booted { identity, .. } => all.target(target, identity)?,
        }
    }
    all.finish()
}

/// The events that the user wants, each once.
fn symbols(arguments: &SequencesArguments) -> Result<Vec<Symbol>, Failure> {
    let Some(text) = &arguments.symbols else {
        return Ok(Symbol::ALL.to_vec());
    };
    let wanted = parse(text).map_err(Failure::wrong)?;
    let symbols: Vec<Symbol> = Symbol::ALL
        .into_iter()
        .filter(|symbol| wanted.contains(symbol))
        .collect();
    if symbols.is_empty() {
        return Err(Failure::wrong(
            "--symbols names no event; leave it out for all of them",
        ));
    }
    Ok(symbols)
}

fn check_length(arguments: &SequencesArguments) -> Result<(), Failure> {
    match arguments.length {
        Some(length) if length == 0 || length > LONGEST => Err(Failure::wrong(format_args!(
            "--length {length} is not possible: there is room for 1 to {LONGEST} events"
        ))),
        _ => Ok(()),
    }
}

/// Prints a sequence as a case file.
fn print_case(payload: &Payload, text: &str, profile: &'static Profile) -> Result<Status, Failure> {
    let sequence = parse(text).map_err(Failure::wrong)?;
    if sequence.is_empty() || sequence.len() > LONGEST {
        return Err(Failure::wrong(format_args!(
            "a sequence has 1 to {LONGEST} events"
        )));
    }
    print(&case_file(payload, &sequence, profile)?)?;
    Ok(Status::Conforms)
}

/// A sequence as a case file, with the stops that the model allows.
fn case_file(payload: &Payload, sequence: &[Symbol], profile: &'static Profile) -> Result<String, Failure> {
    let case = payload.case(sequence).map_err(Failure::incomplete)?;
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
    Ok(case_text(sequence, &paths))
}

struct All<'a> {
    arguments: &'a SequencesArguments,
    payload: &'a Payload,
    symbols: Vec<Symbol>,
    deviations: &'a [Deviation],
    progress: Progress,
    tallies: Vec<Tally<'a>>,
}

impl<'a> All<'a> {
    fn model(&mut self) -> Result<(), Failure> {
        let length = self.arguments.length.unwrap_or(LENGTH_ALONE);
        let wanted = count(self.symbols.len(), length);
        let defects = self.defects();
        let progress = &mut self.progress;
        let mut show = |seen: usize| progress.show(&format!("model: {seen} of {wanted} sequences"));
        let profile = self.arguments.profile;
        let alone = alone::walk(self.payload, profile, defects, &self.symbols, length, &mut show)
            .map_err(Failure::incomplete)?;
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::broken(&mut out, &alone.broken);
        self.progress.say(&out)?;
        self.tallies.push(alone.tally);
        Ok(())
    }

    fn defects(&self) -> DefectSet {
        self.arguments.defects.iter().copied().collect()
    }

    fn unusable(&mut self, target: &Prepared, reason: &str) {
        let length = self.arguments.length.unwrap_or(LENGTH);
        let mut tally = Tally::new(target.name.to_string(), length, count(self.symbols.len(), length));
        tally.remarks.push(format!("it cannot be used: {reason}"));
        self.tallies.push(tally);
    }

    fn target(&mut self, target: &Prepared, identity: &Identity) -> Result<(), Failure> {
        let start = Instant::now();
        let processor_before = processor_time::of_process_and_children();
        let name = target.name.to_string();
        let length = self.arguments.length.unwrap_or(LENGTH);
        let mut tally = Tally::new(name.clone(), length, count(self.symbols.len(), length));
        let Some(profile) = profile(identity.backend) else {
            tally
                .remarks
                .push("the model has no profile for this KVM backend".to_owned());
            self.tallies.push(tally);
            return Ok(());
        };
        self.progress.show(&format!("{name}: asking the model"));
        let applicable = deviation::applicable(self.deviations, identity, Mode::Normal);
        let symbols: Vec<Symbol> = self
            .symbols
            .iter()
            .copied()
            .filter(|symbol| identity.smm || *symbol != Symbol::Smi)
            .collect();
        for length in 1..=length {
            let of = |symbols: usize| count(symbols, length) - count(symbols, length - 1);
            for _ in of(symbols.len())..of(self.symbols.len()) {
                tally.count_unsupported(length, NO_SMM);
            }
        }
        let expected = expected::expected(
            self.payload,
            profile,
            self.defects(),
            all_of(&applicable),
            &symbols,
            length,
        )
        .map_err(Failure::incomplete)?;
        let items: Vec<Item> = (0..)
            .zip(&expected)
            .map(|(number, expected)| expected.item(number))
            .collect();
        let judge = Judge {
            payload: self.payload,
            identity,
            deviations: self.deviations,
            defects: self.defects(),
        };
        let mut known: Vec<usize> = Vec::new();
        let mut up: Option<Instant> = None;
        let events = running::start(target, &items, self.arguments.jobs, identity.smm);
        while let Some(event) = running::next(&events) {
            let (number, seen) = match event {
                Event::Up => {
                    up.get_or_insert_with(Instant::now);
                    continue;
                }
                Event::Remark(remark) => {
                    tally.remarks.push(remark);
                    continue;
                }
                Event::Seen(number, seen) => (number as usize, seen),
            };
            let Some(expected) = expected.get(number) else {
                continue;
            };
            let before = tally.of(VerdictKind::KnownDeviation);
            judge
                .judge(&mut tally, expected, seen)
                .map_err(Failure::incomplete)?;
            if tally.of(VerdictKind::KnownDeviation) > before {
                known.push(number);
            }
            let (done, wanted) = (tally.judged(), tally.wanted);
            if done.is_multiple_of(64) {
                self.progress
                    .show(&format!("{name}: {done} of {wanted} sequences"));
            }
        }
        tally.running = up.map(|up| up.elapsed()).unwrap_or_default();
        if !known.is_empty() {
            self.progress
                .show(&format!("{name}: naming the known deviations"));
            let of = |number: &usize| expected.get(*number);
            let known: Vec<&Expected> = known.iter().filter_map(of).collect();
            tally.known = named(
                self.payload,
                (profile, self.defects()),
                &applicable,
                &symbols,
                length,
                &known,
            )?;
        }
        tally.took = start.elapsed();
        let processor_after = processor_time::of_process_and_children();
        let processor = processor_before.zip(processor_after);
        tally.processor = processor.map(|(before, after)| after.saturating_sub(before));
        self.show(&tally, profile)?;
        self.tallies.push(tally);
        Ok(())
    }

    /// Prints what deviates, the first ones as case files, and saves them if that was asked for.
    fn show(&mut self, tally: &Tally<'_>, profile: &'static Profile) -> Result<(), Failure> {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::differences(&mut out, tally);
        for (index, shown) in tally.shown.iter().enumerate() {
            let text = case_file(self.payload, &shown.sequence, profile)?;
            if index < PRINTED {
                out += &format!("\n# {} as a case file:\n{text}\n", name(&shown.sequence));
            }
            if let Some(folder) = &self.arguments.save {
                save(folder, &name(&shown.sequence), &text)?;
            }
        }
        Ok(self.progress.say(&out)?)
    }

    fn finish(mut self) -> Result<Status, Failure> {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = report::table(&mut out, &self.tallies);
        self.progress.say(&out)?;
        if let Some(path) = &self.arguments.json {
            let file = File::create(path).map_err(|error| {
                Failure::wrong(format_args!("{}: cannot be written: {error}", path.display()))
            })?;
            let mut file = BufWriter::new(file);
            for tally in &self.tallies {
                let line = serde_json::to_string(&report::Entry::of(tally)).map_err(Failure::incomplete)?;
                writeln!(file, "{line}")?;
            }
            file.flush()?;
        }
        Ok(Status::of_signal().unwrap_or_else(|| status(&self.tallies)))
    }
}

/// As for `conform run`.
fn status(tallies: &[Tally<'_>]) -> Status {
    let of = |kind| tallies.iter().map(|tally| tally.of(kind)).sum::<usize>();
    let judged: usize = tallies.iter().map(Tally::judged).sum();
    if of(VerdictKind::Deviates) + of(VerdictKind::UnexpectedlyConforms) > 0 {
        Status::Deviates
    } else if judged == of(VerdictKind::Unsupported) || !tallies.iter().all(Tally::is_complete) {
        Status::Incomplete
    } else {
        Status::Conforms
    }
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
fn all_of(deviations: &[&Deviation]) -> DefectSet {
    deviations
        .iter()
        .flat_map(|deviation| &deviation.defects)
        .copied()
        .collect()
}

/// How many of the sequences show each deviation: those that it changes when it is on alone. A
/// deviation that changes no sequence of a few events is not looked for in longer ones.
fn named(
    payload: &Payload,
    (profile, base): (&'static Profile, DefectSet),
    deviations: &[&Deviation],
    symbols: &[Symbol],
    length: usize,
    known: &[&Expected],
) -> Result<BTreeMap<String, usize>, Failure> {
    let ask = |deviation: &Deviation, length: usize| {
        expected::expected(payload, profile, base, all_of(&[deviation]), symbols, length)
            .map_err(Failure::incomplete)
    };
    let wanted: HashSet<&[Symbol]> = known
        .iter()
        .map(|expected| expected.sequence.as_slice())
        .collect();
    let mut named = BTreeMap::new();
    for deviation in deviations {
        let probe = ask(deviation, length.min(PROBE))?;
        if interrupt::interrupted() || probe.iter().all(|expected| expected.deviating.is_none()) {
            continue;
        }
        let shows = |expected: &&Expected| {
            expected.deviating.is_some() && wanted.contains(expected.sequence.as_slice())
        };
        let count = ask(deviation, length)?.iter().filter(shows).count();
        let file = deviation.file.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{file}: {} [{}]", deviation.title, deviation.requirement.id);
        if count > 0 {
            named.insert(name, count);
        }
    }
    Ok(named)
}
