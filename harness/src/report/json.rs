//! The report for programs: JSON lines.
//!
//! A header, one record per case and target, a footer. A run that stopped early has no
//! footer, and one that is incomplete for other reasons has a footer that says so.

use std::io::{self, Write};

use serde::Serialize;
use spec_model::transcript::Transcript;

use super::Judgement;
use super::summary::TargetSummary;
use crate::deviation::Deviation;
use crate::judge::{Against, Difference, Verdict, VerdictKind};
use crate::target::{Identity, Lack, Mode};

/// Number of this format; it rises when a reader has to change.
pub const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Record<'a> {
    Header {
        format: u32,
        version: &'static str,
        command: &'a [String],
        mode: Mode,
        targets: &'a [TargetEntry],
    },
    Case(CaseRecord<'a>),
    Footer {
        complete: bool,
        targets: &'a [TargetSummary],
    },
}

/// A target in the header.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetEntry {
    /// Name on the command line.
    pub name: String,
    /// What it is; missing for the model and for what cannot be used.
    pub identity: Option<Identity>,
    /// Why it cannot be used.
    pub unusable: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CaseRecord<'a> {
    case: &'a str,
    target: &'a str,
    verdict: VerdictKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why what is written by hand is all that was judged, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_hand_alone: Option<&'a str>,
    /// What the target lacks: `kind`, `text`, and for a row of a table its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    lack: Option<&'a Lack>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deviations: Vec<DeviationRecord<'a>>,
    differences: &'a [Difference],
    transcript: Option<&'a Transcript>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DeviationRecord<'a> {
    title: &'a str,
    requirement: &'a str,
    defects: Vec<&'static str>,
    file: String,
}

impl<'a> From<&&'a Deviation> for DeviationRecord<'a> {
    fn from(deviation: &&'a Deviation) -> Self {
        Self {
            title: &deviation.title,
            requirement: deviation.requirement.id,
            defects: deviation.defects.iter().map(|defect| defect.name()).collect(),
            file: deviation.file.display().to_string(),
        }
    }
}

/// Writes the first line.
///
/// # Errors
/// Those of the writer.
pub fn write_header(
    out: &mut impl Write,
    command: &[String],
    mode: Mode,
    targets: &[TargetEntry],
) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    write_line(
        out,
        &Record::Header {
            format: FORMAT,
            version,
            command,
            mode,
            targets,
        },
    )
}

/// Writes the line of one case on one target.
///
/// # Errors
/// Those of the writer.
pub fn write_case(out: &mut impl Write, judgement: &Judgement<'_>) -> io::Result<()> {
    let (mut reason, mut lack, mut by_hand_alone) = (None, None, None);
    let (mut deviations, mut differences) = (Vec::new(), [].as_slice());
    match &judgement.verdict {
        Verdict::Conforms => {}
        Verdict::ConformsByHand(why) => by_hand_alone = Some(why.as_str()),
        Verdict::Unsupported(why) => {
            reason = Some(why.to_string());
            lack = Some(why);
        }
        Verdict::Broken(why) => reason = Some(why.clone()),
        Verdict::KnownDeviation(known) | Verdict::UnexpectedlyConforms(known) => {
            deviations = known.iter().map(DeviationRecord::from).collect();
        }
        Verdict::Deviates {
            differences: found,
            against,
        } => {
            differences = found;
            match against {
                Against::Pure => {}
                Against::WithDeviations(known) => {
                    deviations = known.iter().map(DeviationRecord::from).collect();
                }
                Against::ByHand(why) => by_hand_alone = Some(why.as_str()),
            }
        }
    }
    let record = CaseRecord {
        case: judgement.case,
        target: judgement.target,
        verdict: judgement.verdict.kind(),
        reason,
        by_hand_alone,
        lack,
        deviations,
        differences,
        transcript: judgement.transcript,
    };
    write_line(out, &Record::Case(record))
}

/// Writes the last line.
///
/// # Errors
/// Those of the writer.
pub fn write_footer(out: &mut impl Write, complete: bool, targets: &[TargetSummary]) -> io::Result<()> {
    write_line(out, &Record::Footer { complete, targets })
}

fn write_line(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")?;
    // A line at a time, so that a run that dies leaves what it had.
    out.flush()
}
