//! The bytes of gates, descriptors and stack pointers.

use super::place::{self, FAULTS, GATES, Slot, stack_pointer};
use super::row::{DoubleFault, Event, Faults, Flags, Offset, Row, Selector, Stack};

/// Interrupt gate.
const INTERRUPT: u8 = 0xe;
/// Call gate.
const CALL: u8 = 0xc;
/// 64-bit code, DPL 0, as the case format has it.
const CODE: u16 = 0x28;
/// IST entries of the gates of faults and of #DF, and the one that leads nowhere.
const FAULT_STACK: u8 = 7;
const DOUBLE_FAULT_STACK: u8 = 6;
const BAD_STACK: u8 = 5;

/// The descriptors that the payload has beside those of the case format. All but one have the
/// accessed bit set, so that entering them changes nothing in memory.
pub(super) const DESCRIPTORS: [(u16, u64, &str); 20] = [
    (0x60, flat(0xbb, 0xa), "64-bit code, DPL 1"),
    (0x68, flat(0xb3, 0xc), "data, DPL 1"),
    (0x70, flat(0xdb, 0xa), "64-bit code, DPL 2"),
    (0x78, flat(0xd3, 0xc), "data, DPL 2"),
    (0x80, flat(0xfb, 0xa), "64-bit code, DPL 3"),
    (0x88, flat(0xf3, 0xc), "data, DPL 3"),
    (0x90, flat(0x9f, 0xa), "64-bit conforming code, DPL 0"),
    (0x98, flat(0xff, 0xa), "64-bit conforming code, DPL 3"),
    (0xa0, flat(0x9b, 0xc), "32-bit code"),
    (0xa8, flat(0x9b, 0xe), "code with L and D"),
    (0xb0, flat(0x1b, 0xa), "64-bit code, not present"),
    (0xb8, flat(0x93, 0xc), "data, DPL 0"),
    (0xc0, flat(0x89, 0x0), "TSS"),
    (0xc8, flat(0x9a, 0xa), "64-bit code, not accessed"),
    (0xd0, flat(0x13, 0xc), "data, DPL 0, not present"),
    (0xd8, flat(0x33, 0xc), "data, DPL 1, not present"),
    (0xe0, flat(0x53, 0xc), "data, DPL 2, not present"),
    (0xe8, flat(0x73, 0xc), "data, DPL 3, not present"),
    (0xf0, flat(0x9b, 0xa), "64-bit code"),
    (0xf8, flat(0x99, 0xa), "64-bit code that cannot be read"),
];

/// What the LDT holds at its second place.
pub(super) const LDT_CODE: u64 = flat(0x9b, 0xa);

/// A descriptor with base 0 and the largest limit.
const fn flat(rights: u64, flags: u64) -> u64 {
    0x000f_0000_0000_ffff | rights << 40 | flags << 52
}

/// Selector and attributes of the code segment and of the stack segment of a privilege level.
pub(super) fn segments(cpl: u8) -> [(u16, u32); 2] {
    let (code, data) = match cpl {
        0 => (0x28, 0x10),
        1 => (0x61, 0x69),
        2 => (0x72, 0x7a),
        _ => (0x83, 0x8b),
    };
    let dpl = u32::from(cpl) << 5;
    [(code, 0xa09b | dpl), (data, 0xc093 | dpl)]
}

/// The selector in a gate.
pub(super) const fn selector(selector: Selector) -> u16 {
    match selector {
        Selector::Code0 => CODE,
        Selector::Rpl3 => CODE | 3,
        Selector::Code1 => 0x60,
        Selector::Code2 => 0x70,
        Selector::Code3 => 0x80,
        Selector::Conforming0 => 0x90,
        Selector::Conforming3 => 0x98,
        Selector::ExecuteOnly | Selector::CutByGdt => 0xf8,
        Selector::NotAccessed => 0xc8,
        Selector::Ldt => 0x0c,
        Selector::Null => 0,
        Selector::NullRpl3 => 3,
        Selector::Code32 => 0xa0,
        Selector::LongAndBig => 0xa8,
        Selector::Absent => 0xb0,
        Selector::Data => 0xb8,
        Selector::System => 0xc0,
        Selector::BeyondGdt => 0x100,
        Selector::BeyondLdt => 0x14,
    }
}

/// Limit of the GDT.
pub(super) fn gdt_limit(row: &Row) -> u64 {
    match row.selector {
        Selector::CutByGdt => 0xfe,
        _ => 0xff,
    }
}

/// Limit of the IDT: all of it, or so much that the event's gate is cut.
pub(super) fn idt_limit(row: &Row) -> u64 {
    match row.cut {
        0 => GATES as u64 * 16 - 1,
        // A limit of 0 leaves a byte: less than the first gate cannot be cut.
        cut => (u64::from(place::vector(row.event)) * 16 + 15).saturating_sub(u64::from(cut)),
    }
}

/// RFLAGS before the event, with IOPL 3.
pub(super) const fn flags(row: &Row) -> u64 {
    match row.flags {
        Flags::None => 0x3002,
        Flags::If => 0x3202,
        Flags::Nt => 0x7202,
        Flags::Ac => 0x4_3202,
    }
}

/// What MOV to ES or SS loads.
pub(super) fn loaded(row: &Row) -> u64 {
    match row.event {
        Event::Np => 0xe8,
        Event::Ss => 0xd0 + 9 * u64::from(row.cpl),
        _ => 0x100,
    }
}

/// A gate in words of 16 bits.
pub(super) type Gate = [u16; 8];

struct Fields {
    offset: u64,
    selector: u16,
    kind: u8,
    dpl: u8,
    present: bool,
    ist: u8,
}

impl Fields {
    fn words(&self) -> Gate {
        let rights = u16::from(self.kind) | u16::from(self.dpl) << 5 | u16::from(self.present) << 7;
        [
            self.offset as u16,
            self.selector,
            u16::from(self.ist) | rights << 8,
            (self.offset >> 16) as u16,
            (self.offset >> 32) as u16,
            (self.offset >> 48) as u16,
            0,
            0,
        ]
    }
}

/// All gates that are not zero, by vector in ascending order.
pub(super) fn gates(row: &Row) -> Vec<(u8, Gate)> {
    let tested = place::vector(row.event);
    let mut gates: Vec<(u8, Gate)> = Vec::with_capacity(FAULTS.len() + 1);
    for (index, (vector, _)) in FAULTS.iter().enumerate() {
        if *vector != tested {
            let offset = place::fault_handler(index);
            let gate = match vector {
                6 => fault_gate(Faults::Good, offset),
                8 => double_fault_gate(row.double, offset),
                _ => fault_gate(row.faults, offset),
            };
            gates.push((*vector, gate.words()));
        }
    }
    gates.push((tested, event_gate(row)));
    gates.sort_by_key(|(vector, _)| *vector);
    gates
}

fn event_gate(row: &Row) -> Gate {
    let mut gate = Fields {
        offset: offset(row.offset),
        selector: selector(row.selector),
        kind: row.kind,
        dpl: row.dpl,
        present: row.present,
        ist: row.ist,
    }
    .words();
    if row.bit != 0
        && let Some(word) = gate.get_mut(usize::from(row.bit / 16))
    {
        *word |= 1 << (row.bit % 16);
    }
    gate
}

const fn offset(offset: Offset) -> u64 {
    match offset {
        Offset::Handler => place::HANDLER,
        Offset::Bit47 => place::HANDLER | 1 << 47,
        Offset::Bit63 => place::HANDLER | 1 << 63,
        Offset::UpperHalf => place::HANDLER | 0xffff << 47,
        Offset::AbsentPage => place::ABSENT_PAGE + 0x800,
    }
}

fn fault_gate(faults: Faults, offset: u64) -> Fields {
    let good = Fields {
        offset,
        selector: CODE,
        kind: INTERRUPT,
        dpl: 0,
        present: true,
        ist: FAULT_STACK,
    };
    match faults {
        Faults::Good => good,
        Faults::Same => Fields { ist: 0, ..good },
        Faults::Conforming => Fields {
            ist: 0,
            selector: selector(Selector::Conforming0),
            ..good
        },
        Faults::Absent => Fields {
            present: false,
            ..good
        },
        Faults::WrongType => Fields { kind: CALL, ..good },
        Faults::Null => Fields { selector: 0, ..good },
        Faults::AbsentCode => Fields {
            selector: selector(Selector::Absent),
            ..good
        },
        Faults::BadStack => Fields {
            ist: BAD_STACK,
            ..good
        },
    }
}

fn double_fault_gate(double: DoubleFault, offset: u64) -> Fields {
    let faults = match double {
        DoubleFault::Good => {
            return Fields {
                ist: DOUBLE_FAULT_STACK,
                ..fault_gate(Faults::Good, offset)
            };
        }
        DoubleFault::Same => Faults::Same,
        DoubleFault::Conforming => Faults::Conforming,
        DoubleFault::Absent => Faults::Absent,
        DoubleFault::WrongType => Faults::WrongType,
        DoubleFault::BadStack => Faults::BadStack,
    };
    fault_gate(faults, offset)
}

/// The stack pointer that a place holds. The stack of the row is where its gate may lead: in one
/// entry of the IST, or in all places that IST 0 can choose.
pub(super) fn stack_at(row: &Row, slot: Slot) -> u64 {
    let of_gate = match slot {
        Slot::Ist(ist) => row.ist == ist,
        Slot::Program | Slot::Level(_) => row.ist == 0,
    };
    let bad = row.faults == Faults::BadStack || row.double == DoubleFault::BadStack;
    let stack = if of_gate {
        row.stack
    } else if bad && slot == Slot::Ist(BAD_STACK) {
        Stack::Absent
    } else {
        Stack::Good
    };
    stack_pointer(stack, slot)
}
