//! `/dev/kvm` and what it can do.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Cap;

use super::super::system::System;
use super::super::{Backend, Identity, Lack, Processor};
use super::failure::Failure;

/// Why the device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `/dev/kvm`.
    #[error(
        "there is no /dev/kvm; load the module kvm_intel or kvm_amd, or run where virtualization is available"
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
    /// KVM does not say what CPUID a guest may have.
    #[error("KVM_GET_SUPPORTED_CPUID failed ({0}); see the kernel log")]
    Cpuid(io::Error),
    /// KVM does not say which MSRs it saves.
    #[error("KVM_GET_MSR_INDEX_LIST failed ({0}); see the kernel log")]
    MsrIndexList(io::Error),
    /// The thread that stops runaway guests could not be started.
    #[error("the watchdog cannot be started ({0}); raise the limit on threads")]
    Watchdog(io::Error),
}

/// Extensions that every scenario needs (KVM API, paragraph of each ioctl).
const NEEDED: [(Cap, &str); 6] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::UserNmi, "KVM_CAP_USER_NMI"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
];

/// What the processor walks when it translates a linear address of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paging {
    /// The guest's own page tables, and KVM's tables for the guest-physical addresses in them (NPT, EPT).
    Nested,
    /// Page tables that KVM makes from the guest's.
    Shadow,
}

/// The open device.
pub(super) struct Device {
    pub(super) kvm: kvm_ioctls::Kvm,
    pub(super) identity: Identity,
    /// How guest page tables are used.
    pub(super) paging: Paging,
    /// What `KVM_GET_SUPPORTED_CPUID` says, the same for every virtual machine.
    pub(super) cpuid: CpuId,
    /// What `KVM_GET_MSR_INDEX_LIST` says: the MSRs that a saved state consists of.
    pub(super) msr_indices: Vec<u32>,
}

impl Device {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// If it is not there, may not be opened, or cannot run scenarios.
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
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(|error| OpenError::Cpuid(error.into()))?;
        let msrs = kvm.get_msr_index_list();
        let msrs = msrs.map_err(|error| OpenError::MsrIndexList(error.into()))?;
        let backend = backend();
        let identity = Identity {
            name: "kvm".to_owned(),
            backend,
            processor: processor(),
            kernel: kernel_release(),
            smm: kvm.check_extension(Cap::X86Smm),
            system: System::own(),
        };
        Ok(Self {
            kvm,
            identity,
            paging: paging(backend),
            cpuid,
            msr_indices: msrs.as_slice().to_vec(),
        })
    }

    /// Why a scenario with shadow stacks cannot run here. Where a KVM has them (Linux 6.18 on a
    /// processor with CET), SSP is read and set through `KVM_GET_ONE_REG` and
    /// `KVM_SET_ONE_REG`, which this target does not do.
    pub(super) fn no_shadow_stack(&self) -> Failure {
        const SHADOW_STACK: u32 = 1 << 7;
        let leaf = self
            .cpuid
            .as_slice()
            .iter()
            .find(|entry| entry.function == 7 && entry.index == 0);
        let there = leaf.is_some_and(|entry| entry.ecx & SHADOW_STACK != 0);
        if there {
            let text = "this program cannot set the shadow-stack pointer of a KVM guest yet";
            return Failure::Lacks(Lack::suite(text));
        }
        Failure::NoShadowStack(
            "KVM_GET_SUPPORTED_CPUID does not report them; a processor with CET and Linux 6.18 do",
        )
    }
}

/// The vendor module that is in use. Loading a second one fails; where those of both vendors are built in, the
/// processor says which one has found what it wants.
fn backend() -> Backend {
    // A module that is built in shows up in sysfs as well, since all have parameters.
    let modules = [
        ("kvm_pvm", Backend::Pvm),
        ("kvm_amd", Backend::Svm),
        ("kvm_intel", Backend::Vmx),
    ];
    let loaded = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let present = |name: &str| {
        Path::new("/sys/module").join(name).exists()
            || loaded
                .lines()
                .any(|line| line.split_whitespace().next() == Some(name))
    };
    let named: Vec<Backend> = modules
        .into_iter()
        .filter(|(name, _)| present(name))
        .map(|(_, backend)| backend)
        .collect();
    let backend = match named[..] {
        [Backend::Pvm, ..] => Backend::Pvm,
        [one] => one,
        _ => backend_by_processor(),
    };
    if backend == Backend::Svm && is_off("kvm_amd/parameters/npt") {
        return Backend::SvmNpt0;
    }
    backend
}

/// Whether a parameter of a module says no. Booleans read as Y and N; before Linux 5.12 `npt` was
/// an integer.
fn is_off(parameter: &str) -> bool {
    let value = std::fs::read_to_string(Path::new("/sys/module").join(parameter));
    value.is_ok_and(|value| matches!(value.trim(), "N" | "0"))
}

/// How a backend uses guest page tables. What serves shadow paging does for nested paging, too, so
/// an unknown backend counts as the former.
fn paging(backend: Backend) -> Paging {
    match backend {
        Backend::Svm => Paging::Nested,
        Backend::Vmx if !is_off("kvm_intel/parameters/ept") => Paging::Nested,
        _ => Paging::Shadow,
    }
}

/// Whether KVM itself runs on an emulator, by the hypervisor signature in CPUID 40000000h.
fn processor() -> Processor {
    use std::arch::x86_64::__cpuid;
    const HYPERVISOR: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR == 0 {
        return Processor::Native;
    }
    let leaf = __cpuid(0x4000_0000);
    let signature = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat();
    if signature == b"TCGTCGTCGTCG" {
        Processor::QemuTcg
    } else {
        Processor::Native
    }
}

/// The backend that the processor's features allow, for when neither sysfs nor procfs is
/// mounted.
fn backend_by_processor() -> Backend {
    use std::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).ecx & 1 << 2 != 0 {
        Backend::Svm
    } else if __cpuid(1).ecx & 1 << 5 != 0 {
        Backend::Vmx
    } else {
        Backend::Unknown
    }
}

/// What `uname -r` prints.
fn kernel_release() -> String {
    // SAFETY: all zero is a valid utsname: arrays of characters.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is valid for writes.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return "unknown".to_owned();
    }
    // SAFETY: uname ends every member with a NUL, and `names` outlives the borrow.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) };
    release.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_release_is_the_one_in_procfs() {
        if let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") {
            assert_eq!(kernel_release(), release.trim_end());
        }
    }

    #[test]
    fn every_open_error_says_what_to_do() {
        for error in [
            OpenError::Missing,
            OpenError::Denied,
            OpenError::Failed(io::Error::from_raw_os_error(libc::EIO)),
            OpenError::ApiVersion(11),
            OpenError::Lacks("KVM_CAP_NR_VCPUS"),
        ] {
            let text = error.to_string();
            assert!(text.contains(';'), "no advice in: {text}");
        }
    }
}
