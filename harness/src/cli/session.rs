//! Targets made ready, and runs of them on a thread of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spec_model::scenario::Scenario;

use super::target_name::TargetName;
use crate::provision::{Architecture, Cache, KernelName, ProvisionError, Qemu, Xen, XenName};
use crate::target::booted::{Booted, BootedConfig, Platform};
use crate::target::kvm::Kvm;
use crate::target::system::System;
use crate::target::xen_pv::{XenPvConfig, XenPvTarget};
use crate::target::{Backend, Identity, Processor, RunOptions, Target};

pub use crate::target::Event;

/// Folder in the cache that keeps the consoles of guests that failed.
const LOGS: &str = "logs";
/// Results that may wait to be judged: a target is not to fill the memory with transcripts.
const WAITING: usize = 16;
/// How long a target that nobody listens to any more may take to end its emulator.
const ENDING: Duration = Duration::from_secs(1);

/// A target, and what is known of it before it runs anything.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// How the user calls it.
    pub name: TargetName,
    /// How to run it.
    pub kind: Kind,
}

/// How a target is run.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It is the model.
    Model,
    /// Through the local device.
    Kvm(Identity),
    /// In a booted kernel.
    Booted {
        /// What it will be, as far as the kernel's files tell.
        identity: Identity,
        /// How to boot.
        config: Box<BootedConfig>,
    },
    /// In a guest of Xen.
    XenPv {
        /// What it will be.
        identity: Identity,
        /// How to boot.
        config: Box<XenPvConfig>,
    },
    /// Not at all, for this reason.
    Unusable(String),
}

impl Prepared {
    /// Finds out whether and how a target can be used. Nothing is fetched or booted.
    ///
    /// `executable` is the `conform` binary, which a booted kernel runs.
    #[must_use]
    pub fn new(name: &TargetName, cache: &Cache, executable: &Path) -> Self {
        let kind = match name {
            TargetName::Model => Kind::Model,
            TargetName::Kvm => match Kvm::open() {
                Ok(kvm) => Kind::Kvm(kvm.identity().clone()),
                Err(error) => Kind::Unusable(error.to_string()),
            },
            TargetName::Svm(kernel) => booted(name, Platform::Svm, kernel, cache, executable),
            TargetName::SvmNpt0(kernel) => booted(name, Platform::SvmNpt0, kernel, cache, executable),
            TargetName::Arm64(kernel) => booted(name, Platform::Arm64Nvhe, kernel, cache, executable),
            TargetName::Arm64Vhe(kernel) => booted(name, Platform::Arm64Vhe, kernel, cache, executable),
            TargetName::XenPv(which) => match xen_parts(cache, *which) {
                Ok((qemu, xen)) => xen_pv(name, cache, qemu, xen),
                Err(error) => Kind::Unusable(error.to_string()),
            },
        };
        Self {
            name: name.clone(),
            kind,
        }
    }

    /// What it is, if it is a usable KVM; for a target that is booted what it will be, as far as
    /// its files tell: what it is it says itself ([`Event::Identified`]).
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.kind {
            Kind::Kvm(identity) | Kind::Booted { identity, .. } | Kind::XenPv { identity, .. } => {
                Some(identity)
            }
            Kind::Model | Kind::Unusable(_) => None,
        }
    }

    /// Runs scenarios on a thread of its own.
    #[must_use]
    pub fn start(&self, scenarios: Vec<Scenario>, options: RunOptions) -> Events {
        let (sender, receiver) = sync_channel(WAITING);
        let mut kind = self.kind.clone();
        let stop: Arc<AtomicBool> = Arc::default();
        match &mut kind {
            Kind::Booted { config, .. } => config.stop = Arc::clone(&stop),
            Kind::XenPv { config, .. } => config.stop = Arc::clone(&stop),
            Kind::Model | Kind::Kvm(_) | Kind::Unusable(_) => {}
        }
        let thread = thread::spawn(move || run(kind, &scenarios, options, &sender));
        Events {
            receiver: Some(receiver),
            thread,
            stop,
        }
    }
}

/// What a running target reports, until all is done. Dropping this early ends the
/// emulator, if the target has one; another target ends with the process.
pub struct Events {
    /// There until this is dropped.
    receiver: Option<Receiver<Event>>,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Events {
    /// The next event, if it comes within that time.
    ///
    /// # Errors
    /// If it did not come, or if no further one comes at all.
    pub fn next_within(&self, time: Duration) -> Result<Event, RecvTimeoutError> {
        match &self.receiver {
            Some(receiver) => receiver.recv_timeout(time),
            None => Err(RecvTimeoutError::Disconnected),
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that waits for somebody to take its result goes on.
        self.receiver = None;
        let deadline = Instant::now() + ENDING;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn booted(
    name: &TargetName,
    platform: Platform,
    kernel: &KernelName,
    cache: &Cache,
    executable: &Path,
) -> Kind {
    match booted_config(name, platform, kernel, cache, executable) {
        Ok(config) => Kind::Booted {
            identity: Identity {
                name: name.to_string(),
                backend: platform.backend(),
                processor: Processor::QemuTcg,
                kernel: config.kernel.release.clone(),
                smm: platform.architecture() == Architecture::X86,
                system: under(&config.qemu),
            },
            config: Box::new(config),
        },
        Err(error) => Kind::Unusable(error.to_string()),
    }
}

/// All that is known of a system before it is booted.
fn under(qemu: &Qemu) -> System {
    System {
        emulator: Some(format!("QEMU {}", qemu.version())),
        ..System::default()
    }
}

fn booted_config(
    name: &TargetName,
    platform: Platform,
    kernel: &KernelName,
    cache: &Cache,
    executable: &Path,
) -> Result<BootedConfig, ProvisionError> {
    let architecture = platform.architecture();
    let qemu = cache.qemu_for(architecture)?;
    let found = cache.kernel(kernel)?;
    let executable = match architecture {
        Architecture::X86 => executable.to_owned(),
        Architecture::Arm64 => cache.agent(kernel)?.executable,
    };
    let logs = cache.folder().join(LOGS);
    let mut config = BootedConfig::new(name.to_string(), qemu, found, executable, logs);
    config.platform = platform;
    Ok(config)
}

fn xen_parts(cache: &Cache, which: XenName) -> Result<(Qemu, Xen), ProvisionError> {
    Ok((cache.qemu()?, cache.xen(which)?))
}

fn xen_pv(name: &TargetName, cache: &Cache, qemu: Qemu, xen: Xen) -> Kind {
    Kind::XenPv {
        identity: Identity {
            name: name.to_string(),
            backend: Backend::XenPv,
            processor: Processor::QemuTcg,
            kernel: xen.version.clone(),
            smm: false,
            system: under(&qemu),
        },
        config: Box::new(XenPvConfig {
            name: name.to_string(),
            qemu,
            xen,
            logs: cache.folder().join(LOGS),
            stop: Arc::default(),
        }),
    }
}

fn run(kind: Kind, scenarios: &[Scenario], options: RunOptions, sender: &SyncSender<Event>) {
    // A receiver that is gone wants to know nothing more.
    let mut sink = |event| drop(sender.send(event));
    match kind {
        Kind::Model => {}
        Kind::Kvm(_) => match Kvm::open() {
            Ok(mut kvm) => kvm.run(scenarios, options, &mut sink),
            Err(error) => drop(sender.send(Event::Unusable(error.to_string()))),
        },
        Kind::Booted { config, .. } => Booted::new(*config).run(scenarios, options, &mut sink),
        Kind::XenPv { config, .. } => XenPvTarget::new(*config).run(scenarios, options, &mut sink),
        Kind::Unusable(reason) => drop(sender.send(Event::Unusable(reason))),
    }
}

/// The Debian kernels in the cache that runs take where no target is named, oldest first, damaged ones among them:
/// all but single builds.
#[must_use]
pub fn cached_kernels(cache: &Cache, architecture: Architecture) -> Vec<KernelName> {
    let mut kernels = cache.kernels(architecture);
    kernels.retain(|name| !name.is_single_build());
    kernels
}

/// This executable, for booted kernels to run: the file that this process was started from, even
/// if another one has its name by now.
///
/// # Errors
/// If there is no procfs.
pub fn own_executable() -> std::io::Result<PathBuf> {
    // Not /proc/self/exe: the dynamic linker is asked about it by its name.
    let path = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    std::fs::metadata(&path).map(|_| path)
}
