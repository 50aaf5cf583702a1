//! The combinations that are run, in groups.
//!
//! No table can hold the product of all axes. The product of the axes that decide most is there
//! in full; the others meet in smaller products, each about one part of delivery, and in
//! combinations that make every two values meet.

use std::collections::HashSet;

use super::pairs;
use super::row::{DoubleFault, Event, Faults, Flags, Offset, Row, Selector, Stack, WHOLE_TSS, spare_bits};

/// Names of the groups, in the order of their indices.
pub const GROUPS: [&str; 9] = [
    "core",
    "events",
    "selectors",
    "stacks",
    "tss",
    "idt",
    "bits",
    "faults",
    "pairs",
];

/// Every combination once, with the index of its group, in a fixed order.
#[must_use]
pub fn sweep() -> Vec<(usize, Row)> {
    let groups = [
        core(),
        events(),
        selectors(),
        stacks(),
        task_state(),
        limits(),
        bits(),
        faults(),
        pairs::rows(),
    ];
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for (index, group) in groups.into_iter().enumerate() {
        let fresh = group
            .into_iter()
            .filter(|row| !row.may_loop() && seen.insert(*row));
        rows.extend(fresh.map(|row| (index, row)));
    }
    rows
}

/// Every row of `rows` with every value of `values`.
fn times<T: Copy>(rows: &[Row], values: &[T], set: impl Fn(&mut Row, T)) -> Vec<Row> {
    let mut product = Vec::with_capacity(rows.len() * values.len());
    for row in rows {
        for value in values {
            let mut row = *row;
            set(&mut row, *value);
            product.push(row);
        }
    }
    product
}

fn one() -> Vec<Row> {
    vec![Row::default()]
}

/// Every type of gate, DPL, level, IST, presence, canonical address and stack.
fn core() -> Vec<Row> {
    let kinds: Vec<u8> = (0..16).collect();
    let stacks = [
        Stack::Good,
        Stack::Off(8),
        Stack::NonCanonical,
        Stack::Absent,
        Stack::Partial(2),
        Stack::ReadOnly,
    ];
    let rows = times(&one(), &kinds, |row, kind| row.kind = kind);
    let rows = times(&rows, &[0, 1, 2, 3], |row, dpl| row.dpl = dpl);
    let rows = times(&rows, &[0, 3], |row, cpl| row.cpl = cpl);
    let rows = times(&rows, &[0, 1, 7], |row, ist| row.ist = ist);
    let rows = times(&rows, &[true, false], |row, present| row.present = present);
    let rows = times(&rows, &[Offset::Handler, Offset::Bit47], |row, offset| {
        row.offset = offset;
    });
    times(&rows, &stacks, |row, stack| row.stack = stack)
}

/// Every event at every level through gates of every DPL and of a few types.
fn events() -> Vec<Row> {
    let rows = times(&one(), Event::ALL, |row, event| row.event = event);
    let rows = times(&rows, &[0, 1, 2, 3], |row, cpl| row.cpl = cpl);
    let rows = times(&rows, &[0, 1, 2, 3], |row, dpl| row.dpl = dpl);
    let kinds = [0xe, 0xf, 0xc];
    let rows = times(&rows, &kinds, |row, kind| row.kind = kind);
    let rows = times(&rows, &[true, false], |row, present| row.present = present);
    let mut rows = times(&rows, &[0, 2], |row, ist| row.ist = ist);
    let plain: Vec<Row> = rows
        .iter()
        .copied()
        .filter(|row| row.dpl == 3 && row.present && matches!(row.kind, 0xe | 0xf))
        .collect();
    rows.extend(times(&plain, Flags::ALL, |row, flags| row.flags = flags));
    let ways = Offset::ALL;
    rows.extend(times(&plain, ways, |row, offset| row.offset = offset));
    rows
}

/// Every selector in the gate, at every level, with stacks that fault or do not.
fn selectors() -> Vec<Row> {
    let rows = times(&one(), Selector::ALL, |row, selector| row.selector = selector);
    let events = [Event::Int, Event::Ud, Event::Gp, Event::Pf, Event::Nmi];
    let rows = times(&rows, &events, |row, event| row.event = event);
    let rows = times(&rows, &[0, 1, 2, 3], |row, cpl| row.cpl = cpl);
    let rows = times(&rows, &[0, 3], |row, ist| row.ist = ist);
    let stacks = [Stack::Good, Stack::Absent, Stack::Supervisor];
    times(&rows, &stacks, |row, stack| row.stack = stack)
}

/// Every stack, for frames with and without an error code, wherever the stack comes from.
fn stacks() -> Vec<Row> {
    let stacks: Vec<Stack> = Stack::all().collect();
    let rows = times(&one(), &stacks, |row, stack| row.stack = stack);
    let rows = times(&rows, Event::ALL, |row, event| row.event = event);
    let rows = times(&rows, &[0, 3], |row, cpl| row.cpl = cpl);
    times(&rows, &[0, 1, 4], |row, ist| row.ist = ist)
}

/// A limit of the TSS at and around every byte of every stack pointer in it.
fn task_state() -> Vec<Row> {
    let base = Row {
        faults: Faults::Conforming,
        double: DoubleFault::Conforming,
        ..Row::default()
    };
    let rows = times(&[base], &[Event::Int, Event::Ud, Event::Gp], |row, event| {
        row.event = event;
    });
    let mut all = Vec::new();
    for ist in 1..8 {
        let start = 0x24 + 8 * (ist - 1);
        let limits: Vec<u8> = (start - 1..=(start + 8).min(WHOLE_TSS)).collect();
        let rows = times(&rows, &limits, |row, tss| (row.ist, row.tss) = (ist, tss));
        all.extend(times(&rows, &[0, 3], |row, cpl| row.cpl = cpl));
    }
    let levels = [Selector::Code0, Selector::Code1, Selector::Code2];
    for (selector, start) in levels.into_iter().zip([4, 12, 20]) {
        let limits: Vec<u8> = (start - 1..=start + 8).collect();
        let rows = times(&rows, &limits, |row, tss| {
            (row.selector, row.tss) = (selector, tss)
        });
        all.extend(times(&rows, &[0, 1, 2, 3], |row, cpl| row.cpl = cpl));
    }
    all
}

/// An IDT that ends at every byte of the event's gate. Where that leaves no gates for #GP and #DF
/// the end is shutdown whatever the byte, and after a shutdown a target takes long to go on.
fn limits() -> Vec<Row> {
    let cuts: Vec<u8> = (0..=16).collect();
    let rows = times(&one(), &[Event::Int, Event::Pf], |row, event| row.event = event);
    let mut rows = times(&rows, &cuts, |row, cut| row.cut = cut);
    let all = times(&one(), Event::ALL, |row, event| row.event = event);
    rows.extend(times(&all, &[0, 1, 16], |row, cut| row.cut = cut));
    times(&rows, &[0, 3], |row, cpl| row.cpl = cpl)
}

/// Every bit of a gate that has no meaning.
fn bits() -> Vec<Row> {
    let bits: Vec<u8> = spare_bits().collect();
    let rows = times(&one(), &bits, |row, bit| row.bit = bit);
    let rows = times(&rows, &[Event::Int, Event::Ud, Event::Gp], |row, event| {
        row.event = event;
    });
    let rows = times(&rows, &[0, 3], |row, cpl| row.cpl = cpl);
    times(&rows, &[0, 1], |row, ist| row.ist = ist)
}

/// What is wrong with the event's gate, so that its delivery faults: one for each fault, and
/// several for #GP.
fn flaws() -> Vec<fn(&mut Row)> {
    vec![
        |row| row.kind = 0xc,
        |row| row.present = false,
        |row| row.offset = Offset::Bit47,
        |row| row.selector = Selector::Null,
        |row| row.selector = Selector::Absent,
        |row| row.stack = Stack::Absent,
        |row| row.stack = Stack::NonCanonical,
        |row| (row.ist, row.tss) = (7, 0x5a),
    ]
}

/// Every event, every fault of its delivery, and what becomes of that fault in turn; for some of
/// them what becomes of the double fault.
fn faults() -> Vec<Row> {
    let rows = times(&one(), Event::ALL, |row, event| row.event = event);
    let rows = times(&rows, &[0, 3], |row, cpl| row.cpl = cpl);
    let rows = times(&rows, &flaws(), |row, flaw| flaw(row));
    let mut rows = times(&rows, Faults::ALL, |row, faults| row.faults = faults);
    let last = times(&one(), &[Event::Int, Event::Gp, Event::Pf], |row, event| {
        row.event = event
    });
    let last = times(&last, &flaws(), |row, flaw| flaw(row));
    let last = times(&last, &[Faults::Good, Faults::Null], |row, faults| {
        row.faults = faults
    });
    rows.extend(times(&last, DoubleFault::ALL, |row, double| row.double = double));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_comes_twice_and_the_core_is_a_whole_product() {
        let rows = sweep();
        let distinct: HashSet<Row> = rows.iter().map(|(_, row)| *row).collect();
        assert_eq!(distinct.len(), rows.len());
        let core = rows.iter().filter(|(group, _)| *group == 0).count();
        assert_eq!(core, 16 * 4 * 2 * 3 * 2 * 2 * 6);
        for (group, name) in GROUPS.iter().enumerate() {
            assert!(rows.iter().any(|(of, _)| *of == group), "{name}");
        }
    }
}
