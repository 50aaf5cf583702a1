//! Folders of cases.

use std::fs;

use harness::case::load_folder;

const CASE: &str =
    "title: TITLE\nchecks: [EXC-HLT-001]\nmachine: { mode: real }\ncode: { start: hlt }\npath: [halted]\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, title) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the folder")).expect("folders can be made");
        fs::write(file, CASE.replace("TITLE", title)).expect("files can be written");
    }
    folder
}

#[test]
fn cases_are_named_after_their_paths_and_sorted() {
    let folder = folder(&[
        ("smm/b.yaml", "one"),
        ("nmi/c.yaml", "two"),
        ("nmi/deep/a.yaml", "three"),
        ("deviations/not-a-case.yaml", "one"),
        (".hidden/d.yaml", "one"),
        ("smm/notes.txt", "one"),
    ]);
    let cases = load_folder(folder.path()).expect("the cases are without mistakes");
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["nmi/c", "nmi/deep/a", "smm/b"]);
    assert!(cases.iter().all(|case| case.scenario.name == case.name));
}

#[test]
fn two_cases_do_not_share_a_name_or_a_title() {
    let folder = folder(&[
        ("smm/a.yaml", "same"),
        ("smm/b.yaml", "same"),
        ("smm/A.yaml", "other"),
    ]);
    let mistakes = load_folder(folder.path()).expect_err("there are mistakes");
    let said: Vec<&str> = mistakes.iter().map(|mistake| mistake.what.as_str()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("the case name `smm/a` is also that of "),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("the title `same` is also that of "),
        "{said:?}"
    );
}

#[test]
fn mistakes_of_all_files_are_reported() {
    let folder = folder(&[("a.yaml", "''"), ("b.yaml", "''")]);
    let mistakes = load_folder(folder.path()).expect_err("there are mistakes");
    assert_eq!(mistakes.len(), 2);
}

#[test]
fn a_folder_that_is_not_there_is_a_mistake() {
    let folder = folder(&[]);
    let mistakes = load_folder(&folder.path().join("missing")).expect_err("there is a mistake");
    assert!(
        mistakes[0].what.starts_with("cannot read the folder"),
        "{}",
        mistakes[0]
    );
}
