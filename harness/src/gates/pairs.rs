//! Combinations in which every two values of different axes meet.

use std::collections::HashSet;

use super::row::{DoubleFault, Event, Faults, Flags, Offset, Row, Selector, Stack, WHOLE_TSS, spare_bits};

/// Sets one axis to one of its values.
type Set = Box<dyn Fn(&mut Row)>;

/// An axis and, for each of its values, how it is set.
struct Axis {
    values: Vec<Set>,
}

/// An axis of these values.
fn axis<T: Copy + 'static>(values: impl IntoIterator<Item = T>, set: fn(&mut Row, T)) -> Axis {
    let set = |value| Box::new(move |row: &mut Row| set(row, value)) as Set;
    Axis {
        values: values.into_iter().map(set).collect(),
    }
}

/// Every axis, the plainest value of each first. Types of gates are left out that do the same as
/// one that is here, and limits that leave nothing to handle faults with.
fn axes() -> Vec<Axis> {
    let all = |values: &[Event]| values.to_vec();
    vec![
        axis(all(Event::ALL), |row, event| row.event = event),
        axis(0..4, |row, cpl| row.cpl = cpl),
        axis([0xe, 0xf, 0x5, 0xc, 0x6, 0x1e], |row, kind| row.kind = kind),
        axis([3, 0, 1, 2], |row, dpl| row.dpl = dpl),
        axis([true, false], |row, present| row.present = present),
        axis(0..8, |row, ist| row.ist = ist),
        axis(Selector::ALL.to_vec(), |row, selector| row.selector = selector),
        axis(Offset::ALL.to_vec(), |row, offset| row.offset = offset),
        axis(std::iter::once(0).chain(spare_bits()), |row, bit| row.bit = bit),
        axis(Stack::all(), |row, stack| row.stack = stack),
        axis([WHOLE_TSS, 0x5b], |row, tss| row.tss = tss),
        axis([0, 1], |row, cut| row.cut = cut),
        axis(Flags::ALL.to_vec(), |row, flags| row.flags = flags),
        axis(Faults::ALL.to_vec(), |row, faults| row.faults = faults),
        axis(DoubleFault::ALL.to_vec(), |row, double| row.double = double),
    ]
}

/// Numbers that look random and are the same in every run (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// A value of one axis and one of another.
type Pair = ((usize, usize), (usize, usize));

/// How many rows are thought of for each that is taken.
const CANDIDATES: usize = 12;
/// Of four axes that are free, so many stay as they are when all is well: a gate with many
/// flaws shows the first one only.
const PLAIN_OF_FOUR: usize = 3;

/// Values, as indices, such that every two that can meet do.
fn choices(axes: &[Axis]) -> Vec<Vec<usize>> {
    let mut left: Vec<Pair> = Vec::new();
    for (first, one) in axes.iter().enumerate() {
        for (second, other) in axes.iter().enumerate().skip(first + 1) {
            for value in 0..one.values.len() {
                left.extend((0..other.values.len()).map(|of_other| ((first, value), (second, of_other))));
            }
        }
    }
    let mut open: HashSet<Pair> = left.iter().copied().collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut choices = Vec::new();
    for pair in left {
        if !open.contains(&pair) {
            continue;
        }
        let mut best: Option<(usize, Vec<usize>)> = None;
        for _ in 0..CANDIDATES {
            let choice = candidate(axes, pair, &mut numbers);
            if row(axes, &choice).may_loop() {
                continue;
            }
            let gain = pairs(&choice).filter(|pair| open.contains(pair)).count();
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, choice));
            }
        }
        // Two values that only make loops do not meet.
        if let Some((_, choice)) = best {
            for pair in pairs(&choice) {
                open.remove(&pair);
            }
            choices.push(choice);
        }
    }
    choices
}

fn candidate(axes: &[Axis], pair: Pair, numbers: &mut Numbers) -> Vec<usize> {
    let ((first, value), (second, of_second)) = pair;
    let choose = |(index, axis): (usize, &Axis)| match index {
        _ if index == first => value,
        _ if index == second => of_second,
        _ if numbers.below(4) < PLAIN_OF_FOUR => 0,
        _ => numbers.below(axis.values.len()),
    };
    axes.iter().enumerate().map(choose).collect()
}

fn pairs(choice: &[usize]) -> impl Iterator<Item = Pair> {
    let values = choice.iter().copied().enumerate();
    values.flat_map(move |first| {
        let later = choice.iter().copied().enumerate().skip(first.0 + 1);
        later.map(move |second| (first, second))
    })
}

fn row(axes: &[Axis], choice: &[usize]) -> Row {
    let mut row = Row::default();
    for (axis, value) in axes.iter().zip(choice) {
        if let Some(set) = axis.values.get(*value) {
            set(&mut row);
        }
    }
    row
}

/// Rows in which every two values of different axes meet.
#[must_use]
pub fn rows() -> Vec<Row> {
    let axes = axes();
    choices(&axes).iter().map(|choice| row(&axes, choice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_values_meet_that_can() {
        let axes = axes();
        let met: HashSet<Pair> = choices(&axes)
            .iter()
            .flat_map(|choice| pairs(choice).collect::<Vec<_>>())
            .collect();
        for (first, one) in axes.iter().enumerate() {
            for (second, other) in axes.iter().enumerate().skip(first + 1) {
                for value in 0..one.values.len() {
                    for of_other in 0..other.values.len() {
                        let mut plain = vec![0; axes.len()];
                        plain[first] = value;
                        plain[second] = of_other;
                        let pair = ((first, value), (second, of_other));
                        assert!(met.contains(&pair) || row(&axes, &plain).may_loop(), "{pair:?}");
                    }
                }
            }
        }
    }
}
