//! `/dev/kvm` of an arm64 kernel, and in which mode its KVM runs.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::Cap;

use crate::target::system::System;
use crate::target::{Backend, Identity, Processor};

/// Why the device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `/dev/kvm`.
    #[error(
        "there is no /dev/kvm; on arm64 the kernel must have been started at EL2, see its messages about kvm"
    )]
    Missing,
    /// It may not be opened.
    #[error("/dev/kvm may not be opened; run as a member of the group that owns it, usually `kvm`")]
    Denied,
    /// It could not be opened for another reason.
    #[error("/dev/kvm cannot be opened ({0}); check that it is a character device with major 10, minor 232")]
    Failed(io::Error),
    /// KVM before Linux 2.6.22.
    #[error("/dev/kvm speaks KVM API version {0}, this program needs {KVM_API_VERSION}; use a newer kernel")]
    ApiVersion(i32),
    /// An extension that every scenario needs is missing.
    #[error("this KVM lacks {0}, which every scenario needs; use a newer kernel")]
    Lacks(&'static str),
    /// The thread that stops runaway guests could not be started.
    #[error("the watchdog cannot be started ({0}); raise the limit on threads")]
    Watchdog(io::Error),
}

/// Extensions that every scenario needs (KVM API, paragraph of each ioctl).
const NEEDED: [(Cap, &str); 4] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::OneReg, "KVM_CAP_ONE_REG"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
];

/// Bytes of the longest record of the kernel log (Linux `include/linux/printk.h`,
/// `PRINTKRB_RECORD_MAX`), with room to spare.
const LOG_RECORD: usize = 8 << 10;

/// The open device.
pub(super) struct Device {
    pub(super) kvm: kvm_ioctls::Kvm,
    pub(super) identity: Identity,
}

impl Device {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// If it is not there, may not be opened, or cannot run anything.
    pub(super) fn open() -> Result<Self, OpenError> {
        let kvm = kvm_ioctls::Kvm::new().map_err(|error| match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => OpenError::Missing,
            libc::EACCES | libc::EPERM => OpenError::Denied,
            _ => OpenError::Failed(error.into()),
        })?;
        let version = kvm.get_api_version();
        if u32::try_from(version) != Ok(KVM_API_VERSION) {
            return Err(OpenError::ApiVersion(version));
        }
        if let Some((_, name)) = NEEDED.into_iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            return Err(OpenError::Lacks(name));
        }
        let identity = Identity {
            name: "kvm".to_owned(),
            backend: backend(&kernel_log()),
            processor: processor(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            smm: false,
            system: System::own(),
        };
        Ok(Self { kvm, identity })
    }
}

/// The mode that KVM named when it started (Linux `arch/arm64/kvm/arm.c`, `kvm_arm_init`). There is
/// no other place to learn it from; where the log is not readable or has wrapped, it is
/// unknown.
fn backend(log: &str) -> Backend {
    let says = |words: &str| {
        log.lines()
            .any(|line| line.contains("kvm [") && line.contains(words))
    };
    if says("VHE mode initialized") && !says("nVHE mode initialized") {
        Backend::Arm64Vhe
    } else if says("nVHE mode initialized") || says("Hyp mode initialized") {
        Backend::Arm64Nvhe
    } else {
        Backend::Unknown
    }
}

/// The kernel's messages so far, as much as can be read.
fn kernel_log() -> String {
    let mut log = String::new();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg");
    let Ok(mut file) = file else { return log };
    let mut record = vec![0; LOG_RECORD];
    // Each read gives one record; without a further one it would block.
    while let Ok(length @ 1..) = file.read(&mut record) {
        log += &String::from_utf8_lossy(record.get(..length).unwrap_or_default());
    }
    log
}

/// Whether KVM itself runs on QEMU's emulation. Its machine is taken for it: a QEMU that uses
/// KVM gives a guest no EL2 unless it is asked for nested virtualization, which few processors
/// have.
fn processor() -> Processor {
    let compatible = fs::read("/proc/device-tree/compatible").unwrap_or_default();
    if compatible.starts_with(b"linux,dummy-virt") {
        Processor::QemuTcg
    } else {
        Processor::Native
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_the_one_that_kvm_named() {
        for (line, backend_of_line) in [
            (
                "6,1,2,-;kvm [1]: VHE mode initialized successfully",
                Backend::Arm64Vhe,
            ),
            (
                "6,1,2,-;kvm [1]: Hyp nVHE mode initialized successfully",
                Backend::Arm64Nvhe,
            ),
            (
                "6,1,2,-;kvm [1]: Hyp mode initialized successfully",
                Backend::Arm64Nvhe,
            ),
            ("6,1,2,-;kvm [1]: HYP mode not available", Backend::Unknown),
        ] {
            assert_eq!(backend(line), backend_of_line, "{line}");
        }
    }
}
