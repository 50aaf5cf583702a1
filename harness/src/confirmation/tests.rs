use std::path::Path;

use spec_model::defect::{Defect, DefectSet};
use spec_model::run::outcomes;
use spec_model::transcript::Transcript;

use super::*;
use crate::deviation::{Deviation, parse};
use crate::judge::Verdict;
use crate::judge::case::{judge_run_uncited, profile};
use crate::target::system::System;
use crate::target::{Lack, Mode, Run};

const DEVIATION: &str = "\
title: RSM goes on after the HLT that an SMI interrupted
targets: [svm]
kernels: '<6.2-rc1'
defects: [auto-halt-ignored]
requirement: SMM-RSM-008
reason: an example for this test
source: none
found: nowhere
upstream: { status: unreported }
";

/// `smm/auto-halt-restart` with an expectation before the deviation shows and one where it does.
const CASE: &str = "\
title: RSM enters HLT again when the SMI interrupted HLT and the handler left the field set
checks: [SMM-RSM-008]
machine: { mode: real }
code:
  start: |
    halt waiting
    sync fell-through
    hlt
  smi: |
    sync in-smi
    rsm
host:
  - { at: waiting, nth: 1, do: smi }
path: [waiting, in-smi, waiting]
expect:
  - { at: waiting, nth: 1, smm: false }
  - { at: in-smi, smm: true }
  - { at: waiting, nth: 2, smm: false }
";

fn case_of(text: &str) -> Case {
    Case::parse("smm/x".to_owned(), Path::new("smm/x.yaml"), text.as_bytes()).expect("it is right")
}

fn deviations() -> Vec<Deviation> {
    vec![parse(Path::new("d.yaml"), DEVIATION.as_bytes()).expect("it is right")]
}

fn identity(backend: Backend, processor: Processor) -> Identity {
    Identity {
        name: "kvm".to_owned(),
        backend,
        kernel: "6.1.0".to_owned(),
        processor,
        smm: true,
        system: System::default(),
    }
}

fn transcript(case: &Case, backend: Backend, defects: DefectSet) -> Transcript {
    let profile = profile(backend).expect("a known backend");
    let outcomes = outcomes(&case.scenario, profile, defects).expect("the model can run it");
    outcomes.into_iter().next().expect("an outcome").transcript
}

/// What is known after a run of the model as that target.
fn after(known: &mut Confirmations, case: &Case, identity: &Identity, defects: DefectSet) {
    let deviations = deviations();
    let seen = transcript(case, identity.backend, defects);
    let ran = Run::Done(seen.clone()).into();
    let verdict = judge_run_uncited(case, identity, Mode::Normal, &deviations, DefectSet::NONE, &ran);
    let shown = match &verdict {
        Verdict::KnownDeviation(shown) => shown.clone(),
        _ => Vec::new(),
    };
    let mut found = Found::default();
    found.take(case, identity, &verdict, &shown, &seen);
    known.update(&found, std::slice::from_ref(case), &deviations);
}

fn reasons(known: &Confirmations, case: &Case) -> Vec<(Reason, Vec<String>)> {
    let unconfirmed = unconfirmed(std::slice::from_ref(case), known);
    unconfirmed
        .into_iter()
        .map(|one| (one.reason, one.names))
        .collect()
}

fn ignored() -> DefectSet {
    DefectSet::NONE.with(Defect::AutoHaltIgnored)
}

fn svm() -> Identity {
    identity(Backend::Svm, Processor::QemuTcg)
}

#[test]
fn what_a_deviation_has_otherwise_is_not_confirmed_and_the_rest_is() {
    let case = case_of(CASE);
    let mut known = Confirmations::default();
    let all = ["in-smi smm", "path", "waiting#1 smm", "waiting#2 smm"].map(str::to_owned);
    assert_eq!(reasons(&known, &case), [(Reason::NeverRun, all.to_vec())]);

    after(&mut known, &case, &svm(), ignored());
    let by = Reason::Deviates(["d".to_owned()].into());
    let deviating = vec!["path".to_owned(), "waiting#2 smm".to_owned()];
    assert_eq!(reasons(&known, &case), [(by, deviating.clone())]);
    let requirement = case.checks[0];
    let of = |known: &Confirmations| requirements(std::slice::from_ref(&case), known);
    assert_eq!(of(&known), [(requirement, vec!["smm/x"])]);

    // Another target that does as it must confirms it, and then the deviation does not matter.
    after(
        &mut known,
        &case,
        &identity(Backend::Vmx, Processor::Native),
        DefectSet::NONE,
    );
    assert_eq!(reasons(&known, &case), []);
    assert_eq!(of(&known), []);
    let entry = &known.cases["smm/x"];
    assert_eq!(entry.targets("path"), ["vmx"].into());
    assert_eq!(entry.targets("in-smi smm"), ["svm/qemu-tcg", "vmx"].into());
    assert!(entry.deviates.is_empty() && entry.open.is_empty(), "{entry:?}");
}

#[test]
fn the_software_backend_alone_is_not_enough() {
    let text = "title: x\nchecks: [NMI-MASK-001]\nmachine: { mode: real }\n\
                code:\n  start: |\n    sync before\n    hlt\n\
                path: [before, halted]\n";
    let case = case_of(text);
    let mut known = Confirmations::default();
    let pvm = identity(Backend::Pvm, Processor::Native);
    after(&mut known, &case, &pvm, DefectSet::NONE);
    let only = Reason::Software(BTreeSet::new());
    assert_eq!(reasons(&known, &case), [(only, vec!["path".to_owned()])]);
    assert_eq!(counts(std::slice::from_ref(&case), &known).confirmed, 0);
    after(&mut known, &case, &svm(), DefectSet::NONE);
    assert_eq!(reasons(&known, &case), []);
}

#[test]
fn a_run_that_nothing_explains_confirms_nothing() {
    let case = case_of(CASE);
    let mut known = Confirmations::default();
    let newer = Identity {
        kernel: "6.12.0".to_owned(),
        ..svm()
    };
    after(&mut known, &case, &newer, ignored());
    let (reason, names) = reasons(&known, &case).remove(0);
    assert_eq!((reason, names.len()), (Reason::Unexplained, 4));
}

#[test]
fn what_could_not_run_says_why() {
    let case = case_of(CASE);
    let mut found = Found::default();
    found.lacks(&case, Lack::emulator("it aborts").kind());
    let mut known = Confirmations::default();
    known.update(&found, std::slice::from_ref(&case), &[]);
    let (reason, _) = reasons(&known, &case).remove(0);
    assert_eq!(reason, Reason::Lacks(["emulator".to_owned()].into()));
    assert_eq!(
        reason.to_string(),
        "no target that was asked could run it: the emulator does not survive it"
    );
    // Once it has run, what others lack does not matter.
    after(&mut known, &case, &svm(), DefectSet::NONE);
    known.update(&found, std::slice::from_ref(&case), &[]);
    assert_eq!(reasons(&known, &case), []);
    assert!(known.cases["smm/x"].lacks.is_empty());
}

#[test]
fn a_case_that_changes_or_goes_is_not_confirmed_any_more() {
    let case = case_of(CASE);
    let mut known = Confirmations::default();
    after(&mut known, &case, &svm(), DefectSet::NONE);
    assert_eq!(reasons(&known, &case), []);
    // What is expected, and what runs.
    for (from, to) in [
        ("in-smi, smm: true", "in-smi, rax: 0"),
        ("    rsm", "    nop\n    rsm"),
    ] {
        let changed = case_of(&CASE.replace(from, to));
        let (reason, _) = reasons(&known, &changed).remove(0);
        assert_eq!(reason, Reason::Changed, "{to}");
    }
    assert!(known.strangers(std::slice::from_ref(&case), &[]).is_empty());
    assert_eq!(known.strangers(&[], &[]), ["smm/x: there is no such case"]);
    known.keep(&[]);
    assert_eq!(known, Confirmations::default());
}

#[test]
fn a_file_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("confirmed.yaml");
    assert_eq!(
        Confirmations::load(&path).expect("none is no mistake"),
        Confirmations::default()
    );
    let case = case_of(CASE);
    let mut known = Confirmations::default();
    after(&mut known, &case, &svm(), ignored());
    known.save(&path).expect("written");
    assert_eq!(Confirmations::load(&path).expect("it is right"), known);
    let empty = Confirmations::default();
    empty.save(&path).expect("written");
    assert_eq!(Confirmations::load(&path).expect("it is right"), empty);
    std::fs::write(&path, "cases: 1\n").expect("written");
    assert!(Confirmations::load(&path).is_err());
}
