//! Checks a run against the expectations that a person wrote.

use spec_model::transcript::{Observation, Transcript};

use super::CaseView;
use super::cited::Cited;
use super::compare::path_of;
use super::difference::{Difference, Source, Subject};
use super::observed::{admits, allowed_values, read, row_bits, stack_bits};
use super::stop::{self, Place};
use super::value::Value;
use crate::case::{FieldExpectation, ObservedField, PathStep};

/// What checking gave.
pub(super) struct Checked {
    /// The expectations that do not hold.
    pub(super) differences: Vec<Difference>,
    /// For each field expectation, whether the run reached a place where it applies.
    pub(super) applied: Vec<bool>,
}

/// Checks all expectations of a case.
pub(super) fn check(case: &CaseView<'_>, seen: &Transcript) -> Checked {
    if let Some(stage2) = &seen.stage2 {
        return Checked {
            differences: super::stage2::check_steps(case, stage2),
            applied: Vec::new(),
        };
    }
    let mut differences = super::host_state::check(case, seen, case.expectations.fields.len());
    if seen.observations.is_empty() {
        // The initial state was not taken, so that nothing ran.
        let applied = vec![false; case.expectations.fields.len()];
        return Checked { differences, applied };
    }
    differences.extend(path(case, seen));
    let mut applied = Vec::with_capacity(case.expectations.fields.len());
    for (number, expectation) in case.expectations.fields.iter().enumerate() {
        let mut reached = false;
        for (index, observation) in seen.observations.iter().enumerate() {
            if !applies(case, expectation, seen, index, observation) {
                continue;
            }
            reached = true;
            let value = read(&expectation.field, observation, case.layout);
            if !admits(&expectation.allowed, &value) {
                let difference = failed(case, expectation, number, seen, index, value);
                differences.push(difference);
            }
        }
        applied.push(reached);
    }
    Checked { differences, applied }
}

/// Whether an expectation is about that observation.
pub(super) fn applies(
    case: &CaseView<'_>,
    expectation: &FieldExpectation,
    seen: &Transcript,
    index: usize,
    observation: &Observation,
) -> bool {
    if !stop::is_called(case.scenario, observation.stop, &expectation.at) {
        return false;
    }
    if expectation.vcpu.is_some_and(|vcpu| vcpu != observation.vcpu) {
        return false;
    }
    let place = Place::of(case.scenario, seen, index);
    match (expectation.nth, place) {
        (Some(wanted), Place::At { nth, .. }) => nth == wanted,
        _ => true,
    }
}

fn failed(
    case: &CaseView<'_>,
    expectation: &FieldExpectation,
    number: usize,
    seen: &Transcript,
    index: usize,
    value: Value,
) -> Difference {
    let observation = seen.observations.get(index);
    let (subject, bits) = match expectation.field {
        ObservedField::Save(row) => {
            let row = case.layout.row(row.name).unwrap_or(row);
            (super::compare::save_row(case.layout, row), row_bits(row))
        }
        ObservedField::State(field) => (
            Subject::Field {
                name: field.name.to_owned(),
            },
            field.bits,
        ),
        ObservedField::Stack(slot) => {
            let name = format!("stack.{slot}");
            (Subject::Field { name }, observation.map_or(64, stack_bits))
        }
        ObservedField::Watch(_) => {
            let name = expectation.field.name(&case.scenario.watches);
            (Subject::Field { name }, 64)
        }
    };
    Difference {
        case: case.name.to_owned(),
        place: Place::of(case.scenario, seen, index),
        subject,
        allowed: allowed_values(&expectation.allowed, bits),
        seen: value,
        cited: cited(case, expectation),
        source: Source::Expectation {
            index: number,
            line: expectation.line,
            column: expectation.column,
        },
    }
}

/// What the person gave as the reason, or the rule of a row of the state-save area.
fn cited(case: &CaseView<'_>, expectation: &FieldExpectation) -> Cited {
    match (expectation.because, expectation.field) {
        (Some(requirement), _) => Cited::one(requirement),
        (None, ObservedField::Save(row)) => {
            let row = case.layout.row(row.name).unwrap_or(row);
            Cited::one(case.layout.requirement(row))
        }
        (None, _) => Cited::NotSought,
    }
}

/// The difference from the nearest expected path, unless the run took one of them.
fn path(case: &CaseView<'_>, seen: &Transcript) -> Option<Difference> {
    let agreement = |path: &&Vec<PathStep>| {
        let pairs = path.iter().zip(&seen.observations);
        pairs
            .take_while(|(step, observation)| is_step(case, step, observation))
            .count()
    };
    let paths = &case.expectations.paths;
    let taken = |path: &Vec<PathStep>| {
        path.len() == seen.observations.len() && agreement(&path) == seen.observations.len()
    };
    if paths.iter().any(taken) {
        return None;
    }
    let nearest = paths.iter().max_by_key(agreement)?;
    let agree = agreement(&nearest);
    let step_name = |step: &PathStep| match step.vcpu {
        Some(vcpu) => format!("{vcpu}:{}", step.at),
        None => step.at.clone(),
    };
    let end = || "end of the run".to_owned();
    let seen_path = path_of(case.scenario, seen);
    let allowed = nearest.get(agree).map_or_else(end, step_name);
    let last = seen.observations.len().saturating_sub(1);
    Some(Difference {
        case: case.name.to_owned(),
        place: Place::of(case.scenario, seen, agree.min(last)),
        allowed: vec![Value::Text(allowed)],
        seen: Value::Text(seen_path.get(agree).cloned().unwrap_or_else(end)),
        subject: Subject::Path {
            agree,
            allowed: nearest.iter().map(step_name).collect(),
            seen: seen_path,
        },
        cited: Cited::NotSought,
        source: Source::ExpectedPath,
    })
}

fn is_step(case: &CaseView<'_>, step: &PathStep, observation: &Observation) -> bool {
    stop::is_called(case.scenario, observation.stop, &step.at)
        && step.vcpu.is_none_or(|vcpu| vcpu == observation.vcpu)
}
