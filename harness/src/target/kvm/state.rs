//! Between [`VcpuState`] and the structures that KVM's getters and setters take.

use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SMM,
    KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment,
    kvm_sregs, kvm_vcpu_events,
};
use spec_model::host_state::same_shadow;
use spec_model::x86::field::{FIELDS, Field};
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{
    EventState, PendingException, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Shadow, VcpuState,
};

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
    state.general = [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9,
        regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    state.rip = regs.rip;
    state.rflags = regs.rflags;
}

/// For `KVM_SET_SREGS`. `apic_base` is not part of a scenario and stays as it is.
pub(super) fn sregs(state: &VcpuState, apic_base: u64) -> kvm_sregs {
    let of = |name| segment(state.segment(name));
    kvm_sregs {
        cs: of(SegmentName::Cs),
        ds: of(SegmentName::Ds),
        es: of(SegmentName::Es),
        fs: of(SegmentName::Fs),
        gs: of(SegmentName::Gs),
        ss: of(SegmentName::Ss),
        tr: of(SegmentName::Tr),
        ldt: of(SegmentName::Ldtr),
        gdt: table(state.gdtr),
        idt: table(state.idtr),
        cr0: state.cr0,
        cr2: state.cr2,
        cr3: state.cr3,
        cr4: state.cr4,
        cr8: state.cr8,
        efer: state.efer,
        apic_base,
        interrupt_bitmap: [0; 4],
    }
}

/// From `KVM_GET_SREGS`.
pub(super) fn load_sregs(state: &mut VcpuState, sregs: &kvm_sregs) {
    for (name, segment) in [
        (SegmentName::Es, &sregs.es),
        (SegmentName::Cs, &sregs.cs),
        (SegmentName::Ss, &sregs.ss),
        (SegmentName::Ds, &sregs.ds),
        (SegmentName::Fs, &sregs.fs),
        (SegmentName::Gs, &sregs.gs),
        (SegmentName::Ldtr, &sregs.ldt),
        (SegmentName::Tr, &sregs.tr),
    ] {
        *state.segment_mut(name) = from_segment(segment);
    }
    state.gdtr = from_table(sregs.gdt);
    state.idtr = from_table(sregs.idt);
    state.cr0 = sregs.cr0;
    state.cr2 = sregs.cr2;
    state.cr3 = sregs.cr3;
    state.cr4 = sregs.cr4;
    state.cr8 = sregs.cr8;
    state.efer = sregs.efer;
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
pub(super) fn load_debug_registers(state: &mut VcpuState, registers: &kvm_debugregs) {
    state.debug_address = registers.db;
    state.dr6 = registers.dr6;
    state.dr7 = registers.dr7;
}

/// For `KVM_SET_VCPU_EVENTS`: the whole event state. The SMM part is marked valid only
/// where the device has SMM; a KVM without it refuses the flag or ignores it.
pub(super) fn events(state: &EventState, smm: bool) -> kvm_vcpu_events {
    let mut events = kvm_vcpu_events::default();
    if let Some(exception) = state.exception {
        events.exception.injected = 1;
        events.exception.nr = exception.vector;
        events.exception.has_error_code = u8::from(exception.error_code.is_some());
        events.exception.error_code = exception.error_code.unwrap_or(0);
    }
    events.nmi.injected = u8::from(state.nmi_injected);
    events.nmi.pending = state.nmi_pending;
    events.nmi.masked = u8::from(state.nmi_masked);
    events.interrupt.shadow = shadow_bits(state.shadow);
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    if smm {
        events.smi.smm = u8::from(state.in_smm);
        events.smi.pending = u8::from(state.smi_pending);
        events.smi.smm_inside_nmi = u8::from(state.smm_inside_nmi);
        events.smi.latched_init = u8::from(state.init_latched);
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
    }
    events
}

/// From `KVM_GET_VCPU_EVENTS`.
pub(super) fn from_events(events: &kvm_vcpu_events) -> EventState {
    let exception = &events.exception;
    EventState {
        nmi_masked: events.nmi.masked != 0,
        nmi_pending: events.nmi.pending,
        nmi_injected: events.nmi.injected != 0,
        in_smm: events.smi.smm != 0,
        smm_inside_nmi: events.smi.smm_inside_nmi != 0,
        smi_pending: events.smi.pending != 0,
        init_latched: events.smi.latched_init != 0,
        shadow: from_shadow_bits(events.interrupt.shadow),
        exception: (exception.injected != 0 || exception.pending != 0).then(|| PendingException {
            vector: exception.nr,
            error_code: (exception.has_error_code != 0).then_some(exception.error_code),
        }),
    }
}

/// A shadow as KVM numbers it.
#[allow(clippy::cast_possible_truncation, reason = "the constants are 1 and 2")]
pub(super) fn shadow_bits(shadow: Shadow) -> u8 {
    match shadow {
        Shadow::None => 0,
        Shadow::Sti => KVM_X86_SHADOW_INT_STI as u8,
        Shadow::MovSs => KVM_X86_SHADOW_INT_MOV_SS as u8,
    }
}

/// SVM has one bit for both kinds of shadow, and KVM then reports both (Linux
/// `arch/x86/kvm/svm/svm.c`, `svm_get_interrupt_shadow`). That reads as the stronger one.
fn from_shadow_bits(bits: u8) -> Shadow {
    if bits & shadow_bits(Shadow::MovSs) != 0 {
        Shadow::MovSs
    } else if bits & shadow_bits(Shadow::Sti) != 0 {
        Shadow::Sti
    } else {
        Shadow::None
    }
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

/// A descriptor that is not present cannot be loaded, so a register that says "not present"
/// and one that says "unusable" behave alike. SVM has no unusable bit and keeps the former
/// (Linux `arch/x86/kvm/svm/svm.c`, `svm_get_segment`).
fn not_present_is_unusable(mut state: VcpuState) -> VcpuState {
    for segment in &mut state.segments {
        segment.attributes = normalised(segment.attributes);
    }
    state
}

fn normalised(attributes: SegmentAttributes) -> SegmentAttributes {
    if attributes.present() {
        attributes
    } else {
        SegmentAttributes(attributes.0 | SegmentAttributes::UNUSABLE.0)
    }
}

/// KVM's limit counts bytes, like the model's.
fn segment(segment: &Segment) -> kvm_segment {
    let attributes = segment.attributes;
    let bit = |number: u32| (attributes.0 >> number & 1) as u8;
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: (attributes.0 & 0xf) as u8,
        s: bit(4),
        dpl: attributes.dpl(),
        present: bit(7),
        avl: bit(12),
        l: bit(13),
        db: bit(14),
        g: bit(15),
        unusable: bit(16),
        padding: 0,
    }
}

fn from_segment(segment: &kvm_segment) -> Segment {
    let bit = |value: u8, number: u32| u32::from(value & 1) << number;
    let attributes = u32::from(segment.type_ & 0xf)
        | bit(segment.s, 4)
        | u32::from(segment.dpl & 3) << 5
        | bit(segment.present, 7)
        | bit(segment.avl, 12)
        | bit(segment.l, 13)
        | bit(segment.db, 14)
        | bit(segment.g, 15)
        | bit(segment.unusable, 16);
    Segment {
        selector: segment.selector,
        base: segment.base,
        limit: segment.limit,
        attributes: normalised(SegmentAttributes(attributes)),
    }
}

fn table(table: DescriptorTable) -> kvm_dtable {
    kvm_dtable {
        base: table.base,
        limit: table.limit,
        ..kvm_dtable::default()
    }
}

fn from_table(table: kvm_dtable) -> DescriptorTable {
    DescriptorTable {
        base: table.base,
        limit: table.limit,
    }
}

#[cfg(test)]
mod tests {
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
        state.events = EventState {
            nmi_masked: true,
            nmi_pending: 2,
            smm_inside_nmi: true,
            init_latched: true,
            shadow: Shadow::Sti,
            exception: Some(PendingException {
                vector: 13,
                error_code: Some(0x1234),
            }),
            ..EventState::default()
        };
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
            smbase: state.smbase,
            ssp: state.ssp,
            machine_check: state.machine_check,
            events: from_events(&events(&state.events, true)),
            ..VcpuState::default()
        };
        load_regs(&mut back, &regs(&state));
        load_sregs(&mut back, &sregs(&state, 0xfee0_0900));
        load_debug_registers(&mut back, &debug_registers(&state));
        assert_eq!(back, state);
        assert!(differences(&state, &back).is_empty());
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

    #[test]
    fn without_smm_the_smm_part_of_the_events_is_not_marked_valid() {
        let flags = events(&EventState::default(), false).flags;
        assert_eq!(flags & KVM_VCPUEVENT_VALID_SMM, 0);
    }

    #[test]
    fn both_shadow_bits_read_as_the_shadow_of_mov_ss() {
        assert_eq!(from_shadow_bits(3), Shadow::MovSs);
        for shadow in [Shadow::None, Shadow::Sti, Shadow::MovSs] {
            assert_eq!(from_shadow_bits(shadow_bits(shadow)), shadow);
        }
    }
}
