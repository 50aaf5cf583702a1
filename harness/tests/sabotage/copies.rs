//! Copies of cases, each in a virtual machine of its own, so that one run can break something else
//! in each of them.
//!
//! `--fresh-vm` makes a machine for each case that is run, in their order, and the words of the library
//! name one by its number. A case that cannot run makes none, so that copies are made only of such as run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::booted::{target, use_emulator};
use super::conform::{Conform, Finished, Record, library};
use super::emulator::Plan;

/// Where copies run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the local device.
    Local,
    /// In one boot of a kernel. A boot takes seconds, so that many copies share one.
    Booted,
}

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
        let noted = self.notes().filter(|note| *note == sabotage);
        noted.count().div_ceil(2)
    }

    /// The numbers with which calls were noted in the machine of a copy, in their order.
    pub fn numbers(&self, place: usize, sabotage: &str) -> Vec<usize> {
        let start = in_machine(sabotage, place) + " ";
        let mut numbers: Vec<usize> = self
            .notes()
            .filter_map(|note| note.strip_prefix(&start)?.parse().ok())
            .collect();
        // Notes come twice.
        numbers.dedup();
        numbers
    }

    /// What the library noted; a serial port adds its own line ends, and may lose the first bytes.
    fn notes(&self) -> impl Iterator<Item = &str> {
        let lines = self.finished.applied.lines();
        lines.filter_map(|line| Some(line.split_once("applied ")?.1.trim_end()))
    }
}

/// Runs copies in their order.
pub fn run(place: Place, copies: &[Copy]) -> Copies {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join(AREA)).expect("a folder in a new one");
    let mut sabotage = String::new();
    for (number, copy) in copies.iter().enumerate() {
        let text = renamed(&copy.case, number);
        std::fs::write(folder.path().join(name(number) + ".yaml"), text).expect("a file in a new folder");
        for one in &copy.sabotages {
            write!(sabotage, "{};", in_machine(one, number)).expect("writing to a string");
        }
    }
    let cases = folder.path().to_string_lossy().into_owned();
    let target = match place {
        Place::Local => "kvm".to_owned(),
        Place::Booted => target(),
    };
    let mut conform = Conform::run(&[AREA, "--cases", &cases, "--fresh-vm", "--target", &target]);
    conform.may_take(Duration::from_secs(60) + PER_COPY * u32::try_from(copies.len()).unwrap_or(u32::MAX));
    let mut path = None;
    match place {
        Place::Local => {
            let file = folder.path().join("sabotage");
            std::fs::write(&file, sabotage).expect("a file in a new folder");
            conform.sabotaged(&format!("@{}", file.display()));
        }
        Place::Booted => {
            let plan = Plan {
                preload: Some((library(), sabotage)),
                notes: Some(conform.log()),
                ..Plan::new().expect("checked before")
            };
            path = Some(use_emulator(&mut conform, &plan));
        }
    }
    let finished = conform.finish();
    drop(path);
    Copies { finished }
}

/// A copy takes no longer than this, most of them together much less.
const PER_COPY: Duration = Duration::from_secs(1);

/// The area of the copies.
const AREA: &str = "sabotaged";

/// Name of the copy at a place.
pub fn name(place: usize) -> String {
    format!("{AREA}/{:05}", place + 1)
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
