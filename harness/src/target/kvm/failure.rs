//! Why a scenario could not be run to its end.

use vmm_sys_util::errno;

use super::super::Run;

/// What keeps a scenario from yielding a transcript.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The scenario needs SMM.
    #[error("KVM_CAP_X86_SMM is 0, and the scenario {0}; a KVM with CONFIG_KVM_SMM=y can run it")]
    NoSmm(&'static str),
    /// The scenario needs shadow stacks.
    #[error("the scenario needs shadow stacks (CPUID leaf 7 ECX bit 7), and {0}")]
    NoShadowStack(&'static str),
    /// The scenario needs machine checks.
    #[error(
        "KVM_CAP_MCE is 0 or without MCG_CTL_P, and the scenario has a machine check; any mainline KVM can run it"
    )]
    NoMachineChecks,
    /// Code and data in SMM would have to see different things.
    #[error(
        "SMRAM.D_CLS hides SMRAM from data accesses in SMM and not from instruction fetches; a KVM memory \
         slot serves both, so no KVM can run this"
    )]
    CodeOnlySmram,
    /// The scenario needs a local APIC.
    #[error("{0}, and the scenario has local APICs; a KVM with an in-kernel local APIC can run it")]
    NoLocalApic(&'static str),
    /// The PVM backend has no architectural long mode.
    #[error(
        "the PVM backend runs long mode as a paravirtual interface of its own \
         (Documentation/virt/kvm/x86/pvm-spec.rst of virt-pvm/linux), not as the manuals define it"
    )]
    ParavirtualLongMode,
    /// The backend drops an interrupt shadow that the host sets.
    #[error("this backend does not keep an interrupt shadow")]
    ShadowNotKept,
    /// A getter returned something else than the setter was given.
    #[error("this KVM does not keep {field} of vCPU {vcpu}: set to {set:#x}, read back as {read:#x}")]
    NotKept {
        /// The vCPU.
        vcpu: usize,
        /// Name of the field.
        field: &'static str,
        /// What was set.
        set: u64,
        /// What was read.
        read: u64,
    },
    /// The software backend gave up on the guest.
    #[error("{0}: the PVM backend cannot run this")]
    PvmGaveUp(String),
    /// The scenario may harm the host.
    #[error(
        "on a host with the bug in question this changes memory of other processes; run it in a booted kernel \
         (`--target svm@debian:6.12`), or here with --allow-host-risk"
    )]
    HostRisk,
    /// The scenario changes a setting of the whole host.
    #[error(
        "merging pages (KSM) is switched on for a whole host; run this in a booted kernel \
         (`--target svm@debian:6.12`)"
    )]
    HostSetting,
    /// The kernel cannot merge pages.
    #[error("this kernel does not merge pages (CONFIG_KSM)")]
    NoMerging,
    /// Modes that save and restore the state mean nothing to scenarios about stage-2 mappings.
    #[error("a scenario about stage-2 mappings has no points at which the state could be saved")]
    NoSavedStage2,
    /// The processor has not what the scenario needs.
    #[error("this processor has no {0}")]
    #[cfg_attr(
        target_arch = "x86_64",
        allow(dead_code, reason = "what x86 scenarios need is found out in other ways")
    )]
    ProcessorLacks(&'static str),
    /// The host has larger pages than scenarios are made for.
    #[error("pages of this host have {0} bytes, and scenarios about stage-2 mappings count in pages of 4096")]
    PageSize(libc::c_long),
    /// There is no machine code for an operation.
    #[error("the guest has no machine code here for {0}")]
    NoGuestCode(String),
    /// There is no dirty ring.
    #[error("KVM_CAP_DIRTY_LOG_RING is 0; Linux 5.11 has it on x86, 6.2 on arm64")]
    NoDirtyRing,
    /// MADV_HUGEPAGE had no effect.
    #[error("the kernel gives this process no pages of 2 MiB (/sys/kernel/mm/transparent_hugepage/enabled)")]
    NoHugePages,
    /// Host memory of a scenario cannot be made.
    #[error("the backing `{name}` cannot be made: {source}")]
    Backing {
        /// Its name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The scenario contradicts itself or names what does not exist.
    #[error("the scenario is wrong: {0}")]
    BadScenario(String),
    /// A system call failed.
    #[error("{call} failed: {source}")]
    Call {
        /// Name of the ioctl or system call.
        call: &'static str,
        /// Its errno.
        source: std::io::Error,
    },
    /// KVM refused the control registers that the scenario starts with.
    #[error(
        "KVM_SET_SREGS refuses the registers of the scenario (EINVAL): this processor or KVM lacks a feature \
         that CR0, CR4 or EFER turns on there"
    )]
    StateRefused,
    /// KVM refused an MSR that the scenario sets.
    #[error("KVM_SET_MSRS refused the value {value:#x} for MSR {index:#x} of vCPU {vcpu}")]
    MsrRefused {
        /// The vCPU.
        vcpu: usize,
        /// The MSR.
        index: u32,
        /// The value.
        value: u64,
    },
    /// KVM_RUN came back with something that no scenario should cause.
    #[error("KVM_RUN of vCPU {vcpu} ended unexpectedly: {exit}")]
    UnexpectedExit {
        /// The vCPU.
        vcpu: usize,
        /// The exit.
        exit: String,
    },
}

impl Failure {
    /// For `map_err` on `KVM_SET_SREGS` with a scenario's initial state.
    pub(super) fn initial_state(error: errno::Error) -> Self {
        if error.errno() == libc::EINVAL {
            return Self::StateRefused;
        }
        Self::ioctl("KVM_SET_SREGS")(error)
    }

    /// For `map_err` on a call of kvm-ioctls.
    pub(super) fn ioctl(call: &'static str) -> impl FnOnce(errno::Error) -> Self {
        move |error| Self::Call {
            call,
            source: error.into(),
        }
    }
}

impl From<spec_model::chipset::ChipsetError> for Failure {
    fn from(error: spec_model::chipset::ChipsetError) -> Self {
        Self::BadScenario(error.to_string())
    }
}

impl From<Failure> for Run {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSmm(_)
            | Failure::NoShadowStack(_)
            | Failure::NoMachineChecks
            | Failure::CodeOnlySmram
            | Failure::NoLocalApic(_)
            | Failure::ParavirtualLongMode
            | Failure::StateRefused
            | Failure::ShadowNotKept
            | Failure::NotKept { .. }
            | Failure::MsrRefused { .. }
            | Failure::HostRisk
            | Failure::HostSetting
            | Failure::NoMerging
            | Failure::NoSavedStage2
            | Failure::NoGuestCode(_)
            | Failure::PageSize(_)
            | Failure::NoHugePages
            | Failure::NoDirtyRing
            | Failure::ProcessorLacks(_)
            | Failure::PvmGaveUp(_) => Self::Unsupported(failure.to_string()),
            Failure::Backing { .. }
            | Failure::BadScenario(_)
            | Failure::Call { .. }
            | Failure::UnexpectedExit { .. } => Self::Broken(failure.to_string()),
        }
    }
}
