//! Who is to blame, and by which rule, in whole cases.

use std::path::Path;

use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::{INTEL, KVM_SVM};
use spec_model::run::outcomes;

use super::*;
use crate::case::Case;
use crate::judge::case::{judge_own, judge_own_uncited, judge_run};
use crate::target::system::System;
use crate::target::{Backend, Identity, Lack, Mode, Processor};

fn read(text: &str) -> Case {
    let read = Case::parse("smm/example".to_owned(), Path::new("case.yaml"), text.as_bytes());
    read.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// An SMI and an RSM; `expect` is what a person says of the handler, `code` what follows.
fn case(code: &str, expect: &str) -> Case {
    read(&format!(
        "title: t\nchecks: [SMM-ENTRY-006, NMI-SMM-002, SMM-RSM-008]\nmachine: {{ mode: real }}\ncode:\n  start: |\n    sync a\n    {code}\n    hlt\n  smi: |\n    sync in-smi\n    rsm\nhost:\n  - {{ at: a, do: smi }}\npath: [a, in-smi, halted]\n{expect}"
    ))
}

fn svm() -> Identity {
    Identity {
        name: "svm".to_owned(),
        backend: Backend::Svm,
        processor: Processor::Native,
        kernel: "6.12.0".to_owned(),
        smm: true,
        system: System::default(),
    }
}

fn on_svm(case: &Case, run: &Run) -> Verdict<'static> {
    judge_run(
        case,
        &svm(),
        Mode::Normal,
        &[],
        DefectSet::NONE,
        &run.clone().into(),
    )
}

/// What a processor with that defect does.
fn run_with(case: &Case, defects: DefectSet) -> Run {
    let outcomes = outcomes(&case.scenario, &KVM_SVM, defects).expect("the model can run it");
    Run::Done(outcomes.into_iter().next().expect("an outcome").transcript)
}

fn cited(verdict: &Verdict<'_>) -> Vec<(String, Vec<&'static str>)> {
    let Verdict::Deviates { differences, .. } = verdict else {
        panic!("does not deviate: {verdict:?}")
    };
    let of = |difference: &Difference| {
        let ids = difference.cited.requirements().iter().map(|rule| rule.id);
        (difference.subject.label(), ids.collect())
    };
    differences.iter().map(of).collect()
}

#[test]
fn a_wrong_case_is_broken_on_every_target_with_the_text_of_the_model() {
    let wrong = case("nop", "expect:\n  - { at: in-smi, smm: false }\n");
    let (Verdict::Broken(text), _) = judge_own(&wrong, &KVM_SVM, DefectSet::NONE) else {
        panic!("the model does not object")
    };
    assert!(
        text.contains("line 16: smm at `in-smi` (vCPU 0) should be false, the model says true"),
        "{text}"
    );
    let right = run_with(&wrong, DefectSet::NONE);
    let other = run_with(&wrong, DefectSet::NONE.with(Defect::Cr4KeptOnEntry));
    for run in [right, other, Run::Unsupported(Lack::suite("no SMM"))] {
        assert_eq!(on_svm(&wrong, &run), Verdict::Broken(text.clone()));
    }
    let died = on_svm(&wrong, &Run::Broken("it died".to_owned()));
    assert_eq!(
        died,
        Verdict::Broken(format!("{text}\nand apart from that, it died"))
    );
}

#[test]
fn a_difference_cites_the_rule_of_what_differs_and_not_all_that_the_case_checks() {
    let case = case("nop", "");
    let run = run_with(&case, DefectSet::NONE.with(Defect::SmiKeepsNmiMask));
    let found = cited(&on_svm(&case, &run));
    assert!(
        found.contains(&("nmi.masked".to_owned(), vec!["SMM-ENTRY-011"])),
        "{found:?}"
    );
    assert!(
        found.iter().all(|(_, ids)| !ids.contains(&"SMM-RSM-008")),
        "{found:?}"
    );
    // Something that no rule of the model decides.
    let Run::Done(mut seen) = run_with(&case, DefectSet::NONE) else {
        panic!("does not run")
    };
    state(&mut seen, 1).cr2 = 0x5555;
    let found = cited(&on_svm(&case, &Run::Done(seen.clone())));
    assert_eq!(found, [("cr2".to_owned(), vec!["EXC-PF-001"])]);
    state(&mut seen, 1).cr2 = 0;
    state(&mut seen, 1).general[9] = 1;
    let found = on_svm(&case, &Run::Done(seen));
    assert_eq!(cited(&found), [("r9".to_owned(), vec![])]);
}

#[test]
fn a_path_that_parts_cites_what_leads_off_it() {
    let case = read(
        "title: t\nchecks: [SMM-RSM-008, SMM-ENTRY-006]\nmachine: { mode: real }\ncode:\n  start: |\n    halt waiting\n    sync fell-through\n    hlt\n  smi: |\n    sync in-smi\n    rsm\nhost:\n  - { at: waiting, nth: 1, do: smi }\npath: [waiting, in-smi, waiting]\n",
    );
    let run = run_with(&case, DefectSet::NONE.with(Defect::AutoHaltIgnored));
    let found = cited(&on_svm(&case, &run));
    assert!(
        found.contains(&("path".to_owned(), vec!["SMM-RSM-008"])),
        "{found:?}"
    );
}

/// A run of a payload that the model cannot run.
fn unknown(expect: &str, path: &str) -> Case {
    read(&format!(
        "title: t\nchecks: [SMM-RSM-008]\nmachine: {{ mode: real }}\ncode:\n  start: |\n    sync a\n    mov ecx, 0x277\n    rdmsr\n    sync b\n    hlt\n{path}{expect}"
    ))
}

fn at_points() -> Transcript {
    changed(|it| {
        it.observations[1].save_area = None;
        for observation in &mut it.observations {
            observation.watches.clear();
        }
    })
}

#[test]
fn a_case_beyond_the_model_is_judged_by_hand_alone_and_says_so() {
    let path = "path: [a, b, halted]\n";
    let run = Run::Done(at_points());
    let judge_it = |expect: &str, path: &str| on_svm(&unknown(expect, path), &run);
    let Verdict::ConformsByHand(reason) = judge_it("expect:\n  - { at: b, rax: 0 }\n", path) else {
        panic!("is not judged by hand")
    };
    assert!(reason.contains("MSR 0x277"), "{reason}");
    assert_eq!(judge_it("", path).kind(), VerdictKind::Conforms);
    let Verdict::Deviates { against, differences } = judge_it("expect:\n  - { at: b, rax: 1 }\n", path)
    else {
        panic!("does not deviate")
    };
    assert_eq!(against, Against::ByHand(reason));
    assert_eq!(differences[0].cited, Cited::Unknown);
    // Nothing that was judged, or not all of it.
    let mut case = unknown("", path);
    case.expectations = Expectations::default();
    assert_eq!(on_svm(&case, &run).kind(), VerdictKind::Broken);
    let mut case = unknown("expect:\n  - { at: b, rax: 0 }\n", path);
    case.expectations.fields[0].nth = Some(2);
    assert_eq!(on_svm(&case, &run).kind(), VerdictKind::Broken);
    let own = judge_own(&unknown("", path), &KVM_SVM, DefectSet::NONE).0;
    assert_eq!(own.kind(), VerdictKind::Broken);
}

#[test]
fn a_profile_for_which_nothing_counts_never_conforms() {
    let case = case("nop", "");
    let (verdict, _) = judge_own(&case, &INTEL, DefectSet::NONE);
    let Verdict::Unsupported(reason) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        reason.to_string(),
        "nothing is judged as intel: what is written by hand in the case is about KVM"
    );
    assert_eq!(judge_own(&case, &KVM_SVM, DefectSet::NONE).0, Verdict::Conforms);
    // Compared with the pure model, a defect still shows.
    let defects = DefectSet::NONE.with(Defect::SmiKeepsNmiMask);
    assert_eq!(judge_own(&case, &INTEL, defects).0.kind(), VerdictKind::Deviates);
    let uncited = judge_own_uncited(&case, &INTEL, defects).0;
    let Verdict::Deviates { differences, .. } = uncited else {
        panic!("does not deviate")
    };
    assert!(
        differences
            .iter()
            .any(|difference| difference.cited == Cited::NotSought)
    );
}

#[test]
fn what_is_expected_behind_a_fork_cites_what_led_there() {
    let case = read(
        "title: t\nchecks: [SMM-RSM-008, SMM-ENTRY-006]\nmachine: { mode: real }\ncode:\n  start: |\n    sync a\n    halt waiting\n    sync a\n    hlt\n  smi: |\n    rsm\nhost:\n  - { at: waiting, nth: 1, do: smi }\npath: [a, waiting, waiting]\nexpect:\n  - { at: a, rip: 0x1002 }\n",
    );
    let run = run_with(&case, DefectSet::NONE.with(Defect::AutoHaltIgnored));
    let Verdict::Deviates { differences, .. } = on_svm(&case, &run) else {
        panic!("does not deviate")
    };
    let behind: Vec<&Difference> = differences
        .iter()
        .filter(|difference| matches!(difference.source, Source::Expectation { .. }))
        .collect();
    assert_eq!(behind.len(), 1, "{differences:#?}");
    assert_eq!(behind[0].place.index(), 2);
    assert_eq!(behind[0].cited, Cited::one(&SMM_RSM_008));
}
