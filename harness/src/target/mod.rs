//! Things that run scenarios.

pub mod arm64_operation;
#[cfg(feature = "suite")]
pub mod booted;
pub mod complaint;
pub mod event;
pub mod kernel_log;
#[cfg(target_arch = "x86_64")]
pub mod kvm;
#[cfg(target_arch = "aarch64")]
#[path = "kvm/arm64/mod.rs"]
pub mod kvm;
mod lack;
pub mod probe;
pub mod system;
#[cfg(feature = "suite")]
pub mod xen_pv;

/// Booted kernels: this program as their init, and what it tells the host.
#[cfg(not(feature = "suite"))]
pub mod booted {
    mod agent;
    #[allow(dead_code, reason = "the host's half of it is not called here")]
    mod frame;

    pub use agent::agent_main;
}

pub use lack::Lack;

use std::fmt;

use serde::{Deserialize, Serialize};
use spec_model::architecture::Architecture;
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::Transcript;

pub use event::{Death, Event, LostBoot, Ran};
use kernel_log::KernelLog;
use system::System;

/// What a target is. Where it matters, the target has said so itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name on the command line, for instance `kvm` or `svm@debian:6.12`.
    pub name: String,
    /// Which KVM backend executes the guest.
    pub backend: Backend,
    /// What executes the kernel whose KVM it is.
    pub processor: Processor,
    /// Release of the kernel whose KVM it is, as `uname -r` prints it.
    pub kernel: String,
    /// Whether `KVM_CAP_X86_SMM` is there.
    pub smm: bool,
    /// What else the system that it is says about itself.
    pub system: System,
}

impl Identity {
    /// Whether verdicts on one are verdicts on the other, as far as the model and the known
    /// deviations tell targets apart.
    #[must_use]
    pub fn is_judged_like(&self, other: &Self) -> bool {
        (self.backend, self.processor, self.smm) == (other.backend, other.processor, other.smm)
            && self.kernel == other.kernel
            && self.system.emulator == other.system.emulator
    }

    /// The kernel and the build of KVM, and what it runs on, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = match self.backend {
            Backend::XenPv => self.kernel.clone(),
            _ => format!("Linux {}", self.kernel),
        };
        for part in [self.system.version.clone(), self.system.builds()] {
            if !part.is_empty() {
                text += &format!(", {part}");
            }
        }
        if let Some(emulator) = &self.system.emulator {
            text += &format!(", under {emulator}");
        }
        text
    }
}

/// What a KVM runs on. An emulated processor has faults of its own, which are not KVM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processor {
    /// A processor that says nothing of being emulated.
    Native,
    /// QEMU's TCG.
    QemuTcg,
}

/// A KVM backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// AMD's SVM (`kvm_amd`).
    Svm,
    /// The same without nested paging: KVM makes shadow page tables (`kvm_amd.npt=0`).
    SvmNpt0,
    /// Intel's VMX (`kvm_intel`).
    Vmx,
    /// The software backend without hardware virtualization (`kvm_pvm`).
    Pvm,
    /// arm64 without the Virtualization Host Extensions: the kernel runs at EL1, and a small
    /// part of KVM at EL2.
    Arm64Nvhe,
    /// arm64 with the Virtualization Host Extensions: the whole kernel runs at EL2.
    Arm64Vhe,
    /// Not KVM but Xen, whose guest is paravirtual.
    XenPv,
    /// None of the above.
    Unknown,
}

impl fmt::Display for Backend {
    /// The name in deviation files and reports.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Svm => "svm",
            Self::SvmNpt0 => "svm-npt0",
            Self::Vmx => "vmx",
            Self::Pvm => "pvm",
            Self::Arm64Nvhe => "arm64-nvhe",
            Self::Arm64Vhe => "arm64-vhe",
            Self::XenPv => "xen-pv",
            Self::Unknown => "unknown",
        })
    }
}

impl Backend {
    /// Those that the model has a profile for.
    pub const KNOWN: [Self; 7] = [
        Self::Svm,
        Self::SvmNpt0,
        Self::Vmx,
        Self::Pvm,
        Self::XenPv,
        Self::Arm64Nvhe,
        Self::Arm64Vhe,
    ];

    /// Whether KVM makes shadow page tables there rather than let the processor walk the guest's. PVM
    /// always does.
    #[must_use]
    pub const fn has_shadow_paging(self) -> bool {
        matches!(self, Self::SvmNpt0 | Self::Pvm)
    }

    /// Why a scenario is not for it, if what it needs is another hypervisor.
    #[must_use]
    pub fn cannot_run(self, scenario: &Scenario) -> Option<Lack> {
        let text = match (self == Self::XenPv, scenario.needs_xen_pv()) {
            (true, false) => "Xen runs paravirtual guests here, and the scenario is a whole machine",
            (false, true) => "the scenario is a paravirtual guest of Xen; `xen-pv@debian` can run it",
            _ => return None,
        };
        Some(Lack::nature(text))
    }
}

/// Why guests of an architecture cannot run a scenario, if so. The scenario itself says it, by
/// what it is made of.
#[must_use]
pub fn other_architecture(scenario: &Scenario, guests: Architecture) -> Option<Lack> {
    let text = match (&scenario.stage2, guests) {
        (None, Architecture::X86) => return None,
        (None, Architecture::Arm64) => {
            "the scenario is made of x86 instructions, registers and events, and this KVM runs arm64 guests"
                .to_owned()
        }
        (Some(stage2), guests) => {
            let (only, what) = stage2.only_on()?;
            let name = match guests {
                Architecture::X86 => "x86",
                Architecture::Arm64 => "arm64",
            };
            if only == guests {
                return None;
            }
            format!("the scenario {what}, and this KVM runs {name} guests")
        }
    };
    Some(Lack::Nature { text })
}

/// What came of running one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// It ran, or KVM did not take the state to run it with.
    Done(Transcript),
    /// The target lacks something that the scenario needs.
    Unsupported(Lack),
    /// It gave up on something that it is listed to lack. What was seen until then, the stop at which it
    /// gave up included, says whether the scenario had to come there.
    GaveUp(Lack, Transcript),
    /// The kernel died of it.
    Died(Death),
    /// The target or the harness failed; the reason says how.
    Broken(String),
}

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// A new virtual machine for every scenario, rather than one that is reset.
    pub fresh_vm: bool,
    /// What the host does at every point, beside observing and what the scenario says.
    pub mode: Mode,
    /// What it looks at in the course of a run, also where a scenario asks for more.
    pub observe: Observe,
    /// Run also what may harm this host, if it has the bug in question.
    pub allow_host_risk: bool,
}

/// What the host does with the whole state at every point, once it has observed and acted.
/// None of it may change what a run shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Normal,
    /// Reads all of it through the KVM API and puts it back into the same virtual machine.
    UserspaceRewrite,
    /// Reads all of it through the KVM API and goes on with it in a new virtual machine, as
    /// a migration does.
    Migrate,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Normal, Self::UserspaceRewrite, Self::Migrate];

    /// Name in reports and deviation files, and of the option on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::UserspaceRewrite => "userspace-rewrite",
            Self::Migrate => "migrate",
        }
    }
}

/// Something that runs scenarios.
pub trait Target {
    /// Runs all scenarios and tells `sink` what comes of it, as soon as it is there: what the
    /// target is, and each result with the scenario's index, in any order and exactly once. A
    /// target that was told to stop (see `booted::BootedConfig`), or that says that it is
    /// unusable, leaves out those that have not run.
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(Event));
}

/// Runs scenarios one after the other on the kernel of this process, and tells what it complains
/// of. What it does when a scenario is over, until the next one begins, belongs to the one before.
pub(crate) fn run_watched(
    log: &mut KernelLog,
    scenarios: &[Scenario],
    mut run_one: impl FnMut(&Scenario) -> Run,
    sink: &mut dyn FnMut(Event),
) {
    let mut held: Option<(usize, Ran)> = None;
    for (index, scenario) in scenarios.iter().enumerate() {
        if let Some((before, mut ran)) = held.take() {
            ran.complaints.extend(log.complaints());
            sink(Event::Ran(before, ran));
        }
        let run = run_one(scenario);
        let complaints = log.complaints();
        held = Some((index, Ran { run, complaints }));
    }
    if let Some((last, ran)) = held {
        sink(Event::Ran(last, ran));
    }
}
