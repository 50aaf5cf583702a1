//! Whether what a target is listed to lack is why it gave up.
//!
//! A KVM that takes a guest where it must not be may meet there an instruction that its backend is
//! listed not to execute. So the row of a table is believed only where the model, too, comes to that very
//! instruction, by the same stops and with the same state at each.

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::outcome::Outcome;
use spec_model::profile::Profile;
use spec_model::run::follow;
use spec_model::transcript::Transcript;
use spec_model::x86::machine::TraceLine;
use spec_model::x86::segment::SegmentName;

use super::CaseView;
use super::compare::compare;

/// Ways of the model that are followed. More would cost more than they tell.
const MOST_WAYS: usize = 1 << 10;

/// Whether the model comes to the instruction that a target gave up on at the end of `seen`, with
/// one of these sets of defects on.
pub(super) fn is_on_the_way(
    case: &CaseView<'_>,
    profile: &'static Profile,
    defects: &[DefectSet],
    seen: &Transcript,
) -> bool {
    defects
        .iter()
        .any(|defects| with_defects(case, profile, *defects, seen).unwrap_or(false))
}

fn with_defects(
    case: &CaseView<'_>,
    profile: &'static Profile,
    defects: DefectSet,
    seen: &Transcript,
) -> Result<bool, ModelError> {
    let Some(before) = seen.observations.len().checked_sub(1) else {
        return Ok(false);
    };
    let mut script = Some(Vec::new());
    for _ in 0..MOST_WAYS {
        let Some(current) = script else { break };
        let finished = follow(case.scenario, profile, defects, current)?;
        script = finished.rules.choices.next_script();
        let executes = finished.trace.iter().any(|line| is_that(line, seen));
        let outcome = Outcome {
            transcript: until(&finished.transcript, before),
            choices: Vec::new(),
            allowances: finished.allowances,
            facilities: Vec::new(),
        };
        if executes
            && compare(case, &outcome, &until(seen, before))
                .differences
                .is_empty()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the model executes there what the target gave up on.
fn is_that(line: &TraceLine, seen: &Transcript) -> bool {
    let (Some(last), Some(left)) = (seen.observations.last(), seen.remains.last()) else {
        return false;
    };
    let code = left.state.segment(SegmentName::Cs).base;
    let address = code.wrapping_add(left.state.rip);
    let observation = seen.observations.len() - 1;
    left.observation == observation
        && !line.is_event
        && (line.vcpu, line.observation, line.address) == (last.vcpu, observation, address)
}

/// The first stops of a run, without the memory at its end.
fn until(transcript: &Transcript, stops: usize) -> Transcript {
    let is_before = |after: Option<u32>| after.is_none_or(|after| (after as usize) < stops);
    Transcript {
        observations: transcript.observations.iter().take(stops).cloned().collect(),
        state_faults: transcript
            .state_faults
            .iter()
            .filter(|fault| is_before(fault.after))
            .cloned()
            .collect(),
        ..Transcript::default()
    }
}
