//! Every kind of difference and every verdict, on transcripts made by hand.

use spec_model::defect::{Defect, DefectSet};
use spec_model::outcome::{Allowance, ModelError, Outcome};
use spec_model::profile::KVM_SVM;
use spec_model::requirement::{self, NMI_SMM_004, SMM_RSM_008};
use spec_model::scenario::*;
use spec_model::transcript::*;
use spec_model::x86::field::FIELDS;
use spec_model::x86::save_area::{KVM_64, SAVE_AREA_SIZE};
use spec_model::x86::state::{PendingException, VcpuState};

use super::difference::{Source, Subject};
use super::stop::Place;
use super::value::Value;
use super::*;
use crate::case::{AllowedValue, Expectations, FieldExpectation, ObservedField, PathStep};
use crate::deviation::{Deviation, KernelRange};
use crate::target::{Backend, Run};

static CHECKS: &[&Requirement] = &[&SMM_RSM_008];

fn point(name: &str) -> Point {
    Point {
        name: name.to_owned(),
        kind: PointKind::Sync,
    }
}

fn scenario() -> Scenario {
    Scenario {
        name: "smm/example".to_owned(),
        cpuid: Cpuid { long_mode: true },
        memory: vec![MemoryRegion {
            address: 0,
            size: 0x10_0000,
            space: AddressSpace::Both,
            contents: vec![Blob {
                address: 0x1000,
                bytes: vec![0x90, 0xf4],
            }],
        }],
        vcpus: vec![VcpuState::default()],
        points: vec![point("before"), point("in-smi")],
        events: Vec::new(),
        schedule: Vec::new(),
        limits: Limits::default(),
        watches: vec![Watch {
            name: "frame".to_owned(),
            address: 0x8000,
            length: 4,
            smm: false,
        }],
    }
}

fn stopped(stop: Stop) -> Observation {
    Observation {
        vcpu: 0,
        stop,
        state: Some(Box::default()),
        stack: vec![1, 2],
        save_area: None,
        watches: vec![vec![1, 2, 3, 4]],
        accesses: Vec::new(),
    }
}

/// `before`, then `in-smi` with a save area, then a HLT.
fn transcript() -> Transcript {
    let mut in_smi = stopped(Stop::Sync(PointId(1)));
    in_smi.save_area = Some(vec![0; SAVE_AREA_SIZE]);
    Transcript {
        observations: vec![
            stopped(Stop::Sync(PointId(0))),
            in_smi,
            stopped(Stop::Halted(None)),
        ],
        memory_changes: Vec::new(),
        smm_memory_changes: Vec::new(),
    }
}

fn changed(change: impl FnOnce(&mut Transcript)) -> Transcript {
    let mut transcript = transcript();
    change(&mut transcript);
    transcript
}

fn state(transcript: &mut Transcript, index: usize) -> &mut VcpuState {
    transcript.observations[index]
        .state
        .as_mut()
        .expect("has a state")
}

fn outcome(transcript: Transcript) -> Outcome {
    Outcome {
        transcript,
        choices: Vec::new(),
        allowances: Vec::new(),
    }
}

fn pure(outcomes: Vec<Outcome>) -> AllowedOutcomes<'static> {
    AllowedOutcomes {
        pure: outcomes,
        deviating: None,
    }
}

fn with_view<T>(expectations: &Expectations, judged: impl FnOnce(&CaseView<'_>) -> T) -> T {
    let scenario = scenario();
    judged(&CaseView {
        name: "smm/example",
        checks: CHECKS,
        scenario: &scenario,
        expectations,
        layout: layout(&scenario, &KVM_SVM),
    })
}

fn judged(allowed: &AllowedOutcomes<'static>, seen: Transcript) -> Verdict<'static> {
    with_view(&Expectations::default(), |case| {
        judge(case, allowed, &Run::Done(seen))
    })
}

fn differences(verdict: Verdict<'_>) -> Vec<Difference> {
    match verdict {
        Verdict::Deviates { differences, .. } => differences,
        other => panic!("does not deviate: {other:?}"),
    }
}

/// The only difference between the plain transcript and a changed one.
fn single(change: impl FnOnce(&mut Transcript)) -> Difference {
    let found = differences(judged(&pure(vec![outcome(transcript())]), changed(change)));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().expect("one")
}

fn rip_at_smi(allowed: AllowedValue) -> Expectations {
    Expectations {
        paths: Vec::new(),
        fields: vec![FieldExpectation {
            at: "in-smi".to_owned(),
            nth: None,
            vcpu: None,
            field: ObservedField::named("rip", &KVM_64, &[]).expect("a field"),
            allowed,
            because: Some(&NMI_SMM_004),
            line: 12,
            column: 5,
        }],
    }
}

#[test]
fn the_same_transcript_conforms() {
    let allowed = pure(vec![outcome(transcript())]);
    assert_eq!(judged(&allowed, transcript()), Verdict::Conforms);
}

#[test]
fn every_state_field_is_compared() {
    for field in FIELDS {
        let set_up = |transcript: &mut Transcript| {
            // The members of an exception exist only where there is one.
            if field.name.starts_with("exception.") && field.name != "exception.pending" {
                state(transcript, 1).events.exception = Some(PendingException {
                    vector: 0,
                    error_code: Some(0),
                });
            }
        };
        let allowed = pure(vec![outcome(changed(set_up))]);
        let seen = changed(|transcript| {
            set_up(transcript);
            let state = state(transcript, 1);
            let value = field.read(state);
            field.write(state, value ^ 1);
        });
        let found = differences(judged(&allowed, seen));
        assert_eq!(found[0].subject.label(), field.name);
        let place = Place::At {
            index: 1,
            point: "in-smi".to_owned(),
            nth: 1,
            vcpu: 0,
        };
        assert_eq!(found[0].place, place, "{}", field.name);
        assert_eq!(found[0].requirements, CHECKS);
    }
}

#[test]
fn an_error_code_of_zero_is_not_none() {
    let exception = |error_code| {
        Some(PendingException {
            vector: 13,
            error_code,
        })
    };
    let allowed = changed(|it| state(it, 1).events.exception = exception(None));
    let seen = changed(|it| state(it, 1).events.exception = exception(Some(0)));
    let found = differences(judged(&pure(vec![outcome(allowed)]), seen));
    assert_eq!(found[0].subject.label(), "exception.has-error-code");
}

#[test]
fn a_save_area_is_compared_row_by_row() {
    let row = KVM_64.row("auto-halt-restart").expect("a row");
    let found = single(|it| row.write(it.observations[1].save_area.as_mut().expect("area"), 1));
    assert_eq!(found.subject.label(), "save.auto-halt-restart (7EC9h)");
    assert_eq!(found.requirements[0].id, "SMM-RSM-008");
    assert_eq!(
        (found.allowed[0].to_string(), found.seen.to_string()),
        ("0x00".into(), "0x01".into())
    );
    let reserved = KVM_64
        .rows
        .iter()
        .find(|row| row.is_reserved() && row.width > 8)
        .expect("a wide one");
    let found = single(|it| it.observations[1].save_area.as_mut().expect("area")[reserved.index() + 9] = 7);
    assert_eq!(found.requirements[0].id, "SMM-SAVE-007");
    assert!(matches!(found.seen, Value::Bytes(bytes) if bytes[9] == 7));
}

#[test]
fn presence_is_compared() {
    let label = |change: fn(&mut Transcript)| single(change).subject.label();
    assert_eq!(label(|it| it.observations[1].save_area = None), "save");
    assert_eq!(label(|it| it.observations[2].stack.clear()), "stack");
    assert_eq!(label(|it| it.observations[2].watches[0].clear()), "watch.frame");
    assert_eq!(label(|it| it.observations[2].state = None), "state");
}

#[test]
fn stack_watches_and_accesses_are_compared() {
    let found = single(|it| it.observations[0].stack[1] = 9);
    assert_eq!(found.subject.label(), "stack.1");
    let found = single(|it| it.observations[0].watches[0][1..3].copy_from_slice(&[9, 9]));
    assert_eq!(found.subject.label(), "watch.frame at 0x8001");
    assert_eq!(
        (found.allowed[0].to_string(), found.seen.to_string()),
        ("02 03".into(), "09 09".into())
    );
    let found = single(|it| {
        it.observations[0].accesses.push(Access {
            space: AccessSpace::Port,
            write: true,
            address: 0x80,
            length: 1,
            data: 5,
        });
    });
    assert_eq!(found.allowed[0].to_string(), "no access");
    assert_eq!(found.seen.to_string(), "8-bit OUT of 0x5 to port 0x80");
}

#[test]
fn memory_is_attributed_to_save_area_rows() {
    let found = single(|it| {
        it.memory_changes = vec![Blob {
            address: 0x3fec9,
            bytes: vec![1],
        }];
    });
    assert_eq!(found.place, Place::End);
    assert_eq!(
        found.subject.label(),
        "memory 0x3fec9, save.auto-halt-restart (7EC9h)"
    );
    assert_eq!(found.requirements[0].id, "SMM-RSM-008");
    let found = single(|it| {
        it.memory_changes = vec![Blob {
            address: 0x1000,
            bytes: vec![0xcc, 0xcc],
        }];
    });
    assert_eq!(found.subject.label(), "memory 0x1000");
    assert_eq!(found.allowed[0].to_string(), "90 f4", "the initial bytes");
    assert_eq!(found.seen.to_string(), "cc cc");
    let found = single(|it| {
        it.smm_memory_changes = vec![Blob {
            address: 0xa0000,
            bytes: vec![1],
        }];
    });
    assert_eq!(found.subject.label(), "SMRAM 0xa0000");
}

#[test]
fn paths_that_part_are_one_difference() {
    let found = single(|it| {
        it.observations[1].stop = Stop::Shutdown;
        it.observations.truncate(2);
        state(it, 0).rip = 0;
    });
    let Subject::Path { agree, allowed, seen } = found.subject else {
        panic!("not a path")
    };
    assert_eq!(agree, 1);
    assert_eq!(allowed, ["before", "in-smi", "halted"]);
    assert_eq!(seen, ["before", "shutdown"]);
    assert_eq!(found.allowed[0].to_string(), "sync point `in-smi` on vCPU 0");
    let found = single(|it| it.observations.truncate(1));
    assert_eq!(found.seen.to_string(), "end of the run");
    let found = single(|it| it.observations[2].vcpu = 1);
    assert_eq!(found.seen.to_string(), "HLT that is not a point on vCPU 1");
}

#[test]
fn allowances_free_bits_in_state_save_area_and_memory() {
    let row = KVM_64.row("cs.attributes").expect("a row");
    let allowance = |field: &str, any_bits| Allowance {
        observation: 1,
        field: field.to_owned(),
        any_bits,
        requirement: &requirement::SMM_SAVE_004,
    };
    let mut allowed = outcome(transcript());
    allowed.allowances = vec![allowance("cs.attributes", 1), allowance("save.cs.attributes", 1)];
    let allowed = pure(vec![allowed]);
    let with = |value: u8| {
        changed(|it| {
            state(it, 1).segments[1].attributes.0 = u32::from(value);
            row.write(
                it.observations[1].save_area.as_mut().expect("area"),
                u64::from(value),
            );
            it.memory_changes = vec![Blob {
                address: 0x3_0000 + 0xfe00 + row.index() as u64,
                bytes: vec![value],
            }];
        })
    };
    assert_eq!(judged(&allowed, with(1)), Verdict::Conforms);
    assert_eq!(differences(judged(&allowed, with(3))).len(), 3);
}

#[test]
fn the_nearest_outcome_is_reported_with_the_alternatives() {
    let rip = |value| changed(|it| state(it, 1).rip = value);
    let other = changed(|it| {
        state(it, 1).rip = 1;
        state(it, 1).rflags = 0x202;
    });
    let other_path = changed(|it| it.observations.truncate(2));
    let allowed = pure(vec![outcome(other_path), outcome(other), outcome(rip(2))]);
    let found = differences(judged(&allowed, rip(3)));
    assert_eq!(found.len(), 1);
    let values: Vec<String> = found[0].allowed.iter().map(ToString::to_string).collect();
    assert_eq!(values, ["0x2", "0x0", "0x1"]);
    assert_eq!(judged(&allowed, rip(2)), Verdict::Conforms);
}

#[test]
fn registers_name_the_bits_that_differ() {
    let found = single(|it| state(it, 1).rflags = 0x202);
    assert_eq!(found.differing_bits(), ["IF"]);
    let found = single(|it| state(it, 1).rip = 1);
    assert!(found.differing_bits().is_empty());
}

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
    assert_eq!(found[0].requirements[0].id, "NMI-SMM-004");
    // The model and the person agree that this is wrong: one difference.
    let found = differences(judge_it(changed(|it| state(it, 1).rip = 8)));
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].source, found[0].requirements[0].id),
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
        let unsupported = Run::Unsupported("no SMM".to_owned());
        assert_eq!(
            judge(case, &allowed, &unsupported),
            Verdict::Unsupported("no SMM".to_owned())
        );
        let broken = Run::Broken("died".to_owned());
        assert_eq!(judge(case, &allowed, &broken), Verdict::Broken("died".to_owned()));
        let nothing = Run::Done(Transcript {
            observations: Vec::new(),
            memory_changes: Vec::new(),
            smm_memory_changes: Vec::new(),
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
        kernels: KernelRange::default(),
        defects: vec![defect],
        requirement: &SMM_RSM_008,
        reason: "r".to_owned(),
        source: "s".to_owned(),
        found: "f".to_owned(),
        file: "d.yaml".into(),
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
