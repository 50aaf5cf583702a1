//! The state of a processor as KVM's own structures hold it, read out and put back.
//!
//! Nothing here passes through [`VcpuState`](spec_model::x86::state::VcpuState): what KVM
//! reports is what KVM gets, so that a bit that the suite does not look at cannot be lost
//! by the suite, and one that KVM loses is seen in what the guest does next.

use kvm_bindings::{
    KVM_CAP_X86_TRIPLE_FAULT_EVENT, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_SIPI_RECEIVED,
    KVM_VCPUEVENT_VALID_SMM, kvm_debugregs, kvm_enable_cap, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Cap, KvmNestedStateBuffer, VcpuFd, VmFd};
use vmm_sys_util::errno;

use spec_model::host_state::{Fault, HostCall};

use super::apic_page;
use super::device::Device;
use super::failure::Failure;
use super::msrs::{DEBUGCTL, msr_list};
use super::special_registers::SpecialRegisters;

/// Registers of the bank of machine checks, which `KVM_GET_MSR_INDEX_LIST` does not name (Linux
/// `arch/x86/kvm/x86.c`, `emulated_msrs_all`); a host finds them by IA32_MCG_CAP.
const BANK_MSRS: [u32; 4] = [0x400, 0x401, 0x402, 0x403];

/// Makes a shutdown that KVM has yet to carry out part of the event state, where KVM can (from
/// Linux 6.0), and says whether it is. Before the first vCPU.
pub(super) fn keep_shutdowns(device: &Device, vm: &VmFd) -> bool {
    let extension = KVM_CAP_X86_TRIPLE_FAULT_EVENT.into();
    if device.kvm.check_extension_raw(extension) <= 0 {
        return false;
    }
    let mut request = kvm_enable_cap {
        cap: KVM_CAP_X86_TRIPLE_FAULT_EVENT,
        ..kvm_enable_cap::default()
    };
    request.args[0] = 1;
    // A KVM that has it and does not give it loses such a shutdown, which then shows.
    vm.enable_cap(&request).is_ok()
}

/// Everything that the KVM API tells about one processor.
pub(super) struct SavedVcpu {
    mp_state: kvm_mp_state,
    events: kvm_vcpu_events,
    regs: kvm_regs,
    special: SpecialRegisters,
    xsave: Option<Box<kvm_xsave>>,
    xcrs: Option<Box<kvm_xcrs>>,
    debug_registers: kvm_debugregs,
    /// There with an in-kernel interrupt controller only.
    lapic: Option<Box<kvm_lapic_state>>,
    msrs: Vec<kvm_msr_entry>,
    nested: Option<Box<KvmNestedStateBuffer>>,
}

impl SavedVcpu {
    /// Reads the state of a processor whose last exit is complete.
    ///
    /// The order matters twice. KVM_GET_MP_STATE carries out a pending INIT or SIPI (Linux
    /// `arch/x86/kvm/x86.c`, `kvm_arch_vcpu_ioctl_get_mpstate`), so it comes before all that
    /// these change. KVM_GET_VCPU_EVENTS moves the payload of a pending #DB into DR6 and of
    /// a #PF into CR2 (`kvm_vcpu_ioctl_x86_get_vcpu_events`), so it comes before the
    /// registers.
    ///
    /// # Errors
    /// If an ioctl fails, as all do on a virtual machine that KVM has given up.
    pub(super) fn read(fd: &VcpuFd, device: &Device, vcpu: usize) -> Result<Self, Failure> {
        let has = |capability| device.kvm.check_extension(capability);
        let mp_state = fd
            .get_mp_state()
            .map_err(Failure::host(HostCall::GetMpState, vcpu))?;
        let events = fd
            .get_vcpu_events()
            .map_err(Failure::host(HostCall::GetVcpuEvents, vcpu))?;
        let mut nested = has(Cap::NestedState).then(|| Box::new(KvmNestedStateBuffer::empty()));
        if let Some(nested) = &mut nested {
            // The header counts even where it is all there is: it holds the GIF.
            fd.nested_state(nested)
                .map_err(Failure::host(HostCall::GetNestedState, vcpu))?;
        }
        let lapic = match fd.get_lapic() {
            Ok(lapic) => Some(Box::new(lapic)),
            Err(error) if error.errno() == libc::EINVAL => None,
            Err(error) => return Err(Failure::host(HostCall::GetLapic, vcpu)(error)),
        };
        let xsave = has(Cap::Xsave).then(|| fd.get_xsave()).transpose();
        let xcrs = has(Cap::Xcrs).then(|| fd.get_xcrs()).transpose();
        Ok(Self {
            mp_state,
            events,
            regs: fd.get_regs().map_err(Failure::host(HostCall::GetRegs, vcpu))?,
            special: SpecialRegisters::read(fd, device, vcpu)?,
            xsave: xsave
                .map_err(Failure::host(HostCall::GetXsave, vcpu))?
                .map(Box::new),
            xcrs: xcrs
                .map_err(Failure::host(HostCall::GetXcrs, vcpu))?
                .map(Box::new),
            debug_registers: fd
                .get_debug_regs()
                .map_err(Failure::host(HostCall::GetDebugRegs, vcpu))?,
            lapic,
            msrs: read_msrs(fd, vcpu, &[&device.msr_indices[..], &BANK_MSRS].concat())?,
            nested,
        })
    }

    /// Whether the processor is in an SMM that interrupted an NMI handler.
    pub(super) fn inside_nmi(&self) -> bool {
        self.events.smi.smm_inside_nmi != 0
    }

    /// Whether the processor has a shutdown that KVM has yet to carry out.
    pub(super) fn shutdown_waits(&self) -> bool {
        self.events.triple_fault.pending != 0
    }

    /// Puts the state back into the processor that it was read from. Nested state is left
    /// as it is.
    ///
    /// # Errors
    /// If KVM refuses what it reported itself.
    pub(super) fn rewrite(&self, fd: &mut VcpuFd, vcpu: usize) -> Result<(), Failure> {
        self.write_special_registers(fd, vcpu)?;
        self.write_rest(fd, vcpu)
    }

    /// Puts the state into a processor of another virtual machine, whose memory is in place.
    ///
    /// # Errors
    /// If KVM refuses what it reported itself.
    pub(super) fn restore(&self, fd: &mut VcpuFd, vcpu: usize) -> Result<(), Failure> {
        if self.events.smi.smm != 0 {
            // KVM_SET_SREGS reads the page directory pointers of PAE paging from the address
            // space that the processor is in, so it has to be in SMM before.
            let mut in_smm = kvm_vcpu_events {
                flags: KVM_VCPUEVENT_VALID_SMM,
                ..kvm_vcpu_events::default()
            };
            in_smm.smi.smm = 1;
            fd.set_vcpu_events(&in_smm)
                .map_err(Failure::host(HostCall::SetVcpuEvents, vcpu))?;
        }
        self.write_special_registers(fd, vcpu)?;
        // After EFER: KVM checks the state against EFER.SVME (Linux
        // arch/x86/kvm/svm/nested.c, svm_set_nested_state).
        if let Some(nested) = &self.nested {
            fd.set_nested_state(nested)
                .map_err(Failure::host(HostCall::SetNestedState, vcpu))?;
        }
        self.write_rest(fd, vcpu)
    }

    fn write_special_registers(&self, fd: &mut VcpuFd, vcpu: usize) -> Result<(), Failure> {
        self.special.write(fd, vcpu)?;
        // Without an in-kernel APIC, KVM_RUN takes CR8 from here (KVM API 5, `cr8`).
        fd.get_kvm_run().cr8 = self.special.cr8();
        // The APIC base, with the mode of the APIC, is in the special registers.
        if let Some(lapic) = &self.lapic {
            apic_page::set(fd, vcpu, lapic)?;
        }
        Ok(())
    }

    /// All that follows the special registers. The events come after the general registers,
    /// because KVM_SET_REGS drops a pending exception (Linux `arch/x86/kvm/x86.c`,
    /// `__set_regs`), and before the MP state, because KVM refuses some of its values by
    /// whether the processor is in SMM (`kvm_arch_vcpu_ioctl_set_mpstate`).
    fn write_rest(&self, fd: &VcpuFd, vcpu: usize) -> Result<(), Failure> {
        fd.set_regs(&self.regs)
            .map_err(Failure::host(HostCall::SetRegs, vcpu))?;
        if let Some(xsave) = &self.xsave {
            // SAFETY: the structure has the 4096 bytes that KVM reads as long as the process
            // has asked for no dynamic feature (arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM), which
            // this program never does (KVM API, KVM_SET_XSAVE).
            unsafe { fd.set_xsave(xsave) }.map_err(Failure::host(HostCall::SetXsave, vcpu))?;
        }
        if let Some(xcrs) = &self.xcrs {
            fd.set_xcrs(xcrs)
                .map_err(Failure::host(HostCall::SetXcrs, vcpu))?;
        }
        write_msrs(fd, vcpu, &self.msrs)?;
        fd.set_debug_regs(&self.debug_registers)
            .map_err(Failure::host(HostCall::SetDebugRegs, vcpu))?;
        match fd.set_vcpu_events(&self.events) {
            Err(error) if self.may_be_refused(error) => Self::set_events(fd, vcpu, &self.without_smi())?,
            outcome => outcome.map_err(Failure::host(HostCall::SetVcpuEvents, vcpu))?,
        }
        match fd.set_mp_state(self.mp_state) {
            Err(error) if self.may_be_refused(error) => {
                Self::set_events(fd, vcpu, &self.without_smi())?;
                fd.set_mp_state(self.mp_state)
            }
            outcome => outcome,
        }
        .map_err(Failure::host(HostCall::SetMpState, vcpu))
    }

    fn set_events(fd: &VcpuFd, vcpu: usize, events: &kvm_vcpu_events) -> Result<(), Failure> {
        fd.set_vcpu_events(events)
            .map_err(Failure::host(HostCall::SetVcpuEvents, vcpu))
    }

    /// Whether an error of the setter of the event state or the MP state may be about an SMI
    /// pending in wait-for-SIPI. KVM took that for impossible, although an SMI sent to such a
    /// processor brings it about, and both setters refused it (Linux `arch/x86/kvm/x86.c`,
    /// `kvm_vcpu_ioctl_x86_set_vcpu_events` and `kvm_arch_vcpu_ioctl_set_mpstate`, "INITs are
    /// latched while in SMM"). What then is left to a host is to go on without the SMI, so that
    /// a run shows what that loses.
    fn may_be_refused(&self, error: errno::Error) -> bool {
        let waits_for_sipi = matches!(
            self.mp_state.mp_state,
            KVM_MP_STATE_INIT_RECEIVED | KVM_MP_STATE_SIPI_RECEIVED
        );
        error.errno() == libc::EINVAL && waits_for_sipi && self.events.smi.pending != 0
    }

    fn without_smi(&self) -> kvm_vcpu_events {
        let mut events = self.events;
        events.smi.pending = 0;
        events
    }
}

/// Those of `indices` that this processor has, with their values. KVM_GET_MSRS stops at the
/// first one that it does not have.
fn read_msrs(fd: &VcpuFd, vcpu: usize, indices: &[u32]) -> Result<Vec<kvm_msr_entry>, Failure> {
    let wanted: Vec<(u32, u64)> = indices.iter().map(|index| (*index, 0)).collect();
    let mut read = Vec::with_capacity(wanted.len());
    let mut rest = wanted.as_slice();
    while !rest.is_empty() {
        let mut msrs = msr_list(rest)?;
        let count = fd
            .get_msrs(&mut msrs)
            .map_err(Failure::host(HostCall::GetMsrs, vcpu))?
            .min(rest.len());
        let entries = msrs.as_slice().iter().take(count);
        // SVM without LBR virtualization complains in the kernel log about each write of it, also of 0 (Linux
        // arch/x86/kvm/svm/svm.c, svm_set_msr), and a new processor has 0.
        read.extend(entries.filter(|entry| entry.index != DEBUGCTL || entry.data != 0));
        rest = rest.get(count + 1..).unwrap_or_default();
    }
    Ok(read)
}

/// Writes every MSR. KVM_SET_MSRS stops at the first one that it refuses, which is fine for
/// one that only tells and already tells the same.
fn write_msrs(fd: &VcpuFd, vcpu: usize, entries: &[kvm_msr_entry]) -> Result<(), Failure> {
    let mut rest = entries;
    while !rest.is_empty() {
        let wanted: Vec<(u32, u64)> = rest.iter().map(|entry| (entry.index, entry.data)).collect();
        let msrs = msr_list(&wanted)?;
        let count = fd
            .set_msrs(&msrs)
            .map_err(Failure::host(HostCall::SetMsrs, vcpu))?;
        let Some(refused) = rest.get(count) else {
            return Ok(());
        };
        let there = read_msrs(fd, vcpu, &[refused.index])?;
        if there.first().map(|entry| entry.data) != Some(refused.data) {
            let what = Fault::MsrRefused {
                index: refused.index,
                value: refused.data,
            };
            return Err(Failure::fault(vcpu, what));
        }
        rest = rest.get(count + 1..).unwrap_or_default();
    }
    Ok(())
}
