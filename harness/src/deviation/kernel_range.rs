//! Which kernels do something: bounds such as `>=5.10, <6.2-rc1`, and the commits that brought
//! it and ended it.

use std::fmt;
use std::str::FromStr;

use super::change::Change;
use super::kernel_version::{Answer, KernelVersion, Tag};

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

/// One bound. `<=6.1`, `=6.1` and `>6.1` mean the whole stable branch: the first two hold for
/// 6.1.112, and the last does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    comparison: Comparison,
    tag: Tag,
    /// Whether only X.Y is given.
    is_series: bool,
}

/// A place in the history: before a tag, or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    tag: Tag,
    behind: bool,
}

impl Cut {
    /// The first tag behind it. What was built between two tags is none.
    const fn first_tag(self) -> Tag {
        if self.behind { self.tag.next() } else { self.tag }
    }

    fn reached_by(self, version: KernelVersion) -> Answer {
        version.reaches(self.tag, self.behind)
    }
}

impl Bound {
    /// Where the kernels begin for which it holds.
    fn begin(&self) -> Option<Cut> {
        match self.comparison {
            Comparison::AtLeast | Comparison::Equal => Some(self.before()),
            Comparison::Above => Some(self.behind()),
            Comparison::AtMost | Comparison::Below => None,
        }
    }

    /// Where they end.
    fn end(&self) -> Option<Cut> {
        match self.comparison {
            Comparison::Below => Some(self.before()),
            Comparison::AtMost | Comparison::Equal => Some(self.behind()),
            Comparison::AtLeast | Comparison::Above => None,
        }
    }

    fn before(&self) -> Cut {
        Cut {
            tag: self.tag,
            behind: false,
        }
    }

    fn behind(&self) -> Cut {
        Cut {
            tag: if self.is_series {
                self.tag.end_of_series()
            } else {
                self.tag
            },
            behind: true,
        }
    }
}

/// Kernels for which all bounds hold, with the one commit and without the other; without any of
/// these, all kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelRange {
    bounds: Vec<Bound>,
    introduced: Option<Change>,
    fixed: Option<Change>,
}

/// A range that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKernelRange {
    /// Something else than a bound stands there.
    #[error(
        "`{0}` is no bound on a kernel version; write bounds such as `>=5.10, <6.2-rc1`, with X.Y, X.Y.Z or X.Y-rcN"
    )]
    NoBound(String),
    /// Two bounds on the same side.
    #[error("`{0}` bounds what `{1}` bounds already; keep one of them")]
    Twice(String, String),
    /// No kernel is in it.
    #[error("no release and no candidate is in the range `{0}`")]
    Empty(String),
}

impl KernelRange {
    /// Whether it holds for a kernel.
    #[must_use]
    pub fn contains(&self, version: KernelVersion) -> Answer {
        let begun = self.bounds.iter().filter_map(Bound::begin);
        let ended = self.bounds.iter().filter_map(Bound::end);
        let introduced = self.introduced.iter().map(|change| change.is_in(version));
        let fixed = self.fixed.iter().map(|change| change.is_in(version));
        begun
            .map(|cut| cut.reached_by(version))
            .chain(ended.map(|cut| cut.reached_by(version).negated()))
            .chain(introduced)
            .chain(fixed.map(Answer::negated))
            .min()
            .unwrap_or(Answer::Yes)
    }

    /// Whether it is all kernels.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.bounds.is_empty() && self.introduced.is_none() && self.fixed.is_none()
    }

    /// The same, but only kernels with the first commit and without the second.
    ///
    /// # Errors
    /// If there is no kernel left.
    pub fn between(
        mut self,
        introduced: Option<Change>,
        fixed: Option<Change>,
    ) -> Result<Self, BadKernelRange> {
        (self.introduced, self.fixed) = (introduced, fixed);
        self.checked()
    }

    /// Refuses a range that holds for no tag: a build between two tags would have it perhaps, and nothing
    /// would have it for certain.
    fn checked(self) -> Result<Self, BadKernelRange> {
        let before = |tag| Cut { tag, behind: false };
        let introduced = self.introduced.iter().map(|change| before(change.first_in()));
        let fixed = self.fixed.iter().map(|change| before(change.first_in()));
        let begin = self
            .bounds
            .iter()
            .filter_map(Bound::begin)
            .chain(introduced)
            .max();
        let end = self.bounds.iter().filter_map(Bound::end).chain(fixed).min();
        match (begin, end) {
            (Some(begin), Some(end)) if before(begin.first_tag()) >= end => {
                Err(BadKernelRange::Empty(self.to_string()))
            }
            _ => Ok(self),
        }
    }
}

impl FromStr for KernelRange {
    type Err = BadKernelRange;

    fn from_str(text: &str) -> Result<Self, BadKernelRange> {
        let mut bounds: Vec<Bound> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let bound = parse_bound(part).ok_or_else(|| BadKernelRange::NoBound(part.to_owned()))?;
            let same_side = |other: &&Bound| {
                (other.begin().is_some() && bound.begin().is_some())
                    || (other.end().is_some() && bound.end().is_some())
            };
            if let Some(other) = bounds.iter().find(same_side) {
                return Err(BadKernelRange::Twice(part.to_owned(), other.to_string()));
            }
            bounds.push(bound);
        }
        let range = Self {
            bounds,
            ..Self::default()
        };
        range.checked()
    }
}

fn parse_bound(text: &str) -> Option<Bound> {
    let (rest, comparison) = SIGNS
        .iter()
        .find_map(|(sign, comparison)| Some((text.strip_prefix(sign)?, *comparison)))?;
    let rest = rest.trim();
    let tag = rest.parse().ok()?;
    Some(Bound {
        comparison,
        tag,
        is_series: rest.split('.').count() == 2 && !rest.contains('-'),
    })
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS
            .iter()
            .find(|(_, comparison)| *comparison == self.comparison);
        write!(formatter, "{}{}", sign.map_or("", |(sign, _)| sign), self.tag)
    }
}

impl fmt::Display for KernelRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().map(ToString::to_string);
        let introduced = self.introduced.iter().map(|change| format!("since {change}"));
        let fixed = self.fixed.iter().map(|change| format!("until {change}"));
        let parts: Vec<String> = bounds.chain(introduced).chain(fixed).collect();
        if parts.is_empty() {
            formatter.write_str("all")
        } else {
            formatter.write_str(&parts.join(", "))
        }
    }
}
