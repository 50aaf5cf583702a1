//! Where things lie in memory, all addresses linear and guest-physical alike.

use super::row::{Event, Stack};

/// The code of the first event; the others follow at steps of [`STEP`].
const EVENTS: u64 = 0x1000;
/// The event's handler; those of the faults follow.
const HANDLERS: u64 = 0x2000;
/// Distance between the code of two events or handlers, in bytes.
const STEP: u64 = 0x20;
/// The IDT: vectors 0 to 20h.
pub(super) const IDT: u64 = 0x5000;
/// Gates in it.
pub(super) const GATES: usize = 0x21;
/// The LDT, of two descriptors.
pub(super) const LDT: u64 = 0x5800;
/// Limit of the LDT.
pub(super) const LDT_LIMIT: u64 = 15;
/// The TSS, where the case format has it.
pub(super) const TSS: u64 = 0x8_2000;
/// A page that is not present; the next one is.
pub(super) const ABSENT_PAGE: u64 = 0x9000;
/// A page that cannot be written.
pub(super) const READ_ONLY_PAGE: u64 = 0xb000;
/// A page that level 3 may not touch.
pub(super) const SUPERVISOR_PAGE: u64 = 0xc000;

/// The RAM that is used, address and size in bytes.
pub(super) const RAM: [(u64, u64); 3] = [(0, 0x1_0000), (0x8_0000, 0x3000), (0x9_0000, 0x8000)];

/// The faults that have handlers of their own: vector and name of the sync point.
pub(super) const FAULTS: [(u8, &str); 7] = [
    (6, "in-ud"),
    (8, "in-df"),
    (10, "in-ts"),
    (11, "in-np"),
    (12, "in-ss"),
    (13, "in-gp"),
    (14, "in-pf"),
];

/// Address of the event's handler.
pub(super) const HANDLER: u64 = HANDLERS;

/// Address of the handler of the n-th of [`FAULTS`].
pub(super) const fn fault_handler(index: usize) -> u64 {
    HANDLERS + STEP * (index as u64 + 1)
}

/// Address of the code of an event.
pub(super) fn event(event: Event) -> u64 {
    EVENTS + STEP * event as u64
}

/// Vector of an event.
pub(super) const fn vector(event: Event) -> u8 {
    match event {
        Event::De => 0,
        Event::Nmi => 2,
        Event::Int3 => 3,
        Event::Ud => 6,
        Event::Np => 11,
        Event::Ss => 12,
        Event::Gp => 13,
        Event::Pf => 14,
        Event::Int => 0x20,
    }
}

/// A place that holds a stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// RSP itself.
    Program,
    /// RSP0 to RSP2 of the TSS.
    Level(u8),
    /// IST1 to IST7 of the TSS.
    Ist(u8),
}

impl Slot {
    fn index(self) -> u64 {
        match self {
            Self::Program => 0,
            Self::Level(level) => 1 + u64::from(level),
            Self::Ist(ist) => 3 + u64::from(ist),
        }
    }
}

/// The stack pointer of a place. No two places share one, unless that is what the stack is about.
pub(super) fn stack_pointer(stack: Stack, slot: Slot) -> u64 {
    let good = 0x6200 + slot.index() * 0x100;
    let on = |page: u64| page + 0x100 + slot.index() * 0x100;
    match stack {
        Stack::Good => good,
        Stack::Off(bytes) => good - 16 + u64::from(bytes),
        Stack::NonCanonical => 0x1234_0000_0000_0000 + good,
        Stack::Beyond => 0x0000_8000_0000_0000,
        Stack::Lowest => 0xffff_8000_0000_0000,
        Stack::Absent => on(ABSENT_PAGE),
        Stack::Partial(room) => ABSENT_PAGE + 0x1000 + 16 * u64::from(room),
        Stack::ReadOnly => on(READ_ONLY_PAGE),
        Stack::Supervisor => on(SUPERVISOR_PAGE),
    }
}
