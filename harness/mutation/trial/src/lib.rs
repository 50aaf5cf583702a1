//! The process that runs cases on the model with one mutant switched on.
//!
//! It reads the number of a mutant from each line of its input and writes what came of it in a line
//! of JSON. What may go wrong in it - a stack that overflows, memory that runs out - ends this
//! process and not the one that asks.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use harness::case::Case;
use harness::cli::suite::Suite;
use harness::explore;
use harness::judge::check::check;
use mutation::protocol::{Caught, Ready, Tried};
use serde::Serialize;
use spec_model::defect::DefectSet;

/// Questions for switches that a run may take with a mutant, for each that it takes without...
const FUEL_FACTOR: u64 = 20;
/// ...and besides.
const FUEL: u64 = 2_000_000;
/// Distinct states after which schedules are not followed any further. What a case claims of more is left
/// out: `conform check` takes minutes for all.
const MOST_STATES: usize = 2_000;
/// Bytes of stack. A mutant may recurse without end, which the fuel then ends first.
const STACK: usize = 1 << 28;

/// The switches of the model that is linked.
#[derive(Clone, Copy)]
pub struct Switch {
    /// What notes the mutants that are asked for.
    pub note: u32,
    /// Switches a mutant on for as many questions.
    pub start: fn(u32, u64),
    /// Switches it off; gives the questions that are left, and what was noted.
    pub stop: fn() -> (u64, Vec<u32>),
}

/// Something that a person has written and that the model is to fulfil.
#[derive(Clone, Copy)]
enum Written<'a> {
    /// The path and the expectations of a case, for all implementations that it is about.
    Case(&'a Case),
    /// What it says of every schedule.
    Claim(&'a Case, &'a harness::case::Claim),
}

/// Something written, and what it takes without a mutant.
struct Trial<'a> {
    written: Written<'a>,
    questions: u64,
    reached: Vec<u32>,
}

impl Written<'_> {
    fn case(&self) -> &Case {
        match self {
            Self::Case(case) | Self::Claim(case, _) => case,
        }
    }

    /// Whether it is followed to its end soon enough, without mutants.
    fn is_short(&self) -> bool {
        match self {
            Self::Case(_) => true,
            Self::Claim(case, _) => explore::explored(case, case.own_profile(), DefectSet::NONE, MOST_STATES)
                .is_ok_and(|found| found.complete),
        }
    }

    /// What does not hold.
    fn refuted(&self) -> Option<String> {
        match self {
            Self::Case(case) => {
                let checked = check(case);
                let mistake = checked.mistakes.into_iter().next();
                mistake
                    .map(|mistake| mistake.what)
                    .or(checked.notes.into_iter().next())
            }
            Self::Claim(case, claim) => {
                match explore::explored(case, case.own_profile(), DefectSet::NONE, MOST_STATES) {
                    Err(error) => Some(error.to_string()),
                    Ok(found) if !found.complete => Some("more states than without the mutant".to_owned()),
                    Ok(found) => explore::check(claim, &found).first().map(ToString::to_string),
                }
            }
        }
    }

    /// The same where the model may panic or not end.
    fn refuted_somehow(&self) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| self.refuted())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(format!("panic: {}", text.unwrap_or_default()))
        })
    }
}

/// Runs as the process. The argument is the folder of cases.
#[must_use]
pub fn main(switch: Switch) -> ExitCode {
    let work = move || serve(switch);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(message))) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
        _ => ExitCode::FAILURE,
    }
}

fn serve(switch: Switch) -> Result<(), String> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| "no folder of cases".to_owned())?;
    let suite = Suite::load_folders(&[folder]).map_err(|failure| failure.to_string())?;
    // A panic is a way to notice a mutant, and no news.
    std::panic::set_hook(Box::new(|_| {}));
    let mut broken = Vec::new();
    let mut trials = Vec::new();
    for written in all(&suite).filter(Written::is_short) {
        (switch.start)(switch.note, u64::MAX);
        let refuted = written.refuted_somehow();
        let (left, reached) = (switch.stop)();
        if let Some(what) = refuted {
            broken.push(format!("{}: {what}", written.case().name));
            continue;
        }
        trials.push(Trial {
            written,
            questions: u64::MAX - left,
            reached,
        });
    }
    trials.sort_by_key(|trial| trial.questions);
    let mut reached: Vec<u32> = trials
        .iter()
        .flat_map(|trial| trial.reached.iter().copied())
        .collect();
    reached.sort_unstable();
    reached.dedup();
    answer(&Ready {
        reached,
        cases: suite.cases.len(),
        broken,
    })?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let mutant: u32 = line.trim().parse().map_err(|_| format!("no number: {line}"))?;
        answer(&Tried {
            mutant,
            caught: try_out(&trials, mutant, switch),
        })?;
    }
    Ok(())
}

fn all(suite: &Suite) -> impl Iterator<Item = Written<'_>> {
    suite.cases.iter().flat_map(|case| {
        let claim = case.explore.as_ref().map(|claim| Written::Claim(case, claim));
        [Written::Case(case)].into_iter().chain(claim)
    })
}

/// Runs what comes to a mutant, the shortest first, until something notices it.
fn try_out(trials: &[Trial<'_>], mutant: u32, switch: Switch) -> Option<Caught> {
    let comes_to_it = |trial: &&Trial<'_>| trial.reached.binary_search(&mutant).is_ok();
    for trial in trials.iter().filter(comes_to_it) {
        let fuel = trial.questions.saturating_mul(FUEL_FACTOR).saturating_add(FUEL);
        (switch.start)(mutant, fuel);
        let refuted = trial.written.refuted_somehow();
        (switch.stop)();
        if let Some(how) = refuted {
            let case = trial.written.case().name.clone();
            return Some(Caught { case, how });
        }
    }
    None
}

fn answer<T: Serialize>(what: &T) -> Result<(), String> {
    let line = serde_json::to_string(what).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}
