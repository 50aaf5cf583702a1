//! The in-kernel local APIC: how a virtual machine gets it, and the MP state. Its registers are in
//! `apic_page`.

use kvm_bindings::{
    KVM_CAP_DISABLE_QUIRKS, KVM_CAP_HALT_POLL, KVM_CAP_SPLIT_IRQCHIP, KVM_MP_STATE_HALTED,
    KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED,
    KVM_X86_QUIRK_LINT0_REENABLED, kvm_enable_cap, kvm_mp_state,
};
use kvm_ioctls::{Cap, VmFd};
use spec_model::host_state::HostCall;
use spec_model::x86::local_apic::LocalApic;

use super::device::Device;
use super::failure::Failure;
use super::told::Told;

/// Gives a virtual machine local APICs and no other interrupt controller. Before the first vCPU.
///
/// The I/O APIC stays with userspace, which has none (`KVM_CAP_SPLIT_IRQCHIP`, KVM API 7.5). Two
/// habits of KVM are turned off: that INIT and RESET leave LINT0 of the bootstrap processor
/// connected to an 8259 (`KVM_X86_QUIRK_LINT0_REENABLED`), and that a halted vCPU polls before
/// it sleeps (`KVM_CAP_HALT_POLL`, which saves time and changes nothing else).
///
/// # Errors
/// If this KVM has no local APIC of its own.
pub(super) fn create(device: &Device, vm: &VmFd) -> Result<(), Failure> {
    if !device.kvm.check_extension(Cap::SplitIrqchip) {
        return Err(Failure::NoLocalApic("KVM_CAP_SPLIT_IRQCHIP is 0"));
    }
    let enable = |cap: u32, argument: u64| {
        let mut request = kvm_enable_cap {
            cap,
            ..kvm_enable_cap::default()
        };
        request.args[0] = argument;
        vm.enable_cap(&request)
    };
    enable(KVM_CAP_SPLIT_IRQCHIP, 0).map_err(Failure::host(HostCall::EnableCap, 0))?;
    enable(KVM_CAP_DISABLE_QUIRKS, u64::from(KVM_X86_QUIRK_LINT0_REENABLED))
        .map_err(Failure::host(HostCall::EnableCap, 0))?;
    // Kernels before 5.8 do not have it and poll; that costs time only.
    let _ = enable(KVM_CAP_HALT_POLL, 0);
    Ok(())
}

/// What a vCPU does between instructions, as `KVM_GET_MP_STATE` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// It executes instructions.
    Runnable,
    /// It executed HLT.
    Halted,
    /// It waits for a startup IPI.
    WaitsForSipi,
}

impl Activity {
    /// From `KVM_GET_MP_STATE`. A processor whose state the host has set is not one that has yet to
    /// receive its first INIT, which is `KVM_MP_STATE_UNINITIALIZED`; the other states are not x86's (KVM
    /// API, 4.38), or are those of encrypted guests.
    pub(super) fn from_mp_state(state: kvm_mp_state, told: &mut Told) -> Self {
        let kvm_mp_state { mp_state } = state;
        match mp_state {
            KVM_MP_STATE_HALTED => Self::Halted,
            KVM_MP_STATE_INIT_RECEIVED | KVM_MP_STATE_SIPI_RECEIVED => Self::WaitsForSipi,
            KVM_MP_STATE_RUNNABLE => Self::Runnable,
            other => {
                let allowed = [
                    KVM_MP_STATE_RUNNABLE,
                    KVM_MP_STATE_INIT_RECEIVED,
                    KVM_MP_STATE_HALTED,
                    KVM_MP_STATE_SIPI_RECEIVED,
                ];
                told.one_of("mp_state", &allowed.map(u64::from), other);
                Self::Runnable
            }
        }
    }
}

/// The MP state that a scenario starts with.
pub(super) fn initial_mp_state(apic: Option<&LocalApic>) -> u32 {
    match apic {
        Some(apic) if apic.waiting_for_sipi => KVM_MP_STATE_INIT_RECEIVED,
        _ => KVM_MP_STATE_RUNNABLE,
    }
}
