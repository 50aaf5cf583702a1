//! Random scenarios: the same seed gives the same scenario, on every machine and for ever.

use super::scenario::{
    Backing, BackingKind, DirtyLogMode, Fill, GuestAddress, GuestStep, HostAddress, HostStep, Operation,
    Protection, Range, SlotRequest, Stage2, Step,
};

/// Guest page of the first slot.
const FIRST_PAGE: u64 = 0x40;
/// Pages of each backing. Slots lie side by side, so that accesses cross from one to the next.
const PAGES: u32 = 2;
/// Places for slots; those without a slot are holes.
const PLACES: u64 = 5;

/// A generator of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        let index = self.below(others.len() as u64 + 1) as usize;
        index
            .checked_sub(1)
            .and_then(|index| others.get(index))
            .copied()
            .unwrap_or(first)
    }
}

/// A scenario of a few slots over a few pieces of memory, and `steps` steps.
#[must_use]
pub fn trace(seed: u64, steps: usize) -> Stage2 {
    let mut numbers = Numbers(seed);
    let backings: Vec<Backing> = (0..3).map(|number| backing(number, &mut numbers)).collect();
    let slots: Vec<SlotRequest> = (0..3).map(|id| slot(id, u64::from(id), &mut numbers)).collect();
    let steps = (0..steps)
        .map(|_| step(&slots, &backings, &mut numbers))
        .collect();
    Stage2 {
        backings,
        slots,
        dirty_log: DirtyLogMode::ReadClears,
        steps,
        ..Stage2::default()
    }
}

fn backing(number: u64, numbers: &mut Numbers) -> Backing {
    let fill = Fill::Tags(0x11 + numbers.below(0x60) as u8);
    Backing {
        name: format!("b{number}"),
        kind: numbers.pick(
            BackingKind::Anonymous,
            &[BackingKind::Anonymous, BackingKind::Memfd],
        ),
        pages: PAGES,
        fill: numbers.pick(Fill::Untouched, &[fill, fill]),
        protection: Protection::ReadWrite,
        huge: false,
    }
}

fn slot(id: u16, place: u64, numbers: &mut Numbers) -> SlotRequest {
    SlotRequest {
        id,
        space: 0,
        page: FIRST_PAGE + place * u64::from(PAGES),
        pages: u64::from(PAGES),
        backing: numbers.below(3) as u16,
        offset: 0,
        read_only: numbers.below(3) == 0,
        log_dirty: numbers.below(2) == 0,
        other_flags: 0,
        misaligned: None,
    }
}

fn step(slots: &[SlotRequest], backings: &[Backing], numbers: &mut Numbers) -> Step {
    let id = numbers.below(slots.len() as u64) as u16;
    let backing = numbers.below(backings.len() as u64) as u16;
    let page = numbers.below(u64::from(PAGES)) as u32;
    let at = HostAddress {
        backing,
        page,
        offset: (numbers.below(512) * 8) as u16,
    };
    let range = Range {
        backing,
        page,
        pages: 1,
    };
    Step::Host(match numbers.below(16) {
        0..=8 => return Step::Guest(guest(numbers)),
        9 => HostStep::DirtyLog { id, space: 0 },
        10 => HostStep::Read(at),
        11 => HostStep::Write(at, numbers.next()),
        12 => HostStep::Discard(range),
        13 => HostStep::SetSlot(SlotRequest {
            pages: 0,
            ..slot(id, 0, numbers)
        }),
        _ => {
            let place = numbers.below(PLACES);
            HostStep::SetSlot(slot(id, place, numbers))
        }
    })
}

fn guest(numbers: &mut Numbers) -> GuestStep {
    let size = numbers.pick(1, &[2, 4, 8]);
    let first = FIRST_PAGE + numbers.below(PLACES * u64::from(PAGES));
    let edge = 0x1000 - u64::from(size) / 2;
    let offset = numbers.pick(0, &[8, 0xff8, edge]);
    let at = GuestAddress::of_bytes(first * 0x1000).plus(offset);
    let value = numbers.next() & (u64::MAX >> (64 - u32::from(size) * 8));
    let aligned = GuestAddress { offset: 0x10, ..at };
    let operation = match numbers.below(8) {
        0..=2 => Operation::Read { at, size },
        3..=6 => Operation::Write { at, size, value },
        _ => Operation::Add {
            at: aligned,
            size: 4,
            value: value & 0xffff_ffff,
        },
    };
    GuestStep {
        operation,
        answer: numbers.next(),
        at_exit: Vec::new(),
        meanwhile: Vec::new(),
        interrupted: false,
    }
}
