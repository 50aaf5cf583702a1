//! `conform provision`.

use std::io::Write as _;

use super::console::print;
use super::exit::{Failure, Status};
use super::target_name::TargetName;
use crate::interrupt;
use crate::provision::{Architecture, Bootable, Cache, KernelName, provision as fetch, provision_xen};

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

pub(super) fn provision(wanted: &[Bootable]) -> Result<Status, Failure> {
    let kernel = |wanted: &Bootable| match wanted {
        Bootable::Kernel(kernel) => Some(kernel.clone()),
        Bootable::Xen => None,
    };
    let mut kernels: Vec<KernelName> = wanted.iter().filter_map(kernel).collect();
    if wanted.is_empty() {
        kernels.push(DEFAULT_KERNEL.parse().map_err(Failure::wrong)?);
    }
    let cache = Cache::to_fill(None)?;
    // The steps take minutes on a slow line, so they are printed in a pipe too.
    let mut progress = |step: &str| drop(writeln!(std::io::stderr(), "{step}"));
    interrupt::catch();
    let found = fetch(&cache, &kernels, &mut progress)?;
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
    if wanted.contains(&Bootable::Xen) {
        let xen = provision_xen(&cache, &mut progress)?;
        out += &format!("xen-pv@debian  Xen {}\n", xen.version);
    }
    print(&out)?;
    Ok(Status::Conforms)
}
