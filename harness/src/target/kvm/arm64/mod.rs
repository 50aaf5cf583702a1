//! KVM on arm64: the local device, and virtual machines whose guest does one memory access after
//! the other.
//!
//! The host drives the guest through its registers: a stub of machine code per operation
//! ([`crate::target::arm64_operation`]) lies in guest memory, and the host sets the program
//! counter to it. There is no interrupt controller and no timer.

mod device;
mod effect;
mod machine;
#[path = "../mapping.rs"]
mod mapping;
mod probes;
mod register;
#[path = "../watchdog.rs"]
mod watchdog;

use std::time::Duration;

use spec_model::scenario::Scenario;

pub use device::OpenError;

use super::probe::Probe;
use super::{Identity, Run, RunOptions, Target, X86_ONLY};
use device::Device;
use watchdog::Watchdog;

/// Time that a guest gets for one operation, under an emulator, too.
const BUDGET: Duration = Duration::from_secs(3);

/// The local KVM device.
pub struct Kvm {
    device: Device,
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
            watchdog: Watchdog::start(BUDGET).map_err(OpenError::Watchdog)?,
        })
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.device.identity
    }

    /// Runs one scenario: none of those that there are is for arm64.
    pub fn run_one(&mut self, _scenario: &Scenario, _options: RunOptions) -> Run {
        Run::Unsupported(X86_ONLY.to_owned())
    }

    /// Tries out every operation on every kind of guest memory, and hands each result to
    /// `told`.
    pub fn probe(&mut self, told: &mut dyn FnMut(Probe)) {
        probes::probe(&self.device, &self.watchdog, told);
    }
}

impl Target for Kvm {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(usize, Run)) {
        for (index, scenario) in scenarios.iter().enumerate() {
            sink(index, self.run_one(scenario, options));
        }
    }
}

/// A system call failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed: {source}")]
struct Failure {
    /// Name of the ioctl or system call.
    call: &'static str,
    /// Its errno.
    source: std::io::Error,
}

impl Failure {
    /// For `map_err` of an ioctl.
    fn ioctl(call: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> Self {
        move |error| Self {
            call,
            source: error.into(),
        }
    }
}
