//! Sabotages of KVM in a booted kernel, where there is SMM.
//!
//! A boot takes seconds, so one run has many of these rows: each has a case of its own, a copy with a
//! number, and breaks something in that virtual machine only (`--fresh-vm` makes one for each
//! case). A run has one exit status, which is 1 as soon as a case deviates, so what is judged
//! for each row is the verdict of its case.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::conform::{Conform, Finished, Record, library};
use super::emulator::{NAME, PLAN, Plan};
use super::outcome::{Outcome, Row, says, turned_grey};
use super::provisioned::Kernel;
use super::table::{self, Booted};

/// The kernel's command line has 2048 bytes, for everything.
const LONGEST: usize = 1400;

/// Rows that share a boot, and what came of them.
struct Batch {
    rows: Vec<&'static Booted>,
    finished: LazyLock<Finished, Box<dyn FnOnce() -> Finished + Send>>,
}

static BATCHES: LazyLock<Vec<Batch>> = LazyLock::new(|| {
    let mut batches: Vec<Vec<&'static Booted>> = Vec::new();
    let mut length = LONGEST;
    for row in table::booted() {
        length += row.sabotage.len() + ":vm=99;".len();
        if length > LONGEST {
            batches.push(Vec::new());
            length = 0;
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(row);
        }
    }
    let batch = |rows: Vec<&'static Booted>| Batch {
        finished: LazyLock::new({
            let rows = rows.clone();
            Box::new(move || run(&rows, true))
        }),
        rows,
    };
    batches.into_iter().map(batch).collect()
});

static CONTROL: LazyLock<Finished> = LazyLock::new(|| run(&table::booted().collect::<Vec<_>>(), false));

/// All cases of these rows with nothing broken.
pub fn control() -> &'static Finished {
    &CONTROL
}

/// Why no kernel can be booted.
pub fn no_kernel() -> Option<String> {
    Kernel::find().err().or_else(|| Plan::new().err())
}

/// Name of the target that is booted.
pub fn target() -> String {
    Kernel::find().map_or_else(|_| "svm@debian:6.12".to_owned(), |kernel| kernel.identity.name)
}

pub fn rows() -> Vec<Row> {
    let not_run = no_kernel();
    let mut rows = Vec::new();
    for (number, batch) in BATCHES.iter().enumerate() {
        for (place, row) in batch.rows.iter().enumerate() {
            rows.push(Row {
                name: format!("svm::{} in {}", row.sabotage, row.case),
                wanted: wanted(row),
                run: Box::new(move || judge(number, place)),
                not_run: not_run.clone(),
            });
        }
    }
    rows
}

fn wanted(row: &Booted) -> String {
    let mut text = "its case deviates".to_owned();
    if row.may_break {
        text += " or is broken";
    }
    if !row.says.is_empty() {
        text += &format!(", says {}", row.says.join(", "));
    }
    text
}

fn judge(number: usize, place: usize) -> Outcome {
    let batch = &BATCHES[number];
    let (row, finished) = (batch.rows[place], &*batch.finished);
    let own: Vec<Record> = finished
        .records
        .iter()
        .filter(|record| record.case == name(place))
        .cloned()
        .collect();
    let mut problems = Vec::new();
    let sabotage = in_machine(row, place);
    // A serial port adds its own line ends.
    if !finished
        .applied
        .lines()
        .any(|line| line.trim_end().ends_with(&sabotage))
    {
        problems.push("the sabotage did not happen".to_owned());
    }
    if finished.status != Some(1) {
        problems.push(format!("exit {:?} instead of 1", finished.status));
    }
    match own.first() {
        None => problems.push("its case has no verdict".to_owned()),
        Some(record) => {
            if !(record.is_red() || row.may_break && record.verdict == "broken") {
                problems.push(format!("its case {}", record.verdict));
            }
            problems.extend(says(row.says, &record.detail));
        }
    }
    // The control has other numbers: in one boot all cases of the table.
    let control: Vec<Record> = own
        .iter()
        .filter_map(|_| {
            let index = table::booted().position(|other| std::ptr::eq(other, row))?;
            let record = CONTROL.records.iter().find(|record| record.case == name(index))?;
            Some(Record {
                case: name(place),
                ..record.clone()
            })
        })
        .collect();
    // A listed deviation is as good: what the sabotage adds to it is no part of it.
    let says_something =
        |record: &Record| record.verdict == "conforms" || record.verdict.starts_with("known");
    if !control.iter().any(says_something) {
        problems.push(
            "without the sabotage its case does not conform, not even but for what is listed".to_owned(),
        );
    }
    problems.extend(turned_grey(&own, &control));
    let seen = own.first().map_or("no verdict", |record| &record.verdict);
    Outcome {
        seen: format!("exit {:?}, its case {seen}", finished.status.unwrap_or(-1)),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        output: match own.first() {
            Some(record) => record.detail.clone(),
            None => finished.text.clone(),
        },
    }
}

/// Name of the case at a place of a run.
fn name(place: usize) -> String {
    format!("sabotaged/{:03}", place + 1)
}

fn in_machine(row: &Booted, place: usize) -> String {
    format!("{}:vm={}", row.sabotage, place + 1)
}

/// Runs copies of the cases, in their order, in one boot.
fn run(rows: &[&'static Booted], broken: bool) -> Finished {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let area = folder.path().join("sabotaged");
    std::fs::create_dir(&area).expect("a folder in a new one");
    let mut sabotage = String::new();
    for (place, row) in rows.iter().enumerate() {
        let case = copy(row.case, place);
        std::fs::write(folder.path().join(name(place) + ".yaml"), case).expect("a file in a new folder");
        if broken {
            write!(sabotage, "{};", in_machine(row, place)).expect("writing to a string");
        }
    }
    let cases = folder.path().to_string_lossy().into_owned();
    let mut conform = Conform::run(&[
        "sabotaged",
        "--cases",
        &cases,
        "--fresh-vm",
        "--target",
        &target(),
    ]);
    let plan = Plan {
        preload: Some((library(), sabotage)),
        notes: Some(conform.log()),
        ..Plan::new().expect("checked before")
    };
    let _path = use_emulator(&mut conform, &plan);
    conform.finish()
}

/// A case of the suite under another title.
fn copy(case: &str, place: usize) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../cases")
        .join(case.to_owned() + ".yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let title = format!("title: Sabotaged, number {}", place + 1);
    let lines = text
        .lines()
        .map(|line| if line.starts_with("title:") { &title } else { line });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Makes `conform` find this test as its emulator, with a plan. The folder has to live as long as
/// the run.
pub fn use_emulator(conform: &mut Conform, plan: &Plan) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let test = std::env::current_exe().expect("this program has a path");
    std::os::unix::fs::symlink(test, folder.path().join(NAME)).expect("a link in a new folder");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(folder.path())).chain(std::env::split_paths(&inherited));
    conform.env("PATH", std::env::join_paths(folders).expect("folders of a path"));
    conform.env(PLAN, serde_json::to_string(plan).expect("a plan is plain data"));
    folder
}
