//! The page of registers of a local APIC: between [`LocalApic`] and the structure of `KVM_GET_LAPIC` and
//! `KVM_SET_LAPIC` (KVM API, 4.57 and 4.58; SDM vol. 3A, "The Local APIC Block Diagram").
//!
//! IA32_APIC_BASE goes with the special registers (`apic_base` of `kvm_sregs`), and wait-for-SIPI with the
//! MP state.

use kvm_bindings::kvm_lapic_state;
use kvm_ioctls::VcpuFd;
use spec_model::host_state::HostCall;
use spec_model::x86::local_apic::{LocalApic, Mode};

use super::failure::Failure;
use super::local_apic::Activity;
use super::told::Told;

const ID: usize = 0x20;
const VERSION: usize = 0x30;
const TPR: usize = 0x80;
const PPR: usize = 0xa0;
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
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;
/// Registers lie 16 bytes apart, in the first 4 of these.
const STEP: usize = 0x10;
const SIZE: usize = 0x400;

/// The timer, which the model does not have. The host stops it before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) initial_count: u32,
    pub(super) divide: u32,
}

/// Makes of a page that `KVM_GET_LAPIC` gave what the state says. The version stays, and everything else is
/// 0: the timer stands still, and nothing is left in reserved registers.
pub(super) fn store(apic: &LocalApic, page: &mut kvm_lapic_state) {
    let version = get(page, VERSION);
    *page = kvm_lapic_state::default();
    put(page, VERSION, version);
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

/// Sets the registers, twice: KVM reckons the processor priority with what it remembers of the vectors in
/// service, and forgets that only then (Linux arch/x86/kvm/lapic.c, `kvm_apic_set_state`, which calls
/// `apic_update_ppr` before `highest_isr_cache` and `isr_count` are those of the new registers). The host
/// would read the priority of before.
///
/// # Errors
/// If KVM refuses.
pub(super) fn set(fd: &VcpuFd, vcpu: usize, page: &kvm_lapic_state) -> Result<(), Failure> {
    for _ in 0..2 {
        fd.set_lapic(page)
            .map_err(Failure::host(HostCall::SetLapic, vcpu))?;
    }
    Ok(())
}

/// The registers from a page and IA32_APIC_BASE.
pub(super) fn load(
    page: &kvm_lapic_state,
    base: u64,
    activity: Activity,
    told: &mut Told,
) -> (LocalApic, Timer) {
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
    } else {
        told.defined_bits("020h", 0xff00_0000, raw);
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
    check(page, &apic, told);
    let timer = Timer {
        initial_count: get(page, INITIAL_COUNT),
        divide: get(page, DIVIDE),
    };
    (apic, timer)
}

/// Checks all of the page that the state does not have.
fn check(page: &kvm_lapic_state, apic: &LocalApic, told: &mut Told) {
    for register in (0..SIZE).step_by(STEP) {
        let value = get(page, register);
        let name = format!("{register:03X}h");
        match register {
            // In the state, which is compared.
            ID | LDR | DFR | SVR | ESR | ICR | ICR2 => {}
            ISR..ESR | LVT..INITIAL_COUNT => {}
            TPR => told.defined_bits(&name, 0xff, value),
            VERSION => check_version(value, apic.lvt.len(), told),
            PPR => told.one_of(&name, &processor_priorities(apic), value),
            // A payload may start the timer, and then both counts are what they are.
            INITIAL_COUNT => {}
            CURRENT_COUNT if get(page, INITIAL_COUNT) != 0 => {}
            DIVIDE => told.defined_bits(&name, 0b1011, value),
            _ => told.must_be(&name, 0, value),
        }
        // Bits 63:32 of the command register of x2APIC mode: KVM may keep them there, and leaves them
        // when the mode changes (Linux arch/x86/kvm/lapic.c, kvm_apic_state_fixup).
        let unused = if register == ICR {
            register + 8
        } else {
            register + 4
        };
        for offset in unused..register + STEP {
            let byte = page.regs.get(offset).map_or(0, |byte| byte.cast_unsigned());
            told.must_be(&format!("{offset:03X}h"), 0, byte);
        }
    }
}

/// An integrated local APIC has version 10h to 15h in bits 7:0; bits 23:16 are the number of the last entry
/// of the local vector table. Whether the broadcast of an end of interrupt can be suppressed, bit 24, is
/// the hypervisor's choice (KVM API, KVM_CAP_X2APIC_API).
fn check_version(value: u32, entries: usize, told: &mut Told) {
    const SUPPRESSES_BROADCAST: u32 = 1 << 24;
    let last = (entries as u64).saturating_sub(1) << 16;
    let allowed: Vec<u64> = (0x10..=0x15).map(|version| last | version).collect();
    told.one_of("030h", &allowed, value & !SUPPRESSES_BROADCAST);
}

/// The processor priority. If the task has the class of what is in service, processors may have
/// either's subclass (SDM vol. 3A, "Task and Processor Priorities").
fn processor_priorities(apic: &LocalApic) -> Vec<u64> {
    let priority = u64::from(apic.processor_priority());
    let without_task = LocalApic {
        tpr: apic.tpr & 0xf,
        ..apic.clone()
    };
    let in_service = u64::from(without_task.processor_priority()) & 0xf0;
    let mut allowed = vec![priority];
    if in_service != 0 && in_service == priority & 0xf0 && in_service != priority {
        allowed.push(in_service);
    }
    allowed
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
    use spec_model::host_state::Fault;

    use super::*;

    fn some_apic() -> LocalApic {
        let mut apic = LocalApic::after_reset(3);
        apic.tpr = 0x25;
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
        apic
    }

    /// As KVM would tell what was set.
    fn told_back(apic: &LocalApic) -> kvm_lapic_state {
        let mut page = kvm_lapic_state::default();
        put(&mut page, VERSION, 0x105_0014);
        store(apic, &mut page);
        put(&mut page, PPR, u32::from(apic.processor_priority()));
        page
    }

    fn faults(page: &kvm_lapic_state, base: u64) -> Vec<String> {
        let mut told = Told::by(HostCall::GetLapic);
        load(page, base, Activity::Runnable, &mut told);
        let members = told.into_faults().into_iter().map(|fault| match fault {
            Fault::Told { member, .. } => member,
            other => panic!("{other:?}"),
        });
        members.collect()
    }

    #[test]
    fn every_register_survives_the_way_into_the_page_and_back() {
        let apic = some_apic();
        let page = told_back(&apic);
        let mut told = Told::by(HostCall::GetLapic);
        let (back, timer) = load(&page, apic.base, Activity::Runnable, &mut told);
        assert_eq!(back, apic);
        let stopped = Timer {
            initial_count: 0,
            divide: 0,
        };
        assert_eq!(timer, stopped);
        let (sleeping, _) = load(&page, apic.base, Activity::WaitsForSipi, &mut told);
        assert!(sleeping.waiting_for_sipi);
        assert_eq!(told.into_faults(), []);
    }

    #[test]
    fn what_lies_in_the_page_is_not_set_again() {
        let apic = some_apic();
        let mut page = told_back(&apic);
        for place in &mut page.regs {
            *place ^= 0x10;
        }
        put(&mut page, VERSION, 0x105_0014);
        store(&apic, &mut page);
        put(&mut page, PPR, u32::from(apic.processor_priority()));
        assert_eq!(page, told_back(&apic));
    }

    /// Whatever bit changes, either the state does or something is found, but for what is left out.
    #[test]
    fn no_bit_changes_unseen() {
        let apic = some_apic();
        let page = told_back(&apic);
        let look = |page: &kvm_lapic_state| {
            let mut told = Told::by(HostCall::GetLapic);
            let (apic, timer) = load(page, apic.base, Activity::Runnable, &mut told);
            (apic, timer, told.into_faults())
        };
        let whole = look(&page);
        let mut unseen = Vec::new();
        for offset in 0..SIZE {
            for bit in 0..8 {
                let mut changed = page;
                changed.regs[offset] ^= 1_i8.rotate_left(bit);
                if look(&changed) == whole {
                    unseen.push((offset, bit));
                }
            }
        }
        let mut open: Vec<(usize, u32)> = vec![(0x30, 0), (0x30, 2), (0x33, 0)];
        open.extend((0x304..0x308).flat_map(|offset| (0..8).map(move |bit| (offset, bit))));
        assert_eq!(unseen, open);
    }

    #[test]
    fn a_priority_within_a_class_may_be_either() {
        let mut apic = LocalApic::after_reset(0);
        apic.begin_service(0x31);
        apic.tpr = 0x35;
        assert_eq!(processor_priorities(&apic), [0x35, 0x30]);
        apic.tpr = 0x45;
        assert_eq!(processor_priorities(&apic), [0x45]);
        apic.tpr = 0x25;
        assert_eq!(processor_priorities(&apic), [0x30]);
    }

    #[test]
    fn an_identifier_of_either_mode_is_right_while_it_is_off() {
        let mut page = told_back(&LocalApic::after_reset(0));
        put(&mut page, ID, 3);
        assert!(faults(&page, 0xfee0_0000).is_empty());
        assert_eq!(faults(&page, 0xfee0_0800), ["020h"]);
    }
}
