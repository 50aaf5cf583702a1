//! Counts per target, and the table at the end of a run.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::text;
use crate::deviation::Deviation;
use crate::judge::{Against, Verdict, VerdictKind};
use crate::target::complaint::Complaint;
use crate::target::{Identity, Lack};

/// Name of the target that is no hypervisor.
const MODEL: &str = "model";

/// What came of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetSummary {
    /// Name of the target.
    pub target: String,
    /// Cases by kind of verdict; kinds that did not come up are missing.
    pub counts: BTreeMap<VerdictKind, usize>,
    /// Why cases are unsupported, with the kind of lack and without what is peculiar to one case, and
    /// how many each.
    pub unsupported: BTreeMap<String, usize>,
    /// Known deviations, and how many cases show each.
    pub known: BTreeMap<String, usize>,
    /// Why cases were judged by what is written by hand alone, and how many each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_hand: BTreeMap<String, usize>,
    /// Hand-written expectations that were not looked at, since the run was observed at its ends.
    pub not_looked_at: usize,
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
    /// Verdict of each case, by name.
    #[serde(skip)]
    pub verdicts: BTreeMap<String, CaseVerdict>,
    /// How long it took, with starting the target.
    #[serde(skip)]
    pub took: Duration,
}

/// What came of one case, for what looks at the run as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseVerdict {
    /// The kind of verdict.
    pub kind: VerdictKind,
    /// Why it is unsupported, if it is.
    pub unsupported: Option<Lack>,
}

impl CaseVerdict {
    /// Whether it says something about the target.
    #[must_use]
    pub const fn is_about_the_target(&self) -> bool {
        !matches!(self.kind, VerdictKind::Unsupported | VerdictKind::Broken)
    }
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

    /// Counts the verdict of a case.
    pub fn count(&mut self, case: &str, verdict: &Verdict<'_>) {
        *self.counts.entry(verdict.kind()).or_insert(0) += 1;
        let unsupported = match verdict {
            Verdict::Unsupported(lack) => Some(lack.clone()),
            _ => None,
        };
        let kind = verdict.kind();
        self.verdicts
            .insert(case.to_owned(), CaseVerdict { kind, unsupported });
        match verdict {
            Verdict::Unsupported(lack) => {
                *self.unsupported.entry(lack.group()).or_insert(0) += 1;
            }
            Verdict::KnownDeviation(deviations) => {
                for deviation in deviations {
                    *self.known.entry(name(deviation)).or_insert(0) += 1;
                }
            }
            Verdict::ConformsByHand(reason)
            | Verdict::Deviates {
                against: Against::ByHand(reason),
                ..
            } => {
                *self.by_hand.entry(group(reason).to_owned()).or_insert(0) += 1;
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

    /// Whether it is a hypervisor about which the run says something.
    #[must_use]
    pub fn is_judged_hypervisor(&self) -> bool {
        self.target != MODEL && self.verdicts.values().any(CaseVerdict::is_about_the_target)
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
/// instruction that the target or the model could not run.
fn group(reason: &str) -> &str {
    let marks = [" at rip ", " at linear address "];
    let cut = |reason, mark| str::split(reason, mark).next().unwrap_or(reason);
    marks.into_iter().fold(reason, cut)
}

/// What a known deviation is called in the summary. One of the user's own excuses cases that are not, so that
/// whoever reads the summary is told its file.
fn name(deviation: &Deviation) -> String {
    let file = deviation.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{file}: {} [{}]", deviation.title, deviation.requirement.id);
    if deviation.is_users_own {
        format!(
            "{name}, which is not the suite's but {}",
            deviation.file.display()
        )
    } else {
        name
    }
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
    write_table(out, summaries)?;
    write_details(out, summaries)
}

/// Writes the table: a line per target, those that could not be used with their reason.
///
/// # Errors
/// Those of the writer.
pub fn write_table(out: &mut impl Write, summaries: &[TargetSummary]) -> fmt::Result {
    let names = summaries.iter().map(|summary| summary.target.len());
    let width = names.max().unwrap_or(0).max("target".len());
    write!(out, "{:width$}", "target")?;
    for kind in VerdictKind::ALL {
        write!(out, "  {}", kind.name())?;
    }
    writeln!(out, "  {:>8}", "time")?;
    for summary in summaries {
        write!(out, "{:width$}", summary.target)?;
        if let (Some(reason), 0) = (&summary.unusable, summary.judged()) {
            writeln!(out, "  not run: {reason}")?;
            continue;
        }
        for kind in VerdictKind::ALL {
            let column = kind.name().len();
            write!(out, "  {:>column$}", summary.of(kind))?;
        }
        writeln!(out, "  {:>7.2}s", summary.took.as_secs_f64())?;
    }
    Ok(())
}

/// Writes what the numbers of the table are made of.
///
/// # Errors
/// Those of the writer.
pub fn write_details(out: &mut impl Write, summaries: &[TargetSummary]) -> fmt::Result {
    write_shared(out, "known deviations", summaries, |summary| &summary.known)?;
    let by_hand = "judged by what is written by hand alone";
    write_shared(out, by_hand, summaries, |summary| &summary.by_hand)?;
    write_shared(out, "unsupported", summaries, |summary| &summary.unsupported)?;
    for summary in summaries.iter().filter(|summary| summary.not_looked_at > 0) {
        writeln!(
            out,
            "{}: {} expectations about the state at points were not looked at; paths, accesses, memory and \
             the state at the end were",
            summary.target, summary.not_looked_at
        )?;
    }
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
            Some(_) => {}
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
