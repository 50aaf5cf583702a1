//! Rendering of verdicts: text for people, JSON lines for programs.
//!
//! Everything renders into a string or a writer that the caller gives.

pub mod conclusion;
pub mod json;
pub mod layout;
pub mod layout_difference;
pub mod layout_dump;
pub mod summary;
pub mod text;
pub mod trace;

use spec_model::transcript::Transcript;

use crate::judge::Verdict;

/// One case on one target.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// Name of the case.
    pub case: &'a str,
    /// Name of the target, as on the command line.
    pub target: &'a str,
    /// What it is worth.
    pub verdict: Verdict<'a>,
    /// What the target did, if it did anything.
    pub transcript: Option<&'a Transcript>,
}

#[cfg(test)]
mod tests;
