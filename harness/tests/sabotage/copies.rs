//! Copies of cases, each in a virtual machine of its own, so that one run can break something else
//! in each of them.
//!
//! `--fresh-vm` makes a machine for each case that is run, in their order, and the words of the library
//! name one by its number. A case that cannot run makes none, so that copies are made only of such as run.

use std::fmt::Write as _;
use std::path::Path;

use super::conform::{Conform, Finished, Record};

/// A case, and what is broken in its machine.
#[derive(Clone, Debug)]
pub struct Copy {
    pub case: String,
    /// In the words of the library, without `vm=`.
    pub sabotages: Vec<String>,
}

/// What came of copies, in their order.
pub struct Copies {
    pub finished: Finished,
}

impl Copies {
    /// What is said of a copy.
    pub fn record(&self, place: usize) -> Option<&Record> {
        let name = name(place);
        self.finished.records.iter().find(|record| record.case == name)
    }

    /// How often a sabotage happened in the machine of a copy.
    pub fn happened(&self, place: usize, sabotage: &str) -> usize {
        let sabotage = in_machine(sabotage, place);
        // Notes come twice.
        let lines = self.finished.applied.lines();
        let noted = lines.filter(|line| line.strip_prefix("applied ") == Some(&sabotage));
        noted.count().div_ceil(2)
    }

    /// The numbers with which calls were noted in the machine of a copy, in their order.
    pub fn numbers(&self, place: usize, sabotage: &str) -> Vec<usize> {
        let start = format!("applied {} ", in_machine(sabotage, place));
        let lines = self.finished.applied.lines();
        let mut numbers: Vec<usize> = lines
            .filter_map(|line| line.strip_prefix(&start)?.parse().ok())
            .collect();
        // Notes come twice.
        numbers.dedup();
        numbers
    }
}

/// Runs copies on the local device.
pub fn run(copies: &[Copy]) -> Copies {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join(AREA)).expect("a folder in a new one");
    let mut sabotage = String::new();
    for (place, copy) in copies.iter().enumerate() {
        let text = renamed(&copy.case, place);
        std::fs::write(folder.path().join(name(place) + ".yaml"), text).expect("a file in a new folder");
        for one in &copy.sabotages {
            write!(sabotage, "{};", in_machine(one, place)).expect("writing to a string");
        }
    }
    let file = folder.path().join("sabotage");
    std::fs::write(&file, sabotage).expect("a file in a new folder");
    let cases = folder.path().to_string_lossy().into_owned();
    let mut conform = Conform::run(&[AREA, "--cases", &cases, "--fresh-vm", "--target", "kvm"]);
    conform.sabotaged(&format!("@{}", file.display()));
    Copies {
        finished: conform.finish(),
    }
}

/// The area of the copies.
const AREA: &str = "sabotaged";

/// Name of the copy at a place.
fn name(place: usize) -> String {
    format!("{AREA}/{:04}", place + 1)
}

fn in_machine(sabotage: &str, place: usize) -> String {
    format!("{sabotage}:vm={}", place + 1)
}

/// A case of the suite under another title.
fn renamed(case: &str, place: usize) -> String {
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
