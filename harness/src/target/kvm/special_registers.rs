//! Segments, tables and control registers as KVM hands them out and takes them back.
//!
//! Of the two interfaces, `KVM_GET_SREGS2` replaces `KVM_GET_SREGS` where there is one (KVM API,
//! 4.131 and 4.132; `KVM_CAP_SREGS2`, Linux 5.14). It carries the page-directory-pointer entries
//! of PAE paging, which a processor loads with CR3 and keeps; without it they are loaded from
//! memory once more, where they may have changed since.

use kvm_bindings::{KVM_CAP_SREGS2, KVMIO, kvm_sregs, kvm_sregs2};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};
use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr};

use spec_model::host_state::HostCall;

use super::device::Device;
use super::failure::Failure;

ioctl_ior_nr!(KVM_GET_SREGS2, KVMIO, 0xcc, kvm_sregs2);
ioctl_iow_nr!(KVM_SET_SREGS2, KVMIO, 0xcd, kvm_sregs2);

/// The special registers of a processor.
pub(super) enum SpecialRegisters {
    /// Without the page-directory-pointer entries.
    Plain(Box<kvm_sregs>),
    /// With them.
    WithPointers(Box<kvm_sregs2>),
}

impl SpecialRegisters {
    /// Reads them.
    ///
    /// # Errors
    /// If the ioctl fails.
    pub(super) fn read(fd: &VcpuFd, device: &Device, vcpu: usize) -> Result<Self, Failure> {
        if device.kvm.check_extension_raw(KVM_CAP_SREGS2.into()) <= 0 {
            let plain = fd.get_sregs().map_err(Failure::host(HostCall::GetSregs, vcpu))?;
            return Ok(Self::Plain(Box::new(plain)));
        }
        let mut registers = Box::new(kvm_sregs2::default());
        // SAFETY: the ioctl writes one `kvm_sregs2`, which is what it is given.
        if unsafe { ioctl_with_mut_ref(fd, KVM_GET_SREGS2(), registers.as_mut()) } != 0 {
            return Err(last_error(HostCall::GetSregs2, vcpu));
        }
        Ok(Self::WithPointers(registers))
    }

    /// Writes them.
    ///
    /// # Errors
    /// If KVM refuses what it reported itself.
    pub(super) fn write(&self, fd: &VcpuFd, vcpu: usize) -> Result<(), Failure> {
        match self {
            Self::Plain(plain) => fd
                .set_sregs(plain)
                .map_err(Failure::host(HostCall::SetSregs, vcpu)),
            Self::WithPointers(registers) => {
                // SAFETY: the ioctl reads one `kvm_sregs2`, which is what it is given.
                match unsafe { ioctl_with_ref(fd, KVM_SET_SREGS2(), registers.as_ref()) } {
                    0 => Ok(()),
                    _ => Err(last_error(HostCall::SetSregs2, vcpu)),
                }
            }
        }
    }

    /// CR8.
    pub(super) fn cr8(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.cr8,
            Self::WithPointers(registers) => registers.cr8,
        }
    }
}

fn last_error(call: HostCall, vcpu: usize) -> Failure {
    Failure::host(call, vcpu)(errno::Error::last())
}
