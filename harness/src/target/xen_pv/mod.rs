//! Xen itself, booted under QEMU, with a paravirtual guest that is nothing but the payload.
//!
//! Xen starts a first domain whose kernel (`kernel`) can do a hypercall and nothing else. The host
//! drives it through the debugger that QEMU has (`debugger`): it makes hypercalls in the guest's name to
//! give Xen the trap table, stacks and bases of a scenario (`settings`) and its debug registers (`privileged`), puts
//! the payload into memory, and stops at sync points with breakpoints (`scenario`). So nothing but the payload runs in the
//! guest, and nothing in the guest has to save or report registers.
//!
//! A domain that Xen ends is a shutdown; the next scenario gets a new boot, which takes a second or two.
//! What Xen complains of on its console belongs to the scenario that it came in.

mod debugger;
mod emulator;
mod guest;
mod kernel;
mod privileged;
mod scenario;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spec_model::scenario::Scenario;

use super::complaint::Complaint;
use super::event::{Again, Death, HowDied};
use super::kernel_log::Watched;
use super::system::System;
use super::{Backend, Event, Identity, Lack, Mode, Processor, Ran, Run, RunOptions, Target};
use crate::interrupt;
use crate::provision::{Qemu, Xen};
use guest::{Guest, GuestError};
use scenario::{Finished, Left};

/// Boots in a row that may fail until the rest is given up: such a Xen will hardly ever boot.
const FAILED_BOOTS: u32 = 2;

/// What to boot and how.
#[derive(Clone, Debug)]
pub struct XenPvConfig {
    /// Name of the target, for instance `xen-pv@debian`.
    pub name: String,
    /// The emulator.
    pub qemu: Qemu,
    /// The hypervisor.
    pub xen: Xen,
    /// Folder in which the console of a Xen that failed is kept.
    pub logs: PathBuf,
    /// Once set, the emulator is ended at once, and what has not run has no result.
    pub stop: Arc<AtomicBool>,
}

/// Xen with a guest to run paravirtual scenarios in.
pub struct XenPvTarget {
    config: XenPvConfig,
    guest: Option<(Guest, Left)>,
    failed_boots: u32,
    /// What Xen said that it is, until that is told.
    identified: Option<Identity>,
    /// What it complained of while it booted, until that is told.
    complained: Vec<Complaint>,
}

/// What came of one try.
enum Tried {
    Ran(Ran),
    /// Xen itself has ended.
    XenDied {
        /// Its last words.
        console: String,
        complaints: Vec<Complaint>,
    },
}

impl XenPvTarget {
    /// A target that boots when it is asked to run something.
    #[must_use]
    pub fn new(config: XenPvConfig) -> Self {
        Self {
            config,
            guest: None,
            failed_boots: 0,
            identified: None,
            complained: Vec::new(),
        }
    }

    fn stopped(&self) -> bool {
        self.config.stop.load(Ordering::Relaxed) || interrupt::interrupted()
    }

    /// Runs one scenario; nothing if the target was told to stop.
    fn run_one(&mut self, scenario: &Scenario, options: RunOptions) -> Option<Ran> {
        if let Some(reason) = Backend::XenPv.cannot_run(scenario) {
            return Some(Run::Unsupported(reason).into());
        }
        if options.mode != Mode::Normal {
            let reason = "the state of a guest of Xen cannot be read and put back through the KVM API";
            return Some(Run::Unsupported(Lack::mode(reason)).into());
        }
        if let Some(reason) = scenario::unsupported(scenario) {
            return Some(Run::Unsupported(Lack::suite(reason)).into());
        }
        if options.fresh_vm {
            self.guest = None;
        }
        match self.try_once(scenario)? {
            Tried::Ran(ran) => Some(ran),
            Tried::XenDied { console, complaints } => {
                let again = match self.try_once(scenario)? {
                    Tried::XenDied { .. } => Again::Died,
                    Tried::Ran(ran) if matches!(ran.run, Run::Done(_)) => Again::Survived,
                    Tried::Ran(_) => Again::Unknown,
                };
                let how = HowDied::Panicked;
                let run = Run::Died(Death { how, again, console });
                Some(Ran { run, complaints })
            }
        }
    }

    /// Runs a scenario in the Xen that is there, or a new one.
    fn try_once(&mut self, scenario: &Scenario) -> Option<Tried> {
        let (mut guest, mut left) = match self.guest.take() {
            Some(used) => used,
            None => match self.boot() {
                Ok(guest) => (guest, Left::default()),
                Err((GuestError::Stopped, _)) => return None,
                Err((error, words)) => return Some(Tried::Ran(broken(&error, &words).into())),
            },
        };
        let result = scenario::run(&mut guest, scenario, &mut left, &self.config.stop);
        let complaints = guest.complaints();
        let run = match result {
            Ok(Finished { transcript, usable }) => {
                if usable {
                    self.guest = Some((guest, left));
                }
                Run::Done(transcript)
            }
            Err(GuestError::Stopped) => return None,
            Err(GuestError::XenCrashed) => {
                let console = guest.last_words();
                return Some(Tried::XenDied { console, complaints });
            }
            Err(error) => broken(&error, &guest.last_words()),
        };
        Some(Tried::Ran(Ran { run, complaints }))
    }

    fn boot(&mut self) -> Result<Guest, (GuestError, String)> {
        let mut booted = Guest::boot(&self.config.qemu, &self.config.xen, &self.config.stop);
        self.failed_boots = if booted.is_ok() { 0 } else { self.failed_boots + 1 };
        self.identified = booted.as_ref().ok().and_then(|guest| self.identity(guest));
        if let Ok(guest) = &mut booted {
            self.complained.extend(guest.complaints());
        }
        booted
    }

    /// What Xen says that it is; nothing if it says nothing.
    fn identity(&self, guest: &Guest) -> Option<Identity> {
        let version = guest.version()?;
        Some(Identity {
            name: self.config.name.clone(),
            backend: Backend::XenPv,
            processor: Processor::QemuTcg,
            kernel: version.split_whitespace().next().unwrap_or_default().to_owned(),
            smm: false,
            system: System {
                version,
                machine: "x86_64".to_owned(),
                emulator: Some(format!("QEMU {}", self.config.qemu.version())),
                complaints: Watched::First,
                ..System::default()
            },
        })
    }
}

fn broken(error: &GuestError, words: &str) -> Run {
    if words.is_empty() {
        return Run::Broken(error.to_string());
    }
    Run::Broken(format!("{error}\nfrom the console:\n{words}"))
}

impl Target for XenPvTarget {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(Event)) {
        let (mut last, mut given_up) = (String::new(), false);
        for (index, scenario) in scenarios.iter().enumerate() {
            if self.stopped() {
                return;
            }
            if self.failed_boots >= FAILED_BOOTS && scenario.needs_xen_pv() {
                // The others have nothing else to say.
                if !given_up {
                    sink(Event::Unusable(format!(
                        "given up after {FAILED_BOOTS} boots in a row that failed; the last one: {last}"
                    )));
                }
                given_up = true;
                continue;
            }
            let Some(ran) = self.run_one(scenario, options) else {
                return;
            };
            if let Some(identity) = self.identified.take() {
                sink(Event::Identified(Box::new(identity)));
            }
            if !self.complained.is_empty() {
                sink(Event::Complained(std::mem::take(&mut self.complained)));
            }
            if let (true, Run::Broken(reason)) = (scenario.needs_xen_pv(), &ran.run) {
                last.clone_from(reason);
            }
            sink(Event::Ran(index, ran));
        }
    }
}
