//! The guest's accesses on arm64: its own translation, what a syndrome describes and what not,
//! and the exceptions that it takes.

use super::{Machine, Stop, There, mask};
use crate::defect::{Defect, DefectSet};
use crate::error::ModelError;
use crate::profile::{Architecture, Choice};
use crate::requirement::{A64_CROSS_002, A64_MAINT_003};
use crate::stage2::arm64::{
    Arm64, Arm64Operation, BLOCK_SIZE, Instruction, WINDOW, WINDOW_SIZE, ZERO_BLOCK, syndrome,
};
use crate::stage2::code;
use crate::stage2::errno::{EFAULT, ENOSYS};
use crate::stage2::host::Owner;
use crate::stage2::scenario::{GuestAddress, GuestStep, HostAddress, Operation, PAGE_SIZE};
use crate::stage2::transcript::End;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    Fetch,
    Maintenance,
}

impl Purpose {
    /// The syndrome of an abort of such an access that stage 1 raises.
    fn syndrome(self, status: u64) -> u64 {
        status
            | match self {
                Self::Read => syndrome::DATA_ABORT,
                Self::Write => syndrome::DATA_ABORT | syndrome::WRITE,
                Self::Fetch => syndrome::INSTRUCTION_ABORT,
                Self::Maintenance => syndrome::DATA_ABORT | syndrome::WRITE | syndrome::MAINTENANCE,
            }
    }

    /// The same of one that a hypervisor injects, which says no more than the class.
    fn injected(self, status: u64) -> u64 {
        match self {
            Self::Fetch => syndrome::INSTRUCTION_ABORT | status,
            Self::Read | Self::Write | Self::Maintenance => syndrome::DATA_ABORT | status,
        }
    }
}

/// The syndrome of an abort that the hypervisor injects.
///
/// A64-SYNDROME-001: there is nothing in the upper half.
pub(super) fn injected_syndrome(syndrome: u64, defects: DefectSet) -> u64 {
    if defects.has(Defect::SyndromeExtendsSign) {
        syndrome | 0xffff_ffff << 32
    } else {
        syndrome
    }
}

/// Where an access goes after stage 1.
#[derive(Clone, Copy, Debug)]
struct Translated {
    at: GuestAddress,
    device: bool,
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

impl Machine<'_> {
    /// One operation.
    pub(super) fn arm64_operation(
        &mut self,
        setup: Arm64,
        step: &mut GuestStep,
    ) -> Result<Result<(), Stop>, ModelError> {
        let mut guest = Guest {
            machine: self,
            setup,
            unknown: None,
        };
        let ended = match step.operation {
            Operation::Read { at, size } => {
                let read = guest.read(at, size);
                read.map(|value| guest.machine.seen.value = Some(value))
            }
            Operation::Write { at, size, value } => guest.write(at, size, value),
            Operation::Add { at, size, value } => {
                guest.exclusive(at, size, |old| Some(old.wrapping_add(value)))
            }
            Operation::CompareExchange {
                at,
                size,
                expected,
                value,
            } => guest.exclusive(at, size, |old| (old == expected & mask(size)).then_some(value)),
            Operation::Copy { .. } => guest.copy(&mut step.operation),
            Operation::Fetch { at } => guest.fetch(at),
            Operation::Retry | Operation::UseTables { .. } => Ok(()),
            Operation::Arm64(operation) => guest.instruction(operation),
        };
        if let Some(what) = guest.unknown {
            return Err(ModelError::BadScenario(what));
        }
        match self.at_exit_failed.take() {
            Some(error) => Err(error),
            None => Ok(ended),
        }
    }
}

struct Guest<'m, 'a> {
    machine: &'m mut Machine<'a>,
    setup: Arm64,
    /// What the model does not know.
    unknown: Option<String>,
}

impl Guest<'_, '_> {
    fn has(&self, defect: Defect) -> bool {
        self.machine.defects.has(defect)
    }

    fn exception(syndrome: u64, virtual_address: GuestAddress) -> Stop {
        End::Exception {
            syndrome,
            address: virtual_address.bytes(),
        }
    }

    /// An abort that the hypervisor injects.
    fn injected(&self, purpose: Purpose, status: u64, address: GuestAddress) -> Stop {
        let syndrome = injected_syndrome(purpose.injected(status), self.machine.defects);
        Self::exception(syndrome, address)
    }

    /// Stage 1.
    ///
    /// A64-STAGE1-001: what the guest's own translation forbids is an exception of the guest,
    /// whatever lies behind it. A64-STAGE1-002: an access to device memory that is not aligned
    /// is one, too. A64-RANGE-001: an address that the virtual machine cannot have is an external
    /// abort.
    fn translate(&mut self, at: GuestAddress, size: u8, purpose: Purpose) -> Result<Translated, Stop> {
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
        if purpose == Purpose::Fetch && self.has(Defect::FetchNeverSetsAccessFlag) {
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

    /// The page that an access cannot be made in, if any: without a slot, or read-only.
    fn refused(&self, at: GuestAddress, size: u8, write: bool) -> Option<GuestAddress> {
        let last = at.plus(u64::from(size.saturating_sub(1)));
        let second = GuestAddress {
            page: last.page,
            offset: 0,
        };
        let parts = if last.page == at.page {
            vec![at]
        } else {
            vec![at, second]
        };
        parts
            .into_iter()
            .find(|part| match self.machine.there(part.page) {
                There::Nothing => true,
                There::Memory { read_only, .. } => write && read_only,
            })
    }

    fn crosses(at: GuestAddress, size: u8) -> bool {
        u64::from(at.offset) + u64::from(size) > PAGE_SIZE
    }

    /// A load of one register.
    ///
    /// A64-CROSS-001: one that crosses into or out of a page that is no memory reaches the host as
    /// a whole, at the first byte that is no memory.
    fn read(&mut self, at: GuestAddress, size: u8) -> Result<u64, Stop> {
        let to = self.translate(at, size, Purpose::Read)?.at;
        match self.refused(to, size, false) {
            Some(part) if Self::crosses(to, size) => self.machine.exit_of_read(part, size),
            _ => self.machine.read(to, size),
        }
    }

    /// A store of one register.
    ///
    /// A64-ATTR-001: whether a slot may be written is independent of the attributes that the
    /// guest gives the memory. A64-CROSS-001 for stores; A64-CROSS-002: the part that is memory is
    /// written or not.
    fn write(&mut self, at: GuestAddress, size: u8, value: u64) -> Result<(), Stop> {
        let Translated { at: to, device } = self.translate(at, size, Purpose::Write)?;
        let Some(part) = self.refused(to, size, true) else {
            return self.machine.write(to, size, value);
        };
        if device && self.has(Defect::DeviceAttributeGrantsWrite) {
            return self.write_through(to, size, value);
        }
        if !Self::crosses(to, size) {
            return self.machine.write(to, size, value);
        }
        let first = PAGE_SIZE - u64::from(to.offset);
        let in_memory = part != to
            && self
                .machine
                .choices
                .settle(Choice::AnyOf(&[false, true]), &A64_CROSS_002);
        if in_memory {
            let first = u8::try_from(first).unwrap_or(size);
            self.machine.write(to, first, value & mask(first))?;
        }
        self.machine.exit_of_write(part, size, value & mask(size))
    }

    /// Writes memory that may not be written, which only a defect does.
    fn write_through(&mut self, at: GuestAddress, size: u8, value: u64) -> Result<(), Stop> {
        let There::Memory { backing, page, .. } = self.machine.there(at.page) else {
            return self.machine.write(at, size, value);
        };
        for (byte, offset) in value
            .to_le_bytes()
            .into_iter()
            .zip(at.offset..)
            .take(usize::from(size))
        {
            let written = self.machine.host.write(
                Owner::Parent,
                HostAddress {
                    backing,
                    page,
                    offset,
                },
                byte,
            );
            written.map_err(|_| End::Failed(EFAULT))?;
        }
        Ok(())
    }

    /// What no syndrome describes and is not in memory.
    ///
    /// A64-NISV-001: KVM_RUN fails with ENOSYS and the instruction is not executed.
    /// A64-NISV-002: with KVM_CAP_ARM_NISV_TO_USER it is an exit of its own instead.
    fn undescribed(&self, at: GuestAddress, write: bool) -> Result<(), Stop> {
        if self.has(Defect::UndescribedAccessSkipped) {
            return Ok(());
        }
        if self.setup.undescribed_exits && !self.has(Defect::UndescribedExitsIgnored) {
            return Err(End::Undescribed {
                write,
                at: at.bytes(),
            });
        }
        Err(End::Failed(ENOSYS))
    }

    /// A load that no syndrome describes: from memory it is like any other.
    fn undescribed_read(&mut self, at: GuestAddress, size: u8) -> Result<u64, Stop> {
        let to = self.translate(at, size, Purpose::Read)?.at;
        match self.refused(to, size, false) {
            Some(part) => self.undescribed(part, false).map(|()| 0),
            None => self.machine.read(to, size),
        }
    }

    /// A store that no syndrome describes.
    fn undescribed_write(&mut self, at: GuestAddress, size: u8, value: u64) -> Result<(), Stop> {
        let to = self.translate(at, size, Purpose::Write)?.at;
        match self.refused(to, size, true) {
            Some(part) => self.undescribed(part, true),
            None => self.machine.write(to, size, value),
        }
    }

    /// An exclusive load, and an exclusive store if there is something to be stored.
    ///
    /// A64-EXCL-001: without a slot it fails at the load, in a read-only slot at the store, and if
    /// nothing is stored it is a load.
    fn exclusive(
        &mut self,
        at: GuestAddress,
        size: u8,
        new: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<(), Stop> {
        let old = self.undescribed_read(at, size)?;
        if let Some(value) = new(old) {
            self.undescribed_write(at, size, value & mask(size))?;
        }
        self.machine.seen.value = Some(old);
        Ok(())
    }

    /// A read and a write as one access, which must be able to write in any case (A64-EXCL-002).
    fn atomic(
        &mut self,
        at: GuestAddress,
        size: u8,
        new: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<(), Stop> {
        let to = self.translate(at, size, Purpose::Write)?.at;
        if let Some(part) = self.refused(to, size, true) {
            return self.undescribed(part, true);
        }
        let old = self.machine.read(to, size)?;
        let value = new(old).unwrap_or(old);
        self.machine.write(to, size, value & mask(size))?;
        self.machine.seen.value = Some(old);
        Ok(())
    }

    /// Loads and stores of single bytes in ascending order.
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
    /// A64-FETCH-001: where no slot is, the guest takes an external instruction abort.
    fn fetch(&mut self, at: GuestAddress) -> Result<(), Stop> {
        let to = self.translate(at, 4, Purpose::Fetch)?.at;
        let mut bytes = [0; code::LONGEST];
        for (byte, index) in bytes.iter_mut().zip(0..) {
            let to = to.plus(index);
            let There::Memory { backing, page, .. } = self.machine.there(to.page) else {
                if self.has(Defect::FetchWithoutSlotFails) {
                    return Err(End::Failed(EFAULT));
                }
                return Err(self.injected(Purpose::Fetch, syndrome::EXTERNAL, at));
            };
            self.machine.settle_freed(backing, page);
            let place = HostAddress {
                backing,
                page,
                offset: to.offset,
            };
            let read = self.machine.host.read(Owner::Parent, place);
            *byte = read.map_err(|_| End::Failed(EFAULT))?;
        }
        match code::returned(Architecture::Arm64, bytes) {
            Some(value) => self.machine.seen.value = Some(u64::from(value)),
            None => {
                self.unknown = Some(format!(
                    "page {:#x} holds no code where the guest calls it",
                    to.page
                ))
            }
        }
        Ok(())
    }

    fn instruction(&mut self, operation: Arm64Operation) -> Result<(), Stop> {
        let Arm64Operation {
            instruction,
            at,
            value,
            expected,
        } = operation;
        match instruction {
            Instruction::LoadPair
            | Instruction::LoadIndexed
            | Instruction::LoadSimd
            | Instruction::LoadExclusive => {
                let read = self.undescribed_read(at, 8)?;
                self.machine.seen.value = Some(read);
                Ok(())
            }
            Instruction::StorePair | Instruction::StoreIndexed | Instruction::StoreSimd => {
                self.undescribed_write(at, 8, value)
            }
            Instruction::CompareAndSwap => self.atomic(at, 8, |old| (old == expected).then_some(value)),
            Instruction::AtomicAdd => self.atomic(at, 8, |old| Some(old.wrapping_add(value))),
            Instruction::LoadSigned | Instruction::LoadSignedWord => self.signed(at, instruction),
            Instruction::ZeroBlock => self.zero_block(at),
            Instruction::Clean
            | Instruction::CleanAndInvalidate
            | Instruction::Invalidate
            | Instruction::InvalidateInstructions => self.maintain(at),
        }
    }

    /// A64-MMIO-001: a load that extends the sign extends it also in what the host answers, and no
    /// further than its register goes.
    fn signed(&mut self, at: GuestAddress, instruction: Instruction) -> Result<(), Stop> {
        let byte = self.read(at, 1)?;
        if self.has(Defect::AnswerNeverExtendsSign) && !self.machine.seen.exits.is_empty() {
            self.machine.seen.value = Some(byte);
            return Ok(());
        }
        let extended = i64::from(byte.to_le_bytes()[0].cast_signed()).cast_unsigned();
        let word = instruction == Instruction::LoadSignedWord && !self.has(Defect::SignExtendedPastWord);
        self.machine.seen.value = Some(if word { extended & mask(4) } else { extended });
        Ok(())
    }

    /// DC ZVA (A64-NISV-001 where it cannot write).
    fn zero_block(&mut self, at: GuestAddress) -> Result<(), Stop> {
        let start = GuestAddress {
            offset: at.offset / ZERO_BLOCK * ZERO_BLOCK,
            ..at
        };
        let to = self.translate(at, 0, Purpose::Write)?;
        if to.device {
            return Err(Self::exception(Purpose::Write.syndrome(syndrome::ALIGNMENT), at));
        }
        let to = GuestAddress {
            offset: start.offset,
            page: to.at.page,
        };
        if let Some(part) = self.refused(to, 1, true) {
            return self.undescribed(part, true);
        }
        for offset in (0..u64::from(ZERO_BLOCK)).step_by(8) {
            self.machine.write(to.plus(offset), 8, 0)?;
        }
        Ok(())
    }

    /// Cache maintenance.
    ///
    /// A64-MAINT-001: without a slot nothing happens. A64-MAINT-002: in a slot no contents change
    /// and nothing reaches the host, whatever may be written and whatever was accessed before.
    /// A64-MAINT-003: whether it marks a page in the dirty log is open.
    fn maintain(&mut self, at: GuestAddress) -> Result<(), Stop> {
        let to = self.translate(at, 0, Purpose::Maintenance)?.at;
        let There::Memory {
            slot,
            backing,
            page,
            read_only,
        } = self.machine.there(to.page)
        else {
            return if self.has(Defect::MaintenanceWithoutSlotFails) {
                Err(End::Failed(ENOSYS))
            } else {
                Ok(())
            };
        };
        let mapped = self.machine.history.accessed.contains_key(&to.page);
        if read_only && !mapped && self.has(Defect::MaintenanceNeedsWritable) {
            return Err(End::Failed(ENOSYS));
        }
        let place = HostAddress {
            backing,
            page,
            offset: to.offset,
        };
        self.machine
            .host
            .read(Owner::Parent, place)
            .map_err(|_| End::Failed(EFAULT))?;
        let logged = !read_only && self.machine.slots.is_logged(slot);
        if logged
            && self
                .machine
                .choices
                .settle(Choice::AnyOf(&[false, true]), &A64_MAINT_003)
        {
            self.machine.mark_dirty_in(slot, to.page);
        }
        Ok(())
    }
}
