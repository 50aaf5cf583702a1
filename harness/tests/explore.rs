//! Exploring all schedules: of small cases whose answers are known, and of every case that
//! makes a claim about them.

mod race;

use std::path::Path;

use harness::case::{Case, Claim, load_folder};
use harness::explore::diagram::diagram;
use harness::explore::{Refuted, check, explored, replay};
use spec_model::defect::DefectSet;
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;

const MOST_STATES: usize = 2_000_000;

fn case(text: &str) -> Case {
    let parsed = Case::parse(
        "explore/inline".to_owned(),
        Path::new("inline.yaml"),
        text.as_bytes(),
    );
    parsed.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[test]
fn the_shortest_way_to_a_race_is_found_and_its_endings_replay() {
    let case = case(&race::claiming("possible, shortest: 2, endings: 2"));
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    assert!(found.complete);
    assert_eq!(check(case.explore.as_ref().expect("it claims"), &found), []);
    let crash = found.crash.clone().expect("there is one");
    assert_eq!(crash.schedule, [1, 1]);
    let text = diagram(&case.scenario, &KVM_SVM, DefectSet::NONE, &crash).expect("the model runs it");
    assert!(text.contains("CRASH: shutdown"), "{text}");
    for ending in &found.endings {
        let replay = replay(&case, &ending.path);
        let outcome = outcomes(&replay.scenario, &KVM_SVM, DefectSet::NONE).expect("the model runs it");
        let observations = &outcome[0].transcript.observations;
        let schedule: Vec<u8> = observations.iter().map(|stop| stop.vcpu).collect();
        assert_eq!(schedule, ending.path.schedule);
        for (vcpu, last) in ending.stops.iter().enumerate() {
            let own = observations.iter().rfind(|stop| usize::from(stop.vcpu) == vcpu);
            assert_eq!(own.map(|stop| stop.stop), *last);
        }
    }
}

#[test]
fn claims_that_do_not_hold_are_refuted() {
    let case = case(&race::claiming("possible, shortest: 2, endings: 2"));
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    let claim = case.explore.clone().expect("it claims");
    let never = Claim {
        crash: false,
        stranded: true,
        endings: Some(9),
        shortest: None,
        points: Vec::new(),
    };
    assert_eq!(
        check(&never, &found),
        [
            Refuted::Crashes { turns: 2 },
            Refuted::NeverStrands,
            Refuted::OtherEndings { found: 2, claimed: 9 }
        ]
    );
    let longer = Claim {
        shortest: Some(5),
        ..claim
    };
    assert_eq!(
        check(&longer, &found),
        [Refuted::OtherLength { found: 2, claimed: 5 }]
    );
}

#[test]
fn processors_that_wait_for_each_other_are_found() {
    let case = case(
        "
title: Two processors wait for each other
checks: [EXC-HLT-001]
machine: { mode: real, vcpus: 2 }
code:
  start: |
    again:
    sync waits
    cmp byte ptr [0x5000], 1
    jne again
    mov byte ptr [0x5001], 1
    hlt
  start.1: |
    again1:
    sync waits-too
    cmp byte ptr [0x5001], 1
    jne again1
    mov byte ptr [0x5000], 1
    hlt
explore: { crash: never, stranded: possible, endings: 0 }
",
    );
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    assert_eq!(check(case.explore.as_ref().expect("it claims"), &found), []);
    // Each is before its point, at it, or back at it with the flags of the comparison.
    assert_eq!(found.states, 9);
}

#[test]
fn a_limit_of_states_is_not_taken_for_the_end() {
    let case = case(&race::claiming("possible, shortest: 2, endings: 2"));
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, 2).expect("the model runs it");
    assert!(!found.complete);
}

/// The counterexample of seed 000, as `conform explore` prints it.
#[test]
fn the_crash_of_the_s3_resume_reads_like_its_report() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cases/s3/closes-smram-too-early.yaml");
    let case = Case::load(&file).expect("it loads");
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    let crash = found.crash.expect("there is one");
    let text = diagram(&case.scenario, &KVM_SVM, DefectSet::NONE, &crash).expect("the model runs it");
    insta::with_settings!({
        snapshot_path => Path::new("../../golden/explore"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => case.title.as_str(),
    }, {
        insta::assert_snapshot!("closes-smram-too-early", text);
    });
}

/// A counterexample of seed 004: the NMI of the shootdown on an IST stack in use.
#[test]
fn an_nmi_on_a_stack_in_use_reads_like_the_mail() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cases/kexec/ist-not-cleared.yaml");
    let case = Case::load(&file).expect("it loads");
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    let points = &case.explore.as_ref().expect("it claims").points;
    let place = points.iter().position(|point| point.at == "overwritten");
    let path = place.and_then(|place| found.sought[place].clone());
    let path = path.expect("some schedule comes there");
    let text = diagram(&case.scenario, &KVM_SVM, DefectSet::NONE, &path).expect("the model runs it");
    insta::with_settings!({
        snapshot_path => Path::new("../../golden/explore"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => case.title.as_str(),
    }, {
        insta::assert_snapshot!("ist-not-cleared", text);
    });
}

const POINTS: &str = "
title: A processor sees what the other has written, or does not
checks: [EXC-HLT-001]
machine: { mode: real, vcpus: 2, registers: { rbx: 1 } }
code:
  start: |
    mov byte ptr [0x5000], 1
    sync written
    hlt
  start.1: |
    mov al, [0x5000]
    sync looks
    hlt
  unused: |
    sync nowhere
explore:
  crash: never
  never: [nowhere, { at: written, vcpu: 1 }, { at: looks, rax: 2 }]
  possible:
    - { at: looks, rax: 1, turns: 2 }
    - { at: looks, rax: 0, turns: 1 }
    - written
";

#[test]
fn points_are_found_with_what_is_observed_there() {
    let case = case(POINTS);
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    let claim = case.explore.as_ref().expect("it claims");
    assert_eq!(check(claim, &found), []);
    let ways: Vec<Option<Vec<u8>>> = found
        .sought
        .iter()
        .map(|way| way.as_ref().map(|path| path.schedule.clone()))
        .collect();
    let expected = [None, None, None, Some(vec![0, 1]), Some(vec![1]), Some(vec![0])];
    assert_eq!(ways, expected);
}

#[test]
fn points_that_are_claimed_wrongly_are_refuted() {
    let case = case(POINTS);
    let found = explored(&case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
    let mut claim = case.explore.expect("it claims");
    for point in &mut claim.points {
        point.possible = !point.possible;
    }
    let refuted = check(&claim, &found);
    let of = |wanted: fn(&Refuted) -> bool| refuted.iter().filter(|refuted| wanted(refuted)).count();
    assert_eq!(of(|refuted| matches!(refuted, Refuted::NeverReached { .. })), 3);
    assert_eq!(of(|refuted| matches!(refuted, Refuted::Reached { .. })), 3);
    for point in &mut claim.points {
        point.possible = true;
        point.turns = Some(7);
    }
    let refuted = check(&claim, &found);
    let lengths = refuted
        .iter()
        .filter(|refuted| matches!(refuted, Refuted::OtherLengthTo { .. }));
    assert_eq!(lengths.count(), 3);
}

#[test]
fn every_claim_about_all_schedules_holds() {
    let cases =
        load_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cases")).expect("they load");
    let claims = cases.iter().filter(|case| case.explore.is_some()).count();
    assert!(
        claims >= 18,
        "the variants of the S3 resume and of the crash path claim something"
    );
    for case in &cases {
        let Some(claim) = &case.explore else { continue };
        let found = explored(case, &KVM_SVM, DefectSet::NONE, MOST_STATES).expect("the model runs it");
        assert!(found.complete, "{}", case.name);
        assert_eq!(check(claim, &found), [], "{}", case.name);
    }
}
