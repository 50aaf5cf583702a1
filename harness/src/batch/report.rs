//! The table of a family, and what deviates.

use std::fmt::{self, Write};

use serde::Serialize;

use super::Family;
use super::tally::{Group, Tally};
use crate::judge::VerdictKind;
use crate::report::summary::{self, SummarizedLoss};
use crate::report::{Judgement, text};
use crate::target::complaint::Complaint;
use crate::target::{Identity, Run};

/// Writes the counts of each target by group, and what they are made of.
///
/// # Errors
/// Those of `out`.
pub fn table<F: Family>(out: &mut impl Write, tallies: &[Tally<'_, F::Row>]) -> fmt::Result {
    let width = tallies
        .iter()
        .map(|tally| tally.target.len())
        .max()
        .unwrap_or(0)
        .max(6);
    let group = tallies
        .iter()
        .flat_map(|tally| &tally.groups)
        .map(|group| group.name.len())
        .max()
        .unwrap_or(0)
        .max(F::GROUP.len());
    writeln!(
        out,
        "{:width$}  {:>group$}  {:>12}  behaviours  conforms  known deviation  deviates  unexpectedly conforms  unsupported  broken",
        "target",
        F::GROUP,
        F::NOUN,
    )?;
    for tally in tallies {
        for counted in &tally.groups {
            line(
                out,
                (width, group),
                &tally.target,
                counted,
                counted.behaviours.len(),
            )?;
        }
        let mut all = Group {
            name: "all".to_owned(),
            ..Group::default()
        };
        for counted in &tally.groups {
            for (kind, count) in &counted.counts {
                *all.counts.entry(*kind).or_insert(0) += count;
            }
        }
        line(out, (width, group), &tally.target, &all, tally.behaviours())?;
    }
    for tally in tallies {
        writeln!(
            out,
            "\n{}: {} of {} {} in {:.1} s, {:.0} per second{}",
            tally.target,
            tally.judged(),
            tally.wanted,
            F::NOUN,
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
        if let Some(identity) = &tally.identity {
            writeln!(out, "  {}", identity.describe())?;
        }
        for remark in &tally.remarks {
            writeln!(out, "  {remark}")?;
        }
        summary::write_losses(out, &tally.target, &tally.boots_lost)?;
        summary::write_complaints(out, &tally.target, &tally.complaints)?;
    }
    Ok(())
}

fn line(
    out: &mut impl Write,
    (width, group_width): (usize, usize),
    target: &str,
    group: &Group,
    behaviours: usize,
) -> fmt::Result {
    let of = |kind| group.of(kind);
    writeln!(
        out,
        "{target:width$}  {:>group_width$}  {:>12}  {behaviours:>10}  {:>8}  {:>15}  {:>8}  {:>21}  {:>11}  {:>6}",
        group.name,
        group.judged(),
        of(VerdictKind::Conforms),
        of(VerdictKind::KnownDeviation),
        of(VerdictKind::Deviates),
        of(VerdictKind::UnexpectedlyConforms),
        of(VerdictKind::Unsupported),
        of(VerdictKind::Broken),
    )
}

/// Writes what differs in the first scenario of each way to deviate, and how many there are.
///
/// # Errors
/// Those of `out`.
pub fn differences<F: Family>(out: &mut impl Write, tally: &Tally<'_, F::Row>) -> fmt::Result {
    for shown in &tally.shown {
        let judgement = Judgement {
            case: &F::name(&shown.row),
            target: &tally.target,
            verdict: shown.verdict.clone(),
            transcript: match &shown.run {
                Some(Run::Done(transcript)) => Some(transcript),
                _ => None,
            },
        };
        text::write(out, &judgement)?;
    }
    if !tally.shown.is_empty() {
        writeln!(
            out,
            "ways to differ on {}, and the first of the {} of each:",
            tally.target,
            F::NOUN
        )?;
    }
    for shown in &tally.shown {
        writeln!(
            out,
            "  {:>6}  {}: {}",
            shown.count,
            F::words(&shown.row),
            shown.way
        )?;
    }
    if tally.not_shown > 0 {
        writeln!(out, "  {:>6}  in further ways", tally.not_shown)?;
    }
    Ok(())
}

/// One target as a line of JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry<'a> {
    target: &'a str,
    complete: bool,
    of: &'static str,
    judged: usize,
    behaviours: usize,
    seconds: f64,
    per_second: f64,
    groups: Vec<Counted<'a>>,
    known_deviations: &'a std::collections::BTreeMap<String, usize>,
    unsupported: &'a std::collections::BTreeMap<String, usize>,
    /// The names of those that are.
    unsupported_members: Vec<&'a str>,
    identity: Option<&'a Identity>,
    complaints: &'a [Complaint],
    boots_lost: &'a [SummarizedLoss],
    remarks: &'a [String],
    /// Those that are not as they should be, the first of each way.
    shown: Vec<Way<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Way<'a> {
    count: usize,
    first: String,
    way: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Counted<'a> {
    group: &'a str,
    behaviours: usize,
    verdicts: std::collections::BTreeMap<&'static str, usize>,
}

impl<'a> Entry<'a> {
    /// Of a tally.
    #[must_use]
    pub fn of<F: Family>(tally: &'a Tally<'_, F::Row>) -> Self {
        let groups = tally.groups.iter().map(|group| Counted {
            group: &group.name,
            behaviours: group.behaviours.len(),
            verdicts: group
                .counts
                .iter()
                .map(|(kind, count)| (kind.name(), *count))
                .collect(),
        });
        Self {
            target: &tally.target,
            complete: tally.is_complete(),
            of: F::NOUN,
            judged: tally.judged(),
            behaviours: tally.behaviours(),
            seconds: tally.took.as_secs_f64(),
            per_second: tally.rate(),
            groups: groups.collect(),
            known_deviations: &tally.known,
            unsupported: &tally.unsupported,
            unsupported_members: tally
                .all_unsupported_members()
                .map(|member| member.name.as_str())
                .collect(),
            identity: tally.identity.as_ref(),
            complaints: &tally.complaints,
            boots_lost: &tally.boots_lost,
            remarks: &tally.remarks,
            shown: tally
                .shown
                .iter()
                .map(|shown| Way {
                    count: shown.count,
                    first: F::words(&shown.row),
                    way: &shown.way,
                })
                .collect(),
        }
    }
}
