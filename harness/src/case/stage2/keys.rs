//! Which arguments an action takes.

use super::arm64;
use super::syntax::{ActionWord, StepEntry};
use crate::case::document::Located;
use crate::case::mistake::{Mistakes, Position};

/// Says what an action lacks, and what means nothing to it.
pub(super) fn check(entry: &StepEntry, mistakes: &mut Mistakes) {
    let action = entry.action.value;
    let (needed, allowed) = keys(action);
    for (name, at) in given(entry) {
        let known = needed.contains(&name)
            || allowed.contains(&name)
            || is_guest(action) && arm64::ENDS.contains(&name);
        if let Some(at) = at
            && !known
        {
            let all = needed.iter().chain(allowed).copied();
            let remedy = format!("leave it out; it takes {}", all.collect::<Vec<_>>().join(", "));
            mistakes.add(at, format!("`{name}` means nothing here"), remedy);
        }
        if at.is_none() && needed.contains(&name) {
            let what = format!("`{name}` is missing");
            mistakes.add(entry.action.at, what, format!("add `{name}: ..`"));
        }
    }
}

/// Whether the guest does it.
pub(super) fn is_guest(action: ActionWord) -> bool {
    arm64::instruction(action).is_some()
        || matches!(
            action,
            ActionWord::Read
                | ActionWord::Write
                | ActionWord::Add
                | ActionWord::CompareExchange
                | ActionWord::Copy
                | ActionWord::Fetch
                | ActionWord::Spin
                | ActionWord::Retry
                | ActionWord::UseTables
        )
}

/// The arguments that an action needs, and those that it may have.
fn keys(action: ActionWord) -> (&'static [&'static str], &'static [&'static str]) {
    match action {
        ActionWord::Read => (
            &["at"],
            &[
                "size",
                "answer",
                "interrupt",
                "at-exit",
                "value",
                "exits",
                "errno",
                "ends",
            ],
        ),
        ActionWord::Write => (
            &["at", "data"],
            &["size", "interrupt", "at-exit", "exits", "errno", "ends"],
        ),
        ActionWord::Add => (
            &["at", "data"],
            &["size", "answer", "at-exit", "value", "exits", "errno", "ends"],
        ),
        ActionWord::Spin => (
            &["at", "meanwhile"],
            &["answer", "value", "exits", "errno", "ends"],
        ),
        ActionWord::CompareExchange => (
            &["at", "expected", "data"],
            &["size", "answer", "at-exit", "value", "exits", "errno", "ends"],
        ),
        ActionWord::Copy => (
            &["from", "to", "length"],
            &["answer", "at-exit", "exits", "errno", "ends"],
        ),
        ActionWord::Fetch => (&["at"], &["value", "exits", "errno", "ends"]),
        ActionWord::Retry => (&[], &["answer", "at-exit", "value", "exits", "errno", "ends"]),
        ActionWord::SetSlot => (
            &["at", "backing"],
            &[
                "id",
                "space",
                "pages",
                "offset",
                "read-only",
                "log-dirty",
                "flags",
                "misaligned",
                "errno",
            ],
        ),
        ActionWord::DeleteSlot => (&[], &["id", "space", "errno"]),
        ActionWord::DirtyLog => (&[], &["id", "space", "dirty", "errno"]),
        ActionWord::ClearDirtyLog => (&["first", "pages"], &["id", "space", "errno"]),
        ActionWord::HostRead | ActionWord::FileRead | ActionWord::ChildRead => {
            (&["backing"], &["page", "offset", "value", "errno"])
        }
        ActionWord::HostWrite | ActionWord::FileWrite | ActionWord::ChildWrite | ActionWord::WriteCode => {
            (&["backing", "data"], &["page", "offset", "errno"])
        }
        ActionWord::Map => (&["backing", "kind"], &["page", "pages", "file", "protection"]),
        ActionWord::Unmap
        | ActionWord::Discard
        | ActionWord::Free
        | ActionWord::PunchHole
        | ActionWord::Merge => (&["backing"], &["page", "pages"]),
        ActionWord::Protect => (&["backing", "protection"], &["page", "pages"]),
        ActionWord::Truncate => (&["backing", "pages"], &[]),
        ActionWord::Fork => (&[], &[]),
        ActionWord::Canary => (&[], &["value"]),
        ActionWord::InjectAbort => (&[], &[]),
        ActionWord::UseTables => (&["at"], &[]),
        ActionWord::WriteTables => (&["backing", "flags"], &["page"]),
        ActionWord::ChildRun => (&[], &["errno"]),
        ActionWord::DirtyRing => (&[], &["id", "space", "dirty"]),
        ActionWord::Move => (&["backing", "target"], &["page", "pages"]),
        ActionWord::LoadPair
        | ActionWord::LoadIndexed
        | ActionWord::LoadSimd
        | ActionWord::LoadExclusive
        | ActionWord::LoadSignedWord
        | ActionWord::LoadSigned => (&["at"], arm64::LOAD),
        ActionWord::StorePair | ActionWord::StoreIndexed | ActionWord::StoreSimd => {
            (&["at", "data"], arm64::STORE)
        }
        ActionWord::CompareAndSwap => (&["at", "expected", "data"], arm64::LOAD),
        ActionWord::AtomicAdd => (&["at", "data"], arm64::LOAD),
        ActionWord::Clean
        | ActionWord::CleanAndInvalidate
        | ActionWord::Invalidate
        | ActionWord::InvalidateInstructions
        | ActionWord::ZeroBlock => (&["at"], arm64::STORE),
    }
}

/// Every argument and where it is given.
fn given(entry: &StepEntry) -> Vec<(&'static str, Option<Position>)> {
    fn at<T>(given: &Option<Located<T>>) -> Option<Position> {
        given.as_ref().map(|given| given.at)
    }
    vec![
        ("at", at(&entry.at)),
        ("from", at(&entry.from)),
        ("to", at(&entry.to)),
        ("length", at(&entry.length)),
        ("size", at(&entry.size)),
        ("data", at(&entry.data)),
        ("expected", at(&entry.expected)),
        ("answer", at(&entry.answer)),
        ("interrupt", at(&entry.interrupt)),
        ("at-exit", at(&entry.at_exit)),
        ("meanwhile", at(&entry.meanwhile)),
        ("backing", at(&entry.backing)),
        ("page", at(&entry.page)),
        ("pages", at(&entry.pages)),
        ("offset", at(&entry.offset)),
        ("kind", at(&entry.kind)),
        ("file", at(&entry.file)),
        ("protection", at(&entry.protection)),
        ("id", at(&entry.id)),
        ("space", at(&entry.space)),
        ("read-only", at(&entry.read_only)),
        ("log-dirty", at(&entry.log_dirty)),
        ("flags", at(&entry.flags)),
        ("misaligned", at(&entry.misaligned)),
        ("first", at(&entry.first)),
        ("target", at(&entry.target)),
        ("value", at(&entry.value)),
        ("exits", at(&entry.exits)),
        ("errno", at(&entry.errno)),
        ("ends", at(&entry.ends)),
        ("dirty", at(&entry.dirty)),
        ("syndrome", at(&entry.syndrome)),
        ("fault-address", at(&entry.fault_address)),
        ("undescribed", at(&entry.undescribed)),
    ]
}
