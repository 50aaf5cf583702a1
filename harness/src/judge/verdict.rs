//! From a run and what is allowed to a verdict.

use spec_model::outcome::Outcome;
use spec_model::transcript::Transcript;

use super::CaseView;
use super::allowed::AllowedOutcomes;
use super::cited::Cited;
use super::difference::{Difference, Source, Subject, path_around};
use super::expected;
use super::nearest::{Nearest, nearest};
use crate::deviation::Deviation;
use crate::target::{Lack, Run};

/// What a run of one case on one target is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'d> {
    /// It is an allowed outcome, and every expectation holds.
    Conforms,
    /// What a person wrote by hand holds. Nothing else was judged, since the model cannot run the
    /// case for this reason.
    ConformsByHand(String),
    /// It is no allowed outcome, or an expectation does not hold.
    Deviates {
        /// In the order in which they happened; never empty.
        differences: Vec<Difference>,
        /// The model that the run came nearest to.
        against: Against<'d>,
    },
    /// It does exactly what the model does with these deviations on.
    KnownDeviation(Vec<&'d Deviation>),
    /// These deviations should show in this case, but the run conforms.
    UnexpectedlyConforms(Vec<&'d Deviation>),
    /// The target cannot run the case, because it lacks something.
    Unsupported(Lack),
    /// Nothing can be said: the target, the harness, the model or the case failed.
    Broken(String),
}

/// The model that differences are counted from.
#[derive(Clone, Debug, PartialEq)]
pub enum Against<'d> {
    /// The model as the manuals have it.
    Pure,
    /// The model with the defects of these known deviations on.
    WithDeviations(Vec<&'d Deviation>),
    /// None: what a person wrote by hand, since the model cannot run the case for this reason.
    ByHand(String),
}

/// The kinds of verdicts, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// See [`Verdict::Conforms`] and [`Verdict::ConformsByHand`].
    Conforms,
    /// See [`Verdict::Deviates`].
    Deviates,
    /// See [`Verdict::KnownDeviation`].
    KnownDeviation,
    /// See [`Verdict::UnexpectedlyConforms`].
    UnexpectedlyConforms,
    /// See [`Verdict::Unsupported`].
    Unsupported,
    /// See [`Verdict::Broken`].
    Broken,
}

impl VerdictKind {
    /// Every kind, in the order of the columns of a summary.
    pub const ALL: [Self; 6] = [
        Self::Conforms,
        Self::KnownDeviation,
        Self::Deviates,
        Self::UnexpectedlyConforms,
        Self::Unsupported,
        Self::Broken,
    ];

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conforms => "conforms",
            Self::Deviates => "deviates",
            Self::KnownDeviation => "known deviation",
            Self::UnexpectedlyConforms => "unexpectedly conforms",
            Self::Unsupported => "unsupported",
            Self::Broken => "broken",
        }
    }
}

impl Verdict<'_> {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> VerdictKind {
        match self {
            Self::Conforms | Self::ConformsByHand(_) => VerdictKind::Conforms,
            Self::Deviates { .. } => VerdictKind::Deviates,
            Self::KnownDeviation(_) => VerdictKind::KnownDeviation,
            Self::UnexpectedlyConforms(_) => VerdictKind::UnexpectedlyConforms,
            Self::Unsupported(_) => VerdictKind::Unsupported,
            Self::Broken(_) => VerdictKind::Broken,
        }
    }
}

/// What a target did, or what a run is worth that did not come to anything.
///
/// # Errors
/// The verdict on such a run.
pub(super) fn transcript_of(run: &Run) -> Result<&Transcript, Verdict<'static>> {
    match run {
        Run::Done(transcript) => Ok(transcript),
        Run::Unsupported(reason) | Run::GaveUp(reason, _) => Err(Verdict::Unsupported(reason.clone())),
        Run::Broken(reason) => Err(Verdict::Broken(reason.clone())),
        // See `complaint`.
        Run::Died(death) => Err(Verdict::Broken(format!("the kernel {}", death.how.name()))),
    }
}

/// Judges what a target did.
///
/// The pure model comes first. Where listed deviations change what the case shows, the run
/// must be exactly what the model does with all of them on. A run that is allowed by both
/// models tells nothing about the deviations and conforms.
#[must_use]
pub fn judge<'d>(case: &CaseView<'_>, allowed: &AllowedOutcomes<'d>, run: &Run) -> Verdict<'d> {
    let seen = match transcript_of(run) {
        Ok(transcript) => transcript,
        Err(verdict) => return verdict,
    };
    if seen.observations.is_empty() && seen.stage2.is_none() && seen.state_faults.is_empty() {
        return Verdict::Broken("the target observed nothing".to_owned());
    }
    let Some(pure) = nearest(case, &allowed.pure, seen) else {
        return Verdict::Broken("the model allows no outcome at all".to_owned());
    };
    let expectations = expected::check(case, seen).differences;
    let Some(deviating) = &allowed.deviating else {
        return conforms_or_deviates(pure, expectations, Against::Pure);
    };
    let Some(known) = nearest(case, &deviating.outcomes, seen) else {
        return Verdict::Broken("the model with the known deviations allows no outcome at all".to_owned());
    };
    if pure.matches() && known.matches() {
        return conforms_or_deviates(pure, expectations, Against::Pure);
    }
    if pure.matches() && expectations.is_empty() {
        return Verdict::UnexpectedlyConforms(deviating.deviations.clone());
    }
    let unexcused = unexcused(case, known.outcome, expectations.clone());
    if known.matches() && unexcused.is_empty() {
        return Verdict::KnownDeviation(deviating.deviations.clone());
    }
    if known.comparison.distance() < pure.comparison.distance() {
        let against = Against::WithDeviations(deviating.deviations.clone());
        conforms_or_deviates(known, unexcused, against)
    } else {
        conforms_or_deviates(pure, expectations, Against::Pure)
    }
}

/// Judges the model's own outcomes.
///
/// `own` is what the judged model does. Without defects that is the pure model itself, and
/// an expectation that does not hold is a disagreement between the person who wrote the
/// case and the model: nothing can be said about any target before one of them is put
/// right, so the verdict is [`Verdict::Broken`]. A model with a defect switched on is a
/// target like any other.
#[must_use]
pub fn judge_model(case: &CaseView<'_>, pure: &[Outcome], own: &[Outcome]) -> Verdict<'static> {
    if pure.is_empty() || own.is_empty() {
        return Verdict::Broken("the model allows no outcome at all".to_owned());
    }
    if super::allowed::same_outcomes(pure, own) {
        return match disagreement(case, pure) {
            Some(disagreement) => Verdict::Broken(disagreement.to_string()),
            None => Verdict::Conforms,
        };
    }
    for outcome in own {
        let seen = &outcome.transcript;
        let Some(nearest) = nearest(case, pure, seen) else {
            continue;
        };
        let expectations = expected::check(case, seen).differences;
        let verdict = conforms_or_deviates(nearest, expectations, Against::Pure);
        if verdict != Verdict::Conforms {
            return verdict;
        }
    }
    Verdict::Conforms
}

/// How the person who wrote a case and the model disagree. Nothing can be said about any target
/// then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Line and column in the case file, if one expectation is meant and not the path.
    pub at: Option<(usize, usize)>,
    /// What the person says and what the model does.
    pub what: String,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the case and the model disagree")?;
        match self.at {
            Some((line, _)) => write!(formatter, ": line {line}: {}", self.what),
            None => write!(formatter, ": {}", self.what),
        }
    }
}

/// How the person who wrote the case and the model disagree, if they do. `outcomes` are those of the
/// pure model.
#[must_use]
pub fn disagreement(case: &CaseView<'_>, outcomes: &[Outcome]) -> Option<Disagreement> {
    let mut applied = vec![false; case.expectations.fields.len()];
    for outcome in outcomes {
        let checked = expected::check(case, &outcome.transcript);
        if let Some(first) = checked.differences.first() {
            let mut disagreement = describe(case, first);
            match checked.differences.len() - 1 {
                0 => {}
                more => disagreement.what += &format!(" (and {more} more)"),
            }
            return Some(disagreement);
        }
        for (applied, now) in applied.iter_mut().zip(checked.applied) {
            *applied |= now;
        }
    }
    never_reached(case, &applied).map(|(at, what)| Disagreement {
        at: Some(at),
        what: format!("the model {what}"),
    })
}

/// The first expectation about a place that a run never got to: where it is written, and in words.
pub(super) fn never_reached(case: &CaseView<'_>, applied: &[bool]) -> Option<((usize, usize), String)> {
    let mut fields = case.expectations.fields.iter().zip(applied);
    let (expectation, _) = fields.find(|(_, applied)| !**applied)?;
    let nth = expectation
        .nth
        .map_or(String::new(), |nth| format!(", time {nth}"));
    let what = format!(
        "never gets to `{}`{nth}, where {} is expected",
        expectation.at,
        expectation.field.name(&case.scenario.watches)
    );
    Some(((expectation.line, expectation.column), what))
}

/// One expectation that the model does not fulfil, in a line.
fn describe(case: &CaseView<'_>, difference: &Difference) -> Disagreement {
    let mut allowed = String::new();
    // Writing to a string does not fail.
    let _ = super::value::write_alternatives(&mut allowed, &difference.allowed);
    let (at, what) = match (&difference.source, &difference.subject) {
        (_, Subject::Path { agree, allowed, seen }) => (
            None,
            format!(
                "the case expects the path {}, the model takes {}",
                path_around(allowed, *agree),
                path_around(seen, *agree)
            ),
        ),
        (Source::Expectation { line, column, .. }, subject) => (
            Some((*line, *column)),
            format!(
                "{} {} should be {allowed}, the model says {}",
                subject.label(),
                difference.place,
                difference.seen
            ),
        ),
        (_, subject) => (
            None,
            format!("{}: {} {}", case.name, subject.label(), difference.place),
        ),
    };
    Disagreement { at, what }
}

fn conforms_or_deviates<'d>(
    nearest: Nearest<'_>,
    expectations: Vec<Difference>,
    against: Against<'d>,
) -> Verdict<'d> {
    let differences = merge(nearest.comparison.differences, expectations);
    if differences.is_empty() {
        Verdict::Conforms
    } else {
        Verdict::Deviates { differences, against }
    }
}

/// Puts failed expectations among the differences from the model, in the order of the run.
///
/// Where both say the same, the model's stays, with the requirement that the person gave:
/// it was chosen for that very field.
fn merge(mut differences: Vec<Difference>, expectations: Vec<Difference>) -> Vec<Difference> {
    let parted = differences
        .iter()
        .any(|difference| matches!(difference.subject, Subject::Path { .. }));
    for expectation in expectations {
        let is_path = matches!(expectation.subject, Subject::Path { .. });
        if is_path && parted {
            continue;
        }
        let same = differences.iter_mut().find(|difference| {
            difference.place == expectation.place && difference.subject == expectation.subject
        });
        match same {
            Some(same) => {
                if expectation.cited != Cited::NotSought {
                    same.cited = expectation.cited;
                }
            }
            None => differences.push(expectation),
        }
    }
    differences.sort_by_key(|difference| difference.place.index());
    differences
}

/// Failed expectations that the model with deviations does not fail as well. A deviation
/// excuses what it brings about, and nothing else.
pub(super) fn unexcused(
    case: &CaseView<'_>,
    known: &Outcome,
    expectations: Vec<Difference>,
) -> Vec<Difference> {
    let excused = failed_numbers(case, &known.transcript);
    let remains = |difference: &Difference| !excused.contains(&(difference.source, difference.place.clone()));
    expectations.into_iter().filter(remains).collect()
}

fn failed_numbers(case: &CaseView<'_>, transcript: &Transcript) -> Vec<(Source, super::stop::Place)> {
    let failed = expected::check(case, transcript).differences;
    failed
        .into_iter()
        .map(|difference| (difference.source, difference.place))
        .collect()
}
