//! The machines that kernels are booted on.

use crate::provision::Architecture;
use crate::target::Backend;

/// A machine as QEMU emulates it, with what its kernel needs to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// A PC whose processor has SVM and long mode.
    Svm,
    /// The same, whose kernel is told to leave nested paging alone: KVM makes shadow page tables.
    SvmNpt0,
    /// An arm64 machine with EL2 and without the Virtualization Host Extensions.
    Arm64Nvhe,
    /// An arm64 machine with EL2 and the Virtualization Host Extensions.
    Arm64Vhe,
}

/// Arguments of every guest kernel. `panic=-1` restarts at once, and QEMU ends when the guest
/// restarts; `oops=panic` makes a crash in KVM end the run where it happened. Of the
/// boot the console shows what is more than information, so that a kernel that does not get to its
/// end has last words. The rest leaves out what costs time in an emulator and has nothing to do with
/// KVM.
const COMMAND_LINE: &str = "rdinit=/init panic=-1 oops=panic loglevel=6 mitigations=off nokaslr lsm= audit=0 \
    cryptomgr.notests random.trust_cpu=on";

impl Platform {
    /// What its kernels are built for.
    #[must_use]
    pub const fn architecture(self) -> Architecture {
        match self {
            Self::Svm | Self::SvmNpt0 => Architecture::X86,
            Self::Arm64Nvhe | Self::Arm64Vhe => Architecture::Arm64,
        }
    }

    /// Which KVM is tested on it.
    #[must_use]
    pub const fn backend(self) -> Backend {
        match self {
            Self::Svm => Backend::Svm,
            Self::SvmNpt0 => Backend::SvmNpt0,
            Self::Arm64Nvhe => Backend::Arm64Nvhe,
            Self::Arm64Vhe => Backend::Arm64Vhe,
        }
    }

    /// Options of QEMU for machine and processor, separated by blanks. Computing pointer
    /// authentication the way the architecture describes takes most of the time of a processor
    /// with everything.
    ///
    /// The processor without VHE is not a Cortex-A57: from Linux 6.15 on KVM's way around erratum
    /// 834220 keeps its guests from ever getting on (commit fb8a3eba9c81).
    pub(super) const fn options(self) -> &'static str {
        match self {
            Self::Svm | Self::SvmNpt0 => "-machine pc -cpu EPYC,+svm",
            Self::Arm64Nvhe => "-machine virt,virtualization=on,gic-version=3 -cpu cortex-a72",
            Self::Arm64Vhe => "-machine virt,virtualization=on,gic-version=3 -cpu max,pauth-impdef=on",
        }
    }

    /// Options of QEMU for the serial port with frames: the second one of a PC; a card on arm64,
    /// whose machine has a single one before QEMU 9.1.
    pub(super) const fn frames(self) -> &'static str {
        match self {
            Self::Svm | Self::SvmNpt0 => "-serial chardev:frames",
            Self::Arm64Nvhe | Self::Arm64Vhe => "-device pci-serial,chardev=frames",
        }
    }

    /// Arguments of the guest kernel.
    pub(super) fn command_line(self) -> String {
        let own = match self {
            Self::Svm => "console=ttyS0 earlyprintk=ttyS0,115200 tsc=reliable no_timer_check",
            Self::SvmNpt0 => {
                "console=ttyS0 earlyprintk=ttyS0,115200 tsc=reliable no_timer_check kvm_amd.npt=0"
            }
            Self::Arm64Nvhe | Self::Arm64Vhe => "console=ttyAMA0",
        };
        format!("{own} {COMMAND_LINE}")
    }
}
