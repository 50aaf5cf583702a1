//! What ran and does not any more, as a user meets it: on the command line, with the model and files alone. With
//! hypervisors under it that lose something: tests/sabotage/lost.rs.

#[allow(dead_code, reason = "nothing is run on the model here")]
mod command;
mod race;

use std::path::Path;

use command::conform;

/// The repository's baseline, as the conformance test and every command read it.
fn golden() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/baseline.yaml");
    std::fs::read_to_string(file).expect("it is there")
}

/// Every target that CI runs cases on has an entry, and so have those runs of the other commands that README names.
#[test]
fn the_repository_has_what_readme_says() {
    let golden = golden();
    for entry in [
        "svm@debian:5.10",
        "svm@debian:6.1",
        "svm@debian:6.12",
        "svm@debian:7.2",
        "svm-npt0@debian:6.12",
        "xen-pv@debian",
        "arm64@debian:6.1",
        "arm64@debian:6.12",
        "arm64-vhe@debian:6.1",
        "arm64-vhe@debian:6.12",
        "explore svm@debian:6.12",
        "sequences svm@debian:5.10",
        "sequences svm@debian:6.1",
        "sequences svm@debian:6.12",
        "sequences svm@debian:7.2",
        "gates svm@debian:5.10",
        "gates svm@debian:6.12",
    ] {
        assert!(golden.contains(&format!("\n\"{entry}\":\n")), "{entry}");
    }
}

#[test]
fn a_case_of_which_one_run_shows_nothing_does_not_conform() {
    let (status, text) = conform("run", &["kexec/no-self-nmi", "--target", "model"]);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("`conform explore` judges"), "{text}");
}

/// A claim about every schedule is looked at by `check`, as what is expected of one run is.
#[test]
fn a_claim_that_does_not_hold_is_a_mistake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let area = folder.path().join("race");
    std::fs::create_dir(&area).expect("a folder in a new one");
    let file = area.join("early.yaml");
    let check = |crash: &str| {
        std::fs::write(&file, race::claiming(crash)).expect("a file in a new folder");
        conform("check", &[&file.to_string_lossy()])
    };
    let (status, text) = check("never");
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains("early.yaml:21:1: a processor crashes after 2 turns, and the case says that none can"),
        "{text}"
    );
    let (_, text) = check("possible");
    assert!(!text.contains("crashes"), "{text}");
}

#[test]
fn wrong_options_say_what_is_possible() {
    let wrong = |subcommand: &str, arguments: &[&str], says: &str| {
        let (status, text) = conform(subcommand, arguments);
        assert_eq!(status, Some(2), "{subcommand} {arguments:?}: {text}");
        assert!(text.contains(says), "{subcommand} {arguments:?}: {text}");
    };
    let of_model = ["model", "--length", "1"];
    let with = |more: &[&'static str]| [&of_model[..], more].concat();
    wrong("sequences", &with(&["--drop"]), "--write-baseline");
    wrong("run", &["nmi", "--target", "model", "--drop"], "--write-baseline");
    wrong(
        "sequences",
        &with(&["--fail-on-unsupported", "sequences/init*"]),
        "nothing that was chosen is called so",
    );
    wrong(
        "gates",
        &["model", "--groups", "bits", "--fail-on-unsupported", "core"],
        "nothing that was chosen is called so",
    );
    wrong(
        "explore",
        &[
            "kexec/no-countdown",
            "--target",
            "model",
            "--fail-on-unsupported",
            "smm",
        ],
        "nothing that was chosen is called so",
    );
    wrong(
        "sequences",
        &with(&["--symbols", "nmi", "--write-baseline", "/nonexistent/mine.yaml"]),
        "leave --symbols out",
    );
    wrong(
        "run",
        &["nmi", "--target", "model", "--baseline-targets"],
        "cannot be used with",
    );
    for subcommand in ["run", "explore", "sequences", "gates"] {
        wrong(
            subcommand,
            &["--baseline", "/nonexistent/mine.yaml"],
            "cannot be read",
        );
    }
}

/// The model proves nothing about hypervisors, and is in no baseline.
#[test]
fn the_model_is_in_no_baseline() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mine.yaml");
    let name = file.to_string_lossy();
    let (status, text) = conform(
        "sequences",
        &["model", "--length", "2", "--write-baseline", &name],
    );
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = conform("run", &["nmi", "--target", "model", "--write-baseline", &name]);
    assert_eq!(status, Some(0), "{text}");
    let written = std::fs::read_to_string(&file).expect("it was written");
    assert!(written.lines().all(|line| line.starts_with('#')), "{written}");
    let (status, text) = conform("run", &["nmi", "--target", "model", "--baseline", &name]);
    assert_eq!(status, Some(0), "{text}");
}
