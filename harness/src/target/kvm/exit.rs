//! Why KVM_RUN returned, as data that does not borrow the vCPU.

use kvm_bindings::{KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES};
use kvm_ioctls::{VcpuExit, VcpuFd};

/// Why KVM_RUN returned (KVM API, chapter 5, "The kvm_run structure").
#[derive(Debug)]
pub(super) enum Exit {
    /// The guest wrote to a port; `data` holds one or more items of `size` bytes.
    PortWrite { port: u16, size: usize, data: Vec<u8> },
    /// The guest reads `count` items from a port; it gets all ones.
    PortRead { port: u16, size: usize, count: usize },
    /// The guest wrote to an address without RAM.
    MemoryWrite {
        address: u64,
        data: [u8; 8],
        length: usize,
    },
    /// The guest reads from an address without RAM; it gets all ones.
    MemoryRead { address: u64, length: usize },
    /// HLT.
    Halted,
    /// Triple fault.
    Shutdown,
    /// KVM gave up.
    InternalError(InternalError),
    /// The hardware refused to enter the guest.
    EntryFailed,
    /// KVM_RUN failed with this errno.
    Failed(i32),
    /// A signal or `immediate_exit` ended KVM_RUN, or there was nothing to report: enter again.
    Again,
    /// Nothing that a scenario can cause.
    Unexpected(String),
}

/// KVM_EXIT_INTERNAL_ERROR.
#[derive(Debug)]
pub(super) struct InternalError {
    pub(super) suberror: u32,
    /// The instruction's bytes, where KVM gives them; older kernels do not.
    pub(super) instruction: Vec<u8>,
}

/// Enters the guest and waits for it to come out.
pub(super) fn run(fd: &mut VcpuFd) -> Exit {
    let exit = match fd.run() {
        Ok(VcpuExit::IoOut(port, data)) => Exit::PortWrite {
            port,
            size: 1,
            data: data.to_vec(),
        },
        Ok(VcpuExit::IoIn(port, data)) => {
            data.fill(0xff);
            let count = data.len();
            Exit::PortRead { port, size: 1, count }
        }
        Ok(VcpuExit::MmioWrite(address, bytes)) => {
            let mut data = [0; 8];
            let length = bytes.len().min(data.len());
            data[..length].copy_from_slice(&bytes[..length]);
            Exit::MemoryWrite {
                address,
                data,
                length,
            }
        }
        Ok(VcpuExit::MmioRead(address, bytes)) => {
            bytes.fill(0xff);
            let length = bytes.len();
            Exit::MemoryRead { address, length }
        }
        Ok(VcpuExit::Hlt) => Exit::Halted,
        Ok(VcpuExit::Shutdown) => Exit::Shutdown,
        Ok(VcpuExit::InternalError) => Exit::InternalError(InternalError {
            suberror: 0,
            instruction: Vec::new(),
        }),
        Ok(VcpuExit::FailEntry(..)) => Exit::EntryFailed,
        // A write to CR8 that lowers it (no in-kernel APIC): KVM has done it already.
        Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::SetTpr) => Exit::Again,
        Ok(other) => Exit::Unexpected(format!("{other:?}")),
        Err(error) => match error.errno() {
            libc::EINTR | libc::EAGAIN => Exit::Again,
            errno => Exit::Failed(errno),
        },
    };
    with_details(exit, fd)
}

/// Adds what kvm-ioctls does not hand out: the size of port items, the internal error.
fn with_details(exit: Exit, fd: &mut VcpuFd) -> Exit {
    match exit {
        Exit::PortWrite { port, data, .. } => Exit::PortWrite {
            port,
            size: port_item_size(fd),
            data,
        },
        Exit::PortRead { port, count, .. } => {
            let size = port_item_size(fd);
            Exit::PortRead {
                port,
                size,
                count: count / size,
            }
        }
        Exit::InternalError(_) => Exit::InternalError(internal_error(fd)),
        other => other,
    }
}

/// Replaces the answer to the port read for which KVM_RUN just returned; without this the
/// guest gets all ones.
pub(super) fn answer_port_read(fd: &mut VcpuFd, data: &[u8]) {
    let run = fd.get_kvm_run();
    // SAFETY: only called after KVM_EXIT_IO, for which the kernel filled this member.
    let io = unsafe { run.__bindgen_anon_1.io };
    let (Ok(offset), Ok(count)) = (usize::try_from(io.data_offset), usize::try_from(io.count)) else {
        return;
    };
    let length = data.len().min(usize::from(io.size) * count);
    let target = std::ptr::from_mut(run).cast::<u8>();
    // SAFETY: the kernel put `size * count` bytes of data at `data_offset` from the start of
    // the vCPU's mapping (KVM API 5, KVM_EXIT_IO), and this is that mapping; `data` lies
    // elsewhere.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), target.add(offset), length) };
}

fn port_item_size(fd: &mut VcpuFd) -> usize {
    // SAFETY: only called after KVM_EXIT_IO, for which the kernel filled this member.
    let io = unsafe { fd.get_kvm_run().__bindgen_anon_1.io };
    usize::from(io.size).max(1)
}

fn internal_error(fd: &mut VcpuFd) -> InternalError {
    let exit = &fd.get_kvm_run().__bindgen_anon_1;
    // SAFETY: only called after KVM_EXIT_INTERNAL_ERROR, for which the kernel filled this
    // member; both are plain integers.
    let internal = unsafe { exit.internal };
    let mut instruction = Vec::new();
    // Three words of data hold the flags and the instruction; older kernels give none.
    if internal.suberror == KVM_INTERNAL_ERROR_EMULATION && internal.ndata >= 3 {
        // SAFETY: for this suberror and with this much data the kernel filled the member
        // `emulation_failure`, which is made of integers and overlays `internal`.
        let failure = unsafe { exit.emulation_failure };
        if failure.flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0 {
            // SAFETY: the flag says that the instruction bytes are there.
            let bytes = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
            let length = usize::from(bytes.insn_size).min(bytes.insn_bytes.len());
            instruction.extend_from_slice(&bytes.insn_bytes[..length]);
        }
    }
    InternalError {
        suberror: internal.suberror,
        instruction,
    }
}
