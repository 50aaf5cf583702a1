//! `conform provision`.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::console::print;
use super::exit::{Failure, Status};
use super::target_name::TargetName;
use crate::interrupt;
use crate::provision::{
    Architecture, Bootable, Cache, DebianVersion, KernelName, Listing, Reachable, list_builds,
    provision as fetch, provision_xen,
};

/// What is fetched when no kernel is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

/// The targets that boot a kernel.
fn targets(kernel: &KernelName) -> Vec<TargetName> {
    match kernel.architecture() {
        Architecture::X86 => vec![TargetName::Svm(kernel.clone())],
        Architecture::Arm64 => vec![
            TargetName::Arm64(kernel.clone()),
            TargetName::Arm64Vhe(kernel.clone()),
        ],
    }
}

/// Prints a step. They take minutes on a slow line, so that a pipe gets them, too.
fn tell(step: &str) {
    drop(writeln!(std::io::stderr(), "{step}"));
}

pub(super) fn provision(wanted: &[Bootable]) -> Result<Status, Failure> {
    let kernel = |wanted: &Bootable| match wanted {
        Bootable::Kernel(kernel) => Some(kernel.clone()),
        Bootable::Xen(_) => None,
    };
    let mut kernels: Vec<KernelName> = wanted.iter().filter_map(kernel).collect();
    if wanted.is_empty() {
        kernels.push(DEFAULT_KERNEL.parse().map_err(Failure::wrong)?);
    }
    let cache = Cache::to_fill(None)?;
    interrupt::catch();
    let found = fetch(&cache, &kernels, &mut tell)?;
    let mut out = String::new();
    for qemu in &found.qemus {
        out += &format!("QEMU {} for {}\n", qemu.version(), qemu.architecture());
    }
    for kernel in &found.kernels {
        let package = kernel.package.as_deref().unwrap_or("no package");
        for target in targets(&kernel.name) {
            out += &format!("{target}  Linux {} ({package})\n", kernel.release);
        }
    }
    for wanted in wanted {
        if let Bootable::Xen(name) = wanted {
            let xen = provision_xen(&cache, *name, &mut tell)?;
            out += &format!("{}  Xen {}\n", TargetName::XenPv(*name), xen.version);
        }
    }
    print(&out)?;
    Ok(Status::Conforms)
}

/// `conform provision --list`.
pub(super) fn list(wanted: &[Bootable]) -> Result<Status, Failure> {
    let mut asked: Vec<(Architecture, DebianVersion)> = Vec::new();
    for wanted in wanted {
        match wanted {
            Bootable::Kernel(KernelName::Debian {
                architecture,
                version,
            }) => asked.push((*architecture, *version)),
            Bootable::Kernel(KernelName::Path(_)) | Bootable::Xen(_) => {
                return Err(Failure::wrong(
                    "--list is about Debian's kernels: give `debian:X.Y`, `arm64:debian:X.Y` or nothing",
                ));
            }
        }
    }
    let mut architectures: BTreeSet<Architecture> =
        asked.iter().map(|(architecture, _)| *architecture).collect();
    if architectures.is_empty() {
        architectures.insert(Architecture::X86);
    }
    let cache = Cache::to_fill(None)?;
    interrupt::catch();
    for architecture in architectures {
        let mut listing = list_builds(&cache, architecture, &mut tell)?;
        listing.builds.retain(|one| {
            let means =
                |(of, version): &(_, DebianVersion)| *of == architecture && version.means(one.build.version);
            asked.is_empty() || asked.iter().any(means)
        });
        print(&table(&listing, &cache.kernels(architecture)))?;
    }
    Ok(Status::Conforms)
}

/// A line for each build, with the name that fetches it, and how many there are.
fn table(listing: &Listing, cached: &[KernelName]) -> String {
    let width = |text: fn(&Reachable) -> String| listing.builds.iter().map(|one| text(one).len()).max();
    let name_width = width(|one| one.name.to_string()).unwrap_or(0);
    let package_width = width(|one| one.build.package.clone()).unwrap_or(0);
    let suite_width = width(|one| one.suite.clone()).unwrap_or(0);
    let mut out = String::new();
    for one @ Reachable { name, suite, build } in &listing.builds {
        let (name_text, package) = (name.to_string(), &build.package);
        out += &format!("{name_text:name_width$}  {package:package_width$}  {suite:suite_width$}  ");
        out += &match build.missing.as_slice() {
            [] if cached.contains(name) => "in the cache\n".to_owned(),
            [] => format!("{} MB\n", one.build.size().div_ceil(1_000_000)),
            missing => format!("no KVM: {} is not in the archive\n", missing.join(" and ")),
        };
    }
    let whole = listing.builds.iter().filter(|one| one.build.is_whole()).count();
    out += &format!(
        "{} builds, {whole} of them with KVM's modules\n",
        listing.builds.len()
    );
    for failure in &listing.failures {
        out += &format!("not looked into: {failure}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Build;

    fn reachable(name: &str, missing: &[&str]) -> Reachable {
        let name: KernelName = name.parse().unwrap();
        Reachable {
            suite: "trixie".to_owned(),
            build: Build {
                release: "7.1.3+deb13-cloud-amd64".to_owned(),
                version: name.version().unwrap(),
                package: "7.1.3-1".to_owned(),
                packages: Vec::new(),
                missing: missing.iter().map(|name| (*name).to_owned()).collect(),
            },
            name,
        }
    }

    #[test]
    fn the_table_says_what_can_be_had_and_what_is_here() {
        let listing = Listing {
            builds: vec![
                reachable("debian:6.12.9", &[]),
                reachable("debian:6.12.113", &[]),
                reachable("debian:7.1.3", &["linux-modules-7.1.3+deb13-cloud-amd64"]),
            ],
            failures: vec!["bullseye: gone".to_owned()],
        };
        let text = table(&listing, &["debian:6.12.113".parse().unwrap()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "debian:6.12.9    7.1.3-1  trixie  0 MB",
                "debian:6.12.113  7.1.3-1  trixie  in the cache",
                "debian:7.1.3     7.1.3-1  trixie  no KVM: linux-modules-7.1.3+deb13-cloud-amd64 is not in the archive",
                "3 builds, 2 of them with KVM's modules",
                "not looked into: bullseye: gone",
            ]
        );
    }

    #[test]
    fn only_kernels_of_debian_are_listed() {
        for wanted in ["xen", "xen:4.20", "/boot/vmlinuz"] {
            assert!(list(&[wanted.parse().unwrap()]).is_err(), "{wanted}");
        }
    }
}
