//! The in-kernel local APIC: `KVM_GET_LAPIC`, `KVM_SET_LAPIC` and the MP state.
//!
//! IA32_APIC_BASE goes with the special registers (`apic_base` of `kvm_sregs`), and
//! wait-for-SIPI with `KVM_GET_MP_STATE`; the rest is the page of registers.

use kvm_bindings::{
    KVM_CAP_DISABLE_QUIRKS, KVM_CAP_HALT_POLL, KVM_CAP_SPLIT_IRQCHIP, KVM_MP_STATE_HALTED,
    KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED,
    KVM_MP_STATE_UNINITIALIZED, KVM_X86_QUIRK_LINT0_REENABLED, kvm_enable_cap, kvm_lapic_state,
};
use kvm_ioctls::{Cap, VmFd};
use spec_model::host_state::HostCall;
use spec_model::x86::local_apic::{LocalApic, Mode};

use super::device::Device;
use super::failure::Failure;

const ID: usize = 0x20;
const TPR: usize = 0x80;
const LDR: usize = 0xd0;
const DFR: usize = 0xe0;
const SVR: usize = 0xf0;
const ISR: usize = 0x100;
const TMR: usize = 0x180;
const IRR: usize = 0x200;
const ESR: usize = 0x280;
const ICR: usize = 0x300;
const ICR2: usize = 0x310;
const LVT: usize = 0x320;
/// Registers lie 16 bytes apart.
const STEP: usize = 0x10;

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
    /// From the number in `kvm_mp_state`.
    pub(super) fn from_mp_state(number: u32) -> Self {
        match number {
            KVM_MP_STATE_HALTED => Self::Halted,
            KVM_MP_STATE_INIT_RECEIVED | KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_SIPI_RECEIVED => {
                Self::WaitsForSipi
            }
            _ => Self::Runnable,
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

/// Puts the registers into a page that `KVM_GET_LAPIC` gave, so that what the model does not
/// have (version, timer) stays.
pub(super) fn store(apic: &LocalApic, page: &mut kvm_lapic_state) {
    // Without KVM_CAP_X2APIC_API the page has the identifier in bits 31:24 in both modes.
    put(page, ID, apic.id << 24);
    put(page, TPR, u32::from(apic.tpr));
    put(page, LDR, apic.ldr);
    put(page, DFR, apic.dfr);
    put(page, SVR, apic.svr);
    put(page, ESR, apic.esr);
    put(page, ICR, apic.icr);
    put(page, ICR2, apic.icr2);
    for (first, words) in [
        (ISR, &apic.isr[..]),
        (TMR, &apic.tmr),
        (IRR, &apic.irr),
        (LVT, &apic.lvt),
    ] {
        for (number, word) in words.iter().enumerate() {
            put(page, first + number * STEP, *word);
        }
    }
}

/// The registers from a page and IA32_APIC_BASE.
pub(super) fn load(page: &kvm_lapic_state, base: u64, activity: Activity) -> LocalApic {
    let mut apic = LocalApic {
        base,
        id: get(page, ID) >> 24,
        tpr: (get(page, TPR) & 0xff) as u8,
        ldr: get(page, LDR),
        dfr: get(page, DFR),
        svr: get(page, SVR),
        esr: get(page, ESR),
        icr: get(page, ICR),
        icr2: get(page, ICR2),
        waiting_for_sipi: activity == Activity::WaitsForSipi,
        ..LocalApic::after_reset(0)
    };
    // While it is off there is no identifier to read; KVM's page holds it as the mode before had it.
    let raw = get(page, ID);
    if apic.mode() == Mode::Disabled && raw >> 24 == 0 {
        apic.id = raw;
    }
    // There is no such register in x2APIC mode; KVM's page holds what it was.
    if apic.mode() == Mode::X2Apic {
        apic.dfr = LocalApic::after_reset(0).dfr;
    }
    for (first, words) in [
        (ISR, &mut apic.isr[..]),
        (TMR, &mut apic.tmr),
        (IRR, &mut apic.irr),
        (LVT, &mut apic.lvt),
    ] {
        for (number, word) in words.iter_mut().enumerate() {
            *word = get(page, first + number * STEP);
        }
    }
    apic
}

fn put(page: &mut kvm_lapic_state, offset: usize, value: u32) {
    for (place, byte) in page.regs.iter_mut().skip(offset).zip(value.to_le_bytes()) {
        *place = byte.cast_signed();
    }
}

fn get(page: &kvm_lapic_state, offset: usize) -> u32 {
    let mut bytes = [0; 4];
    for (byte, place) in bytes.iter_mut().zip(page.regs.iter().skip(offset)) {
        *byte = place.cast_unsigned();
    }
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_survives_the_way_into_the_page_and_back() {
        let mut apic = LocalApic::after_reset(3);
        apic.tpr = 0x20;
        apic.ldr = 0x0400_0000;
        apic.dfr = 0x0fff_ffff;
        apic.svr = 0x1f0;
        apic.esr = 4;
        apic.icr = 0x4400;
        apic.icr2 = 0x0100_0000;
        for number in 0..8 {
            apic.isr[number] = 0x10 << number;
            apic.tmr[number] = 0x11 << number;
            apic.irr[number] = 0x12 << number;
        }
        apic.lvt = [0x1_0001, 0x1_0002, 0x1_0003, 0x1_0004, 0x1_0005, 0x1_0006];
        let mut page = kvm_lapic_state::default();
        store(&apic, &mut page);
        assert_eq!(load(&page, apic.base, Activity::Runnable), apic);
        assert!(load(&page, apic.base, Activity::WaitsForSipi).waiting_for_sipi);
    }
}
