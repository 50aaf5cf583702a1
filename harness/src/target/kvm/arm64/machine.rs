//! A virtual machine with one processor that does operations.

use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, KVM_MEM_READONLY, kvm_userspace_memory_region, kvm_vcpu_init};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

use spec_model::host_state::HostCall;

use super::device::Device;
use super::el1::{BLOCK, EL1H_MASKED, MEMORY_TYPES, SIMD, TRANSLATION_CONTROL, TRANSLATION_ON};
use super::mapping::Mapping;
use super::watchdog::Watchdog;
use super::{Failure, register};
use crate::target::arm64_operation::{ALL, EXCEPTION, Operation};

/// Guest-physical address of the slot with stubs, vectors and translation tables.
const PROGRAM: u64 = 0x4000_0000;
/// Where in that slot each of them is, in bytes; the slot's size.
const TABLE: usize = 0;
const VECTORS: usize = 0x1_0000;
const STUBS: usize = 0x2_0000;
const PROGRAM_SIZE: usize = 0x3_0000;
/// Bytes per stub: each in a cache line of its own.
const STUB: usize = 64;

/// Guest-physical address of the slot that operations are about.
pub(super) const DATA: u64 = 0x8000_0000;
/// Its size in bytes: a page on hosts with pages of up to 64 KiB.
pub(super) const DATA_SIZE: usize = 0x1_0000;
/// An address without memory that operations may be about.
pub(super) const HOLE: u64 = 0x2000_0000;
/// Addresses without memory: X27, where stubs end, and X28, which exception vectors write.
const END: u64 = 0x1000_0000;
const EXCEPTION_TAKEN: u64 = 0x1000_1000;

const GIB: u64 = 1 << 30;

/// What a machine is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The slot with the data is KVM_MEM_READONLY.
    pub read_only: bool,
    /// The guest translates addresses, each to itself, as normal memory. Without this all its
    /// data accesses are to device memory (Arm ARM D8.2.12).
    pub translation: bool,
}

/// An MMIO exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mmio {
    Read { address: u64, length: usize },
    Write { address: u64, bytes: Vec<u8> },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At its end.
    Done,
    /// In an exception of the guest.
    Exception { syndrome: u64, address: u64 },
    /// KVM_RUN failed with this errno.
    Failed(i32),
    /// KVM_RUN did not come back in time.
    Stuck,
    /// Another exit.
    Other(String),
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// X0 to X3 afterwards.
    pub registers: [u64; 4],
    /// Exits on the way, in order.
    pub exits: Vec<Mmio>,
    pub end: End,
}

/// A virtual machine, its processor and its memory.
pub(super) struct Machine<'a> {
    vcpu: VcpuFd,
    /// Kept as long as the processor.
    _vm: VmFd,
    /// Its memory goes after the virtual machine.
    _program: Mapping,
    pub data: Mapping,
    watchdog: &'a Watchdog,
}

impl<'a> Machine<'a> {
    /// A machine whose data slot lies over memory that nobody has touched.
    pub fn new(device: &Device, watchdog: &'a Watchdog, shape: Shape) -> Result<Self, Failure> {
        let mapped =
            |length| Mapping::anonymous(length).map_err(|source| Failure::Call { call: "mmap", source });
        let (mut program, data) = (mapped(PROGRAM_SIZE)?, mapped(DATA_SIZE)?);
        write_program(program.bytes_mut());
        let vm = device.kvm.create_vm().map_err(Failure::ioctl("KVM_CREATE_VM"))?;
        set_slot(&vm, 0, PROGRAM, &program, 0)?;
        let flags = if shape.read_only { KVM_MEM_READONLY } else { 0 };
        set_slot(&vm, 1, DATA, &data, flags)?;
        let vcpu = vm.create_vcpu(0).map_err(Failure::ioctl("KVM_CREATE_VCPU"))?;
        let mut kind = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut kind)
            .map_err(Failure::ioctl("KVM_ARM_PREFERRED_TARGET"))?;
        kind.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&kind)
            .map_err(Failure::ioctl("KVM_ARM_VCPU_INIT"))?;
        let machine = Self {
            vcpu,
            _vm: vm,
            _program: program,
            data,
            watchdog,
        };
        machine.set(register::PSTATE, EL1H_MASKED)?;
        machine.set(register::VBAR_EL1, PROGRAM + VECTORS as u64)?;
        machine.set(register::CPACR_EL1, SIMD)?;
        machine.set(register::x(27), END)?;
        machine.set(register::x(28), EXCEPTION_TAKEN)?;
        if shape.translation {
            machine.set(register::MAIR_EL1, MEMORY_TYPES)?;
            machine.set(register::TCR_EL1, TRANSLATION_CONTROL)?;
            machine.set(register::TTBR0_EL1, PROGRAM + TABLE as u64)?;
            let reset = machine.get(register::SCTLR_EL1)?;
            machine.set(register::SCTLR_EL1, reset | TRANSLATION_ON)?;
        }
        Ok(machine)
    }

    pub fn set(&self, id: u64, value: u64) -> Result<(), Failure> {
        let set = self.vcpu.set_one_reg(id, &value.to_le_bytes());
        set.map(drop).map_err(Failure::host(HostCall::SetOneReg, 0))
    }

    pub fn get(&self, id: u64) -> Result<u64, Failure> {
        let mut bytes = [0; 8];
        let got = self.vcpu.get_one_reg(id, &mut bytes);
        got.map_err(Failure::host(HostCall::GetOneReg, 0))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Does an operation with X0 to X2 as given. A read without memory gets all ones.
    pub fn operate(&mut self, operation: &Operation, registers: [u64; 3]) -> Result<Outcome, Failure> {
        let index = ALL
            .iter()
            .position(|other| other == operation)
            .unwrap_or_default();
        self.set(register::PC, PROGRAM + (STUBS + index * STUB) as u64)?;
        self.set(register::PSTATE, EL1H_MASKED)?;
        for (number, value) in (0..).zip(registers) {
            self.set(register::x(number), value)?;
        }
        self.set(register::x(3), u64::MAX)?;
        let mut exits = Vec::new();
        self.watchdog.arm();
        let end = self.run(&mut exits);
        self.watchdog.disarm();
        let end = match end {
            Some(end) => end,
            None => End::Exception {
                syndrome: self.get(register::ESR_EL1)?,
                address: self.get(register::FAR_EL1)?,
            },
        };
        let mut registers = [0; 4];
        for (number, value) in (0..).zip(&mut registers) {
            *value = self.get(register::x(number))?;
        }
        Ok(Outcome {
            registers,
            exits,
            end,
        })
    }

    /// Runs until a stub ends; none if an exception vector ran.
    fn run(&mut self, exits: &mut Vec<Mmio>) -> Option<End> {
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::MmioWrite(END, _)) => {
                    self.complete();
                    return Some(End::Done);
                }
                Ok(VcpuExit::MmioWrite(EXCEPTION_TAKEN, _)) => {
                    self.complete();
                    return None;
                }
                Ok(VcpuExit::MmioWrite(address, bytes)) => exits.push(Mmio::Write {
                    address,
                    bytes: bytes.to_vec(),
                }),
                Ok(VcpuExit::MmioRead(address, bytes)) => {
                    bytes.fill(0xff);
                    let length = bytes.len();
                    exits.push(Mmio::Read { address, length });
                }
                Ok(other) => return Some(End::Other(format!("{other:?}"))),
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                    if self.watchdog.expired() {
                        return Some(End::Stuck);
                    }
                }
                Err(error) => return Some(End::Failed(error.errno())),
            }
        }
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
}

fn set_slot(vm: &VmFd, slot: u32, address: u64, memory: &Mapping, flags: u32) -> Result<(), Failure> {
    let region = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: address,
        memory_size: memory.len() as u64,
        userspace_addr: memory.host_address() as u64,
    };
    // SAFETY: the region is a mapping that `Machine` owns and drops after the virtual machine's
    // processor; should the mapping go first, KVM's MMU notifier takes its pages from the guest.
    let set = unsafe { vm.set_user_memory_region(region) };
    set.map_err(Failure::ioctl("KVM_SET_USER_MEMORY_REGION"))
}

/// Writes the tables, the vectors and the stub of every operation.
fn write_program(memory: &mut [u8]) {
    let mut write = |at: usize, bytes: &[u8]| {
        if let Some(place) = memory.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    for block in 0..4_u64 {
        write(TABLE + 8 * block as usize, &((block * GIB) | BLOCK).to_le_bytes());
    }
    let vector = EXCEPTION.map(u32::to_le_bytes).concat();
    for number in 0..16 {
        write(VECTORS + 0x80 * number, &vector);
    }
    for (index, operation) in ALL.iter().enumerate() {
        write(STUBS + index * STUB, &operation.stub());
    }
}
