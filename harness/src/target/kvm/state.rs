//! General and debug registers: between [`VcpuState`] and the structures of `KVM_GET_REGS`,
//! `KVM_GET_DEBUGREGS` and their setters. And what differs between a state that was set and one that was read.

use kvm_bindings::{kvm_debugregs, kvm_regs};
use spec_model::host_state::{Fault, same_shadow};
use spec_model::x86::field::{FIELDS, Field};
use spec_model::x86::state::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, VcpuState};

use super::sregs::normalised;
use super::told::Told;

/// For `KVM_SET_REGS`.
pub(super) fn regs(state: &VcpuState) -> kvm_regs {
    let general = &state.general;
    kvm_regs {
        rax: general[RAX],
        rcx: general[RCX],
        rdx: general[RDX],
        rbx: general[RBX],
        rsp: general[RSP],
        rbp: general[RBP],
        rsi: general[RSI],
        rdi: general[RDI],
        r8: general[8],
        r9: general[9],
        r10: general[10],
        r11: general[11],
        r12: general[12],
        r13: general[13],
        r14: general[14],
        r15: general[15],
        rip: state.rip,
        rflags: state.rflags,
    }
}

/// From `KVM_GET_REGS`.
pub(super) fn load_regs(state: &mut VcpuState, regs: &kvm_regs) {
    let kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        rflags,
    } = *regs;
    state.general = [
        rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15,
    ];
    state.rip = rip;
    state.rflags = rflags;
}

/// For `KVM_SET_DEBUGREGS`.
pub(super) fn debug_registers(state: &VcpuState) -> kvm_debugregs {
    kvm_debugregs {
        db: state.debug_address,
        dr6: state.dr6,
        dr7: state.dr7,
        ..kvm_debugregs::default()
    }
}

/// From `KVM_GET_DEBUGREGS`.
pub(super) fn load_debug_registers(state: &mut VcpuState, registers: &kvm_debugregs, told: &mut Told) {
    let kvm_debugregs {
        db,
        dr6,
        dr7,
        flags,
        reserved,
    } = *registers;
    state.debug_address = db;
    state.dr6 = dr6;
    state.dr7 = dr7;
    told.must_be("flags", 0, flags);
    told.zeros("reserved", &reserved);
}

/// The fields in which what KVM reports differs, in a way that software can observe, from what was
/// set, with both values.
///
/// Both kinds of shadow count as the same, since SVM does not tell them apart.
pub(super) fn differences(set: &VcpuState, read: &VcpuState) -> Vec<(&'static Field, u64, u64)> {
    let mut set = not_present_is_unusable(set.clone()).observable();
    let read = not_present_is_unusable(read.clone()).observable();
    if same_shadow(set.events.shadow, read.events.shadow) {
        set.events.shadow = read.events.shadow;
    }
    if set == read {
        return Vec::new();
    }
    let differing = FIELDS
        .iter()
        .map(|field| (field, field.read(&set), field.read(&read)));
    differing.filter(|(_, set, read)| set != read).collect()
}

/// Fields that read back as something else than was set.
pub(super) fn not_kept(differences: &[(&'static Field, u64, u64)]) -> Vec<Fault> {
    let fault = |(field, set, read): &(&'static Field, u64, u64)| Fault::NotKept {
        field: field.name.to_owned(),
        set: *set,
        read: *read,
    };
    differences.iter().map(fault).collect()
}

/// [`normalised`] for all segments.
fn not_present_is_unusable(mut state: VcpuState) -> VcpuState {
    for segment in &mut state.segments {
        segment.attributes = normalised(segment.attributes);
    }
    state
}

#[cfg(test)]
mod tests {
    use spec_model::host_state::HostCall;
    use spec_model::x86::segment::SegmentAttributes;

    use super::super::sregs::{load_sregs, sregs};
    use super::*;

    /// A state in which every field has another value.
    fn distinct() -> VcpuState {
        let mut state = VcpuState::default();
        for (number, field) in FIELDS.iter().enumerate() {
            let bits = u32::from(field.bits).min(63);
            field.write(
                &mut state,
                (0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1)) & ((1 << bits) - 1),
            );
        }
        for segment in &mut state.segments {
            segment.attributes.0 = segment.attributes.0 & SegmentAttributes::DESCRIPTOR_BITS | 0x80;
        }
        state
    }

    #[test]
    fn every_field_survives_the_way_to_kvm_and_back() {
        let state = distinct();
        let mut back = VcpuState {
            kernel_gs_base: state.kernel_gs_base,
            star: state.star,
            lstar: state.lstar,
            cstar: state.cstar,
            sfmask: state.sfmask,
            sysenter_cs: state.sysenter_cs,
            sysenter_esp: state.sysenter_esp,
            sysenter_eip: state.sysenter_eip,
            smbase: state.smbase,
            ssp: state.ssp,
            machine_check: state.machine_check,
            events: state.events,
            ..VcpuState::default()
        };
        let mut told = Told::by(HostCall::GetSregs);
        load_regs(&mut back, &regs(&state));
        let base = load_sregs(&mut back, &sregs(&state, 0xfee0_0900), &mut told);
        load_debug_registers(&mut back, &debug_registers(&state), &mut told);
        assert_eq!((back, base), (state.clone(), 0xfee0_0900));
        assert_eq!(told.into_faults(), []);
        assert!(differences(&state, &state).is_empty());
    }

    #[test]
    fn each_field_that_changes_is_named() {
        let state = VcpuState::default();
        for field in FIELDS.iter().filter(|field| !field.name.contains('.')) {
            let mut changed = state.clone();
            field.write(&mut changed, field.read(&state) ^ 1);
            let found = differences(&state, &changed);
            let names: Vec<&str> = found.iter().map(|(field, ..)| field.name).collect();
            assert!(names.contains(&field.name), "{}: {names:?}", field.name);
        }
    }
}
