use std::fs;

use super::*;

const CASE: &str =
    "title: TITLE\nchecks: [EXC-HLT-001]\nmachine: { mode: real }\ncode: { start: hlt }\npath: [halted]\n";

/// A folder of cases; the text is the title, or a whole file if it has several lines.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the folder")).expect("folders can be made");
        let text = if text.contains('\n') {
            (*text).to_owned()
        } else {
            CASE.replace("TITLE", text)
        };
        fs::write(file, text).expect("files can be written");
    }
    folder
}

fn suite(folders: &[&tempfile::TempDir]) -> Suite {
    let folders: Vec<PathBuf> = folders.iter().map(|folder| folder.path().to_owned()).collect();
    Suite::read(&folders).expect("no deviation is wrong")
}

fn names(suite: &Suite) -> Vec<&str> {
    suite.cases.iter().map(|case| case.name.as_str()).collect()
}

fn chosen(suite: &mut Suite, patterns: &[&str]) -> Result<(), Failure> {
    let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    suite.choose(&patterns)
}

#[test]
fn folders_below_the_current_one_are_relative() {
    let shortest = |folder: &str| shortest(Path::new(folder), Path::new("/a/b"));
    assert_eq!(shortest("/a/b/cases"), Path::new("cases"));
    assert_eq!(shortest("/a/b"), Path::new("."));
    assert_eq!(shortest("/a/bc"), Path::new("/a/bc"));
    assert_eq!(shortest("x"), Path::new("x"));
}

#[test]
fn a_bad_file_stops_only_runs_that_choose_it() {
    let folder = folder(&[
        ("smm/good.yaml", "one"),
        ("smm/bad.yaml", "title:\n- 1\n"),
        ("nmi/good.yaml", "two"),
    ]);
    let mut other = suite(&[&folder]);
    chosen(&mut other, &["nmi", "smm/good"]).expect("the bad one is not chosen");
    assert_eq!(names(&other), ["nmi/good", "smm/good"]);
    for patterns in [&[][..], &["smm"], &["smm/bad"], &["nmi", "*/bad"]] {
        let failure = chosen(&mut suite(&[&folder]), patterns).expect_err("the bad one is chosen");
        assert_eq!(failure.status, Status::Wrong);
        assert!(
            failure.messages[0].contains("smm/bad.yaml:"),
            "{patterns:?}: {failure}"
        );
    }
    let strict = Suite::load_folders(&[folder.path().to_owned()]).expect_err("it is bad");
    assert_eq!(strict.status, Status::Wrong);
}

#[test]
fn a_named_file_takes_the_place_of_the_case_with_its_name() {
    let (shipped, own) = (
        folder(&[("smm/a.yaml", "one"), ("smm/b.yaml", "two")]),
        folder(&[("smm/a.yaml", "one"), ("bad/smm/b.yaml", "title:\n- 1\n")]),
    );
    let file = own.path().join("smm/a.yaml");
    let path = file.to_str().expect("text");
    for patterns in [&[path][..], &[path, path], &[path, "smm/a"]] {
        let mut suite = suite(&[&shipped]);
        chosen(&mut suite, patterns).expect("it is right");
        assert_eq!(names(&suite), ["smm/a"], "{patterns:?}");
        assert_eq!(suite.cases[0].file, file, "{patterns:?}");
    }
    let mut all_of_area = suite(&[&shipped]);
    chosen(&mut all_of_area, &["smm", path]).expect("it is right");
    assert_eq!(names(&all_of_area), ["smm/a", "smm/b"]);
    assert_eq!(all_of_area.cases[0].file, file);
    let bad = own.path().join("bad/smm/b.yaml");
    let failure = chosen(&mut suite(&[&shipped]), &[bad.to_str().expect("text")]);
    assert_eq!(failure.expect_err("it is bad").status, Status::Wrong);
}

#[test]
fn two_named_files_of_one_name_are_a_mistake() {
    let one = folder(&[("smm/a.yaml", "one")]);
    let two = folder(&[("smm/a.yaml", "two")]);
    let paths = [&one, &two].map(|folder| folder.path().join("smm/a.yaml"));
    let patterns = [0, 1].map(|index| paths[index].to_str().expect("text"));
    let failure = chosen(&mut Suite::default(), &patterns).expect_err("two files, one name");
    assert_eq!(failure.status, Status::Wrong);
    assert!(
        failure.messages[0].contains("are both the case `smm/a`"),
        "{failure}"
    );
}

#[test]
fn a_named_file_is_no_pattern() {
    let folder = folder(&[("smm/a.yaml", "one"), ("smm/a*.yaml", "two")]);
    let file = folder.path().join("smm/a*.yaml");
    let mut suite = suite(&[&folder]);
    chosen(&mut suite, &[file.to_str().expect("text")]).expect("it is right");
    assert_eq!(names(&suite), ["smm/a*"]);
}

#[test]
fn names_and_titles_are_used_once_in_all_folders() {
    let one = folder(&[("smm/a.yaml", "one"), ("smm/b.yaml", "two")]);
    for (file, what) in [
        (("smm/a.yaml", "three"), "the name `smm/a`"),
        (("smm/c.yaml", "two"), "the title `two`"),
    ] {
        let two = folder(&[file]);
        let folders = [one.path().to_owned(), two.path().to_owned()];
        let failure = Suite::load_folders(&folders).expect_err("shared");
        assert!(failure.messages[0].contains(what), "{failure}");
    }
}

#[test]
fn other_endings_are_not_read() {
    for name in ["smm/a.yml", "smm/a.YAML"] {
        let folder = folder(&[(name, "one")]);
        let failure = Suite::load_folders(&[folder.path().to_owned()]).expect_err("it is not read");
        assert!(failure.messages[0].contains("are not read"), "{failure}");
        let file = folder.path().join(name);
        let failure = chosen(&mut Suite::default(), &[file.to_str().expect("text")]);
        assert_eq!(failure.expect_err("it is not read").status, Status::Wrong);
    }
}
