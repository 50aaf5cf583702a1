//! Targets as the user names them.

use std::fmt;
use std::str::FromStr;

use crate::provision::{Architecture, BadKernelName, BadXenSeries, KernelName, XenName};
use crate::target::booted::Platform;

/// Where cases run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetName {
    /// The reference model.
    Model,
    /// The local KVM device, whatever its backend.
    Kvm,
    /// KVM's SVM backend in a kernel booted under an emulator.
    Svm(KernelName),
    /// The same with nested paging off.
    SvmNpt0(KernelName),
    /// KVM of an arm64 kernel booted under an emulator without the Virtualization Host
    /// Extensions.
    Arm64(KernelName),
    /// The same with them.
    Arm64Vhe(KernelName),
    /// Debian's Xen booted under an emulator, with a paravirtual guest.
    XenPv(XenName),
}

impl TargetName {
    /// The kernel that is booted, and on what; none if none is.
    #[must_use]
    pub const fn booted(&self) -> Option<(Platform, &KernelName)> {
        match self {
            Self::Model | Self::Kvm | Self::XenPv(_) => None,
            Self::Svm(kernel) => Some((Platform::Svm, kernel)),
            Self::SvmNpt0(kernel) => Some((Platform::SvmNpt0, kernel)),
            Self::Arm64(kernel) => Some((Platform::Arm64Nvhe, kernel)),
            Self::Arm64Vhe(kernel) => Some((Platform::Arm64Vhe, kernel)),
        }
    }
}

/// This names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTargetName {
    /// Neither of the known kinds.
    #[error(
        "no target is called `{0}`; there are model, kvm, svm@debian:6.12, svm@debian:6.12.118, svm@/path/to/vmlinuz, \
         svm-npt0@debian:6.12, arm64@debian:6.12, arm64-vhe@debian:6.12, xen-pv@debian and xen-pv@debian:4.20"
    )]
    Kind(String),
    /// A kernel of the other architecture.
    #[error("`{0}` boots a kernel for {1} on a processor that is none; write it as `{2}@debian:X.Y`")]
    Architecture(String, Architecture, &'static str),
    /// The kernel is not named right.
    #[error(transparent)]
    Kernel(#[from] BadKernelName),
    /// The Xen is not named right.
    #[error(transparent)]
    Xen(#[from] BadXenSeries),
}

impl FromStr for TargetName {
    type Err = BadTargetName;

    fn from_str(text: &str) -> Result<Self, BadTargetName> {
        match text.split_once('@') {
            None if text == "model" => Ok(Self::Model),
            None if text == "kvm" => Ok(Self::Kvm),
            Some(("xen-pv", "debian")) => Ok(Self::XenPv(XenName(None))),
            Some(("xen-pv", name)) => match name.strip_prefix("debian:") {
                Some(series) => Ok(Self::XenPv(XenName(Some(series.parse()?)))),
                None => Err(BadTargetName::Kind(text.to_owned())),
            },
            Some((kind @ ("svm" | "svm-npt0"), name)) => {
                let kernel: KernelName = name.parse()?;
                match kernel.architecture() {
                    Architecture::X86 if kind == "svm" => Ok(Self::Svm(kernel)),
                    Architecture::X86 => Ok(Self::SvmNpt0(kernel)),
                    other => Err(BadTargetName::Architecture(text.to_owned(), other, "arm64")),
                }
            }
            Some(("arm64", kernel)) => Ok(Self::Arm64(arm64_kernel(kernel)?)),
            Some(("arm64-vhe", kernel)) => Ok(Self::Arm64Vhe(arm64_kernel(kernel)?)),
            _ => Err(BadTargetName::Kind(text.to_owned())),
        }
    }
}

/// The target already says which architecture it is.
fn arm64_kernel(name: &str) -> Result<KernelName, BadKernelName> {
    format!("{}{name}", Architecture::Arm64.prefix()).parse()
}

/// A kernel without its architecture.
fn plain(kernel: &KernelName) -> String {
    let name = kernel.to_string();
    let plain = name.strip_prefix(kernel.architecture().prefix());
    plain.map_or_else(|| name.clone(), str::to_owned)
}

impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => formatter.write_str("model"),
            Self::Kvm => formatter.write_str("kvm"),
            Self::XenPv(XenName(None)) => formatter.write_str("xen-pv@debian"),
            Self::XenPv(XenName(Some(series))) => write!(formatter, "xen-pv@debian:{series}"),
            Self::Svm(kernel) => write!(formatter, "svm@{kernel}"),
            Self::SvmNpt0(kernel) => write!(formatter, "svm-npt0@{kernel}"),
            Self::Arm64(kernel) => write!(formatter, "arm64@{}", plain(kernel)),
            Self::Arm64Vhe(kernel) => write!(formatter, "arm64-vhe@{}", plain(kernel)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed_the_same() {
        for name in [
            "model",
            "kvm",
            "svm@debian:6.12",
            "svm@debian:6.12.113",
            "svm@/boot/vmlinuz",
            "xen-pv@debian",
            "xen-pv@debian:4.20",
            "svm-npt0@debian:5.10",
            "svm-npt0@debian:5.10.262",
            "arm64@debian:6.12",
            "arm64-vhe@debian:6.1",
        ] {
            let target: TargetName = name.parse().expect(name);
            assert_eq!(target.to_string(), name);
        }
        for name in [
            "",
            "Model",
            "svm",
            "vmx@debian:6.12",
            "svm@",
            "svm@debian:x",
            "xen-pv",
            "xen-pv@debian:",
            "xen-pv@debian:4",
            "xen-pv@4.20",
            "svm@arm64:debian:6.12",
            "arm64@",
            "arm64@arm64:debian:6.12",
            "arm64@/boot/vmlinuz",
        ] {
            assert!(name.parse::<TargetName>().is_err(), "{name}");
        }
    }
}
