//! The guest's own translation: alignment, the table of level 2, access flags.

use super::{Guest, Purpose};
use crate::defect::Defect;
use crate::stage2::arm64::{BLOCK_SIZE, WINDOW, WINDOW_SIZE, syndrome};
use crate::stage2::errno::{EFAULT, ENOSYS};
use crate::stage2::host::Owner;
use crate::stage2::machine::{Stop, There};
use crate::stage2::scenario::{GuestAddress, HostAddress, PAGE_SIZE};
use crate::stage2::transcript::End;

/// Where an access goes after stage 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Translated {
    pub(super) at: GuestAddress,
    pub(super) device: bool,
}

/// Bits of a descriptor of level 2 (Arm ARM D8.3.1 and D8.3.2).
mod descriptor {
    pub(super) const VALID: u64 = 1;
    pub(super) const TABLE: u64 = 2;
    /// AP[2].
    pub(super) const READ_ONLY: u64 = 1 << 7;
    pub(super) const ACCESSED: u64 = 1 << 10;
    /// PXN.
    pub(super) const NOT_EXECUTABLE: u64 = 1 << 53;
    /// The output address of a block.
    pub(super) const ADDRESS: u64 = 0xff_ffe0_0000;

    /// Whether the memory is a device: attribute 1 of those that targets set.
    pub(super) fn is_device(descriptor: u64) -> bool {
        descriptor >> 2 & 7 == 1
    }
}

impl Guest<'_, '_> {
    /// Stage 1.
    ///
    /// A64-STAGE1-001: what the guest's own translation forbids is an exception of the guest,
    /// whatever lies behind it. A64-STAGE1-002: an access to device memory that is not aligned
    /// is one, too. A64-RANGE-001: an address that the virtual machine cannot have is an external
    /// abort.
    pub(super) fn translate(
        &mut self,
        at: GuestAddress,
        size: u8,
        purpose: Purpose,
    ) -> Result<Translated, Stop> {
        let address = at.bytes();
        let in_window = (WINDOW..WINDOW + WINDOW_SIZE).contains(&address);
        let translated = match self.setup.table {
            Some(table) if in_window && self.setup.translation => self.walk(table, at, purpose)?,
            _ => Translated {
                at,
                device: !self.setup.translation,
            },
        };
        let aligned = size == 0 || address.is_multiple_of(u64::from(size));
        let as_device = translated.device || self.mapped_as_device(translated.at.page);
        let data = matches!(purpose, Purpose::Read | Purpose::Write);
        if data && as_device && !aligned && !self.has(Defect::DeviceAlignmentUnchecked) {
            return Err(Self::exception(purpose.syndrome(syndrome::ALIGNMENT), at));
        }
        let beyond = translated.at.bytes() >> self.setup.address_bits != 0;
        if beyond && purpose != Purpose::Maintenance && !self.has(Defect::BeyondAddressesReachesHost) {
            let physical = self.has(Defect::BeyondAddressesAtPhysicalAddress);
            let at = if physical { translated.at } else { at };
            return Err(self.injected(purpose, syndrome::EXTERNAL, at));
        }
        Ok(translated)
    }

    /// A64-STAGE1-003: a slot is normal memory, whatever lies under it. The other half of what
    /// was reported in 2014 was that the page of zeros was taken for a device.
    fn mapped_as_device(&self, page: u64) -> bool {
        match self.machine.there(page) {
            There::Memory {
                backing,
                page,
                read_only,
                ..
            } => {
                self.has(Defect::ZeroPageIsDevice)
                    && read_only
                    && self.machine.host.is_untouched(backing, page)
            }
            There::Nothing => false,
        }
    }

    /// Reads the table of the scenario.
    ///
    /// A64-WALK-001: a table that is not in memory is an external abort on the walk.
    /// A64-WALK-002: one in a read-only slot is read like any memory.
    fn walk(&mut self, table: u64, at: GuestAddress, purpose: Purpose) -> Result<Translated, Stop> {
        let index = (at.bytes() - WINDOW) / BLOCK_SIZE;
        let place = GuestAddress::of_bytes(table * PAGE_SIZE + index * 8);
        let There::Memory {
            backing,
            page,
            read_only,
            ..
        } = self.machine.there(place.page)
        else {
            let status = self.status_of_walk(syndrome::EXTERNAL_ON_WALK);
            return Err(self.injected(purpose, status, at));
        };
        if read_only && self.has(Defect::WalkCountsAsWrite) {
            return Err(self.injected(purpose, syndrome::EXTERNAL, at));
        }
        let mut bytes = [0; 8];
        for (byte, offset) in bytes.iter_mut().zip(place.offset..) {
            let read = self.machine.host.read(
                Owner::Parent,
                HostAddress {
                    backing,
                    page,
                    offset,
                },
            );
            *byte = read.map_err(|_| End::Failed(EFAULT))?;
        }
        let entry = u64::from_le_bytes(bytes);
        if entry & descriptor::VALID == 0 {
            return Err(Self::exception(purpose.syndrome(syndrome::TRANSLATION), at));
        }
        if entry & descriptor::TABLE != 0 {
            self.unknown =
                Some("the model knows no tables below level 2; write a block descriptor".to_owned());
        }
        if entry & descriptor::ACCESSED == 0 {
            self.set_access_flag(place, at, entry, purpose)?;
        }
        let forbidden = match purpose {
            Purpose::Write => entry & descriptor::READ_ONLY != 0,
            Purpose::Fetch => entry & descriptor::NOT_EXECUTABLE != 0,
            Purpose::Read | Purpose::Maintenance => false,
        };
        if forbidden {
            return Err(Self::exception(purpose.syndrome(syndrome::PERMISSION), at));
        }
        let output = entry & descriptor::ADDRESS | at.bytes() & (BLOCK_SIZE - 1);
        Ok(Translated {
            at: GuestAddress::of_bytes(output),
            device: descriptor::is_device(entry),
        })
    }

    /// What status an abort of a walk has, which a hypervisor that injects it may not say.
    fn status_of_walk(&self, exact: u64) -> u64 {
        if self.has(Defect::WalkAbortWithoutLevel) {
            syndrome::EXTERNAL
        } else {
            exact
        }
    }

    /// A64-WALK-003: without the processor's help an access flag that is clear is an exception;
    /// with it the flag is set in the table, which counts as a write of the table's page.
    /// A64-WALK-004: where the table cannot be written that is an external abort on the walk, and
    /// never reaches the host.
    fn set_access_flag(
        &mut self,
        place: GuestAddress,
        at: GuestAddress,
        entry: u64,
        purpose: Purpose,
    ) -> Result<(), Stop> {
        if !self.setup.hardware_access_flag {
            return Err(Self::exception(purpose.syndrome(syndrome::ACCESS_FLAG), at));
        }
        let There::Memory {
            slot,
            backing,
            page,
            read_only,
        } = self.machine.there(place.page)
        else {
            return Ok(());
        };
        if read_only {
            if self.has(Defect::WalkWriteReachesHost) {
                return Err(End::Failed(ENOSYS));
            }
            let status = self.status_of_walk(syndrome::EXTERNAL_ON_WALK);
            return Err(self.injected(purpose, status, at));
        }
        let forever = match purpose {
            Purpose::Fetch => Defect::FetchNeverSetsAccessFlag,
            Purpose::Read | Purpose::Write | Purpose::Maintenance => Defect::DataAccessNeverSetsAccessFlag,
        };
        if self.has(forever) {
            return Err(End::Stuck);
        }
        let changed = (entry | descriptor::ACCESSED).to_le_bytes();
        for (byte, offset) in changed.into_iter().zip(place.offset..) {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            let written = self.machine.host.write(Owner::Parent, place, byte);
            written.map_err(|_| End::Failed(EFAULT))?;
        }
        if !self.has(Defect::AccessFlagNotLogged) {
            self.machine.mark_dirty_in(slot, place.page);
        }
        Ok(())
    }
}
