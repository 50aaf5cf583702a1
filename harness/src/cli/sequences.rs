//! `conform sequences`.

use std::collections::{BTreeMap, HashSet};

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;

use crate::baseline::{Command, UnsupportedMember};
use crate::batch::Family as _;
use crate::batch::tally::Tally;
use crate::cli::args::SequencesArguments;
use crate::cli::batch::{All, Plan, Scope, all_of, case_file, deviation_name};
use crate::cli::console::print;
use crate::cli::exit::{Failure, Status};
use crate::cli::suite::Suite;
use crate::deviation::Deviation;
use crate::interrupt;
use crate::sequences::expected::{self, Expected};
use crate::sequences::symbol::{Symbol, count, lengths, of_length, parse};
use crate::sequences::{LONGEST, Payload};
use crate::sequences::{alone, report};
use crate::target::Identity;

/// Events of the longest sequences on a KVM, and in the model alone.
const LENGTH: usize = 5;
const LENGTH_ALONE: usize = 7;
/// Events of the sequences by which known deviations are looked for.
const PROBE: usize = 3;
/// Why sequences with an SMI do not run on a target without SMM.
const NO_SMM: &str =
    "KVM_CAP_X86_SMM is 0, and the sequence has an SMI; a KVM with CONFIG_KVM_SMM=y can run it";
/// The names of all of them.
const WITH_SMI: &str = "sequences/*smi*";

pub(super) fn sequences(arguments: &SequencesArguments) -> Result<Status, Failure> {
    let payload = Payload::new().map_err(Failure::incomplete)?;
    let payload = payload.observed_at(arguments.family.observe);
    if let Some(sequence) = &arguments.print {
        return print_case(&payload, sequence, arguments.family.profile);
    }
    let symbols = symbols(arguments)?;
    check_length(arguments)?;
    check_baseline(arguments)?;
    let mut suite = Suite::load_if_any(&[])?;
    if arguments.family.no_deviations {
        suite.deviations.clear();
    }
    let plan = Sequences {
        payload: &payload,
        symbols: symbols.clone(),
        length: arguments.length.unwrap_or(LENGTH),
    };
    let all = All::new(Command::Sequences, &arguments.family, &payload, &suite.deviations)?;
    all.run(&plan, |all| model(all, arguments, &symbols))
}

/// The sequences that the user wants.
struct Sequences<'a> {
    payload: &'a Payload,
    symbols: Vec<Symbol>,
    /// Events of the longest ones on a KVM.
    length: usize,
}

impl Sequences<'_> {
    /// The events that a target can have.
    fn possible(&self, identity: &Identity) -> Vec<Symbol> {
        let possible = |symbol: &Symbol| identity.smm || *symbol != Symbol::Smi;
        self.symbols.iter().copied().filter(possible).collect()
    }
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

/// A baseline has the numbers of all sequences of a length.
fn check_baseline(arguments: &SequencesArguments) -> Result<(), Failure> {
    let coverage = &arguments.family.coverage;
    if arguments.symbols.is_some() && coverage.write_baseline.is_some() {
        return Err(Failure::wrong(
            "--write-baseline is about sequences of all events: leave --symbols out",
        ));
    }
    Ok(())
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

impl Plan<Payload> for Sequences<'_> {
    fn groups(&self) -> Vec<String> {
        lengths(self.length)
    }

    fn wanted(&self) -> usize {
        count(self.symbols.len(), self.length)
    }

    /// There is always a length more.
    fn scope(&self) -> Scope {
        if self.symbols.len() == Symbol::ALL.len() {
            Scope::Groups
        } else {
            Scope::Parts
        }
    }

    fn has(&self, fits: &dyn Fn(&str) -> bool) -> bool {
        (1..=self.length)
            .any(|length| of_length(&self.symbols, length).any(|sequence| fits(&Payload::name(&sequence))))
    }

    fn expected(
        &self,
        tally: &mut Tally<'_, Vec<Symbol>>,
        identity: &Identity,
        (profile, base): (&'static Profile, DefectSet),
        deviations: DefectSet,
    ) -> Result<Vec<Expected>, Failure> {
        let symbols = self.possible(identity);
        for length in 1..=self.length {
            let all = of_length(&self.symbols, length);
            for sequence in all.filter(|sequence| !sequence.iter().all(|symbol| symbols.contains(symbol))) {
                let member = UnsupportedMember {
                    name: Payload::name(&sequence),
                    reason: NO_SMM.to_owned(),
                    pattern: Some(WITH_SMI),
                };
                tally.count_unsupported(length - 1, member);
            }
        }
        expected::expected(self.payload, profile, base, deviations, &symbols, self.length)
            .map_err(Failure::incomplete)
    }

    /// A deviation that changes no sequence of a few events is not looked for in longer ones.
    fn named(
        &self,
        identity: &Identity,
        (profile, base): (&'static Profile, DefectSet),
        deviations: &[&Deviation],
        known: &[&Expected],
    ) -> Result<BTreeMap<String, usize>, Failure> {
        let symbols = self.possible(identity);
        let ask = |deviation: &Deviation, length: usize| {
            expected::expected(
                self.payload,
                profile,
                base,
                all_of(&[deviation]),
                &symbols,
                length,
            )
            .map_err(Failure::incomplete)
        };
        let wanted: HashSet<&[Symbol]> = known.iter().map(|expected| expected.row.as_slice()).collect();
        let mut named = BTreeMap::new();
        for deviation in deviations {
            let probe = ask(deviation, self.length.min(PROBE))?;
            if interrupt::interrupted() || probe.iter().all(|expected| expected.deviating.is_none()) {
                continue;
            }
            let shows = |expected: &&Expected| {
                expected.deviating.is_some() && wanted.contains(expected.row.as_slice())
            };
            let count = ask(deviation, self.length)?.iter().filter(shows).count();
            if count > 0 {
                named.insert(deviation_name(deviation), count);
            }
        }
        Ok(named)
    }
}

/// The model alone, with its invariants.
fn model(
    all: &mut All<'_, Payload>,
    arguments: &SequencesArguments,
    symbols: &[Symbol],
) -> Result<(), Failure> {
    let length = arguments.length.unwrap_or(LENGTH_ALONE);
    let wanted = count(symbols.len(), length);
    let defects = all.wanted.defects;
    let progress = &mut all.progress;
    let mut show = |seen: usize| progress.show(&format!("model: {seen} of {wanted} sequences"));
    let alone = alone::walk(
        all.payload,
        arguments.family.profile,
        defects,
        symbols,
        length,
        &mut show,
    )
    .map_err(Failure::incomplete)?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = report::broken(&mut out, &alone.broken);
    all.progress.say(&out)?;
    all.tallies.push(alone.tally);
    Ok(())
}
