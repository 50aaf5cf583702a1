//! Machine checks: `KVM_X86_SETUP_MCE` and `KVM_X86_SET_MCE` (KVM API, 4.104 to 4.106).

use kvm_bindings::{KVMIO, kvm_x86_mce};
use kvm_ioctls::{Cap, VcpuFd};
use spec_model::host_state::HostCall;
use spec_model::x86::machine_check::{CAPABILITIES, MCIP, RIPV, UNCORRECTED};
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};
use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr};

use super::device::Device;
use super::failure::Failure;

ioctl_iow_nr!(KVM_X86_SETUP_MCE, KVMIO, 0x9c, u64);
ioctl_ior_nr!(KVM_X86_GET_MCE_CAP_SUPPORTED, KVMIO, 0x9d, u64);
ioctl_iow_nr!(KVM_X86_SET_MCE, KVMIO, 0x9e, kvm_x86_mce);

/// Gives a processor the one bank that the model has, with all its errors enabled. False if this
/// KVM has no machine checks.
///
/// # Errors
/// If KVM refuses what it says it supports.
pub(super) fn set_up(fd: &VcpuFd, device: &Device, vcpu: usize) -> Result<bool, Failure> {
    const BANKS: u64 = 0xff;
    if !device.kvm.check_extension(Cap::Mce) {
        return Ok(false);
    }
    let mut supported = 0_u64;
    // SAFETY: the ioctl writes one u64, which is what it is given.
    let asked = unsafe { ioctl_with_mut_ref(&device.kvm, KVM_X86_GET_MCE_CAP_SUPPORTED(), &mut supported) };
    if asked != 0 || CAPABILITIES & !(supported | BANKS) != 0 {
        return Ok(false);
    }
    // SAFETY: the ioctl reads one u64, which is what it is given.
    match unsafe { ioctl_with_ref(fd, KVM_X86_SETUP_MCE(), &CAPABILITIES) } {
        0 => Ok(true),
        _ => Err(last_error(HostCall::SetUpMce, vcpu)),
    }
}

/// Raises the machine check that the model knows: an uncorrected error in bank 0 that leaves the
/// interrupted program as it was.
///
/// # Errors
/// If the ioctl fails.
pub(super) fn raise(fd: &VcpuFd, vcpu: usize) -> Result<(), Failure> {
    let error = kvm_x86_mce {
        status: UNCORRECTED,
        mcg_status: MCIP | RIPV,
        ..kvm_x86_mce::default()
    };
    // SAFETY: the ioctl reads one `kvm_x86_mce`, which is what it is given.
    match unsafe { ioctl_with_ref(fd, KVM_X86_SET_MCE(), &error) } {
        0 => Ok(()),
        _ => Err(last_error(HostCall::SetMce, vcpu)),
    }
}

fn last_error(call: HostCall, vcpu: usize) -> Failure {
    Failure::host(call, vcpu)(errno::Error::last())
}
