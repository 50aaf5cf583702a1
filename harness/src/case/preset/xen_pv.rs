//! What Xen has set up when the kernel of a paravirtual guest starts: registers, and, in memory
//! of its own that no guest sees, the page tables and the descriptors for guests.

use std::ops::Range;

use spec_model::scenario::Blob;
use spec_model::x86::segment::{DescriptorTable, SegmentName};
use spec_model::x86::state::{RSP, VcpuState};
use spec_model::x86::xen_pv::{
    self, FLAT_CODE, FLAT_CODE_32, FLAT_STACK, HYPERVISOR_RANGE, Trap, XenPv, flat_segment,
};

use super::page::{MAPPED, PAGE_SIZE, Page};
use super::{
    CR0_ET, CR0_PE, CR0_PG, CR0_WP, CR4_PAE, EFER_LMA, EFER_LME, Gate, PRIVILEGED_STACK, RFLAGS_ALWAYS_ONE,
    STACK, Tables,
};
use crate::case::syntax::GateKind;

/// Guest-physical addresses of what the hypervisor has for itself.
pub(in super::super) const HYPERVISOR_MEMORY: Range<u64> =
    xen_pv::HYPERVISOR_MEMORY..xen_pv::HYPERVISOR_MEMORY + 0x2_0000;
/// Where its descriptor table begins, as an offset in that memory. Guests' selectors are at its end.
const GDT_OFFSET: u64 = 0x1_0000;
const GDT_LIMIT: u16 = 0xe0ff;
/// Linear address of the descriptor table.
const GDT: u64 = HYPERVISOR_RANGE.start + 0x200_0000_0000;
const EFER_SCE: u64 = 1;
const RFLAGS_IF: u64 = 1 << 9;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;

/// The registers with which a kernel starts at `entry`.
pub(super) fn registers(entry: u64) -> VcpuState {
    let mut state = VcpuState {
        rip: entry,
        rflags: RFLAGS_ALWAYS_ONE | RFLAGS_IF,
        cr0: CR0_PE | CR0_ET | CR0_WP | CR0_PG,
        cr3: HYPERVISOR_MEMORY.start,
        cr4: CR4_PAE,
        efer: EFER_LME | EFER_LMA | EFER_SCE,
        gdtr: DescriptorTable {
            base: GDT,
            limit: GDT_LIMIT,
        },
        xen_pv: Some(Box::new(XenPv {
            kernel_mode: true,
            kernel_stack: PRIVILEGED_STACK,
            ..XenPv::default()
        })),
        ..VcpuState::default()
    };
    state.general[RSP] = STACK;
    for name in SegmentName::ALL {
        let selector = match name {
            SegmentName::Cs => FLAT_CODE,
            SegmentName::Ss => FLAT_STACK,
            _ => 0,
        };
        *state.segment_mut(name) = flat_segment(selector).unwrap_or_default();
    }
    state
}

/// What a case changes in what Xen keeps of the guest.
pub(in super::super) fn guest(tables: &Tables, syscall_callback: u64, xen: &mut XenPv) {
    xen.kernel_stack = tables.task_state.stacks[0];
    xen.syscall_callback = syscall_callback;
    xen.traps = tables.gates.iter().filter_map(trap).collect();
}

fn trap((vector, gate): &(u8, Gate)) -> Option<Trap> {
    gate.present.then_some(Trap {
        vector: *vector,
        dpl: gate.dpl,
        masks_events: gate.kind == GateKind::Interrupt,
        address: gate.offset,
    })
}

/// The page tables, with the guest's pages as a case wants them, and the descriptors.
pub(super) fn tables(pages: &[(u64, Page)]) -> Vec<Blob> {
    const ALL: u64 = PRESENT | WRITABLE | USER;
    let page = |number: u64| HYPERVISOR_MEMORY.start + number * PAGE_SIZE;
    let entry = |table: u64, index: u64, value: u64| Blob {
        address: page(table) + index * 8,
        bytes: value.to_le_bytes().to_vec(),
    };
    let index = |shift: u32| GDT >> shift & 0x1ff;
    let guest = (0..MAPPED / PAGE_SIZE).flat_map(|number| {
        let address = number * PAGE_SIZE;
        let change = pages.iter().find(|(changed, _)| *changed == address);
        (address | change.map_or(ALL, |(_, page)| page.rights())).to_le_bytes()
    });
    let own = (0..=u64::from(GDT_LIMIT) / PAGE_SIZE)
        .flat_map(|number| ((page(number) + GDT_OFFSET) | PRESENT | WRITABLE).to_le_bytes());
    let descriptors = [
        (FLAT_CODE_32, 0xcf_fb),
        (FLAT_STACK, 0xcf_f3),
        (FLAT_CODE, 0xaf_fb),
    ];
    let mut blobs = vec![
        entry(0, 0, page(1) | ALL),
        entry(0, index(39), page(4) | PRESENT | WRITABLE),
        entry(1, 0, page(2) | ALL),
        entry(2, 0, page(3) | ALL),
        Blob {
            address: page(3),
            bytes: guest.collect(),
        },
        entry(4, index(30), page(5) | PRESENT | WRITABLE),
        entry(5, index(21), page(6) | PRESENT | WRITABLE),
        Blob {
            address: page(6) + index(12) * 8,
            bytes: own.collect(),
        },
    ];
    blobs.extend(descriptors.map(|(selector, rights): (u16, u64)| Blob {
        address: HYPERVISOR_MEMORY.start + GDT_OFFSET + u64::from(selector & !7),
        bytes: descriptor(rights).to_le_bytes().to_vec(),
    }));
    blobs.sort_by_key(|blob| blob.address);
    blobs
}

/// A flat descriptor: limit 0xfffff, flags in the upper byte of `rights`, type in the lower.
fn descriptor(rights: u64) -> u64 {
    0xffff | (rights & 0xff) << 40 | (rights >> 8) << 48
}
