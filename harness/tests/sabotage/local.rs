//! Sabotages of the local device.

use super::conform::Conform;
use super::control;
use super::outcome::{Expected, Outcome, Row};
use super::table::{self, Local};

pub fn rows() -> Vec<Row> {
    let not_run = control::no_local();
    let row = |row: &'static Local| Row {
        name: format!("kvm::{}", row.sabotage),
        wanted: row.expected().to_text(),
        run: Box::new(|| run(row)),
        not_run: not_run.clone(),
    };
    table::local_rows().map(row).collect()
}

impl Local {
    pub const fn expected(&self) -> Expected {
        Expected {
            statuses: self.statuses,
            says: self.says,
            lost: !self.options.is_empty(),
        }
    }
}

fn run(row: &Local) -> Outcome {
    let mut conform = Conform::run(&["--target", "kvm"]);
    conform.command.args(row.cases).args(row.options);
    conform.sabotaged(row.sabotage);
    let finished = conform.finish();
    let mut outcome = row.expected().judge(&finished, &control::local().records);
    if !row.sabotage.split(';').all(|one| finished.applied.contains(one)) {
        let nothing = "the sabotage did not happen".to_owned();
        outcome.problem = Some(
            outcome
                .problem
                .map_or(nothing.clone(), |other| format!("{nothing}; {other}")),
        );
    }
    outcome
}
