//! `conform provision`.

use std::io::Write as _;

use super::console::print;
use super::exit::{Failure, Status};
use crate::interrupt;
use crate::provision::{Cache, KernelName, provision as fetch};

/// What is fetched when no kernel is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

pub(super) fn provision(kernels: &[KernelName]) -> Result<Status, Failure> {
    let mut kernels = kernels.to_vec();
    if kernels.is_empty() {
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
    print(&out)?;
    Ok(Status::Conforms)
}
