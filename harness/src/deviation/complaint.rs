//! Known complaints of a kernel: a WARN that certain cases bring about, an oops, or all that comes before its death.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::target::complaint::{Complaint, ComplaintKind};

/// What a kernel is known to complain of, and in which cases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListedComplaint {
    /// What may come. At least one of them does.
    #[schemars(length(min = 1))]
    pub any_of: Vec<ListedReport>,
    /// The cases in which it comes, `AREA/NAME` each.
    #[schemars(length(min = 1))]
    pub cases: Vec<String>,
    /// The machine may not be heard of again after it, without another word. That it dies with a BUG or a panic
    /// is explained only by one of these that is such.
    #[serde(default)]
    pub hangs: bool,
}

/// One report in the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedReport {
    /// In which way: `warning`, `bug`, `oops`, `lockdep`, `sanitizer`, `stall`, `panic`, `restart` or `taint`.
    #[schemars(with = "KindName")]
    pub kind: ComplaintKind,
    /// The function of the kernel in which it comes up, as its report names it; any if absent.
    pub function: Option<String>,
}

impl ListedComplaint {
    /// Whether it is one of these.
    #[must_use]
    pub fn is(&self, complaint: &Complaint) -> bool {
        self.any_of.iter().any(|listed| {
            listed.kind == complaint.kind
                && (listed.function.is_none() || listed.function == complaint.function)
        })
    }

    /// Whether one of these comes whenever the guest does the same.
    #[must_use]
    pub fn comes_every_time(&self) -> bool {
        self.any_of.iter().any(|listed| listed.kind.comes_every_time())
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
