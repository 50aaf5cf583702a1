//! The table of sabotages with what came of them.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::outcome::{Outcome, Row};

/// Runs the rows whose names contain `filter` and prints a line for each, in their order.
pub fn table(rows: Vec<Row>, filter: &str) -> ExitCode {
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.name.contains(filter)).collect();
    let outcomes: Vec<Mutex<Option<Outcome>>> = rows.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((row, place)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            rows.get(index).zip(outcomes.get(index))
        } {
            if row.not_run.is_none() {
                *place.lock().expect("no row panics with it") = Some((row.run)());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (mut good, mut bad, mut not_run) = (0, 0, 0);
    let mut out = String::from("| sabotage | wanted | seen | |\n|---|---|---|---|\n");
    for (row, outcome) in rows.iter().zip(outcomes) {
        let outcome = outcome.into_inner().expect("no row panics with it");
        let (seen, end) = match (outcome, &row.not_run) {
            (
                Some(Outcome {
                    seen, problem: None, ..
                }),
                _,
            ) => {
                good += 1;
                (seen, "noticed".to_owned())
            }
            (Some(outcome), _) => {
                bad += 1;
                (
                    outcome.seen,
                    format!("NOT AS WANTED: {}", outcome.problem.unwrap_or_default()),
                )
            }
            (None, reason) => {
                not_run += 1;
                let reason = reason.as_deref().unwrap_or_default();
                (
                    "not run".to_owned(),
                    reason.lines().next().unwrap_or_default().to_owned(),
                )
            }
        };
        let line =
            [&row.name, &row.wanted, &seen, &end].map(|cell| cell.replace('|', "/").replace('\n', " "));
        out += &format!("| {} |\n", line.join(" | "));
    }
    out += &format!("{good} as wanted, {bad} not, {not_run} not run\n");
    // Whoever stopped reading knows it.
    let _ = std::io::stdout().write_all(out.as_bytes());
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
