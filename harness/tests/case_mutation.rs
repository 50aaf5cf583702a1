//! No case file makes the program panic: files of the repository with random edits are read, and
//! what can be read is run on the model, judged and printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use harness::case::{Case, print};
use harness::deviation;
use harness::judge::case::judge_own;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use spec_model::defect::DefectSet;

/// Edits of one file.
const EDITS: usize = 4;
/// The most that the model gets to do for one file. Files may ask for more.
const INSTRUCTIONS: u32 = 2_000;
const OBSERVATIONS: u32 = 64;

/// Values that are at an edge of something.
const EDGES: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "7",
    "15",
    "16",
    "17",
    "30",
    "31",
    "32",
    "63",
    "64",
    "255",
    "256",
    "0xfff",
    "0x1000",
    "0x7fff",
    "0xffff",
    "0x10000",
    "0xfffff",
    "0x100000",
    "0x7fffffff",
    "0xffffffff",
    "0x100000000",
    "0x7fffffffffffffff",
    "0x8000000000000000",
    "0xffffffffffffffff",
    "0x7fff_ffff_f000",
    "0xffff_8000_0000_0000",
    "170141183460469231731687303715884105727",
    "''",
    "null",
    "true",
    "[]",
    "{}",
    "[0, 0]",
    "x",
    "start",
    "smi",
    "~",
    "-9223372036854775808",
    "0xffffffffffffff00",
    "0xfffffffffffff000",
];

/// Text of every file with an ending in a folder and its folders, with its path.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path).expect("it can be read");
            files.push((path, text));
        }
    }
    files
}

fn repository() -> &'static [(PathBuf, String)] {
    static FILES: OnceLock<Vec<(PathBuf, String)>> = OnceLock::new();
    FILES.get_or_init(|| files(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cases")))
}

#[derive(Clone, Debug)]
enum Edit {
    /// A word or number gets another value.
    Replace(Index, usize),
    /// A word or number gets that of another place in any file.
    Take(Index, Index, Index),
    /// A line goes.
    Delete(Index),
    /// A line comes again after another.
    Repeat(Index, Index),
    /// A line of another file comes after a line.
    Insert(Index, Index, Index),
    /// A line is exchanged with a line of another file.
    Exchange(Index, Index, Index),
    /// A character goes.
    Drop(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), 0..EDGES.len()).prop_map(|(at, value)| Edit::Replace(at, value)),
        4 => (index(), index(), index()).prop_map(|(at, file, from)| Edit::Take(at, file, from)),
        1 => index().prop_map(Edit::Delete),
        1 => (index(), index()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        2 => (index(), index(), index()).prop_map(|(at, file, from)| Edit::Insert(at, file, from)),
        1 => (index(), index(), index()).prop_map(|(at, file, from)| Edit::Exchange(at, file, from)),
        1 => index().prop_map(Edit::Drop),
    ]
}

/// Where words and numbers lie in a text.
fn words(text: &str) -> Vec<(usize, usize)> {
    let part = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let mut words = Vec::new();
    let mut begin = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (begin, part(character)) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                words.push((from, at));
                begin = None;
            }
            _ => {}
        }
    }
    words
}

fn edited(text: &str, edit: &Edit) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let other = |file: &Index, line: &Index| -> &'static str {
        let (_, text) = &repository()[file.index(repository().len())];
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(line.index(lines.len().max(1)))
            .copied()
            .unwrap_or_default()
    };
    let with = |place: &Index, value: &str| {
        let words = words(text);
        if words.is_empty() {
            return value.to_owned();
        }
        let (from, to) = words[place.index(words.len())];
        format!("{}{value}{}", &text[..from], &text[to..])
    };
    if lines.is_empty() {
        return text.to_owned();
    }
    let count = lines.len();
    match edit {
        Edit::Replace(place, value) => return with(place, EDGES[*value]),
        Edit::Take(place, file, from) => {
            let (_, source) = &repository()[file.index(repository().len())];
            let words = words(source);
            let (begin, end) = words[from.index(words.len())];
            return with(place, &source[begin..end]);
        }
        Edit::Delete(line) => {
            lines.remove(line.index(count));
        }
        Edit::Repeat(from, to) => lines.insert(to.index(count), lines[from.index(count)]),
        Edit::Insert(at, file, line) => lines.insert(at.index(count), other(file, line)),
        Edit::Exchange(at, file, line) => lines[at.index(count)] = other(file, line),
        Edit::Drop(at) => {
            let mut characters: Vec<char> = text.chars().collect();
            characters.remove(at.index(characters.len()));
            return characters.into_iter().collect();
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Reads a file as what its folder says, and runs it if it is a case.
fn use_file(path: &Path, text: &str) {
    if path.parent().is_some_and(|folder| folder.ends_with("deviations")) {
        let _ = deviation::parse(path, text.as_bytes());
        return;
    }
    let Ok(mut case) = Case::parse("area/name".to_owned(), path, text.as_bytes()) else {
        return;
    };
    let _ = print(&case.scenario);
    let limits = &mut case.scenario.limits;
    limits.instructions = limits.instructions.min(INSTRUCTIONS);
    limits.observations = limits.observations.min(OBSERVATIONS);
    let _ = judge_own(&case, case.own_profile(), DefectSet::NONE);
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(2_000),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn edited_files_are_read_and_run_without_panic(
        file in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..=EDITS),
    ) {
        let (path, text) = &repository()[file.index(repository().len())];
        let mut text = text.clone();
        for edit in &edits {
            text = edited(&text, edit);
        }
        use_file(path, &text);
    }
}

/// Every edge value in place of every word of these files: they have each part of the format.
#[test]
fn edge_values_in_every_place_are_read_and_run_without_panic() {
    let chosen = [
        "smm/auto-halt-restart.yaml",
        "ist/",
        "smram/",
        "apic/",
        "stage2/arm64",
        "xen-pv/",
    ];
    for part in chosen {
        let found = repository()
            .iter()
            .find(|(path, _)| path.to_string_lossy().contains(&format!("cases/{part}")));
        let (path, text) = found.expect("there is such a file");
        for (from, to) in words(text) {
            for value in EDGES {
                use_file(path, &format!("{}{value}{}", &text[..from], &text[to..]));
            }
        }
    }
}
