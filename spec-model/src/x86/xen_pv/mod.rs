//! A paravirtual guest of Xen: 64-bit code that runs at privilege level 3, kernel and programs
//! alike, above a hypervisor that takes every exception and passes it on.
//!
//! The processor below is the same as everywhere. What the hypervisor adds is one layer, which
//! a virtual processor has if [`VcpuState::xen_pv`](super::state::VcpuState::xen_pv) is there:
//!
//! * `bounce`: exceptions and software interrupts go to the guest's trap table and not to the
//!   IDT, with a frame of their own;
//! * `hypercall`: SYSCALL calls the hypervisor, or the guest kernel from a program;
//! * `debug`: the guest's debug registers, and a #DB on its way to the guest;
//! * `control`: its control registers;
//! * `instruction`: the few other instructions that the hypervisor sees.
//!
//! Sources are the public interface (`xen/include/public/arch-x86/xen.h` and
//! `xen-x86_64.h`) and, where that is silent, what Xen 4.17 does.

mod bounce;
mod control;
mod debug;
mod hypercall;
mod instruction;

use serde::{Deserialize, Serialize};

use super::segment::{Segment, SegmentAttributes};

/// Guest-physical address from which memory is the hypervisor's own: its descriptor table and
/// the page tables, which are no part of what a run shows.
pub const HYPERVISOR_MEMORY: u64 = 0x4000_0000;
/// Selector of the flat 64-bit code segment in which the guest runs (`FLAT_RING3_CS64`).
pub const FLAT_CODE: u16 = 0xe033;
/// Selector of the flat data segment for its stack (`FLAT_RING3_SS64`).
pub const FLAT_STACK: u16 = 0xe02b;
/// Selector of the flat 32-bit code segment for programs (`FLAT_RING3_CS32`).
pub const FLAT_CODE_32: u16 = 0xe023;
/// Lowest address of the range that the hypervisor keeps for itself, and the first one above it
/// (`HYPERVISOR_VIRT_START` and `HYPERVISOR_VIRT_END`).
pub const HYPERVISOR_RANGE: std::ops::Range<u64> = 0xffff_8000_0000_0000..0xffff_8800_0000_0000;

/// What the hypervisor keeps of one virtual processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct XenPv {
    /// Whether the guest kernel runs, and not one of its programs. Both run at privilege level
    /// 3, so that no register of the processor tells.
    pub kernel_mode: bool,
    /// Whether events are masked (`evtchn_upcall_mask`): the guest's interrupt flag, inverted.
    pub upcall_mask: bool,
    /// The trap table: at most one entry per vector.
    pub traps: Vec<Trap>,
    /// Where the frame starts when an event interrupts a program (`stack_switch`).
    pub kernel_stack: u64,
    /// Where the kernel is entered when a program executes SYSCALL (`set_callbacks`).
    pub syscall_callback: u64,
    /// The guest's CR4.DE.
    pub debugging_extensions: bool,
}

/// An entry of the trap table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trap {
    /// Vector.
    pub vector: u8,
    /// From which privilege level on INT n may call it; the guest kernel counts as 1.
    pub dpl: u8,
    /// Whether events are masked on entry.
    pub masks_events: bool,
    /// Where the handler starts; 0 if there is none.
    pub address: u64,
}

impl XenPv {
    /// The handler of a vector, if the guest has set one.
    #[must_use]
    pub fn trap(&self, vector: u8) -> Option<Trap> {
        let found = self.traps.iter().find(|trap| trap.vector == vector);
        found.copied().filter(|trap| trap.address != 0)
    }
}

/// The segment register that holds one of the hypervisor's selectors for guests, or a null one;
/// none for any other selector.
#[must_use]
pub fn flat_segment(selector: u16) -> Option<Segment> {
    let attributes = match selector {
        FLAT_CODE => 0xa0fb,
        FLAT_STACK => 0xc0f3,
        FLAT_CODE_32 => 0xc0fb,
        0..=3 => {
            return Some(Segment {
                selector,
                attributes: SegmentAttributes::UNUSABLE,
                ..Segment::default()
            });
        }
        _ => return None,
    };
    Some(Segment {
        selector,
        base: 0,
        limit: 0xffff_ffff,
        attributes: SegmentAttributes(attributes),
    })
}
