//! Touching all memory of a new virtual machine before the first scenario runs on it.
//!
//! What a scenario does must not depend on which guest pages the hypervisor has mapped so
//! far. On KVM/SVM under QEMU it does: when the delivery of INT n meets pages that are not
//! mapped in the nested tables, a fault of that delivery reports RIP behind the instruction
//! (seen on 6.12 and 7.2 with exceptions/gate-beyond-idt in a fresh machine). A suspect is
//! KVM's injection without NRIPS (Linux `arch/x86/kvm/svm/svm.c`,
//! `svm_update_soft_interrupt_rip`); it has not been told apart from QEMU's.

use spec_model::scenario::{Blob, MemoryRegion, Scenario};
use spec_model::x86::segment::{Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::VcpuState;

/// Guest-physical address of the code.
const CODE: u64 = 0x500;

/// Writes to every page of the first MiB what it holds.
const TOUCH: &[u8] = &[
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // segment: mov ds, ax
    0x31, 0xdb, // xor bx, bx
    0x80, 0x0f, 0x00, // page: or byte ptr [bx], 0
    0x81, 0xc3, 0x00, 0x10, // add bx, 0x1000
    0x75, 0xf7, // jnz page
    0x05, 0x00, 0x10, // add ax, 0x1000
    0x75, 0xee, // jnz segment
    0xf4, // hlt
];

/// A scenario with memory and processors like those of `scenario` that touches every page
/// below 1 MiB; none if there is no RAM for its code.
pub(super) fn like(scenario: &Scenario) -> Option<Scenario> {
    let empty = |region: &MemoryRegion| MemoryRegion {
        contents: Vec::new(),
        ..*region
    };
    let mut memory: Vec<MemoryRegion> = scenario.memory.iter().map(empty).collect();
    let holds_code = |region: &&mut MemoryRegion| region.address == 0 && region.space.visible(false);
    memory.iter_mut().find(holds_code)?.contents.push(Blob {
        address: CODE,
        bytes: TOUCH.to_vec(),
    });
    Some(Scenario {
        name: "warm-up".to_owned(),
        cpuid: scenario.cpuid,
        memory,
        vcpus: scenario.vcpus.iter().map(real_mode).collect(),
        ..Scenario::default()
    })
}

fn real_mode(like: &VcpuState) -> VcpuState {
    const EXTENSION_TYPE: u64 = 1 << 4;
    let mut state = VcpuState {
        rip: CODE,
        cr0: EXTENSION_TYPE,
        // The task priority of its local APIC.
        cr8: like.cr8,
        apic: like.apic.clone(),
        ..VcpuState::default()
    };
    if let Some(apic) = state.apic.as_deref_mut() {
        apic.waiting_for_sipi = false;
    }
    for name in SegmentName::ALL {
        let attributes = match name {
            SegmentName::Cs => SegmentAttributes(0x9b),
            SegmentName::Ldtr => SegmentAttributes::UNUSABLE,
            SegmentName::Tr => SegmentAttributes(0x8b),
            _ => SegmentAttributes(0x93),
        };
        *state.segment_mut(name) = Segment {
            limit: 0xffff,
            attributes,
            ..Segment::default()
        };
    }
    state
}
