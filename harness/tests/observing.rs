//! Looking at a run changes nothing: what the model shows at its ends does not depend on whether
//! the host looked at the state before. Where a hypervisor repairs itself when it is asked for its
//! events, looking at the ends only is what tells.

use std::path::Path;

use harness::case::{Case, load_folder};
use harness::judge::case::{judge_own, view};
use harness::judge::{VerdictKind, not_looked_at};
use harness::target::Mode;
use spec_model::defect::{Defect, DefectSet};
use spec_model::run::outcomes;
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::Transcript;

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let cases = load_folder(&folder).expect("the cases are without mistakes");
    let whole = cases.into_iter().filter(|case| case.scenario.stage2.is_none());
    whole.collect()
}

fn transcripts(case: &Case, observe: Observe, defects: DefectSet) -> Vec<Transcript> {
    let scenario = Scenario {
        observe,
        ..case.scenario.clone()
    };
    let outcomes = outcomes(&scenario, case.own_profile(), defects).expect("the model runs every case");
    outcomes.into_iter().map(|outcome| outcome.transcript).collect()
}

/// Whether looking at the points changes what is seen at the ends; nothing if a processor comes
/// to no end.
fn looking_matters(case: &Case, defects: DefectSet) -> Option<bool> {
    let at_points = transcripts(case, Observe::Points, defects);
    let wanted: Option<Vec<Transcript>> = at_points.iter().map(Transcript::seen_at_ends).collect();
    let (wanted, at_ends) = (wanted?, transcripts(case, Observe::Ends, defects));
    let within = |one: &[Transcript], two: &[Transcript]| one.iter().all(|seen| two.contains(seen));
    Some(!within(&wanted, &at_ends) || !within(&at_ends, &wanted))
}

#[test]
fn looking_changes_nothing_in_the_model() {
    let mut compared = 0;
    for case in cases() {
        let matters = looking_matters(&case, DefectSet::NONE);
        assert_ne!(matters, Some(true), "{}", case.name);
        compared += usize::from(matters.is_some());
    }
    assert!(compared > 500, "{compared} cases were compared");
}

/// The law can fail: a hypervisor that is late with an NMI until somebody asks.
#[test]
fn looking_repairs_a_late_nmi() {
    let late = DefectSet::NONE.with(Defect::NmiLateBehindSkipped);
    let mut cases = cases();
    let mut found = cases
        .iter()
        .filter(|case| looking_matters(case, late) == Some(true));
    assert!(found.any(|case| case.name == "nmi/shadow-over-an-unobserved-point"));
    cases.retain(|case| case.name == "nmi/shadow-over-an-unobserved-point");
    assert_eq!(
        judge_own(&cases[0], cases[0].own_profile(), late).0.kind(),
        VerdictKind::Deviates
    );
    cases[0].scenario.observe = Observe::Points;
    assert_eq!(
        judge_own(&cases[0], cases[0].own_profile(), late).0.kind(),
        VerdictKind::Conforms
    );
}

/// Every case can be run with the ends observed only, and is then judged by what is left: path,
/// accesses, memory and the state at the end. The expectations that say nothing are counted.
#[test]
fn every_case_is_judged_at_its_ends() {
    let mut missing = 0;
    for mut case in cases() {
        case.observe_at_most(Observe::Ends, Mode::Normal);
        let profile = case.own_profile();
        let (verdict, transcript) = judge_own(&case, profile, DefectSet::NONE);
        // What is claimed of every schedule a single run does not show.
        let wanted = match case.expectations.is_empty() {
            true => VerdictKind::Unsupported,
            false => VerdictKind::Conforms,
        };
        assert_eq!(verdict.kind(), wanted, "{}: {verdict:?}", case.name);
        let transcript = transcript.expect("it ran");
        missing += not_looked_at(&view(&case, profile), &transcript);
        for (index, seen) in transcript.observations.iter().enumerate() {
            let mut later = transcript.observations.iter().skip(index + 1);
            let is_last = !later.any(|other| other.vcpu == seen.vcpu);
            assert_eq!(
                seen.is_unobserved(),
                !is_last && seen.stop.is_at_point(),
                "{}",
                case.name
            );
        }
    }
    assert!(missing > 1000, "{missing} expectations were not looked at");
}
