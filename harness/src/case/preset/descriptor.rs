//! Descriptor tables: GDT, IDT, TSS and the vector table of real mode.

use spec_model::scenario::Blob;

use super::super::syntax::{GateKind, Mode};
use super::{CODE_32, CODE_64, DATA, GDT, GDT_LIMIT, IDT, PRIVILEGED_STACK, TASK, TSS, Tables};

/// A gate, or in real mode an entry of the vector table.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gate {
    pub(in super::super) offset: u64,
    pub(in super::super) selector: u16,
    pub(in super::super) kind: GateKind,
    pub(in super::super) dpl: u8,
    pub(in super::super) ist: u8,
    pub(in super::super) present: bool,
}

/// What the task-state segment holds.
#[derive(Clone, Debug)]
pub(in super::super) struct TaskState {
    pub(in super::super) stacks: [u64; 3],
    pub(in super::super) stack_segment: u16,
    pub(in super::super) interrupt_stacks: [u64; 7],
    pub(in super::super) limit: u16,
}

impl Default for TaskState {
    fn default() -> Self {
        Self {
            stacks: [PRIVILEGED_STACK, 0, 0],
            stack_segment: DATA,
            interrupt_stacks: [0; 7],
            limit: 0x67,
        }
    }
}

/// The vector table of real mode: offset and segment of each handler (SDM vol. 3B, 8086
/// emulation).
pub(super) fn vector_table(gates: &[(u8, Gate)]) -> Blob {
    let mut vectors = [[0_u8; 4]; 256];
    for (vector, gate) in gates {
        let [low, high, ..] = gate.offset.to_le_bytes();
        let [selector_low, selector_high] = gate.selector.to_le_bytes();
        vectors[usize::from(*vector)] = [low, high, selector_low, selector_high];
    }
    Blob {
        address: 0,
        bytes: vectors.concat(),
    }
}

/// The GDT. The accessed bit is set in every descriptor of code or data.
pub(super) fn global_table(tables: &Tables) -> Blob {
    let flat = |rights: u64, flags: u64| 0x000f_0000_0000_ffff | rights << 40 | flags << 52;
    let mut slots = [0_u64; 32];
    let mut set = |selector: u16, descriptor: u64| {
        if let Some(slot) = slots.get_mut(usize::from(selector / 8)) {
            *slot = descriptor;
        }
    };
    set(CODE_32, flat(0x9b, 0xc));
    set(DATA, flat(0x93, 0xc));
    set(0x18, flat(0xfb, 0xc));
    set(0x20, flat(0xf3, 0xc));
    set(CODE_64, flat(0x9b, 0xa));
    let limit = u64::from(tables.task_state.limit);
    set(
        TASK,
        limit | (TSS & 0xff_ffff) << 16 | 0x8b << 40 | (TSS >> 24) << 56,
    );
    set(TASK + 8, TSS >> 32);
    set(0x40, flat(0xfb, 0xc));
    set(0x48, flat(0xf3, 0xc));
    set(0x50, flat(0xfb, 0xa));
    set(0x58, 0x0000_9b00_0000_ffff);
    for (selector, descriptor) in &tables.descriptors {
        set(*selector, *descriptor);
    }
    let mut bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
    bytes.truncate(usize::from(GDT_LIMIT) + 1);
    Blob { address: GDT, bytes }
}

/// The TSS (SDM vol. 3A, figures "32-Bit Task-State Segment" and "64-Bit TSS Format").
pub(super) fn task_state(mode: Mode, task_state: &TaskState) -> Blob {
    let mut bytes = [0_u8; 0x68];
    let mut put = |offset: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
            place.copy_from_slice(value);
        }
    };
    if mode.has_long_mode() {
        for (index, stack) in task_state.stacks.iter().enumerate() {
            put(4 + 8 * index, &stack.to_le_bytes());
        }
        for (index, stack) in task_state.interrupt_stacks.iter().enumerate() {
            put(0x24 + 8 * index, &stack.to_le_bytes());
        }
    } else {
        for (index, stack) in task_state.stacks.iter().enumerate() {
            put(4 + 8 * index, &stack.to_le_bytes()[..4]);
        }
        put(8, &task_state.stack_segment.to_le_bytes());
    }
    let no_bitmap = task_state.limit.saturating_add(1);
    put(0x66, &no_bitmap.to_le_bytes());
    Blob {
        address: TSS,
        bytes: bytes.to_vec(),
    }
}

/// Those gates of the IDT that are not all zero (SDM vol. 3A, "IDT Descriptors" and
/// "64-Bit Mode IDT").
pub(super) fn interrupt_table(mode: Mode, gates: &[(u8, Gate)]) -> Vec<Blob> {
    let size = if mode.has_long_mode() { 16 } else { 8 };
    let gate = |(vector, gate): &(u8, Gate)| {
        let mut bytes = gate.encode();
        bytes.truncate(size);
        Blob {
            address: IDT + u64::from(*vector) * size as u64,
            bytes,
        }
    };
    gates.iter().map(gate).collect()
}

impl Gate {
    fn encode(&self) -> Vec<u8> {
        let kind: u64 = match self.kind {
            GateKind::Task => 0x5,
            GateKind::Interrupt16 => 0x6,
            GateKind::Trap16 => 0x7,
            GateKind::Call => 0xc,
            GateKind::Interrupt => 0xe,
            GateKind::Trap => 0xf,
        };
        let low = self.offset & 0xffff
            | u64::from(self.selector) << 16
            | u64::from(self.ist) << 32
            | kind << 40
            | u64::from(self.dpl) << 45
            | u64::from(self.present) << 47
            | (self.offset >> 16 & 0xffff) << 48;
        let high = self.offset >> 32;
        [low.to_le_bytes(), high.to_le_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::syntax::GateKind;
    use super::Gate;

    #[test]
    fn a_gate_lies_as_the_manual_draws_it() {
        let gate = Gate {
            offset: 0x1234_5678_9abc_def0,
            selector: 0x28,
            kind: GateKind::Interrupt,
            dpl: 3,
            ist: 2,
            present: true,
        };
        let drawn = [
            0xf0, 0xde, 0x28, 0, 2, 0xee, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0,
        ];
        assert_eq!(gate.encode(), drawn);
    }
}
