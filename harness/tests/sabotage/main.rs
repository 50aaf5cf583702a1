//! The suite, sabotaged: whatever is broken under it, it must not end green.
//!
//! Each row of the table breaks one thing and runs `conform` as a user does. What it must come
//! to is in the row: an exit status, never 0, and texts that name what was broken. For every row:
//!
//! - the sabotage really happened, as the preloaded library or the emulator noted;
//! - without it the same cases end with 0 (the control rows);
//! - no case that has a verdict without it is unsupported with it: grey is not where a fault hides;
//! - nothing blames the case, and nothing panics.
//!
//! `cargo sabotage [FILTER]` prints the table with what came of each row.

#[path = "../provisioned/mod.rs"]
#[allow(dead_code, reason = "what is run here is the program, not the library")]
mod provisioned;

mod booted;
mod conform;
mod control;
mod copies;

mod each_call;
mod emulator;
mod host;
mod local;
mod lost;
mod outcome;
mod print;
mod sweep;
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use outcome::Row;

fn main() -> ExitCode {
    if let Some(plan) = emulator::Plan::of_this_process() {
        return plan.run();
    }
    let mut arguments: Vec<String> = std::env::args().collect();
    let table = arguments.iter().position(|argument| argument == "--table");
    if let Some(place) = table {
        arguments.remove(place);
    }
    let arguments = Arguments::from_iter(arguments);
    let rows: Vec<Row> = [
        control::rows(),
        local::rows(),
        each_call::rows(),
        sweep::rows(),
        booted::rows(),
        host::rows(),
        lost::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    if table.is_some() {
        return print::table(rows, arguments.filter.as_deref().unwrap_or_default());
    }
    libtest_mimic::run(&arguments, rows.into_iter().map(trial).collect()).exit_code()
}

fn trial(row: Row) -> Trial {
    let name = match &row.not_run {
        // A name is all that is printed of a trial that does not run.
        Some(reason) => format!("{} [not run: {}]", row.name, first_words(reason)),
        None => row.name.clone(),
    };
    let ignored = row.not_run.is_some();
    let run = move || {
        let outcome = (row.run)();
        outcome.problem.map_or(Ok(()), |problem| {
            Err(Failed::from(format!(
                "{}\n{problem}\n{}",
                outcome.seen, outcome.output
            )))
        })
    };
    Trial::test(name, run).with_ignored_flag(ignored)
}

/// The beginning of a reason: a name is one line and not too long.
fn first_words(reason: &str) -> String {
    const LONGEST: usize = 90;
    let first = reason.split(['\n', ';']).next().unwrap_or_default();
    first.chars().take(LONGEST).collect()
}
