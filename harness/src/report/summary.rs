//! Counts per target, and the table at the end of a run.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::text;
use crate::deviation::Deviation;
use crate::judge::{Verdict, VerdictKind};
use crate::target::Identity;
use crate::target::complaint::Complaint;

/// What came of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetSummary {
    /// Name of the target.
    pub target: String,
    /// Cases by kind of verdict; kinds that did not come up are missing.
    pub counts: BTreeMap<VerdictKind, usize>,
    /// Why cases are unsupported, without what is peculiar to one case, and how many each.
    pub unsupported: BTreeMap<String, usize>,
    /// Known deviations, and how many cases show each.
    pub known: BTreeMap<String, usize>,
    /// Why the target could not be used, or not any more.
    pub unusable: Option<String>,
    /// What the target said that it is.
    pub identity: Option<Identity>,
    /// What its kernel complained of while no case ran.
    pub complaints: Vec<Complaint>,
    /// Boots that were lost.
    pub boots_lost: Vec<SummarizedLoss>,
    /// What else there is to know about the target.
    pub notes: Vec<String>,
    /// Cases that were asked for.
    pub cases: usize,
    /// How long it took, with starting the target.
    #[serde(skip)]
    pub took: Duration,
}

/// A boot that was lost, in a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SummarizedLoss {
    /// The case whose verdict says so; none if the boot was lost between two cases.
    pub case: Option<String>,
    /// How it was lost.
    pub reason: String,
}

impl SummarizedLoss {
    /// Whether a verdict says that the boot was lost.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.case.is_some()
    }
}

impl TargetSummary {
    /// Takes what a target said that it is.
    pub fn identified(&mut self, identity: Identity) {
        if let Some(gap) = identity.system.complaints.gap()
            && !self.notes.contains(&gap)
        {
            self.notes.push(gap);
        }
        self.identity = Some(identity);
    }

    /// Counts one verdict.
    pub fn count(&mut self, verdict: &Verdict<'_>) {
        *self.counts.entry(verdict.kind()).or_insert(0) += 1;
        match verdict {
            Verdict::Unsupported(reason) => {
                *self.unsupported.entry(group(reason).to_owned()).or_insert(0) += 1;
            }
            Verdict::KnownDeviation(deviations) => {
                for deviation in deviations {
                    *self.known.entry(name(deviation)).or_insert(0) += 1;
                }
            }
            _ => {}
        }
    }

    /// Cases with that kind of verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Cases with any verdict.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.counts.values().sum()
    }

    /// Whether every case that was asked for has a verdict that says something about it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unusable.is_none()
            && self.judged() == self.cases
            && self.of(VerdictKind::Broken) == 0
            && self.boots_lost.iter().all(SummarizedLoss::is_explained)
    }
}

/// The part of a reason that several cases share: without the address and the bytes of the
/// instruction that the target could not run.
fn group(reason: &str) -> &str {
    reason.split(" at rip ").next().unwrap_or(reason)
}

/// What a known deviation is called in the summary.
fn name(deviation: &Deviation) -> String {
    let file = deviation.file.file_stem().unwrap_or_default().to_string_lossy();
    format!("{file}: {} [{}]", deviation.title, deviation.requirement.id)
}

/// Writes each text once, with the targets that share it and their counts.
fn write_shared(
    out: &mut impl Write,
    heading: &str,
    summaries: &[TargetSummary],
    counts: impl Fn(&TargetSummary) -> &BTreeMap<String, usize>,
) -> fmt::Result {
    let mut shared: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for summary in summaries {
        for (text, count) in counts(summary) {
            shared
                .entry(text)
                .or_default()
                .push(format!("{} ({count})", summary.target));
        }
    }
    if !shared.is_empty() {
        writeln!(out, "\n{heading}, with the number of cases per target:")?;
    }
    for (text, targets) in shared {
        writeln!(out, "  {text}\n    {}", targets.join(", "))?;
    }
    Ok(())
}

/// Writes the table, and below it the reasons.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, summaries: &[TargetSummary]) -> fmt::Result {
    let names = summaries.iter().map(|summary| summary.target.len());
    let width = names.max().unwrap_or(0).max("target".len());
    write!(out, "{:width$}", "target")?;
    for kind in VerdictKind::ALL {
        write!(out, "  {}", kind.name())?;
    }
    writeln!(out, "  {:>8}", "time")?;
    for summary in summaries {
        write!(out, "{:width$}", summary.target)?;
        for kind in VerdictKind::ALL {
            let column = kind.name().len();
            write!(out, "  {:>column$}", summary.of(kind))?;
        }
        writeln!(out, "  {:>7.2}s", summary.took.as_secs_f64())?;
    }
    write_shared(out, "known deviations", summaries, |summary| &summary.known)?;
    write_shared(out, "unsupported", summaries, |summary| &summary.unsupported)?;
    for summary in summaries {
        let target = &summary.target;
        match &summary.unusable {
            Some(reason) if summary.judged() > 0 => {
                let missing = summary.cases - summary.judged();
                writeln!(
                    out,
                    "{target}: could not be used any more: {reason}\n  {missing} cases have no verdict"
                )?;
            }
            Some(reason) => writeln!(out, "{target}: not run: {reason}")?,
            None if summary.judged() < summary.cases => {
                let missing = summary.cases - summary.judged();
                writeln!(
                    out,
                    "{target}: INCOMPLETE: no verdict for {missing} of {} {}",
                    summary.cases,
                    if summary.cases == 1 { "case" } else { "cases" }
                )?;
            }
            None => {}
        }
        for note in &summary.notes {
            writeln!(out, "{target}: {note}")?;
        }
        write_losses(out, target, &summary.boots_lost)?;
        write_complaints(out, target, &summary.complaints)?;
    }
    Ok(())
}

/// Writes which boots of a target were lost; nothing if none was.
///
/// # Errors
/// Those of the writer.
pub fn write_losses(out: &mut impl Write, target: &str, losses: &[SummarizedLoss]) -> fmt::Result {
    match losses.len() {
        0 => return Ok(()),
        1 => writeln!(
            out,
            "{target}: 1 boot was lost, and what was left ran in another one:"
        )?,
        many => writeln!(
            out,
            "{target}: {many} boots were lost, and what was left ran in others:"
        )?,
    }
    let first = |reason: &str| reason.lines().next().unwrap_or_default().to_owned();
    let mut told: Vec<String> = Vec::new();
    for SummarizedLoss { case, reason } in losses {
        match case {
            Some(case) => {
                // The verdict has the console.
                writeln!(out, "  in {case}: {}", first(reason))?;
            }
            None if told.contains(&first(reason)) => {
                writeln!(out, "  between two cases, in the same way: {}", first(reason))?;
            }
            None => {
                told.push(first(reason));
                let reason = reason.trim_end().replace('\n', "\n    ");
                writeln!(out, "  between two cases, so that no verdict says so: {reason}")?;
            }
        }
    }
    Ok(())
}

/// Writes what the kernel of a target complained of while no case ran; nothing if it did not.
///
/// # Errors
/// Those of the writer.
pub fn write_complaints(out: &mut impl Write, target: &str, complaints: &[Complaint]) -> fmt::Result {
    for complaint in complaints {
        writeln!(
            out,
            "{target}: DEVIATES: its kernel complained while no case ran: {}",
            complaint.headline
        )?;
        text::write_complaint(out, complaint)?;
    }
    Ok(())
}
