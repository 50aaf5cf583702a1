//! Why a scenario could not be run to its end.

use spec_model::host_state::{Fault, HostCall, StateFault};
use spec_model::transcript::Transcript;
use vmm_sys_util::errno;

use super::super::{Lack, Run};

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
    /// The target is listed to lack something, or says so itself.
    #[error("{0}")]
    Lacks(Lack),
    /// KVM did not take the state that the host set, or does not tell it.
    #[error("{}", describe(.0))]
    State(Vec<StateFault>),
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
    /// Nor do they to scenarios of which nothing is seen before their ends.
    #[error("the case looks at the state at its ends only, and here it would be saved at every point")]
    NoSavedEnds,
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
    /// For `map_err` on a call of the KVM API for processor `vcpu`. That it fails is a difference,
    /// unless its errno says more about this process and its host than about KVM.
    pub(super) fn host(call: HostCall, vcpu: usize) -> impl FnOnce(errno::Error) -> Self {
        move |error| Self::of_errno(call, vcpu, error.errno())
    }

    /// The same for an errno.
    pub(super) fn of_errno(call: HostCall, vcpu: usize, errno: i32) -> Self {
        // Memory and descriptors that ran out, a signal, a descriptor that this program closed.
        let of_the_host = [
            libc::ENOMEM,
            libc::EMFILE,
            libc::ENFILE,
            libc::EINTR,
            libc::EAGAIN,
            libc::EBADF,
        ];
        if of_the_host.contains(&errno) {
            return Self::Call {
                call: call.name(),
                source: std::io::Error::from_raw_os_error(errno),
            };
        }
        Self::fault(vcpu, Fault::Refused { call, errno })
    }

    /// One thing that KVM did not take.
    pub(super) fn fault(vcpu: usize, what: Fault) -> Self {
        let vcpu = u8::try_from(vcpu).unwrap_or(u8::MAX);
        Self::State(vec![StateFault::at_start(vcpu, what)])
    }

    /// For `map_err` on a call of kvm-ioctls that is not about the state of a processor.
    pub(super) fn ioctl(call: &'static str) -> impl FnOnce(errno::Error) -> Self {
        move |error| Self::Call {
            call,
            source: error.into(),
        }
    }
}

/// Faults in a line.
fn describe(faults: &[StateFault]) -> String {
    let one = |fault: &StateFault| match &fault.what {
        Fault::Refused { call, errno } => {
            let error = std::io::Error::from_raw_os_error(*errno);
            format!("{} of vCPU {} failed: {error}", call.name(), fault.vcpu)
        }
        Fault::MsrRefused { index, value } => {
            format!(
                "KVM_SET_MSRS refused the value {value:#x} for MSR {index:#x} of vCPU {}",
                fault.vcpu
            )
        }
        Fault::NotKept { field, set, read } => {
            format!(
                "{field} of vCPU {} was set to {set:#x} and reads back as {read:#x}",
                fault.vcpu
            )
        }
        Fault::NotCompleted { exit } => {
            format!(
                "KVM_RUN of vCPU {} that was to complete an OUT and nothing more: {exit}",
                fault.vcpu
            )
        }
        Fault::Slot {
            space,
            address,
            size,
            made,
        } => {
            let what = if *made {
                "made and is not there"
            } else {
                "deleted and is there"
            };
            format!("a slot of {size:#x} bytes at {address:#x} in address space {space} was {what}")
        }
        Fault::Told {
            call, member, read, ..
        } => {
            format!(
                "{} of vCPU {} tells {read:#x} in {member}",
                call.name(),
                fault.vcpu
            )
        }
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl From<spec_model::chipset::ChipsetError> for Failure {
    fn from(error: spec_model::chipset::ChipsetError) -> Self {
        Self::BadScenario(error.to_string())
    }
}

/// Every failure is one of four things: something that the target lacks, and then which kind of lack
/// it is; a difference; broken; or the run goes on, which it does not here.
impl From<Failure> for Run {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        Self::Unsupported(match failure {
            Failure::Lacks(lack) => lack,
            Failure::NoSmm(_) | Failure::NoMachineChecks | Failure::NoLocalApic(_) | Failure::NoDirtyRing => {
                Lack::Capability { text }
            }
            Failure::NoShadowStack(_) | Failure::ProcessorLacks(_) => Lack::Cpuid { text },
            Failure::CodeOnlySmram => Lack::Nature { text },
            Failure::HostRisk | Failure::HostSetting => Lack::HostRisk { text },
            Failure::NoMerging | Failure::PageSize(_) | Failure::NoHugePages => Lack::Host { text },
            Failure::NoSavedStage2 | Failure::NoSavedEnds => Lack::Mode { text },
            Failure::NoGuestCode(_) => Lack::Suite { text },
            Failure::State(faults) => return Self::Done(Transcript::of_state_faults(faults)),
            Failure::Backing { .. }
            | Failure::BadScenario(_)
            | Failure::Call { .. }
            | Failure::UnexpectedExit { .. } => return Self::Broken(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_is_a_difference_unless_it_is_about_the_host() {
        for call in HostCall::ALL {
            for errno in [libc::EINVAL, libc::EIO, libc::EFAULT, libc::ENOTTY, libc::EPERM] {
                let Run::Done(transcript) = Failure::of_errno(*call, 2, errno).into() else {
                    panic!("{} with errno {errno} is no difference", call.name());
                };
                let what = Fault::Refused { call: *call, errno };
                assert_eq!(transcript.state_faults, [StateFault::at_start(2, what)]);
            }
            let run: Run = Failure::of_errno(*call, 2, libc::ENOMEM).into();
            assert!(matches!(run, Run::Broken(reason) if reason.contains(call.name())));
        }
    }
}
