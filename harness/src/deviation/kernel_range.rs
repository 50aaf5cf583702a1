//! Ranges of kernel versions, such as `>=5.10, <6.2`.

use std::fmt;
use std::str::FromStr;

/// The numbers of a kernel release. `uname -r` of a distribution kernel often ends the
/// numbers with a 0 that says nothing (`6.1.0-28-cloud-amd64` is any 6.1.y), so bounds are
/// best given as X.Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    numbers: [u32; 3],
}

impl KernelVersion {
    /// The version at the beginning of a release string; missing numbers are 0.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let end = release
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(release.len());
        let numeric = release.get(..end)?;
        let mut numbers = [0; 3];
        let mut given = 0;
        for (number, text) in numbers.iter_mut().zip(numeric.split('.')) {
            match text.parse() {
                Ok(value) => *number = value,
                // `6.12.-rc`: what follows the last number does not count.
                Err(_) => break,
            }
            given += 1;
        }
        (given >= 2).then_some(Self { numbers })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
    Equal,
}

/// Longer signs first: `>=` begins with `>`.
const SIGNS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
    ("=", Comparison::Equal),
];

/// One bound. As many numbers count as it gives: `<=6.1` and `=6.1` hold for 6.1.112, and
/// `>6.1` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    comparison: Comparison,
    numbers: [u32; 3],
    given: usize,
}

impl Bound {
    fn admits(&self, version: KernelVersion) -> bool {
        let seen = version.numbers.iter().take(self.given);
        let order = seen.cmp(self.numbers.iter().take(self.given));
        match self.comparison {
            Comparison::AtLeast => order.is_ge(),
            Comparison::Above => order.is_gt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Below => order.is_lt(),
            Comparison::Equal => order.is_eq(),
        }
    }
}

/// Kernels for which all bounds hold; without bounds, all kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelRange {
    bounds: Vec<Bound>,
}

/// A range that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no bound on a kernel version; write bounds such as `>=5.10, <6.2`, with X.Y or X.Y.Z")]
pub struct BadKernelRange(String);

impl KernelRange {
    /// Whether every bound holds for a kernel.
    #[must_use]
    pub fn contains(&self, version: KernelVersion) -> bool {
        self.bounds.iter().all(|bound| bound.admits(version))
    }

    /// Whether there are no bounds.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bounds.is_empty()
    }
}

impl FromStr for KernelRange {
    type Err = BadKernelRange;

    fn from_str(text: &str) -> Result<Self, BadKernelRange> {
        let bounds = text.split(',').map(|bound| {
            let bound = bound.trim();
            parse_bound(bound).ok_or_else(|| BadKernelRange(bound.to_owned()))
        });
        Ok(Self {
            bounds: bounds.collect::<Result<_, _>>()?,
        })
    }
}

fn parse_bound(text: &str) -> Option<Bound> {
    let (rest, comparison) = SIGNS
        .iter()
        .find_map(|(sign, comparison)| Some((text.strip_prefix(sign)?, *comparison)))?;
    let mut numbers = [0; 3];
    let mut given = 0;
    for part in rest.trim().split('.') {
        *numbers.get_mut(given)? = part.parse().ok()?;
        given += 1;
    }
    (given >= 2).then_some(Bound {
        comparison,
        numbers,
        given,
    })
}

impl fmt::Display for KernelRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bounds.is_empty() {
            return formatter.write_str("all");
        }
        for (index, bound) in self.bounds.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let sign = SIGNS
                .iter()
                .find(|(_, comparison)| *comparison == bound.comparison);
            let sign = sign.map_or("", |(sign, _)| sign);
            write!(formatter, "{comma}{sign}")?;
            for (position, number) in bound.numbers.iter().take(bound.given).enumerate() {
                let dot = if position == 0 { "" } else { "." };
                write!(formatter, "{dot}{number}")?;
            }
        }
        Ok(())
    }
}
