//! A mistake in a deviation file, and where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

/// A mistake in a deviation file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: u64,
    /// Column, counted from 1.
    pub column: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
            ..
        } = self;
        write!(formatter, "{}:{line}:{column}: {message}", self.file.display())
    }
}

impl From<crate::case::Mistake> for Mistake {
    fn from(mistake: crate::case::Mistake) -> Self {
        Self {
            line: mistake.at.line as u64,
            column: mistake.at.column as u64,
            message: format!("{}; {}", mistake.what, mistake.remedy),
            file: mistake.file,
        }
    }
}

impl Mistake {
    pub(super) fn in_file(file: &Path, message: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: message.to_owned(),
        }
    }
}
