//! The guest's accesses on arm64: what a syndrome describes and what not, and the exceptions that it
//! takes. Its own translation comes first (`stage1`).

mod stage1;

use super::{Machine, Stop, There, mask};
use crate::architecture::Architecture;
use crate::defect::{Defect, DefectSet};
use crate::error::ModelError;
use crate::profile::Choice;
use crate::requirement::{A64_CROSS_002, A64_MAINT_003};
use crate::stage2::arm64::{Arm64, Arm64Operation, Instruction, ZERO_BLOCK, syndrome};
use crate::stage2::code;
use crate::stage2::errno::{EFAULT, ENOSYS};
use crate::stage2::host::Owner;
use crate::stage2::scenario::{GuestAddress, GuestStep, HostAddress, Operation, PAGE_SIZE, SPIN_SIZE};
use crate::stage2::transcript::End;
use stage1::Translated;

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

impl Machine<'_> {
    /// One operation.
    pub(super) fn arm64_operation(
        &mut self,
        setup: Arm64,
        step: &mut GuestStep,
    ) -> Result<Result<(), Stop>, ModelError> {
        if let Operation::Spin { at } = step.operation {
            let meanwhile = std::mem::take(&mut step.meanwhile);
            let mut unknown = None;
            let ended = self.spin(&meanwhile, |machine| {
                let mut guest = Guest {
                    machine,
                    setup,
                    unknown: None,
                };
                let read = guest.read(at, SPIN_SIZE);
                unknown = unknown.take().or(guest.unknown);
                read
            });
            return match unknown {
                Some(what) => Err(ModelError::BadScenario(what)),
                None => ended,
            };
        }
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
            Operation::Retry | Operation::UseTables { .. } | Operation::Spin { .. } => Ok(()),
            Operation::Arm64(operation) => guest.instruction(operation),
        };
        if let Some(what) = guest.unknown {
            return Err(ModelError::BadScenario(what));
        }
        match self.error.take() {
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
