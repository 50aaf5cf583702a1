//! Where the model does not know an instruction, and where a target gives up on one.

use std::path::Path;

use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::transcript::Remains;

use super::*;
use crate::case::Case;
use crate::deviation::{Deviation, parse};
use crate::judge::case::judge_run;
use crate::target::system::System;
use crate::target::{Backend, Identity, Lack, Mode, Processor};

/// `auto-halt-ignored` on all kernels.
const DEVIATION: &str = "\
title: RSM goes on after the HLT that an SMI interrupted
targets: [svm]
kernels: '>=5.0'
defects: [auto-halt-ignored]
requirement: SMM-RSM-008
reason: an example for this test
source: none
found: nowhere
upstream: { status: unreported }
";

/// An SMI interrupts a HLT. With `more`, an NMI comes when the HLT goes on waiting.
fn case(more: &str, path: &str, handler: &str) -> Case {
    let text = format!(
        "title: t\nchecks: [SMM-RSM-008]\nmachine: {{ mode: real }}\ncode:\n  start: |\n    halt waiting\n    sync fell-through\n    hlt\n  nmi: |\n    mov ecx, 0x277\n    {handler}\n    hlt\n  smi: |\n    sync in-smi\n    rsm\nhost:\n  - {{ at: waiting, nth: 1, do: smi }}\n{more}path: {path}\n"
    );
    let read = Case::parse("smm/example".to_owned(), Path::new("case.yaml"), text.as_bytes());
    read.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn verdict<'d>(case: &Case, deviations: &'d [Deviation], run: Run) -> Verdict<'d> {
    let svm = Identity {
        name: "svm".to_owned(),
        backend: Backend::Svm,
        processor: Processor::Native,
        kernel: "6.12.0".to_owned(),
        smm: true,
        system: System::default(),
    };
    judge_run(case, &svm, Mode::Normal, deviations, DefectSet::NONE, &run.into())
}

fn listed() -> Deviation {
    parse(Path::new("d.yaml"), DEVIATION.as_bytes()).expect("it is right")
}

fn model(case: &Case, defects: DefectSet) -> Transcript {
    let outcomes = outcomes(&case.scenario, &KVM_SVM, defects).expect("the model can run it");
    outcomes.into_iter().next().expect("an outcome").transcript
}

const NMI: &str = "  - { at: waiting, nth: 2, do: nmi }\n";
const PATH: &str = "[waiting, in-smi, waiting, halted]";

/// The model has no MSR 277h, which the NMI's handler reads; with the deviation no NMI comes.
#[test]
fn what_fails_by_hand_alone_is_a_known_deviation_if_it_is_exactly_that() {
    let case = case(NMI, PATH, "rdmsr");
    assert!(outcomes(&case.scenario, &KVM_SVM, DefectSet::NONE).is_err());
    let seen = model(&case, DefectSet::NONE.with(Defect::AutoHaltIgnored));
    let known = [listed()];
    let run = Run::Done(seen.clone());
    assert_eq!(verdict(&case, &[], run.clone()).kind(), VerdictKind::Deviates);
    assert_eq!(
        verdict(&case, &known, run),
        Verdict::KnownDeviation(vec![&known[0]])
    );
    // Something else beside it.
    let mut other = seen;
    state(&mut other, 1).general[9] = 1;
    assert_eq!(
        verdict(&case, &known, Run::Done(other)).kind(),
        VerdictKind::Deviates
    );
}

/// The other way round: it is the deviation that leads to what the model does not know.
#[test]
fn where_the_model_cannot_follow_a_deviation_the_manuals_decide() {
    let text = "title: t\nchecks: [SMM-RSM-008]\nmachine: { mode: real }\ncode:\n  start: |\n    halt waiting\n    mov ecx, 0x277\n    rdmsr\n    hlt\n  smi: |\n    sync in-smi\n    rsm\nhost:\n  - { at: waiting, nth: 1, do: smi }\npath: [waiting, in-smi, waiting]\n";
    let case = Case::parse("smm/example".to_owned(), Path::new("case.yaml"), text.as_bytes())
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let ignored = DefectSet::NONE.with(Defect::AutoHaltIgnored);
    assert!(outcomes(&case.scenario, &KVM_SVM, ignored).is_err());
    let known = [listed()];
    let right = model(&case, DefectSet::NONE);
    assert_eq!(
        verdict(&case, &known, Run::Done(right.clone())),
        Verdict::Conforms
    );
    let mut other = right;
    state(&mut other, 1).general[9] = 1;
    assert_eq!(
        verdict(&case, &known, Run::Done(other)).kind(),
        VerdictKind::Deviates
    );
}

/// A run that ends where the model executes the RSM of the handler, or `past` that.
fn gives_up(case: &Case, past: u64) -> Transcript {
    let mut seen = model(case, DefectSet::NONE);
    seen.observations.truncate(2);
    let mut left = seen.observations[1]
        .state
        .clone()
        .expect("a state in the handler");
    left.rip += past;
    seen.observations.push(Observation {
        state: None,
        save_area: None,
        stack: Vec::new(),
        ..seen.observations[1].clone()
    });
    seen.observations[2].stop = Stop::InternalError(1);
    seen.remains = vec![Remains {
        observation: 2,
        state: left,
    }];
    seen
}

#[test]
fn giving_up_is_unsupported_only_where_the_model_comes_to_that_instruction() {
    let case = case("", "[waiting, in-smi, waiting]", "nop");
    let lack = Lack::suite("it has no RSM");
    let on = |seen: Transcript| verdict(&case, &[], Run::GaveUp(lack.clone(), seen));
    assert_eq!(on(gives_up(&case, 0)), Verdict::Unsupported(lack.clone()));
    // Another instruction, or not by the way that the model takes.
    assert_eq!(on(gives_up(&case, 1)).kind(), VerdictKind::Deviates);
    let mut astray = gives_up(&case, 0);
    state(&mut astray, 1).general[9] = 1;
    assert_eq!(on(astray).kind(), VerdictKind::Deviates);
    let mut early = gives_up(&case, 0);
    early.observations.remove(0);
    early.remains[0].observation = 1;
    assert_eq!(on(early).kind(), VerdictKind::Deviates);
}
