//! The targets of a command that names none.
//!
//! Everything that is there is in the set, also what cannot be used: a target that vanished
//! without a word would leave a run green that proves nothing. What is not there at all, or can by
//! its nature run none of what was asked for, is left out and named.

use std::path::Path;

use spec_model::architecture;
use spec_model::scenario::Scenario;

use super::session::cached_kernels;
use super::target_name::TargetName;
use crate::provision::{Architecture, Cache, ProvisionError};
use crate::target::{Backend, other_architecture};

/// The local device.
const DEVICE: &str = "/dev/kvm";

/// What a command runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultSet {
    /// What is there, usable or not.
    pub targets: Vec<TargetName>,
    /// What is not among them, and why.
    pub left_out: Vec<LeftOut>,
}

/// A target that a run leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub target: String,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} is left out: {}", self.target, self.reason)
    }
}

impl DefaultSet {
    /// Everything that is there: the model, the local device, every provisioned kernel for x86 and
    /// for arm64, the latter without and with VHE, and each Xen. Single builds of a kernel are there to be named.
    ///
    /// # Errors
    /// If the cache cannot be looked into, so that nobody knows what is there.
    pub fn of(cache: &Cache) -> Result<Self, ProvisionError> {
        cache.is_readable()?;
        let mut set = Self::default();
        set.targets.push(TargetName::Model);
        if Path::new(DEVICE).exists() {
            set.targets.push(TargetName::Kvm);
        } else {
            set.leave_out("kvm", &format!("there is no {DEVICE}"));
        }
        let kernels = cached_kernels(cache, Architecture::X86);
        if kernels.is_empty() {
            set.leave_out(
                "svm@debian:6.12",
                "it was not provisioned; --provision fetches it",
            );
        }
        set.targets.extend(kernels.into_iter().map(TargetName::Svm));
        let xens = cache.xens();
        if xens.is_empty() {
            set.leave_out("xen-pv@debian", "it was not provisioned; --provision fetches it");
        }
        set.targets.extend(xens.into_iter().map(TargetName::XenPv));
        for kernel in cached_kernels(cache, Architecture::Arm64) {
            let both = [TargetName::Arm64(kernel.clone()), TargetName::Arm64Vhe(kernel)];
            set.targets.extend(both);
        }
        Ok(set)
    }

    /// Leaves out what can by its nature run none of these scenarios.
    #[must_use]
    pub fn for_scenarios<'a>(mut self, scenarios: impl Iterator<Item = &'a Scenario> + Clone) -> Self {
        let mut left_out = Vec::new();
        self.targets.retain(|name| {
            let reason = can_run_none(name, scenarios.clone());
            let can_run = reason.is_none();
            left_out.extend(reason.map(|reason| LeftOut {
                target: name.to_string(),
                reason,
            }));
            can_run
        });
        self.left_out.extend(left_out);
        self
    }

    fn leave_out(&mut self, target: &str, reason: &str) {
        self.left_out.push(LeftOut {
            target: target.to_owned(),
            reason: reason.to_owned(),
        });
    }
}

/// Why a kind of target can by its nature run none of these scenarios, if that is so.
pub(super) fn can_run_none<'a>(
    name: &TargetName,
    mut scenarios: impl Iterator<Item = &'a Scenario>,
) -> Option<String> {
    let reason = by_nature(name, scenarios.next()?)?;
    scenarios
        .all(|scenario| by_nature(name, scenario).is_some())
        .then_some(reason)
}

/// Why a kind of target can never run a scenario, whatever machine, kernel or version it is.
fn by_nature(name: &TargetName, scenario: &Scenario) -> Option<String> {
    let (backend, guests) = match name {
        TargetName::Model => return None,
        TargetName::XenPv(_) => (Backend::XenPv, architecture::Architecture::X86),
        TargetName::Kvm | TargetName::Svm(_) | TargetName::SvmNpt0(_) => {
            (Backend::Svm, architecture::Architecture::X86)
        }
        TargetName::Arm64(_) | TargetName::Arm64Vhe(_) => {
            (Backend::Arm64Nvhe, architecture::Architecture::Arm64)
        }
    };
    let lack = other_architecture(scenario, guests).or_else(|| backend.cannot_run(scenario));
    lack.map(|lack| lack.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::suite::Suite;

    fn set(names: &[&str]) -> DefaultSet {
        DefaultSet {
            targets: names.iter().map(|name| name.parse().unwrap()).collect(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn what_can_run_none_of_the_cases_is_left_out_and_named() {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
        let suite = Suite::load_folders(&[cases]).unwrap();
        let all = ["model", "svm@debian:6.12", "xen-pv@debian", "arm64@debian:6.12"];
        for (area, left) in [
            ("", vec![]),
            ("smm/", vec!["xen-pv@debian", "arm64@debian:6.12"]),
            ("xen-pv/", vec!["arm64@debian:6.12"]),
            (
                "stage2/arm64-cas-in-read-only",
                vec!["svm@debian:6.12", "xen-pv@debian"],
            ),
        ] {
            let cases = suite.cases.iter().filter(|case| case.name.starts_with(area));
            let set = set(&all).for_scenarios(cases.map(|case| &case.scenario));
            let names: Vec<&str> = set.left_out.iter().map(|left| left.target.as_str()).collect();
            assert_eq!(names, left, "{area}");
            assert_eq!(set.targets.len() + left.len(), all.len(), "{area}");
        }
    }

    #[test]
    fn what_is_there_and_damaged_stays_in_the_set() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let names = |set: &DefaultSet| set.targets.iter().map(ToString::to_string).collect::<Vec<_>>();
        let before = DefaultSet::of(&cache).unwrap();
        assert!(
            before
                .left_out
                .iter()
                .any(|left| left.target == "svm@debian:6.12")
        );
        std::fs::create_dir_all(folder.path().join("kernels/debian-6.12")).unwrap();
        for xen in ["xen", "xen-4.20"] {
            std::fs::create_dir_all(folder.path().join(xen)).unwrap();
        }
        let after = DefaultSet::of(&cache).unwrap();
        for name in ["svm@debian:6.12", "xen-pv@debian", "xen-pv@debian:4.20"] {
            assert!(names(&after).contains(&name.to_owned()), "{after:?}");
        }
    }

    #[test]
    fn single_builds_run_only_where_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        for kernel in ["debian-6.12", "debian-6.12.113", "arm64-debian-6.12.113"] {
            std::fs::create_dir_all(folder.path().join("kernels").join(kernel)).unwrap();
        }
        let set = DefaultSet::of(&cache).unwrap();
        let booted = set.targets.iter().filter(|target| target.booted().is_some());
        let names: Vec<String> = booted.map(ToString::to_string).collect();
        assert_eq!(names, ["svm@debian:6.12"]);
    }
}
