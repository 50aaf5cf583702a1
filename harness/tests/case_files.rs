//! The repository's own cases and their schema.

use std::path::{Path, PathBuf};

use harness::case::{Case, case_schema, load_folder, print, stage2_schema};

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
fn the_schema_files_are_up_to_date() {
    is_up_to_date("case.schema.json", &case_schema());
    is_up_to_date("stage2.schema.json", &stage2_schema());
}

fn is_up_to_date(name: &str, schema: &str) {
    let file = cases().join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::write(&file, schema).expect("the schema can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == schema,
        "{} is stale: run this test with UPDATE_EXPECT=1 and commit the file",
        file.display()
    );
}

#[test]
fn every_case_prints_as_a_case_that_reads_the_same() {
    for case in load_folder(&cases()).expect("the cases are without mistakes") {
        let text = print(&case.scenario);
        let again = Case::parse(case.name.clone(), Path::new("printed.yaml"), text.as_bytes());
        match again {
            Ok(again) => assert_eq!(again.scenario, case.scenario, "{}\n{text}", case.name),
            Err(mistakes) => panic!("{}: {}\n{text}", case.name, mistakes[0]),
        }
    }
}
