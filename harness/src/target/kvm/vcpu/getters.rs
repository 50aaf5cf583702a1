//! Reading the state of a virtual processor. What KVM tells beside that state is checked on the way
//! (STATE-019 to STATE-021).

use spec_model::host_state::{Fault, HostCall, StateFault};
use spec_model::x86::state::{EventState, VcpuState};

use super::Vcpu;
use crate::target::kvm::apic_page::{self, Timer};
use crate::target::kvm::events::{self, Known};
use crate::target::kvm::failure::Failure;
use crate::target::kvm::lacks;
use crate::target::kvm::local_apic::Activity;
use crate::target::kvm::msrs::{get_msrs, load_msr};
use crate::target::kvm::told::Told;
use crate::target::kvm::{sregs, state};

/// What a payload may change, though no state has it. It is compared only with what the host has set just
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// IA32_APIC_BASE.
    pub(super) apic_base: u64,
    /// There with a local APIC only.
    pub(super) timer: Option<Timer>,
}

impl Vcpu {
    /// Its whole state.
    ///
    /// # Errors
    /// If an ioctl fails, as all do on a virtual machine that KVM has given up, or tells what cannot be.
    pub(in crate::target::kvm) fn state(&mut self) -> Result<VcpuState, Failure> {
        let mut faults = Vec::new();
        let (state, _) = self.read_state(&mut faults)?;
        self.check(faults)?;
        Ok(state)
    }

    /// Its registers, with nothing pending and without a local APIC: none of the getters makes
    /// KVM look at events, as that of the events does (Linux arch/x86/kvm/x86.c, process_nmi).
    ///
    /// # Errors
    /// If an ioctl fails, or tells what cannot be.
    pub(in crate::target::kvm) fn registers(&mut self) -> Result<VcpuState, Failure> {
        let mut faults = Vec::new();
        let (state, _) = self.read_registers(&mut faults)?;
        self.check(faults)?;
        Ok(state)
    }

    /// What it is doing. Reading it makes KVM take an INIT and a startup IPI that have arrived
    /// (Linux arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl_get_mpstate).
    ///
    /// # Errors
    /// If the ioctl fails, or tells what cannot be.
    pub(in crate::target::kvm) fn activity(&self) -> Result<Activity, Failure> {
        let mut faults = Vec::new();
        let activity = self.read_activity(&mut faults)?;
        self.check(faults)?;
        Ok(activity)
    }

    /// Its event state.
    ///
    /// # Errors
    /// If the ioctl fails, or tells what cannot be.
    pub(in crate::target::kvm) fn events(&self) -> Result<EventState, Failure> {
        let mut faults = Vec::new();
        let events = self.read_events(&mut faults)?;
        self.check(faults)?;
        Ok(events)
    }

    /// Its whole state and what is no part of it. What cannot be is put into `faults`.
    pub(super) fn read_state(&mut self, faults: &mut Vec<Fault>) -> Result<(VcpuState, Beside), Failure> {
        // First: reading the events makes KVM deliver a #DB payload into DR6 (Linux
        // arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events).
        let events = self.read_events(faults)?;
        self.inside_nmi = events.smm_inside_nmi;
        let (registers, apic_base) = self.read_registers(faults)?;
        let mut state = VcpuState { events, ..registers };
        let mut timer = None;
        if self.has_apic {
            let activity = self.read_activity(faults)?;
            let page = self
                .fd
                .get_lapic()
                .map_err(Failure::host(HostCall::GetLapic, self.index))?;
            let mut told = Told::by(HostCall::GetLapic);
            let (apic, its_timer) = apic_page::load(&page, apic_base, activity, &mut told);
            faults.extend(told.into_faults());
            state.apic = Some(Box::new(apic));
            timer = Some(its_timer);
        }
        Ok((state, Beside { apic_base, timer }))
    }

    /// Its registers and IA32_APIC_BASE.
    fn read_registers(&mut self, faults: &mut Vec<Fault>) -> Result<(VcpuState, u64), Failure> {
        let mut state = VcpuState::default();
        let regs = self
            .fd
            .get_regs()
            .map_err(Failure::host(HostCall::GetRegs, self.index))?;
        state::load_regs(&mut state, &regs);
        let special = self
            .fd
            .get_sregs()
            .map_err(Failure::host(HostCall::GetSregs, self.index))?;
        let mut told = Told::by(HostCall::GetSregs);
        let apic_base = sregs::load_sregs(&mut state, &special, &mut told);
        faults.extend(told.into_faults());
        let debug = self
            .fd
            .get_debug_regs()
            .map_err(Failure::host(HostCall::GetDebugRegs, self.index))?;
        let mut told = Told::by(HostCall::GetDebugRegs);
        state::load_debug_registers(&mut state, &debug, &mut told);
        faults.extend(told.into_faults());
        for (index, value) in self.read_msrs(&self.state_msrs, faults)? {
            load_msr(&mut state, index, value);
        }
        Ok((state, apic_base))
    }

    /// Values of MSRs that it has.
    pub(super) fn read_msrs(
        &self,
        indices: &[u32],
        faults: &mut Vec<Fault>,
    ) -> Result<Vec<(u32, u64)>, Failure> {
        let mut told = Told::by(HostCall::GetMsrs);
        let values = get_msrs(&self.fd, self.index, indices, &mut told)?;
        faults.extend(told.into_faults());
        Ok(values)
    }

    fn read_activity(&self, faults: &mut Vec<Fault>) -> Result<Activity, Failure> {
        let state = self
            .fd
            .get_mp_state()
            .map_err(Failure::host(HostCall::GetMpState, self.index))?;
        let mut told = Told::by(HostCall::GetMpState);
        let activity = Activity::from_mp_state(state, &mut told);
        faults.extend(told.into_faults());
        Ok(activity)
    }

    fn read_events(&self, faults: &mut Vec<Fault>) -> Result<EventState, Failure> {
        let events = self
            .fd
            .get_vcpu_events()
            .map_err(Failure::host(HostCall::GetVcpuEvents, self.index))?;
        let known = Known {
            smm: self.smm,
            triple_faults: self.triple_faults,
            shutdown_may_wait: self.shutdown_may_wait,
        };
        let mut told = Told::by(HostCall::GetVcpuEvents);
        let state = events::from_events(&events, known, &mut told);
        faults.extend(told.into_faults());
        Ok(state)
    }

    /// Makes a failure of faults, if there are any.
    pub(super) fn check(&self, faults: Vec<Fault>) -> Result<(), Failure> {
        if faults.is_empty() {
            return Ok(());
        }
        let vcpu = u8::try_from(self.index).unwrap_or(u8::MAX);
        let faults = faults.into_iter().map(|fault| StateFault::at_start(vcpu, fault));
        Err(lacks::failure(self.backend, faults.collect()))
    }
}
