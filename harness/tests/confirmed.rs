//! Who confirms what cases expect: golden/confirmed.yaml against the cases and deviation files.

use std::path::{Path, PathBuf};

use harness::cli::findings::CONFIRMED;
use harness::cli::suite::Suite;
use harness::confirmation::{Confirmations, Reason, counts, unconfirmed};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn known() -> (Confirmations, Suite) {
    let known = Confirmations::load(&root().join(CONFIRMED)).expect("golden/confirmed.yaml is right");
    let suite = Suite::load_folders(&[root().join("cases")]).expect("the repository's cases are right");
    (known, suite)
}

/// A case that is new, or that has changed, is listed as unconfirmed; one that is gone or has another name has to
/// go from the file. `UPDATE_EXPECT=1` takes it out, with what was seen of cases that have changed.
#[test]
fn what_is_confirmed_is_expected_by_a_case_that_there_is() {
    let (mut known, suite) = known();
    let path = root().join(CONFIRMED);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        known.keep(&suite.cases);
        known.save(&path).expect("it can be written");
    }
    let deviations: Vec<String> = suite
        .deviations
        .iter()
        .map(|deviation| deviation.name())
        .collect();
    let strangers = known.strangers(&suite.cases, &deviations);
    assert!(
        strangers.is_empty(),
        "golden/confirmed.yaml: {strangers:#?}\n`conform findings REPORT.. --write` counts anew, and \
         UPDATE_EXPECT=1 cargo test -p harness --test confirmed takes out cases that are gone"
    );
    let written = std::fs::read_to_string(&path).expect("there is a file");
    assert!(
        known.text() == written,
        "golden/confirmed.yaml was edited by hand"
    );
}

/// Without the file nothing is confirmed, and every case has never run.
#[test]
fn nothing_is_confirmed_by_itself() {
    let (known, suite) = known();
    let none = Confirmations::default();
    let without = unconfirmed(&suite.cases, &none);
    assert_eq!(without.len(), suite.cases.len());
    assert!(
        without
            .iter()
            .all(|one| one.reason == Reason::NeverRun && one.is_all)
    );
    let (before, after) = (counts(&suite.cases, &none), counts(&suite.cases, &known));
    assert_eq!((before.confirmed, before.expectations), (0, after.expectations));
    let listed: usize = unconfirmed(&suite.cases, &known)
        .iter()
        .map(|one| one.names.len())
        .sum();
    assert_eq!(listed, after.expectations - after.confirmed);
}
