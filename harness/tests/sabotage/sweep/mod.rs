//! The law over all bytes: whatever byte of a structure a getter tells wrong, the suite notices.
//!
//! For each structure that the suite reads of a stopped processor, a bit of every byte is inverted,
//! once from the first call on and once, another bit, from the first call after the host has read back
//! what it had set. Each flip has a case of its own, a copy with a number in a virtual machine of
//! its own, and that case must deviate and name the member. Bytes that can legally be anything are
//! listed with the reason ([`layout`]), and a flip there must conform: a row that is not needed is
//! wrong, too. What exists with SMM only is in the table of booted rows.

mod layout;

use std::fmt::Write as _;
use std::path::Path;

use self::layout::{Member, Structure};
use super::conform::{Conform, Finished, Record};
use super::control;
use super::outcome::{Outcome, Row, says};

/// When a getter begins to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// From the first call on, also while a processor is created.
    Always,
    /// When the host has found that what it set was kept.
    Later,
}

/// One bit of a structure.
struct Flip {
    /// In the words of the library.
    sabotage: String,
    /// The member's name in reports, one of these.
    member: Vec<String>,
    /// Why the bit may be anything.
    open: Option<&'static str>,
}

pub fn rows() -> Vec<Row> {
    let not_run = control::no_local();
    let mut rows = Vec::new();
    for structure in layout::structures() {
        for when in [When::Always, When::Later] {
            let flips = flips(&structure, when);
            let open = flips.iter().filter(|flip| flip.open.is_some()).count();
            let time = match when {
                When::Always => "",
                When::Later => ", later",
            };
            let case = structure.case;
            rows.push(Row {
                name: format!("kvm::{}:flip of every byte{time}", structure.getter),
                wanted: format!(
                    "{} cases deviate and name the member, {open} conform",
                    flips.len() - open
                ),
                run: Box::new(move || run(&flips, case)),
                not_run: not_run.clone(),
            });
        }
    }
    rows
}

/// A flip for each byte: the lowest bit that is not open, or later the highest one.
fn flips(structure: &Structure, when: When) -> Vec<Flip> {
    let mut flips = Vec::new();
    let is_read = |member: &&Member| member.read_later || when == When::Always;
    for member in structure.members.iter().filter(is_read) {
        for byte in 0..member.bytes {
            let (free, why) = member.open_bits(byte, when == When::Later);
            let bit = match (free, when) {
                (0xff, _) => 0,
                (_, When::Always) => free.trailing_ones(),
                (_, When::Later) => 7 - free.leading_ones(),
            };
            let place = place(member, byte, bit);
            let from = match when {
                When::Always => String::new(),
                When::Later => format!(":from={}", structure.later),
            };
            flips.push(Flip {
                sabotage: format!("{}:flip={place}{from}", structure.getter),
                member: member.says.clone(),
                open: (free == 0xff).then_some(why),
            });
        }
    }
    flips
}

fn place(member: &Member, byte: usize, bit: u32) -> String {
    match member.msr {
        Some(index) => format!("{index:#x}.{}", byte * 8 + bit as usize),
        None => format!("@{}.{bit}", member.offset + byte),
    }
}

/// Runs a copy of the case for each flip, and one without, in a virtual machine each.
fn run(flips: &[Flip], case: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("sweep")).expect("a folder in a new one");
    let mut sabotage = String::new();
    for number in 0..=flips.len() {
        write_copy(folder.path(), case, number);
        if let Some(flip) = number.checked_sub(1).and_then(|index| flips.get(index)) {
            write!(sabotage, "{};", in_machine(flip, number)).expect("writing to a string");
        }
    }
    let cases = folder.path().to_string_lossy().into_owned();
    let mut conform = Conform::run(&["sweep", "--cases", &cases, "--fresh-vm", "--target", "kvm"]);
    conform.sabotaged(&sabotage);
    judge(&conform.finish(), flips)
}

fn name(number: usize) -> String {
    format!("sweep/{number:04}")
}

fn write_copy(folder: &Path, case: &str, number: usize) {
    let text = format!("title: Swept, number {number}\n{case}");
    std::fs::write(folder.join(name(number) + ".yaml"), text).expect("a file in a new folder");
}

/// Virtual machines are counted from 1, and the first one has nothing wrong.
fn in_machine(flip: &Flip, number: usize) -> String {
    format!("{}:vm={}", flip.sabotage, number + 1)
}

fn judge(finished: &Finished, flips: &[Flip]) -> Outcome {
    let mut problems = Vec::new();
    let record = |number: usize| {
        let name = name(number);
        finished.records.iter().find(|record| record.case == name)
    };
    if record(0).is_none_or(|record| record.verdict != "conforms") {
        problems.push("without a flip the case does not conform".to_owned());
    }
    if finished.status != Some(1) {
        problems.push(format!("exit {:?} instead of 1", finished.status));
    }
    let mut open = 0;
    for (flip, number) in flips.iter().zip(1..) {
        open += usize::from(flip.open.is_some());
        let done = format!("applied {}", in_machine(flip, number));
        if !finished.applied.lines().any(|line| line == done) {
            problems.push(format!("{} did not happen", flip.sabotage));
        }
        if let Some(problem) = problem(flip, record(number)) {
            problems.push(format!("{}: {problem}", flip.sabotage));
        }
    }
    Outcome {
        seen: format!(
            "{} of {} flips noticed, {open} open",
            finished.records.iter().filter(|record| record.is_red()).count(),
            flips.len()
        ),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        output: finished.text.chars().take(4000).collect(),
    }
}

/// What is wrong with what came of a flip.
fn problem(flip: &Flip, record: Option<&Record>) -> Option<String> {
    let Some(record) = record else {
        return Some("its case has no verdict".to_owned());
    };
    match flip.open {
        Some(_) if record.verdict == "conforms" => None,
        Some(why) => Some(format!("noticed, although {why}")),
        None if !record.is_red() => Some(format!("its case {}", record.verdict)),
        None if flip.member.iter().any(|name| record.detail.contains(name)) => {
            says(&[], &record.detail).into_iter().next()
        }
        None => Some(format!("does not say {}", flip.member.join(" or "))),
    }
}
