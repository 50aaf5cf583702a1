//! KVM on arm64: the local device, and virtual machines whose guest does one memory access after
//! the other.
//!
//! The host drives the guest through its registers: a stub of machine code per operation
//! ([`crate::target::arm64_operation`]) lies in guest memory, and the host sets the program
//! counter to it. There is no interrupt controller and no timer.

mod device;
mod effect;
mod el1;
#[allow(dead_code, reason = "some failures are of x86 only")]
#[path = "../failure.rs"]
mod failure;
mod machine;
#[path = "../mapping.rs"]
mod mapping;
mod probes;
mod register;
#[path = "../second_try.rs"]
mod second_try;
#[path = "../stage2/mod.rs"]
mod stage2;
#[path = "../watchdog.rs"]
mod watchdog;

use std::time::Duration;

use spec_model::architecture::Architecture;
use spec_model::scenario::Scenario;

pub use device::OpenError;

use super::kernel_log::KernelLog;
use super::probe::Probe;
use super::{Event, Identity, Run, RunOptions, Target, other_architecture, run_watched};
use device::Device;
use failure::Failure;
use stage2::Stage2Machine;
use watchdog::Watchdog;

/// Time that a guest gets for one operation, under an emulator, too.
const BUDGET: Duration = Duration::from_secs(3);

/// The local KVM device.
pub struct Kvm {
    device: Device,
    /// The machine of the last scenario, if it can be used again.
    stage2: Option<Stage2Machine>,
    watchdog: Watchdog,
}

impl Kvm {
    /// Opens `/dev/kvm` and finds out what it is.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be opened, or it is too old.
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self {
            device: Device::open()?,
            stage2: None,
            watchdog: Watchdog::start(BUDGET).map_err(OpenError::Watchdog)?,
        })
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.device.identity
    }

    /// Runs one scenario: those about stage-2 mappings are the only ones that are not for x86
    /// alone.
    pub fn run_one(&mut self, scenario: &Scenario, options: RunOptions) -> Run {
        if let Some(reason) = other_architecture(scenario, Architecture::Arm64) {
            return Run::Unsupported(reason);
        }
        let Some(scenario) = &scenario.stage2 else {
            return Run::Broken("the scenario is about nothing that arm64 has".to_owned());
        };
        let run = stage2::run(&self.device, &self.watchdog, &mut self.stage2, scenario, options);
        run.unwrap_or_else(Run::from)
    }

    /// Tries out every operation on every kind of guest memory, and hands each result to
    /// `told`.
    pub fn probe(&mut self, told: &mut dyn FnMut(Probe)) {
        probes::probe(&self.device, &self.watchdog, told);
    }
}

impl Target for Kvm {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(Event)) {
        let mut log = KernelLog::of_host();
        let mut identity = self.identity().clone();
        identity.system.complaints = log.watched().clone();
        sink(Event::Identified(Box::new(identity)));
        run_watched(
            &mut log,
            scenarios,
            |scenario| self.run_one(scenario, options),
            sink,
        );
        self.stage2 = None;
        let complaints = log.complaints();
        if !complaints.is_empty() {
            sink(Event::Complained(complaints));
        }
    }
}
