//! What of a family, or of the endings of cases, must not be unsupported.

use std::fmt::Write as _;

use super::{Coverage, Noun};
use crate::baseline::RanGroup;
use crate::cli::exit::{Failure, Status};
use crate::cli::glob;

const SCENARIOS: Noun = ("scenario", "scenarios");
const GROUPS: Noun = ("group", "groups");

/// What ran on a target, by groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct RanTarget {
    /// Its name.
    pub(in crate::cli) name: String,
    /// The groups that were run.
    pub(in crate::cli) groups: Vec<RanGroup>,
    /// Whether these are all that there are.
    pub(in crate::cli) all: bool,
}

impl RanTarget {
    /// Whether anything ran there.
    fn ran(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| group.members > group.unsupported.len())
    }
}

impl Coverage {
    /// Says what is unsupported and must not be, and what the baseline does not have.
    pub(in crate::cli) fn tell_groups(&self, out: &mut String, targets: &[RanTarget]) -> Status {
        let mut status = Status::Conforms;
        for RanTarget { name, groups, all } in targets {
            status = status.max_with(self.tell_unknown(out, name));
            if let Some((path, baseline)) = &self.baseline {
                let change = baseline.family_change(&self.how, name, groups, *all);
                if !change.new.is_empty() {
                    // Writing to a string does not fail.
                    let _ = writeln!(
                        out,
                        "\n{name}: {path} does not have {}: `--write-baseline {path}` adds what runs",
                        first(&change.new),
                        path = path.display(),
                    );
                }
                status = status.max_with(self.tell_lost(out, path, name, SCENARIOS, &change.lost));
                if !change.shrunk.is_empty() {
                    let what = format!("LOST, by {}", path.display());
                    super::list(out, name, GROUPS, &what, &change.shrunk);
                    status = status.max_with(Status::Deviates);
                }
            }
            let members = groups.iter().flat_map(|group| &group.unsupported);
            let unwanted =
                members.filter(|member| self.globs.iter().any(|glob| glob::matches(glob, &member.name)));
            let unwanted: Vec<(String, String)> = unwanted
                .map(|member| (member.name.clone(), member.reason.clone()))
                .collect();
            status = status.max_with(self.tell_unwanted(out, name, SCENARIOS, &unwanted));
        }
        status
    }

    /// Writes the new baseline, if one is wanted, and gives back what to say about it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(in crate::cli) fn write_groups(self, targets: &[RanTarget]) -> Result<(String, Status), Failure> {
        let Some((path, mut baseline)) = self.write else {
            return Ok((String::new(), Status::Conforms));
        };
        let mut dropped = Vec::new();
        for target in targets.iter().filter(|target| target.ran()) {
            dropped.extend(baseline.update_family(&self.how, &target.name, &target.groups, target.all));
        }
        super::write(&path, &baseline, &dropped, self.drop)
    }
}

/// The first names of many.
fn first(names: &[String]) -> String {
    const FIRST: usize = 5;
    let mut text = names.iter().take(FIRST).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > FIRST {
        // Writing to a string does not fail.
        let _ = write!(text, " and {} more", names.len() - FIRST);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::baseline::{Baseline, Command, How, UnsupportedMember};

    fn ran(unsupported: &[&str]) -> RanTarget {
        let member = |name: &&str| UnsupportedMember {
            name: (*name).to_owned(),
            reason: "KVM_CAP_X86_SMM is 0".to_owned(),
            pattern: None,
        };
        RanTarget {
            name: "kvm".to_owned(),
            groups: vec![RanGroup {
                name: "1".to_owned(),
                members: 8,
                complete: true,
                unsupported: unsupported.iter().map(member).collect(),
            }],
            all: false,
        }
    }

    fn told(globs: &[&str], now: &RanTarget) -> (Status, String) {
        let how = How::plain(Command::Sequences);
        let mut known = Baseline::default();
        known.update_family(&how, "kvm", &ran(&["sequences/sti"]).groups, false);
        let coverage = Coverage {
            how,
            baseline: Some((PathBuf::from("mine.yaml"), known)),
            given: false,
            only: false,
            named: true,
            write: None,
            drop: false,
            globs: globs.iter().map(ToString::to_string).collect(),
        };
        let mut out = String::new();
        let status = coverage.tell_groups(&mut out, std::slice::from_ref(now));
        (status, out)
    }

    #[test]
    fn a_scenario_that_ran_and_is_unsupported_now_fails_the_run_and_is_named() {
        let (status, text) = told(&[], &ran(&["sequences/smi", "sequences/sti"]));
        assert_eq!(status, Status::Deviates);
        let expected = "\nkvm: 1 scenario LOST: unsupported now, and ran by mine.yaml:\n  \
                        sequences/smi: KVM_CAP_X86_SMM is 0\n";
        assert_eq!(text, expected);
        assert_eq!(
            told(&[], &ran(&["sequences/sti"])),
            (Status::Conforms, String::new())
        );
    }

    #[test]
    fn a_group_that_shrinks_fails_the_run() {
        let mut now = ran(&["sequences/sti"]);
        now.groups[0].members = 7;
        let (status, text) = told(&[], &now);
        assert_eq!(status, Status::Deviates);
        assert!(text.contains("group `1`: it has 7 members and had 8"), "{text}");
    }

    #[test]
    fn a_glob_is_the_short_form() {
        for (glob, status) in [
            ("sequences/st*", Status::Deviates),
            ("sequences/nmi", Status::Conforms),
        ] {
            assert_eq!(told(&[glob], &ran(&["sequences/sti"])).0, status, "{glob}");
        }
    }

    #[test]
    fn what_newly_runs_asks_for_an_update() {
        let (status, text) = told(&[], &ran(&[]));
        assert_eq!(status, Status::Conforms);
        assert!(text.contains("mine.yaml does not have sequences/sti"), "{text}");
    }
}
