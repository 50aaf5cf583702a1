//! Compares runs about stage-2 mappings: step by step, fact by fact, then host memory.

use spec_model::scenario::Scenario;
use spec_model::stage2::arm64::{Arm64Operation, syndrome::text as syndrome_text};
use spec_model::stage2::scenario::{GuestStep, HostStep, Operation, Step};
use spec_model::stage2::transcript::{Change, End, MemoryExit, Stage2Seen, StepSeen};

use super::CaseView;
use super::difference::{Difference, Source, Subject};
use super::stop::Place;
use super::value::Value;

/// Everything that differs from one outcome.
pub(super) fn compare(case: &CaseView<'_>, allowed: &Stage2Seen, seen: &Stage2Seen) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |place, name: &str, allowed, seen| {
        differences.push(Difference {
            case: case.name.to_owned(),
            place,
            subject: Subject::Field {
                name: name.to_owned(),
            },
            allowed: vec![allowed],
            seen,
            requirements: case.checks.to_vec(),
            source: Source::Model,
        });
    };
    for (index, (allowed, seen)) in allowed.steps.iter().zip(&seen.steps).enumerate() {
        for ((name, allowed), (_, seen)) in facts(allowed).into_iter().zip(facts(seen)) {
            if allowed != seen {
                add(place(case.scenario, index), name, allowed, seen);
            }
        }
    }
    let count = |seen: &Stage2Seen| Value::Text(format!("{} steps", seen.steps.len()));
    if allowed.steps.len() != seen.steps.len() {
        add(Place::End, "length of the run", count(allowed), count(seen));
        return differences;
    }
    if allowed.changes != seen.changes {
        let only = |one: &Stage2Seen, other: &Stage2Seen| {
            let mut changes = one
                .changes
                .iter()
                .filter(|change| !other.changes.contains(change));
            let texts: Vec<String> = changes
                .by_ref()
                .take(4)
                .map(|change| change_text(case.scenario, change))
                .collect();
            let more = if changes.next().is_some() { " and more" } else { "" };
            let none = if texts.is_empty() { "as at the start" } else { "" };
            Value::Text(format!("{}{none}{more}", texts.join("; ")))
        };
        add(
            Place::End,
            "host memory",
            only(allowed, seen),
            only(seen, allowed),
        );
    }
    if allowed.canary != seen.canary {
        let bytes = |seen: &Stage2Seen| Value::number(seen.canary, 64);
        add(
            Place::End,
            "bytes in a new page that are not zero",
            bytes(allowed),
            bytes(seen),
        );
    }
    differences
}

/// What one step showed, by name; always the same names in the same order.
pub(super) fn facts(seen: &StepSeen) -> [(&'static str, Value); 5] {
    let interrupted = seen.interrupted.map(|interrupted| {
        let retired = if interrupted.retired { "done" } else { "not done" };
        Value::Text(format!("{}, instruction {retired}", end_text(interrupted.end)))
    });
    let absent = || Value::Absent;
    [
        ("end", Value::Text(end_text(seen.end))),
        (
            "value",
            seen.value.map_or_else(absent, |value| Value::number(value, 64)),
        ),
        ("exits", Value::Text(exits_text(&seen.exits))),
        (
            "dirty log",
            seen.dirty
                .as_deref()
                .map_or_else(absent, |pages| Value::Text(dirty_text(pages))),
        ),
        ("after immediate_exit", interrupted.unwrap_or(Value::Absent)),
    ]
}

/// Accesses that reached the host, in words.
#[must_use]
pub fn exits_text(exits: &[MemoryExit]) -> String {
    const SHOWN: usize = 12;
    let one = |exit: &MemoryExit| {
        let at = exit.at.bytes();
        match exit.write {
            true => format!("write of {} at {at:#x}: {:#x}", exit.length, exit.data),
            false => format!("read of {} at {at:#x}", exit.length),
        }
    };
    let texts: Vec<String> = exits.iter().take(SHOWN).map(one).collect();
    match exits.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", texts.join(", "), count - SHOWN),
        _ => texts.join(", "),
    }
}

/// How a step ended, in words.
#[must_use]
pub fn end_text(end: End) -> String {
    match end {
        End::Done => "done".to_owned(),
        End::Failed(errno) => format!("failed: {}", std::io::Error::from_raw_os_error(errno)),
        End::InternalError(suberror) => format!("KVM_EXIT_INTERNAL_ERROR, suberror {suberror}"),
        End::Shutdown => "shutdown".to_owned(),
        End::Stuck => "stuck".to_owned(),
        End::Exception { syndrome, address } => {
            format!("{} at {address:#x}", syndrome_text(syndrome))
        }
        End::Undescribed { write, at } => {
            let direction = if write { "write" } else { "read" };
            format!("KVM_EXIT_ARM_NISV, {direction} at {at:#x}")
        }
    }
}

/// Pages of a dirty log, in words.
#[must_use]
pub fn dirty_text(pages: &[u64]) -> String {
    let texts: Vec<String> = pages.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => "no page".to_owned(),
        texts => format!("pages {}", texts.join(", ")),
    }
}

fn change_text(scenario: &Scenario, change: &Change) -> String {
    let backings = scenario.stage2.as_ref().map(|stage2| stage2.backings.as_slice());
    let backing = backings.and_then(|backings| backings.get(usize::from(change.backing)));
    let name = backing.map_or("?", |backing| backing.name.as_str());
    let file = if change.file { "file of " } else { "" };
    let place = format!("{file}`{name}` page {}", change.page);
    if change.bytes.is_empty() {
        return format!("{place} cannot be read");
    }
    format!(
        "{place}, {:#x}: {}",
        change.offset,
        Value::Bytes(change.bytes.clone())
    )
}

/// Where a step is.
pub(super) fn place(scenario: &Scenario, index: usize) -> Place {
    let step = scenario
        .stage2
        .as_ref()
        .and_then(|stage2| stage2.steps.get(index));
    Place::Step {
        index,
        what: step.map_or_else(String::new, step_text),
    }
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Guest(GuestStep { operation, .. }) => match operation {
            Operation::Read { at, .. } => format!("read {:#x}", at.bytes()),
            Operation::Write { at, .. } => format!("write {:#x}", at.bytes()),
            Operation::Add { at, .. } => format!("add {:#x}", at.bytes()),
            Operation::CompareExchange { at, .. } => format!("compare-exchange {:#x}", at.bytes()),
            Operation::Copy { from, to, .. } => format!("copy {:#x} to {:#x}", from.bytes(), to.bytes()),
            Operation::Fetch { at } => format!("fetch {:#x}", at.bytes()),
            Operation::Spin { at } => format!("spin {:#x}", at.bytes()),
            Operation::Retry => "retry".to_owned(),
            Operation::UseTables { at } => format!("use-tables {:#x}", at.bytes()),
            Operation::Arm64(Arm64Operation { instruction, at, .. }) => {
                format!("{} {:#x}", instruction.name(), at.bytes())
            }
        },
        Step::Host(host) => match host {
            HostStep::SetSlot(slot) if slot.pages == 0 => format!("delete-slot {}", slot.id),
            HostStep::SetSlot(slot) => format!("set-slot {}", slot.id),
            HostStep::DirtyLog { id, .. } => format!("dirty-log {id}"),
            HostStep::ClearDirtyLog { id, .. } => format!("clear-dirty-log {id}"),
            HostStep::Read(_) => "host-read".to_owned(),
            HostStep::Write(..) => "host-write".to_owned(),
            HostStep::ReadFile(_) => "file-read".to_owned(),
            HostStep::WriteFile(..) => "file-write".to_owned(),
            HostStep::WriteCode(..) => "write-code".to_owned(),
            HostStep::Map { .. } => "map".to_owned(),
            HostStep::Unmap(_) => "unmap".to_owned(),
            HostStep::Protect(..) => "protect".to_owned(),
            HostStep::Discard(_) => "discard".to_owned(),
            HostStep::Free(_) => "free".to_owned(),
            HostStep::Truncate(..) => "truncate".to_owned(),
            HostStep::PunchHole(_) => "punch-hole".to_owned(),
            HostStep::Merge(_) => "merge".to_owned(),
            HostStep::Fork => "fork".to_owned(),
            HostStep::ChildRead(_) => "child-read".to_owned(),
            HostStep::ChildWrite(..) => "child-write".to_owned(),
            HostStep::Canary => "canary".to_owned(),
            HostStep::InjectAbort => "inject-abort".to_owned(),
            HostStep::WriteTables(..) => "write-tables".to_owned(),
            HostStep::ChildRun => "child-run".to_owned(),
            HostStep::TakeRing { id, .. } => format!("dirty-ring {id}"),
            HostStep::Move { .. } => "move".to_owned(),
        },
    }
}

/// The expectations of a case about steps that do not hold. Their numbers follow those of `fields`.
pub(super) fn check_steps(case: &CaseView<'_>, seen: &Stage2Seen) -> Vec<Difference> {
    let first = case.expectations.fields.len();
    let mut differences = Vec::new();
    for (number, expectation) in case.expectations.steps.iter().enumerate() {
        let step = seen.steps.get(expectation.step);
        let found = step.and_then(|step| {
            facts(step)
                .into_iter()
                .find(|(name, _)| *name == expectation.fact)
        });
        let value = found.map_or(Value::Absent, |(_, value)| value);
        if value == expectation.allowed {
            continue;
        }
        differences.push(Difference {
            case: case.name.to_owned(),
            place: place(case.scenario, expectation.step),
            subject: Subject::Field {
                name: expectation.fact.to_owned(),
            },
            allowed: vec![expectation.allowed.clone()],
            seen: value,
            requirements: case.checks.to_vec(),
            source: Source::Expectation {
                index: first + number,
                line: expectation.line,
                column: expectation.column,
            },
        });
    }
    differences
}
