//! Every kind of difference, on transcripts made by hand. Verdicts are in `verdicts`.

mod blame;
mod checked;
mod gaps;
mod host_state;
mod typed;
mod verdicts;

use spec_model::outcome::{Allowance, Outcome};
use spec_model::profile::KVM_SVM;
use spec_model::requirement::{self, NMI_SMM_004, SMM_RSM_008};
use spec_model::scenario::*;
use spec_model::transcript::*;
use spec_model::x86::field::FIELDS;
use spec_model::x86::local_apic::LocalApic;
use spec_model::x86::save_area::{KVM_64, SAVE_AREA_SIZE};
use spec_model::x86::state::{PendingException, VcpuState};

use super::difference::{Source, Subject};
use super::stop::Place;
use super::value::Value;
use super::*;
use crate::case::{AllowedValue, Expectations, FieldExpectation, ObservedField, PathStep};
use crate::target::Run;

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
        cpuid: Cpuid {
            long_mode: true,
            ..Cpuid::default()
        },
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
        watches: vec![Watch {
            name: "frame".to_owned(),
            address: 0x8000,
            length: 4,
            smm: false,
        }],
        ..Scenario::default()
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
        remains: Vec::new(),
        stage2: None,
        state_faults: Vec::new(),
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
        facilities: Vec::new(),
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
        steps: Vec::new(),
        refusals: Vec::new(),
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
            // So do the registers of a local APIC.
            if field.name.starts_with("apic.") {
                state(transcript, 1).apic = Some(Box::new(LocalApic::after_reset(0)));
            }
            // And what Xen keeps of a guest.
            if field.name.starts_with("xen.") {
                state(transcript, 1).xen_pv = Some(Box::default());
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
        assert_eq!(found[0].cited, Cited::NotSought, "never all that the case checks");
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
    assert_eq!(found.cited.requirements()[0].id, "SMM-RSM-008");
    assert_eq!(
        (found.allowed[0].to_string(), found.seen.to_string()),
        ("0x00".into(), "0x01".into())
    );
    let reserved = KVM_64
        .rows
        .iter()
        .find(|row| row.is_reserved() && row.width > 8)
        .expect("a wide one");
    let found = single(|it| {
        it.observations[1].save_area.as_mut().expect("area")[reserved.range(SAVE_AREA_SIZE).start + 9] = 7
    });
    assert_eq!(found.cited.requirements()[0].id, "SMM-SAVE-007");
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
    assert_eq!(found.cited.requirements()[0].id, "SMM-RSM-008");
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

/// The model went on behind `in-smi` and says nothing of it; the target's run ended there.
#[test]
fn the_last_that_is_observed_of_a_run_that_ended_early_is_no_difference() {
    let allowed = pure(vec![outcome(changed(|it| {
        for unobserved in &mut it.observations[..2] {
            unobserved.state = None;
        }
    }))]);
    let ended_early = changed(|it| {
        it.observations.truncate(2);
        it.observations[0].state = None;
    });
    let found_under = |observe| {
        let scenario = Scenario {
            observe,
            ..scenario()
        };
        let case = CaseView {
            name: "smm/example",
            checks: CHECKS,
            scenario: &scenario,
            expectations: &Expectations::default(),
            layout: layout(&scenario, &KVM_SVM),
        };
        let found = differences(judge(&case, &allowed, &Run::Done(ended_early.clone())));
        let labels = found.iter().map(|one| one.subject.label());
        labels.collect::<Vec<_>>()
    };
    assert_eq!(found_under(Observe::Ends).len(), 1, "the path alone");
    assert_eq!(
        found_under(Observe::default()).first().map(String::as_str),
        Some("state")
    );
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
        address: field.starts_with("save.").then(|| 0x3_0000 + row.from_smbase()),
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
                address: 0x3_0000 + row.from_smbase(),
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
