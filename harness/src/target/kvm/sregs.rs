//! Segments, descriptor tables and control registers: between [`VcpuState`] and the structure of
//! `KVM_GET_SREGS` and `KVM_SET_SREGS` (KVM API, 4.13 and 4.14).

use kvm_bindings::{kvm_dtable, kvm_segment, kvm_sregs};
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::VcpuState;

use super::told::Told;

/// For `KVM_SET_SREGS`.
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

/// From `KVM_GET_SREGS`. Gives IA32_APIC_BASE, which is part of the state only with a local APIC.
pub(super) fn load_sregs(state: &mut VcpuState, sregs: &kvm_sregs, told: &mut Told) -> u64 {
    let kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr,
        ldt,
        gdt,
        idt,
        cr0,
        cr2,
        cr3,
        cr4,
        cr8,
        efer,
        apic_base,
        interrupt_bitmap,
    } = *sregs;
    for (name, member, segment) in [
        (SegmentName::Es, "es", es),
        (SegmentName::Cs, "cs", cs),
        (SegmentName::Ss, "ss", ss),
        (SegmentName::Ds, "ds", ds),
        (SegmentName::Fs, "fs", fs),
        (SegmentName::Gs, "gs", gs),
        (SegmentName::Ldtr, "ldt", ldt),
        (SegmentName::Tr, "tr", tr),
    ] {
        *state.segment_mut(name) = from_segment(segment, member, told);
    }
    state.gdtr = from_table(gdt, "gdt", told);
    state.idtr = from_table(idt, "idt", told);
    state.cr0 = cr0;
    state.cr2 = cr2;
    state.cr3 = cr3;
    state.cr4 = cr4;
    state.cr8 = cr8;
    state.efer = efer;
    // "Acknowledged by the APIC but not yet injected into the cpu core": not at the end of an instruction.
    told.zeros("interrupt_bitmap", &interrupt_bitmap);
    apic_base
}

/// A descriptor that is not present cannot be loaded, so a register that says "not present"
/// and one that says "unusable" behave alike. SVM has no unusable bit and keeps the former
/// (Linux `arch/x86/kvm/svm/svm.c`, `svm_get_segment`).
pub(super) fn normalised(attributes: SegmentAttributes) -> SegmentAttributes {
    if attributes.present() {
        attributes
    } else {
        SegmentAttributes(attributes.0 | SegmentAttributes::UNUSABLE.0)
    }
}

/// KVM's limit counts bytes, like the model's.
fn segment(segment: &Segment) -> kvm_segment {
    let attributes = normalised(segment.attributes);
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

/// Bits have a member each. Whether a register is usable is told twice: SVM makes `unusable` of
/// `present` and VMX the reverse (Linux `svm_get_segment`, `vmx_get_segment`).
fn from_segment(segment: kvm_segment, register: &str, told: &mut Told) -> Segment {
    let kvm_segment {
        base,
        limit,
        selector,
        type_,
        present,
        dpl,
        db,
        s,
        l,
        g,
        avl,
        unusable,
        padding,
    } = segment;
    let name = |member: &str| format!("{register}.{member}");
    told.defined_bits(&name("type"), 0xf, type_);
    told.defined_bits(&name("dpl"), 3, dpl);
    told.must_be(&name("padding"), 0, padding);
    let mut bit = |member: &str, value: u8, number: u32| u32::from(told.flag(&name(member), value)) << number;
    let attributes = u32::from(type_ & 0xf)
        | u32::from(dpl & 3) << 5
        | bit("s", s, 4)
        | bit("present", present, 7)
        | bit("avl", avl, 12)
        | bit("l", l, 13)
        | bit("db", db, 14)
        | bit("g", g, 15)
        | bit("unusable", unusable, 16);
    told.must_be(&name("unusable"), u64::from(present == 0), unusable & 1);
    Segment {
        selector,
        base,
        limit,
        attributes: normalised(SegmentAttributes(attributes)),
    }
}

fn table(table: DescriptorTable) -> kvm_dtable {
    kvm_dtable {
        base: table.base,
        limit: table.limit,
        padding: [0; 3],
    }
}

fn from_table(table: kvm_dtable, register: &str, told: &mut Told) -> DescriptorTable {
    let kvm_dtable { base, limit, padding } = table;
    told.zeros(&format!("{register}.padding"), &padding);
    DescriptorTable { base, limit }
}
