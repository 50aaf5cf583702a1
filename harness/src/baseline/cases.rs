//! Cases: which of them ran.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, Exceptions, Unsupported};
use super::{Baseline, Dropped, How};

/// Why a case is dropped that is in no folder any more.
pub const GONE: &str = "there is no such case any more";

/// Whether a case ran on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It has a verdict about the target.
    Yes,
    /// The target lacks something; the reason says what.
    Unsupported(String),
    /// Nobody knows: it is broken, the run did not get to it, or its mode means nothing to the case.
    Unknown,
}

/// How a run differs from a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Cases that ran and are unsupported now, with the reason.
    pub lost: Vec<(String, String)>,
    /// Cases that run now and that the baseline does not have.
    pub new: Vec<String>,
}

impl Baseline {
    /// The cases that ran on a target in this way. Without an entry for the options of the run, what runs
    /// without them has to run with them.
    #[must_use]
    pub fn cases(&self, how: &How, target: &str) -> BTreeSet<&str> {
        let keys = [how.key(target), how.plain_key(target)];
        let listed = keys.iter().find_map(|key| match self.entries.get(key) {
            Some(Entry::Cases(cases)) => Some(cases),
            _ => None,
        });
        let listed = listed.into_iter().flatten().map(String::as_str);
        listed.filter(|case| self.ran(how, target, case)).collect()
    }

    /// Whether a case ran on a target.
    #[must_use]
    pub fn ran(&self, how: &How, target: &str, case: &str) -> bool {
        let plain = || match self.entries.get(&how.plain_key(target)) {
            Some(Entry::Cases(cases)) => cases.contains(case),
            _ => false,
        };
        match self.entries.get(&how.key(target)) {
            Some(Entry::Cases(cases)) => cases.contains(case),
            Some(Entry::Except(exceptions)) => plain() && !exceptions.unsupported.has(case),
            _ => plain(),
        }
    }

    /// Holds a run against it. Nothing is lost or new on a target that it does not know.
    #[must_use]
    pub fn change<'a>(
        &self,
        how: &How,
        target: &str,
        cases: impl IntoIterator<Item = (&'a str, Ran)>,
    ) -> Change {
        let mut change = Change::default();
        if !self.knows(how, target) {
            return change;
        }
        let before = self.cases(how, target);
        for (case, ran) in cases {
            match (before.contains(case), ran) {
                (true, Ran::Unsupported(reason)) => change.lost.push((case.to_owned(), reason)),
                (false, Ran::Yes) => change.new.push(case.to_owned()),
                _ => {}
            }
        }
        change
    }

    /// Takes over what ran, and gives back what ran before and does not now. Cases that the run was not
    /// about, and those of which nobody knows, stay as they were.
    pub fn update<'a>(
        &mut self,
        how: &How,
        target: &str,
        cases: impl IntoIterator<Item = (&'a str, Ran)>,
    ) -> Vec<Dropped> {
        let key = how.key(target);
        let mut known: BTreeSet<String> = self.cases(how, target).into_iter().map(str::to_owned).collect();
        let mut reasons: BTreeMap<String, String> = BTreeMap::new();
        let mut dropped = Vec::new();
        for (case, ran) in cases {
            match ran {
                Ran::Yes => {
                    known.insert(case.to_owned());
                }
                Ran::Unsupported(reason) => {
                    reasons.insert(case.to_owned(), reason.clone());
                    if known.remove(case) {
                        dropped.push(Dropped {
                            entry: key.clone(),
                            name: case.to_owned(),
                            reason,
                        });
                    }
                }
                Ran::Unknown => {}
            }
        }
        match self.entry(how, target, known, &reasons) {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
        dropped
    }

    /// How these cases are written down: all of them, or what of those that run without options does
    /// not run with them. None if that is nothing.
    fn entry(
        &self,
        how: &How,
        target: &str,
        ran: BTreeSet<String>,
        reasons: &BTreeMap<String, String>,
    ) -> Option<Entry> {
        let before = self.entries.get(&how.key(target));
        let plain = match self.entries.get(&how.plain_key(target)) {
            Some(Entry::Cases(plain))
                if !how.is_plain() && ran.is_subset(plain) && !matches!(before, Some(Entry::Cases(_))) =>
            {
                plain
            }
            _ => return Some(Entry::Cases(ran)),
        };
        let mut unsupported = Unsupported::default();
        for case in plain.difference(&ran) {
            let known = match before {
                Some(Entry::Except(exceptions)) => exceptions.unsupported.reason(case),
                _ => None,
            };
            let reason = reasons.get(case).map(String::as_str).or(known);
            unsupported.add(reason.unwrap_or_default(), case);
        }
        (!unsupported.is_empty()).then_some(Entry::Except(Exceptions { unsupported }))
    }

    /// Drops cases that there are no more, and gives them back.
    pub fn keep_only(&mut self, exists: impl Fn(&str) -> bool) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for (key, entry) in &mut self.entries {
            let Entry::Cases(cases) = entry else { continue };
            let gone: Vec<String> = cases.iter().filter(|case| !exists(case)).cloned().collect();
            for name in gone {
                cases.remove(&name);
                dropped.push(Dropped {
                    entry: key.clone(),
                    name,
                    reason: GONE.to_owned(),
                });
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Command;
    use crate::target::{Mode, RunOptions};

    const SVM: &str = "svm@debian:6.12";

    fn plain() -> How {
        How::plain(Command::Run)
    }

    fn migrate() -> How {
        let options = RunOptions {
            mode: Mode::Migrate,
            ..RunOptions::default()
        };
        How::with(Command::Run, options)
    }

    fn unsupported() -> Ran {
        Ran::Unsupported("KVM_CAP_X86_SMM is 0".to_owned())
    }

    fn some() -> Baseline {
        let mut baseline = Baseline::default();
        baseline.update(&plain(), SVM, [("smm/a", Ran::Yes), ("smm/b", Ran::Yes)]);
        baseline
    }

    #[test]
    fn what_ran_and_is_unsupported_now_is_lost() {
        let now = [("smm/a", unsupported()), ("smm/b", Ran::Yes), ("smm/c", Ran::Yes)];
        let change = some().change(&plain(), SVM, now.clone());
        assert_eq!(
            change.lost,
            [("smm/a".to_owned(), "KVM_CAP_X86_SMM is 0".to_owned())]
        );
        assert_eq!(change.new, ["smm/c"]);
        // What nobody knows is the business of the verdicts, which make the run incomplete.
        let change = some().change(&plain(), SVM, [("smm/a", Ran::Unknown)]);
        assert_eq!(change, Change::default());
        assert_eq!(some().change(&plain(), "svm@debian:5.10", now), Change::default());
    }

    #[test]
    fn what_runs_without_options_has_to_run_with_them_but_for_what_is_listed() {
        let lost = |baseline: &Baseline| baseline.change(&migrate(), SVM, [("smm/a", unsupported())]).lost;
        let mut baseline = some();
        assert_eq!(lost(&baseline).len(), 1);
        let dropped = baseline.update(&migrate(), SVM, [("smm/a", unsupported()), ("smm/b", Ran::Yes)]);
        assert_eq!(dropped.len(), 1);
        assert_eq!(lost(&baseline), []);
        assert!(baseline.ran(&migrate(), SVM, "smm/b"));
        assert!(baseline.ran(&plain(), SVM, "smm/a"));
        let text = baseline.text();
        let entry =
            "\"svm@debian:6.12 --migrate\":\n  unsupported:\n    \"KVM_CAP_X86_SMM is 0\":\n      - smm/a\n";
        assert!(text.ends_with(entry), "{text}");
        assert_eq!(text.parse::<Baseline>().expect("it was written so"), baseline);
        // A new case has to run in both ways; what nobody looked at stays an exception.
        baseline.update(&plain(), SVM, [("smm/c", Ran::Yes)]);
        assert!(baseline.ran(&migrate(), SVM, "smm/c"));
        baseline.update(&migrate(), SVM, [("smm/c", Ran::Yes)]);
        assert_eq!(lost(&baseline), []);
        // Once it runs, nothing is left to be listed.
        baseline.update(&migrate(), SVM, [("smm/a", Ran::Yes)]);
        assert!(!baseline.text().contains("--migrate"));
    }

    #[test]
    fn options_without_a_plain_run_have_a_list_of_their_own() {
        let mut baseline = Baseline::default();
        baseline.update(&migrate(), SVM, [("smm/a", Ran::Yes)]);
        assert!(baseline.ran(&migrate(), SVM, "smm/a"));
        assert!(!baseline.knows(&plain(), SVM));
        let mut more = some();
        more.update(&migrate(), SVM, [("smm/only-so", Ran::Yes)]);
        assert!(more.ran(&migrate(), SVM, "smm/only-so"));
        assert!(!more.ran(&plain(), SVM, "smm/only-so"));
    }

    #[test]
    fn an_update_tells_what_it_drops_and_leaves_what_the_run_was_not_about() {
        let mut baseline = some();
        let dropped = baseline.update(&plain(), SVM, [("smm/a", unsupported()), ("smm/c", Ran::Yes)]);
        assert_eq!(
            dropped,
            [Dropped {
                entry: SVM.to_owned(),
                name: "smm/a".to_owned(),
                reason: "KVM_CAP_X86_SMM is 0".to_owned()
            }]
        );
        assert!(!baseline.ran(&plain(), SVM, "smm/a"));
        assert!(baseline.ran(&plain(), SVM, "smm/b"));
        assert_eq!(baseline.update(&plain(), SVM, [("smm/b", Ran::Unknown)]), []);
        assert!(baseline.ran(&plain(), SVM, "smm/b"));
        let gone = baseline.keep_only(|case| case != "smm/b");
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].reason, GONE);
        assert!(!baseline.ran(&plain(), SVM, "smm/b"));
    }
}
