//! Another order of the cases, the same for the same seed everywhere.

/// Shuffles in place (Fisher and Yates), with the SplitMix64 generator.
pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        // The modulo's bias is far below anything that a few hundred cases could show.
        let chosen = value % (last as u64 + 1);
        items.swap(last, usize::try_from(chosen).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::shuffle;

    #[test]
    fn the_seed_decides_the_order_and_nothing_is_lost() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
    }
}
