//! `conform targets`, `defects` and `list`.

use std::path::PathBuf;

use spec_model::defect::Defect;

use super::console::print;
use super::exit::{Failure, Status};
use super::session::{Kind, Prepared, own_executable};
use super::suite::Suite;
use super::target_name::TargetName;
use crate::provision::{Architecture, Cache, XenName};
use crate::target::{Backend, Identity};

pub(super) fn targets() -> Result<Status, Failure> {
    let cache = Cache::open(None)?;
    cache.is_readable()?;
    let executable = own_executable().map_err(Failure::incomplete)?;
    let mut names = vec![TargetName::Model, TargetName::Kvm];
    let kernels = cache.kernels(Architecture::X86);
    let has_kernels = !kernels.is_empty();
    names.extend(kernels.iter().cloned().map(TargetName::Svm));
    names.extend(kernels.into_iter().map(TargetName::SvmNpt0));
    for kernel in cache.kernels(Architecture::Arm64) {
        names.push(TargetName::Arm64(kernel.clone()));
        names.push(TargetName::Arm64Vhe(kernel));
    }
    let mut xens = cache.xens();
    if xens.is_empty() {
        xens.push(XenName::default());
    }
    names.extend(xens.into_iter().map(TargetName::XenPv));
    let width = names.iter().map(|name| name.to_string().len()).max().unwrap_or(0);
    let mut out = String::new();
    for name in names {
        let target = Prepared::new(&name, &cache, &executable);
        let line = match &target.kind {
            Kind::Model => "usable: the reference model, SMM included".to_owned(),
            Kind::Kvm(identity) => describe(identity),
            Kind::Booted { identity, .. } => booted(identity),
            Kind::XenPv { identity, .. } => {
                format!(
                    "usable: Xen {} booted under QEMU, paravirtual guests only",
                    identity.kernel
                )
            }
            Kind::Unusable(reason) => format!("cannot be used: {reason}"),
        };
        let name = name.to_string();
        out += &format!("{name:width$} {line}\n");
    }
    if !has_kernels {
        let name = "svm@debian:6.12";
        out += &format!("{name:width$} not there yet: `conform provision` fetches QEMU and the kernel\n");
    }
    for architecture in [Architecture::X86, Architecture::Arm64] {
        match cache.qemu_for(architecture) {
            Ok(qemu) => out += &format!("QEMU {} for {architecture}\n", qemu.version()),
            Err(error) => out += &format!("QEMU for {architecture}: {error}\n"),
        }
    }
    out += &format!("cache {}\n", cache.folder().display());
    print(&out)?;
    Ok(Status::Conforms)
}

/// What a kernel that can be booted offers.
fn booted(identity: &Identity) -> String {
    let what = match identity.backend {
        Backend::Arm64Nvhe => "without VHE (Cortex-A72): for the cases of stage2",
        Backend::Arm64Vhe => "with VHE: for the cases of stage2",
        Backend::SvmNpt0 => "nested paging off (kvm_amd.npt=0), SMM included",
        _ => "SMM included",
    };
    format!("usable: Linux {} booted under QEMU, {what}", identity.kernel)
}

fn describe(identity: &Identity) -> String {
    let backend = match identity.backend {
        Backend::Svm => "SVM",
        Backend::SvmNpt0 => "SVM without nested paging",
        Backend::Vmx => "VMX",
        Backend::Pvm => "PVM, without hardware virtualization",
        Backend::XenPv => "Xen",
        Backend::Arm64Nvhe => "arm64 without VHE",
        Backend::Arm64Vhe => "arm64 with VHE",
        Backend::Unknown => "an unknown backend, for which the model has no profile",
    };
    let smm = if identity.smm {
        "SMM included"
    } else {
        "without SMM (KVM_CAP_X86_SMM is 0): a booted kernel has it, see `conform provision`"
    };
    format!("usable: Linux {}, {backend}; {smm}", identity.kernel)
}

pub(super) fn defects() -> Result<Status, Failure> {
    let width = Defect::ALL
        .iter()
        .map(|defect| defect.name().len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for defect in Defect::ALL {
        let (name, id) = (defect.name(), defect.requirement().id);
        out += &format!("{name:width$}  {id:14}  {}\n", defect.sentence());
    }
    print(&out)?;
    Ok(Status::Conforms)
}

pub(super) fn cases(further: &[PathBuf], globs: &[String]) -> Result<Status, Failure> {
    let mut suite = Suite::load(further)?;
    suite.choose(globs)?;
    let width = suite.cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for case in &suite.cases {
        out += &format!("{:width$}  {}\n", case.name, case.title);
    }
    out += &format!("{} cases\n", suite.cases.len());
    print(&out)?;
    Ok(Status::Conforms)
}
