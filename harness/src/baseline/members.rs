//! Families: which of tens of thousands of scenarios ran.
//!
//! The file has the number of members of each group and the names of those that did not run, by reason;
//! all others ran. A member is lost that is unsupported now and is not among those names.

use std::collections::BTreeMap;

use super::entry::{Entry, Group, Unsupported, is_pattern};
use super::{Baseline, Dropped, How};
use crate::cli::glob;

/// A group, as a run had it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RanGroup {
    /// Its name.
    pub name: String,
    /// How many scenarios it has.
    pub members: usize,
    /// Whether every one of them is accounted for: it says something about the target, or is
    /// unsupported.
    pub complete: bool,
    /// Those that the target cannot run.
    pub unsupported: Vec<UnsupportedMember>,
}

/// A scenario of a family that a target cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedMember {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// A pattern for all that the target cannot run for this reason, if there is one.
    pub pattern: Option<&'static str>,
}

impl UnsupportedMember {
    /// What a baseline has it down as.
    fn written(&self) -> &str {
        self.pattern.unwrap_or(&self.name)
    }
}

/// How a run of a family differs from a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyChange {
    /// Members that ran and are unsupported now, with the reason.
    pub lost: Vec<(String, String)>,
    /// Groups that have fewer members than they had, or are not there any more, and how.
    pub shrunk: Vec<(String, String)>,
    /// What runs now and did not, or was not there.
    pub new: Vec<String>,
}

impl Baseline {
    /// Holds groups against it that were run in this way; nothing if it does not know the target. With `all`,
    /// the run was about every group that there is.
    #[must_use]
    pub fn family_change(&self, how: &How, target: &str, groups: &[RanGroup], all: bool) -> FamilyChange {
        let mut change = FamilyChange::default();
        if !self.knows(how, target) {
            return change;
        }
        for group in groups {
            let name = &group.name;
            let Some(before) = self.group(how, target, name) else {
                change.new.push(format!("`{name}` with {}", group.members));
                continue;
            };
            let lost = group
                .unsupported
                .iter()
                .filter(|member| !before.unsupported.has(&member.name));
            change
                .lost
                .extend(lost.map(|member| (member.name.clone(), member.reason.clone())));
            if !group.complete {
                continue;
            }
            if group.members < before.members {
                let shrunk = format!("it has {} members and had {}", group.members, before.members);
                change.shrunk.push((format!("group `{name}`"), shrunk));
            }
            if group.members > before.members {
                let more = group.members - before.members;
                change.new.push(format!("{more} more of `{name}`"));
            }
            let still = |written: &&str| {
                let mut members = group.unsupported.iter();
                members.any(|member| member.written() == *written || glob::matches(written, &member.name))
            };
            let runs = before.unsupported.names().filter(|written| !still(written));
            change.new.extend(runs.map(str::to_owned));
        }
        if all {
            let there = |name: &str| groups.iter().any(|group| group.name == name);
            let gone = self
                .group_names(how, target)
                .into_iter()
                .filter(|name| !there(name));
            let gone = gone.map(|name| {
                (
                    format!("group `{name}`"),
                    "there is no such group any more".to_owned(),
                )
            });
            change.shrunk.extend(gone);
        }
        change
    }

    /// Takes over what ran of complete groups, and gives back what ran before and does not now. With
    /// `all`, groups that there are no more are forgotten.
    pub fn update_family(&mut self, how: &How, target: &str, groups: &[RanGroup], all: bool) -> Vec<Dropped> {
        let change = self.family_change(how, target, groups, all);
        let key = how.key(target);
        let dropped = change.lost.into_iter().chain(change.shrunk);
        let dropped = dropped
            .map(|(name, reason)| Dropped {
                entry: key.clone(),
                name,
                reason,
            })
            .collect();
        let plain = self.groups_of(&how.plain_key(target)).cloned();
        let mut known = self.groups_of(&key).cloned().unwrap_or_default();
        if all {
            known.retain(|name, _| groups.iter().any(|group| group.name == *name));
        }
        for group in groups.iter().filter(|group| group.complete) {
            known.insert(group.name.clone(), group.into());
        }
        if !how.is_plain() {
            let plain = plain.unwrap_or_default();
            known.retain(|name, group| plain.get(name) != Some(group));
        }
        if known.is_empty() && !how.is_plain() {
            self.entries.remove(&key);
        } else {
            self.entries.insert(key, Entry::Groups(known));
        }
        dropped
    }

    fn groups_of(&self, key: &str) -> Option<&BTreeMap<String, Group>> {
        match self.entries.get(key) {
            Some(Entry::Groups(groups)) => Some(groups),
            _ => None,
        }
    }

    /// A group; without an entry for the options of the run, what runs without them has to run with them.
    fn group(&self, how: &How, target: &str, name: &str) -> Option<&Group> {
        let own = self.groups_of(&how.key(target));
        let plain = self.groups_of(&how.plain_key(target));
        own.and_then(|groups| groups.get(name))
            .or_else(|| plain.and_then(|groups| groups.get(name)))
    }

    fn group_names(&self, how: &How, target: &str) -> Vec<&str> {
        let keys = [how.key(target), how.plain_key(target)];
        let groups = keys.iter().filter_map(|key| self.groups_of(key));
        let mut names: Vec<&str> = groups.flat_map(BTreeMap::keys).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl From<&RanGroup> for Group {
    fn from(ran: &RanGroup) -> Self {
        let mut unsupported = Unsupported::default();
        for member in &ran.unsupported {
            debug_assert!(!is_pattern(&member.name));
            unsupported.add(&member.reason, member.written());
        }
        Self {
            members: ran.members,
            unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Command;
    use crate::target::RunOptions;
    use spec_model::scenario::Observe;

    const KVM: &str = "kvm";

    fn plain() -> How {
        How::plain(Command::Sequences)
    }

    fn at_ends() -> How {
        let options = RunOptions {
            observe: Observe::Ends,
            ..RunOptions::default()
        };
        How::with(Command::Sequences, options)
    }

    fn member(name: &str, pattern: Option<&'static str>) -> UnsupportedMember {
        UnsupportedMember {
            name: name.to_owned(),
            reason: "KVM_CAP_X86_SMM is 0".to_owned(),
            pattern,
        }
    }

    fn group(name: &str, members: usize, unsupported: &[UnsupportedMember]) -> RanGroup {
        RanGroup {
            name: name.to_owned(),
            members,
            complete: true,
            unsupported: unsupported.to_vec(),
        }
    }

    /// One sequence did not run when this was written, and all with an SMI.
    fn some() -> Baseline {
        let mut baseline = Baseline::default();
        let unsupported = [
            member("sequences/nmi-rsm", None),
            member("sequences/nmi-smi", Some("sequences/*smi*")),
        ];
        let groups = [group("1", 8, &[]), group("2", 64, &unsupported)];
        assert_eq!(baseline.update_family(&plain(), KVM, &groups, false), []);
        baseline
    }

    #[test]
    fn the_file_has_numbers_and_what_did_not_run() {
        let text = some().text();
        let entry = text.split_once("\"sequences kvm\":\n").expect("it is there").1;
        let expected = "  \"1\": 8\n  \"2\":\n    members: 64\n    unsupported:\n      \
                        \"KVM_CAP_X86_SMM is 0\":\n        - \"sequences/*smi*\"\n        - sequences/nmi-rsm\n";
        assert_eq!(entry, expected);
        assert_eq!(text.parse::<Baseline>().expect("it was written so"), some());
    }

    #[test]
    fn a_member_that_ran_and_is_unsupported_now_is_lost_by_name() {
        let known = [
            member("sequences/nmi-rsm", None),
            member("sequences/smi-nmi", Some("sequences/*smi*")),
        ];
        let lost = member("sequences/nmi-iret", None);
        let now = [known.to_vec(), vec![lost]].concat();
        for how in [plain(), at_ends()] {
            let change = some().family_change(&how, KVM, &[group("2", 64, &known)], false);
            assert_eq!(change, FamilyChange::default());
            let change = some().family_change(&how, KVM, &[group("2", 64, &now)], false);
            let names: Vec<&str> = change.lost.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["sequences/nmi-iret"]);
            // Nor does it help that the rest has no verdict.
            let mut broken = group("2", 3, &now);
            broken.complete = false;
            let change = some().family_change(&how, KVM, &[broken], false);
            assert_eq!((change.lost.len(), change.shrunk.len()), (1, 0));
        }
        let unknown = some().family_change(&plain(), "svm@debian:6.12", &[group("2", 64, &now)], false);
        assert_eq!(unknown, FamilyChange::default());
    }

    #[test]
    fn a_group_that_shrinks_or_goes_is_lost() {
        let change = some().family_change(&plain(), KVM, &[group("1", 7, &[])], true);
        let names: Vec<&str> = change.shrunk.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["group `1`", "group `2`"]);
        let change = some().family_change(&plain(), KVM, &[group("1", 9, &[])], false);
        assert_eq!((change.shrunk.len(), change.new.len()), (0, 1));
    }

    #[test]
    fn what_newly_runs_asks_for_an_update() {
        let smi = member("sequences/nmi-smi", Some("sequences/*smi*"));
        let now = [group("2", 64, &[smi]), group("3", 512, &[])];
        let change = some().family_change(&plain(), KVM, &now, false);
        assert_eq!(change.new, ["sequences/nmi-rsm", "`3` with 512"]);
        assert_eq!(change.lost, []);
    }

    #[test]
    fn an_update_tells_what_it_drops_and_keeps_what_the_run_was_not_about() {
        let mut baseline = some();
        let lost = member("sequences/nmi", None);
        let own = [group("1", 8, &[lost])];
        let dropped = baseline.update_family(&plain(), KVM, &own, false);
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].name, "sequences/nmi");
        assert!(baseline.group(&plain(), KVM, "2").is_some());
        // With options only what differs is written down.
        let mut baseline = some();
        baseline.update_family(&at_ends(), KVM, &own, false);
        assert_eq!(
            baseline.groups_of(&at_ends().key(KVM)).map(BTreeMap::len),
            Some(1)
        );
        assert!(
            baseline
                .family_change(&at_ends(), KVM, &own, false)
                .lost
                .is_empty()
        );
        assert_eq!(baseline.family_change(&plain(), KVM, &own, false).lost.len(), 1);
        baseline.update_family(&at_ends(), KVM, &[group("1", 8, &[])], false);
        assert_eq!(baseline, some());
    }
}
