//! What is wrong with a case, as far as the model can tell: before any target has run it.

use spec_model::architecture::Architecture;
use spec_model::defect::DefectSet;
use spec_model::outcome::Outcome;
use spec_model::profile::{PROFILES, Profile};
use spec_model::run::outcomes;

use super::by_hand::model_failed;
use super::case::view;
use super::observed::{read, why_absent};
use super::stop;
use super::value::Value;
use super::verdict::disagreement;
use super::{CaseView, expected};
use crate::case::{Case, Mistake, Position};
use crate::target::other_architecture;

/// What the model says of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What no target can ever show, and where the model does something else than is expected.
    pub mistakes: Vec<Mistake>,
    /// What a user should know: that the model cannot run the case.
    pub notes: Vec<String>,
}

/// Runs a case on the model for every implementation that it is about.
#[must_use]
pub fn check(case: &Case) -> Checked {
    let mut checked = Checked::default();
    for profile in profiles(case) {
        match outcomes(&case.scenario, profile, DefectSet::NONE) {
            Ok(outcomes) => {
                for mistake in mistakes(case, profile, &outcomes) {
                    add(&mut checked.mistakes, mistake);
                }
            }
            Err(error) if error.is_gap() => {
                let note = format!(
                    "{}: {}; targets are judged by what is written by hand alone",
                    case.file.display(),
                    model_failed(&error)
                );
                if !checked.notes.contains(&note) {
                    checked.notes.push(note);
                }
            }
            Err(error) => add(
                &mut checked.mistakes,
                Mistake {
                    file: case.file.clone(),
                    at: Position::START,
                    what: model_failed(&error),
                    remedy: "correct the machine, the host's actions or the code".to_owned(),
                },
            ),
        }
    }
    checked
}

/// Each mistake once: most are the same for all implementations.
fn add(mistakes: &mut Vec<Mistake>, mistake: Mistake) {
    if mistakes.iter().all(|known| known.at != mistake.at) {
        mistakes.push(mistake);
    }
}

/// The implementations that a case is about and that can run it.
fn profiles(case: &Case) -> Vec<&'static Profile> {
    if !case.profiles.is_empty() {
        return case.profiles.clone();
    }
    let can_run = |profile: &&Profile| {
        case.is_about(profile)
            && (profile.smm || profile.architecture == Architecture::Arm64)
            && other_architecture(&case.scenario, profile.architecture).is_none()
            && case.row_missing_in(profile).is_none()
    };
    PROFILES.iter().copied().filter(can_run).collect()
}

fn mistakes(case: &Case, profile: &'static Profile, outcomes: &[Outcome]) -> Vec<Mistake> {
    let view = view(case, profile);
    let mistakes = unobservable(case, &view, outcomes);
    if !mistakes.is_empty() {
        return mistakes;
    }
    let disagreement = disagreement(&view, outcomes).map(|found| Mistake {
        file: case.file.clone(),
        at: found
            .at
            .map_or(Position::START, |(line, column)| Position { line, column }),
        what: format!(
            "the case and the model, as {}, disagree: {}",
            profile.name, found.what
        ),
        remedy: "no target can be judged before one of them is put right".to_owned(),
    });
    disagreement.into_iter().collect()
}

/// Expectations that nothing can ever fulfil, since there is nothing to see where they are.
fn unobservable(case: &Case, view: &CaseView<'_>, outcomes: &[Outcome]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for expectation in &view.expectations.fields {
        let absent = outcomes.iter().find_map(|outcome| {
            let seen = &outcome.transcript;
            let mut observations = seen.observations.iter().enumerate();
            observations.find_map(|(index, observation)| {
                let here = expected::applies(view, expectation, seen, index, observation);
                let value = here.then(|| read(&expectation.field, observation, view.layout))?;
                (value == Value::Absent).then_some(observation)
            })
        });
        if let Some(observation) = absent {
            let (why, remedy) = why_absent(&expectation.field, observation);
            mistakes.push(Mistake {
                file: case.file.clone(),
                at: Position {
                    line: expectation.line,
                    column: expectation.column,
                },
                what: format!(
                    "`{}` cannot be observed at `{}`: {why}",
                    expectation.field.name(&case.scenario.watches),
                    stop::name(&case.scenario, observation.stop)
                ),
                remedy: remedy.to_owned(),
            });
        }
    }
    mistakes
}
