//! The lines of a report that say what a target did.

use std::path::PathBuf;

use serde::Deserialize;
use spec_model::scenario::Observe;
use spec_model::transcript::Transcript;

use crate::judge::VerdictKind;
use crate::target::{Identity, Mode};

/// One line. What else a report has is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Record {
    Header {
        format: u32,
        mode: Mode,
        observe: Observe,
    },
    Target {
        target: String,
        identity: Box<Identity>,
    },
    Case(Box<CaseRecord>),
    Footer {},
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CaseRecord {
    pub(super) case: String,
    pub(super) target: String,
    pub(super) verdict: VerdictKind,
    /// The kind of what the target lacks.
    pub(super) lack: Option<String>,
    pub(super) transcript: Option<Transcript>,
    /// The known deviations that explained it.
    #[serde(default)]
    pub(super) deviations: Vec<ExplainedBy>,
}

#[derive(Deserialize)]
pub(super) struct ExplainedBy {
    /// Its file.
    pub(super) file: PathBuf,
}
