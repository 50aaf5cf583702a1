//! Calls that set or raise something, or run the guest, each gone wrong once, somewhere.
//!
//! The rows of the table are chosen by people, who choose what they expect to be noticed. Here cases and
//! calls are drawn, from a fixed seed: one run notes which calls of each case change something, and in a
//! second one KVM says of one of these calls that it has done it and has not. Each case must deviate,
//! unless [`LEGAL`](super::table::legal) says why nobody can see it.

use std::sync::LazyLock;

use super::control;
use super::copies::{self, Copies, Copy};
use super::outcome::{Outcome, Row};
use super::table::legal::reason;

/// The calls that go wrong.
const CALLS: &[&str] = &[
    "KVM_NMI",
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
/// Lies per call.
const DRAWN: usize = 24;
/// What the draw starts from.
const SEED: u64 = 10;

/// The lies and what came of them.
struct Lies {
    /// Case, sabotage without `vm=`, and the verdict without it.
    lies: Vec<Lie>,
    copies: Copies,
    /// Why the runs prove nothing.
    problem: Option<String>,
}

struct Lie {
    case: String,
    call: &'static str,
    number: usize,
}

impl Lie {
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

static LIES: LazyLock<Lies> = LazyLock::new(|| {
    let conforms = control::local()
        .iter()
        .filter(|record| record.verdict == "conforms");
    lies(conforms.map(|record| record.case.clone()).collect())
});

pub fn rows() -> Vec<Row> {
    let row = |call: &&'static str| {
        let call = *call;
        Row {
            name: format!("kvm::{call}:{}, drawn", how(call)),
            wanted: "each case deviates but for a reason".to_owned(),
            run: Box::new(move || judge(&LIES, call)),
            not_run: control::no_local(),
        }
    };
    CALLS.iter().map(row).collect()
}

/// Whether lies about a call in a case are drawn. The slots of a case about slots are its own steps, some
/// of which the guest never comes to; there are rows for them.
fn is_drawn(call: &str, case: &str) -> bool {
    call != "KVM_SET_USER_MEMORY_REGION" || !case.starts_with("stage2/")
}

/// Notes the calls that change something.
fn effective(call: &str) -> String {
    format!("{call}:effective")
}

/// Notes calls, draws some, and lies about them.
fn lies(cases: Vec<String>) -> Lies {
    let counted: Vec<Copy> = cases
        .iter()
        .map(|case| Copy {
            case: case.clone(),
            sabotages: CALLS.iter().map(|call| effective(call)).collect(),
        })
        .collect();
    let counts = copies::run(&counted);
    let mut random = SEED;
    let mut drawn = Vec::new();
    let conforms = |place: &usize| {
        counts
            .record(*place)
            .is_some_and(|record| record.verdict == "conforms")
    };
    for call in CALLS {
        let mut all: Vec<(usize, usize)> = (0..cases.len())
            .filter(|place| conforms(place) && is_drawn(call, &cases[*place]))
            .flat_map(|place| {
                let numbers = counts.numbers(place, &effective(call));
                numbers.into_iter().map(move |number| (place, number))
            })
            .collect();
        for _ in 0..DRAWN {
            if all.is_empty() {
                break;
            }
            let (place, number) = all.swap_remove(next(&mut random) % all.len());
            drawn.push(Lie {
                case: cases[place].clone(),
                call,
                number,
            });
        }
    }
    let broken: Vec<Copy> = drawn
        .iter()
        .map(|lie| Copy {
            case: lie.case.clone(),
            sabotages: vec![lie.sabotage()],
        })
        .collect();
    let judged = (0..cases.len()).filter(conforms).count();
    Lies {
        lies: drawn,
        copies: copies::run(&broken),
        problem: (judged * 2 < cases.len()).then(|| format!("{judged} of {} cases conform", cases.len())),
    }
}

/// The next number of a sequence that is the same everywhere (SplitMix64).
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ mixed >> 31) >> 1).unwrap_or(0)
}

fn judge(lies: &Lies, call: &str) -> Outcome {
    let (mut red, mut legal) = (0, 0);
    let mut problems: Vec<String> = lies.problem.iter().cloned().collect();
    let mut output = String::new();
    let own = lies.lies.iter().enumerate().filter(|(_, lie)| lie.call == call);
    for (place, lie) in own {
        let sabotage = lie.sabotage();
        let happened = lies.copies.happened(place, &sabotage) != 0;
        let record = lies.copies.record(place);
        match record {
            Some(record) if record.is_red() => red += 1,
            Some(record) if record.verdict == "conforms" && reason(call, &lie.case).is_some() => legal += 1,
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
