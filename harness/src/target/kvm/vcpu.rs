//! One virtual processor: setting and observing its whole state.

mod getters;

use kvm_bindings::{Msrs, kvm_mp_state};
use kvm_ioctls::{VcpuFd, VmFd};
use spec_model::host_state::{BASE_FIELD, Fault, HostCall, base_without_apic, same_shadow};
use spec_model::scenario::{Cpuid, PROCESSOR_SIGNATURE};
use spec_model::x86::control::{cr0, efer};
use spec_model::x86::field::Field;
use spec_model::x86::state::{EventState, Shadow, VcpuState};

use super::super::Backend;
use super::device::Device;
use super::exit::{self, Exit};
use super::failure::Failure;
use super::features::BUS_LOCK;
use super::memory::PAGE;
use super::msrs::{OTHER_MSRS, clear_debug_control, has_msr, msr_list, msr_value, set_msrs, state_msrs};
use super::saved_state::SavedVcpu;
use super::state::not_kept;
use super::{apic_page, events, local_apic, machine_check, sregs, state};
use getters::Beside;

/// A virtual processor.
pub(super) struct Vcpu {
    fd: VcpuFd,
    index: usize,
    smm: bool,
    /// Whether it has a local APIC.
    has_apic: bool,
    /// The MSRs of its state that exist here.
    state_msrs: Vec<u32>,
    /// The same and those of [`OTHER_MSRS`] that exist here, with what a scenario starts with.
    initial_msrs: Msrs,
    /// Whether it has machine checks.
    machine_checks: bool,
    /// Whether its event state has shutdowns that KVM has yet to carry out.
    triple_faults: bool,
    /// A machine check was raised, so that one may wait.
    shutdown_may_wait: bool,
    /// KVM_SMI or KVM_NMI was called and KVM may not have looked at it yet.
    event_raised: bool,
    /// When its state was last read, it was in an SMM inside an NMI.
    inside_nmi: bool,
    /// What the KVM is, which says what it is listed to lack.
    backend: Backend,
}

/// What a virtual machine gives its processors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Has {
    /// Local APICs.
    pub(super) apic: bool,
    /// Shutdowns in the event state (KVM_CAP_X86_TRIPLE_FAULT_EVENT).
    pub(super) triple_faults: bool,
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
        cpuid: Cpuid,
        has: Has,
    ) -> Result<Self, Failure> {
        let fd = vm
            .create_vcpu(index as u64)
            .map_err(Failure::ioctl("KVM_CREATE_VCPU"))?;
        fd.set_cpuid2(&guest_cpuid(device, index, cpuid))
            .map_err(Failure::host(HostCall::SetCpuid2, index))?;
        let machine_checks = machine_check::set_up(&fd, device, index)?;
        let smm = device.identity.smm;
        let state_msrs = state_msrs(smm, machine_checks);
        // What a scenario starts with is put in by the reset.
        let mut initial: Vec<(u32, u64)> = state_msrs.iter().map(|msr| (*msr, 0)).collect();
        for (msr, value) in OTHER_MSRS {
            if has_msr(&fd, index, msr)? {
                initial.push((msr, value));
            }
        }
        Ok(Self {
            fd,
            index,
            smm,
            has_apic: has.apic,
            machine_checks,
            triple_faults: has.triple_faults,
            shutdown_may_wait: false,
            state_msrs,
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

    /// Notes that the state was set from outside: whether it has SMM inside an NMI handler, which the
    /// next [`Self::reset`] has to know, and whether a shutdown waits.
    pub(super) fn note_restored(&mut self, saved: &SavedVcpu) {
        self.inside_nmi = saved.inside_nmi();
        self.shutdown_may_wait = saved.shutdown_waits();
    }

    /// What [`super::bare`] needs: the file descriptor, the MSRs that an observation reads
    /// and those that a reset sets, with the values of the last reset.
    ///
    /// # Errors
    /// If these are more MSRs than KVM takes at once.
    pub(super) fn into_parts(self) -> Result<(VcpuFd, Msrs, Msrs), Failure> {
        let observed: Vec<(u32, u64)> = self.state_msrs.iter().map(|index| (*index, 0)).collect();
        Ok((self.fd, msr_list(&observed)?, self.initial_msrs))
    }

    /// Sets the whole state, whatever the processor was doing, and checks that KVM kept it.
    ///
    /// # Errors
    /// If KVM refuses a value, or reports another one afterwards.
    pub(super) fn reset(&mut self, wanted: &VcpuState) -> Result<(), Failure> {
        if self.event_raised {
            // KVM_SMI and KVM_NMI leave requests that KVM turns into pending events only when it next
            // looks; reading the events makes it look, so that setting them can clear them.
            self.fd
                .get_vcpu_events()
                .map_err(Failure::host(HostCall::GetVcpuEvents, self.index))?;
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
        self.fd
            .get_mp_state()
            .map_err(Failure::host(HostCall::GetMpState, self.index))?;
        Ok(())
    }

    /// Reads the state back and compares it with what was set, before every run: what KVM keeps may
    /// depend on what ran before, and a field that the payload overwrites before the first point would
    /// not show.
    fn check_kept(&mut self, wanted: &VcpuState) -> Result<(), Failure> {
        let mut told = Vec::new();
        let (read, beside) = self.read_state(&mut told)?;
        let mut faults = not_kept(&state::differences(wanted, &read));
        faults.extend(self.beside_not_kept(wanted, beside));
        let (indices, set): (Vec<u32>, Vec<u64>) = self
            .initial_msrs
            .as_slice()
            .iter()
            .map(|entry| (entry.index, entry.data))
            .unzip();
        for ((index, read), set) in self.read_msrs(&indices, &mut told)?.into_iter().zip(set) {
            // The rest are fields of the state.
            if read != set && OTHER_MSRS.iter().any(|(other, _)| *other == index) {
                let field = format!("msr {index:#x}");
                faults.push(Fault::NotKept { field, set, read });
            }
        }
        faults.extend(told);
        self.check(faults)
    }

    /// What was not kept of that which is no part of a state.
    fn beside_not_kept(&self, wanted: &VcpuState, beside: Beside) -> Vec<Fault> {
        let Beside { apic_base, timer } = beside;
        let timer = timer.map(|timer| {
            [
                ("apic.380h", 0, timer.initial_count.into()),
                ("apic.3E0h", 0, timer.divide.into()),
            ]
        });
        // With a local APIC it is a field of the state.
        let base = wanted
            .apic
            .is_none()
            .then(|| (BASE_FIELD, self.base_for(wanted), apic_base));
        let all = timer.into_iter().flatten().chain(base);
        let not_kept = all.filter(|(_, set, read)| set != read);
        let fault = |(field, set, read): (&str, u64, u64)| Fault::NotKept {
            field: field.to_owned(),
            set,
            read,
        };
        not_kept.map(fault).collect()
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
        self.check(not_kept(&[(field, set, read)]))
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
        let set_sregs = sregs::sregs(before, 0) != sregs::sregs(after, 0);
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
        let indices = self.state_msrs.iter();
        let entries: Vec<_> = indices
            .filter(|index| msr_value(before, **index) != msr_value(after, **index))
            .filter_map(|index| Some((*index, msr_value(after, *index)?)))
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
        self.check(not_kept(&differences))
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
        self.shutdown_may_wait = true;
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
            .set_vcpu_events(&events::events(events, self.smm))
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
        // Paging goes off as well: between long mode and PAE paging with the same CR0 and CR4, KVM before 6.1 goes
        // on with the walk that it had (state/from-long-mode-to-pae).
        sregs.cr0 &= !cr0::PG;
        sregs.efer &= !efer::LMA;
        sregs.cs.l = 0;
        self.fd.set_sregs(&sregs).map_err(Failure::ioctl("KVM_SET_SREGS"))
    }

    fn set_sregs(&mut self, state: &VcpuState) -> Result<(), Failure> {
        self.fd
            .set_sregs(&sregs::sregs(state, self.base_for(state)))
            .map_err(Failure::host(HostCall::SetSregs, self.index))?;
        // Without an in-kernel APIC, KVM_RUN takes CR8 from here (KVM API 5, `cr8`).
        self.fd.get_kvm_run().cr8 = state.cr8;
        Ok(())
    }

    /// IA32_APIC_BASE for `KVM_SET_SREGS`.
    fn base_for(&self, state: &VcpuState) -> u64 {
        let without = || base_without_apic(self.index);
        state.apic.as_deref().map_or_else(without, |apic| apic.base)
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
        apic_page::store(apic, &mut page);
        apic_page::set(&self.fd, self.index, &page)
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
        set_msrs(&self.fd, self.index, &self.initial_msrs)?;
        clear_debug_control(&self.fd, self.index)
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
fn guest_cpuid(device: &Device, index: usize, wanted: Cpuid) -> kvm_bindings::CpuId {
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
            7 if entry.index == 0 => {
                let bus_lock = if wanted.bus_lock { 0 } else { BUS_LOCK };
                entry.ecx &= !(SHADOW_STACK | bus_lock);
            }
            0xb | 0x1f => entry.edx = apic_id,
            0x8000_0001 if wanted.long_mode => entry.edx |= LONG_MODE,
            0x8000_0001 => entry.edx &= !LONG_MODE,
            _ => {}
        }
    }
    cpuid
}
