//! Where a run can stop, and where the code of events lies in memory.

use spec_model::scenario::PointId;

use super::symbol::Symbol;

/// The longest sequence for which there is room.
pub const LONGEST: usize = 7;
/// Address of the code of the first event.
pub(super) const SLOTS: u64 = 0x2000;
/// Distance between the code of one event and that of the next, in bytes.
pub(super) const STEP: u64 = 0x40;
/// Address of the pointer to the code of the next event.
pub(super) const NEXT: u64 = 0x6000;

/// Where a run can stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum At {
    /// Back from a handler, or behind an event that is held.
    Resumed,
    /// In the handler of an NMI.
    InNmi,
    /// In the handler of #BP.
    InBp,
    /// In the handler of #UD.
    InUd,
    /// In the SMI handler.
    InSmi,
    /// About to get an NMI.
    Nmi,
    /// About to get an SMI.
    Smi,
    /// The same with a shadow.
    StiNmi,
    /// The same with a shadow.
    MovSsNmi,
    /// The same with a shadow.
    StiSmi,
    /// The same with a shadow.
    MovSsSmi,
}

impl At {
    pub(super) const ALL: [Self; 11] = [
        Self::Resumed,
        Self::InNmi,
        Self::InBp,
        Self::InUd,
        Self::InSmi,
        Self::Nmi,
        Self::Smi,
        Self::StiNmi,
        Self::MovSsNmi,
        Self::StiSmi,
        Self::MovSsSmi,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::InNmi => "in-nmi",
            Self::InBp => "in-bp",
            Self::InUd => "in-ud",
            Self::InSmi => "in-smi",
            Self::Nmi => "nmi",
            Self::Smi => "smi",
            Self::StiNmi => "sti-nmi",
            Self::MovSsNmi => "mov-ss-nmi",
            Self::StiSmi => "sti-smi",
            Self::MovSsSmi => "mov-ss-smi",
        }
    }

    /// Which one a point of the payload is.
    #[must_use]
    pub fn of(point: PointId) -> Option<Self> {
        Self::ALL.get(usize::from(point.0)).copied()
    }

    /// Whether the host raises something there, so that the event is not over yet.
    #[must_use]
    pub const fn raises(self) -> bool {
        self as u16 >= Self::Nmi as u16
    }

    /// Where the host raises `event` behind `shadow`.
    pub(super) const fn raising(event: Symbol, shadow: Option<Symbol>) -> Option<Self> {
        match (event, shadow) {
            (Symbol::Nmi, Some(Symbol::Sti)) => Some(Self::StiNmi),
            (Symbol::Nmi, Some(Symbol::MovSs)) => Some(Self::MovSsNmi),
            (Symbol::Nmi, _) => Some(Self::Nmi),
            (Symbol::Smi, Some(Symbol::Sti)) => Some(Self::StiSmi),
            (Symbol::Smi, Some(Symbol::MovSs)) => Some(Self::MovSsSmi),
            (Symbol::Smi, _) => Some(Self::Smi),
            _ => None,
        }
    }
}

/// Address of the code of an event.
pub(super) fn slot(position: usize) -> u64 {
    SLOTS + STEP * position as u64
}

/// The addresses that hold the code of events.
pub(super) const fn holds_slot(address: u64) -> bool {
    address >= SLOTS && address < SLOTS + (LONGEST as u64 + 1) * STEP
}

/// Address of the pointer to the code of the next event.
pub(super) const fn next_pointer() -> u64 {
    NEXT
}

/// Splits a sequence where one event is over and the next begins: behind every symbol that
/// starts no shadow. Each part comes with the position of its first event.
pub(super) fn chains(sequence: &[Symbol]) -> impl Iterator<Item = (usize, &[Symbol])> {
    let mut position = 0;
    sequence
        .split_inclusive(|symbol| !symbol.is_shadow())
        .map(move |chain| {
            let start = position;
            position += chain.len();
            (start, chain)
        })
}
