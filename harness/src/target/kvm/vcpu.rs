//! One virtual processor: setting and observing its whole state.

use kvm_bindings::{Msrs, kvm_mp_state};
use kvm_ioctls::{VcpuFd, VmFd};
use spec_model::host_state::{Fault, HostCall, StateFault, same_shadow};
use spec_model::scenario::PROCESSOR_SIGNATURE;
use spec_model::x86::field::Field;
use spec_model::x86::state::{EventState, Shadow, VcpuState};

use super::super::Backend;
use super::device::Device;
use super::exit::{self, Exit};
use super::failure::Failure;
use super::lacks;
use super::local_apic::{self, Activity};
use super::machine_check;
use super::memory::PAGE;
use super::msrs::{OTHER_MSRS, STATE_MSRS, existing_msrs, load_msr, msr_list, msr_value, set_msrs};
use super::state;

/// A virtual processor.
pub(super) struct Vcpu {
    fd: VcpuFd,
    index: usize,
    smm: bool,
    /// IA32_APIC_BASE as KVM initialises it.
    apic_base: u64,
    /// Whether it has a local APIC.
    has_apic: bool,
    /// Those of [`STATE_MSRS`] that exist here.
    state_msrs: Msrs,
    /// The same and those of [`OTHER_MSRS`] that exist here, with what a scenario starts with.
    initial_msrs: Msrs,
    /// Whether it has machine checks.
    machine_checks: bool,
    /// KVM_SMI or KVM_NMI was called and KVM may not have looked at it yet.
    event_raised: bool,
    /// When its state was last read, it was in an SMM inside an NMI.
    inside_nmi: bool,
    /// What the KVM is, which says what it is listed to lack.
    backend: Backend,
}

impl Vcpu {
    /// Creates processor `index` of a virtual machine.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn new(
        device: &Device,
        vm: &VmFd,
        index: usize,
        long_mode: bool,
        has_apic: bool,
    ) -> Result<Self, Failure> {
        let fd = vm
            .create_vcpu(index as u64)
            .map_err(Failure::ioctl("KVM_CREATE_VCPU"))?;
        fd.set_cpuid2(&guest_cpuid(device, index, long_mode))
            .map_err(Failure::host(HostCall::SetCpuid2, index))?;
        let machine_checks = machine_check::set_up(&fd, device, index)?;
        let sregs = fd.get_sregs().map_err(Failure::host(HostCall::GetSregs, index))?;
        let observed = existing_msrs(&fd, index, &STATE_MSRS)?;
        let mut initial = observed.clone();
        initial.extend(existing_msrs(&fd, index, &OTHER_MSRS)?);
        Ok(Self {
            fd,
            index,
            smm: device.identity.smm,
            apic_base: sregs.apic_base,
            has_apic,
            machine_checks,
            state_msrs: msr_list(&observed)?,
            initial_msrs: msr_list(&initial)?,
            event_raised: false,
            inside_nmi: false,
            backend: device.identity.backend,
        })
    }

    /// The file descriptor, for [`super::saved_state`].
    pub(super) fn fd(&mut self) -> &mut VcpuFd {
        &mut self.fd
    }

    /// Notes that the state was set from outside, with SMM inside an NMI handler or not, which
    /// the next [`Self::reset`] has to know.
    pub(super) fn note_restored(&mut self, inside_nmi: bool) {
        self.inside_nmi = inside_nmi;
    }

    /// What [`super::bare`] needs: the file descriptor, the MSRs that an observation reads
    /// and those that a reset sets, with the values of the last reset.
    pub(super) fn into_parts(self) -> (VcpuFd, Msrs, Msrs) {
        (self.fd, self.state_msrs, self.initial_msrs)
    }

    /// Its whole state.
    ///
    /// # Errors
    /// If an ioctl fails, as all do on a virtual machine that KVM has given up.
    pub(super) fn state(&mut self) -> Result<VcpuState, Failure> {
        // First: reading the events makes KVM deliver a #DB payload into DR6 (Linux
        // arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events).
        let events = self.events()?;
        self.inside_nmi = events.smm_inside_nmi;
        let mut state = VcpuState {
            events,
            ..self.registers()?
        };
        if self.has_apic {
            let activity = self.activity()?;
            let page = self
                .fd
                .get_lapic()
                .map_err(Failure::host(HostCall::GetLapic, self.index))?;
            let base = self
                .fd
                .get_sregs()
                .map_err(Failure::host(HostCall::GetSregs, self.index))?;
            state.apic = Some(Box::new(local_apic::load(&page, base.apic_base, activity)));
        }
        Ok(state)
    }

    /// Its registers, with nothing pending and without a local APIC: none of the getters makes
    /// KVM look at events, as that of the events does (Linux arch/x86/kvm/x86.c, process_nmi).
    ///
    /// # Errors
    /// If an ioctl fails.
    pub(super) fn registers(&mut self) -> Result<VcpuState, Failure> {
        let mut state = VcpuState::default();
        let regs = self
            .fd
            .get_regs()
            .map_err(Failure::host(HostCall::GetRegs, self.index))?;
        state::load_regs(&mut state, &regs);
        let sregs = self
            .fd
            .get_sregs()
            .map_err(Failure::host(HostCall::GetSregs, self.index))?;
        state::load_sregs(&mut state, &sregs);
        let debug = self
            .fd
            .get_debug_regs()
            .map_err(Failure::host(HostCall::GetDebugRegs, self.index))?;
        state::load_debug_registers(&mut state, &debug);
        self.fd
            .get_msrs(&mut self.state_msrs)
            .map_err(Failure::host(HostCall::GetMsrs, self.index))?;
        for entry in self.state_msrs.as_slice() {
            load_msr(&mut state, entry.index, entry.data);
        }
        Ok(state)
    }

    /// What it is doing. Reading it makes KVM take an INIT and a startup IPI that have arrived
    /// (Linux arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl_get_mpstate).
    ///
    /// # Errors
    /// If the ioctl fails.
    pub(super) fn activity(&self) -> Result<Activity, Failure> {
        let state = self
            .fd
            .get_mp_state()
            .map_err(Failure::host(HostCall::GetMpState, self.index))?;
        Ok(Activity::from_mp_state(state.mp_state))
    }

    /// Its event state.
    ///
    /// # Errors
    /// If the ioctl fails.
    pub(super) fn events(&mut self) -> Result<EventState, Failure> {
        let events = self
            .fd
            .get_vcpu_events()
            .map_err(Failure::host(HostCall::GetVcpuEvents, self.index))?;
        if events.interrupt.injected != 0 && !self.has_apic {
            // Nothing raises an external interrupt there, and no exit to userspace that a scenario
            // knows comes from the delivery of an INT n.
            let fault = Fault::NotKept {
                field: "interrupt.injected".to_owned(),
                set: 0,
                read: u64::from(events.interrupt.injected),
            };
            let vcpu = u8::try_from(self.index).unwrap_or(u8::MAX);
            return Err(lacks::failure(
                self.backend,
                vec![StateFault::at_start(vcpu, fault)],
            ));
        }
        Ok(state::from_events(&events))
    }

    /// Sets the whole state, whatever the processor was doing, and checks that KVM kept it.
    ///
    /// # Errors
    /// If KVM refuses a value, or reports another one afterwards.
    pub(super) fn reset(&mut self, wanted: &VcpuState) -> Result<(), Failure> {
        if self.event_raised {
            // KVM_SMI and KVM_NMI leave requests that KVM turns into pending events only when it next
            // looks; reading the events makes it look, so that setting them can clear them.
            self.events()?;
            self.event_raised = false;
        }
        if self.inside_nmi && !wanted.events.smm_inside_nmi {
            // Linux 5.10 looks at `smm_inside_nmi` only if `smm` is set with it, so that the flag
            // would stay (arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_set_vcpu_events).
            self.set_events(&EventState {
                in_smm: true,
                ..EventState::default()
            })?;
            self.inside_nmi = false;
        }
        if self.has_apic {
            self.forget_messages()?;
        }
        // Events first: whether the processor is in SMM decides where KVM reads the page
        // directory pointers that KVM_SET_SREGS loads with PAE.
        self.set_events(&wanted.events)?;
        self.set_sregs(wanted)?;
        self.set_regs(wanted)?;
        self.set_debug_registers(wanted)?;
        self.set_initial_msrs(wanted)?;
        self.set_apic(wanted)?;
        let state = kvm_mp_state {
            mp_state: local_apic::initial_mp_state(wanted.apic.as_deref()),
        };
        self.fd
            .set_mp_state(state)
            .map_err(Failure::host(HostCall::SetMpState, self.index))?;
        self.check_kept(wanted)
    }

    /// Takes an INIT or startup IPI that the last scenario left, which nothing else removes in
    /// all kernels: the setter of the events looks at `latched_init` only in SMM before commit
    /// ff90afa75573 (5.17).
    fn forget_messages(&mut self) -> Result<(), Failure> {
        self.set_events(&EventState::default())?;
        self.activity()?;
        Ok(())
    }

    /// Reads the state back and compares it with what was set, before every run: what KVM keeps may
    /// depend on what ran before, and a field that the payload overwrites before the first point would
    /// not show.
    fn check_kept(&mut self, wanted: &VcpuState) -> Result<(), Failure> {
        let read = self.state()?;
        let faults = self.not_kept(&state::differences(wanted, &read));
        if faults.is_empty() {
            return Ok(());
        }
        Err(lacks::failure(self.backend, faults))
    }

    fn not_kept(&self, differences: &[(&'static Field, u64, u64)]) -> Vec<StateFault> {
        let vcpu = u8::try_from(self.index).unwrap_or(u8::MAX);
        let fault = |(field, set, read): &(&'static Field, u64, u64)| {
            let field = field.name.to_owned();
            let (set, read) = (*set, *read);
            StateFault::at_start(vcpu, Fault::NotKept { field, set, read })
        };
        differences.iter().map(fault).collect()
    }

    /// Changes one field of the state, and reads it back.
    ///
    /// # Errors
    /// If KVM refuses the value, does not keep it, or does not tell its state.
    pub(super) fn set_field(&mut self, field: &'static Field, value: u64) -> Result<(), Failure> {
        let before = self.look_for(field)?;
        let mut after = before.clone();
        field.write(&mut after, value);
        self.change(&before, &after)?;
        let mut read = self.look_for(field)?;
        if same_shadow(read.events.shadow, after.events.shadow) {
            read.events.shadow = after.events.shadow;
        }
        let (set, read) = (field.read(&after), field.read(&read));
        if set == read {
            return Ok(());
        }
        Err(lacks::failure(self.backend, self.not_kept(&[(field, set, read)])))
    }

    /// What has to be read to set a field. Reading the events makes KVM look at them, which only what
    /// is about them may do.
    fn look_for(&mut self, field: &Field) -> Result<VcpuState, Failure> {
        if reads_events(field) {
            self.state()
        } else {
            self.registers()
        }
    }

    /// Changes the state from `before`, which is what it is, to `after`, with the setters
    /// that this takes and no others.
    ///
    /// # Errors
    /// If KVM refuses a value.
    fn change(&mut self, before: &VcpuState, after: &VcpuState) -> Result<(), Failure> {
        if before.events != after.events {
            self.set_events(&after.events)?;
        }
        let set_sregs = state::sregs(before, 0) != state::sregs(after, 0);
        if set_sregs {
            self.set_sregs(after)?;
        }
        // KVM_SET_SREGS sets the task priority from CR8, which has only half of its bits.
        if set_sregs || before.apic != after.apic {
            self.set_apic(after)?;
        }
        if state::regs(before) != state::regs(after) {
            self.set_regs(after)?;
        }
        if state::debug_registers(before) != state::debug_registers(after) {
            self.set_debug_registers(after)?;
        }
        let indices = self.state_msrs.as_slice().iter().map(|entry| entry.index);
        let entries: Vec<_> = indices
            .filter(|index| msr_value(before, *index) != msr_value(after, *index))
            .filter_map(|index| Some((index, msr_value(after, index)?)))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let msrs = msr_list(&entries)?;
        set_msrs(&self.fd, self.index, &msrs)
    }

    /// Puts a shadow in force, and reads it back; nothing else is read or set.
    ///
    /// # Errors
    /// If an ioctl fails, or the shadow is not kept.
    pub(super) fn set_shadow(&mut self, shadow: Shadow) -> Result<(), Failure> {
        let before = self.events()?;
        let after = EventState { shadow, ..before };
        if before != after {
            self.set_events(&after)?;
        }
        let kept = self.events()?.shadow;
        if same_shadow(kept, shadow) {
            return Ok(());
        }
        let (name, set) = match shadow {
            Shadow::None if kept == Shadow::Sti => ("shadow.sti", 0),
            Shadow::None => ("shadow.mov-ss", 0),
            Shadow::Sti => ("shadow.sti", 1),
            Shadow::MovSs => ("shadow.mov-ss", 1),
        };
        let differences: Vec<_> = Field::named(name)
            .map(|field| (field, set, 1 - set))
            .into_iter()
            .collect();
        Err(lacks::failure(self.backend, self.not_kept(&differences)))
    }

    /// Raises an NMI.
    ///
    /// # Errors
    /// If the ioctl fails.
    pub(super) fn nmi(&mut self) -> Result<(), Failure> {
        self.event_raised = true;
        self.fd.nmi().map_err(Failure::host(HostCall::Nmi, self.index))
    }

    /// Raises an SMI.
    ///
    /// # Errors
    /// If the ioctl fails.
    pub(super) fn smi(&mut self) -> Result<(), Failure> {
        self.event_raised = true;
        self.fd.smi().map_err(Failure::host(HostCall::Smi, self.index))
    }

    /// Raises a machine check.
    ///
    /// # Errors
    /// If KVM has none, or the ioctl fails.
    pub(super) fn machine_check(&mut self) -> Result<(), Failure> {
        if !self.machine_checks {
            return Err(Failure::NoMachineChecks);
        }
        machine_check::raise(&self.fd, self.index)
    }

    /// Enters the guest and waits for it to come out.
    pub(super) fn run(&mut self) -> Exit {
        exit::run(&mut self.fd)
    }

    /// Gives the guest the data that the port read which just exited asked for.
    pub(super) fn answer_port_read(&mut self, data: &[u8]) {
        exit::answer_port_read(&mut self.fd, data);
    }

    /// Completes the instruction that caused an I/O exit, and nothing more (KVM API 5,
    /// `immediate_exit`). Gives the exit if the completion itself caused another one.
    pub(super) fn complete(&mut self) -> Option<Exit> {
        self.fd.set_kvm_immediate_exit(1);
        let exit = exit::run(&mut self.fd);
        self.fd.set_kvm_immediate_exit(0);
        match exit {
            Exit::Again => None,
            other => Some(other),
        }
    }

    fn set_events(&mut self, events: &EventState) -> Result<(), Failure> {
        self.fd
            .set_vcpu_events(&state::events(events, self.smm))
            .map_err(Failure::host(HostCall::SetVcpuEvents, self.index))
    }

    /// Sets CR3 to another value than it has, so that the next KVM_RUN begins with a flush of the TLB,
    /// whatever a reset sets it to in between.
    ///
    /// # Errors
    /// If an ioctl fails.
    pub(super) fn leave_page_tables(&mut self) -> Result<(), Failure> {
        let mut sregs = self.fd.get_sregs().map_err(Failure::ioctl("KVM_GET_SREGS"))?;
        sregs.cr3 ^= PAGE as u64;
        self.fd.set_sregs(&sregs).map_err(Failure::ioctl("KVM_SET_SREGS"))
    }

    fn set_sregs(&mut self, state: &VcpuState) -> Result<(), Failure> {
        self.fd
            .set_sregs(&state::sregs(state, self.base_for(state)))
            .map_err(Failure::host(HostCall::SetSregs, self.index))?;
        // Without an in-kernel APIC, KVM_RUN takes CR8 from here (KVM API 5, `cr8`).
        self.fd.get_kvm_run().cr8 = state.cr8;
        Ok(())
    }

    /// IA32_APIC_BASE for `KVM_SET_SREGS`.
    fn base_for(&self, state: &VcpuState) -> u64 {
        state.apic.as_deref().map_or(self.apic_base, |apic| apic.base)
    }

    /// Sets the registers of the local APIC; IA32_APIC_BASE must be set already.
    fn set_apic(&mut self, state: &VcpuState) -> Result<(), Failure> {
        let Some(apic) = state.apic.as_deref().filter(|_| self.has_apic) else {
            return Ok(());
        };
        let mut page = self
            .fd
            .get_lapic()
            .map_err(Failure::host(HostCall::GetLapic, self.index))?;
        local_apic::store(apic, &mut page);
        self.fd
            .set_lapic(&page)
            .map_err(Failure::host(HostCall::SetLapic, self.index))
    }

    fn set_regs(&mut self, state: &VcpuState) -> Result<(), Failure> {
        self.fd
            .set_regs(&state::regs(state))
            .map_err(Failure::host(HostCall::SetRegs, self.index))
    }

    fn set_debug_registers(&mut self, state: &VcpuState) -> Result<(), Failure> {
        self.fd
            .set_debug_regs(&state::debug_registers(state))
            .map_err(Failure::host(HostCall::SetDebugRegs, self.index))
    }

    fn set_initial_msrs(&mut self, state: &VcpuState) -> Result<(), Failure> {
        for entry in self.initial_msrs.as_mut_slice() {
            if let Some(value) = msr_value(state, entry.index) {
                entry.data = value;
            }
        }
        set_msrs(&self.fd, self.index, &self.initial_msrs)
    }
}

/// Whether the events have to be read to set a field: it is one of them, or of the local APIC,
/// whose state goes with what has arrived there.
fn reads_events(field: &Field) -> bool {
    const EVENTS: [&str; 7] = ["nmi.", "smm", "smi.", "init.", "shadow.", "exception.", "apic."];
    EVENTS.iter().any(|prefix| field.name.starts_with(prefix))
}

/// What the guest's CPUID says: everything that KVM supports but shadow stacks, which would
/// add SSP to the state, long mode as the scenario wants, and a signature and APIC ids that do
/// not depend on the processor this happens to run on.
fn guest_cpuid(device: &Device, index: usize, long_mode: bool) -> kvm_bindings::CpuId {
    const LONG_MODE: u32 = 1 << 29;
    const SHADOW_STACK: u32 = 1 << 7;
    let apic_id = u32::try_from(index).unwrap_or(0);
    let mut cpuid = device.cpuid.clone();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.eax = PROCESSOR_SIGNATURE;
                entry.ebx = entry.ebx & 0x00ff_ffff | apic_id << 24;
            }
            7 if entry.index == 0 => entry.ecx &= !SHADOW_STACK,
            0xb | 0x1f => entry.edx = apic_id,
            0x8000_0001 if long_mode => entry.edx |= LONG_MODE,
            0x8000_0001 => entry.edx &= !LONG_MODE,
            _ => {}
        }
    }
    cpuid
}
