//! The guest's side on x86: one piece of machine code for each operation, in flat 32-bit
//! protected mode without paging, so that linear addresses are guest-physical ones.
//!
//! EDI holds the address, EAX and EBX hold values, and OUT comes back to the host. Eight bytes go
//! through an MMX register, since 32-bit code has no other access of that size that every
//! backend can emulate.

use std::os::fd::AsRawFd;

use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use spec_model::architecture::Architecture;
use spec_model::host_state::HostCall;
use spec_model::stage2::scenario::{GuestAddress, Operation, PAGE_SIZE, SERVER_PAGE, SERVER_PAGES, Stage2};
use spec_model::stage2::transcript::{End, Interrupted, MemoryExit};
use vmm_sys_util::errno::Error as Errno;

use super::super::device::Device;
use super::super::failure::Failure;
use super::super::mapping::Mapping;
use super::{Entered, flat};
use crate::target::Backend;

/// What guests are made of.
pub(super) const ARCHITECTURE: Architecture = Architecture::X86;
/// Pages of the slot with the program.
pub(super) const PAGES: u64 = SERVER_PAGES;
/// Where the target's own pages begin.
const BASE: u64 = SERVER_PAGE * PAGE_SIZE;
/// Eight bytes for values that go through an MMX register.
const SCRATCH: usize = 0x1000;
/// The guest sets this byte once it spins; from the beginning of its own pages.
pub(super) const SPINS: usize = SCRATCH + 8;
/// Where the stack begins, growing down.
const STACK: u64 = BASE + 0x3000;
/// Distance of pieces of code.
const STUB: usize = 32;

const SCRATCH_ADDRESS: u32 = (BASE as u32) + SCRATCH as u32;
const S: [u8; 4] = SCRATCH_ADDRESS.to_le_bytes();
const S4: [u8; 4] = (SCRATCH_ADDRESS + 4).to_le_bytes();
const F: [u8; 4] = (BASE as u32 + SPINS as u32).to_le_bytes();

/// Machine code, and how many bytes of it are executed once the access is complete.
struct Stub {
    code: &'static [u8],
    retired: u64,
}

/// Fills the room between pieces of code.
const HLT: u8 = 0xf4;
/// OUT imm8, AL, which comes back to the host. HLT would not do: with nested paging and page tables in a
/// read-only slot the guest was seen to go on behind it (5.10 and 6.12 under QEMU; the cause was not traced).
const OUT: u8 = 0xe6;
const PORT: u8 = 0xee;

/// In the order of [`number`].
const STUBS: [Stub; 17] = [
    // xor eax, eax; mov al, [edi]
    Stub {
        code: &[0x31, 0xc0, 0x8a, 0x07, OUT, PORT],
        retired: 4,
    },
    // xor eax, eax; mov ax, [edi]
    Stub {
        code: &[0x31, 0xc0, 0x66, 0x8b, 0x07, OUT, PORT],
        retired: 5,
    },
    // mov eax, [edi]
    Stub {
        code: &[0x8b, 0x07, OUT, PORT],
        retired: 2,
    },
    // movq mm0, [edi]; movq [scratch], mm0; mov eax, [scratch]; mov edx, [scratch + 4]
    Stub {
        code: &[
            0x0f, 0x6f, 0x07, 0x0f, 0x7f, 0x05, S[0], S[1], S[2], S[3], 0xa1, S[0], S[1], S[2], S[3], 0x8b,
            0x15, S4[0], S4[1], S4[2], S4[3], OUT, PORT,
        ],
        retired: 3,
    },
    // mov [edi], al
    Stub {
        code: &[0x88, 0x07, OUT, PORT],
        retired: 2,
    },
    // mov [edi], ax
    Stub {
        code: &[0x66, 0x89, 0x07, OUT, PORT],
        retired: 3,
    },
    // mov [edi], eax
    Stub {
        code: &[0x89, 0x07, OUT, PORT],
        retired: 2,
    },
    // movq mm0, [scratch]; movq [edi], mm0
    Stub {
        code: &[
            0x0f, 0x6f, 0x05, S[0], S[1], S[2], S[3], 0x0f, 0x7f, 0x07, OUT, PORT,
        ],
        retired: 10,
    },
    // lock xadd [edi], al
    Stub {
        code: &[0xf0, 0x0f, 0xc0, 0x07, OUT, PORT],
        retired: 4,
    },
    // lock xadd [edi], ax
    Stub {
        code: &[0x66, 0xf0, 0x0f, 0xc1, 0x07, OUT, PORT],
        retired: 5,
    },
    // lock xadd [edi], eax
    Stub {
        code: &[0xf0, 0x0f, 0xc1, 0x07, OUT, PORT],
        retired: 4,
    },
    // lock cmpxchg [edi], bl
    Stub {
        code: &[0xf0, 0x0f, 0xb0, 0x1f, OUT, PORT],
        retired: 4,
    },
    // lock cmpxchg [edi], bx
    Stub {
        code: &[0x66, 0xf0, 0x0f, 0xb1, 0x1f, OUT, PORT],
        retired: 5,
    },
    // lock cmpxchg [edi], ebx
    Stub {
        code: &[0xf0, 0x0f, 0xb1, 0x1f, OUT, PORT],
        retired: 4,
    },
    // rep movsb
    Stub {
        code: &[0xf3, 0xa4, OUT, PORT],
        retired: 2,
    },
    // call edi
    Stub {
        code: &[0xff, 0xd7, OUT, PORT],
        retired: 2,
    },
    // mov eax, [edi]; mov dword ptr [spins], 1; again: mov ebx, [edi]; cmp ebx, eax; je again; mov eax, ebx
    Stub {
        code: &[
            0x8b, 0x07, 0xc7, 0x05, F[0], F[1], F[2], F[3], 1, 0, 0, 0, 0x8b, 0x1f, 0x39, 0xc3, 0x74, 0xfa,
            0x89, 0xd8, OUT, PORT,
        ],
        retired: 14,
    },
];

/// What the target's own pages hold.
pub(super) fn program() -> Vec<u8> {
    let mut code = vec![HLT; STUBS.len() * STUB];
    for (place, stub) in code.chunks_mut(STUB).zip(&STUBS) {
        for (byte, from) in place.iter_mut().zip(stub.code) {
            *byte = *from;
        }
    }
    code
}

/// The processor.
pub(super) struct Guest {
    vcpu: VcpuFd,
    /// The operation that it does, and where its access is complete.
    current: Option<(Operation, u64)>,
    /// The page tables that are in use.
    tables: Option<GuestAddress>,
    /// What the KVM is, which says what it is listed to lack.
    backend: Backend,
}

impl Guest {
    /// Whether a machine that was made for another scenario will do: always.
    pub(super) fn fits(&self, _scenario: &Stage2) -> bool {
        true
    }

    /// A virtual machine as its processor wants it.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn create_vm(device: &Device, _scenario: &Stage2) -> Result<VmFd, Failure> {
        let vm = super::super::machine::create_vm(device)?;
        super::super::machine::set_tss_address(device, &vm)?;
        Ok(vm)
    }

    /// The processor of a virtual machine.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn new(
        device: &Device,
        vm: &VmFd,
        _scenario: &Stage2,
        _server: &mut Mapping,
    ) -> Result<Self, Failure> {
        let vcpu = vm.create_vcpu(0).map_err(Failure::ioctl("KVM_CREATE_VCPU"))?;
        vcpu.set_cpuid2(&device.cpuid)
            .map_err(Failure::host(HostCall::SetCpuid2, 0))?;
        flat::set_mode(&vcpu, None, device.identity.backend)?;
        Ok(Self {
            vcpu,
            current: None,
            tables: None,
            backend: device.identity.backend,
        })
    }

    /// Makes an operation the next thing that the processor does.
    ///
    /// # Errors
    /// If there is no machine code for it.
    pub(super) fn begin(&mut self, operation: Operation, server: &mut Mapping) -> Result<(), Failure> {
        let Some(prepared) = prepare(operation) else {
            return Err(Failure::NoGuestCode(format!("{operation:?}")));
        };
        let place = server.bytes_mut().iter_mut().skip(SCRATCH);
        place
            .zip(prepared.scratch.to_le_bytes())
            .for_each(|(to, from)| *to = from);
        flat::set_registers(&self.vcpu, &prepared.regs, self.backend)?;
        self.current = Some((operation, prepared.retired));
        Ok(())
    }

    /// Switches paging on with tables at that address, or off.
    ///
    /// # Errors
    /// If KVM refuses, or does not keep what it is given.
    pub(super) fn use_tables(&mut self, tables: Option<GuestAddress>) -> Result<(), Failure> {
        if tables != self.tables {
            flat::set_mode(&self.vcpu, tables, self.backend)?;
            self.tables = tables;
        }
        Ok(())
    }

    /// The descriptor of the processor.
    pub(super) fn descriptor(&self) -> i32 {
        self.vcpu.as_raw_fd()
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
        let regs = self
            .vcpu
            .get_regs()
            .map_err(Failure::host(HostCall::GetRegs, 0))?;
        Ok(Interrupted {
            end,
            retired: self.current.is_some_and(|(_, retired)| retired == regs.rip),
        })
    }

    /// Answers an access with an abort, which x86 does not have.
    ///
    /// # Errors
    /// Always.
    pub(super) fn inject_abort(&mut self) -> Result<(), Failure> {
        Err(Failure::NoGuestCode("an external abort".to_owned()))
    }

    /// What the operation has read.
    ///
    /// # Errors
    /// If KVM refuses to tell its registers.
    pub(super) fn value(&self) -> Result<Option<u64>, Failure> {
        let regs = self
            .vcpu
            .get_regs()
            .map_err(Failure::host(HostCall::GetRegs, 0))?;
        Ok(self.current.and_then(|(operation, _)| value(operation, &regs)))
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
            Ok(VcpuExit::IoOut(port, _)) if port == u16::from(PORT) => Entered::Ended(End::Done),
            Ok(VcpuExit::Shutdown) => Entered::Ended(End::Shutdown),
            Ok(VcpuExit::InternalError) => Entered::Ended(End::InternalError(suberror(&mut self.vcpu))),
            // The one exit that comes with an errno.
            Ok(VcpuExit::MemoryFault { .. }) => Entered::Ended(End::Failed(Errno::last().errno())),
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
}

/// An operation made ready.
struct Prepared {
    regs: kvm_regs,
    /// What goes to [`SCRATCH`].
    scratch: u64,
    /// Instruction pointer once the access is complete.
    retired: u64,
}

/// Registers for an operation; nothing if there is no code for it.
fn prepare(operation: Operation) -> Option<Prepared> {
    let number = number(operation)?;
    let stub = STUBS.get(number)?;
    let rip = BASE + (number * STUB) as u64;
    let mut regs = kvm_regs {
        rip,
        rsp: STACK,
        rflags: 2,
        ..kvm_regs::default()
    };
    let mut scratch = 0;
    match operation {
        Operation::Read { at, .. } | Operation::Fetch { at } | Operation::Spin { at } => {
            regs.rdi = at.bytes();
        }
        Operation::Write { at, size, value } => {
            regs.rdi = at.bytes();
            if size == 8 {
                scratch = value;
            } else {
                regs.rax = value;
            }
        }
        Operation::Add { at, value, .. } => {
            regs.rdi = at.bytes();
            regs.rax = value;
        }
        Operation::CompareExchange {
            at, expected, value, ..
        } => {
            regs.rdi = at.bytes();
            regs.rax = expected;
            regs.rbx = value;
        }
        Operation::Copy { from, to, length } => {
            regs.rsi = from.bytes();
            regs.rdi = to.bytes();
            regs.rcx = u64::from(length);
        }
        Operation::Retry | Operation::UseTables { .. } | Operation::Arm64(_) => return None,
    }
    Some(Prepared {
        regs,
        scratch,
        retired: rip + stub.retired,
    })
}

/// What an operation has read, from the registers after it.
fn value(operation: Operation, regs: &kvm_regs) -> Option<u64> {
    let low = regs.rax & 0xffff_ffff;
    match operation {
        Operation::Read { size: 8, .. } => Some(low | regs.rdx << 32),
        Operation::Read { .. } | Operation::Fetch { .. } | Operation::Spin { .. } => Some(low),
        Operation::Add { size, .. } | Operation::CompareExchange { size, .. } => {
            Some(low & (u64::MAX >> (64 - u32::from(size.clamp(1, 8)) * 8)))
        }
        Operation::Write { .. }
        | Operation::Copy { .. }
        | Operation::Retry
        | Operation::UseTables { .. }
        | Operation::Arm64(_) => None,
    }
}

fn number(operation: Operation) -> Option<usize> {
    let by_size = |first: usize, size: u8| match size {
        1 => Some(first),
        2 => Some(first + 1),
        4 => Some(first + 2),
        8 if first < 8 => Some(first + 3),
        _ => None,
    };
    match operation {
        Operation::Read { size, .. } => by_size(0, size),
        Operation::Write { size, .. } => by_size(4, size),
        Operation::Add { size, .. } => by_size(8, size),
        Operation::CompareExchange { size, .. } => by_size(11, size),
        Operation::Copy { .. } => Some(14),
        Operation::Fetch { .. } => Some(15),
        Operation::Spin { .. } => Some(16),
        Operation::Retry | Operation::UseTables { .. } | Operation::Arm64(_) => None,
    }
}

fn suberror(vcpu: &mut VcpuFd) -> u32 {
    // SAFETY: only called after KVM_EXIT_INTERNAL_ERROR, for which the kernel filled this member.
    unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_code_fits_and_comes_back() {
        for stub in &STUBS {
            assert!(stub.code.len() <= STUB);
            assert!(stub.code.ends_with(&[OUT, PORT]));
            assert!(stub.retired < stub.code.len() as u64);
        }
    }
}
