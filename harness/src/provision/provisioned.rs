//! What the cache can hold.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::contents;
use super::{Architecture, Damage, KernelName, ProvisionError, XenName};

/// Something that the cache can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provision {
    /// An emulator for this architecture.
    Qemu(Architecture),
    /// A Debian kernel.
    Kernel(KernelName),
    /// Xen.
    Xen(XenName),
    /// This program for arm64.
    Agent,
}

impl Provision {
    /// The command that fetches it.
    pub(super) fn command(&self) -> String {
        match self {
            Self::Qemu(Architecture::X86) => "`conform provision`".to_owned(),
            Self::Qemu(Architecture::Arm64) | Self::Agent => {
                "`conform provision arm64:debian:6.12`".to_owned()
            }
            Self::Kernel(name) => format!("`conform provision {name}`"),
            Self::Xen(name) => format!("`conform provision {name}`"),
        }
    }

    /// Compares its folder with what it held when it was made.
    ///
    /// # Errors
    /// `missing` if there is none; else that it cannot be read, or is damaged.
    pub(super) fn verify(
        self,
        folder: &Path,
        read: contents::Read,
        missing: ProvisionError,
    ) -> Result<(), ProvisionError> {
        match contents::verify(folder, read)? {
            None => Err(missing),
            Some(Ok(())) => Ok(()),
            Some(Err(damage)) => Err(self.damaged(folder, damage)),
        }
    }

    /// Reads the file of its folder that describes it.
    pub(super) fn manifest<T: serde::de::DeserializeOwned>(
        self,
        folder: &Path,
        file: &str,
    ) -> Result<T, ProvisionError> {
        let path = folder.join(file);
        let text = fs::read(&path).map_err(|source| ProvisionError::io("read", &path, source))?;
        serde_json::from_slice(&text).map_err(|source| {
            let file = PathBuf::from(file);
            self.damaged(folder, Damage::NotUnderstood { file, source })
        })
    }

    pub(super) fn damaged(self, folder: &Path, damage: Damage) -> ProvisionError {
        ProvisionError::Damaged {
            what: self,
            folder: folder.to_owned(),
            damage,
        }
    }
}

impl fmt::Display for Provision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qemu(architecture) => write!(formatter, "QEMU for {architecture}"),
            Self::Kernel(name) => write!(formatter, "kernel {name}"),
            Self::Xen(XenName(None)) => formatter.write_str("Xen"),
            Self::Xen(XenName(Some(series))) => write!(formatter, "Xen {series}"),
            Self::Agent => formatter.write_str("this program for arm64"),
        }
    }
}
