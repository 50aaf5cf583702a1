//! What nothing confirms, and why.

use std::collections::BTreeSet;
use std::fmt;

use spec_model::defect::DefectSet;
use spec_model::requirement::{self, Requirement};
use spec_model::run::outcomes;

use super::{Confirmations, Entry, Open, WHOLE, digest, names};
use crate::case::Case;
use crate::coverage::{defects_of, proof};
use crate::judge::case::view;
use crate::judge::held::{Held, held};

/// Why nothing confirms an expectation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No run of the case was counted.
    NeverRun,
    /// The case is another one than the one that ran.
    Changed,
    /// Every target lacks something, of these kinds.
    Lacks(BTreeSet<String>),
    /// On every target that ran it, these deviations have something else.
    Deviates(BTreeSet<String>),
    /// Only the software backend has it so; elsewhere these deviations have something else.
    Software(BTreeSet<String>),
    /// No run came there.
    NotReached,
    /// The host did not look there.
    NotLookedAt,
    /// No run is explained.
    Unexplained,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::NeverRun => formatter.write_str("never run"),
            Self::Changed => formatter.write_str("changed since it ran"),
            Self::Lacks(kinds) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| in_words(kind)).collect();
                write!(
                    formatter,
                    "no target that was asked could run it: {}",
                    kinds.join("; ")
                )
            }
            Self::Deviates(by) => write!(formatter, "only ever seen to deviate, by {}", joined(by)),
            Self::Software(by) if by.is_empty() => {
                formatter.write_str("confirmed by the software backend alone")
            }
            Self::Software(by) => write!(
                formatter,
                "confirmed by the software backend alone; elsewhere it deviates, by {}",
                joined(by)
            ),
            Self::NotReached => formatter.write_str("no run came there on the expected path"),
            Self::NotLookedAt => formatter.write_str("the host looked there in no run"),
            Self::Unexplained => formatter.write_str("seen in runs only that nothing explains"),
        }
    }
}

/// The kind of lack of a target for which the case is none at all.
const NATURE: &str = "nature";

/// A kind of lack (see [`crate::target::Lack::kind`]) in words.
fn in_words(kind: &str) -> &str {
    match kind {
        "capability" => "KVM lacks a capability",
        "cpuid" => "the processor lacks a feature",
        "row" => "the backend lacks something that a table names",
        NATURE => "it is about other processors or hypervisors",
        "host-risk" => "it may harm the host",
        "host" => "the host lacks something",
        "emulator" => "the emulator does not survive it",
        "mode" => "it means nothing in that mode",
        "suite" => "the suite cannot do it there",
        other => other,
    }
}

/// Expectations of a case that nothing confirms, for one reason.
#[derive(Clone, Debug)]
pub struct Unconfirmed<'a> {
    /// The case.
    pub case: &'a Case,
    /// Why.
    pub reason: Reason,
    /// The names of the expectations.
    pub names: Vec<String>,
    /// Whether that is all that the case expects.
    pub is_all: bool,
}

/// What counts as expected in a case: what is written by hand, or the whole run if that is nothing.
fn expected(case: &Case) -> Vec<String> {
    let names = names(case);
    if names.is_empty() {
        vec![WHOLE.to_owned()]
    } else {
        names
    }
}

impl Confirmations {
    /// What is known of a case, if it is still the one that ran.
    fn entry(&self, case: &Case) -> Option<&Entry> {
        self.cases
            .get(&case.name)
            .filter(|entry| entry.of == digest(case))
    }
}

/// What nothing confirms, by reason and case.
#[must_use]
pub fn unconfirmed<'a>(cases: &'a [Case], known: &Confirmations) -> Vec<Unconfirmed<'a>> {
    let mut all: Vec<Unconfirmed<'a>> = Vec::new();
    for case in cases {
        let expected = expected(case);
        let first = all.len();
        let entry = known.entry(case);
        for name in &expected {
            let reason = match entry {
                Some(entry) if entry.confirms(name) => continue,
                Some(entry) => reason(entry, name),
                None if known.cases.contains_key(&case.name) => Reason::Changed,
                None => Reason::NeverRun,
            };
            let own = all.get_mut(first..).unwrap_or_default();
            match own.iter_mut().find(|one| one.reason == reason) {
                Some(group) => group.names.push(name.clone()),
                None => all.push(Unconfirmed {
                    case,
                    reason,
                    names: vec![name.clone()],
                    is_all: false,
                }),
            }
        }
        for group in all.get_mut(first..).unwrap_or_default() {
            group.is_all = group.names.len() == expected.len();
        }
    }
    all.sort_by(|one, two| (&one.reason, &one.case.name).cmp(&(&two.reason, &two.case.name)));
    all
}

fn reason(entry: &Entry, name: &str) -> Reason {
    let by = entry.deviates.iter().filter(|(_, names)| names.contains(name));
    let by: BTreeSet<String> = by.map(|(deviation, _)| deviation.clone()).collect();
    let is_open = |open: Open| entry.open.get(&open).is_some_and(|names| names.contains(name));
    if !entry.targets(name).is_empty() {
        Reason::Software(by)
    } else if !by.is_empty() {
        Reason::Deviates(by)
    } else if is_open(Open::Unexplained) {
        Reason::Unexplained
    } else if is_open(Open::NotLookedAt) {
        Reason::NotLookedAt
    } else if entry.lacks.is_empty() {
        Reason::NotReached
    } else {
        let mut lacks = entry.lacks.clone();
        // Xen and arm64 can run hardly anything, which says nothing of the targets that could.
        if lacks.len() > 1 {
            lacks.remove(NATURE);
        }
        Reason::Lacks(lacks)
    }
}

/// How much is confirmed by a target that is more than the software backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Expectations.
    pub expectations: usize,
    /// Those that are confirmed.
    pub confirmed: usize,
    /// Cases with an expectation that is not.
    pub cases_with_gaps: usize,
    /// Cases of which none is.
    pub cases_unconfirmed: usize,
}

/// Counts what is confirmed.
#[must_use]
pub fn counts(cases: &[Case], known: &Confirmations) -> Counts {
    let mut counts = Counts::default();
    for case in cases {
        let entry = known.entry(case);
        let expected = expected(case);
        let is_confirmed = |name: &&String| entry.is_some_and(|entry| entry.confirms(name));
        let confirmed = expected.iter().filter(is_confirmed).count();
        counts.expectations += expected.len();
        counts.confirmed += confirmed;
        counts.cases_with_gaps += usize::from(confirmed < expected.len());
        counts.cases_unconfirmed += usize::from(confirmed == 0);
    }
    counts
}

/// Requirements that count as covered by cases, none of which is confirmed where it notices that they are broken,
/// with those cases.
#[must_use]
pub fn requirements<'a>(
    cases: &'a [Case],
    known: &Confirmations,
) -> Vec<(&'static Requirement, Vec<&'a str>)> {
    let mut found = Vec::new();
    for requirement in requirement::all() {
        let named: Vec<&Case> = cases
            .iter()
            .filter(|case| case.checks.iter().any(|check| check.id == requirement.id))
            .collect();
        if named.iter().any(|case| is_confirmed(case, requirement, known)) {
            continue;
        }
        let proves = named.iter().filter(|case| proof(case, requirement).is_given());
        let names: Vec<&str> = proves.map(|case| case.name.as_str()).collect();
        if !names.is_empty() {
            found.push((requirement, names));
        }
    }
    found
}

/// Whether a target confirms what a case says of a requirement: the whole run, and the case notices when the
/// requirement is broken; or an expectation that fails then.
fn is_confirmed(case: &Case, requirement: &'static Requirement, known: &Confirmations) -> bool {
    let Some(entry) = known.entry(case) else {
        return false;
    };
    if entry.confirms(WHOLE) {
        return proof(case, requirement).is_given();
    }
    let view = view(case, case.own_profile());
    let confirmed: Vec<String> = names(case)
        .into_iter()
        .filter(|name| entry.confirms(name))
        .collect();
    if confirmed.is_empty() {
        return false;
    }
    defects_of(requirement).any(|defect| {
        let broken = DefectSet::NONE.with(defect);
        let outcomes = outcomes(&case.scenario, case.own_profile(), broken).unwrap_or_default();
        outcomes.iter().any(|outcome| {
            let held = held(&view, &outcome.transcript);
            confirmed
                .iter()
                .any(|name| held.get(name).is_some_and(|held| *held != Held::Seen))
        })
    })
}
