//! Counting what came of sequences.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use spec_model::defect::DefectSet;

use super::batch::{Item, Seen};
use super::digest::Behaviour;
use super::expected::{Allowed, Expected};
use super::payload::{BadPayload, Payload};
use super::symbol::Symbol;
use crate::case::Expectations;
use crate::deviation::Deviation;
use crate::judge::case::judge_run;
use crate::judge::{Verdict, VerdictKind};
use crate::target::{Identity, Mode, Run};

/// Sequences that deviate, conform unexpectedly or are broken and that are kept to be shown.
pub const SHOWN: usize = 20;

/// What came of the sequences of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Verdicts and how many sequences have each.
    pub counts: BTreeMap<VerdictKind, usize>,
    /// The distinct behaviours that were seen.
    pub behaviours: HashSet<Behaviour>,
}

impl Row {
    /// Sequences with a verdict.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.counts.values().sum()
    }

    /// Sequences with that verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    fn count(&mut self, kind: VerdictKind, behaviour: Option<Behaviour>) {
        *self.counts.entry(kind).or_insert(0) += 1;
        self.behaviours.extend(behaviour);
    }
}

/// A sequence to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<'d> {
    /// The sequence.
    pub sequence: Vec<Symbol>,
    /// What it is worth.
    pub verdict: Verdict<'d>,
    /// What the target did, unless it is what is allowed.
    pub run: Option<Run>,
}

/// What came of all sequences on one target.
#[derive(Clone, Debug, Default)]
pub struct Tally<'d> {
    /// Name of the target.
    pub target: String,
    /// By length, the first row for sequences of one event.
    pub rows: Vec<Row>,
    /// The first ones that are neither as allowed nor as is known.
    pub shown: Vec<Shown<'d>>,
    /// Known deviations by name, and how many sequences show each.
    pub known: BTreeMap<String, usize>,
    /// Why sequences are unsupported, and how many each.
    pub unsupported: BTreeMap<String, usize>,
    /// What there is to say about the target besides: complaints of a guest kernel, or why it
    /// could not be used.
    pub remarks: Vec<String>,
    /// Sequences that were asked for.
    pub wanted: usize,
    /// Time for all of it.
    pub took: Duration,
    /// Time in which sequences ran, without starting the target; for the model the time of its
    /// processor.
    pub running: Duration,
    /// Time that processors spent on all of it, an emulator's included.
    pub processor: Option<Duration>,
}

impl<'d> Tally<'d> {
    /// Nothing yet.
    #[must_use]
    pub fn new(target: String, length: usize, wanted: usize) -> Self {
        Self {
            target,
            rows: vec![Row::default(); length],
            wanted,
            ..Self::default()
        }
    }

    /// Counts one sequence.
    pub fn count(&mut self, length: usize, kind: VerdictKind, behaviour: Option<Behaviour>) {
        if let Some(row) = length.checked_sub(1).and_then(|row| self.rows.get_mut(row)) {
            row.count(kind, behaviour);
        }
    }

    /// Counts one that the target cannot run.
    pub fn count_unsupported(&mut self, length: usize, reason: &str) {
        self.count(length, VerdictKind::Unsupported, None);
        *self.unsupported.entry(reason.to_owned()).or_insert(0) += 1;
    }

    /// Keeps one to be shown, unless there are many already.
    pub fn show(&mut self, shown: Shown<'d>) {
        if self.shown.len() < SHOWN {
            self.shown.push(shown);
        }
    }

    /// Sequences with that verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> usize {
        self.rows.iter().map(|row| row.of(kind)).sum()
    }

    /// Sequences with any verdict.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.rows.iter().map(Row::sequences).sum()
    }

    /// The distinct behaviours of all lengths.
    #[must_use]
    pub fn behaviours(&self) -> usize {
        let all: HashSet<&Behaviour> = self.rows.iter().flat_map(|row| &row.behaviours).collect();
        all.len()
    }

    /// Whether every sequence that was asked for has a verdict that says something.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.judged() == self.wanted && self.of(VerdictKind::Broken) == 0
    }

    /// Sequences per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let ran = self.judged() - self.of(VerdictKind::Unsupported);
        ran as f64 / self.running.as_secs_f64().max(1e-9)
    }
}

impl Expected {
    /// The same as something to run.
    #[must_use]
    pub fn item(&self, number: u32) -> Item {
        let known = self
            .known()
            .take(usize::from(u8::MAX))
            .map(|allowed| allowed.fingerprint);
        Item {
            number,
            sequence: self.sequence.clone(),
            known: known.collect(),
        }
    }

    fn known(&self) -> impl Iterator<Item = &Allowed> {
        self.pure.iter().chain(self.deviating.iter().flatten())
    }
}

/// Judges what a target did, like [`crate::judge::judge`]: first against the pure model; a known
/// deviation counts only if the model with all of them on does the same to the last field.
pub struct Judge<'a, 'd> {
    /// The payload.
    pub payload: &'a Payload,
    /// The target.
    pub identity: &'a Identity,
    /// All known deviations.
    pub deviations: &'d [Deviation],
    /// Defects that are on in the model that the target is judged against, normally none.
    pub defects: DefectSet,
}

impl<'d> Judge<'_, 'd> {
    /// Takes one result into the tally.
    ///
    /// # Errors
    /// If the case of the sequence cannot be put together.
    pub fn judge(&self, tally: &mut Tally<'d>, expected: &Expected, seen: Seen) -> Result<(), BadPayload> {
        let length = expected.sequence.len();
        match seen {
            Seen::Known(index) => {
                let Some(allowed) = expected.known().nth(usize::from(index)) else {
                    tally.count(length, VerdictKind::Broken, None);
                    return Ok(());
                };
                let kind = kind(expected, allowed.fingerprint);
                tally.count(length, kind, Some(allowed.behaviour));
                if kind == VerdictKind::UnexpectedlyConforms {
                    tally.show(Shown {
                        sequence: expected.sequence.clone(),
                        verdict: Verdict::UnexpectedlyConforms(Vec::new()),
                        run: None,
                    });
                }
            }
            Seen::Untold => tally.count(length, VerdictKind::Deviates, None),
            Seen::Other(run) => {
                let behaviour = match &*run {
                    Run::Done(transcript) => Some(Behaviour::of(transcript)),
                    Run::Unsupported(_) | Run::Broken(_) => None,
                };
                let mut case = self.payload.case(&expected.sequence)?;
                case.expectations = Expectations::default();
                let verdict = judge_run(
                    &case,
                    self.identity,
                    Mode::Normal,
                    self.deviations,
                    self.defects,
                    &run,
                );
                if let Verdict::Unsupported(reason) = &verdict {
                    tally.count_unsupported(length, reason.split(" at rip ").next().unwrap_or(reason));
                    return Ok(());
                }
                tally.count(length, verdict.kind(), behaviour);
                let harmless = matches!(verdict, Verdict::Conforms | Verdict::KnownDeviation(_));
                if !harmless {
                    tally.show(Shown {
                        sequence: expected.sequence.clone(),
                        verdict,
                        run: Some(*run),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The verdict on a run that is known.
fn kind(expected: &Expected, seen: u128) -> VerdictKind {
    let within = |set: &[Allowed]| set.iter().any(|allowed| allowed.fingerprint == seen);
    match (within(&expected.pure), &expected.deviating) {
        (true, None) => VerdictKind::Conforms,
        (true, Some(deviating)) if within(deviating) => VerdictKind::Conforms,
        (true, Some(_)) => VerdictKind::UnexpectedlyConforms,
        (false, _) => VerdictKind::KnownDeviation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pure_model_comes_first() {
        let allowed = |fingerprint| Allowed {
            fingerprint,
            behaviour: Behaviour(0),
        };
        let expected = |deviating: Option<&[u128]>| Expected {
            sequence: vec![Symbol::Nmi],
            pure: vec![allowed(1), allowed(2)],
            deviating: deviating.map(|all| all.iter().map(|one| allowed(*one)).collect()),
        };
        assert_eq!(kind(&expected(None), 1), VerdictKind::Conforms);
        assert_eq!(kind(&expected(Some(&[2, 3])), 2), VerdictKind::Conforms);
        assert_eq!(
            kind(&expected(Some(&[2, 3])), 1),
            VerdictKind::UnexpectedlyConforms
        );
        assert_eq!(kind(&expected(Some(&[2, 3])), 3), VerdictKind::KnownDeviation);
        assert_eq!(expected(Some(&[2, 3])).item(0).known, [1, 2, 2, 3]);
    }
}
