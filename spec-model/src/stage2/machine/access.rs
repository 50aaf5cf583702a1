//! Accesses of the guest: what is there, what leaves the guest, what is marked.

use super::{EMULATION, Machine, Stop, There, mask};
use crate::architecture::Architecture;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::Choice;
use crate::requirement::S2_HOST_008;
use crate::stage2::arm64::syndrome;
use crate::stage2::code;
use crate::stage2::errno::{EFAULT, EINTR};
use crate::stage2::host::Owner;
use crate::stage2::scenario::{GuestAddress, GuestStep, HostAddress, Operation, PAGE_SIZE};
use crate::stage2::slots::SlotName;
use crate::stage2::transcript::{End, Interrupted, MemoryExit, StepSeen};

impl Machine<'_> {
    /// What is at a guest page (S2-SLOT-004, S2-SLOT-005, S2-SLOT-007): whatever slots there are
    /// now, and nothing of those that were.
    pub(super) fn there(&self, page: u64) -> There {
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
    pub(super) fn read(&mut self, at: GuestAddress, size: u8) -> Result<u64, Stop> {
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

    pub(super) fn read_piece(&mut self, at: GuestAddress, length: u8) -> Result<u64, Stop> {
        let at = self.walk(at, false)?;
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
        let exits = read_only && self.defects.has(Defect::ReadOnlyReadExits);
        if hidden || mistaken || exits {
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
        let first = self.note_mapped(at.page, backing);
        let maps_writable = first && !read_only && self.host.is_mapped_writable(backing, page);
        if self.defects.has(Defect::ReadMarksDirty)
            || self.defects.has(Defect::FirstReadMarksDirty) && maps_writable
        {
            self.mark_dirty(at.page);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// S2-MMIO-002: the access takes the low bytes of what the host answers.
    pub(super) fn exit_of_read(&mut self, at: GuestAddress, length: u8) -> Result<u64, Stop> {
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
    pub(super) fn write(&mut self, at: GuestAddress, size: u8, value: u64) -> Result<(), Stop> {
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
    pub(super) fn write_piece(&mut self, at: GuestAddress, length: u8, value: u64) -> Result<(), Stop> {
        let at = self.walk(at, true)?;
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
        let lost = self.defects.has(Defect::GuestWriteLost);
        for (byte, offset) in bytes.filter(|_| !lost) {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            if self.defects.has(Defect::MergedPagesWritable) && self.host.write_merged(place, *byte) {
                continue;
            }
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
        self.note_mapped(at.page, backing);
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
    pub(super) fn exchange(
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
    pub(super) fn can_exchange(&self, at: GuestAddress) -> bool {
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
    pub(super) fn copy(&mut self, operation: &mut Operation) -> Result<(), Stop> {
        while let Operation::Copy { from, to, length } = *operation {
            let Some(left) = length.checked_sub(1) else {
                break;
            };
            let byte = self.read(from, 1)?;
            if left % 4 != 3 || !self.defects.has(Defect::StringCopiesWhole) {
                self.write(to, 1, byte)?;
            }
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
    pub(super) fn fetch(&mut self, at: GuestAddress) -> Result<Result<(), Stop>, ModelError> {
        let mut bytes = [0; code::LONGEST];
        let length = code::length(Architecture::X86);
        for (byte, index) in bytes.iter_mut().zip(0..).take(length) {
            let at = match self.walk(at.plus(index), false) {
                Ok(at) => at,
                Err(end) => return self.error.take().map_or(Ok(Err(end)), Err),
            };
            let There::Memory {
                backing,
                page,
                read_only,
                ..
            } = self.there(at.page)
            else {
                return Ok(Err(match self.defects.has(Defect::PageWithoutSlotIsEfault) {
                    true => End::Failed(EFAULT),
                    false => End::InternalError(EMULATION),
                }));
            };
            if read_only && self.defects.has(Defect::ReadOnlyCodeUnreachable) {
                return Ok(Err(End::InternalError(EMULATION)));
            }
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
    pub(super) fn pieces(&self, at: GuestAddress, size: u8) -> Vec<(GuestAddress, u8)> {
        let room = PAGE_SIZE - u64::from(at.offset);
        match u8::try_from(room) {
            Ok(room) if room < size && !self.crosses_whole(at) => {
                vec![(at, room), (at.plus(u64::from(room)), size - room)]
            }
            _ => vec![(at, size)],
        }
    }

    /// The defect that a crossing access goes where its first byte goes, if that is not memory.
    pub(super) fn crosses_whole(&self, at: GuestAddress) -> bool {
        self.defects.has(Defect::CrossingAccessNotSplit) && matches!(self.there(at.page), There::Nothing)
    }

    /// The access reaches the host.
    ///
    /// S2-MMIO-002: it is complete once the guest is entered again, even if it is not to execute
    /// anything, and then the next instruction is next.
    pub(super) fn exit(&mut self, mut exit: MemoryExit) -> Result<(), Stop> {
        if matches!(self.there(exit.at.page), There::Nothing) {
            if self.defects.has(Defect::MmioAddressOfPage) {
                exit.at.offset = 0;
            }
            if exit.write && self.defects.has(Defect::MmioDataLost) {
                exit.data = 0;
            }
        }
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
                self.error = Some(error);
            } else if self.seen != StepSeen::default() {
                let what = "what the host does at an access must succeed and read nothing";
                self.error = Some(ModelError::BadScenario(what.to_owned()));
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
    pub(super) fn aborted(&self, step: &GuestStep) -> Result<(), Stop> {
        if self.defects.has(Defect::AbortOfHostIgnored) {
            return Ok(());
        }
        let address = match step.operation {
            Operation::Read { at, .. } | Operation::Write { at, .. } => at.bytes(),
            Operation::Arm64(operation) => operation.at.bytes(),
            _ => 0,
        };
        let syndrome = syndrome::DATA_ABORT | syndrome::EXTERNAL;
        let syndrome = super::arm64::injected_syndrome(syndrome, self.defects);
        Err(End::Exception { syndrome, address })
    }

    pub(super) fn architecture(&self) -> Architecture {
        match self.arm64 {
            Some(_) => Architecture::Arm64,
            None => Architecture::X86,
        }
    }

    /// A write that reaches the host.
    pub(super) fn exit_of_write(&mut self, at: GuestAddress, length: u8, data: u64) -> Result<(), Stop> {
        self.exit(MemoryExit {
            write: true,
            at,
            length,
            data,
        })
    }

    /// Notes that a hypervisor has mapped a page, and says whether it had not before. What is backed by huge pages is
    /// mapped 512 pages at a time while its slot is not logged.
    fn note_mapped(&mut self, page: u64, backing: u16) -> bool {
        const PAGES: u64 = 512;
        let logged = self.slots.at(page).is_some_and(|(_, slot)| slot.dirty.is_some());
        let first = self.history.mapped.insert(page);
        if first && !logged && self.host.is_huge(backing) {
            let start = page & !(PAGES - 1);
            self.history.mapped.extend(start..start + PAGES);
        }
        first
    }

    pub(super) fn mark_dirty(&mut self, page: u64) {
        if let There::Memory { slot, .. } = self.there(page) {
            self.mark_dirty_in(slot, page);
        }
    }

    pub(super) fn mark_dirty_in(&mut self, slot: SlotName, page: u64) {
        if self.defects.has(Defect::WriteNotLogged) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(slot)
            && let Some(log) = &mut slot.dirty
        {
            log.insert(page - slot.page);
        }
    }

    /// S2-HOST-008: what is freed may be gone or not, until it is written.
    pub(super) fn settle_freed(&mut self, backing: u16, page: u32) {
        if self.host.is_freed(backing, page) {
            let dropped = self.choices.settle(Choice::AnyOf(&[false, true]), &S2_HOST_008);
            if dropped {
                self.host.drop_freed(backing, page);
            }
        }
    }
}
