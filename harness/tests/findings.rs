//! Where the known deviations were seen: golden/seen.yaml against the deviation files, and the tables of the README.

use std::path::{Path, PathBuf};

use harness::cli::findings::SEEN;
use harness::cli::suite::Suite;
use harness::deviation::Deviation;
use harness::sighting::{Section, Sightings, gaps, rendered_in};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn known() -> (Sightings, Vec<Deviation>) {
    let sightings = Sightings::load(&root().join(SEEN)).expect("golden/seen.yaml is right");
    let suite = Suite::load_folders(&[root().join("cases")]).expect("the repository's cases are right");
    (sightings, suite.deviations)
}

#[test]
fn every_deviation_was_seen_on_what_its_file_says() {
    let (sightings, deviations) = known();
    let gaps: Vec<String> = gaps(&sightings, &deviations)
        .into_iter()
        .map(|gap| gap.to_string())
        .collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
}

/// A file about which nothing was seen is one that only expects something.
#[test]
fn what_was_not_seen_is_expected_only() {
    let (sightings, deviations) = known();
    for deviation in deviations {
        let is_seen = sightings.seen.contains_key(&deviation.name());
        assert!(is_seen, "{}", deviation.file.display());
    }
}

/// `UPDATE_EXPECT=1` writes them anew.
#[test]
fn the_tables_of_the_readme_are_counted() {
    let (sightings, deviations) = known();
    let path = root().join("README.md");
    let written = std::fs::read_to_string(&path).expect("there is a README");
    for section in Section::ALL {
        let marker = format!("<!-- begin {} -->", section.name());
        assert!(written.contains(&marker), "the README lacks {marker}");
    }
    let now = rendered_in(&written, &sightings, &deviations);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).expect("it can be written");
    } else {
        assert!(
            now == written,
            "the tables of the README are stale: UPDATE_EXPECT=1 cargo test -p harness --test findings"
        );
    }
}
