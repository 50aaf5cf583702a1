//! What steps about stage-2 mappings show, in words. Nothing is judged by them.

use spec_model::scenario::Scenario;
use spec_model::stage2::arm64::{Arm64Operation, syndrome::text as syndrome_text};
use spec_model::stage2::scenario::{GuestStep, HostStep, Operation, Step};
use spec_model::stage2::transcript::{Change, End, Interrupted, MemoryExit};

use crate::judge::value::Value;

/// Accesses that reached the host, those around the one of index `first`.
pub(super) fn exits(exits: &[MemoryExit], first: usize) -> String {
    const SHOWN: usize = 12;
    const BEFORE: usize = 2;
    let one = |exit: &MemoryExit| {
        let at = exit.at.bytes();
        match exit.write {
            true => format!("write of {} at {at:#x}: {:#x}", exit.length, exit.data),
            // A read has no data; one that has some is shown with it.
            false if exit.data != 0 => format!("read of {} at {at:#x}: {:#x}", exit.length, exit.data),
            false => format!("read of {} at {at:#x}", exit.length),
        }
    };
    if exits.is_empty() {
        return "none".to_owned();
    }
    let skipped = if first < SHOWN { 0 } else { first - BEFORE }.min(exits.len());
    let mut texts: Vec<String> = exits.iter().skip(skipped).take(SHOWN).map(one).collect();
    if skipped > 0 {
        texts.insert(0, format!("{skipped} before"));
    }
    if skipped > 0 && skipped == exits.len() {
        texts.push("no more".to_owned());
    }
    match exits.len().saturating_sub(skipped + SHOWN) {
        0 => texts.join(", "),
        rest => format!("{} and {rest} more", texts.join(", ")),
    }
}

/// How a step ended.
pub(super) fn end(end: End) -> String {
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

/// What was seen with `immediate_exit` set.
pub(super) fn interrupted(interrupted: Interrupted) -> String {
    let retired = if interrupted.retired { "done" } else { "not done" };
    format!("{}, instruction {retired}", end(interrupted.end))
}

/// Pages of a dirty log.
pub(super) fn dirty(pages: &[u64]) -> String {
    let texts: Vec<String> = pages.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => "no page".to_owned(),
        texts => format!("pages {}", texts.join(", ")),
    }
}

/// Bytes of host memory that have changed.
pub(super) fn change(scenario: &Scenario, change: &Change) -> String {
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

/// What a step does.
pub(super) fn step(step: &Step) -> String {
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
