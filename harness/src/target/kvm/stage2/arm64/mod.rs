//! The guest's side on arm64: one piece of machine code for each operation (`program`), at EL1 with
//! addresses that stand for themselves unless the scenario says otherwise.
//!
//! X0 holds the address; X1, X2 and X5 hold values. A store to the address in X27, which is in no
//! slot, comes back to the host, and so does the store to the one in X28 that every exception vector
//! makes. Additions and comparisons are pairs of an exclusive load and an exclusive store, which
//! every processor has.

mod program;

use std::os::fd::AsRawFd;

use kvm_bindings::{
    KVM_ARM_VCPU_PSCI_0_2, KVM_CAP_ARM_NISV_TO_USER, KVM_EXIT_ARM_NISV, kvm_enable_cap, kvm_vcpu_events,
    kvm_vcpu_init,
};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use spec_model::architecture::Architecture;
use spec_model::host_state::HostCall;
use spec_model::stage2::arm64::{Arm64, Arm64Operation, Instruction, WINDOW};
use spec_model::stage2::scenario::{GuestAddress, Operation, PAGE_SIZE, SERVER_PAGE, SERVER_PAGES, Stage2};
use spec_model::stage2::transcript::{End, Interrupted, MemoryExit};

use super::super::device::Device;
use super::super::el1::{EL1H_MASKED, MEMORY_TYPES, SIMD, TRANSLATION_CONTROL, TRANSLATION_ON};
use super::super::failure::Failure;
use super::super::mapping::Mapping;
use super::super::register;
use super::Entered;
use program::{STUBS, TABLE, VECTORS, registers};

pub(super) use program::{SPINS, program};

/// What guests are made of.
pub(super) const ARCHITECTURE: Architecture = Architecture::Arm64;
/// Pages of the slot with the program. The last two of the target's own pages are in no slot.
pub(super) const PAGES: u64 = SERVER_PAGES - 2;
/// Where the target's own pages begin.
const BASE: u64 = SERVER_PAGE * PAGE_SIZE;
/// Where the guest's stores come back to the host: X27 and X28.
const END: u64 = BASE + PAGES * PAGE_SIZE;
const EXCEPTION_TAKEN: u64 = END + PAGE_SIZE;
/// A virtual address that no table of the guest translates.
const UNTRANSLATED: u64 = 1 << 39;

/// TCR_EL1.HA.
const HARDWARE_ACCESS_FLAG: u64 = 1 << 39;
/// A table descriptor.
const NEXT_TABLE: u64 = 3;
/// ESR_EL2.ISS.WnR.
const WRITE: u64 = 1 << 6;

/// The processor.
pub(super) struct Guest {
    vcpu: VcpuFd,
    setup: Arm64,
    /// The operation that it does, and where its access is complete.
    current: Option<(Operation, u64)>,
}

impl Guest {
    /// Whether a machine that was made for another scenario will do. The guest's own translations
    /// are not invalidated, so that one with a table of its own is never used again.
    pub(super) fn fits(&self, scenario: &Stage2) -> bool {
        scenario.arm64.is_none() && self.setup == Arm64::default()
    }

    /// A virtual machine as its processor wants it.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn create_vm(device: &Device, scenario: &Stage2) -> Result<VmFd, Failure> {
        let setup = scenario.arm64.unwrap_or_default();
        let vm = loop {
            match device.kvm.create_vm_with_ipa_size(u32::from(setup.address_bits)) {
                Err(error) if error.errno() == libc::EINTR => {}
                outcome => break outcome.map_err(Failure::ioctl("KVM_CREATE_VM"))?,
            }
        };
        if setup.undescribed_exits {
            let cap = kvm_enable_cap {
                cap: KVM_CAP_ARM_NISV_TO_USER,
                ..kvm_enable_cap::default()
            };
            vm.enable_cap(&cap)
                .map_err(Failure::ioctl("KVM_ENABLE_CAP(KVM_CAP_ARM_NISV_TO_USER)"))?;
        }
        Ok(vm)
    }

    /// The processor of a virtual machine.
    ///
    /// # Errors
    /// If KVM refuses, or the processor lacks what the scenario needs.
    pub(super) fn new(
        _device: &Device,
        vm: &VmFd,
        scenario: &Stage2,
        server: &mut Mapping,
    ) -> Result<Self, Failure> {
        let setup = scenario.arm64.unwrap_or_default();
        if let Some(table) = setup.table {
            let entry = (table * PAGE_SIZE) | NEXT_TABLE;
            let place = server
                .bytes_mut()
                .iter_mut()
                .skip(TABLE + 8 * (WINDOW >> 30) as usize);
            place.zip(entry.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        let vcpu = vm.create_vcpu(0).map_err(Failure::ioctl("KVM_CREATE_VCPU"))?;
        let mut kind = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut kind)
            .map_err(Failure::ioctl("KVM_ARM_PREFERRED_TARGET"))?;
        kind.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&kind)
            .map_err(Failure::ioctl("KVM_ARM_VCPU_INIT"))?;
        let guest = Self {
            vcpu,
            setup,
            current: None,
        };
        guest.set(register::VBAR_EL1, BASE + VECTORS as u64)?;
        guest.set(register::CPACR_EL1, SIMD)?;
        guest.set(register::x(27), END)?;
        guest.set(register::x(28), EXCEPTION_TAKEN)?;
        let mut control = TRANSLATION_CONTROL;
        if setup.hardware_access_flag {
            if guest.get(register::ID_AA64MMFR1_EL1)? & 0xf == 0 {
                return Err(Failure::ProcessorLacks(
                    "hardware management of access flags (FEAT_HAFDBS)",
                ));
            }
            control |= HARDWARE_ACCESS_FLAG;
        }
        if setup.translation {
            guest.set(register::MAIR_EL1, MEMORY_TYPES)?;
            guest.set(register::TCR_EL1, control)?;
            guest.set(register::TTBR0_EL1, BASE + TABLE as u64)?;
            let reset = guest.get(register::SCTLR_EL1)?;
            guest.set(register::SCTLR_EL1, reset | TRANSLATION_ON)?;
        }
        Ok(guest)
    }

    fn set(&self, id: u64, value: u64) -> Result<(), Failure> {
        let set = self.vcpu.set_one_reg(id, &value.to_le_bytes());
        set.map(drop).map_err(Failure::host(HostCall::SetOneReg, 0))
    }

    fn get(&self, id: u64) -> Result<u64, Failure> {
        let mut bytes = [0; 8];
        let got = self.vcpu.get_one_reg(id, &mut bytes);
        got.map_err(Failure::host(HostCall::GetOneReg, 0))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Makes an operation the next thing that the processor does.
    ///
    /// # Errors
    /// If there is no machine code for it, or the processor lacks it.
    pub(super) fn begin(&mut self, operation: Operation, _server: &mut Mapping) -> Result<(), Failure> {
        if let Operation::Arm64(wanted) = operation {
            self.check(wanted)?;
        }
        self.point_to(operation)
    }

    /// Sets the registers.
    fn point_to(&mut self, operation: Operation) -> Result<(), Failure> {
        let Some(stub) = program::stub(operation) else {
            return Err(Failure::NoGuestCode(format!("{operation:?}")));
        };
        let start = BASE + (STUBS + stub.offset) as u64;
        self.set(register::PC, start)?;
        self.set(register::PSTATE, EL1H_MASKED)?;
        let [x0, x1, x2, x5] = registers(operation);
        for (number, value) in [(0, x0), (1, x1), (2, x2), (5, x5)] {
            self.set(register::x(number), value)?;
        }
        self.current = Some((operation, start + stub.retired));
        Ok(())
    }

    /// Whether the processor has an instruction, and does with it what a hypervisor can see.
    fn check(&mut self, wanted: Arm64Operation) -> Result<(), Failure> {
        let atomic = matches!(
            wanted.instruction,
            Instruction::CompareAndSwap | Instruction::AtomicAdd
        );
        if atomic && self.get(register::ID_AA64ISAR0_EL1)? >> 20 & 0xf < 2 {
            return Err(Failure::ProcessorLacks("atomic instructions (FEAT_LSE)"));
        }
        if !wanted.instruction.is_maintenance() || !self.setup.translation {
            return Ok(());
        }
        self.point_to(Operation::Arm64(Arm64Operation {
            at: GuestAddress::of_bytes(UNTRANSLATED),
            ..wanted
        }))?;
        match self.enter(0)? {
            Entered::Ended(End::Exception { .. }) => Ok(()),
            _ => Err(Failure::ProcessorLacks(
                "faults of cache maintenance: it does not translate the addresses, so that no KVM on it sees \
                 anything of such an instruction",
            )),
        }
    }

    /// Enters the guest; a read that reaches the host gets the low bytes of `answer`.
    ///
    /// # Errors
    /// If it comes back for a reason that no operation has.
    pub(super) fn enter(&mut self, answer: u64) -> Result<Entered, Failure> {
        let access = |write, address, length: usize, data| {
            Entered::Access(MemoryExit {
                write,
                at: GuestAddress::of_bytes(address),
                length: u8::try_from(length).unwrap_or(u8::MAX),
                data,
            })
        };
        Ok(match self.vcpu.run() {
            Ok(VcpuExit::MmioWrite(END, _)) => {
                self.complete();
                Entered::Ended(End::Done)
            }
            Ok(VcpuExit::MmioWrite(EXCEPTION_TAKEN, _)) => {
                self.complete();
                Entered::Ended(End::Exception {
                    syndrome: self.get(register::ESR_EL1)?,
                    address: self.get(register::FAR_EL1)?,
                })
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                data.iter_mut()
                    .zip(answer.to_le_bytes())
                    .for_each(|(to, from)| *to = from);
                access(false, address, data.len(), 0)
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                let mut bytes = [0; 8];
                bytes.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                access(true, address, data.len(), u64::from_le_bytes(bytes))
            }
            Ok(VcpuExit::Unsupported(KVM_EXIT_ARM_NISV)) => Entered::Ended(undescribed(&mut self.vcpu)),
            Ok(VcpuExit::InternalError) => Entered::Ended(End::InternalError(0)),
            Ok(VcpuExit::MemoryFault { .. }) => {
                Entered::Ended(End::Failed(vmm_sys_util::errno::Error::last().errno()))
            }
            Ok(VcpuExit::Intr) => Entered::Again,
            Ok(other) => {
                return Err(Failure::UnexpectedExit {
                    vcpu: 0,
                    exit: format!("{other:?}"),
                });
            }
            Err(error) => match error.errno() {
                libc::EINTR | libc::EAGAIN => Entered::Again,
                errno => Entered::Ended(End::Failed(errno)),
            },
        })
    }

    /// Lets KVM finish the store for which it just came back: it moves the program counter only
    /// when it is entered again, and would move the next one that is set (KVM API 5,
    /// KVM_EXIT_MMIO).
    fn complete(&mut self) {
        self.vcpu.set_kvm_immediate_exit(1);
        // It fails with EINTR, having entered nothing.
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
    }

    /// Completes an access and lets nothing else run.
    ///
    /// # Errors
    /// If KVM refuses to tell its registers.
    pub(super) fn complete_only(&mut self) -> Result<Interrupted, Failure> {
        self.vcpu.set_kvm_immediate_exit(1);
        let end = match self.vcpu.run() {
            Err(error) => End::Failed(error.errno()),
            Ok(_) => End::Done,
        };
        self.vcpu.set_kvm_immediate_exit(0);
        let pc = self.get(register::PC)?;
        Ok(Interrupted {
            end,
            retired: self.current.is_some_and(|(_, retired)| retired == pc),
        })
    }

    /// Tables of x86, which there are none of here.
    ///
    /// # Errors
    /// If there are any.
    pub(super) fn use_tables(&mut self, tables: Option<GuestAddress>) -> Result<(), Failure> {
        match tables {
            None => Ok(()),
            Some(at) => Err(Failure::NoGuestCode(format!(
                "page tables of x86 at {:#x}",
                at.bytes()
            ))),
        }
    }

    /// The descriptor of the processor.
    pub(super) fn descriptor(&self) -> i32 {
        self.vcpu.as_raw_fd()
    }

    /// Answers the access that KVM came back for with an external abort.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn inject_abort(&mut self) -> Result<(), Failure> {
        let mut events = kvm_vcpu_events::default();
        events.exception.ext_dabt_pending = 1;
        self.vcpu
            .set_vcpu_events(&events)
            .map_err(Failure::host(HostCall::SetVcpuEvents, 0))
    }

    /// What the operation has read.
    ///
    /// # Errors
    /// If KVM refuses to tell its registers.
    pub(super) fn value(&self) -> Result<Option<u64>, Failure> {
        let Some((operation, _)) = self.current else {
            return Ok(None);
        };
        let reads = match operation {
            Operation::Read { .. }
            | Operation::Add { .. }
            | Operation::CompareExchange { .. }
            | Operation::Fetch { .. }
            | Operation::Spin { .. } => true,
            Operation::Write { .. }
            | Operation::Copy { .. }
            | Operation::Retry
            | Operation::UseTables { .. } => false,
            Operation::Arm64(Arm64Operation { instruction, .. }) => match instruction {
                Instruction::LoadPair => {
                    let high = self.get(register::x(2))?;
                    return Ok(Some(self.get(register::x(1))? | high << 32));
                }
                Instruction::LoadIndexed
                | Instruction::LoadSimd
                | Instruction::LoadExclusive
                | Instruction::CompareAndSwap
                | Instruction::AtomicAdd
                | Instruction::LoadSignedWord
                | Instruction::LoadSigned => true,
                _ => false,
            },
        };
        if reads {
            self.get(register::x(1)).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// What KVM_EXIT_ARM_NISV says.
fn undescribed(vcpu: &mut VcpuFd) -> End {
    // SAFETY: only called after KVM_EXIT_ARM_NISV, for which the kernel filled this member.
    let exit = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.arm_nisv };
    End::Undescribed {
        write: exit.esr_iss & WRITE != 0,
        at: exit.fault_ipa,
    }
}
