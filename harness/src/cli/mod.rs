//! The `conform` command.

mod args;
mod batch;
mod bugs;
mod check;
mod console;
mod coverage;
pub mod default_set;
mod exit;
mod explain;
mod explore;
pub mod findings;
mod gates;
pub(crate) mod glob;
mod layout;
mod listing;
mod native;
mod probe;
mod provision;
mod report_file;
mod run;
mod sequences;
pub mod session;
mod shuffle;
pub mod suite;
pub mod target_name;
mod unconfirmed;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
pub use exit::{Failure, Status};

/// Runs the command with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Explore(arguments) => explore::explore(&arguments),
        Command::Gates(arguments) => gates::gates(&arguments),
        Command::Sequences(arguments) => sequences::sequences(&arguments),
        Command::Native(arguments) => native::native(&arguments),
        Command::Check { path } => check::check(path.as_deref()),
        Command::Targets => listing::targets(),
        Command::Probe { targets } => probe::probe(&targets),
        Command::Provision { wanted, list: true } => provision::list(&wanted),
        Command::Provision { wanted, list: false } => provision::provision(&wanted),
        Command::Explain {
            unproven: true,
            cases,
            ..
        } => explain::unproven(&cases),
        Command::Explain {
            unconfirmed: true,
            cases,
            ..
        } => unconfirmed::unconfirmed(&cases),
        Command::Explain {
            requirement, cases, ..
        } => explain::explain(requirement.as_deref(), &cases),
        Command::Findings(arguments) => findings::findings(&arguments),
        Command::Defects => listing::defects(),
        Command::Layout(arguments) => layout::layout(&arguments),
        Command::Bugs { cases } => bugs::bugs(&cases),
        Command::List { cases, globs } => listing::cases(&cases, &globs),
    };
    match result {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.report();
            failure.status.into()
        }
    }
}
