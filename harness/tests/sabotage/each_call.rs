//! Calls that set or raise something, or run the guest, each gone wrong once: every one of them.
//!
//! The rows of the table are chosen by people, who choose what they expect to be noticed. Here nothing is
//! chosen: one run notes which calls of each case change something, and in a second one KVM says of each of
//! these calls, one at a time, that it has done it and has not. Each case must deviate, unless
//! [`LEGAL`](super::table::legal) says why nobody can see it.

use std::sync::LazyLock;

use super::conform::{Conform, Finished};
use super::copies::{self, Copies, Copy, Place};
use super::outcome::{Outcome, Row};
use super::table::legal::reason;
use super::{booted, control};

/// The calls that go wrong.
const CALLS: &[&str] = &[
    "KVM_NMI",
    "KVM_SMI",
    "KVM_X86_SET_MCE",
    "KVM_SET_USER_MEMORY_REGION",
    "KVM_SET_REGS",
    "KVM_SET_SREGS",
    "KVM_SET_MSRS",
    "KVM_SET_DEBUGREGS",
    "KVM_SET_LAPIC",
    "KVM_SET_VCPU_EVENTS",
    "KVM_SET_MP_STATE",
    "KVM_CLEAR_DIRTY_LOG",
    "KVM_RUN",
];

/// Asks for the rows that take minutes.
const FULL: &str = "CONFORM_SABOTAGE_FULL";

/// The lies and what came of them.
struct Lies {
    lies: Vec<Lie>,
    copies: Copies,
    /// Why the runs prove nothing.
    problem: Option<String>,
}

struct Lie {
    case: String,
    call: &'static str,
    /// Counted in the case from 1, with those that change nothing.
    number: usize,
}

impl Lie {
    /// In the words of the library, without `vm=`.
    fn sabotage(&self) -> String {
        let Self { call, number, .. } = self;
        let how = how(call);
        match *call {
            // The suite sets it twice (harness/src/target/kvm/apic_page.rs).
            "KVM_SET_LAPIC" => format!("{call}:{how}:from={number}:to={}", number + 1),
            _ => format!("{call}:{how}:only={number}"),
        }
    }
}

/// What goes wrong with a call. KVM may come back from KVM_RUN at any time without having run the guest, and
/// the suite enters again, so that a lie about it need not be seen; that it fails must be.
fn how(call: &str) -> &'static str {
    if call == "KVM_RUN" { "fail=EFAULT" } else { "lie" }
}

/// Notes the calls that change something.
fn effective(call: &str) -> String {
    format!("{call}:effective")
}

static LOCAL: LazyLock<Lies> = LazyLock::new(|| lies(Place::Local, control::local()));

static BOOTED: LazyLock<Lies> = LazyLock::new(|| {
    let all = Conform::run(&["--target", &booted::target()]);
    lies(Place::Booted, &all.finish())
});

pub fn rows() -> Vec<Row> {
    let full = std::env::var_os(FULL).is_some();
    let too_long = || Some(format!("it takes minutes; {FULL}=1 asks for it"));
    let places: [(Place, &str, &'static LazyLock<Lies>, Option<String>); 2] = [
        (Place::Local, "kvm", &LOCAL, control::no_local()),
        (
            Place::Booted,
            "svm",
            &BOOTED,
            booted::no_kernel().or_else(|| too_long().filter(|_| !full)),
        ),
    ];
    let mut rows = Vec::new();
    for (place, name, lies, not_run) in places {
        for call in CALLS.iter().copied() {
            if is_left_out(place, call) {
                continue;
            }
            rows.push(Row {
                name: format!("{name}::{call}:{}, each call", how(call)),
                wanted: "each case deviates but for a reason".to_owned(),
                run: Box::new(move || judge(lies, call)),
                not_run: not_run.clone(),
            });
        }
    }
    rows
}

/// Calls about which no lies are told at a place: without SMM there are no SMIs; and a booted kernel is under an
/// emulator where it depends on time how often a sleeping guest is entered, so that a number says nothing.
fn is_left_out(place: Place, call: &str) -> bool {
    match place {
        Place::Local => call == "KVM_SMI" && !control::local_has_smm(),
        Place::Booted => call == "KVM_RUN",
    }
}

/// Notes the calls that change something, and lies about each of them.
fn lies(place: Place, whole: &Finished) -> Lies {
    let conforms = whole.records.iter().filter(|record| record.verdict == "conforms");
    let cases: Vec<String> = conforms.map(|record| record.case.clone()).collect();
    let noted: Vec<Copy> = cases
        .iter()
        .map(|case| Copy {
            case: case.clone(),
            sabotages: CALLS.iter().map(|call| effective(call)).collect(),
        })
        .collect();
    let noted = copies::run(place, &noted);
    let (mut lies, mut judged) = (Vec::new(), 0);
    for (number, case) in cases.iter().enumerate() {
        if noted
            .record(number)
            .is_none_or(|record| record.verdict != "conforms")
        {
            continue;
        }
        judged += 1;
        for call in CALLS.iter().copied().filter(|call| !is_left_out(place, call)) {
            let numbers = noted.numbers(number, &effective(call));
            lies.extend(numbers.into_iter().map(|number| Lie {
                case: case.clone(),
                call,
                number,
            }));
        }
    }
    let broken: Vec<Copy> = lies
        .iter()
        .map(|lie| Copy {
            case: lie.case.clone(),
            sabotages: vec![lie.sabotage()],
        })
        .collect();
    Lies {
        lies,
        copies: copies::run(place, &broken),
        problem: (judged * 2 < cases.len()).then(|| format!("{judged} of {} cases conform", cases.len())),
    }
}

fn judge(lies: &Lies, call: &str) -> Outcome {
    let (mut red, mut legal) = (0, 0);
    let mut problems: Vec<String> = lies.problem.iter().cloned().collect();
    let mut output = String::new();
    let own = lies.lies.iter().enumerate().filter(|(_, lie)| lie.call == call);
    for (place, lie) in own {
        let sabotage = lie.sabotage();
        let happened = lies.copies.happened(place, &sabotage) != 0;
        match lies.copies.record(place) {
            Some(record) if record.is_red() => red += 1,
            Some(record) if record.verdict == "conforms" && reason(call, &lie.case, lie.number).is_some() => {
                legal += 1;
            }
            other => {
                let verdict = other.map_or("no verdict", |record| &record.verdict);
                let what = if happened { "" } else { ", and it changed nothing" };
                problems.push(format!("{sabotage} in {}: {verdict}{what}", lie.case));
                output += &other.map_or_else(String::new, |record| format!("{}\n", record.detail));
            }
        }
    }
    if red == 0 {
        problems.push("nothing deviates".to_owned());
    }
    Outcome {
        seen: format!("{red} deviate, {legal} for a reason not"),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        output,
    }
}
