//! The dirty ring: where KVM lists the pages that were written, one entry after the other.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use kvm_bindings::{KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVMIO, kvm_enable_cap};
use kvm_ioctls::VmFd;
use spec_model::host_state::HostCall;
use vmm_sys_util::errno::Error as Errno;

use super::super::failure::Failure;

vmm_sys_util::ioctl_io_nr!(KVM_RESET_DIRTY_RINGS, KVMIO, 0xc7);

/// Entries; more than the pages that any scenario writes before it reads the ring.
const ENTRIES: usize = 4096;
/// Bytes of an entry: flags, slot, and the page in the slot.
const ENTRY: usize = 16;
/// Page of the processor's descriptor at which its ring is mapped (KVM_DIRTY_LOG_PAGE_OFFSET).
const PAGE_OFFSET: libc::off_t = 64 * 4096;
/// An entry is filled; user space has taken it.
const FILLED: u32 = 1;
const TAKEN: u32 = 2;

/// The mapped ring of one processor. Dropping it unmaps it.
pub(super) struct Ring {
    start: *mut u8,
    next: usize,
}

// SAFETY: the mapping is owned by this value alone, and nothing in it depends on a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes a virtual machine that has no processor yet use rings.
    ///
    /// # Errors
    /// If this KVM has none.
    pub(super) fn enable(vm: &VmFd) -> Result<(), Failure> {
        for number in [KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL] {
            let mut cap = kvm_enable_cap {
                cap: number,
                ..kvm_enable_cap::default()
            };
            cap.args[0] = (ENTRIES * ENTRY) as u64;
            if vm.check_extension_raw(number.into()) > 0 {
                return vm.enable_cap(&cap).map_err(Failure::host(HostCall::EnableCap, 0));
            }
        }
        Err(Failure::NoDirtyRing)
    }

    /// Maps the ring of a processor.
    ///
    /// # Errors
    /// If the host has no room, or there is no ring, although KVM has taken the capability.
    pub(super) fn map(vcpu: i32) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing else.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ENTRIES * ENTRY,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                vcpu,
                PAGE_OFFSET,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = Self {
            start: start.cast(),
            next: 0,
        };
        ring.check_pages()?;
        Ok(ring)
    }

    /// Whether there are pages behind the mapping: where there are none an access ends this
    /// process (SIGBUS).
    fn check_pages(&self) -> io::Result<()> {
        let mut flags = [0_u8; 4];
        let local = libc::iovec {
            iov_base: flags.as_mut_ptr().cast(),
            iov_len: flags.len(),
        };
        let remote = libc::iovec {
            iov_base: self.start.cast(),
            iov_len: flags.len(),
        };
        let own = std::process::id().cast_signed();
        // SAFETY: the kernel copies to `flags` as many bytes as it has, and fails with EFAULT where
        // the mapping has no page.
        match unsafe { libc::process_vm_readv(own, &raw const local, 1, &raw const remote, 1, 0) } {
            4 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes what is in the ring: slots with address space, as KVM numbers them, and pages. Writes to these
    /// pages are listed again from then on.
    ///
    /// # Errors
    /// If KVM_RESET_DIRTY_RINGS fails.
    pub(super) fn take(&mut self, vm: &VmFd) -> io::Result<Vec<(u32, u64)>> {
        let mut taken = Vec::new();
        for _ in 0..ENTRIES {
            let entry = self.start.wrapping_add(self.next * ENTRY);
            // SAFETY: the entry lies in the mapping and is aligned; KVM accesses its flags atomically.
            let flags = unsafe { AtomicU32::from_ptr(entry.cast()) };
            if flags.load(Ordering::Acquire) & FILLED == 0 {
                break;
            }
            // SAFETY: KVM has filled the rest of the entry and leaves it alone until it is reset.
            let (slot, page) = unsafe {
                (
                    entry.wrapping_add(4).cast::<u32>().read_volatile(),
                    entry.wrapping_add(8).cast::<u64>().read_volatile(),
                )
            };
            taken.push((slot, page));
            flags.store(TAKEN, Ordering::Release);
            self.next = (self.next + 1) % ENTRIES;
        }
        // SAFETY: the descriptor is a virtual machine's, and the call takes no argument.
        match unsafe { vmm_sys_util::ioctl::ioctl(vm, KVM_RESET_DIRTY_RINGS()) } {
            0.. => Ok(taken),
            _ => Err(Errno::last().into()),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made for this value, into which nothing refers.
        unsafe { libc::munmap(self.start.cast(), ENTRIES * ENTRY) };
    }
}
