//! What the host does to memory and slots, and may do while the guest runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use spec_model::stage2::code;
use spec_model::stage2::scenario::{
    BackingKind, HostAddress, HostStep, Misaligned, PAGE_SIZE, Protection, Range, SERVER_SLOT, SlotRequest,
};
use spec_model::stage2::tables::directory;
use spec_model::stage2::transcript::{End, StepSeen};

use super::super::second_try;
use super::area::Area;
use super::{Failure, PAGE, guest, merging};

/// The memory under a virtual machine, and its slots.
pub(super) struct HostSide<'a> {
    pub(super) vm: &'a VmFd,
    pub(super) areas: &'a [Area],
    /// The slots that are there: address space and number.
    pub(super) slots: &'a mut BTreeSet<(u16, u16)>,
}

impl HostSide<'_> {
    /// Does a step if it needs no more than this.
    ///
    /// # Errors
    /// If the scenario names what is not there.
    pub(super) fn step(&mut self, step: &HostStep) -> Result<Option<StepSeen>, Failure> {
        let mut seen = StepSeen::default();
        match *step {
            HostStep::SetSlot(request) => {
                if let Err(errno) = self.set_slot(&request)? {
                    seen.end = End::Failed(errno);
                }
            }
            HostStep::Read(at) => value(&mut seen, self.read(at)?),
            HostStep::Write(at, data) => done(&mut seen, self.write(at, &data.to_le_bytes())?),
            HostStep::WriteCode(at, data) => {
                let code = code::returning(guest::ARCHITECTURE, data);
                done(&mut seen, self.write(at, &code)?);
            }
            HostStep::WriteTables(at, bits) => {
                for (offset, entry) in directory(bits) {
                    let place = HostAddress { offset, ..at };
                    done(&mut seen, self.write(place, &entry.to_le_bytes())?);
                }
            }
            HostStep::ReadFile(at) => {
                let mut bytes = [0; 8];
                let read = self.file(at.backing)?.read_exact_at(&mut bytes, in_file(at));
                value(&mut seen, read.map(|()| u64::from_le_bytes(bytes)));
            }
            HostStep::WriteFile(at, data) => {
                let file = self.file(at.backing)?;
                done(&mut seen, file.write_all_at(&data.to_le_bytes(), in_file(at)));
            }
            HostStep::Map {
                range,
                kind,
                file,
                protection,
            } => {
                let file = if kind.has_file() {
                    Some(self.file(file)?)
                } else {
                    None
                };
                let area = self.area(range.backing)?;
                let mapped = area.map(range.page, range.pages, kind, file, protection);
                done(&mut seen, mapped);
            }
            HostStep::Unmap(range) => {
                let area = self.area(range.backing)?;
                let hole = area.map(range.page, range.pages, BackingKind::Hole, None, Protection::None);
                done(&mut seen, hole);
            }
            HostStep::Protect(range, protection) => {
                let area = self.area(range.backing)?;
                done(&mut seen, area.protect(range.page, range.pages, protection));
            }
            HostStep::Discard(range) | HostStep::Free(range) => {
                let at_once = matches!(step, HostStep::Discard(_));
                let area = self.area(range.backing)?;
                done(&mut seen, area.drop_pages(range.page, range.pages, at_once));
            }
            HostStep::Truncate(backing, pages) => {
                let length = u64::from(pages) * PAGE_SIZE;
                done(&mut seen, self.file(backing)?.set_len(length));
            }
            HostStep::PunchHole(range) => done(&mut seen, punch_hole(self.file(range.backing)?, range)),
            HostStep::Move { range, to } => {
                let (from, to) = (self.area(range.backing)?, self.area(to)?);
                done(&mut seen, from.move_pages(range.page, range.pages, to));
            }
            HostStep::Merge(range) => merging::merge(self.area(range.backing)?, range.page, range.pages)?,
            HostStep::DirtyLog { .. }
            | HostStep::ClearDirtyLog { .. }
            | HostStep::TakeRing { .. }
            | HostStep::Fork
            | HostStep::ChildRead(_)
            | HostStep::ChildWrite(..)
            | HostStep::ChildRun
            | HostStep::Canary
            | HostStep::InjectAbort => return Ok(None),
        }
        Ok(Some(seen))
    }

    /// KVM_SET_USER_MEMORY_REGION; an errno is a result, too.
    ///
    /// # Errors
    /// If there is no such backing, or KVM has not done what it says.
    pub(super) fn set_slot(&mut self, request: &SlotRequest) -> Result<Result<(), i32>, Failure> {
        let off_by = |member| u64::from(request.misaligned == Some(member));
        let mut flags = request.other_flags;
        if request.read_only {
            flags |= KVM_MEM_READONLY;
        }
        if request.log_dirty {
            flags |= KVM_MEM_LOG_DIRTY_PAGES;
        }
        let region = kvm_userspace_memory_region {
            slot: u32::from(request.space) << 16 | u32::from(request.id),
            flags,
            guest_phys_addr: request.page.wrapping_mul(PAGE_SIZE) + off_by(Misaligned::Guest),
            memory_size: request.pages.wrapping_mul(PAGE_SIZE) + off_by(Misaligned::Size),
            userspace_addr: self.area(request.backing)?.address(request.offset) as u64
                + off_by(Misaligned::Host),
        };
        // SAFETY: the slot lies in the range of an area, which nothing in this process refers to, and
        // which is unmapped only after the slot is deleted or the machine is gone. One that is longer
        // than its area has been refused by `Stage2::check`, but for those that KVM refuses.
        let set = unsafe { self.vm.set_user_memory_region(region) };
        if let Err(error) = set {
            return Ok(Err(error.errno()));
        }
        let name = (request.space, request.id);
        if request.pages == 0 {
            self.slots.remove(&name);
        } else {
            self.slots.insert(name);
        }
        second_try::check(self.vm, &region, self.free_slot(request.space))?;
        Ok(Ok(()))
    }

    /// The number of a slot that is not there.
    fn free_slot(&self, space: u16) -> u32 {
        let is_free = |id: &u16| *id != SERVER_SLOT && !self.slots.contains(&(space, *id));
        let id = (0..=u16::MAX).find(is_free).unwrap_or_default();
        u32::from(space) << 16 | u32::from(id)
    }

    /// Address in this process.
    ///
    /// # Errors
    /// If there is no such backing.
    pub(super) fn address(&self, at: HostAddress) -> Result<usize, Failure> {
        Ok(self.area(at.backing)?.address(at.page) + usize::from(at.offset))
    }

    fn area(&self, backing: u16) -> Result<&Area, Failure> {
        let area = self.areas.get(usize::from(backing));
        area.ok_or_else(|| Failure::BadScenario(format!("it has no backing {backing}")))
    }

    fn file(&self, backing: u16) -> Result<&File, Failure> {
        let missing = || Failure::BadScenario(format!("backing {backing} has no file"));
        self.area(backing)?.file().ok_or_else(missing)
    }

    fn read(&self, at: HostAddress) -> Result<io::Result<u64>, Failure> {
        let mut bytes = [0; 8];
        let read = self.area(at.backing)?.read(at.page, at.offset, &mut bytes);
        Ok(read.map(|()| u64::from_le_bytes(bytes)))
    }

    fn write(&self, at: HostAddress, bytes: &[u8]) -> Result<io::Result<()>, Failure> {
        Ok(self.area(at.backing)?.write(at.page, at.offset, bytes))
    }
}

/// Records how an operation of the host ended.
pub(super) fn done(seen: &mut StepSeen, result: io::Result<()>) {
    if let Err(error) = result {
        seen.end = End::Failed(error.raw_os_error().unwrap_or(libc::EIO));
    }
}

/// The same for one that reads.
pub(super) fn value(seen: &mut StepSeen, result: io::Result<u64>) {
    match result {
        Ok(value) => seen.value = Some(value),
        Err(error) => done(seen, Err(error)),
    }
}

fn in_file(at: HostAddress) -> u64 {
    u64::from(at.page) * PAGE_SIZE + u64::from(at.offset)
}

fn punch_hole(file: &File, range: Range) -> io::Result<()> {
    let bytes = |pages: u32| libc::off_t::from(pages) * PAGE as libc::off_t;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes integers only; the descriptor is open as long as the file is borrowed.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, bytes(range.page), bytes(range.pages)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
