//! The set of outcomes that the model allows for a scenario.

use crate::choice::Choices;
use crate::defect::DefectSet;
use crate::profile::Profile;
use crate::requirement::Requirement;
use crate::scenario::Scenario;
use crate::transcript::Transcript;
use crate::x86::machine::{Machine, TraceLine};
use crate::x86::memory::Image;
use crate::x86::processor::Rules;

/// One allowed outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is observed.
    pub transcript: Transcript,
    /// The open choices that lead here, in the order in which they were met.
    pub choices: Vec<ChoiceMade>,
    /// Places at which more than the one value in the transcript is allowed.
    pub allowances: Vec<Allowance>,
    /// What the run used that not every target survives.
    pub facilities: Vec<Facility>,
}

/// Something that a run used and that an incomplete processor may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// An event took the stack of an inner privilege level from a 16- or 32-bit TSS.
    StackFromLegacyTss,
}

/// An open choice and the way it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceMade {
    /// The requirement that leaves it open.
    pub requirement: &'static Requirement,
    /// What was chosen, in a word or two.
    pub chosen: String,
}

/// Bits of one observed value that may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Index into [`Transcript::observations`].
    pub observation: usize,
    /// Name of a processor state field (see [`crate::x86::field`]), or `save.` and the
    /// name of a row of the save-area layout in force.
    pub field: String,
    /// The bits that need not agree.
    pub any_bits: u64,
    /// The requirement that says so.
    pub requirement: &'static Requirement,
}

/// The model cannot run a scenario. This is a mistake in the scenario or a gap in the
/// model, never a finding about a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The payload contains an instruction outside the closed set.
    #[error("the model does not know the instruction `{instruction}` at linear address {address:#x}")]
    UnknownInstruction {
        /// Disassembly.
        instruction: String,
        /// Linear address in bytes.
        address: u64,
    },
    /// The scenario contradicts itself.
    #[error("{0}")]
    BadScenario(String),
    /// More combinations of open choices than is sensible.
    #[error("more than {0} outcomes are allowed; the scenario leaves too much open")]
    TooManyOutcomes(usize),
}

/// More outcomes than this are a sign of a scenario that leaves too much open.
const MOST_OUTCOMES: usize = 256;

/// Runs a scenario on the model under every combination of open choices.
///
/// # Errors
/// If the scenario is inconsistent or contains an instruction that the model does not know.
pub fn outcomes(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
) -> Result<Vec<Outcome>, ModelError> {
    let image = Image::new(scenario)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut script = Some(Vec::new());
    while let Some(current) = script {
        let finished = Machine::new(
            scenario,
            &image,
            rules(scenario, profile, defects, current),
            false,
        )
        .run()?;
        script = finished.rules.choices.next_script();
        let outcome = Outcome {
            transcript: finished.transcript,
            choices: finished.rules.choices.into_made(),
            allowances: finished.allowances,
            facilities: finished.rules.facilities,
        };
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
    let image = Image::new(scenario)?;
    let rules = rules(scenario, profile, defects, Vec::new());
    Ok(Machine::new(scenario, &image, rules, true).run()?.trace)
}

fn rules(scenario: &Scenario, profile: &'static Profile, defects: DefectSet, script: Vec<usize>) -> Rules {
    Rules {
        profile,
        defects,
        cpuid: scenario.cpuid,
        choices: Choices::scripted(script),
        facilities: Vec::new(),
    }
}
