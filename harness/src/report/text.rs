//! A verdict in plain text, for someone who has to find the bug.

use std::collections::HashSet;
use std::fmt::{self, Write};

use spec_model::requirement::Requirement;

use super::Judgement;
use crate::deviation::Deviation;
use crate::judge::difference::{Source, Subject, path_around};
use crate::judge::value::write_alternatives;
use crate::judge::{Against, Cited, Difference, Verdict};

/// Differences that are printed for one case; the JSON report has all of them.
const SHOWN: usize = 24;

/// Writes what there is to say about one case on one target. Plain conformance is silent.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, judgement: &Judgement<'_>) -> fmt::Result {
    let Judgement { case, target, .. } = judgement;
    match &judgement.verdict {
        Verdict::Conforms => Ok(()),
        Verdict::ConformsByHand(reason) => {
            writeln!(
                out,
                "by hand      {case} on {target}: conforms (by hand alone: {reason})"
            )
        }
        Verdict::Unsupported(lack) => {
            writeln!(out, "unsupported  {case} on {target} ({}): {lack}", lack.kind())
        }
        Verdict::Broken(reason) => {
            // A console excerpt has several lines.
            let reason = reason.trim_end().replace('\n', "\n    ");
            writeln!(out, "BROKEN       {case} on {target}: {reason}")
        }
        Verdict::KnownDeviation(deviations) => {
            writeln!(out, "known        {case} on {target}")?;
            write_deviations(out, deviations)
        }
        Verdict::UnexpectedlyConforms(deviations) => {
            writeln!(
                out,
                "UNEXPECTED   {case} on {target}: it conforms, although these deviations are listed for it"
            )?;
            write_deviations(out, deviations)?;
            writeln!(out, "  Remove them, or narrow their kernels.")
        }
        Verdict::Deviates { differences, against } => {
            writeln!(out, "DEVIATES     {case} on {target}")?;
            match against {
                Against::Pure => {}
                Against::WithDeviations(deviations) => {
                    writeln!(
                        out,
                        "  from the model with these known deviations on, which is nearer than the pure one:"
                    )?;
                    write_deviations(out, deviations)?;
                }
                Against::ByHand(reason) => {
                    writeln!(
                        out,
                        "  from what is written by hand, which is all that was judged: {reason}"
                    )?;
                }
            }
            write_differences(out, differences)
        }
    }
}

fn write_deviations(out: &mut impl Write, deviations: &[&Deviation]) -> fmt::Result {
    for deviation in deviations {
        writeln!(
            out,
            "  {} [{}, kernels {}] {}",
            deviation.title,
            deviation.requirement.id,
            deviation.kernels,
            deviation.file.display()
        )?;
    }
    Ok(())
}

/// Writes differences grouped by place, then the requirements that they touch.
///
/// A field that stays wrong in the same way from one point to the next is shown once.
///
/// # Errors
/// Those of the writer.
pub fn write_differences(out: &mut impl Write, differences: &[Difference]) -> fmt::Result {
    let mut known = HashSet::new();
    let mut fresh: Vec<&Difference> = Vec::new();
    for difference in differences {
        if known.insert((difference.subject.label(), &difference.allowed, &difference.seen)) {
            fresh.push(difference);
        }
    }
    let shown = fresh.get(..SHOWN).unwrap_or(&fresh);
    let column = |width: fn(&Difference) -> usize| {
        let fields = shown.iter().filter(|difference| !is_path(difference));
        fields.map(|difference| width(difference)).max().unwrap_or(0)
    };
    let labels = column(|difference| difference.subject.label().len());
    let values = column(|difference| allowed(difference).len());
    let mut place = None;
    for difference in shown {
        if place != Some(&difference.place) {
            place = Some(&difference.place);
            writeln!(out, "  {}", difference.place)?;
        }
        write_difference(out, difference, labels, values)?;
    }
    let hidden = differences.len() - shown.len();
    if hidden > 0 {
        writeln!(
            out,
            "  and {hidden} more, the same again or later; --json FILE has all of them"
        )?;
    }
    write_requirements(out, shown)
}

fn is_path(difference: &Difference) -> bool {
    matches!(difference.subject, Subject::Path { .. })
}

fn allowed(difference: &Difference) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_alternatives(&mut text, &difference.allowed);
    text
}

fn write_difference(
    out: &mut impl Write,
    difference: &Difference,
    labels: usize,
    values: usize,
) -> fmt::Result {
    if let Subject::Path { agree, allowed, seen } = &difference.subject {
        let by = match difference.source {
            Source::Model => "the model",
            Source::Expectation { .. } | Source::ExpectedPath => "the case",
        };
        writeln!(out, "    the paths part here ({by} says what is allowed)")?;
        writeln!(out, "      allowed  {}", path_around(allowed, *agree))?;
        writeln!(out, "      seen     {}", path_around(seen, *agree))?;
        return writeln!(
            out,
            "      {} was allowed, {} came",
            self::allowed(difference),
            difference.seen
        );
    }
    let label = difference.subject.label();
    let allowed = allowed(difference);
    write!(
        out,
        "    {label:labels$}  allowed {allowed:values$}  seen {}",
        difference.seen
    )?;
    let bits = difference.differing_bits();
    if !bits.is_empty() {
        write!(out, "  ({})", bits.join(", "))?;
    }
    if let Source::Expectation { line, .. } = difference.source {
        write!(out, "  expected by the case, line {line}")?;
    }
    writeln!(out)
}

fn write_requirements(out: &mut impl Write, differences: &[&Difference]) -> fmt::Result {
    let mut written: Vec<&Requirement> = Vec::new();
    for requirement in differences
        .iter()
        .flat_map(|difference| difference.cited.requirements())
    {
        if !written.contains(requirement) {
            written.push(requirement);
            write_requirement(out, requirement)?;
        }
    }
    for (cited, text) in [
        (Cited::Unknown, "no requirement is known for"),
        (Cited::NotSought, "no requirement was looked for, for"),
    ] {
        let mut labels: Vec<String> = Vec::new();
        for difference in differences.iter().filter(|difference| difference.cited == cited) {
            let label = difference.subject.label();
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        if !labels.is_empty() {
            writeln!(out, "  {text} {}", labels.join(", "))?;
        }
    }
    Ok(())
}

/// Writes a requirement with its clause.
///
/// # Errors
/// Those of the writer.
pub fn write_requirement(out: &mut impl Write, requirement: &Requirement) -> fmt::Result {
    let Requirement {
        id,
        strength,
        sentence,
        clause,
    } = requirement;
    writeln!(out, "  {id} ({strength}): {sentence}")?;
    writeln!(out, "    {clause}")
}
