//! `conform provision`.

use std::io::Write as _;

use super::console::print;
use super::exit::{Failure, Status};
use crate::interrupt;
use crate::provision::{Bootable, Cache, KernelName, provision as fetch, provision_xen};

/// What is fetched when no kernel is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

pub(super) fn provision(wanted: &[Bootable]) -> Result<Status, Failure> {
    let kernel = |wanted: &Bootable| match wanted {
        Bootable::Kernel(kernel) => Some(kernel.clone()),
        Bootable::Xen => None,
    };
    let mut kernels: Vec<KernelName> = wanted.iter().filter_map(kernel).collect();
    if wanted.is_empty() {
        kernels.push(DEFAULT_KERNEL.parse().map_err(Failure::wrong)?);
    }
    let cache = Cache::open(None).map_err(Failure::incomplete)?;
    // The steps take minutes on a slow line, so they are printed in a pipe too.
    let mut progress = |step: &str| drop(writeln!(std::io::stderr(), "{step}"));
    interrupt::catch();
    let found = fetch(&cache, &kernels, &mut progress)?;
    let mut out = format!("QEMU {}\n", found.qemu.version());
    for kernel in &found.kernels {
        let package = kernel.package.as_deref().unwrap_or("no package");
        out += &format!("svm@{}  Linux {} ({package})\n", kernel.name, kernel.release);
    }
    if wanted.contains(&Bootable::Xen) {
        let xen = provision_xen(&cache, &mut progress)?;
        out += &format!("xen-pv@debian  Xen {}\n", xen.version);
    }
    print(&out)?;
    Ok(Status::Conforms)
}
