//! Compares runs about stage-2 mappings: step by step, part by part, then host memory.
//!
//! Values are compared as they are; `words` renders them for people afterwards.

mod parts;
mod words;

use spec_model::scenario::Scenario;
use spec_model::stage2::transcript::{Change, Stage2Seen};

use super::CaseView;
use super::cited::Cited;
use super::difference::{Difference, Source, Subject};
use super::stop::Place;
use super::value::Value;

pub(crate) use parts::StepPart;

/// Everything that differs from one outcome.
pub(super) fn compare(case: &CaseView<'_>, allowed: &Stage2Seen, seen: &Stage2Seen) -> Vec<Difference> {
    // Taken apart, so that a new member is not forgotten.
    let Stage2Seen {
        steps,
        changes,
        canary,
    } = allowed;
    let mut differences = Vec::new();
    let mut add = |place, name: &str, (allowed, seen)| {
        differences.push(Difference {
            case: case.name.to_owned(),
            place,
            subject: Subject::Field {
                name: name.to_owned(),
            },
            allowed: vec![allowed],
            seen,
            cited: Cited::NotSought,
            source: Source::Model,
        });
    };
    for (index, (allowed, seen)) in steps.iter().zip(&seen.steps).enumerate() {
        for part in parts::differing(allowed, seen) {
            add(
                place(case.scenario, index),
                part.name(),
                part.values(allowed, seen),
            );
        }
    }
    if steps.len() != seen.steps.len() {
        let count = |steps: usize| Value::Text(format!("{steps} steps"));
        let counts = (count(steps.len()), count(seen.steps.len()));
        add(Place::End, "length of the run", counts);
        return differences;
    }
    if *changes != seen.changes {
        let values = host_memory(case.scenario, changes, &seen.changes);
        add(Place::End, "host memory", values);
    }
    if *canary != seen.canary {
        let bytes = |bytes| Value::number(bytes, 64);
        let name = "bytes in a new page that are not zero";
        add(Place::End, name, (bytes(*canary), bytes(seen.canary)));
    }
    differences
}

/// What has changed on one side and not on the other.
fn host_memory(scenario: &Scenario, allowed: &[Change], seen: &[Change]) -> (Value, Value) {
    const SHOWN: usize = 4;
    let only = |one: &[Change], other: &[Change]| {
        let mut changes = one.iter().filter(|change| !other.contains(change));
        let shown = changes.by_ref().take(SHOWN);
        let texts: Vec<String> = shown.map(|change| words::change(scenario, change)).collect();
        let more = if changes.next().is_some() { " and more" } else { "" };
        let none = if texts.is_empty() { "as at the start" } else { "" };
        Value::Text(format!("{}{none}{more}", texts.join("; ")))
    };
    parts::told_apart((only(allowed, seen), only(seen, allowed)), &allowed, &seen)
}

/// Where a step is.
pub(super) fn place(scenario: &Scenario, index: usize) -> Place {
    let step = scenario
        .stage2
        .as_ref()
        .and_then(|stage2| stage2.steps.get(index));
    Place::Step {
        index,
        what: step.map_or_else(String::new, words::step),
    }
}

/// The expectations of a case about steps that do not hold. Their numbers follow those of `fields`.
pub(super) fn check_steps(case: &CaseView<'_>, seen: &Stage2Seen) -> Vec<Difference> {
    let first = case.expectations.fields.len();
    let mut differences = Vec::new();
    for (number, expectation) in case.expectations.steps.iter().enumerate() {
        let step = seen.steps.get(expectation.step);
        if step.is_some_and(|step| expectation.expected.holds(step)) {
            continue;
        }
        let part = expectation.expected.part();
        let wanted = expectation.expected.as_seen();
        let (allowed, seen) = match step {
            Some(step) => part.values(&wanted, step),
            None => (part.value(&wanted), Value::Absent),
        };
        differences.push(Difference {
            case: case.name.to_owned(),
            place: place(case.scenario, expectation.step),
            subject: Subject::Field {
                name: part.name().to_owned(),
            },
            allowed: vec![allowed],
            seen,
            cited: Cited::NotSought,
            source: Source::Expectation {
                index: first + number,
                line: expectation.line,
                column: expectation.column,
            },
        });
    }
    differences
}

#[cfg(test)]
mod tests;
