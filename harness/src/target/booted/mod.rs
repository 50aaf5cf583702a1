//! Kernels booted under an emulator, with this same program as their init.
//!
//! The scenarios travel in the initramfs (`initramfs`), the results come back over a
//! serial port while the run goes on (`frame`), and whatever happens to the guest, the
//! scenarios that it did not get to are tried again in a new boot.

mod agent;
mod batch;
mod boots;
mod cause;
mod emulator;
mod frame;
mod initramfs;
mod platform;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spec_model::architecture;
use spec_model::defect::DefectSet;
use spec_model::outcome::Facility;
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;

use super::complaint::Complaint;
use super::probe::Probe;
use super::{Backend, Event, Identity, Lack, Ran, Run, RunOptions, Target, other_architecture};
use crate::batch::item::Seen;
use crate::provision::{Architecture, Kernel, Qemu};

pub use agent::agent_main;
pub use boots::Report;
pub(crate) use emulator::launcher;
use frame::Job;
use initramfs::Contents;
pub use platform::Platform;

use crate::interrupt;

/// What to boot and how.
#[derive(Clone, Debug)]
pub struct BootedConfig {
    /// Name of the target, for instance `svm@debian:6.12`.
    pub name: String,
    /// The emulator.
    pub qemu: Qemu,
    /// The kernel whose KVM is tested.
    pub kernel: Kernel,
    /// What is emulated, as the kernel wants it.
    pub platform: Platform,
    /// The `conform` executable for that kernel; [`agent_main`] must be what it calls as process 1.
    pub executable: PathBuf,
    /// Arguments that the executable gets as init, without blanks.
    pub arguments: Vec<String>,
    /// Folder in which the console of a guest that failed is kept.
    pub logs: PathBuf,
    /// How long the boot may take until the agent reports.
    pub boot_patience: Duration,
    /// How long the agent may be silent after that: longer than any scenario takes.
    pub patience: Duration,
    /// Once set, the emulator is ended at once, and what has not run has no result.
    pub stop: Arc<AtomicBool>,
}

impl BootedConfig {
    /// On a PC with SVM, with a patience of two minutes for the boot and 30 seconds after that.
    #[must_use]
    pub fn new(name: String, qemu: Qemu, kernel: Kernel, executable: PathBuf, logs: PathBuf) -> Self {
        Self {
            name,
            qemu,
            kernel,
            platform: Platform::Svm,
            executable,
            arguments: Vec::new(),
            logs,
            boot_patience: Duration::from_secs(120),
            patience: Duration::from_secs(30),
            stop: Arc::default(),
        }
    }
}

/// The target cannot be used; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BootError(String);

/// Why a scenario that takes a stack from a 16- or 32-bit TSS is not run.
const ABORTS: &str = "QEMU's processor aborts (\"invalid tss type\") when an exception under SVM takes a \
     stack from a 16- or 32-bit TSS: its get_ss_esp_from_tss (target/i386/tcg/seg_helper.c) wants the \
     TSS available, and the one in a VMCB is busy; a KVM on hardware can run this";

/// Why a scenario with an instruction breakpoint in a segment with a base is not run.
const STOPS_FOR_DEBUGGER: &str = "QEMU dies when an instruction breakpoint is met in a code segment whose base is not 0: its \
     breakpoint_handler (target/i386/tcg/system/bpt_helper.c) compares the breakpoint with RIP, finds none \
     and leaves the stop to a debugger that is not there; a KVM on hardware can run this";

/// Why a scenario in which POP SS meets a data breakpoint is not run.
const OVERTAKEN: &str = "QEMU's processor reports a data breakpoint that POP SS met only after the next exit of the guest, and \
     died in a later scenario (signal 11) in runs that had such a scenario; a KVM on hardware can run this";

/// Why a scenario that stops with EFER.LME set and paging and CR4.PAE off is not run.
const HANGS: &str = "QEMU's processor loses the paging of the kernel when a guest under SVM exits with EFER.LME \
     set and CR0.PG and CR4.PAE clear: its do_vmexit (target/i386/tcg/system/svm_helper.c) restores CR0 \
     while EFER and CR4 are still the guest's; a KVM on hardware can run this";

/// Why the scenario would end QEMU or the kernel instead of the guest, if it would. The model
/// knows, since it has run the very same bytes.
fn ends_emulator(scenario: &Scenario) -> Option<Lack> {
    let outcomes = outcomes(scenario, &KVM_SVM, DefectSet::NONE).unwrap_or_default();
    let facility = outcomes.iter().flat_map(|outcome| &outcome.facilities).next()?;
    Some(Lack::emulator(match facility {
        Facility::StackFromLegacyTss => ABORTS,
        Facility::BreakpointOnPopSs => OVERTAKEN,
        Facility::BreakpointWithCodeBase => STOPS_FOR_DEBUGGER,
        Facility::LongModeEnabledWithoutPae => HANGS,
    }))
}

/// A kernel booted under QEMU's emulation of a processor with virtualization.
pub struct Booted {
    config: BootedConfig,
    identity: Option<Identity>,
    contents: Option<Contents>,
    boot_time: Option<Duration>,
    probes: Vec<Probe>,
}

/// What a boot without scenarios found out.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the target turned out to be.
    pub identity: Identity,
    /// What it does without any case.
    pub probes: Vec<Probe>,
    /// What its kernel complained of.
    pub complaints: Vec<Complaint>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

impl Booted {
    /// A target that boots when it is asked to run something.
    #[must_use]
    pub fn new(config: BootedConfig) -> Self {
        Self {
            config,
            identity: None,
            contents: None,
            boot_time: None,
            probes: Vec::new(),
        }
    }

    /// What the target turned out to be; known once it has booted.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Boots, and has the agent try out what the target does without any case.
    ///
    /// # Errors
    /// If it does not boot, has no usable KVM, or is lost on the way.
    pub fn probe(&mut self) -> Result<Found, BootError> {
        self.probes.clear();
        let mut job = job(&[], &BTreeSet::new(), RunOptions::default());
        job.probe = true;
        let (mut complaints, mut notes) = (Vec::new(), Vec::new());
        self.boot_once(&job, &mut |report| match report {
            Report::Complained(more) => complaints.extend(more),
            Report::Note(note) => notes.push(note),
            Report::Identified(_) | Report::Ran(..) | Report::BootLost(_) | Report::Unusable(_) => {}
        })?;
        let silent = || BootError("the agent ended without saying what it is".to_owned());
        Ok(Found {
            identity: self.identity.clone().ok_or_else(silent)?,
            probes: std::mem::take(&mut self.probes),
            complaints,
            notes,
        })
    }

    /// What guests of the kernel's KVM are made of.
    fn guests(&self) -> architecture::Architecture {
        match self.config.platform.architecture() {
            Architecture::X86 => architecture::Architecture::X86,
            Architecture::Arm64 => architecture::Architecture::Arm64,
        }
    }

    fn stopped(&self) -> bool {
        self.config.stop.load(Ordering::Relaxed) || interrupt::interrupted()
    }
}

fn job<'a>(scenarios: &'a [Scenario], left: &BTreeSet<u32>, options: RunOptions) -> Job<'a> {
    let wanted = left.iter().filter_map(|number| {
        let scenario = scenarios.get(usize::try_from(*number).ok()?)?;
        Some((*number, Cow::Borrowed(scenario)))
    });
    Job {
        options,
        probe: false,
        scenarios: wanted.collect(),
        work: None,
        careful: false,
    }
}

impl Target for Booted {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(Event)) {
        let mut left = BTreeSet::new();
        for (number, scenario) in (0..).zip(scenarios) {
            if self.stopped() {
                return;
            }
            let mut unsupported = |reason: Lack| {
                sink(Event::Ran(number as usize, Run::Unsupported(reason).into()));
            };
            // Nothing is booted only to hear this from the agent.
            if let Some(reason) = other_architecture(scenario, self.guests()) {
                unsupported(reason);
            } else if let Some(reason) = Backend::Svm
                .cannot_run(scenario)
                .or_else(|| ends_emulator(scenario))
            {
                unsupported(reason);
            } else {
                left.insert(number);
            }
        }
        let make_job = |left: &BTreeSet<u32>, _| job(scenarios, left, options);
        self.run_all(left, false, &make_job, &mut |report| {
            sink(match report {
                Report::Ran(number, seen, complaints) => {
                    let run = match seen {
                        Seen::Other(run) => *run,
                        Seen::Known(_) | Seen::Untold => {
                            Run::Broken("the agent did not say what came of the scenario".to_owned())
                        }
                    };
                    Event::Ran(number as usize, Ran { run, complaints })
                }
                Report::Identified(identity) => Event::Identified(identity),
                Report::Complained(complaints) => Event::Complained(complaints),
                Report::BootLost(lost) => Event::BootLost(lost),
                Report::Note(note) => Event::Note(note),
                Report::Unusable(reason) => Event::Unusable(reason),
            });
        });
    }
}
