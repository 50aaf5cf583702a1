//! A known complaint of a kernel: a WARN that certain cases bring about, or an oops.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::target::complaint::{Complaint, ComplaintKind};

/// What a kernel is known to complain of, and in which cases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedComplaint {
    /// In which way: `warning`, `bug`, `oops`, `lockdep`, `sanitizer`, `stall`, `panic`, `restart` or `taint`.
    #[schemars(with = "KindName")]
    pub kind: ComplaintKind,
    /// The function of the kernel in which it comes up, as its report names it; any if absent.
    pub function: Option<String>,
    /// The cases in which it comes, `AREA/NAME` each.
    #[schemars(length(min = 1))]
    pub cases: Vec<String>,
}

impl ListedComplaint {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, complaint: &Complaint) -> bool {
        self.kind == complaint.kind && (self.function.is_none() || self.function == complaint.function)
    }

    /// Whether it comes in that case.
    #[must_use]
    pub fn comes_in(&self, case: &str) -> bool {
        self.cases.iter().any(|listed| listed == case)
    }
}

/// The names in [`ComplaintKind::ALL`] that can be listed, for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum KindName {
    Warning,
    Bug,
    Oops,
    Lockdep,
    Sanitizer,
    Stall,
    Panic,
    Restart,
    Taint,
}
