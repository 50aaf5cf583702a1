//! A sample that a seed draws: the same from the same mutants, on every machine.

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
}

/// As many of `all` as are wanted, in the order of `all`.
#[must_use]
pub fn draw<T: Clone + Ord>(all: &[T], wanted: usize, seed: u64) -> Vec<T> {
    let mut numbers = Numbers(seed);
    let mut drawn: Vec<(u64, T)> = all.iter().map(|one| (numbers.next(), one.clone())).collect();
    drawn.sort();
    drawn.truncate(wanted);
    let mut drawn: Vec<T> = drawn.into_iter().map(|(_, one)| one).collect();
    drawn.sort();
    drawn
}

/// The ends of Wilson's interval of 95 % for a share.
#[must_use]
pub fn interval(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (hits, of) = (hits as f64, of as f64);
    let z = 1.96_f64;
    let share = hits / of;
    let middle = share + z * z / (2.0 * of);
    let half = z * (share * (1.0 - share) / of + z * z / (4.0 * of * of)).sqrt();
    let scale = 1.0 + z * z / of;
    ((middle - half) / scale, (middle + half) / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_and_another_something_else() {
        let all: Vec<u32> = (0..1000).collect();
        let drawn = draw(&all, 100, 1);
        assert_eq!(drawn.len(), 100);
        assert_eq!(drawn, draw(&all, 100, 1));
        assert_ne!(drawn, draw(&all, 100, 2));
    }

    #[test]
    fn the_interval_is_that_of_wilson() {
        let (low, high) = interval(85, 100);
        assert!((low - 0.7672).abs() < 0.0005, "{low}");
        assert!((high - 0.9069).abs() < 0.0005, "{high}");
    }
}
