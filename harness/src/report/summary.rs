//! Counts per target, and the table at the end of a run.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::judge::{Verdict, VerdictKind};

/// What came of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetSummary {
    /// Name of the target.
    pub target: String,
    /// Cases by kind of verdict; kinds that did not come up are missing.
    pub counts: BTreeMap<VerdictKind, usize>,
    /// Why cases are unsupported, and how many each; see [`group`].
    pub unsupported: BTreeMap<String, usize>,
    /// Why the target could not be used at all.
    pub unusable: Option<String>,
    /// Cases that were asked for.
    pub cases: usize,
    /// How long it took, with starting the target.
    #[serde(skip)]
    pub took: Duration,
}

impl TargetSummary {
    /// Counts one verdict.
    pub fn count(&mut self, verdict: &Verdict<'_>) {
        *self.counts.entry(verdict.kind()).or_insert(0) += 1;
        if let Verdict::Unsupported(reason) = verdict {
            *self.unsupported.entry(group(reason).to_owned()).or_insert(0) += 1;
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
        self.unusable.is_none() && self.judged() == self.cases && self.of(VerdictKind::Broken) == 0
    }
}

/// The part of a reason that several cases share: without the address and the bytes of the
/// instruction that the target could not run.
fn group(reason: &str) -> &str {
    reason.split(" at rip ").next().unwrap_or(reason)
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
    for summary in summaries {
        let target = &summary.target;
        for (reason, count) in &summary.unsupported {
            writeln!(out, "{target}: {count} unsupported: {reason}")?;
        }
        match &summary.unusable {
            Some(reason) => writeln!(out, "{target}: not run: {reason}")?,
            None if summary.judged() < summary.cases => {
                let missing = summary.cases - summary.judged();
                writeln!(
                    out,
                    "{target}: INCOMPLETE: {missing} of {} cases have no verdict",
                    summary.cases
                )?;
            }
            None => {}
        }
    }
    Ok(())
}
