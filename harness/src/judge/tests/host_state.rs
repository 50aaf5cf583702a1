//! State that the host sets: what is not taken and what should not have been.

use spec_model::host_state::{EINVAL, Fault, HostCall, StateFault};

use super::*;
use crate::case::RefusalExpectation;

fn refused(after: Option<u32>) -> StateFault {
    let what = Fault::Refused {
        call: HostCall::SetSregs,
        errno: EINVAL,
    };
    StateFault { vcpu: 0, after, what }
}

fn not_kept(after: Option<u32>) -> StateFault {
    let what = Fault::NotKept {
        field: "r15".to_owned(),
        set: 2,
        read: 3,
    };
    StateFault { vcpu: 0, after, what }
}

fn with(fault: StateFault) -> Transcript {
    changed(|transcript| transcript.state_faults.push(fault))
}

fn differences(allowed: Transcript, seen: Transcript, expectations: &Expectations) -> Vec<Difference> {
    let allowed = pure(vec![outcome(allowed)]);
    match with_view(expectations, |case| judge(case, &allowed, &Run::Done(seen))) {
        Verdict::Conforms => Vec::new(),
        Verdict::Deviates { differences, .. } => differences,
        other => panic!("{other:?}"),
    }
}

fn ids(difference: &Difference) -> Vec<&'static str> {
    difference
        .cited
        .requirements()
        .iter()
        .map(|rule| rule.id)
        .collect()
}

#[test]
fn a_state_that_is_not_kept_at_the_start_is_the_only_difference() {
    let seen = Transcript::of_state_faults(vec![not_kept(None)]);
    let found = differences(transcript(), seen, &Expectations::default());
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(one.place, Place::Start);
    assert_eq!(
        (&one.allowed, &one.seen),
        (&vec![Value::number(2, 64)], &Value::number(3, 64))
    );
    assert_eq!(ids(one), ["STATE-009"]);
}

#[test]
fn what_a_getter_cannot_tell_is_a_difference_with_what_it_can() {
    let told = |call, member: &str| StateFault {
        vcpu: 0,
        after: None,
        what: Fault::Told {
            call,
            member: member.to_owned(),
            allowed: vec![0, 3],
            read: 7,
        },
    };
    for (call, member, rule) in [
        (HostCall::GetVcpuEvents, "flags", "STATE-019"),
        (HostCall::GetSregs, "cs.padding", "STATE-019"),
        (HostCall::GetVcpuEvents, "triple_fault.pending", "STATE-020"),
        (HostCall::GetSregs, "interrupt_bitmap", "STATE-020"),
        (HostCall::GetLapic, "0A0h", "STATE-021"),
    ] {
        let seen = Transcript::of_state_faults(vec![told(call, member)]);
        let found = differences(transcript(), seen, &Expectations::default());
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            one.subject.label(),
            format!("{member} of {} (vCPU 0)", call.name())
        );
        assert_eq!(one.allowed, [Value::number(0, 64), Value::number(3, 64)]);
        assert_eq!(one.seen, Value::number(7, 64));
        assert_eq!(ids(one), [rule]);
    }
}

#[test]
fn a_legal_state_that_is_refused_is_a_difference_where_it_was_set() {
    let found = differences(transcript(), with(refused(Some(0))), &Expectations::default());
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(one.place.to_string(), "at `before` (vCPU 0)");
    assert_eq!(one.seen.to_string(), "refused (EINVAL)");
    assert_eq!(ids(one), ["STATE-015"]);
}

#[test]
fn a_refusal_that_is_due_and_does_not_come_is_a_difference() {
    for after in [None, Some(1)] {
        let allowed = match after {
            None => Transcript::of_state_faults(vec![refused(None)]),
            _ => with(refused(after)),
        };
        let found = differences(allowed.clone(), transcript(), &Expectations::default());
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(one.seen.to_string(), "taken");
        assert_eq!(ids(one), ["STATE-016", "STATE-017", "STATE-018"]);
        assert!(differences(allowed.clone(), allowed, &Expectations::default()).is_empty());
    }
}

#[test]
fn a_refusal_that_a_person_expects_is_looked_for_at_its_point() {
    let expectations = Expectations {
        refusals: vec![RefusalExpectation {
            at: Some(("before".to_owned(), None)),
            call: HostCall::SetSregs,
            errno: EINVAL,
            line: 7,
            column: 3,
        }],
        ..Expectations::default()
    };
    let failed = |fault: Option<StateFault>| {
        let seen = fault.map_or_else(transcript, with);
        differences(seen.clone(), seen, &expectations).len()
    };
    assert_eq!(failed(Some(refused(Some(0)))), 0);
    assert_eq!(failed(Some(refused(Some(1)))), 1);
    assert_eq!(failed(Some(refused(None))), 1);
    assert_eq!(failed(None), 1);
}

#[test]
fn an_out_that_is_not_completed_and_a_slot_that_is_not_there_are_differences() {
    let slot = |made| Fault::Slot {
        space: 1,
        address: 0x5_0000,
        size: 0x2000,
        made,
    };
    let not_completed = Fault::NotCompleted {
        exit: "failed: Bad address".to_owned(),
    };
    let refused = Fault::Refused {
        call: HostCall::SetUserMemoryRegion,
        errno: EINVAL,
    };
    for (what, id, text) in [
        (not_completed, "S2-MMIO-002", "failed: Bad address"),
        (slot(true), "S2-SLOT-007", "another one can be made in its place"),
        (slot(false), "S2-SLOT-004", "it can be deleted once more"),
        (refused, "S2-SLOT-007", "refused (EINVAL)"),
    ] {
        let seen = with(StateFault {
            vcpu: 0,
            after: Some(1),
            what,
        });
        let found = differences(transcript(), seen, &Expectations::default());
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((ids(one), &one.seen), (vec![id], &Value::Text(text.to_owned())));
    }
}
