//! Targets as the user names them.

use std::fmt;
use std::str::FromStr;

use crate::provision::{BadKernelName, KernelName};

/// Where cases run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetName {
    /// The reference model.
    Model,
    /// The local KVM device, whatever its backend.
    Kvm,
    /// KVM's SVM backend in a kernel booted under an emulator.
    Svm(KernelName),
    /// Debian's Xen booted under an emulator, with a paravirtual guest.
    XenPv,
}

/// This names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTargetName {
    /// Neither of the known kinds.
    #[error(
        "no target is called `{0}`; there are model, kvm, svm@debian:6.12, svm@/path/to/vmlinuz and xen-pv@debian"
    )]
    Kind(String),
    /// The kernel is not named right.
    #[error(transparent)]
    Kernel(#[from] BadKernelName),
}

impl FromStr for TargetName {
    type Err = BadTargetName;

    fn from_str(text: &str) -> Result<Self, BadTargetName> {
        match text.split_once('@') {
            None if text == "model" => Ok(Self::Model),
            None if text == "kvm" => Ok(Self::Kvm),
            Some(("xen-pv", "debian")) => Ok(Self::XenPv),
            Some(("svm", kernel)) => Ok(Self::Svm(kernel.parse()?)),
            _ => Err(BadTargetName::Kind(text.to_owned())),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => formatter.write_str("model"),
            Self::Kvm => formatter.write_str("kvm"),
            Self::XenPv => formatter.write_str("xen-pv@debian"),
            Self::Svm(kernel) => write!(formatter, "svm@{kernel}"),
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
            "svm@/boot/vmlinuz",
            "xen-pv@debian",
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
        ] {
            assert!(name.parse::<TargetName>().is_err(), "{name}");
        }
    }
}
