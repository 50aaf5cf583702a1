use std::path::Path;

use super::*;
use crate::target::Lack;
use crate::target::complaint::ComplaintKind;
use crate::target::event::{Again, HowDied};
use spec_model::transcript::Transcript;

const LISTED: &str = "\
title: Marking an MMIO page twice warns
targets: [svm]
complaint: {any-of: [{kind: warning, function: mark_mmio_spte}], cases: [a/b]}
requirement: HOST-001
reason: an example for this test
source: nowhere
found: nowhere
upstream: { status: unreported }
";

fn deviation() -> Deviation {
    crate::deviation::parse(Path::new("d.yaml"), LISTED.as_bytes()).expect("valid")
}

fn warning(function: &str) -> Complaint {
    Complaint {
        function: Some(function.to_owned()),
        ..Complaint::line(ComplaintKind::Warning, format!("WARNING: at {function}"))
    }
}

fn done(complaints: &[Complaint]) -> Ran {
    let run = Run::Done(Transcript {
        observations: Vec::new(),
        memory_changes: Vec::new(),
        smm_memory_changes: Vec::new(),
        remains: Vec::new(),
        stage2: None,
        state_faults: Vec::new(),
    });
    let complaints = complaints.to_vec();
    Ran { run, complaints }
}

fn died(complaints: &[Complaint]) -> Ran {
    let run = Run::Died(Death {
        how: HowDied::Panicked,
        again: Again::Died,
        console: "last words".to_owned(),
    });
    let complaints = complaints.to_vec();
    Ran { run, complaints }
}

fn headlines(verdict: &Verdict<'_>) -> Vec<String> {
    match verdict {
        Verdict::Deviates { differences, .. } => differences
            .iter()
            .map(|difference| difference.seen.to_string())
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_complaint_never_conforms_whatever_the_guest_did() {
    let ran = done(&[warning("f")]);
    for verdict in [
        Verdict::Conforms,
        Verdict::Unsupported(Lack::suite("no SMM")),
        Verdict::Broken("lost".to_owned()),
        Verdict::UnexpectedlyConforms(Vec::new()),
        Verdict::KnownDeviation(Vec::new()),
    ] {
        let judged = with_complaints(verdict.clone(), "a/b", &ran, &[], &Watched::Every);
        let headlines = headlines(&judged);
        assert!(headlines[0].starts_with("WARNING: at f"), "{headlines:?}");
        if let Verdict::Broken(reason) = verdict {
            assert!(headlines[0].contains(&reason), "{headlines:?}");
        }
    }
}

#[test]
fn a_listed_complaint_is_known_in_its_cases_only() {
    let deviation = deviation();
    let judge = |case: &str, ran: &Ran| {
        with_complaints(Verdict::Conforms, case, ran, &[&deviation], &Watched::Every).kind()
    };
    use crate::judge::VerdictKind::{Conforms, Deviates, KnownDeviation, UnexpectedlyConforms};
    assert_eq!(judge("a/b", &done(&[warning("mark_mmio_spte")])), KnownDeviation);
    assert_eq!(judge("a/c", &done(&[warning("mark_mmio_spte")])), Deviates);
    assert_eq!(judge("a/b", &done(&[warning("other")])), Deviates);
    let both = [warning("mark_mmio_spte"), warning("other")];
    assert_eq!(judge("a/b", &done(&both)), Deviates);
    assert_eq!(judge("a/b", &done(&[])), UnexpectedlyConforms);
    assert_eq!(judge("a/c", &done(&[])), Conforms);
}

#[test]
fn a_death_is_known_if_what_is_listed_explains_it() {
    let file = |listed: &str| {
        let text = LISTED.replace("{kind: warning, function: mark_mmio_spte}", listed);
        crate::deviation::parse(Path::new("d.yaml"), text.as_bytes()).expect("valid")
    };
    let warns = file("{kind: warning, function: f}");
    let text = LISTED.replace("cases: [a/b]", "cases: [a/b], hangs: true");
    let text = text.replace("mark_mmio_spte", "f");
    let hangs = crate::deviation::parse(Path::new("d.yaml"), text.as_bytes()).expect("valid");
    let dies = file("{kind: warning, function: f}, {kind: bug, function: g}");
    let bug = Complaint {
        function: Some("g".to_owned()),
        ..Complaint::line(ComplaintKind::Bug, "kernel BUG at g".to_owned())
    };
    let warned = [warning("f")];
    let both = [warning("f"), bug];
    let judge = |deviation: &Deviation, how: HowDied, complaints: &[Complaint]| {
        let mut ran = died(complaints);
        if let Run::Died(death) = &mut ran.run {
            death.how = how;
        }
        let broken = Verdict::Broken("the kernel is gone".to_owned());
        with_complaints(broken, "a/b", &ran, &[deviation], &Watched::Every).kind()
    };
    use crate::judge::VerdictKind::{Deviates, KnownDeviation};
    use HowDied::{Hung, Panicked};
    assert_eq!(
        judge(&warns, Panicked, &warned),
        Deviates,
        "a warning kills nobody"
    );
    assert_eq!(
        judge(&warns, Hung, &warned),
        Deviates,
        "nothing says that it hangs"
    );
    assert_eq!(judge(&hangs, Hung, &warned), KnownDeviation);
    assert_eq!(
        judge(&hangs, Panicked, &warned),
        Deviates,
        "it hangs, and did not panic"
    );
    assert_eq!(judge(&hangs, Hung, &[]), Deviates, "it did not complain");
    assert_eq!(judge(&dies, Panicked, &both), KnownDeviation);
    assert_eq!(judge(&dies, Panicked, &warned), Deviates);
    assert_eq!(judge(&warns, Panicked, &both), Deviates, "the bug is not listed");
}

#[test]
fn silence_proves_nothing_where_a_warning_comes_once() {
    let deviation = deviation();
    for watched in [Watched::First, Watched::Unknown, Watched::Not(String::new())] {
        let verdict = with_complaints(Verdict::Conforms, "a/b", &done(&[]), &[&deviation], &watched);
        assert_eq!(verdict, Verdict::Conforms, "{watched:?}");
    }
}

#[test]
fn the_death_of_a_kernel_is_a_deviation_of_its_own_kind() {
    let broken = || Verdict::Broken("the kernel panicked".to_owned());
    let oops = warning("kvm_vcpu_ioctl");
    let verdict = with_complaints(broken(), "a/b", &died(&[oops]), &[], &Watched::Every);
    let Verdict::Deviates { differences, .. } = &verdict else {
        panic!("{verdict:?}");
    };
    assert!(matches!(differences[0].subject, Subject::KernelDied { .. }));
    assert!(matches!(differences[1].subject, Subject::Complaint(_)));
    assert!(
        differences[0]
            .seen
            .to_string()
            .contains("again when it ran alone")
    );
}
