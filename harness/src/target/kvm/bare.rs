//! The bare sequence of ioctls that a scenario with one sync point and a HLT needs, as the
//! yardstick of what the target adds to it.
//!
//! Everything is made ready beforehand, and nothing is looked at but why KVM_RUN came back.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, Msrs, kvm_debugregs, kvm_mp_state, kvm_regs, kvm_sregs, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;
use spec_model::scenario::Scenario;

use super::OpenError;
use super::device::Device;
use super::exit::{self, Exit};
use super::failure::Failure;
use super::machine::Machine;
use super::{events, sregs, state};

/// Why the sequence does not work here.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// The device cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An ioctl failed, or the scenario does something else than sync once and halt.
    #[error("{0}; choose a scenario with one vCPU, one sync point and a HLT that this KVM can run")]
    Run(String),
}

impl From<Failure> for BareError {
    fn from(failure: Failure) -> Self {
        Self::Run(failure.to_string())
    }
}

/// A virtual machine that holds a scenario, and the arguments of all ioctls that run it.
pub struct BareSequence {
    fd: VcpuFd,
    /// Keeps the virtual machine and its memory; dropped after the vCPU.
    _machine: Machine,
    events: kvm_vcpu_events,
    sregs: kvm_sregs,
    regs: kvm_regs,
    debug_registers: kvm_debugregs,
    initial_msrs: Msrs,
    state_msrs: Msrs,
    cr8: u64,
}

impl BareSequence {
    /// Opens `/dev/kvm` and creates the machine.
    ///
    /// # Errors
    /// If that fails or the scenario has no vCPU.
    pub fn new(scenario: &Scenario) -> Result<Self, BareError> {
        let device = Device::open()?;
        let mut machine = Machine::new(&device, scenario)?;
        machine.load(scenario)?;
        let (Some(vcpu), Some(wanted)) = (machine.vcpus.pop(), scenario.vcpus.last()) else {
            return Err(BareError::Run("the scenario has no vCPU".to_owned()));
        };
        let (fd, state_msrs, initial_msrs) = vcpu.into_parts()?;
        let apic_base = fd.get_sregs().map_err(Failure::ioctl("KVM_GET_SREGS"))?.apic_base;
        Ok(Self {
            fd,
            _machine: machine,
            events: events::events(&wanted.events, device.identity.smm),
            sregs: sregs::sregs(wanted, apic_base),
            regs: state::regs(wanted),
            debug_registers: state::debug_registers(wanted),
            initial_msrs,
            state_msrs,
            cr8: wanted.cr8,
        })
    }

    /// Sets the whole state, runs to the sync point, completes its OUT, reads the whole
    /// state, runs to the HLT and reads the whole state again: 19 ioctls.
    ///
    /// # Errors
    /// If an ioctl fails or KVM_RUN ends for another reason.
    pub fn run(&mut self) -> Result<(), BareError> {
        self.set()?;
        match exit::run(&mut self.fd) {
            Exit::PortWrite { .. } => {}
            other => return Err(BareError::Run(format!("{other:?} instead of a sync point"))),
        }
        self.fd.set_kvm_immediate_exit(1);
        let completed = exit::run(&mut self.fd);
        self.fd.set_kvm_immediate_exit(0);
        if !matches!(completed, Exit::Again) {
            return Err(BareError::Run(format!("{completed:?} completing an OUT")));
        }
        self.get()?;
        match exit::run(&mut self.fd) {
            Exit::Halted => self.get(),
            other => Err(BareError::Run(format!("{other:?} instead of HLT"))),
        }
    }

    fn set(&mut self) -> Result<(), BareError> {
        let fd = &self.fd;
        fd.set_vcpu_events(&self.events)
            .map_err(Failure::ioctl("KVM_SET_VCPU_EVENTS"))?;
        fd.set_sregs(&self.sregs)
            .map_err(Failure::ioctl("KVM_SET_SREGS"))?;
        fd.set_regs(&self.regs).map_err(Failure::ioctl("KVM_SET_REGS"))?;
        fd.set_debug_regs(&self.debug_registers)
            .map_err(Failure::ioctl("KVM_SET_DEBUGREGS"))?;
        fd.set_msrs(&self.initial_msrs)
            .map_err(Failure::ioctl("KVM_SET_MSRS"))?;
        let runnable = kvm_mp_state {
            mp_state: KVM_MP_STATE_RUNNABLE,
        };
        fd.set_mp_state(runnable)
            .map_err(Failure::ioctl("KVM_SET_MP_STATE"))?;
        self.fd.get_kvm_run().cr8 = self.cr8;
        Ok(())
    }

    fn get(&mut self) -> Result<(), BareError> {
        let fd = &self.fd;
        // Without the black boxes the compiler might leave out the copies of what is read.
        std::hint::black_box(
            fd.get_vcpu_events()
                .map_err(Failure::ioctl("KVM_GET_VCPU_EVENTS"))?,
        );
        std::hint::black_box(fd.get_regs().map_err(Failure::ioctl("KVM_GET_REGS"))?);
        std::hint::black_box(fd.get_sregs().map_err(Failure::ioctl("KVM_GET_SREGS"))?);
        std::hint::black_box(fd.get_debug_regs().map_err(Failure::ioctl("KVM_GET_DEBUGREGS"))?);
        fd.get_msrs(&mut self.state_msrs)
            .map_err(Failure::ioctl("KVM_GET_MSRS"))?;
        Ok(())
    }
}
