//! Prints a scenario about stage-2 mappings as a case file.

use std::fmt::{self, Write};

use super::arm64;
use spec_model::stage2::scenario::{
    Backing, BackingKind, DirtyLogMode, Fill, GuestStep, HostAddress, HostStep, Misaligned, Operation,
    PAGE_SIZE, Protection, Range, SlotRequest, Stage2, Step,
};

/// The text of the steps and what they need; the caller has written the title.
pub(in crate::case) fn print(text: &mut String, scenario: &Stage2) -> fmt::Result {
    match scenario.dirty_log {
        DirtyLogMode::ReadClears => {}
        DirtyLogMode::Manual => writeln!(text, "dirty-log: manual")?,
        DirtyLogMode::ManualInitiallySet => writeln!(text, "dirty-log: manual-initially-set")?,
        DirtyLogMode::Ring => writeln!(text, "dirty-log: ring")?,
    }
    if scenario.host_risk {
        writeln!(text, "host-risk: true")?;
    }
    if let Some(setup) = &scenario.arm64 {
        writeln!(text, "{}", arm64::print(setup))?;
    }
    if !scenario.backings.is_empty() {
        writeln!(text, "backings:")?;
    }
    for backing in &scenario.backings {
        write!(
            text,
            "  {}: {{ kind: {}, pages: {}",
            backing.name,
            kind(backing.kind),
            backing.pages
        )?;
        match backing.fill {
            Fill::Untouched => {}
            Fill::Bytes(byte) => write!(text, ", fill: {byte:#x}")?,
            Fill::Tags(byte) => write!(text, ", tags: {byte:#x}")?,
        }
        if backing.protection != Protection::ReadWrite {
            write!(text, ", protection: {}", protection(backing.protection))?;
        }
        if backing.huge {
            write!(text, ", huge: true")?;
        }
        writeln!(text, " }}")?;
    }
    let names = &scenario.backings;
    if !scenario.slots.is_empty() {
        writeln!(text, "slots:")?;
    }
    for slot in &scenario.slots {
        writeln!(text, "  - {{ {} }}", slot_keys(slot, names))?;
    }
    writeln!(text, "steps:")?;
    for step in &scenario.steps {
        let line = match step {
            Step::Guest(guest) => self::guest(guest, names),
            Step::Host(host) => self::host(host, names),
        };
        writeln!(text, "  - {{ {line} }}")?;
    }
    Ok(())
}

fn slot_keys(slot: &SlotRequest, names: &[Backing]) -> String {
    let mut keys = format!(
        "id: {}, space: {}, at: {:#x}, pages: {}, backing: {}, offset: {}",
        slot.id,
        slot.space,
        slot.page.wrapping_mul(PAGE_SIZE),
        slot.pages,
        name(names, slot.backing),
        slot.offset
    );
    if slot.read_only {
        keys += ", read-only: true";
    }
    if slot.log_dirty {
        keys += ", log-dirty: true";
    }
    if slot.other_flags != 0 {
        keys += &format!(", flags: {:#x}", slot.other_flags);
    }
    keys += match slot.misaligned {
        None => "",
        Some(Misaligned::Guest) => ", misaligned: guest",
        Some(Misaligned::Size) => ", misaligned: size",
        Some(Misaligned::Host) => ", misaligned: host",
    };
    keys
}

fn guest(step: &GuestStep, names: &[Backing]) -> String {
    let mut line = match step.operation {
        Operation::Read { at, size } => format!("do: read, at: {:#x}, size: {size}", at.bytes()),
        Operation::Write { at, size, value } => {
            format!("do: write, at: {:#x}, size: {size}, data: {value:#x}", at.bytes())
        }
        Operation::Add { at, size, value } => {
            format!("do: add, at: {:#x}, size: {size}, data: {value:#x}", at.bytes())
        }
        Operation::CompareExchange {
            at,
            size,
            expected,
            value,
        } => format!(
            "do: compare-exchange, at: {:#x}, size: {size}, expected: {expected:#x}, data: {value:#x}",
            at.bytes()
        ),
        Operation::Copy { from, to, length } => format!(
            "do: copy, from: {:#x}, to: {:#x}, length: {length}",
            from.bytes(),
            to.bytes()
        ),
        Operation::Fetch { at } => format!("do: fetch, at: {:#x}", at.bytes()),
        Operation::UseTables { at } => format!("do: use-tables, at: {:#x}", at.bytes()),
        Operation::Spin { at } => format!("do: spin, at: {:#x}", at.bytes()),
        Operation::Retry => "do: retry".to_owned(),
        Operation::Arm64(operation) => arm64::print_operation(&operation),
    };
    if step.answer != u64::MAX {
        line += &format!(", answer: {:#x}", step.answer);
    }
    if step.interrupted {
        line += ", interrupt: true";
    }
    for (key, steps) in [("at-exit", &step.at_exit), ("meanwhile", &step.meanwhile)] {
        if !steps.is_empty() {
            let steps = steps.iter().map(|step| format!("{{ {} }}", host(step, names)));
            line += &format!(", {key}: [{}]", steps.collect::<Vec<_>>().join(", "));
        }
    }
    line
}

fn host(step: &HostStep, names: &[Backing]) -> String {
    let place = |at: &HostAddress| {
        format!(
            "backing: {}, page: {}, offset: {:#x}",
            name(names, at.backing),
            at.page,
            at.offset
        )
    };
    let range = |range: &Range| {
        format!(
            "backing: {}, page: {}, pages: {}",
            name(names, range.backing),
            range.page,
            range.pages
        )
    };
    match step {
        HostStep::SetSlot(slot)
            if slot.pages == 0 && slot.page == 0 && slot.misaligned.is_none() && slot.other_flags == 0 =>
        {
            format!("do: delete-slot, id: {}, space: {}", slot.id, slot.space)
        }
        HostStep::SetSlot(slot) => format!("do: set-slot, {}", slot_keys(slot, names)),
        HostStep::DirtyLog { id, space } => format!("do: dirty-log, id: {id}, space: {space}"),
        HostStep::ClearDirtyLog {
            id,
            space,
            first,
            pages,
        } => {
            format!("do: clear-dirty-log, id: {id}, space: {space}, first: {first}, pages: {pages}")
        }
        HostStep::Read(at) => format!("do: host-read, {}", place(at)),
        HostStep::Write(at, data) => format!("do: host-write, {}, data: {data:#x}", place(at)),
        HostStep::ReadFile(at) => format!("do: file-read, {}", place(at)),
        HostStep::WriteFile(at, data) => format!("do: file-write, {}, data: {data:#x}", place(at)),
        HostStep::WriteCode(at, data) => format!("do: write-code, {}, data: {data:#x}", place(at)),
        HostStep::Map {
            range: over,
            kind: what,
            file,
            protection: may,
        } => format!(
            "do: map, {}, kind: {}, file: {}, protection: {}",
            range(over),
            kind(*what),
            name(names, *file),
            protection(*may)
        ),
        HostStep::Unmap(over) => format!("do: unmap, {}", range(over)),
        HostStep::Protect(over, may) => {
            format!("do: protect, {}, protection: {}", range(over), protection(*may))
        }
        HostStep::Discard(over) => format!("do: discard, {}", range(over)),
        HostStep::Free(over) => format!("do: free, {}", range(over)),
        HostStep::Truncate(backing, pages) => {
            format!("do: truncate, backing: {}, pages: {pages}", name(names, *backing))
        }
        HostStep::Merge(over) => format!("do: merge, {}", range(over)),
        HostStep::PunchHole(over) => format!("do: punch-hole, {}", range(over)),
        HostStep::Fork => "do: fork".to_owned(),
        HostStep::ChildRead(at) => format!("do: child-read, {}", place(at)),
        HostStep::ChildWrite(at, data) => format!("do: child-write, {}, data: {data:#x}", place(at)),
        HostStep::Canary => "do: canary".to_owned(),
        HostStep::InjectAbort => "do: inject-abort".to_owned(),
        HostStep::WriteTables(at, bits) => format!(
            "do: write-tables, backing: {}, page: {}, flags: {bits:#x}",
            name(names, at.backing),
            at.page
        ),
        HostStep::TakeRing { id, space } => format!("do: dirty-ring, id: {id}, space: {space}"),
        HostStep::ChildRun => "do: child-run".to_owned(),
        HostStep::Move { range: over, to } => {
            format!("do: move, {}, target: {}", range(over), name(names, *to))
        }
    }
}

fn name(names: &[Backing], index: u16) -> &str {
    names
        .get(usize::from(index))
        .map_or("?", |backing| backing.name.as_str())
}

fn kind(kind: BackingKind) -> &'static str {
    match kind {
        BackingKind::Anonymous => "anonymous",
        BackingKind::PrivateFile => "private-file",
        BackingKind::SharedFile => "shared-file",
        BackingKind::Memfd => "memfd",
        BackingKind::Hole => "hole",
    }
}

fn protection(protection: Protection) -> &'static str {
    match protection {
        Protection::None => "none",
        Protection::Read => "read",
        Protection::ReadWrite => "read-write",
    }
}
