//! Saving and restoring everything at every point, with or without a new virtual machine.
//!
//! Neither may change anything that a guest or host can see, so a run in either mode is
//! judged like any other. What does not travel is what nothing here can tell apart: the VM
//! clock (no payload enables kvmclock) and the TSC frequency (it is the same host). The TSC
//! itself is an MSR like the others.

use spec_model::scenario::Scenario;

use super::super::Mode;
use super::device::Device;
use super::failure::Failure;
use super::machine::Machine;
use super::saved_state::SavedVcpu;
use super::session::Session;

impl Session<'_> {
    /// Does what the mode of the run asks for at a point, once the host has acted there.
    ///
    /// # Errors
    /// If KVM fails, or refuses what it reported itself.
    pub(super) fn save_and_restore(&mut self) -> Result<(), Failure> {
        if self.given_up {
            // Every ioctl on such a machine fails. What its other processors do is observed
            // all the same.
            return Ok(());
        }
        match self.mode {
            Mode::Normal => Ok(()),
            Mode::UserspaceRewrite => rewrite(self.device, self.machine),
            Mode::Migrate => {
                let saved = save(self.device, self.machine)?;
                let mut target = super::Machine::new(self.device, self.scenario)?;
                restore(&saved, self.scenario, self.machine, &mut target)?;
                // The old machine ends here.
                *self.machine = target;
                Ok(())
            }
        }
    }
}

/// Reads the state of every processor and puts it back into the same one.
fn rewrite(device: &Device, machine: &mut Machine) -> Result<(), Failure> {
    let saved = save(device, machine)?;
    for (number, (vcpu, saved)) in machine.vcpus.iter_mut().zip(&saved).enumerate() {
        saved.rewrite(vcpu.fd(), number)?;
    }
    Ok(())
}

/// Reads the state of every processor.
fn save(device: &Device, machine: &mut Machine) -> Result<Vec<SavedVcpu>, Failure> {
    let vcpus = machine.vcpus.iter_mut().enumerate();
    vcpus
        .map(|(number, vcpu)| SavedVcpu::read(vcpu.fd(), device, number))
        .collect()
}

/// Puts memory, chipset and processors of `source` into `target`.
fn restore(
    saved: &[SavedVcpu],
    scenario: &Scenario,
    source: &mut Machine,
    target: &mut Machine,
) -> Result<(), Failure> {
    // Memory first: KVM_SET_SREGS reads page directory pointers from it. What counts as
    // changed at the end is still counted from what the scenario says.
    target.memory.load(&scenario.memory)?;
    target.memory.copy_from(&mut source.memory);
    // Memory slots before the processors, for the same reason: the page directory pointers of
    // a processor in SMM may lie in SMRAM that only the chipset of now shows it.
    target.take_over_chipset(source)?;
    for (number, (vcpu, saved)) in target.vcpus.iter_mut().zip(saved).enumerate() {
        saved.restore(vcpu.fd(), number)?;
        vcpu.note_restored(saved);
    }
    Ok(())
}
