//! Running a scenario on the model, under every combination of open choices.

use crate::choice::Choices;
use crate::defect::DefectSet;
use crate::error::ModelError;
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::scenario::Scenario;
use crate::stage2;
use crate::transcript::Transcript;
use crate::x86::machine::{Finished, Machine, TraceLine};
use crate::x86::memory::Image;
use crate::x86::processor::Rules;

/// More outcomes than this are a sign of a scenario that leaves too much open.
const MOST_OUTCOMES: usize = 256;

/// More combinations of choices than this are not tried, even if few outcomes come of them.
const MOST_WAYS: usize = 1 << 14;

/// Runs a scenario on the model under every combination of open choices.
///
/// # Errors
/// If the scenario is inconsistent or contains an instruction that the model does not know.
pub fn outcomes(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
) -> Result<Vec<Outcome>, ModelError> {
    if let Some(stage2) = &scenario.stage2 {
        return every_way(|script| {
            let mut choices = Choices::scripted(script);
            let seen = stage2::run(stage2, profile, defects, &mut choices)?;
            let next = choices.next_script();
            let outcome = Outcome {
                transcript: Transcript::of_stage2(seen),
                choices: choices.into_made(),
                allowances: Vec::new(),
                facilities: Vec::new(),
            };
            Ok((outcome, next))
        });
    }
    let image = Image::new(scenario)?;
    every_way(|script| {
        let rules = rules(scenario, profile, defects, script);
        let finished = Machine::new(scenario, &image, rules, false)?.run()?;
        let next = finished.rules.choices.next_script();
        let outcome = Outcome {
            transcript: finished.transcript,
            choices: finished.rules.choices.into_made(),
            allowances: finished.allowances,
            facilities: finished.rules.facilities,
        };
        Ok((outcome, next))
    })
}

/// Runs for every combination of open choices. `run` follows a script and gives the next one.
fn every_way(
    mut run: impl FnMut(Vec<usize>) -> Result<(Outcome, Option<Vec<usize>>), ModelError>,
) -> Result<Vec<Outcome>, ModelError> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut ways = 0;
    let mut script = Some(Vec::new());
    while let Some(current) = script {
        ways += 1;
        if ways > MOST_WAYS {
            return Err(ModelError::TooManyWays(MOST_WAYS));
        }
        let (outcome, next) = run(current)?;
        script = next;
        if outcomes
            .iter()
            .all(|known| known.transcript != outcome.transcript)
        {
            outcomes.push(outcome);
        }
        if outcomes.len() > MOST_OUTCOMES {
            return Err(ModelError::TooManyOutcomes(MOST_OUTCOMES));
        }
    }
    Ok(outcomes)
}

/// Every instruction and event of a run in which open choices take their first option.
///
/// # Errors
/// As [`outcomes`].
pub fn trace(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
) -> Result<Vec<TraceLine>, ModelError> {
    Ok(follow(scenario, profile, defects, Vec::new())?.trace)
}

/// One run with its trace, in which the first open choices go as `script` says and later ones
/// take their first option.
///
/// # Errors
/// As [`outcomes`].
pub fn follow(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
    script: Vec<usize>,
) -> Result<Finished, ModelError> {
    let image = Image::new(scenario)?;
    let rules = rules(scenario, profile, defects, script);
    Machine::new(scenario, &image, rules, true)?.run()
}

pub(crate) fn rules(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
    script: Vec<usize>,
) -> Rules {
    Rules {
        profile,
        defects,
        cpuid: scenario.cpuid,
        choices: Choices::scripted(script),
        facilities: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_without_end_are_given_up_although_nothing_new_comes_of_them() {
        let same = Outcome {
            transcript: Transcript::default(),
            choices: Vec::new(),
            allowances: Vec::new(),
            facilities: Vec::new(),
        };
        let mut runs = 0;
        let endless = every_way(|script| {
            runs += 1;
            Ok((same.clone(), Some(script)))
        });
        assert!(matches!(endless, Err(ModelError::TooManyWays(MOST_WAYS))));
        assert_eq!(runs, MOST_WAYS);
    }
}
