//! Model-specific registers: which belong to the state, and how they go in and out.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use spec_model::host_state::{Fault, HostCall};
use spec_model::x86::machine_check::{MC0_CTL, MC0_STATUS, MCG_CTL, MCG_STATUS};
use spec_model::x86::state::VcpuState;

use super::failure::Failure;
use super::told::Told;

const IA32_SMBASE: u32 = 0x9e;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const SFMASK: u32 = 0xc000_0084;
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// The MSRs that belong to [`VcpuState`], of a processor with or without SMM and machine checks.
pub(super) fn state_msrs(smm: bool, machine_checks: bool) -> Vec<u32> {
    let smm = smm.then_some(IA32_SMBASE);
    let machine_checks = machine_checks.then_some([MCG_STATUS, MCG_CTL, MC0_CTL, MC0_STATUS]);
    let always = [
        STAR,
        LSTAR,
        CSTAR,
        SFMASK,
        SYSENTER_CS,
        SYSENTER_ESP,
        SYSENTER_EIP,
        KERNEL_GS_BASE,
    ];
    let others = machine_checks.into_iter().flatten();
    smm.into_iter().chain(always).chain(others).collect()
}

/// Further MSRs that a payload may write and that the next scenario must find as they were, with their
/// values after RESET (SDM vol. 3A, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or
/// INIT"): SMI_COUNT, PAT, TSC_AUX. DEBUGCTL is put back by [`clear_debug_control`].
pub(super) const OTHER_MSRS: [(u32, u64); 3] = [(0x34, 0), (0x277, 0x0007_0406_0007_0406), (0xc000_0103, 0)];

/// IA32_DEBUGCTL.
pub(super) const DEBUGCTL: u32 = 0x1d9;

/// Clears what a payload has set in IA32_DEBUGCTL. SVM without LBR virtualization complains in the kernel log
/// about each write, also of 0 (Linux `arch/x86/kvm/svm/svm.c`, `svm_set_msr`), so that only a value that was kept is
/// written over.
///
/// # Errors
/// If an ioctl fails.
pub(super) fn clear_debug_control(fd: &VcpuFd, vcpu: usize) -> Result<(), Failure> {
    let mut kept = msr_list(&[(DEBUGCTL, 0)])?;
    let count = fd
        .get_msrs(&mut kept)
        .map_err(Failure::host(HostCall::GetMsrs, vcpu))?;
    let is_set = count == 1 && kept.as_slice().iter().any(|entry| entry.data != 0);
    if is_set {
        set_msrs(fd, vcpu, &msr_list(&[(DEBUGCTL, 0)])?)?;
    }
    Ok(())
}

/// The value of an MSR that belongs to the state.
pub(super) fn msr_value(state: &VcpuState, index: u32) -> Option<u64> {
    match index {
        IA32_SMBASE => Some(state.smbase),
        STAR => Some(state.star),
        LSTAR => Some(state.lstar),
        CSTAR => Some(state.cstar),
        SFMASK => Some(state.sfmask),
        SYSENTER_CS => Some(state.sysenter_cs),
        SYSENTER_ESP => Some(state.sysenter_esp),
        SYSENTER_EIP => Some(state.sysenter_eip),
        KERNEL_GS_BASE => Some(state.kernel_gs_base),
        MCG_STATUS => Some(state.machine_check.global_status),
        MCG_CTL => Some(state.machine_check.global_control),
        MC0_CTL => Some(state.machine_check.bank_control),
        MC0_STATUS => Some(state.machine_check.bank_status),
        _ => None,
    }
}

/// Stores the value of an MSR that belongs to the state.
pub(super) fn load_msr(state: &mut VcpuState, index: u32, value: u64) {
    match index {
        IA32_SMBASE => state.smbase = value,
        STAR => state.star = value,
        LSTAR => state.lstar = value,
        CSTAR => state.cstar = value,
        SFMASK => state.sfmask = value,
        SYSENTER_CS => state.sysenter_cs = value,
        SYSENTER_ESP => state.sysenter_esp = value,
        SYSENTER_EIP => state.sysenter_eip = value,
        KERNEL_GS_BASE => state.kernel_gs_base = value,
        MCG_STATUS => state.machine_check.global_status = value,
        MCG_CTL => state.machine_check.global_control = value,
        MC0_CTL => state.machine_check.bank_control = value,
        MC0_STATUS => state.machine_check.bank_status = value,
        _ => {}
    }
}

/// Whether this processor has an MSR.
///
/// # Errors
/// If the ioctl fails.
pub(super) fn has_msr(fd: &VcpuFd, vcpu: usize, index: u32) -> Result<bool, Failure> {
    let mut one = msr_list(&[(index, 0)])?;
    let count = fd
        .get_msrs(&mut one)
        .map_err(Failure::host(HostCall::GetMsrs, vcpu))?;
    Ok(count == 1)
}

/// MSRs that this processor has, with their values.
///
/// # Errors
/// If the ioctl fails.
pub(super) fn get_msrs(
    fd: &VcpuFd,
    vcpu: usize,
    indices: &[u32],
    told: &mut Told,
) -> Result<Vec<(u32, u64)>, Failure> {
    let wanted: Vec<(u32, u64)> = indices.iter().map(|index| (*index, 0)).collect();
    let mut msrs = msr_list(&wanted)?;
    let count = fd
        .get_msrs(&mut msrs)
        .map_err(Failure::host(HostCall::GetMsrs, vcpu))?;
    told.must_be("the number of MSRs", indices.len() as u64, count as u64);
    let values = indices.iter().zip(msrs.as_slice()).map(|(wanted, entry)| {
        let kvm_msr_entry {
            index,
            reserved,
            data,
        } = *entry;
        told.must_be("index", (*wanted).into(), index);
        told.must_be("reserved", 0, reserved);
        (*wanted, data)
    });
    Ok(values.collect())
}

/// MSRs with their values, as KVM_GET_MSRS and KVM_SET_MSRS take them.
///
/// # Errors
/// If there are more than KVM takes at once.
pub(super) fn msr_list(entries: &[(u32, u64)]) -> Result<Msrs, Failure> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(index, data)| kvm_msr_entry {
            index: *index,
            data: *data,
            reserved: 0,
        })
        .collect();
    Msrs::from_entries(&entries).map_err(|_| Failure::Call {
        call: "allocating a list of MSRs",
        source: std::io::ErrorKind::OutOfMemory.into(),
    })
}

/// KVM_SET_MSRS stops at the first MSR that it refuses and says how many it took.
pub(super) fn set_msrs(fd: &VcpuFd, vcpu: usize, msrs: &Msrs) -> Result<(), Failure> {
    let taken = fd
        .set_msrs(msrs)
        .map_err(Failure::host(HostCall::SetMsrs, vcpu))?;
    match msrs.as_slice().get(taken) {
        None => Ok(()),
        Some(refused) => {
            let what = Fault::MsrRefused {
                index: refused.index,
                value: refused.data,
            };
            Err(Failure::fault(vcpu, what))
        }
    }
}
