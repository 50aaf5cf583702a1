//! Which of the expectations that a person wrote a run shows to hold, one by one.

use std::collections::BTreeMap;

use spec_model::transcript::Transcript;

use super::CaseView;
use super::difference::{Source, Subject};
use super::expected::{applies, check};
use super::stop::{self, Place};
use crate::case::{FieldExpectation, ObservedField, RefusalExpectation};

/// What a run says of an expectation. Of two with one name the worse counts, which is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The run came there, the host looked, and it is as expected.
    Seen,
    /// The host did not look there.
    NotLookedAt,
    /// The run never came there, or only behind the stop at which it left the expected path.
    NotReached,
    /// It is otherwise.
    Failed,
}

/// What a run says of every expectation of a case, by name: `path`, `POINT FIELD`, `step N PART` or what
/// the host sets in vain.
#[must_use]
pub fn held(case: &CaseView<'_>, seen: &Transcript) -> BTreeMap<String, Held> {
    let differences = check(case, seen).differences;
    let fails = |wanted: usize| {
        let mut sources = differences.iter().map(|difference| difference.source);
        sources.any(|source| matches!(source, Source::Expectation { index, .. } if index == wanted))
    };
    let fork = differences
        .iter()
        .find_map(|difference| match (&difference.source, &difference.subject) {
            (Source::ExpectedPath, Subject::Path { agree, .. }) => Some(*agree),
            _ => None,
        });
    let before = fork.unwrap_or(usize::MAX);
    let expectations = case.expectations;
    let mut held = BTreeMap::new();
    let mut add = |name: String, now: Held| {
        let known = held.entry(name).or_insert(now);
        *known = now.max(*known);
    };
    if !expectations.paths.is_empty() {
        let now = match fork {
            Some(_) => Held::Failed,
            None if seen.observations.is_empty() => Held::NotReached,
            None => Held::Seen,
        };
        add("path".to_owned(), now);
    }
    for (number, field) in expectations.fields.iter().enumerate() {
        let now = if fails(number) {
            Held::Failed
        } else {
            of_field(case, field, seen, before)
        };
        let place = place(&field.at, field.nth, field.vcpu);
        add(
            format!("{place} {}", field.field.name(&case.scenario.watches)),
            now,
        );
    }
    // Steps and refusals are numbered behind the fields; no case has both.
    let first = expectations.fields.len();
    for (number, step) in expectations.steps.iter().enumerate() {
        let now = match &seen.stage2 {
            _ if fails(first + number) => Held::Failed,
            Some(_) => Held::Seen,
            None => Held::NotReached,
        };
        let part = step.expected.part().name();
        add(format!("step {} {part}", step.step + 1), now);
    }
    for (number, refusal) in expectations.refusals.iter().enumerate() {
        let now = if fails(first + number) {
            Held::Failed
        } else if is_reached(case, refusal, seen, before) {
            Held::Seen
        } else {
            Held::NotReached
        };
        let place = refusal
            .at
            .as_ref()
            .map_or("start".to_owned(), |(at, nth)| place(at, *nth, None));
        add(format!("{place} {} refused", refusal.call.name()), now);
    }
    held
}

/// The names of the expectations of a case.
#[must_use]
pub fn names(case: &CaseView<'_>) -> Vec<String> {
    held(case, &Transcript::default()).into_keys().collect()
}

/// A point, with the how-manieth time and the processor where they are given.
fn place(at: &str, nth: Option<u32>, vcpu: Option<u8>) -> String {
    let processor = vcpu.map_or(String::new(), |vcpu| format!("{vcpu}:"));
    let time = nth.map_or(String::new(), |nth| format!("#{nth}"));
    format!("{processor}{at}{time}")
}

/// An expectation that nothing contradicts.
fn of_field(case: &CaseView<'_>, field: &FieldExpectation, seen: &Transcript, before: usize) -> Held {
    let observations = seen.observations.iter().enumerate().take(before);
    let mut here = observations
        .filter(|(index, observation)| applies(case, field, seen, *index, observation))
        .peekable();
    let is_watch = matches!(field.field, ObservedField::Watch(_));
    if here.peek().is_none() {
        Held::NotReached
    } else if here.any(|(_, observation)| is_watch || !observation.is_unobserved()) {
        Held::Seen
    } else {
        Held::NotLookedAt
    }
}

/// Whether a run came to where the host sets something in vain.
fn is_reached(case: &CaseView<'_>, refusal: &RefusalExpectation, seen: &Transcript, before: usize) -> bool {
    let Some((at, wanted)) = &refusal.at else {
        return !seen.state_faults.is_empty();
    };
    let mut observations = seen.observations.iter().enumerate().take(before);
    observations.any(|(index, observation)| {
        let place = Place::of(case.scenario, seen, index);
        stop::is_called(case.scenario, observation.stop, at)
            && wanted.is_none_or(|wanted| matches!(place, Place::At { nth, .. } if nth == wanted))
    })
}
