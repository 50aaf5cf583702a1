//! Memory slots: what KVM_SET_USER_MEMORY_REGION accepts, and what the guest then finds where.

use std::collections::{BTreeMap, BTreeSet};

use super::arm64::Arm64;
use super::errno::{EEXIST, EFAULT, EINVAL, ENOENT, ENXIO};
use super::scenario::{DirtyLogMode, PAGE_SIZE, SlotRequest};
use crate::defect::{Defect, DefectSet};

/// Slots that user space may use in each address space (KVM_USER_MEM_SLOTS of x86 since Linux
/// 5.12; before that 509). The API says it by KVM_CAP_NR_MEMSLOTS.
const SLOTS: u16 = 32764;
/// Most pages of one slot (KVM_MEM_MAX_NR_PAGES).
const MOST_PAGES: u64 = (1 << 31) - 1;
/// Guest pages that 64-bit byte addresses can number.
const GUEST_PAGES: u64 = 1 << 52;

/// A slot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) page: u64,
    pub(super) pages: u64,
    pub(super) backing: u16,
    pub(super) offset: u32,
    pub(super) read_only: bool,
    /// The pages in the dirty log, if writes are logged.
    pub(super) dirty: Option<BTreeSet<u64>>,
}

impl Slot {
    fn contains(&self, page: u64) -> bool {
        (self.page..self.page + self.pages).contains(&page)
    }

    fn overlaps(&self, page: u64, pages: u64) -> bool {
        self.page < page + pages && page < self.page + self.pages
    }
}

/// Name of a slot: address space and number.
pub(super) type SlotName = (u16, u16);

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Created,
    Deleted,
    Moved,
    /// Only flags, or nothing at all.
    Kept,
}

/// All slots of a virtual machine.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: BTreeMap<SlotName, Slot>,
    /// Pages that were taken from the dirty ring, which only a defect looks at.
    taken: BTreeSet<(SlotName, u64)>,
    spaces: u16,
    mode: DirtyLogMode,
    /// Guest pages that the virtual machine can have, if that is fewer than can be numbered.
    guest_pages: Option<u64>,
    defects: DefectSet,
}

impl Slots {
    pub(super) fn new(spaces: u16, mode: DirtyLogMode, arm64: Option<&Arm64>, defects: DefectSet) -> Self {
        Self {
            slots: BTreeMap::new(),
            taken: BTreeSet::new(),
            spaces,
            mode,
            guest_pages: arm64.map(|arm64| (1 << arm64.address_bits) / PAGE_SIZE),
            defects,
        }
    }

    /// Whether writes to a slot are logged.
    pub(super) fn is_logged(&self, name: SlotName) -> bool {
        self.slots.get(&name).is_some_and(|slot| slot.dirty.is_some())
    }

    /// A64-RANGE-002: a slot lies in the addresses that the virtual machine has.
    fn check_range(&self, request: &SlotRequest) -> Result<(), i32> {
        let last = u64::from(self.defects.has(Defect::LastGuestPageRefused));
        match self.guest_pages {
            Some(pages) if request.page + request.pages + last > pages => Err(EFAULT),
            _ => Ok(()),
        }
    }

    /// The slot that has a guest page, outside SMM.
    pub(super) fn at(&self, page: u64) -> Option<(SlotName, &Slot)> {
        let outside_smm = |name: &SlotName| name.0 == 0;
        let found = self
            .slots
            .iter()
            .find(|(name, slot)| outside_smm(name) && slot.contains(page));
        let found = found.map(|(name, slot)| (*name, slot));
        if found.is_some_and(|(_, slot)| slot.page == 0) && self.defects.has(Defect::SlotAtZeroMissed) {
            return None;
        }
        found
    }

    pub(super) fn get_mut(&mut self, name: SlotName) -> Option<&mut Slot> {
        self.slots.get_mut(&name)
    }

    /// KVM_SET_USER_MEMORY_REGION.
    ///
    /// S2-SLOT-001: what cannot be a slot at all is refused before anything else, also in a
    /// request to delete one.
    ///
    /// # Errors
    /// The errno.
    pub(super) fn set(&mut self, request: &SlotRequest) -> Result<Change, i32> {
        let misaligned = request.misaligned.is_some() && !self.defects.has(Defect::MisalignedSlotAccepted);
        if request.other_flags != 0
            || misaligned
            || request.space >= self.spaces
            || request.id >= SLOTS
            || request.page.saturating_add(request.pages) > GUEST_PAGES
            || request.pages > MOST_PAGES
        {
            return Err(EINVAL);
        }
        let name = (request.space, request.id);
        if request.pages == 0 {
            return self.delete(name);
        }
        let change = match self.slots.get(&name) {
            None => Change::Created,
            Some(slot) => match changed(slot, request) {
                Err(_) if self.defects.has(Defect::SlotSizeChanges) => return Ok(Change::Kept),
                other => other?,
            },
        };
        if change == Change::Kept && self.defects.has(Defect::SameSlotRefused) {
            return Err(EEXIST);
        }
        let stays = change == Change::Moved && self.defects.has(Defect::MovedSlotStays);
        if matches!(change, Change::Created | Change::Moved) {
            self.check_overlap(name, request)?;
            self.check_range(request)?;
        }
        let old = self.slots.remove(&name);
        let dirty = self.dirty_log(old.as_ref(), request);
        self.slots.insert(
            name,
            Slot {
                page: old.filter(|_| stays).map_or(request.page, |old| old.page),
                pages: request.pages,
                backing: request.backing,
                offset: request.offset,
                read_only: request.read_only,
                dirty,
            },
        );
        Ok(change)
    }

    /// S2-SLOT-004: a slot of size 0 deletes; what is not there cannot be deleted.
    fn delete(&mut self, name: SlotName) -> Result<Change, i32> {
        match self.slots.remove(&name) {
            Some(_) => Ok(Change::Deleted),
            None if self.defects.has(Defect::MissingSlotDeleted) => Ok(Change::Deleted),
            None => Err(EINVAL),
        }
    }

    /// S2-SLOT-002: slots of one address space do not overlap; S2-SLOT-008: those of two may.
    fn check_overlap(&self, name: SlotName, request: &SlotRequest) -> Result<(), i32> {
        if self.defects.has(Defect::OverlapAccepted) {
            return Ok(());
        }
        let all_spaces = self.defects.has(Defect::AddressSpacesOverlap);
        let others = self
            .slots
            .iter()
            .filter(|(other, _)| **other != name && (other.0 == name.0 || all_spaces));
        let mut overlapping = others.filter(|(_, slot)| slot.overlaps(request.page, request.pages));
        match overlapping.next() {
            Some(_) => Err(EEXIST),
            None => Ok(()),
        }
    }

    /// S2-DIRTY-005: a log begins when the flag is set, empty, and ends when it is cleared; while the
    /// flag stays, so does the log. S2-DIRTY-004: in the mode for that, it begins full.
    fn dirty_log(&self, old: Option<&Slot>, request: &SlotRequest) -> Option<BTreeSet<u64>> {
        if !request.log_dirty {
            return None;
        }
        match old.and_then(|slot| slot.dirty.clone()) {
            Some(log) => Some(log),
            None if self.begins_full() => Some((0..request.pages).collect()),
            None => Some(BTreeSet::new()),
        }
    }

    fn begins_full(&self) -> bool {
        let initially_set = self.mode == DirtyLogMode::ManualInitiallySet;
        initially_set && !self.defects.has(Defect::InitiallySetIgnored)
            || self.defects.has(Defect::LogNeverEnds)
    }

    /// KVM_GET_DIRTY_LOG.
    ///
    /// S2-DIRTY-002: reading a log clears it, S2-DIRTY-003: unless it is cleared by hand.
    /// S2-DIRTY-007: there is no log of a slot that does not exist or is not logged.
    ///
    /// # Errors
    /// The errno.
    pub(super) fn dirty(&mut self, name: SlotName) -> Result<Vec<u64>, i32> {
        let mode = self.mode;
        if mode == DirtyLogMode::Ring && !self.defects.has(Defect::LogBesideRing) {
            return Err(ENXIO);
        }
        let clears = self.defects.has(Defect::ManualLogClearedByRead);
        let log = self.log(name)?;
        let pages = log.iter().copied().collect();
        if mode == DirtyLogMode::ReadClears || clears {
            log.clear();
        }
        Ok(pages)
    }

    /// Takes what is in the dirty ring.
    ///
    /// S2-RING-001: the ring has each page that was written since it was reset, and its reset makes writes count
    /// again. S2-RING-002: a machine with a ring has no logs.
    pub(super) fn take_ring(&mut self, name: SlotName) -> Vec<u64> {
        let log = self.slots.get(&name).and_then(|slot| slot.dirty.as_ref());
        let mut pages: Vec<u64> = log.map(|log| log.iter().copied().collect()).unwrap_or_default();
        if self.defects.has(Defect::RingNotRearmed) {
            pages.retain(|page| self.taken.insert((name, *page)));
        }
        for log in self.slots.values_mut().filter_map(|slot| slot.dirty.as_mut()) {
            log.clear();
        }
        pages
    }

    /// KVM_CLEAR_DIRTY_LOG with every bit set.
    ///
    /// S2-DIRTY-003: it clears these pages. S2-DIRTY-007: the first page is a multiple of 64, and so is
    /// the number of pages unless the range ends with the slot.
    ///
    /// # Errors
    /// The errno.
    pub(super) fn clear_dirty(&mut self, name: SlotName, first: u64, pages: u32) -> Result<(), i32> {
        if self.mode == DirtyLogMode::ReadClears {
            return Err(EINVAL);
        }
        if !first.is_multiple_of(64) {
            let unchecked = self.defects.has(Defect::ClearRangeUnchecked);
            return if unchecked { Ok(()) } else { Err(EINVAL) };
        }
        self.log(name)?;
        let size = self.slots.get(&name).map_or(0, |slot| slot.pages);
        let end = first.saturating_add(u64::from(pages));
        if end > size || (!pages.is_multiple_of(64) && end < size) {
            return Err(EINVAL);
        }
        self.log(name)?.retain(|page| !(first..end).contains(page));
        Ok(())
    }

    fn log(&mut self, name: SlotName) -> Result<&mut BTreeSet<u64>, i32> {
        let (space, id) = name;
        if space >= self.spaces || id >= SLOTS {
            return Err(EINVAL);
        }
        let slot = self.slots.get_mut(&name).ok_or(ENOENT)?;
        slot.dirty.as_mut().ok_or(ENOENT)
    }
}

/// What of an existing slot a request changes.
///
/// S2-SLOT-003: size, host address and read-only cannot be changed. S2-SLOT-005: another guest
/// address moves the slot. S2-SLOT-006: a request that changes nothing is fine.
fn changed(slot: &Slot, request: &SlotRequest) -> Result<Change, i32> {
    let fixed = (slot.pages, slot.backing, slot.offset, slot.read_only);
    if fixed != (request.pages, request.backing, request.offset, request.read_only) {
        return Err(EINVAL);
    }
    if slot.page == request.page {
        Ok(Change::Kept)
    } else {
        Ok(Change::Moved)
    }
}
