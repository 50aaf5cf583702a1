//! What is compared of steps is all of it, and never its words.

use proptest::prelude::*;
use spec_model::stage2::scenario::GuestAddress;
use spec_model::stage2::transcript::{End, Interrupted, MemoryExit, StepSeen};

use super::*;
use crate::case::{Expectations, StepExpectation, StepFact};

/// Few values, so that equal ones come up, and one whose words are those of another.
fn number() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 1, 0x1000, u64::MAX])
}

fn exit() -> impl Strategy<Value = MemoryExit> {
    (
        any::<bool>(),
        number(),
        prop::sample::select(vec![1_u8, 8]),
        number(),
    )
        .prop_map(|(write, at, length, data)| MemoryExit {
            write,
            at: GuestAddress::of_bytes(at),
            length,
            data,
        })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Done),
        (0..3_i32).prop_map(End::Failed),
        (0..3_u32).prop_map(End::InternalError),
        Just(End::Shutdown),
        Just(End::Stuck),
        (number(), number()).prop_map(|(syndrome, address)| End::Exception { syndrome, address }),
        (any::<bool>(), number()).prop_map(|(write, at)| End::Undescribed { write, at }),
    ]
}

fn step() -> impl Strategy<Value = StepSeen> {
    let interrupted = (end(), any::<bool>()).prop_map(|(end, retired)| Interrupted { end, retired });
    (
        prop::option::of(number()),
        prop::collection::vec(exit(), 0..20),
        end(),
        prop::option::of(prop::collection::vec(number(), 0..3)),
        prop::option::of(interrupted),
    )
        .prop_map(|(value, exits, end, dirty, interrupted)| StepSeen {
            value,
            exits,
            end,
            dirty,
            interrupted,
        })
}

/// One step and another that differs in at most a few parts of it.
fn pair() -> impl Strategy<Value = (StepSeen, StepSeen)> {
    let late_exit = (
        step(),
        prop::collection::vec(exit(), 1..20),
        any::<prop::sample::Index>(),
        exit(),
    );
    let late_exit = late_exit.prop_map(|(one, exits, index, other)| {
        let mut two = one.clone();
        two.exits.clone_from(&exits);
        let place = index.index(two.exits.len());
        two.exits[place] = other;
        (StepSeen { exits, ..one }, two)
    });
    prop_oneof![
        (step(), step()),
        step().prop_map(|one| (one.clone(), one)),
        late_exit
    ]
}

fn run_of(step: StepSeen) -> Stage2Seen {
    Stage2Seen {
        steps: vec![step],
        ..Stage2Seen::default()
    }
}

fn with_case<T>(expected: Vec<StepExpectation>, then: impl FnOnce(&CaseView<'_>) -> T) -> T {
    let scenario = Scenario::default();
    let expectations = Expectations {
        steps: expected,
        ..Expectations::default()
    };
    then(&CaseView {
        name: "stage2/example",
        checks: &[],
        scenario: &scenario,
        expectations: &expectations,
        layout: &spec_model::x86::save_area::KVM_64,
    })
}

fn facts(seen: &StepSeen) -> Vec<StepFact> {
    let value = seen.value.map(StepFact::Value);
    let dirty = seen.dirty.clone().map(StepFact::Dirty);
    let always = [StepFact::Exits(seen.exits.clone()), StepFact::End(seen.end)];
    value.into_iter().chain(dirty).chain(always).collect()
}

proptest! {
    #[test]
    fn steps_are_the_same_only_if_all_of_them_is((allowed, seen) in pair()) {
        let same = allowed == seen;
        let found = with_case(Vec::new(), |case| {
            compare(case, &run_of(allowed), &run_of(seen))
        });
        prop_assert_eq!(found.is_empty(), same);
        for difference in found {
            prop_assert_ne!(&difference.allowed[0], &difference.seen, "the words tell nothing");
        }
    }

    #[test]
    fn what_is_expected_by_hand_holds_only_for_the_same((wanted, seen) in pair()) {
        for expected in facts(&wanted) {
            let same = facts(&seen).contains(&expected);
            prop_assert_eq!(expected.holds(&seen), same);
            let expectation = StepExpectation { step: 0, expected, line: 3, column: 7 };
            let found = with_case(vec![expectation], |case| check_steps(case, &run_of(seen.clone())));
            prop_assert_eq!(found.is_empty(), same);
            for difference in found {
                prop_assert_ne!(&difference.allowed[0], &difference.seen);
            }
        }
    }
}

#[test]
fn a_step_that_was_not_reached_fulfils_nothing() {
    let expectation = StepExpectation {
        step: 1,
        expected: StepFact::End(End::Done),
        line: 3,
        column: 7,
    };
    let found = with_case(vec![expectation], |case| {
        check_steps(case, &run_of(StepSeen::default()))
    });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].seen, Value::Absent);
}

#[test]
fn host_memory_and_the_new_page_are_compared() {
    let change = |bytes: Vec<u8>| Change {
        backing: 0,
        file: false,
        page: 1,
        offset: 8,
        bytes,
    };
    let seen = |bytes, canary| Stage2Seen {
        steps: Vec::new(),
        changes: vec![change(bytes)],
        canary,
    };
    let label = |other: Stage2Seen| {
        let found = with_case(Vec::new(), |case| compare(case, &seen(vec![1; 40], 0), &other));
        assert_eq!(found.len(), 1);
        assert_ne!(found[0].allowed[0], found[0].seen);
        found[0].subject.label()
    };
    let mut late = vec![1; 40];
    late[39] = 2;
    assert_eq!(label(seen(late, 0)), "host memory");
    assert_eq!(
        label(seen(vec![1; 40], 1)),
        "bytes in a new page that are not zero"
    );
}
