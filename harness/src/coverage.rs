//! Whether a case proves what it says it checks.
//!
//! A requirement in `checks` is a claim. It is proved if there is a defect that breaks the
//! requirement, and the case deviates on the model with that defect: then a target that does
//! not meet the requirement in this way cannot pass the case. Only such pairs of case and
//! requirement count as coverage.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::{PROFILES, Profile};
use spec_model::requirement::{self, Requirement};

use crate::case::Case;
use crate::judge::VerdictKind;
use crate::judge::case::judge_own;

/// What a case is worth for a requirement that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The case deviates on the model of this implementation with this defect.
    Noticed(Defect, &'static str),
    /// There are defects that break the requirement, and the case conforms with each of them.
    Unnoticed(Vec<Defect>),
    /// No defect breaks the requirement, so nobody knows.
    NoDefect,
}

impl Proof {
    /// Whether the case counts as coverage of the requirement.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::Noticed(..))
    }
}

/// The defects that break a requirement.
pub fn defects_of(requirement: &Requirement) -> impl Iterator<Item = Defect> {
    let breaks = move |defect: &Defect| defect.requirement().id == requirement.id;
    Defect::ALL.iter().copied().filter(breaks)
}

/// The implementations that a case is about, the one that it runs as by itself first.
fn profiles(case: &Case) -> Vec<&'static Profile> {
    let own = case.own_profile();
    let others = PROFILES
        .iter()
        .copied()
        .filter(|profile| case.is_about(profile) && profile.name != own.name);
    std::iter::once(own).chain(others).collect()
}

/// Tries whether a case notices that a requirement is not met.
#[must_use]
pub fn proof(case: &Case, requirement: &Requirement) -> Proof {
    let defects: Vec<Defect> = defects_of(requirement).collect();
    if defects.is_empty() {
        return Proof::NoDefect;
    }
    for profile in profiles(case) {
        for &defect in &defects {
            let (verdict, _) = judge_own(case, profile, DefectSet::NONE.with(defect));
            if verdict.kind() == VerdictKind::Deviates {
                return Proof::Noticed(defect, profile.name);
            }
        }
    }
    Proof::Unnoticed(defects)
}

/// Every requirement that the cases name, and whether each case proves it, in the order of the
/// cases. The processors share the work.
#[must_use]
pub fn proofs(cases: &[Case]) -> Vec<(&Case, &'static Requirement, Proof)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = cases.len().div_ceil(threads).max(1);
    let of_share = |cases: &'_ [Case]| -> Vec<Vec<Proof>> {
        let of_case = |case: &Case| case.checks.iter().map(|check| proof(case, check)).collect();
        cases.iter().map(of_case).collect()
    };
    let found: Vec<Vec<Proof>> = std::thread::scope(|scope| {
        let running: Vec<_> = cases
            .chunks(share)
            .map(|cases| scope.spawn(move || of_share(cases)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|share| share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let pairs = cases.iter().zip(found).flat_map(|(case, proofs)| {
        let checks = case.checks.iter().copied();
        checks.zip(proofs).map(move |(check, proof)| (case, check, proof))
    });
    pairs.collect()
}

/// The claims of cases that count for nothing, by requirement, as `conform explain --unproven`
/// prints them.
#[must_use]
pub fn unproven(proofs: &[(&Case, &'static Requirement, Proof)]) -> String {
    let mut lines: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for (case, requirement, proof) in proofs {
        let why = match proof {
            Proof::Noticed(..) => continue,
            Proof::NoDefect => "no defect breaks it".to_owned(),
            Proof::Unnoticed(defects) => {
                let names: Vec<&str> = defects.iter().map(|defect| defect.name()).collect();
                format!("conforms with {}", names.join(", "))
            }
        };
        lines.entry((requirement.id, why)).or_default().push(&case.name);
    }
    let mut text = String::new();
    for ((id, why), cases) in lines {
        text += &format!("{id}: {why}: {}\n", cases.join(" "));
    }
    text
}

/// The requirements that no case proves, in the order of the catalogue.
#[must_use]
pub fn unproven_requirements(proofs: &[(&Case, &'static Requirement, Proof)]) -> Vec<&'static Requirement> {
    let given = proofs.iter().filter(|(_, _, proof)| proof.is_given());
    let proved: BTreeSet<&str> = given.map(|(_, requirement, _)| requirement.id).collect();
    requirement::all()
        .filter(|requirement| !proved.contains(requirement.id))
        .collect()
}
