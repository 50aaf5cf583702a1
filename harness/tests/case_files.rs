//! The repository's own cases and their schema.

use std::path::{Path, PathBuf};

use harness::case::{Case, case_schema, load_folder, print};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases")
}

#[test]
fn all_cases_are_without_mistakes() {
    match load_folder(&cases()) {
        Ok(cases) => assert!(cases.len() >= 10, "only {} cases were found", cases.len()),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"));
        }
    }
}

/// Editors complete and check cases with this file. `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_schema_file_is_up_to_date() {
    let file = cases().join("case.schema.json");
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::write(&file, case_schema()).expect("the schema can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == case_schema(),
        "{} is stale: run this test with UPDATE_EXPECT=1 and commit the file",
        file.display()
    );
}

#[test]
fn every_case_of_a_whole_machine_prints_as_a_case_that_reads_the_same() {
    let cases = load_folder(&cases()).expect("the cases are without mistakes");
    for case in cases.iter().filter(|case| !case.scenario.needs_xen_pv()) {
        let text = print(&case.scenario);
        let again = Case::parse(case.name.clone(), Path::new("printed.yaml"), text.as_bytes());
        match again {
            Ok(again) => assert_eq!(again.scenario, case.scenario, "{}\n{text}", case.name),
            Err(mistakes) => panic!("{}: {}\n{text}", case.name, mistakes[0]),
        }
    }
}
