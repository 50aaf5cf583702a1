//! What the version of a kernel says about the commits in it.

use std::fmt;
use std::str::FromStr;

/// A tag of the kernel's history: `v6.2-rc1`, `v6.2`, `v6.1.20`. Ordered as they were made:
/// 6.2-rc1 comes before 6.2, and 6.2 before 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The first two numbers.
    series: (u32, u32),
    /// The third number, 0 for releases of the mainline.
    patch: u32,
    /// N of `-rcN`; [`RELEASE`] for what is no candidate, as it comes after all of them.
    candidate: u32,
}

/// Stands for `-rcN` in a release.
const RELEASE: u32 = u32::MAX;

impl Tag {
    /// After everything.
    const LAST: Self = Self::new((u32::MAX, u32::MAX), u32::MAX, RELEASE);

    const fn new(series: (u32, u32), patch: u32, candidate: u32) -> Self {
        Self {
            series,
            patch,
            candidate,
        }
    }

    /// The first two numbers, such as (6, 1): the stable branch that it is on.
    #[must_use]
    pub const fn series(self) -> (u32, u32) {
        self.series
    }

    /// Whether it is on a stable branch.
    #[must_use]
    pub const fn is_stable(self) -> bool {
        self.patch > 0
    }

    /// The last tag that its stable branch can ever have.
    pub(super) const fn end_of_series(self) -> Self {
        Self::new(self.series, u32::MAX, RELEASE)
    }

    /// The tag that can come next. After the last one of a stable branch that is the first candidate of
    /// the next series.
    pub(super) const fn next(self) -> Self {
        if self.patch == u32::MAX {
            Self::new((self.series.0, self.series.1.saturating_add(1)), 0, 1)
        } else if self.candidate == RELEASE {
            Self::new(self.series, self.patch + 1, RELEASE)
        } else {
            Self::new(self.series, self.patch, self.candidate + 1)
        }
    }

    /// Reads a tag at the beginning of a text, and gives what follows and whether a third
    /// number was there. Candidates are `-rcN`, in Debian's versions `~rcN`.
    fn at_the_beginning(text: &str) -> Option<(Self, bool, &str)> {
        let (major, rest) = number(text)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let third = rest.strip_prefix('.').and_then(number);
        let (patch, rest) = third.unwrap_or((0, rest));
        let marked = rest.strip_prefix("-rc").or_else(|| rest.strip_prefix("~rc"));
        let (candidate, rest) = marked.and_then(number).unwrap_or((RELEASE, rest));
        Some((Self::new((major, minor), patch, candidate), third.is_some(), rest))
    }
}

/// Decimal digits at the beginning, and what follows.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// A text that is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of a kernel; write X.Y, X.Y.Z or X.Y-rcN, such as 6.2-rc1")]
pub struct BadTag(String);

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        match Self::at_the_beginning(text) {
            Some((tag, _, "")) if !text.contains('~') => Ok(tag),
            _ => Err(BadTag(text.to_owned())),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.series.0, self.series.1)?;
        if self.is_stable() {
            write!(formatter, ".{}", self.patch)?;
        }
        if self.candidate != RELEASE {
            write!(formatter, "-rc{}", self.candidate)?;
        }
        Ok(())
    }
}

/// Whether something holds for a kernel, as far as its version tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It does not.
    No,
    /// The version does not tell.
    Perhaps,
    /// It does.
    Yes,
}

impl Answer {
    /// The opposite.
    #[must_use]
    pub const fn negated(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }
}

/// What a kernel's version says about its place in the history: it has every commit of one
/// tag, and none that came after another.
///
/// For a build of a tag both are that tag. A build of something in between (`6.1.0-rc9+`,
/// `6.1.0-00012-g0123456789ab`) has commits that no version tells. Distributions that print 0
/// as the third number (`5.10.0-37-cloud-amd64`) hide the release of the stable branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelVersion {
    from: Tag,
    to: Tag,
}

impl KernelVersion {
    /// The version that a kernel prints: what `uname -r` says, and behind it, if it is known,
    /// what `uname -v` says. Of that, `Debian 5.10.247-1` tells the release of the stable
    /// branch, which `uname -r` does not.
    #[must_use]
    pub fn of_release(printed: &str) -> Option<Self> {
        let (release, build) = printed.split_once(' ').unwrap_or((printed, ""));
        let (tag, has_third, rest) = Tag::at_the_beginning(release)?;
        if is_between_tags(rest) {
            return Some(Self {
                from: tag,
                to: Tag::LAST,
            });
        }
        if let Some(tag) = upstream_of_debian(build).filter(|upstream| upstream.series == tag.series) {
            return Some(Self { from: tag, to: tag });
        }
        let to = if hides_the_patch(tag, has_third, rest) {
            tag.end_of_series()
        } else {
            tag
        };
        Some(Self { from: tag, to })
    }

    /// Whether it is the tag, or comes after it. `beyond` asks whether it comes after it.
    pub(super) fn reaches(self, tag: Tag, beyond: bool) -> Answer {
        let reached = |own: Tag| own > tag || (own == tag && !beyond);
        if reached(self.from) {
            Answer::Yes
        } else if reached(self.to) {
            Answer::Perhaps
        } else {
            Answer::No
        }
    }

    /// The stable branch that it is on or came from.
    pub(super) const fn series(self) -> (u32, u32) {
        self.from.series
    }
}

/// Whether what follows the numbers was added by the kernel's build to a commit without a tag:
/// `+`, `-00012-g0123456789ab`, `-next-20261127`, or `-dirty`.
fn is_between_tags(local: &str) -> bool {
    let counted = local.split("-g").skip(1).any(|commit| {
        let digits = commit.chars().take_while(char::is_ascii_hexdigit).count();
        digits >= 7 && commit.chars().nth(digits).is_none_or(|next| next == '-')
    });
    local.ends_with('+') || local.ends_with("-dirty") || local.contains("-next-") || counted
}

/// Whether a distribution printed 0, or nothing, in place of the third number, and then the
/// number of its own build.
fn hides_the_patch(tag: Tag, has_third: bool, rest: &str) -> bool {
    let own_number = rest
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()));
    own_number && has_third && tag.patch == 0 && tag.candidate == RELEASE
}

fn upstream_of_debian(build: &str) -> Option<Tag> {
    let (_, version) = build.split_once("Debian ")?;
    Tag::at_the_beginning(version).map(|(tag, _, _)| tag)
}
