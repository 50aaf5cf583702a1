//! A commit of the kernel, and the releases that have it.

use std::fmt;

use super::kernel_version::{Answer, KernelVersion, Tag};

/// A commit that brought something or ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    commit: String,
    first_in: Tag,
    stable: Vec<Tag>,
}

/// A commit that cannot be as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    /// The name of the commit is none.
    #[error("`{0}` names no commit; write 12 to 40 hexadecimal digits, as `git log` shows them")]
    Commit(String),
    /// A stable release is not what its key says.
    #[error("{0} is no release of a stable branch; write X.Y.Z, the first one that has the commit")]
    NotStable(Tag),
    /// A branch is there twice.
    #[error("{0} is on the same stable branch as {1}; keep the earlier one")]
    SameBranch(Tag, Tag),
    /// A branch has the commit from the mainline.
    #[error("the stable branch of {0} has what is first in {1} from its beginning; leave it out")]
    NotBackported(Tag, Tag),
}

impl Change {
    /// A commit, the first tag of the mainline that has it, and the first release with it of
    /// each stable branch that it was put on.
    ///
    /// # Errors
    /// If these cannot be.
    pub fn new(commit: String, first_in: Tag, stable: Vec<Tag>) -> Result<Self, BadChange> {
        let is_name = (12..=40).contains(&commit.len())
            && commit
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_name {
            return Err(BadChange::Commit(commit));
        }
        for (index, &release) in stable.iter().enumerate() {
            if !release.is_stable() {
                return Err(BadChange::NotStable(release));
            }
            if release.series() >= first_in.series() {
                return Err(BadChange::NotBackported(release, first_in));
            }
            let mut earlier = stable.iter().take(index);
            if let Some(&other) = earlier.find(|other| other.series() == release.series()) {
                return Err(BadChange::SameBranch(release, other));
            }
        }
        Ok(Self {
            commit,
            first_in,
            stable,
        })
    }

    /// The first tag of the mainline that has it.
    #[must_use]
    pub const fn first_in(&self) -> Tag {
        self.first_in
    }

    /// Whether a kernel has it.
    #[must_use]
    pub fn is_in(&self, version: KernelVersion) -> Answer {
        let on_its_branch = self
            .stable
            .iter()
            .filter(|release| release.series() == version.series());
        on_its_branch
            .chain([&self.first_in])
            .map(|tag| version.reaches(*tag, false))
            .max()
            .unwrap_or(Answer::No)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        write!(formatter, "{commit} (first in {}", self.first_in)?;
        for (index, release) in self.stable.iter().enumerate() {
            let before = if index == 0 { "; stable: " } else { ", " };
            write!(formatter, "{before}{release}")?;
        }
        formatter.write_str(")")
    }
}
