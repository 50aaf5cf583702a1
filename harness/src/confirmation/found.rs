//! What runs say of expectations, run by run.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::run::outcomes;
use spec_model::transcript::Transcript;

use super::{ALL, Confirmations, Entry, Open, WHOLE, digest, names, target};
use crate::case::Case;
use crate::deviation::Deviation;
use crate::judge::Verdict;
use crate::judge::case::{profile, view};
use crate::judge::held::{Held, held};
use crate::target::Identity;

/// What was found in reports, by case.
#[derive(Clone, Debug, Default)]
pub struct Found {
    cases: BTreeMap<String, OfCase>,
}

/// By expectation.
#[derive(Clone, Debug, Default)]
struct OfCase {
    seen: BTreeMap<String, BTreeSet<String>>,
    deviates: BTreeMap<String, BTreeSet<String>>,
    open: BTreeMap<String, BTreeSet<Open>>,
    lacks: BTreeSet<String>,
}

impl Found {
    /// Takes over that a target could not run a case, and the kind of what it lacks.
    pub fn lacks(&mut self, case: &Case, lack: &str) {
        let of_case = self.cases.entry(case.name.clone()).or_default();
        of_case.lacks.insert(lack.to_owned());
    }

    /// Takes over a run and its verdict. `shown` are the deviations without which it is not explained.
    pub fn take(
        &mut self,
        case: &Case,
        identity: &Identity,
        verdict: &Verdict<'_>,
        shown: &[&Deviation],
        seen: &Transcript,
    ) {
        let Some(profile) = profile(identity.backend) else {
            return;
        };
        let of_case = self.cases.entry(case.name.clone()).or_default();
        let (explained, conforms) = match verdict {
            Verdict::Conforms | Verdict::UnexpectedlyConforms(_) => (true, true),
            Verdict::ConformsByHand(_) | Verdict::KnownDeviation(_) => (true, false),
            Verdict::Unsupported(_) => return,
            Verdict::Deviates { .. } | Verdict::Broken(_) => (false, false),
        };
        let mut held = held(&view(case, profile), seen);
        let rest = if conforms { Held::Seen } else { Held::Failed };
        held.insert(WHOLE.to_owned(), rest);
        let mut blamed: Option<Blamed> = None;
        for (name, held) in held {
            if !explained {
                of_case.open.entry(name).or_default().insert(Open::Unexplained);
            } else if held == Held::Seen {
                of_case.seen.entry(name).or_default().insert(target(identity));
            } else if held == Held::NotLookedAt {
                of_case.open.entry(name).or_default().insert(Open::NotLookedAt);
            } else if shown.is_empty() {
                of_case.open.entry(name).or_default().insert(Open::NotReached);
            } else {
                let blamed = blamed.get_or_insert_with(|| Blamed::of(case, profile, shown));
                let names = blamed.for_what(&name);
                of_case.deviates.entry(name).or_default().extend(names);
            }
        }
    }
}

/// What of a case deviations change, each alone.
struct Blamed {
    /// By name of the deviation: the expectations that hold with it.
    holding: Vec<(String, BTreeSet<String>)>,
}

impl Blamed {
    fn of(case: &Case, profile: &'static Profile, shown: &[&Deviation]) -> Self {
        let view = view(case, profile);
        let holding = |deviation: &&Deviation| {
            let defects: DefectSet = deviation.defects.iter().copied().collect();
            let outcomes = outcomes(&case.scenario, profile, defects).unwrap_or_default();
            let mut of_outcomes = outcomes.iter().map(|outcome| -> BTreeSet<String> {
                let held = held(&view, &outcome.transcript);
                let seen = held.into_iter().filter(|(_, held)| *held == Held::Seen);
                seen.map(|(name, _)| name).collect()
            });
            let first = of_outcomes.next().unwrap_or_default();
            let in_all = of_outcomes.fold(first, |one, two| &one & &two);
            (deviation.name(), in_all)
        };
        Self {
            holding: shown.iter().map(holding).collect(),
        }
    }

    /// The deviations that alone make an expectation fail; all of them if only together.
    fn for_what(&self, name: &str) -> Vec<String> {
        let all = || self.holding.iter().map(|(deviation, _)| deviation.clone());
        let alone = self.holding.iter().filter(|(_, holding)| !holding.contains(name));
        let alone: Vec<String> = alone.map(|(deviation, _)| deviation.clone()).collect();
        if alone.is_empty() { all().collect() } else { alone }
    }
}

impl Confirmations {
    /// Takes over what was found. What was confirmed before stays, unless the case is another one now.
    pub fn update(&mut self, found: &Found, cases: &[Case], deviations: &[Deviation]) {
        self.keep(cases);
        let is_listed = |name: &String| deviations.iter().any(|deviation| deviation.name() == *name);
        for case in cases {
            let Some(new) = found.cases.get(&case.name) else {
                continue;
            };
            let known = self.cases.entry(case.name.clone()).or_insert_with(|| Entry {
                of: digest(case),
                ..Entry::default()
            });
            let mut all = names(case);
            let is_by_hand = !all.is_empty();
            all.push(WHOLE.to_owned());
            let targets: Vec<(&String, BTreeSet<String>)> = all
                .iter()
                .map(|name| {
                    let mut targets: BTreeSet<String> =
                        known.targets(name).into_iter().map(str::to_owned).collect();
                    targets.extend(new.seen.get(name).into_iter().flatten().cloned());
                    (name, targets)
                })
                .collect();
            let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, targets) in targets.into_iter().filter(|(_, targets)| !targets.is_empty()) {
                let targets: Vec<String> = targets.into_iter().collect();
                seen.entry(targets.join(" ")).or_default().push(name.clone());
            }
            for names in seen.values_mut().filter(|names| names.len() == all.len()) {
                *names = vec![ALL.to_owned()];
            }
            let mut deviates = std::mem::take(&mut known.deviates);
            for (name, by) in &new.deviates {
                for deviation in by {
                    deviates
                        .entry(deviation.clone())
                        .or_default()
                        .insert(name.clone());
                }
            }
            // Whether a run can be explained changes with the deviation files.
            let mut open = std::mem::take(&mut known.open);
            open.remove(&Open::Unexplained);
            for (name, reasons) in &new.open {
                for reason in reasons {
                    open.entry(*reason).or_default().insert(name.clone());
                }
            }
            known.seen = seen;
            // Of what is confirmed only that counts.
            let remains = |name: &String| !(known.confirms(name) || is_by_hand && name == WHOLE);
            deviates.values_mut().for_each(|names| names.retain(remains));
            deviates.retain(|deviation, names| is_listed(deviation) && !names.is_empty());
            open.values_mut().for_each(|names| names.retain(remains));
            open.retain(|_, names| !names.is_empty());
            let ran = !known.seen.is_empty() || !deviates.is_empty() || !open.is_empty();
            let mut lacks = std::mem::take(&mut known.lacks);
            lacks.extend(new.lacks.iter().cloned());
            known.lacks = if ran { BTreeSet::new() } else { lacks };
            known.deviates = deviates;
            known.open = open;
        }
    }
}
