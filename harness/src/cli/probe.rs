//! `conform probe`.

use std::fmt::Write as _;

use super::console::{Progress, print};
use super::exit::{Failure, Status};
use super::session::{Kind, Prepared, cached_kernels, own_executable};
use super::target_name::TargetName;
use crate::interrupt;
use crate::provision::{Architecture, Cache};
use crate::report::summary;
use crate::target::Identity;
use crate::target::booted::Booted;
use crate::target::probe::Probe;

pub(super) fn probe(names: &[TargetName]) -> Result<Status, Failure> {
    let cache = Cache::open(None)?;
    let executable = own_executable().map_err(Failure::incomplete)?;
    let mut names = names.to_vec();
    if names.is_empty() {
        names = provisioned(&cache);
    }
    if names.is_empty() {
        return Err(Failure::incomplete(
            "no kernel is provisioned; `conform provision arm64:debian:6.12` does it",
        ));
    }
    interrupt::catch();
    let mut progress = Progress::new();
    let mut status = Status::Conforms;
    for name in &names {
        if let Some(signal) = Status::of_signal() {
            return Ok(signal);
        }
        let config = match Prepared::new(name, &cache, &executable).kind {
            Kind::Booted { config, .. } => config,
            Kind::Kvm(identity) => {
                progress.say(&format!("{}\n", identified(&identity)))?;
                continue;
            }
            Kind::Model => {
                progress.say("model: nothing to find out, see `conform list`\n")?;
                continue;
            }
            Kind::XenPv { .. } => {
                progress.say(&format!(
                    "{name}: nothing is tried out in a guest of Xen without a case\n"
                ))?;
                continue;
            }
            Kind::Unusable(reason) => {
                progress.say(&format!("{name}: cannot be used: {reason}\n"))?;
                status = status.max_with(Status::Incomplete);
                continue;
            }
        };
        progress.show(&format!("{name}: booting"));
        let mut target = Booted::new(*config);
        let found = match target.probe() {
            Ok(found) => found,
            Err(error) => {
                progress.say(&format!("{name}: {error}\n"))?;
                status = status.max_with(Status::Incomplete);
                continue;
            }
        };
        progress.clear();
        let mut out = report(&found.identity, &found.probes);
        if let Some(time) = target.boot_time() {
            let _ = writeln!(out, "booted in {:.1} s", time.as_secs_f64());
        }
        for note in found
            .notes
            .into_iter()
            .chain(found.identity.system.complaints.gap())
        {
            let _ = writeln!(out, "{name}: {note}");
        }
        let _ = summary::write_complaints(&mut out, &name.to_string(), &found.complaints);
        print(&out)?;
        if !found.complaints.is_empty() || !found.probes.iter().all(Probe::is_as_expected) {
            status = status.max_with(Status::Deviates);
        }
    }
    Ok(status)
}

/// Every target that a provisioned kernel makes.
fn provisioned(cache: &Cache) -> Vec<TargetName> {
    let mut names: Vec<TargetName> = cached_kernels(cache, Architecture::X86)
        .into_iter()
        .map(TargetName::Svm)
        .collect();
    for kernel in cached_kernels(cache, Architecture::Arm64) {
        names.push(TargetName::Arm64(kernel.clone()));
        names.push(TargetName::Arm64Vhe(kernel));
    }
    names
}

fn identified(identity: &Identity) -> String {
    format!(
        "{}: {}; {:?} on {:?}",
        identity.name,
        identity.describe(),
        identity.backend,
        identity.processor
    )
}

/// What a target is, and what came of every probe.
fn report(identity: &Identity, probes: &[Probe]) -> String {
    let mut out = identified(identity) + "\n";
    for probe in probes {
        let verdict = match (&probe.expected, probe.is_as_expected()) {
            (None, _) => "found",
            (Some(_), true) => "ok",
            (Some(_), false) => "DIFFERS",
        };
        // A String takes everything.
        let _ = writeln!(out, "{verdict:8} {}", probe.what);
        let _ = writeln!(out, "           {}", probe.seen);
        if let (Some(expected), false) = (&probe.expected, probe.is_as_expected()) {
            let _ = writeln!(out, "  expected {expected}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::system::System;
    use crate::target::{Backend, Processor};

    #[test]
    fn a_difference_shows_what_was_expected() {
        let identity = Identity {
            name: "arm64@debian:6.12".to_owned(),
            backend: Backend::Arm64Nvhe,
            processor: Processor::QemuTcg,
            kernel: "6.12.1".to_owned(),
            smm: false,
            system: System::default(),
        };
        let probe = |expected: Option<&str>| Probe {
            what: "a store".to_owned(),
            expected: expected.map(str::to_owned),
            seen: "done".to_owned(),
        };
        let text = report(
            &identity,
            &[probe(Some("done")), probe(Some("an exit")), probe(None)],
        );
        assert!(text.contains("Arm64Nvhe on QemuTcg"), "{text}");
        assert!(
            text.contains("DIFFERS  a store\n           done\n  expected an exit"),
            "{text}"
        );
        assert_eq!(text.matches("expected").count(), 1, "{text}");
    }
}
