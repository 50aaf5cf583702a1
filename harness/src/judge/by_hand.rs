//! What a run is worth by what is written by hand alone.
//!
//! That is all there is where the model cannot run a case, for instance because of an instruction
//! outside its set. A verdict of this kind always says so.

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;
use spec_model::run::outcomes;
use spec_model::transcript::Transcript;

use super::allowed::{same_outcomes, with_deviations};
use super::nearest::nearest;
use super::verdict::{Against, Verdict, never_reached, unexcused};
use super::{CaseView, expected, host_state};
use crate::deviation::Deviation;

/// The model cannot run the case, in a sentence.
pub(super) fn model_failed(error: &ModelError) -> String {
    format!("the model cannot run the case: {error}")
}

/// Judges a run of a case that the model cannot run. It conforms only if a person expects something
/// of it, and all that is expected was looked at.
pub(super) fn judge(case: &CaseView<'_>, error: &ModelError, seen: &Transcript) -> Verdict<'static> {
    if !error.is_gap() {
        return Verdict::Broken(model_failed(error));
    }
    if seen.observations.is_empty() && seen.stage2.is_none() && seen.state_faults.is_empty() {
        return Verdict::Broken("the target observed nothing".to_owned());
    }
    // What the host sets has to be taken whatever the guest executes. Refusals that a person expects
    // are among the expectations.
    if !seen.state_faults.is_empty() && case.expectations.refusals.is_empty() {
        return Verdict::Deviates {
            differences: host_state::beyond(case, &[], seen),
            against: Against::ByHand(error.to_string()),
        };
    }
    if case.expectations.is_empty() {
        let reason = model_failed(error);
        return Verdict::Broken(format!(
            "{reason}; and nothing is written by hand that could be judged in its place"
        ));
    }
    let checked = expected::check(case, seen);
    if !checked.differences.is_empty() {
        return Verdict::Deviates {
            differences: checked.differences,
            against: Against::ByHand(error.to_string()),
        };
    }
    if checked.not_looked_at > 0 {
        let reason = model_failed(error);
        return Verdict::Broken(format!(
            "{reason}; and {} of what is written by hand was not looked at, since the run was observed at its ends",
            checked.not_looked_at
        ));
    }
    if let Some(((line, _), what)) = never_reached(case, &checked.applied) {
        let reason = model_failed(error);
        return Verdict::Broken(format!("{reason}; and line {line}: the target {what}"));
    }
    Verdict::ConformsByHand(error.to_string())
}

/// The known deviations that a run shows which does not come to what is expected by hand: with all
/// `deviations` on the model can run the case, the run is exactly what it does, and it fails every
/// expectation that the run fails. An expectation alone cannot tell a known deviation from another one.
pub(super) fn known<'d>(
    case: &CaseView<'_>,
    profile: &'static Profile,
    base: DefectSet,
    deviations: &[&'d Deviation],
    seen: &Transcript,
) -> Option<Vec<&'d Deviation>> {
    let model =
        |deviations: &[&Deviation]| outcomes(case.scenario, profile, with_deviations(base, deviations));
    let with_all = model(deviations).ok()?;
    let nearest = nearest(case, &with_all, seen).filter(|nearest| nearest.matches())?;
    if !unexcused(case, nearest.outcome, expected::check(case, seen).differences).is_empty() {
        return None;
    }
    let matters = |one: &&'d Deviation| {
        let others: Vec<_> = deviations
            .iter()
            .copied()
            .filter(|other| !std::ptr::eq(*other, *one))
            .collect();
        !model(&others).is_ok_and(|without| same_outcomes(&without, &with_all))
    };
    let shown: Vec<_> = deviations.iter().copied().filter(matters).collect();
    Some(if shown.is_empty() {
        deviations.to_vec()
    } else {
        shown
    })
}
