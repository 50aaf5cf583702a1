//! The local KVM device.

use spec_model::scenario::Scenario;

use super::{Identity, Run, RunOptions, Target};

/// Why the device cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct OpenError;

/// The local KVM device with the virtual machine that is reused between scenarios.
pub struct Kvm {
    identity: Identity,
}

impl Kvm {
    /// Opens `/dev/kvm` and finds out what it can do.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be opened, or it is too old.
    pub fn open() -> Result<Self, OpenError> {
        Err(OpenError)
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Runs one scenario.
    pub fn run_one(&mut self, _scenario: &Scenario, _options: RunOptions) -> Run {
        Run::Broken("stub".to_owned())
    }
}

impl Target for Kvm {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(usize, Run)) {
        for (index, scenario) in scenarios.iter().enumerate() {
            let run = self.run_one(scenario, options);
            sink(index, run);
        }
    }
}
