//! What those who maintain a hypervisor or an emulator say about a deviation of it.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// How they look at it, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// How they look at it.
    pub status: UpstreamStatus,
    /// A commit, a comment in the source, a thread or a document; empty if nobody has reported it.
    pub place: String,
}

/// How those who maintain it look at a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamStatus {
    /// As far as this project knows nobody has told them.
    Unreported,
    /// They were told, and have not answered.
    Reported,
    /// They know: their source or their list says so.
    Known,
    /// No manual decides it, or one allows it: what is said here is a choice of this suite.
    Unspecified,
    /// They want it so.
    ByDesign,
    /// They have mended it.
    Fixed,
}

impl UpstreamStatus {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreported => "unreported",
            Self::Reported => "reported",
            Self::Known => "known",
            Self::Unspecified => "unspecified",
            Self::ByDesign => "by design",
            Self::Fixed => "fixed",
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.status.name())?;
        if self.place.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {}", self.place)
        }
    }
}
