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

/// The table in `stage2/README.md` has every scenario once, with cases that exist or a reason.
#[test]
fn the_table_of_stage2_scenarios_is_complete() {
    let text = std::fs::read_to_string(cases().join("stage2/README.md")).expect("the table is there");
    let rows: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| P")?.strip_suffix(" |")?.split_once(" | "))
        .collect();
    let numbers: Vec<u32> = rows
        .iter()
        .filter_map(|(number, _)| number.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=90).collect::<Vec<u32>>());
    for (number, covered) in rows {
        if let Some(reason) = covered.strip_prefix("none: ") {
            assert!(reason.len() > 20, "P{number} says too little");
            continue;
        }
        for case in covered.split(", ") {
            let file = cases().join(format!("stage2/{case}.yaml"));
            assert!(file.exists(), "P{number}: there is no case stage2/{case}");
        }
    }
}
