//! Coverage that is lost: a capability that is gone while families run, a kernel that is gone from the cache, a cache
//! that is not there, a baseline that would forget.

use std::path::Path;

use super::booted::{target, use_emulator};
use super::conform::{Conform, Finished, library, program};
use super::control;
use super::emulator::Plan;
use super::host::{Copy, row};
use super::outcome::{Expected, INCOMPLETE, RED, Row};

/// SMM, the local APIC in the kernel, and NMIs from the host (`KVM_CAP_X86_SMM`, `KVM_CAP_SPLIT_IRQCHIP`,
/// `KVM_CAP_USER_NMI`).
const NO_SMM: &str = "KVM_CHECK_EXTENSION:hide=117";
const NO_APIC: &str = "KVM_CHECK_EXTENSION:hide=121";
const NO_NMI: &str = "KVM_CHECK_EXTENSION:hide=22";
/// The user's mistake.
const WRONG: &[i32] = &[2];

pub fn rows() -> Vec<Row> {
    [capabilities(), kernels(), caches(), files()]
        .into_iter()
        .flatten()
        .collect()
}

/// What must come of it where things can only be unsupported.
const fn lost(statuses: &'static [i32], says: &'static [&'static str]) -> Expected {
    Expected {
        statuses,
        says,
        lost: true,
    }
}

/// A capability is hidden in a booted kernel while a command runs on it, held against the repository's baseline.
fn hidden(name: &str, expected: Expected, sabotage: &'static str, words: &'static [&'static str]) -> Row {
    row(&format!("lost::{name}"), true, expected, move || {
        let mut conform = Conform::new(program());
        conform.command.args(words);
        if matches!(words.first(), Some(&("run" | "explore"))) {
            conform.command.arg("--target");
        }
        conform.command.arg(target());
        let plan = Plan {
            preload: Some((library(), sabotage.to_owned())),
            ..Plan::new().expect("checked before")
        };
        let _path = use_emulator(&mut conform, &plan);
        conform.finish()
    })
}

fn capabilities() -> Vec<Row> {
    let smm = lost(RED, &["LOST", "KVM_CAP_X86_SMM"]);
    vec![
        hidden(
            "smm-during-sequences",
            lost(RED, &["LOST", "sequences/smi: ", "KVM_CAP_X86_SMM"]),
            NO_SMM,
            &["sequences", "--length", "1"],
        ),
        hidden(
            "smm-during-sequences-observed-at-the-ends",
            smm,
            NO_SMM,
            &["sequences", "--length", "1", "--observe", "ends"],
        ),
        hidden(
            "local-apic-during-explore",
            lost(RED, &["LOST", "kexec/no-countdown [", "local APIC"]),
            NO_APIC,
            &["explore", "kexec/no-countdown"],
        ),
        // Without it nothing runs at all, and nothing else that gates need can be hidden.
        hidden(
            "nmi-during-gates",
            lost(INCOMPLETE, &["KVM_CAP_USER_NMI"]),
            NO_NMI,
            &["gates", "--groups", "bits"],
        ),
        hidden(
            "smm-when-migrated",
            smm,
            NO_SMM,
            &["run", "nmi/in-smm-is-latched", "nmi/wakes-hlt", "--migrate"],
        ),
        hidden(
            "smm-observed-at-the-ends",
            smm,
            NO_SMM,
            &[
                "run",
                "nmi/in-smm-is-latched",
                "nmi/wakes-hlt",
                "--observe",
                "ends",
            ],
        ),
        hidden(
            "smm-in-new-machines",
            smm,
            NO_SMM,
            &["run", "nmi/in-smm-is-latched", "nmi/wakes-hlt", "--fresh-vm"],
        ),
    ]
}

/// A kernel is taken out of the cache: a run on all of the baseline says so.
fn kernels() -> Vec<Row> {
    let gone = |name: &str, words: &'static [&'static str], says: &'static [&'static str]| {
        let expected = lost(INCOMPLETE, says);
        row(&format!("lost::{name}"), true, expected, move || {
            let copy = Copy::new();
            std::fs::remove_dir_all(copy.kernels()).expect("it was copied");
            let mut conform = Conform::new(program());
            conform.command.args(words);
            conform.env("CONFORM_CACHE", copy.folder());
            conform.finish()
        })
    };
    vec![
        gone(
            "kernel-of-the-baseline",
            &["run", "nmi/wakes-hlt", "--baseline-targets"],
            &["svm@debian:6.12", "is not in the cache"],
        ),
        gone(
            "kernel-of-the-baseline-of-sequences",
            &["sequences", "--length", "1", "--baseline-targets"],
            &["svm@debian:6.12", "is not in the cache"],
        ),
        gone(
            "kernel-of-the-baseline-of-explore",
            &["explore", "kexec/no-countdown", "--baseline-targets"],
            &["svm@debian:6.12", "is not in the cache"],
        ),
        gone(
            "kernel-of-a-given-baseline",
            &["run", "nmi/wakes-hlt", "--baseline", "golden/baseline.yaml"],
            &[
                "targets for this",
                "were not run on here: svm-npt0@debian:6.12, svm@debian:5.10",
            ],
        ),
    ]
}

/// `CONFORM_CACHE` names nothing, or no folder: without it, nothing would be left but what needs no cache.
fn caches() -> Vec<Row> {
    let wrong = |name: String, words: &'static [&'static str], cache: fn(&Path) -> std::path::PathBuf| {
        row(
            &format!("lost::{name}"),
            false,
            lost(WRONG, &["CONFORM_CACHE names"]),
            move || {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let mut conform = Conform::new(program());
                conform.command.args(words);
                conform.env("CONFORM_CACHE", cache(folder.path()));
                conform.finish()
            },
        )
    };
    let absent = |folder: &Path| folder.join("absent");
    let file = |folder: &Path| {
        let file = folder.join("file");
        std::fs::write(&file, "").expect("a file in a new folder");
        file
    };
    let commands: [&'static [&'static str]; 6] = [
        &["run", "nmi", "--target", "model"],
        &["run", "nmi"],
        &["sequences", "model", "--length", "1"],
        &["gates", "model", "--groups", "bits"],
        &["explore", "kexec/no-countdown", "--target", "model"],
        &["targets"],
    ];
    let name = |words: &[&str]| words.join("-").replace("--", "");
    let mut rows: Vec<Row> = commands
        .into_iter()
        .map(|words| wrong(format!("cache-not-there-for-{}", name(words)), words, absent))
        .collect();
    rows.push(wrong("cache-is-a-file".to_owned(), &["run", "nmi"], file));
    rows.push(wrong(
        "cache-is-a-file-to-be-filled".to_owned(),
        &["run", "nmi", "--provision"],
        file,
    ));
    rows
}

/// A user's baseline would forget cases that do not run any more.
fn files() -> Vec<Row> {
    let expected = lost(RED, &["NOT WRITTEN", "local APIC"]);
    let mut forgets = row("lost::baseline-forgets", false, expected, || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("mine.yaml");
        let write = |sabotage: &str| -> Finished {
            let file = file.to_string_lossy();
            let words = [
                "apic",
                "nmi/wakes-hlt",
                "--target",
                "kvm",
                "--write-baseline",
                &*file,
            ];
            let mut conform = Conform::run(&words);
            conform.sabotaged(sabotage);
            conform.finish()
        };
        write("");
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let mut finished = write(NO_APIC);
        if before.is_empty() || std::fs::read_to_string(&file).unwrap_or_default() != before {
            finished.status = None;
        }
        finished
    });
    forgets.not_run = control::no_local();
    vec![forgets]
}
