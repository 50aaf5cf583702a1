//! What the host does between two steps of the guest.

use super::Machine;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::stage2::code;
use crate::stage2::errno::{EFAULT, EIO};
use crate::stage2::host::Owner;
use crate::stage2::scenario::{BackingKind, HostAddress, HostStep, Protection, SlotRequest};
use crate::stage2::slots::Change;
use crate::stage2::tables::directory;
use crate::stage2::transcript::End;

impl Machine<'_> {
    pub(super) fn host_step(&mut self, step: &HostStep) -> Result<(), ModelError> {
        if self.defects.has(Defect::HostChangeUnseen) && self.history.before.is_none() && remaps(step) {
            self.history.before = Some(Box::new(self.host.clone()));
        }
        if remaps(step) || matches!(step, HostStep::Protect(..) | HostStep::Fork | HostStep::Merge(_)) {
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
                let kind = BackingKind::Hole;
                self.host.map(range, kind, range.backing, Protection::None);
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
            HostStep::Merge(range) => {
                if self.host.merge(range).is_err() {
                    let what = "pages that the kernel would not merge: each must have been written, be private, and hold \
                                zeros or what another page that was merged holds";
                    return Err(ModelError::BadScenario(what.to_owned()));
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_slot(&mut self, request: &SlotRequest) {
        let name = (request.space, request.id);
        let old = self.slots.get_mut(name).cloned();
        let change = self.slots.set(request);
        let Some(old) = old else {
            self.history.mapped.clear();
            if let Err(errno) = change {
                self.seen.end = End::Failed(errno);
            }
            return;
        };
        match change {
            Ok(Change::Deleted | Change::Moved) => {
                self.history.mapped.clear();
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
    pub(super) fn child_run(&self) -> End {
        if self.defects.has(Defect::AnyProcessRuns) {
            End::Done
        } else {
            End::Failed(EIO)
        }
    }

    /// S2-HOST-009: what the guest and other slots over the same memory see, the host sees.
    pub(super) fn host_read(&mut self, owner: Owner, at: HostAddress) {
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

    pub(super) fn host_write(&mut self, owner: Owner, at: HostAddress, bytes: &[u8]) {
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
