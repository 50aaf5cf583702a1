//! Every verdict, on transcripts made by hand.

use spec_model::defect::{Defect, DefectSet};
use spec_model::error::ModelError;

use super::*;
use crate::deviation::{Deviation, KernelRange, Upstream, UpstreamStatus};
use crate::target::{Backend, Lack};

#[test]
fn a_failed_expectation_deviates_with_its_own_requirement() {
    let expectations = rip_at_smi(AllowedValue::Exactly(7));
    let allowed = pure(vec![outcome(transcript())]);
    let judge_it = |seen| with_view(&expectations, |case| judge(case, &allowed, &Run::Done(seen)));
    let found = differences(judge_it(transcript()));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].source,
        Source::Expectation {
            index: 0,
            line: 12,
            column: 5
        }
    );
    assert_eq!(found[0].cited.requirements()[0].id, "NMI-SMM-004");
    // The model and the person agree that this is wrong: one difference.
    let found = differences(judge_it(changed(|it| state(it, 1).rip = 8)));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].source, found[0].cited.requirements()[0].id),
        (Source::Model, "NMI-SMM-004")
    );
}

#[test]
fn expectations_admit_sets_and_masks() {
    let allowed = pure(vec![outcome(transcript())]);
    let verdict = |values| {
        let expectations = rip_at_smi(values);
        with_view(&expectations, |case| {
            judge(case, &allowed, &Run::Done(transcript())).kind()
        })
    };
    assert_eq!(verdict(AllowedValue::AnyOf(vec![1, 0])), VerdictKind::Conforms);
    assert_eq!(verdict(AllowedValue::AnyOf(vec![1, 2])), VerdictKind::Deviates);
    let masked = |value| AllowedValue::Masked { mask: 2, value };
    assert_eq!(verdict(masked(1)), VerdictKind::Conforms);
    assert_eq!(verdict(masked(2)), VerdictKind::Deviates);
    let bytes = Value::Bytes(vec![0x34, 0x12]);
    assert!(observed::admits(&AllowedValue::Exactly(0x1234), &bytes));
    assert!(observed::admits(&AllowedValue::Bytes(vec![0x34, 0x12]), &bytes));
    assert!(!observed::admits(&AllowedValue::Bytes(vec![0x34]), &bytes));
    assert!(!observed::admits(&AllowedValue::Exactly(0), &Value::Absent));
}

#[test]
fn an_expected_path_is_one_of_several() {
    let step = |at: &str| PathStep {
        vcpu: None,
        at: at.to_owned(),
    };
    let taken = vec![step("before"), step("in-smi"), step("halted")];
    let other = vec![step("before"), step("shutdown")];
    let allowed = pure(vec![outcome(transcript())]);
    let verdict = |paths| {
        let expectations = Expectations {
            paths,
            fields: Vec::new(),
            steps: Vec::new(),
            refusals: Vec::new(),
        };
        with_view(&expectations, |case| {
            judge(case, &allowed, &Run::Done(transcript()))
        })
    };
    assert_eq!(verdict(vec![other.clone(), taken]), Verdict::Conforms);
    let found = differences(verdict(vec![other]));
    assert_eq!(found[0].source, Source::ExpectedPath);
}

#[test]
fn the_person_and_the_model_may_disagree() {
    let model = vec![outcome(transcript())];
    let verdict =
        |expectations: &Expectations| with_view(expectations, |case| judge_model(case, &model, &model));
    assert_eq!(verdict(&rip_at_smi(AllowedValue::Exactly(0))), Verdict::Conforms);
    let Verdict::Broken(reason) = verdict(&rip_at_smi(AllowedValue::Exactly(7))) else {
        panic!("not broken")
    };
    assert!(
        reason.contains("line 12: rip at `in-smi` (vCPU 0) should be 0x7, the model says 0x0"),
        "{reason}"
    );
    let mut never = rip_at_smi(AllowedValue::Exactly(0));
    never.fields[0].nth = Some(2);
    let Verdict::Broken(reason) = verdict(&never) else {
        panic!("not broken")
    };
    assert!(reason.contains("never gets to `in-smi`, time 2"), "{reason}");
}

#[test]
fn a_model_with_a_defect_is_a_target() {
    let own = vec![outcome(changed(|it| state(it, 1).rip = 8))];
    let verdict = with_view(&Expectations::default(), |case| {
        judge_model(case, &[outcome(transcript())], &own)
    });
    assert_eq!(differences(verdict)[0].subject.label(), "rip");
}

#[test]
fn runs_that_did_not_happen_are_no_deviations() {
    let allowed = pure(vec![outcome(transcript())]);
    with_view(&Expectations::default(), |case| {
        let unsupported = Run::Unsupported(Lack::nature("no SMM"));
        assert_eq!(
            judge(case, &allowed, &unsupported),
            Verdict::Unsupported(Lack::nature("no SMM"))
        );
        let broken = Run::Broken("died".to_owned());
        assert_eq!(judge(case, &allowed, &broken), Verdict::Broken("died".to_owned()));
        let nothing = Run::Done(Transcript {
            observations: Vec::new(),
            memory_changes: Vec::new(),
            smm_memory_changes: Vec::new(),
            remains: Vec::new(),
            stage2: None,
            state_faults: Vec::new(),
        });
        assert_eq!(judge(case, &allowed, &nothing).kind(), VerdictKind::Broken);
        let no_model = judge(case, &pure(Vec::new()), &Run::Done(transcript()));
        assert_eq!(no_model.kind(), VerdictKind::Broken);
    });
}

fn deviation(title: &str, defect: Defect) -> Deviation {
    Deviation {
        title: title.to_owned(),
        targets: vec![Backend::Svm],
        expected: Vec::new(),
        processor: None,
        of_kvm: false,
        nested_paging: false,
        modes: Vec::new(),
        kernels: KernelRange::default(),
        defects: vec![defect],
        complaint: None,
        requirement: &SMM_RSM_008,
        reason: "r".to_owned(),
        source: "s".to_owned(),
        found: "f".to_owned(),
        upstream: Upstream {
            status: UpstreamStatus::Unreported,
            place: String::new(),
        },
        file: "d.yaml".into(),
        is_users_own: false,
    }
}

/// RIP is 1 more with the first defect, RAX 1 with the second; the third shows nothing.
fn toy_model(defects: DefectSet) -> Result<Vec<Outcome>, ModelError> {
    let seen = changed(|it| {
        state(it, 1).rip = u64::from(defects.has(Defect::AutoHaltIgnored));
        state(it, 1).general[0] = u64::from(defects.has(Defect::IstIgnored));
    });
    Ok(vec![outcome(seen)])
}

#[test]
fn known_deviations_count_only_to_the_last_field() {
    let listed = [
        deviation("rip", Defect::AutoHaltIgnored),
        deviation("rax", Defect::IstIgnored),
        deviation("none", Defect::StackNotAligned),
    ];
    let all: Vec<&Deviation> = listed.iter().collect();
    let allowed = AllowedOutcomes::with_model(toy_model, DefectSet::NONE, &all).expect("runs");
    let expectations = rip_at_smi(AllowedValue::Exactly(0));
    let verdict = |rip, rax| {
        let seen = changed(|it| {
            state(it, 1).rip = rip;
            state(it, 1).general[0] = rax;
        });
        with_view(&expectations, |case| judge(case, &allowed, &Run::Done(seen)))
    };
    let both = vec![&listed[0], &listed[1]];
    assert_eq!(verdict(1, 1), Verdict::KnownDeviation(both.clone()));
    assert_eq!(verdict(0, 0), Verdict::UnexpectedlyConforms(both.clone()));
    // Only one of the two is there: not exactly what is listed.
    assert_eq!(verdict(1, 0).kind(), VerdictKind::Deviates);
    // One more difference beside what is listed: reported from the listed.
    let Verdict::Deviates { differences, against } = verdict(1, 2) else {
        panic!("does not deviate")
    };
    assert_eq!(against, Against::WithDeviations(both));
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].subject.label(), "rax");
}

#[test]
fn deviations_that_do_not_touch_a_case_leave_the_pure_verdict() {
    let listed = deviation("none", Defect::StackNotAligned);
    let allowed = AllowedOutcomes::with_model(toy_model, DefectSet::NONE, &[&listed]).expect("runs");
    assert!(allowed.deviating.is_none());
}

#[test]
fn a_run_that_both_models_allow_conforms() {
    let both = |defects: DefectSet| {
        let mut all = toy_model(DefectSet::NONE)?;
        all.extend(toy_model(defects.with(Defect::IstIgnored))?);
        Ok(all)
    };
    let listed = deviation("rip", Defect::AutoHaltIgnored);
    let allowed = AllowedOutcomes::with_model(both, DefectSet::NONE, &[&listed]).expect("runs");
    assert!(allowed.deviating.is_some());
    let verdict = with_view(&Expectations::default(), |case| {
        judge(case, &allowed, &Run::Done(transcript()))
    });
    assert_eq!(verdict, Verdict::Conforms);
}

#[test]
fn a_model_error_is_passed_on() {
    let failing = |_| Err(ModelError::BadScenario("no".to_owned()));
    assert!(AllowedOutcomes::with_model(failing, DefectSet::NONE, &[]).is_err());
}
