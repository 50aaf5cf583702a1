//! The table of sequences, and those that deviate as case files.

use std::fmt::{self, Write};

use serde::Serialize;

use super::case_file::name;
use super::invariant::Broken;
use super::symbol::{Symbol, words};
use super::tally::{Row, Tally};
use crate::judge::VerdictKind;
use crate::report::{Judgement, text};
use crate::target::Run;

/// Writes the counts of one target by length, and what they are made of.
///
/// # Errors
/// Those of `out`.
pub fn table(out: &mut impl Write, tallies: &[Tally<'_>]) -> fmt::Result {
    let width = tallies
        .iter()
        .map(|tally| tally.target.len())
        .max()
        .unwrap_or(0)
        .max(6);
    writeln!(
        out,
        "{:width$}  length  sequences  behaviours  conforms  known deviation  deviates  unexpectedly conforms  unsupported  broken",
        "target"
    )?;
    for tally in tallies {
        for (index, row) in tally.rows.iter().enumerate() {
            let length = (index + 1).to_string();
            line(out, width, &tally.target, &length, row, row.behaviours.len())?;
        }
        let mut all = Row::default();
        for row in &tally.rows {
            for (kind, count) in &row.counts {
                *all.counts.entry(*kind).or_insert(0) += count;
            }
        }
        line(out, width, &tally.target, "all", &all, tally.behaviours())?;
    }
    for tally in tallies {
        writeln!(
            out,
            "\n{}: {} of {} sequences in {:.1} s, {:.0} per second{}",
            tally.target,
            tally.judged(),
            tally.wanted,
            tally.took.as_secs_f64(),
            tally.rate(),
            match tally.target.as_str() {
                "model" => " of processor time",
                _ => ", starting and preparing left out",
            }
        )?;
        if let Some(processor) = tally.processor {
            writeln!(
                out,
                "  {:.1} s of processor time for all of it",
                processor.as_secs_f64()
            )?;
        }
        for (name, count) in &tally.known {
            writeln!(out, "  {count} show {name}")?;
        }
        for (reason, count) in &tally.unsupported {
            writeln!(out, "  {count} unsupported: {reason}")?;
        }
        for remark in &tally.remarks {
            writeln!(out, "  {remark}")?;
        }
    }
    Ok(())
}

fn line(
    out: &mut impl Write,
    width: usize,
    target: &str,
    length: &str,
    row: &Row,
    behaviours: usize,
) -> fmt::Result {
    let of = |kind| row.of(kind);
    writeln!(
        out,
        "{target:width$}  {length:>6}  {:>9}  {behaviours:>10}  {:>8}  {:>15}  {:>8}  {:>21}  {:>11}  {:>6}",
        row.sequences(),
        of(VerdictKind::Conforms),
        of(VerdictKind::KnownDeviation),
        of(VerdictKind::Deviates),
        of(VerdictKind::UnexpectedlyConforms),
        of(VerdictKind::Unsupported),
        of(VerdictKind::Broken),
    )
}

/// Writes what differs in the sequences that are to be shown.
///
/// # Errors
/// Those of `out`.
pub fn differences(out: &mut impl Write, tally: &Tally<'_>) -> fmt::Result {
    for shown in &tally.shown {
        let judgement = Judgement {
            case: &name(&shown.sequence),
            target: &tally.target,
            verdict: shown.verdict.clone(),
            transcript: match &shown.run {
                Some(Run::Done(transcript)) => Some(transcript),
                _ => None,
            },
        };
        text::write(out, &judgement)?;
    }
    Ok(())
}

/// Writes the invariants of the model that do not hold.
///
/// # Errors
/// Those of `out`.
pub fn broken(out: &mut impl Write, broken: &[(Vec<Symbol>, Broken)]) -> fmt::Result {
    for (sequence, broken) in broken {
        writeln!(out, "BROKEN INVARIANT  {}: {broken}", words(sequence))?;
    }
    Ok(())
}

/// One target as a line of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry<'a> {
    target: &'a str,
    complete: bool,
    sequences: usize,
    behaviours: usize,
    seconds: f64,
    per_second: f64,
    lengths: Vec<Length>,
    known_deviations: &'a std::collections::BTreeMap<String, usize>,
    unsupported: &'a std::collections::BTreeMap<String, usize>,
    remarks: &'a [String],
    /// Names of the sequences that are not as they should be, the first ones.
    shown: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Length {
    length: usize,
    behaviours: usize,
    verdicts: std::collections::BTreeMap<&'static str, usize>,
}

impl<'a> Entry<'a> {
    /// Of a tally.
    #[must_use]
    pub fn of(tally: &'a Tally<'_>) -> Self {
        let lengths = tally.rows.iter().enumerate().map(|(index, row)| Length {
            length: index + 1,
            behaviours: row.behaviours.len(),
            verdicts: row
                .counts
                .iter()
                .map(|(kind, count)| (kind.name(), *count))
                .collect(),
        });
        Self {
            target: &tally.target,
            complete: tally.is_complete(),
            sequences: tally.judged(),
            behaviours: tally.behaviours(),
            seconds: tally.took.as_secs_f64(),
            per_second: tally.rate(),
            lengths: lengths.collect(),
            known_deviations: &tally.known,
            unsupported: &tally.unsupported,
            remarks: &tally.remarks,
            shown: tally.shown.iter().map(|shown| words(&shown.sequence)).collect(),
        }
    }
}
