//! Whether KVM has done to a memory slot what it says.
//!
//! KVM has no call that tells its slots, and a guest need not touch each of them. So each change is
//! tried a second time: KVM must refuse another slot in the place of one that it has made (EEXIST), and
//! to delete one that it has deleted (EINVAL); neither changes anything (Linux virt/kvm/kvm_main.c,
//! kvm_set_memory_region).

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use spec_model::host_state::{Fault, HostCall};

use super::failure::Failure;

/// Checks what has just succeeded. `free` is the number of a slot that is not there.
///
/// # Errors
/// If the change was not made.
pub(super) fn check(vm: &VmFd, region: &kvm_userspace_memory_region, free: u32) -> Result<(), Failure> {
    let made = region.memory_size != 0;
    let (wanted, again) = if made {
        let other = kvm_userspace_memory_region {
            slot: free,
            flags: 0,
            ..*region
        };
        (libc::EEXIST, other)
    } else {
        (libc::EINVAL, *region)
    };
    // SAFETY: the memory is that of a slot which is there, if KVM tells the truth; whoever made it sees to it
    // that the mapping outlives the slot, and gives up the whole machine if this fails.
    match unsafe { vm.set_user_memory_region(again) } {
        Ok(()) => Err(Failure::fault(
            0,
            Fault::Slot {
                space: region.slot >> 16,
                address: region.guest_phys_addr,
                size: region.memory_size,
                made,
            },
        )),
        Err(error) if error.errno() == wanted => Ok(()),
        Err(error) => Err(Failure::host(HostCall::SetUserMemoryRegion, 0)(error)),
    }
}
