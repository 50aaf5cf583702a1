//! What the cases prove, and what they only say.
//!
//! A requirement in `checks` counts as covered only if breaking it in the model makes the case
//! deviate. What is not proved so is listed in `cases/unproven.txt`, which this test keeps exact:
//! it can be worked off, and it grows only where somebody writes it anew on purpose. A
//! requirement that is not in a line there with all its cases is proved by one at least.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::case::Case;
use harness::cli::suite::Suite;
use harness::coverage::{Proof, proof, proofs, unproven, unproven_requirements};
use harness::judge::allowed::same_outcomes;
use harness::judge::case::profile;
use harness::target::{Backend, other_architecture};
use spec_model::defect::{Defect, DefectSet};
use spec_model::requirement;
use spec_model::run::outcomes;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn suite() -> Suite {
    Suite::load_folders(&[root().join("cases")]).expect("the repository's cases are right")
}

/// `UPDATE_EXPECT=1` writes the list anew.
#[test]
fn what_is_not_proved_is_listed() {
    let suite = suite();
    let proofs = proofs(&suite.cases);
    let mut now = unproven(&proofs);
    for requirement in unproven_requirements(&proofs) {
        now += &format!("{}: no case proves it\n", requirement.id);
    }
    let path = root().join("cases/unproven.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).expect("it can be written");
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &'static str, other: &str| -> Vec<&str> {
        let other: BTreeSet<&str> = other.lines().collect();
        text.lines().filter(|line| !other.contains(line)).collect()
    };
    let (now, listed): (&'static str, &'static str) = (now.leak(), listed.leak());
    let (new, gone) = (lines(now, listed), lines(listed, now));
    assert!(
        new.is_empty() && gone.is_empty(),
        "cases/unproven.txt is not what the cases prove. Not listed: {new:#?}\nNo longer so: {gone:#?}\n\
         If that is right: UPDATE_EXPECT=1 cargo test -p harness --test coverage"
    );
}

#[test]
fn every_requirement_is_named_by_a_case() {
    let suite = suite();
    let named: BTreeSet<&str> = suite
        .cases
        .iter()
        .flat_map(|case| &case.checks)
        .map(|requirement| requirement.id)
        .collect();
    let missing: Vec<&str> = requirement::all()
        .map(|requirement| requirement.id)
        .filter(|id| !named.contains(id))
        .collect();
    assert!(missing.is_empty(), "no case checks {}", missing.join(", "));
}

/// The control: a case that expects nothing proves nothing.
#[test]
fn a_lone_hlt_proves_nothing_of_smm() {
    let text = "title: x\nchecks: [SMM-RSM-008, NMI-MASK-002]\nmachine: { mode: real }\n\
                code: { start: hlt }\npath: [halted]\n";
    let file = Path::new("smm/x.yaml");
    let case = Case::parse("smm/x".to_owned(), file, text.as_bytes()).expect("it is right");
    for requirement in &case.checks {
        assert!(
            matches!(proof(&case, requirement), Proof::Unnoticed(_)),
            "{}",
            requirement.id
        );
    }
}

/// A deviation that no case shows on one of its targets, or where it is expected, is about nothing there.
#[test]
fn every_deviation_shows_on_each_of_its_targets() {
    let suite = suite();
    let mut unseen = Vec::new();
    for deviation in &suite.deviations {
        let defects: DefectSet = deviation.defects.iter().copied().collect();
        for backend in deviation.targets.iter().chain(&deviation.expected) {
            let is_of = |of: &Backend| of == backend || (*backend, *of) == (Backend::SvmNpt0, Backend::Svm);
            let also = |other: &&harness::deviation::Deviation| {
                other.title != deviation.title && other.targets.iter().chain(&other.expected).any(is_of)
            };
            let others = suite.deviations.iter().filter(also);
            let others: DefectSet = others.flat_map(|other| other.defects.iter().copied()).collect();
            let profile = profile(*backend).expect("backends that are listed have a profile");
            let shows = |case: &&Case| {
                let runs = backend.cannot_run(&case.scenario).is_none()
                    && other_architecture(&case.scenario, profile.architecture).is_none()
                    && case.row_missing_in(profile).is_none();
                if let Some(complaint) = &deviation.complaint {
                    // What a kernel says of itself the model does not tell; the case has to run there.
                    return runs && complaint.comes_in(&case.scenario.name);
                }
                let with = |defects| {
                    runs.then(|| outcomes(&case.scenario, profile, defects).ok())
                        .flatten()
                };
                let differ = |base: DefectSet| {
                    let all = defects.iter().fold(base, DefectSet::with);
                    match (with(base), with(all)) {
                        (Some(one), Some(other)) => !same_outcomes(&one, &other),
                        _ => false,
                    }
                };
                // Some show only where another deviation of the target does.
                differ(DefectSet::NONE) || differ(others)
            };
            let is_about = |case: &&Case| case.checks.iter().any(|id| id.id == deviation.requirement.id);
            let (near, others): (Vec<&Case>, Vec<&Case>) = suite.cases.iter().partition(is_about);
            if !near.iter().chain(&others).any(shows) {
                unseen.push(format!("{} on {backend:?}", deviation.file.display()));
            }
        }
    }
    assert!(unseen.is_empty(), "no case shows these: {unseen:#?}");
}

/// A set of defects has room for each of them.
#[test]
fn every_defect_has_its_place_in_a_set() {
    for defect in Defect::ALL {
        let set = DefectSet::NONE.with(*defect);
        assert_eq!(set.iter().collect::<Vec<_>>(), [*defect]);
    }
}
