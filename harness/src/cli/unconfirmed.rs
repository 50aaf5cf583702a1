//! `conform explain --unconfirmed`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::console::print;
use super::exit::{Failure, Status};
use super::findings::{CONFIRMED, golden_file};
use super::suite::Suite;
use crate::confirmation::{Confirmations, Reason, Unconfirmed, counts, requirements, unconfirmed as find};

/// Lists what no target confirms.
pub(super) fn unconfirmed(further: &[PathBuf]) -> Result<Status, Failure> {
    let suite = Suite::load(further)?;
    suite.warn_of_bad_files();
    let known = Confirmations::load(&golden_file(CONFIRMED)?).map_err(Failure::wrong)?;
    let unconfirmed = find(&suite.cases, &known);
    let mut by_reason: BTreeMap<&Reason, Vec<&Unconfirmed<'_>>> = BTreeMap::new();
    for one in &unconfirmed {
        by_reason.entry(&one.reason).or_default().push(one);
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    for (reason, cases) in by_reason {
        let expectations: usize = cases.iter().map(|one| one.names.len()).sum();
        let _ = writeln!(
            out,
            "{reason} ({} of {}):",
            counted(expectations, "expectation"),
            counted(cases.len(), "case")
        );
        for one in cases {
            let what = if one.is_all {
                format!("all {}", one.names.len())
            } else {
                one.names.join(", ")
            };
            let _ = writeln!(out, "  {}: {what}", one.case.name);
        }
        let _ = writeln!(out);
    }
    let alone = requirements(&suite.cases, &known);
    if !alone.is_empty() {
        let _ = writeln!(
            out,
            "requirements that count as covered, and nothing confirms it:"
        );
    }
    for (requirement, cases) in &alone {
        let _ = writeln!(
            out,
            "  {:14} {} ({})",
            requirement.id,
            requirement.sentence,
            cases.join(" ")
        );
    }
    if !alone.is_empty() {
        let _ = writeln!(out);
    }
    let counts = counts(&suite.cases, &known);
    let _ = writeln!(
        out,
        "targets confirm {} of {} expectations; the others stand in {} of {} cases, and of {} nothing is confirmed; \
         requirements that count as covered by that alone: {}",
        counts.confirmed,
        counts.expectations,
        counts.cases_with_gaps,
        suite.cases.len(),
        counts.cases_unconfirmed,
        alone.len()
    );
    print(&out)?;
    Ok(Status::Conforms)
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
