//! Every requirement of the catalogue is checked by a case, so that none is only prose.

use std::collections::HashSet;
use std::path::Path;

use harness::cli::suite::Suite;
use spec_model::requirement;

#[test]
fn every_requirement_is_checked_by_a_case() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = Suite::load_folders(&[cases]).expect("the repository's cases are right");
    let checked: HashSet<&str> = suite
        .cases
        .iter()
        .flat_map(|case| &case.checks)
        .map(|requirement| requirement.id)
        .collect();
    let missing: Vec<&str> = requirement::all()
        .map(|requirement| requirement.id)
        .filter(|id| !checked.contains(id))
        .collect();
    assert!(missing.is_empty(), "no case checks {}", missing.join(", "));
}
