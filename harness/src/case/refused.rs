//! State that the host sets in vain: `refused: EINVAL`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::Located;
use super::expectation::RefusalExpectation;
use super::resolve::Resolver;
use super::syntax::{CaseFile, HostEntry};

/// The error with which a setter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ErrnoName {
    /// An argument that makes no sense.
    Einval,
}

impl ErrnoName {
    const fn number(self) -> i32 {
        match self {
            Self::Einval => libc::EINVAL,
        }
    }
}

/// What must be refused, at the start and at points.
pub(super) fn refusals(written: &CaseFile, resolver: &mut Resolver<'_>) -> Vec<RefusalExpectation> {
    let mut refusals = Vec::new();
    if let Some(refused) = &written.refused {
        check_start(written, refused, resolver);
        refusals.push(expectation(refused, None));
    }
    for entry in &written.host {
        let host = &entry.value;
        let Some(refused) = &host.refused else { continue };
        check_entry(host, refused, resolver);
        let nth = host.nth.as_ref().map(|nth| nth.value);
        refusals.push(expectation(refused, Some((host.at.value.clone(), nth))));
    }
    refusals
}

fn expectation(refused: &Located<ErrnoName>, at: Option<(String, Option<u32>)>) -> RefusalExpectation {
    RefusalExpectation {
        at,
        errno: refused.value.number(),
        line: refused.at.line,
        column: refused.at.column,
    }
}

/// Nothing runs with a state that is refused, so that nothing else can be expected.
fn check_start(written: &CaseFile, refused: &Located<ErrnoName>, resolver: &mut Resolver<'_>) {
    let more = written.path.is_some()
        || written.explore.is_some()
        || !written.expect.is_empty()
        || !written.host.is_empty();
    if more {
        resolver.mistakes.add(
            refused.at,
            "nothing runs with a state that is refused at the start",
            "remove `path`, `expect`, `host` and `explore`, or write `refused` behind the `set` of a point",
        );
    }
}

/// One setting, which is what is refused.
fn check_entry(host: &HostEntry, refused: &Located<ErrnoName>, resolver: &mut Resolver<'_>) {
    let settings = host.set.entries.0.len() + usize::from(host.shadow.is_some());
    if settings != 1 || !host.then.is_empty() {
        resolver.mistakes.add(
            refused.at,
            "`refused` is about one setting",
            "write one field in `set`, or `shadow`, and other actions into entries of their own",
        );
    }
}
