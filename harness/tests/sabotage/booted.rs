//! Sabotages of KVM in a booted kernel, where there is SMM.
//!
//! All rows share one boot: each has a case of its own, a copy, and breaks something in that virtual machine
//! only. A run has one exit status, which is 1 as soon as a case deviates, so what is judged
//! for each row is the verdict of its case.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::conform::{Conform, Finished, Record};
use super::copies::{self, Copies, Copy, Place};
use super::emulator::{NAME, PLAN, Plan};
use super::outcome::{Outcome, Row, says, turned_grey};
use super::provisioned::Kernel;
use super::table::{self, Booted};

static BROKEN: LazyLock<Copies> = LazyLock::new(|| run(true));
static CONTROL: LazyLock<Copies> = LazyLock::new(|| run(false));

/// All rows, or their cases with nothing broken.
fn run(broken: bool) -> Copies {
    let copy = |row: &'static Booted| Copy {
        case: row.case.to_owned(),
        sabotages: broken.then(|| row.sabotage.to_owned()).into_iter().collect(),
    };
    copies::run(Place::Booted, &table::booted().map(copy).collect::<Vec<_>>())
}

/// All cases of these rows with nothing broken.
pub fn control() -> &'static Finished {
    &CONTROL.finished
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
    let row = |(place, row): (usize, &'static Booted)| Row {
        name: format!("svm::{} in {}", row.sabotage, row.case),
        wanted: wanted(row),
        run: Box::new(move || judge(row, place)),
        not_run: not_run.clone(),
    };
    table::booted().enumerate().map(row).collect()
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

fn judge(row: &Booted, place: usize) -> Outcome {
    let finished = &BROKEN.finished;
    let own = BROKEN.record(place);
    let mut problems = Vec::new();
    if BROKEN.happened(place, row.sabotage) == 0 {
        problems.push("the sabotage did not happen".to_owned());
    }
    if finished.status != Some(1) {
        problems.push(format!("exit {:?} instead of 1", finished.status));
    }
    match own {
        None => problems.push("its case has no verdict".to_owned()),
        Some(record) => {
            if !(record.is_red() || row.may_break && record.verdict == "broken") {
                problems.push(format!("its case {}", record.verdict));
            }
            problems.extend(says(row.says, &record.detail));
        }
    }
    let control = CONTROL.record(place);
    // A listed deviation is as good: what the sabotage adds to it is no part of it.
    let says_something =
        |record: &Record| record.verdict == "conforms" || record.verdict.starts_with("known");
    if !control.is_some_and(says_something) {
        problems.push(
            "without the sabotage its case does not conform, not even but for what is listed".to_owned(),
        );
    }
    let one = |record: Option<&Record>| record.cloned().into_iter().collect::<Vec<_>>();
    problems.extend(turned_grey(&one(own), &one(control)));
    let seen = own.map_or("no verdict", |record| &record.verdict);
    Outcome {
        seen: format!("exit {:?}, its case {seen}", finished.status.unwrap_or(-1)),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        output: match own {
            Some(record) => record.detail.clone(),
            None => finished.text.clone(),
        },
    }
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
    // A variable is not long enough for every sabotage.
    let file = folder.path().join("plan");
    let text = serde_json::to_string(plan).expect("a plan is plain data");
    std::fs::write(&file, text).expect("a file in a new folder");
    conform.env(PLAN, file);
    folder
}
