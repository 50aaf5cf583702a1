use std::path::Path;

use super::*;
use crate::deviation::{Deviation, parse};

const DEVIATION: &str = "\
title: RSM goes on after the HLT that an SMI interrupted
targets: [svm]
expected-on: [vmx]
kernels: '<6.2'
defects: [auto-halt-ignored]
requirement: SMM-RSM-008
reason: an example
source: none
found: nowhere
upstream: { status: known, where: a comment }
";

fn deviation(text: &str) -> Deviation {
    parse(Path::new("d.yaml"), text.as_bytes()).expect("it is right")
}

fn run(backend: Backend, kernel: &str, mode: Mode) -> SeenRun {
    SeenRun {
        backend,
        processor: Processor::QemuTcg,
        kernel: format!("{kernel}+deb13-cloud-amd64"),
        build: format!("#1 SMP \"quoted\" Debian {kernel}-1 (2026-11-20)"),
        emulator: Some("QEMU 10.0.2 (Debian 1:10.0.2+ds-2)".to_owned()),
        mode,
        observe: Observe::Points,
        cases: 700,
        of_hypervisor: 3,
        of_emulator: 20,
        of_both: 1,
    }
}

fn sightings(runs: &[(&str, SeenRun)], seen: &[&str]) -> Sightings {
    let by_run: BTreeMap<String, usize> = seen.iter().map(|run| ((*run).to_owned(), 2)).collect();
    Sightings {
        runs: runs
            .iter()
            .map(|(name, run)| ((*name).to_owned(), run.clone()))
            .collect(),
        seen: if by_run.is_empty() {
            BTreeMap::new()
        } else {
            [("d".to_owned(), by_run)].into()
        },
    }
}

fn gaps_of(sightings: &Sightings, text: &str) -> Vec<String> {
    gaps(sightings, &[deviation(text)])
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_was_seen_on_every_version_has_no_gap() {
    let old = run(Backend::Svm, "5.10.262", Mode::Normal);
    let new = run(Backend::Svm, "6.12.118", Mode::Normal);
    let runs = [("svm@debian:5.10", old), ("svm@debian:6.12", new)];
    assert_eq!(
        gaps_of(&sightings(&runs, &["svm@debian:5.10"]), DEVIATION),
        [""; 0]
    );
    assert_eq!(
        gaps_of(&sightings(&runs, &[]), DEVIATION),
        ["d: not seen on svm of 5.10.262, where its file says that it shows"]
    );
    // One run of a version is enough; those that look at the ends alone prove nothing missing.
    let mut ends = run(Backend::Svm, "6.1.192", Mode::Normal);
    ends.observe = Observe::Ends;
    let migrated = run(Backend::Svm, "5.10.262", Mode::Migrate);
    let more = [&runs[..], &[("migrated", migrated), ("ends", ends)]].concat();
    assert_eq!(gaps_of(&sightings(&more, &["migrated"]), DEVIATION), [""; 0]);
}

#[test]
fn what_never_ran_or_was_only_expected_is_told() {
    let new = run(Backend::Svm, "6.12.118", Mode::Normal);
    assert_eq!(
        gaps_of(&sightings(&[("svm@debian:6.12", new.clone())], &[]), DEVIATION),
        ["d: nothing that it is about ran on svm"]
    );
    let old = run(Backend::Svm, "5.10.262", Mode::Normal);
    let vmx = run(Backend::Vmx, "5.10.262", Mode::Normal);
    let runs = [("svm@debian:5.10", old.clone()), ("kvm", vmx)];
    assert_eq!(
        gaps_of(&sightings(&runs, &["svm@debian:5.10", "kvm"]), DEVIATION),
        ["d: seen on kvm, where its file only expects it"]
    );
    let modes = format!("{DEVIATION}modes: [normal, migrate]\n");
    let migrated = run(Backend::Svm, "5.10.262", Mode::Migrate);
    let runs = [("svm@debian:5.10", old), ("migrated", migrated)];
    assert_eq!(
        gaps_of(&sightings(&runs, &["svm@debian:5.10"]), &modes),
        ["d: seen in no run of mode migrate, which its file names"]
    );
    let unknown = sightings(&runs, &["svm@debian:5.10"]);
    assert_eq!(gaps(&unknown, &[]), [Gap::NoFile("d".to_owned())]);
}

#[test]
fn a_file_comes_back_as_it_was_and_newer_runs_replace_older_ones() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("seen.yaml");
    let run = |kernel| run(Backend::Svm, kernel, Mode::Normal);
    let mut known = sightings(&[("a", run("5.10.262")), ("b", run("6.1.192"))], &["a", "b"]);
    known.save(&path).expect("written");
    assert_eq!(Sightings::load(&path).expect("it is right"), known);
    known.update(sightings(&[("a", run("5.10.263"))], &[]));
    assert_eq!(known.runs["a"].version(), "5.10.263");
    assert_eq!(known.seen["d"].keys().collect::<Vec<_>>(), ["b"]);
    std::fs::write(&path, "runs: 1\n").expect("written");
    assert!(Sightings::load(&path).is_err());
}

#[test]
fn a_finding_says_where_it_was_seen_and_how() {
    let text =
        |runs: &[(&str, SeenRun)], seen: &[&str]| seen_on(&sightings(runs, seen), &deviation(DEVIATION));
    let old = run(Backend::SvmNpt0, "5.10.262", Mode::Normal);
    let new = run(Backend::SvmNpt0, "6.1.192", Mode::Normal);
    let migrated = run(Backend::Svm, "5.10.262", Mode::Migrate);
    assert_eq!(
        text(&[("b", old.clone()), ("a", new)], &["a", "b"]),
        "5.10.262, 6.1.192; without nested paging"
    );
    assert_eq!(
        text(&[("a", migrated.clone())], &["a"]),
        "5.10.262; when state is put back"
    );
    assert_eq!(text(&[("a", old), ("b", migrated)], &["a", "b"]), "5.10.262");
    assert_eq!(text(&[], &[]), "nothing");
}

#[test]
fn tables_are_written_between_their_markers_and_nowhere_else() {
    let table = Section::KvmX86.render(&Sightings::default(), &[deviation(DEVIATION)]);
    assert!(
        table.contains("RSM goes on") && table.contains("| nothing | SMM-RSM-008 | known |"),
        "{table}"
    );
    let text = "a\n<!-- begin findings of KVM on x86 -->\nold\n<!-- end findings of KVM on x86 -->\nb\n";
    let new = rendered_in(text, &Sightings::default(), &[deviation(DEVIATION)]);
    assert!(
        new.starts_with("a\n<!-- begin") && new.ends_with("-->\nb\n"),
        "{new}"
    );
    assert!(new.contains(&table) && !new.contains("old"), "{new}");
    assert_eq!(rendered_in("no marker", &Sightings::default(), &[]), "no marker");
}
