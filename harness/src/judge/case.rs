//! Judges a whole case: the model, the deviations and the run put together.

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::outcome::Outcome;
use spec_model::profile::{KVM_ARM64, KVM_PVM, KVM_SVM, KVM_VMX, Profile, XEN_PV};
use spec_model::run::outcomes;
use spec_model::transcript::Transcript;

use super::{AllowedOutcomes, CaseView, Verdict, judge, judge_model, layout};
use crate::case::{Case, Expectations};
use crate::deviation::{Applicable, Deviation};
use crate::target::{Backend, Identity, Mode, Run, other_architecture};

/// The choices that a backend of KVM makes; none are known for an unknown one.
#[must_use]
pub fn profile(backend: Backend) -> Option<&'static Profile> {
    match backend {
        Backend::Svm | Backend::SvmNpt0 => Some(&KVM_SVM),
        Backend::Vmx => Some(&KVM_VMX),
        Backend::Pvm => Some(&KVM_PVM),
        Backend::XenPv => Some(&XEN_PV),
        Backend::Arm64Nvhe | Backend::Arm64Vhe => Some(&KVM_ARM64),
        Backend::Unknown => None,
    }
}

/// What nobody expects anything of.
static NOTHING_EXPECTED: Expectations = Expectations {
    paths: Vec::new(),
    fields: Vec::new(),
    steps: Vec::new(),
};

/// Why a case says nothing about a target, if it does not.
#[must_use]
pub fn not_about(case: &Case, target: &Identity) -> Option<String> {
    if let Some(reason) = target.backend.cannot_run(&case.scenario) {
        return Some(reason.to_owned());
    }
    let profile = profile(target.backend)?;
    if let Some(reason) = other_architecture(&case.scenario, profile.architecture) {
        return Some(reason);
    }
    if case.is_about(profile) {
        return None;
    }
    let names: Vec<&str> = case.profiles.iter().map(|profile| profile.name).collect();
    Some(format!(
        "the case is about what {} may choose, and this is {}",
        names.join(" and "),
        profile.name
    ))
}

/// The part of a case that judging looks at. What was written by hand counts only for the
/// implementations that the case is about.
#[must_use]
pub fn view<'a>(case: &'a Case, profile: &'static Profile) -> CaseView<'a> {
    CaseView {
        name: &case.name,
        checks: &case.checks,
        scenario: &case.scenario,
        expectations: if case.is_about(profile) {
            &case.expectations
        } else {
            &NOTHING_EXPECTED
        },
        layout: layout(&case.scenario, profile),
    }
}

/// Judges what a target did in a run of that mode. `defects` are switched on in the model, normally none.
#[must_use]
pub fn judge_run<'d>(
    case: &Case,
    target: &Identity,
    mode: Mode,
    deviations: &'d [Deviation],
    defects: DefectSet,
    run: &Run,
) -> Verdict<'d> {
    if let Some(reason) = not_about(case, target) {
        return Verdict::Unsupported(reason);
    }
    match run {
        Run::Unsupported(reason) => return Verdict::Unsupported(reason.clone()),
        Run::Broken(reason) => return Verdict::Broken(reason.clone()),
        Run::Done(_) => {}
    }
    let Some(profile) = profile(target.backend) else {
        return Verdict::Unsupported("the model has no profile for this KVM backend".to_owned());
    };
    let applicable = Applicable::to(deviations, target, mode);
    let with = |deviations: &[&'d Deviation]| match AllowedOutcomes::of(
        &case.scenario,
        profile,
        defects,
        deviations,
    ) {
        Ok(allowed) => judge(&view(case, profile), &allowed, run),
        Err(error) => Verdict::Broken(model_failed(&error)),
    };
    let verdict = with(&applicable.certain);
    if applicable.possible.is_empty() || verdict == Verdict::Conforms {
        return verdict;
    }
    judge_with_possible(verdict, &applicable, with)
}

/// Judges with deviations of which the kernel's version does not tell whether it has them: with
/// all of them on, and without one after the other.
///
/// Any of them may be missing, so that one which does not show is not *unexpected*.
fn judge_with_possible<'d>(
    without: Verdict<'d>,
    applicable: &Applicable<'d>,
    judge_with: impl Fn(&[&'d Deviation]) -> Verdict<'d>,
) -> Verdict<'d> {
    let is_known = |verdict: &Verdict<'_>| matches!(verdict, Verdict::KnownDeviation(_));
    if is_known(&without) {
        return without;
    }
    let own = applicable.possible.iter().map(|deviation| vec![*deviation]);
    for possible in own.chain([applicable.possible.clone()]) {
        let mut deviations = applicable.certain.clone();
        deviations.extend(possible);
        let verdict = judge_with(&deviations);
        if is_known(&verdict) {
            return verdict;
        }
    }
    without
}

/// Judges the model itself, with defects on or off, and gives the run that was judged.
#[must_use]
pub fn judge_own(
    case: &Case,
    profile: &'static Profile,
    defects: DefectSet,
) -> (Verdict<'static>, Option<Transcript>) {
    if let Some(reason) = other_architecture(&case.scenario, profile.architecture) {
        return (Verdict::Unsupported(reason), None);
    }
    if let Some(row) = case.row_missing_in(profile) {
        let layout = layout(&case.scenario, profile);
        let reason = format!(
            "the host writes `{row}`, which the save area {} does not have",
            layout.name
        );
        return (Verdict::Unsupported(reason), None);
    }
    match own_outcomes(case, profile, defects) {
        Ok((pure, own)) => {
            let verdict = judge_model(&view(case, profile), &pure, &own);
            (verdict, own.into_iter().next().map(|first| first.transcript))
        }
        Err(error) => (Verdict::Broken(model_failed(&error)), None),
    }
}

fn own_outcomes(
    case: &Case,
    profile: &'static Profile,
    defects: DefectSet,
) -> Result<(Vec<Outcome>, Vec<Outcome>), ModelError> {
    let pure = outcomes(&case.scenario, profile, DefectSet::NONE)?;
    let own = if defects == DefectSet::NONE {
        pure.clone()
    } else {
        outcomes(&case.scenario, profile, defects)?
    };
    Ok((pure, own))
}

fn model_failed(error: &ModelError) -> String {
    format!("the model cannot run the case: {error}")
}

#[cfg(test)]
mod tests;
