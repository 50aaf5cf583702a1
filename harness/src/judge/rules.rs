//! Which rules decide what differs: the model itself is asked.
//!
//! A defect breaks one requirement. Those defects which, each switched on alone, change the same
//! thing at the same place in the same scenario are the rules that decide it there. It takes a run
//! of the model for every defect, and so is done only for what is reported.

use std::cell::OnceCell;

use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::Profile;
use spec_model::requirement::{ARM64, Requirement, STAGE2};
use spec_model::run::outcomes;

use super::CaseView;
use super::allowed::same_outcomes;
use super::cited::{Cited, of_field};
use super::difference::{Difference, Subject};
use super::nearest::nearest;
use super::value::Value;

/// Outcomes of a defect that are looked at; the rest of many repeats what they show.
const LOOKED_AT: usize = 4;

/// Finds the rules for the differences of one case.
pub(super) struct DecidingRules<'a> {
    case: &'a CaseView<'a>,
    profile: &'static Profile,
    /// The defects of the model that the differences were counted from.
    base: DefectSet,
    effects: OnceCell<Vec<Effect>>,
}

/// What breaking one rule changes.
struct Effect {
    requirement: &'static Requirement,
    /// From the model without it, of several outcomes one after the other.
    changes: Vec<Vec<Difference>>,
}

impl<'a> DecidingRules<'a> {
    /// For differences from the model with the defects `base`.
    pub(super) fn new(case: &'a CaseView<'a>, profile: &'static Profile, base: DefectSet) -> Self {
        Self {
            case,
            profile,
            base,
            effects: OnceCell::new(),
        }
    }

    /// The rules that decide what differs there.
    pub(super) fn of(&self, difference: &Difference) -> Cited {
        let mut candidates: Vec<Candidate> = self
            .effects()
            .iter()
            .filter_map(|effect| Candidate::of(effect, difference))
            .collect();
        // Each of these narrows the choice if anything is left then.
        let is_checked = |candidate: &Candidate| {
            let mut checks = self.case.checks.iter();
            checks.any(|check| check.id == candidate.requirement.id)
        };
        narrow(&mut candidates, is_checked);
        narrow(&mut candidates, |candidate| candidate.first);
        narrow(&mut candidates, |candidate| candidate.same_value);
        let found = Cited::found(candidates.iter().map(|candidate| candidate.requirement));
        if found == Cited::Unknown {
            of_subject(&difference.subject)
        } else {
            found
        }
    }

    fn effects(&self) -> &[Effect] {
        self.effects.get_or_init(|| self.run_all())
    }

    fn run_all(&self) -> Vec<Effect> {
        let scenario = self.case.scenario;
        // A model that fails says nothing about its rules.
        let run = |defects| outcomes(scenario, self.profile, defects).unwrap_or_default();
        let pure = run(self.base);
        // Memory slots and processors are models of their own, each with its own rules.
        let has_steps = scenario.stage2.is_some();
        let others = Defect::ALL
            .iter()
            .filter(|defect| !self.base.has(**defect) && is_about_steps(**defect) == has_steps);
        let effect = |defect: &Defect| {
            let broken = run(self.base.with(*defect));
            if same_outcomes(&pure, &broken) {
                return None;
            }
            let changes = broken
                .iter()
                .filter(|outcome| pure.iter().all(|known| known.transcript != outcome.transcript))
                .take(LOOKED_AT)
                .filter_map(|outcome| nearest(self.case, &pure, &outcome.transcript))
                .map(|nearest| nearest.comparison.differences);
            Some(Effect {
                requirement: defect.requirement(),
                changes: changes.collect(),
            })
        };
        others.filter_map(effect).collect()
    }
}

/// Whether a defect breaks a rule about memory slots.
fn is_about_steps(defect: Defect) -> bool {
    let mut rules = STAGE2.iter().chain(ARM64);
    rules.any(|rule| rule.id == defect.requirement().id)
}

/// The rule of a subject by what it is, where the model has no defect that changes it.
pub(super) fn of_subject(subject: &Subject) -> Cited {
    match subject {
        Subject::Field { name } => of_field(name),
        Subject::Path { .. }
        | Subject::SaveRow { .. }
        | Subject::Watch { .. }
        | Subject::Access { .. }
        | Subject::HostCall { .. }
        | Subject::ReadBack { .. }
        | Subject::Memory { .. } => Cited::Unknown,
    }
}

/// A rule that changes the thing in question.
struct Candidate {
    requirement: &'static Requirement,
    /// Nothing changes before it does.
    first: bool,
    /// It changes it to what was seen.
    same_value: bool,
}

impl Candidate {
    fn of(effect: &Effect, difference: &Difference) -> Option<Self> {
        let mut candidate: Option<Self> = None;
        for changes in &effect.changes {
            let first = changes.first().map(|first| first.place.index());
            for change in changes.iter().filter(|change| is_same_thing(change, difference)) {
                let known = candidate.get_or_insert(Self {
                    requirement: effect.requirement,
                    first: false,
                    same_value: false,
                });
                known.first |= first == Some(change.place.index());
                known.same_value |= change.seen == difference.seen;
            }
        }
        candidate
    }
}

fn narrow(candidates: &mut Vec<Candidate>, wanted: impl Fn(&Candidate) -> bool) {
    if candidates.iter().any(&wanted) {
        candidates.retain(wanted);
    }
}

/// Whether a rule's breaking changes at the same place the same thing, and of a number any bit that
/// differs.
fn is_same_thing(change: &Difference, difference: &Difference) -> bool {
    let same = match (&change.subject, &difference.subject) {
        (Subject::Path { agree: one, .. }, Subject::Path { agree: two, .. }) => return one == two,
        (Subject::Field { name: one }, Subject::Field { name: two }) => one == two,
        // A person expects the whole of a watch.
        (Subject::Watch { name: one, .. }, Subject::Field { name: two }) => {
            two.strip_prefix("watch.") == Some(one)
        }
        (Subject::Watch { name: one, .. }, Subject::Watch { name: two, .. }) => one == two,
        (Subject::SaveRow { name: one, .. }, Subject::SaveRow { name: two, .. }) => one == two,
        (Subject::Access { .. }, Subject::Access { .. }) => true,
        (Subject::Memory { smm: one, .. }, Subject::Memory { smm: two, .. }) => {
            one == two && overlap(change, difference)
        }
        _ => false,
    };
    same && change.place.index() == difference.place.index() && shared_bits(change, difference)
}

/// Whether two differences in memory have a byte in common.
fn overlap(one: &Difference, two: &Difference) -> bool {
    let range = |difference: &Difference| match (&difference.subject, &difference.seen) {
        (Subject::Memory { address, .. }, Value::Bytes(bytes)) => {
            Some((*address, address.saturating_add(bytes.len() as u64)))
        }
        _ => None,
    };
    match (range(one), range(two)) {
        (Some(one), Some(two)) => one.0 < two.1 && two.0 < one.1,
        _ => false,
    }
}

/// Whether a bit differs in both; where there are no bits, yes.
fn shared_bits(one: &Difference, two: &Difference) -> bool {
    let bits = |difference: &Difference| match (difference.allowed.first(), &difference.seen) {
        (Some(Value::Number { value: allowed, .. }), Value::Number { value: seen, .. }) => {
            Some(allowed ^ seen).filter(|bits| *bits != 0)
        }
        _ => None,
    };
    match (bits(one), bits(two)) {
        (Some(one), Some(two)) => one & two != 0,
        _ => true,
    }
}
