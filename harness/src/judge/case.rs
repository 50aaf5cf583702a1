//! Judges a whole case: the model, the deviations and the run put together.

use std::cell::RefCell;

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::outcome::Outcome;
use spec_model::profile::{KVM_ARM64, KVM_PVM, KVM_SVM, KVM_VMX, Profile, XEN_PV};
use spec_model::run::outcomes;
use spec_model::transcript::Transcript;

use super::allowed::with_deviations;
use super::by_hand::{self, model_failed};
use super::complaint::with_complaints;
use super::difference::{Difference, Subject};
use super::gave_up;
use super::rules::{DecidingRules, of_subject};
use super::verdict::{disagreement, transcript_of};
use super::{Against, AllowedOutcomes, CaseView, Cited, Verdict, judge, judge_model, layout};
use crate::case::{Case, Expectations};
use crate::deviation::{Applicable, Deviation};
use crate::target::{Backend, Identity, Lack, Mode, Ran, Run, other_architecture};

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
    refusals: Vec::new(),
};

/// Why a case says nothing about a target, if it does not.
#[must_use]
pub fn not_about(case: &Case, target: &Identity) -> Option<Lack> {
    if let Some(reason) = target.backend.cannot_run(&case.scenario) {
        return Some(reason);
    }
    let profile = profile(target.backend)?;
    if let Some(reason) = other_architecture(&case.scenario, profile.architecture) {
        return Some(reason);
    }
    if case.is_about(profile) {
        return None;
    }
    let names: Vec<&str> = case.profiles.iter().map(|profile| profile.name).collect();
    Some(Lack::nature(format!(
        "the case is about what {} may choose, and this is {}",
        names.join(" and "),
        profile.name
    )))
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

/// Judges what a target did in a run of that mode, and what its kernel complained of meanwhile.
/// `defects` are switched on in the model, normally none.
#[must_use]
pub fn judge_run<'d>(
    case: &Case,
    target: &Identity,
    mode: Mode,
    deviations: &'d [Deviation],
    defects: DefectSet,
    ran: &Ran,
) -> Verdict<'d> {
    let mut verdict = judge_run_uncited(case, target, mode, deviations, defects, ran);
    if let Some(profile) = profile(target.backend) {
        cite(case, profile, defects, &mut verdict);
    }
    verdict
}

/// The same, but that no requirements are looked for: for callers that only count, or that
/// [`cite`] what they show.
#[must_use]
pub fn judge_run_uncited<'d>(
    case: &Case,
    target: &Identity,
    mode: Mode,
    deviations: &'d [Deviation],
    defects: DefectSet,
    ran: &Ran,
) -> Verdict<'d> {
    let applicable = Applicable::to(deviations, target, mode);
    let (complaints, of_guests) = applicable.split();
    let verdict = judge_guest(case, target, &of_guests, defects, &ran.run);
    with_complaints(verdict, &case.name, ran, &complaints, &target.system.complaints)
}

/// Judges what a guest did. The model has no part in what the kernel complains of.
fn judge_guest<'d>(
    case: &Case,
    target: &Identity,
    applicable: &Applicable<'d>,
    defects: DefectSet,
    run: &Run,
) -> Verdict<'d> {
    if let Some(reason) = not_about(case, target) {
        return Verdict::Unsupported(reason);
    }
    let Some(profile) = profile(target.backend) else {
        let done = transcript_of(run);
        let unknown = "the model has no profile for this KVM backend";
        return done.map_or_else(|verdict| verdict, |_| Verdict::Unsupported(Lack::suite(unknown)));
    };
    let view = view(case, profile);
    let pure = outcomes(&case.scenario, profile, DefectSet::NONE);
    let off_the_way;
    let run = match run {
        Run::GaveUp(_, seen)
            if pure.is_ok() && !gave_up_on_its_way(&view, profile, applicable, defects, seen) =>
        {
            off_the_way = Run::Done(seen.clone());
            &off_the_way
        }
        _ => run,
    };
    let done = transcript_of(run);
    // Whatever the target did, it has nothing to do with a case that is wrong.
    if let Ok(pure) = &pure
        && let Some(disagreement) = disagreement(&view, pure)
    {
        return Verdict::Broken(match done {
            Err(Verdict::Broken(reason)) => format!("{disagreement}\nand apart from that, {reason}"),
            _ => disagreement.to_string(),
        });
    }
    let seen = match done {
        Ok(seen) => seen,
        Err(verdict) => return verdict,
    };
    let pure = match pure {
        Ok(pure) => pure,
        Err(error) => {
            return match by_hand::judge(&view, &error, seen) {
                Verdict::Deviates { differences, against } => {
                    let mut sets = sets_of(applicable).into_iter();
                    let known = sets.find_map(|set| by_hand::known(&view, profile, defects, &set, seen));
                    known.map_or(
                        Verdict::Deviates { differences, against },
                        Verdict::KnownDeviation,
                    )
                }
                other => other,
            };
        }
    };
    let known = RefCell::new(Some(pure));
    let model = |wanted| match known.take().filter(|_| wanted == DefectSet::NONE) {
        Some(pure) => Ok(pure),
        None => outcomes(&case.scenario, profile, wanted),
    };
    let with = |deviations: &[&'d Deviation]| {
        let allowed = AllowedOutcomes::with_model(&model, defects, deviations).or_else(|error| {
            // Where the deviations lead to something that the model does not know, it cannot say what
            // comes of them; what the manuals say it can.
            if error.is_gap() && !deviations.is_empty() {
                AllowedOutcomes::with_model(&model, defects, &[])
            } else {
                Err(error)
            }
        });
        match allowed {
            Ok(allowed) => judge(&view, &allowed, run),
            Err(error) => Verdict::Broken(format!("{}; that is with defects on", model_failed(&error))),
        }
    };
    let verdict = with(&applicable.certain);
    if applicable.possible.is_empty() || verdict == Verdict::Conforms {
        return verdict;
    }
    judge_with_possible(verdict, applicable, with)
}

/// The deviations that may be on together: those that are certain, each of the possible ones beside
/// them, and all.
fn sets_of<'d>(applicable: &Applicable<'d>) -> Vec<Vec<&'d Deviation>> {
    let beside = |possible: &[&'d Deviation]| [&applicable.certain[..], possible].concat();
    let mut sets = vec![applicable.certain.clone()];
    sets.extend(applicable.possible.iter().map(|one| beside(&[*one])));
    sets.push(beside(&applicable.possible));
    sets
}

/// Whether the model comes to what a target gave up on, as it is or with known deviations.
fn gave_up_on_its_way(
    view: &CaseView<'_>,
    profile: &'static Profile,
    applicable: &Applicable<'_>,
    defects: DefectSet,
    seen: &Transcript,
) -> bool {
    let mut sets = vec![defects];
    for deviations in sets_of(applicable) {
        let set = with_deviations(defects, &deviations);
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    gave_up::is_on_the_way(view, profile, &sets, seen)
}

/// Looks for the requirements of the differences of a verdict: those of what differs there. It
/// takes a run of the model for every defect. `defects` are those of the model that was judged by.
pub fn cite(case: &Case, profile: &'static Profile, defects: DefectSet, verdict: &mut Verdict<'_>) {
    let Verdict::Deviates { differences, against } = verdict else {
        return;
    };
    let view = view(case, profile);
    let base = match against {
        Against::Pure => Some(defects),
        Against::WithDeviations(deviations) => Some(with_deviations(defects, deviations)),
        Against::ByHand(_) => None,
    };
    let rules = base.map(|base| DecidingRules::new(&view, profile, base));
    let of = |difference: &Difference| match &rules {
        Some(rules) => rules.of(difference),
        None => of_subject(&difference.subject),
    };
    let unsought = differences
        .iter_mut()
        .filter(|difference| difference.cited == Cited::NotSought);
    for difference in unsought {
        difference.cited = of(difference);
    }
    cite_behind_fork(differences);
}

/// What a person expects behind the stop at which the path parts from the model's is wrong because it
/// parts, unless a rule of its own is known.
fn cite_behind_fork(differences: &mut [Difference]) {
    let fork = differences
        .iter()
        .find_map(|difference| match difference.subject {
            Subject::Path { agree, .. } => Some((agree, difference.cited.clone())),
            _ => None,
        });
    let Some((agree, cited)) = fork else { return };
    for difference in differences {
        if difference.cited == Cited::Unknown && difference.place.index() >= agree {
            difference.cited = cited.clone();
        }
    }
}

/// Judges with deviations of which the kernel's version does not tell whether it has them: with each of
/// them alone, and with all.
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
///
/// Where nothing counts that is written by hand, the model without defects is compared with itself, which
/// proves nothing: it never conforms then.
#[must_use]
pub fn judge_own(
    case: &Case,
    profile: &'static Profile,
    defects: DefectSet,
) -> (Verdict<'static>, Option<Transcript>) {
    let (mut verdict, transcript) = judge_own_uncited(case, profile, defects);
    verdict = match verdict {
        Verdict::Conforms if !case.is_about(profile) => {
            Verdict::Unsupported(Lack::nature(nothing_counts(case, profile)))
        }
        Verdict::Broken(reason) if !case.is_about(profile) && is_unspecified(case, profile, defects) => {
            Verdict::Unsupported(Lack::nature(format!(
                "{}; {reason}",
                nothing_counts(case, profile)
            )))
        }
        Verdict::Conforms if defects == DefectSet::NONE && case.expectations.is_empty() => {
            Verdict::Unsupported(Lack::suite(nothing_of_one_run(case)))
        }
        other => other,
    };
    cite(case, profile, DefectSet::NONE, &mut verdict);
    (verdict, transcript)
}

/// Whether no manual says what such a processor makes of a case.
#[must_use]
pub fn is_unspecified(case: &Case, profile: &'static Profile, defects: DefectSet) -> bool {
    matches!(
        outcomes(&case.scenario, profile, defects),
        Err(ModelError::Unspecified(_))
    )
}

/// That a case says nothing by hand that a single run could show.
fn nothing_of_one_run(case: &Case) -> &'static str {
    match &case.explore {
        Some(_) => {
            "nothing is written by hand about a single run, and the model is not judged by itself; \
             `conform explore` judges what is written about every schedule"
        }
        None => "nothing is written by hand, and the model is not judged by itself",
    }
}

/// That nothing written by hand counts for an implementation.
#[must_use]
pub fn nothing_counts(case: &Case, profile: &Profile) -> String {
    let about = match case.profiles.as_slice() {
        [] => "KVM".to_owned(),
        profiles => {
            let names: Vec<&str> = profiles.iter().map(|profile| profile.name).collect();
            names.join(" and ")
        }
    };
    format!(
        "nothing is judged as {}: what is written by hand in the case is about {about}",
        profile.name
    )
}

/// [`judge_own`] without requirements, for callers that only count, and whatever counts: a model
/// that is what it should be conforms.
#[must_use]
pub fn judge_own_uncited(
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
        return (Verdict::Unsupported(Lack::nature(reason)), None);
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

#[cfg(test)]
mod tests;
