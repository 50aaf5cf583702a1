//! Kernels booted under an emulator, with this same program as their init.
//!
//! The scenarios travel in the initramfs (`initramfs`), the results come back over a
//! serial port while the run goes on (`frame`), and whatever happens to the guest, the
//! scenarios that it did not get to are tried again in a new boot.

mod agent;
mod batch;
mod emulator;
mod frame;
mod initramfs;
mod platform;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spec_model::architecture;
use spec_model::defect::DefectSet;
use spec_model::outcome::Facility;
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;

use super::probe::Probe;
use super::{Backend, Identity, Lack, Run, RunOptions, Target, other_architecture};
use crate::provision::{Architecture, Kernel, Qemu};

pub use agent::agent_main;
pub(crate) use emulator::launcher;
use emulator::{Emulator, Lost, Machine};
use frame::{Job, Message};
use initramfs::Contents;
pub use platform::Platform;

use crate::interrupt;

/// Boots in a row that may be lost before any scenario starts until the rest is given up:
/// such a kernel will hardly ever boot.
const IDLE_BOOTS: u32 = 3;
/// Boots in a row that may be lost in the first scenario that they run. Each boot has one
/// scenario less to run, so several cases that kill the kernel may well follow each other.
const FRUITLESS_BOOTS: u32 = 8;

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
    alarms: Vec<String>,
    probes: Vec<Probe>,
}

/// How a boot ended.
enum End {
    /// The agent ran everything.
    Finished,
    /// The user or the caller wants no more.
    Stopped,
    /// Nothing will ever run.
    Unusable(String),
    /// It was lost; another boot may get further.
    Lost {
        reason: String,
        /// The scenario that was running.
        running: Option<usize>,
    },
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
            alarms: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// What the target turned out to be; known once it has booted.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// How long the last boot took, from starting QEMU to the agent's first words.
    #[must_use]
    pub fn boot_time(&self) -> Option<Duration> {
        self.boot_time
    }

    /// What the guest kernels of completed boots complained about, an excerpt of the
    /// console each. A WARN in KVM that breaks nothing is a finding nevertheless.
    #[must_use]
    pub fn alarms(&self) -> &[String] {
        &self.alarms
    }

    /// Boots without running anything, unless it is known already what the target is.
    ///
    /// # Errors
    /// If it does not boot or has no usable KVM.
    pub fn identify(&mut self) -> Result<&Identity, BootError> {
        if self.identity.is_none() {
            self.boot_with(&job(&[], &VecDeque::new(), RunOptions::default()))?;
        }
        self.known_identity()
    }

    /// Boots, and has the agent try out what the target does without any case.
    ///
    /// # Errors
    /// If it does not boot, has no usable KVM, or is lost on the way.
    pub fn probe(&mut self) -> Result<(&Identity, &[Probe]), BootError> {
        self.probes.clear();
        let mut job = job(&[], &VecDeque::new(), RunOptions::default());
        job.probe = true;
        self.boot_with(&job)?;
        self.known_identity()?;
        let silent = || BootError("the agent ended without saying what it is".to_owned());
        let identity = self.identity.as_ref().ok_or_else(silent)?;
        Ok((identity, &self.probes))
    }

    /// Boots once with a job that has no scenarios.
    fn boot_with(&mut self, job: &Job<'_>) -> Result<(), BootError> {
        match self.boot(job, &mut VecDeque::new(), &mut |_, _| {}) {
            End::Unusable(reason) | End::Lost { reason, .. } => Err(BootError(reason)),
            End::Finished | End::Stopped => Ok(()),
        }
    }

    fn known_identity(&self) -> Result<&Identity, BootError> {
        let silent = || BootError("the agent ended without saying what it is".to_owned());
        self.identity.as_ref().ok_or_else(silent)
    }

    /// Starts an emulator with a job.
    fn launch(&mut self, job: &Job<'_>) -> Result<(Emulator, Instant), End> {
        if self.contents.is_none() {
            match Contents::new(&self.config.executable, &self.config.kernel) {
                Ok(contents) => self.contents = Some(contents),
                Err(error) => return Err(End::Unusable(error.to_string())),
            }
        }
        let Some(contents) = &self.contents else {
            return Err(End::Unusable("the initramfs has no contents".to_owned()));
        };
        let mut command_line = self.config.platform.command_line();
        let library_folders = contents.library_folders();
        if !library_folders.is_empty() {
            // What the kernel does not know and looks like NAME=VALUE is init's environment.
            command_line += &format!(" LD_LIBRARY_PATH={library_folders}");
        }
        if !self.config.arguments.is_empty() {
            command_line += &format!(" -- {}", self.config.arguments.join(" "));
        }
        let start = Instant::now();
        let machine = Machine {
            qemu: &self.config.qemu,
            kernel: &self.config.kernel.image,
            initramfs: contents,
            job,
            command_line: &command_line,
            platform: self.config.platform,
        };
        match Emulator::start(&machine) {
            Ok(emulator) => Ok((emulator, start)),
            Err(error) => Err(End::Unusable(error.to_string())),
        }
    }

    /// Boots once and runs what is left. Each scenario with a result leaves `left`.
    fn boot(&mut self, job: &Job<'_>, left: &mut VecDeque<usize>, sink: &mut dyn FnMut(usize, Run)) -> End {
        let (mut emulator, start) = match self.launch(job) {
            Ok(launched) => launched,
            Err(end) => return end,
        };
        let mut patience = self.config.boot_patience;
        let mut running = None;
        loop {
            match emulator.next(patience, &self.config.stop) {
                Ok(Message::Hello(identity)) => {
                    if self.config.platform == Platform::SvmNpt0 && identity.backend != Backend::SvmNpt0 {
                        let what = "its KVM uses nested paging although it was told `kvm_amd.npt=0`";
                        return End::Unusable(what.to_owned());
                    }
                    self.greeted(identity, start);
                    patience = self.config.patience;
                }
                Ok(Message::Starting(index)) => running = usize::try_from(index).ok(),
                Ok(Message::Result(index, run)) => {
                    let place = left.iter().position(|wanted| u32::try_from(*wanted) == Ok(index));
                    if let Some(index) = place.and_then(|place| left.remove(place)) {
                        sink(index, run);
                    }
                    running = None;
                }
                Ok(Message::Probed(probe)) => self.probes.push(probe),
                Ok(Message::Seen(_)) => {}
                Ok(Message::Finished) => {
                    self.alarms.extend(emulator.alarm());
                    return End::Finished;
                }
                Ok(Message::Fatal(text)) => return End::Unusable(text),
                Err(Lost::Stopped) => return End::Stopped,
                Err(lost) => {
                    let reason = self.explain(&lost, &emulator, running.is_some());
                    return End::Lost { reason, running };
                }
            }
        }
    }

    fn greeted(&mut self, identity: Identity, start: Instant) {
        self.boot_time = Some(start.elapsed());
        let name = self.config.name.clone();
        self.identity = Some(Identity { name, ..identity });
    }

    fn explain(&self, lost: &Lost, emulator: &Emulator, running: bool) -> String {
        let words = emulator.last_words(&self.config.logs, &self.config.name);
        let when = if running {
            " while it ran this scenario"
        } else {
            ""
        };
        format!("{lost}{when}\n{words}")
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

fn job<'a>(scenarios: &'a [Scenario], left: &VecDeque<usize>, options: RunOptions) -> Job<'a> {
    let wanted = left.iter().filter_map(|index| {
        let scenario = scenarios.get(*index)?;
        Some((u32::try_from(*index).ok()?, Cow::Borrowed(scenario)))
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
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(usize, Run)) {
        let mut left = VecDeque::with_capacity(scenarios.len());
        for (index, scenario) in scenarios.iter().enumerate() {
            if self.stopped() {
                return;
            }
            // Nothing is booted only to hear this from the agent.
            if let Some(reason) = other_architecture(scenario, self.guests()) {
                sink(index, Run::Unsupported(reason));
            } else if let Some(reason) = Backend::Svm
                .cannot_run(scenario)
                .or_else(|| ends_emulator(scenario))
            {
                sink(index, Run::Unsupported(reason));
            } else {
                left.push_back(index);
            }
        }
        let (mut idle, mut fruitless) = (0, 0);
        while !left.is_empty() {
            let before = left.len();
            let end = self.boot(&job(scenarios, &left, options), &mut left, sink);
            let gained = left.len() < before;
            let reason = match end {
                End::Finished => "the agent finished without a result for this scenario".to_owned(),
                End::Stopped => return,
                End::Unusable(reason) => reason,
                End::Lost { reason, running } => {
                    let place = left.iter().position(|index| Some(*index) == running);
                    if let Some(index) = place.and_then(|place| left.remove(place)) {
                        sink(index, Run::Broken(reason.clone()));
                    }
                    fruitless = if gained { 0 } else { fruitless + 1 };
                    idle = if gained || running.is_some() { 0 } else { idle + 1 };
                    if fruitless < FRUITLESS_BOOTS && idle < IDLE_BOOTS {
                        continue;
                    }
                    format!(
                        "given up after {fruitless} boots in a row without a result; the last one: {reason}"
                    )
                }
            };
            for index in left.drain(..) {
                sink(index, Run::Broken(reason.clone()));
            }
        }
    }
}
