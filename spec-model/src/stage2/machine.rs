//! Runs a scenario step by step.

mod arm64;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use super::arm64::{Arm64, syndrome};
use super::code;
use super::errno::{EFAULT, EINTR, EIO};
use super::host::{Host, Owner};
use super::scenario::{
    GuestAddress, GuestStep, HostAddress, HostStep, Operation, PAGE_SIZE, SERVER_PAGE, SERVER_PAGES,
    SERVER_SLOT, SlotRequest, Stage2, Step,
};
use super::slots::{Change, SlotName, Slots};
use super::tables::directory;
use super::transcript::{End, Interrupted, MemoryExit, Stage2Seen, StepSeen};
use crate::choice::Choices;
use crate::defect::{Defect, DefectSet};
use crate::error::ModelError;
use crate::profile::{Architecture, Choice, Profile};
use crate::requirement::S2_HOST_008;

/// KVM_INTERNAL_ERROR_EMULATION.
const EMULATION: u32 = 1;

/// Runs a scenario.
///
/// # Errors
/// If the scenario contradicts itself.
pub(crate) fn run(
    scenario: &Stage2,
    profile: &'static Profile,
    defects: DefectSet,
    choices: &mut Choices,
) -> Result<Stage2Seen, ModelError> {
    check(scenario)?;
    if let Some((architecture, what)) = scenario.only_on()
        && architecture != profile.architecture
    {
        return Err(ModelError::BadScenario(format!(
            "it {what}, and {} has none of that",
            profile.name
        )));
    }
    let arm64 = (profile.architecture == Architecture::Arm64).then(|| scenario.arm64.unwrap_or_default());
    // KVM has a second address space where it has SMM.
    let spaces = if profile.smm { 2 } else { 1 };
    let mut machine = Machine {
        host: Host::new(&scenario.backings, defects),
        slots: Slots::new(spaces, scenario.dirty_log, arm64.as_ref(), defects),
        arm64,
        abort: false,
        tables: None,
        pending: None,
        seen: StepSeen::default(),
        step: None,
        at_exit_failed: None,
        history: History::default(),
        defects,
        choices,
    };
    for slot in &scenario.slots {
        machine.slots.set(slot).map_err(|errno| {
            ModelError::BadScenario(format!("slot {} cannot be created: errno {errno}", slot.id))
        })?;
    }
    let mut steps = Vec::with_capacity(scenario.steps.len());
    for step in &scenario.steps {
        steps.push(machine.step(step)?);
        if steps
            .last()
            .is_some_and(|seen| matches!(seen.end, End::Shutdown | End::Stuck))
        {
            break;
        }
    }
    Ok(Stage2Seen {
        steps,
        changes: machine.host.changes(&scenario.backings),
        canary: machine.host.canary(),
    })
}

/// Refuses what no target could run.
fn check(scenario: &Stage2) -> Result<(), ModelError> {
    let bad = |what: String| Err(ModelError::BadScenario(what));
    let in_steps = scenario.steps.iter().filter_map(|step| match step {
        Step::Host(HostStep::SetSlot(slot)) => Some(slot),
        _ => None,
    });
    for slot in scenario.slots.iter().chain(in_steps) {
        let Some(backing) = scenario.backings.get(usize::from(slot.backing)) else {
            return bad(format!("slot {} has no backing", slot.id));
        };
        let refused = slot.pages > 1 << 31 || slot.page > 1 << 51;
        let end = u64::from(slot.offset).saturating_add(slot.pages);
        if !refused && end > u64::from(backing.pages) {
            return bad(format!(
                "slot {} is longer than its backing `{}`",
                slot.id, backing.name
            ));
        }
        let first = slot.page < SERVER_PAGE + SERVER_PAGES;
        if first && !refused && slot.page + slot.pages > SERVER_PAGE || slot.id == SERVER_SLOT {
            return bad(format!("slot {} is where the target has its own code", slot.id));
        }
    }
    Ok(())
}

/// What earlier accesses did, which only defects look at.
#[derive(Clone, Debug, Default)]
struct History {
    /// Guest pages in memory that were accessed, with what was under them.
    accessed: BTreeMap<u64, (u16, u32)>,
    /// Guest pages that a hypervisor has mapped since the last change of what lies there.
    mapped: BTreeSet<u64>,
    /// Guest pages through which untouched memory was read.
    zero_page: BTreeSet<u64>,
    /// Guest pages without a slot that were accessed.
    holes: BTreeSet<u64>,
    /// Guest pages of read-only slots that were written.
    written: BTreeSet<u64>,
    /// Guest pages whose slot is gone, with what was under them.
    gone: BTreeMap<u64, (u16, u32)>,
    /// Host memory before the host changed what is mapped.
    before: Option<Box<Host>>,
}

/// What lies at a guest page.
#[derive(Clone, Copy, Debug)]
enum There {
    Nothing,
    Memory {
        slot: SlotName,
        backing: u16,
        page: u32,
        read_only: bool,
    },
}

/// Why an operation does not go on.
type Stop = End;

struct Machine<'a> {
    host: Host,
    slots: Slots,
    /// What the guest is like, on arm64.
    arm64: Option<Arm64>,
    /// The host answers an access with an abort.
    abort: bool,
    /// Where the page tables of the guest are, if it uses any.
    tables: Option<GuestAddress>,
    /// The operation that KVM_RUN failed in.
    pending: Option<GuestStep>,
    /// What the current step has shown so far.
    seen: StepSeen,
    /// The current step, if it is the guest's.
    step: Option<GuestStep>,
    /// The scenario is wrong in what the host does at an access.
    at_exit_failed: Option<ModelError>,
    history: History,
    defects: DefectSet,
    choices: &'a mut Choices,
}

impl Machine<'_> {
    fn step(&mut self, step: &Step) -> Result<StepSeen, ModelError> {
        self.seen = StepSeen::default();
        match step {
            Step::Guest(guest) => self.guest(guest)?,
            Step::Host(host) => self.host_step(host)?,
        }
        Ok(std::mem::take(&mut self.seen))
    }

    fn guest(&mut self, step: &GuestStep) -> Result<(), ModelError> {
        let mut step = step.clone();
        if step.operation == Operation::Retry {
            let Some(pending) = self.pending.take() else {
                // Only a broken hypervisor has done what should have failed.
                return if self.defects == DefectSet::NONE {
                    let what = "a retry without an operation that failed before it";
                    Err(ModelError::BadScenario(what.to_owned()))
                } else {
                    Ok(())
                };
            };
            step.operation = pending.operation;
        }
        self.pending = None;
        self.step = Some(step.clone());
        let ended = self.operation(&mut step)?;
        self.step = None;
        if let Err(end) = ended {
            self.seen.end = end;
            // S2-HOST-005: the instruction has not been executed and can be tried again.
            self.pending = (!matches!(end, End::Exception { .. })).then_some(step);
        }
        Ok(())
    }

    /// One operation. A copy that stops has the rest of it left in `step`.
    fn operation(&mut self, step: &mut GuestStep) -> Result<Result<(), Stop>, ModelError> {
        if let Some(setup) = self.arm64 {
            return self.arm64_operation(setup, step);
        }
        let ended = match step.operation {
            Operation::Read { at, size } => self.read(at, size).map(|value| self.seen.value = Some(value)),
            Operation::Write { at, size, value } => self.write(at, size, value),
            Operation::Add { at, size, value } => {
                self.exchange(at, size, |old| Some(old.wrapping_add(value)))
            }
            Operation::CompareExchange {
                at,
                size,
                expected,
                value,
            } => self.exchange(at, size, |old| (old == expected & mask(size)).then_some(value)),
            Operation::Copy { .. } => self.copy(&mut step.operation),
            Operation::Fetch { at } => return self.fetch(at),
            Operation::UseTables { at } => {
                self.tables = Some(at);
                Ok(())
            }
            Operation::Retry | Operation::Arm64(_) => Ok(()),
        };
        match self.at_exit_failed.take() {
            Some(error) => Err(error),
            None => Ok(ended),
        }
    }

    /// What is at a guest page (S2-SLOT-004, S2-SLOT-005, S2-SLOT-007): whatever slots there are
    /// now, and nothing of those that were.
    fn there(&self, page: u64) -> There {
        if self.defects.has(Defect::MmioCachedAcrossCreation) && self.history.holes.contains(&page) {
            return There::Nothing;
        }
        let stale = self.history.gone.get(&page);
        match (self.slots.at(page), stale) {
            (Some((slot, found)), _) => {
                let offset = u32::try_from(page - found.page).unwrap_or(u32::MAX);
                let mut under = found.offset.saturating_add(offset);
                if self.defects.has(Defect::HugePageMisplaced) && self.host.is_huge(found.backing) {
                    under = under & !0x1ff | (page & 0x1ff) as u32;
                }
                There::Memory {
                    slot,
                    backing: found.backing,
                    page: under,
                    read_only: found.read_only,
                }
            }
            (None, Some((backing, page))) if self.defects.has(Defect::DeletedSlotStaysMapped) => {
                There::Memory {
                    slot: (0, u16::MAX),
                    backing: *backing,
                    page: *page,
                    read_only: false,
                }
            }
            (None, _) => There::Nothing,
        }
    }

    /// Reads up to 8 bytes.
    ///
    /// S2-RO-001: memory is read without an exit, whatever may be written. S2-MMIO-001: where
    /// there is no slot, the access reaches the host.
    fn read(&mut self, at: GuestAddress, size: u8) -> Result<u64, Stop> {
        let mut bytes = [0; 8];
        let mut done = 0;
        for (piece, length) in self.pieces(at, size) {
            let read = self.read_piece(piece, length)?;
            for byte in read.to_le_bytes().into_iter().take(usize::from(length)) {
                if let Some(place) = bytes.get_mut(done) {
                    *place = byte;
                }
                done += 1;
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn read_piece(&mut self, at: GuestAddress, length: u8) -> Result<u64, Stop> {
        self.walk(at, false)?;
        let There::Memory {
            backing,
            page,
            read_only,
            ..
        } = self.there(at.page)
        else {
            return self.exit_of_read(at, length);
        };
        let hidden =
            self.defects.has(Defect::ReadOnlyWriteHidesMemory) && self.history.written.contains(&at.page);
        let mistaken = self.defects.has(Defect::ZeroPageIsMmio) && self.host.is_untouched(backing, page);
        if hidden || mistaken {
            return self.exit_of_read(at, length);
        }
        self.settle_freed(backing, page);
        let mut bytes = [0; 8];
        for (byte, offset) in bytes.iter_mut().zip(at.offset..).take(usize::from(length)) {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            let stale = self.history.before.as_deref();
            let stale = stale.filter(|_| self.history.accessed.contains_key(&at.page));
            let host = stale.unwrap_or(&self.host);
            match host.read(Owner::Parent, place) {
                Ok(read) => *byte = read,
                Err(_) if self.defects.has(Defect::UnreachableMemoryIsMmio) => {
                    return self.exit_of_read(at, length);
                }
                Err(_) => return Err(End::Failed(EFAULT)),
            }
        }
        self.history.accessed.insert(at.page, (backing, page));
        if read_only && self.host.is_untouched(backing, page) {
            self.history.zero_page.insert(at.page);
        }
        let first = self.history.mapped.insert(at.page);
        let maps_writable = first && !read_only && self.host.is_mapped_writable(backing, page);
        if self.defects.has(Defect::ReadMarksDirty)
            || self.defects.has(Defect::FirstReadMarksDirty) && maps_writable
        {
            self.mark_dirty(at.page);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// S2-MMIO-002: the access takes the low bytes of what the host answers.
    fn exit_of_read(&mut self, at: GuestAddress, length: u8) -> Result<u64, Stop> {
        self.history.holes.insert(at.page);
        self.exit(MemoryExit {
            write: false,
            at,
            length,
            data: 0,
        })?;
        let answer = self.step.as_ref().map_or(u64::MAX, |step| step.answer);
        Ok(answer & mask(length))
    }

    /// Writes up to 8 bytes.
    ///
    /// S2-CROSS-001: an access that crosses into another page is two, and each goes where it
    /// belongs.
    fn write(&mut self, at: GuestAddress, size: u8, value: u64) -> Result<(), Stop> {
        let pieces = self.pieces(at, size);
        // If one part cannot be written, the instruction writes nothing.
        if pieces.len() > 1 && !self.defects.has(Defect::UnreachableMemoryIsMmio) {
            let mut trial = self.host.clone();
            for (piece, _) in &pieces {
                if let There::Memory {
                    backing,
                    page,
                    read_only: false,
                    ..
                } = self.there(piece.page)
                {
                    let place = HostAddress {
                        backing,
                        page,
                        offset: piece.offset,
                    };
                    trial
                        .write(Owner::Parent, place, 0)
                        .map_err(|_| End::Failed(EFAULT))?;
                }
            }
        }
        let mut rest = value;
        for (piece, length) in pieces {
            self.write_piece(piece, length, rest & mask(length))?;
            rest = rest.checked_shr(u32::from(length) * 8).unwrap_or(0);
        }
        Ok(())
    }

    /// S2-RO-002: a write to a read-only slot reaches the host and changes nothing. S2-RO-004: that
    /// does not depend on what was accessed before. S2-DIRTY-001: a write marks its page in the log
    /// of the slot, S2-DIRTY-006: if it was made.
    fn write_piece(&mut self, at: GuestAddress, length: u8, value: u64) -> Result<(), Stop> {
        self.walk(at, true)?;
        let exit = MemoryExit {
            write: true,
            at,
            length,
            data: value,
        };
        let There::Memory {
            slot,
            backing,
            page,
            read_only,
        } = self.there(at.page)
        else {
            self.history.holes.insert(at.page);
            return self.exit(exit);
        };
        let bytes = value.to_le_bytes();
        let bytes = bytes.iter().zip(at.offset..).take(usize::from(length));
        if read_only {
            let zero_page = self.defects.has(Defect::ZeroPageWritable)
                && self.history.zero_page.contains(&at.page)
                && self.host.is_untouched(backing, page);
            if zero_page {
                bytes.for_each(|(byte, offset)| self.host.write_zero_page(offset, *byte));
                return Ok(());
            }
            if !self.defects.has(Defect::ReadOnlySlotWritable) {
                self.history.written.insert(at.page);
                if self.defects.has(Defect::ExitMarksDirty) {
                    self.mark_dirty(at.page);
                }
                return self.exit(exit);
            }
        }
        for (byte, offset) in bytes {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            match self.host.write(Owner::Parent, place, *byte) {
                Ok(()) => {}
                Err(_) if self.defects.has(Defect::UnreachableMemoryIsMmio) => return self.exit(exit),
                Err(_) => {
                    if self.defects.has(Defect::FailedWriteMarksDirty) {
                        self.mark_dirty_in(slot, at.page);
                    }
                    return Err(End::Failed(EFAULT));
                }
            }
        }
        self.history.mapped.insert(at.page);
        let first = self.history.accessed.insert(at.page, (backing, page)).is_none();
        let missed = self.defects.has(Defect::DirtyOnlyAtFirstWrite) && !first;
        if !missed {
            self.mark_dirty_in(slot, at.page);
        }
        Ok(())
    }

    /// A read and a write that nothing comes between.
    ///
    /// S2-ATOMIC-001: where it cannot be written, it becomes a read and a write that reaches the
    /// host, also if the comparison of a compare-and-exchange fails.
    fn exchange(
        &mut self,
        at: GuestAddress,
        size: u8,
        new: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<(), Stop> {
        if self.defects.has(Defect::UnreachableMemoryIsMmio) && !self.can_exchange(at) {
            return Err(End::InternalError(EMULATION));
        }
        let old = self.read(at, size)?;
        match new(old) {
            Some(value) => self.write(at, size, value & mask(size))?,
            None if self.defects.has(Defect::FailedCompareWritesNothing) => {}
            None => self.write(at, size, old)?,
        }
        self.seen.value = Some(old);
        Ok(())
    }

    /// Whether the host's process may write what a locked access is to write in its memory.
    fn can_exchange(&self, at: GuestAddress) -> bool {
        let There::Memory {
            backing,
            page,
            read_only: false,
            ..
        } = self.there(at.page)
        else {
            return true;
        };
        let place = HostAddress {
            backing,
            page,
            offset: at.offset,
        };
        self.host.clone().write(Owner::Parent, place, 0).is_ok()
    }

    /// S2-STRING-001: each byte of a copy is an access of its own, and those before it are done.
    fn copy(&mut self, operation: &mut Operation) -> Result<(), Stop> {
        while let Operation::Copy { from, to, length } = *operation {
            let Some(left) = length.checked_sub(1) else {
                break;
            };
            let byte = self.read(from, 1)?;
            self.write(to, 1, byte)?;
            *operation = Operation::Copy {
                from: from.plus(1),
                to: to.plus(1),
                length: left,
            };
        }
        Ok(())
    }

    /// Calls code.
    ///
    /// S2-RO-003: it may lie in a read-only slot. S2-FETCH-001: where there is no slot, the hypervisor
    /// gives up.
    fn fetch(&mut self, at: GuestAddress) -> Result<Result<(), Stop>, ModelError> {
        let mut bytes = [0; code::LONGEST];
        let length = code::length(Architecture::X86);
        for (byte, index) in bytes.iter_mut().zip(0..).take(length) {
            let at = at.plus(index);
            if let Err(end) = self.walk(at, false) {
                return Ok(Err(end));
            }
            let There::Memory { backing, page, .. } = self.there(at.page) else {
                return Ok(Err(End::InternalError(EMULATION)));
            };
            self.settle_freed(backing, page);
            let place = HostAddress {
                backing,
                page,
                offset: at.offset,
            };
            match self.host.read(Owner::Parent, place) {
                Ok(read) => *byte = read,
                Err(_) if self.defects.has(Defect::UnreachableMemoryIsMmio) => {
                    return Ok(Err(End::InternalError(EMULATION)));
                }
                Err(_) => return Ok(Err(End::Failed(EFAULT))),
            }
        }
        let Some(value) = code::returned(Architecture::X86, bytes) else {
            return Err(ModelError::BadScenario(format!(
                "page {:#x} holds no code where the guest calls it",
                at.page
            )));
        };
        self.seen.value = Some(u64::from(value));
        Ok(Ok(()))
    }

    /// An access in parts that each lie in one page.
    fn pieces(&self, at: GuestAddress, size: u8) -> Vec<(GuestAddress, u8)> {
        let room = PAGE_SIZE - u64::from(at.offset);
        match u8::try_from(room) {
            Ok(room) if room < size && !self.crosses_whole(at) => {
                vec![(at, room), (at.plus(u64::from(room)), size - room)]
            }
            _ => vec![(at, size)],
        }
    }

    /// The defect that a crossing access goes where its first byte goes, if that is not memory.
    fn crosses_whole(&self, at: GuestAddress) -> bool {
        self.defects.has(Defect::CrossingAccessNotSplit) && matches!(self.there(at.page), There::Nothing)
    }

    /// The access reaches the host.
    ///
    /// S2-MMIO-002: it is complete once the guest is entered again, even if it is not to execute
    /// anything, and then the next instruction is next.
    fn exit(&mut self, exit: MemoryExit) -> Result<(), Stop> {
        self.seen.exits.push(exit);
        if self.seen.exits.len() > 1 {
            return Ok(());
        }
        let Some(step) = self.step.clone() else {
            return Ok(());
        };
        if step.interrupted {
            self.seen.interrupted = Some(Interrupted {
                end: End::Failed(EINTR),
                retired: !self.defects.has(Defect::MmioRetiredLate),
            });
        }
        let so_far = std::mem::take(&mut self.seen);
        for host in &step.at_exit {
            if let Err(error) = self.host_step(host) {
                self.at_exit_failed = Some(error);
            } else if self.seen != StepSeen::default() {
                let what = "what the host does at an access must succeed and read nothing";
                self.at_exit_failed = Some(ModelError::BadScenario(what.to_owned()));
            }
        }
        self.seen = so_far;
        // A64-ABORT-001, in the doc comment of `aborted`.
        match std::mem::take(&mut self.abort) {
            true => self.aborted(&step),
            false => Ok(()),
        }
    }

    /// A64-ABORT-001: the access is not completed; the guest takes an external abort.
    fn aborted(&self, step: &GuestStep) -> Result<(), Stop> {
        if self.defects.has(Defect::AbortOfHostIgnored) {
            return Ok(());
        }
        let address = match step.operation {
            Operation::Read { at, .. } | Operation::Write { at, .. } => at.bytes(),
            Operation::Arm64(operation) => operation.at.bytes(),
            _ => 0,
        };
        let syndrome = syndrome::DATA_ABORT | syndrome::EXTERNAL;
        let syndrome = arm64::injected_syndrome(syndrome, self.defects);
        Err(End::Exception { syndrome, address })
    }

    fn architecture(&self) -> Architecture {
        match self.arm64 {
            Some(_) => Architecture::Arm64,
            None => Architecture::X86,
        }
    }

    /// A write that reaches the host.
    fn exit_of_write(&mut self, at: GuestAddress, length: u8, data: u64) -> Result<(), Stop> {
        self.exit(MemoryExit {
            write: true,
            at,
            length,
            data,
        })
    }

    fn mark_dirty(&mut self, page: u64) {
        if let There::Memory { slot, .. } = self.there(page) {
            self.mark_dirty_in(slot, page);
        }
    }

    fn mark_dirty_in(&mut self, slot: SlotName, page: u64) {
        if let Some(slot) = self.slots.get_mut(slot)
            && let Some(log) = &mut slot.dirty
        {
            log.insert(page - slot.page);
        }
    }

    /// S2-HOST-008: what is freed may be gone or not, until it is written.
    fn settle_freed(&mut self, backing: u16, page: u32) {
        if self.host.is_freed(backing, page) {
            let dropped = self.choices.settle(Choice::AnyOf(&[false, true]), &S2_HOST_008);
            if dropped {
                self.host.drop_freed(backing, page);
            }
        }
    }

    fn host_step(&mut self, step: &HostStep) -> Result<(), ModelError> {
        if self.defects.has(Defect::HostChangeUnseen) && self.history.before.is_none() && remaps(step) {
            self.history.before = Some(Box::new(self.host.clone()));
        }
        if remaps(step)
            || matches!(
                step,
                HostStep::Protect(..) | HostStep::Fork | HostStep::SetSlot(_)
            )
        {
            self.history.mapped.clear();
        }
        match *step {
            HostStep::SetSlot(request) => self.set_slot(&request),
            HostStep::DirtyLog { id, space } => match self.slots.dirty((space, id)) {
                Ok(pages) => self.seen.dirty = Some(pages),
                Err(errno) => self.seen.end = End::Failed(errno),
            },
            HostStep::ClearDirtyLog {
                id,
                space,
                first,
                pages,
            } => {
                if let Err(errno) = self.slots.clear_dirty((space, id), first, pages) {
                    self.seen.end = End::Failed(errno);
                }
            }
            HostStep::Read(at) => self.host_read(Owner::Parent, at),
            HostStep::ChildRead(at) => self.host_read(Owner::Child, at),
            HostStep::Write(at, value) => self.host_write(Owner::Parent, at, &value.to_le_bytes()),
            HostStep::ChildWrite(at, value) => self.host_write(Owner::Child, at, &value.to_le_bytes()),
            HostStep::WriteCode(at, value) => {
                let code = code::returning(self.architecture(), value);
                self.host_write(Owner::Parent, at, &code);
            }
            HostStep::ReadFile(at) => {
                let mut bytes = [0; 8];
                for (byte, offset) in bytes.iter_mut().zip(at.offset..) {
                    let Some(read) = self.host.read_file(HostAddress { offset, ..at }) else {
                        return Err(ModelError::BadScenario(
                            "a read beyond the end of a file".to_owned(),
                        ));
                    };
                    *byte = read;
                }
                self.seen.value = Some(u64::from_le_bytes(bytes));
            }
            HostStep::WriteFile(at, value) => {
                for (byte, offset) in value.to_le_bytes().into_iter().zip(at.offset..) {
                    self.host.write_file(HostAddress { offset, ..at }, byte);
                }
            }
            HostStep::Map {
                range,
                kind,
                file,
                protection,
            } => self.host.map(range, kind, file, protection),
            HostStep::Unmap(range) => {
                let kind = super::scenario::BackingKind::Hole;
                self.host
                    .map(range, kind, range.backing, super::scenario::Protection::None);
            }
            HostStep::Protect(range, protection) => self.host.protect(range, protection),
            HostStep::Discard(range) => self.host.discard(range),
            HostStep::Free(range) => self.host.free(range),
            HostStep::Truncate(file, pages) => self.host.truncate(file, pages),
            HostStep::PunchHole(range) => self.host.punch_hole(range),
            HostStep::Fork => self.host.fork(),
            HostStep::Canary => self.seen.value = Some(self.host.canary()),
            HostStep::InjectAbort => self.abort = true,
            HostStep::WriteTables(at, bits) => {
                for (offset, entry) in directory(bits) {
                    let place = HostAddress { offset, ..at };
                    self.host_write(Owner::Parent, place, &entry.to_le_bytes());
                }
            }
            HostStep::TakeRing { id, space } => self.seen.dirty = Some(self.slots.take_ring((space, id))),
            // S2-HOST-010, in the doc comment of `child_run`.
            HostStep::ChildRun => self.seen.end = self.child_run(),
            HostStep::Move { range, to } => self.host.move_pages(range, to),
        }
        Ok(())
    }

    fn set_slot(&mut self, request: &SlotRequest) {
        let name = (request.space, request.id);
        let old = self.slots.get_mut(name).cloned();
        let change = self.slots.set(request);
        let Some(old) = old else {
            if let Err(errno) = change {
                self.seen.end = End::Failed(errno);
            }
            return;
        };
        match change {
            Ok(Change::Deleted | Change::Moved) => {
                let pages = old.page..old.page + old.pages;
                let mapped = |page: &u64| pages.contains(page);
                let gone: Vec<u64> = self.history.accessed.keys().copied().filter(mapped).collect();
                for page in gone {
                    if let Some(under) = self.history.accessed.remove(&page) {
                        self.history.gone.insert(page, under);
                    }
                    self.history.zero_page.remove(&page);
                    self.history.written.remove(&page);
                }
            }
            Ok(Change::Created | Change::Kept) => {}
            Err(errno) => self.seen.end = End::Failed(errno),
        }
    }

    /// S2-HOST-010: a virtual machine is run by the process that made it.
    fn child_run(&self) -> End {
        if self.defects.has(Defect::AnyProcessRuns) {
            End::Done
        } else {
            End::Failed(EIO)
        }
    }

    /// S2-HOST-009: what the guest and other slots over the same memory see, the host sees.
    fn host_read(&mut self, owner: Owner, at: HostAddress) {
        if owner == Owner::Parent {
            self.settle_freed(at.backing, at.page);
        }
        let mut bytes = [0; 8];
        for (byte, offset) in bytes.iter_mut().zip(at.offset..) {
            match self.host.read(owner, HostAddress { offset, ..at }) {
                Ok(read) => *byte = read,
                Err(_) => {
                    self.seen.end = End::Failed(EFAULT);
                    return;
                }
            }
        }
        self.seen.value = Some(u64::from_le_bytes(bytes));
    }

    fn host_write(&mut self, owner: Owner, at: HostAddress, bytes: &[u8]) {
        for (byte, offset) in bytes.iter().zip(at.offset..) {
            if self
                .host
                .write(owner, HostAddress { offset, ..at }, *byte)
                .is_err()
            {
                self.seen.end = End::Failed(EFAULT);
                return;
            }
        }
    }
}

/// Whether an operation of the host changes what pages lie under a mapping (S2-HOST-004).
fn remaps(step: &HostStep) -> bool {
    matches!(
        step,
        HostStep::Map { .. }
            | HostStep::Unmap(_)
            | HostStep::Move { .. }
            | HostStep::Discard(_)
            | HostStep::Truncate(..)
            | HostStep::PunchHole(_)
    )
}

/// The bits of an access of that many bytes.
fn mask(bytes: u8) -> u64 {
    u64::MAX
        .checked_shr(64 - u32::from(bytes.min(8)) * 8)
        .unwrap_or(0)
}
