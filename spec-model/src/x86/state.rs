//! The state of one virtual processor that a host can set and observe.

use serde::{Deserialize, Serialize};

use super::control::flag;
use super::local_apic::LocalApic;
use super::machine_check::{self, MachineCheck};
use super::segment::{DescriptorTable, Segment, SegmentName};
use super::xen_pv::XenPv;

/// Index of RAX in [`VcpuState::general`].
pub const RAX: usize = 0;
/// Index of RCX in [`VcpuState::general`].
pub const RCX: usize = 1;
/// Index of RDX in [`VcpuState::general`].
pub const RDX: usize = 2;
/// Index of RBX in [`VcpuState::general`].
pub const RBX: usize = 3;
/// Index of RSP in [`VcpuState::general`].
pub const RSP: usize = 4;
/// Index of RBP in [`VcpuState::general`].
pub const RBP: usize = 5;
/// Index of RSI in [`VcpuState::general`].
pub const RSI: usize = 6;
/// Index of RDI in [`VcpuState::general`].
pub const RDI: usize = 7;

/// The interrupt shadow: events that one instruction holds off until its successor
/// has completed (SDM vol. 3A 6.8.3, APM vol. 2 8.2.1 and 15.20.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shadow {
    /// No shadow.
    #[default]
    None,
    /// After an STI that changed IF from 0 to 1.
    Sti,
    /// After MOV SS or POP SS.
    MovSs,
}

/// An exception on its way into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PendingException {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for the vectors that have one.
    pub error_code: Option<u32>,
}

/// Event state: what is masked, pending or in flight. It is what
/// `KVM_GET_VCPU_EVENTS` reports (KVM API, 4.31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventState {
    /// NMIs are blocked until the next IRET.
    pub nmi_masked: bool,
    /// Number of NMIs that are latched.
    pub nmi_pending: u8,
    /// An NMI is in flight: accepted and not yet fully delivered.
    pub nmi_injected: bool,
    /// The processor is in system-management mode.
    pub in_smm: bool,
    /// The SMI was taken while NMIs were already blocked.
    pub smm_inside_nmi: bool,
    /// An SMI is latched.
    pub smi_pending: bool,
    /// An INIT is latched, to be taken when SMM is left.
    pub init_latched: bool,
    /// The interrupt shadow in force at the next instruction.
    pub shadow: Shadow,
    /// An exception that is in flight.
    pub exception: Option<PendingException>,
}

/// Everything about one virtual processor that the suite sets and observes.
///
/// `KVM_GET_REGS`, `KVM_GET_SREGS`, `KVM_GET_DEBUGREGS`, `KVM_GET_MSRS` and
/// `KVM_GET_VCPU_EVENTS` together read it from a real KVM. [`super::field`] gives
/// each member its name in cases and reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VcpuState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding.
    pub general: [u64; 16],
    /// Instruction pointer, an offset in CS.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Segment registers, indexed by [`SegmentName`].
    pub segments: [Segment; 8],
    /// Global descriptor table register.
    pub gdtr: DescriptorTable,
    /// Interrupt descriptor table register.
    pub idtr: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR2, the last page-fault address.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// CR8, the task priority.
    pub cr8: u64,
    /// Extended feature enables, MSR C0000080h.
    pub efer: u64,
    /// Shadow-stack pointer, on a processor that has shadow stacks.
    #[serde(default)]
    pub ssp: u64,
    /// DR0 to DR3.
    pub debug_address: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
    /// MSR C0000102h, swapped with the GS base by SWAPGS.
    pub kernel_gs_base: u64,
    /// MSR C0000081h: selectors for SYSCALL and SYSRET.
    pub star: u64,
    /// MSR C0000082h: target of SYSCALL from 64-bit code.
    pub lstar: u64,
    /// MSR C0000083h: target of SYSCALL from compatibility code.
    pub cstar: u64,
    /// MSR C0000084h: flags that SYSCALL clears.
    pub sfmask: u64,
    /// IA32_SYSENTER_CS, MSR 174h: selectors for SYSENTER and SYSEXIT.
    #[serde(default)]
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP, MSR 175h: stack pointer behind SYSENTER.
    #[serde(default)]
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP, MSR 176h: target of SYSENTER.
    #[serde(default)]
    pub sysenter_eip: u64,
    /// Base of the SMRAM window in guest-physical bytes, MSR 9Eh.
    pub smbase: u64,
    /// What machine checks have left in their registers.
    #[serde(default)]
    pub machine_check: MachineCheck,
    /// Masked, pending and in-flight events.
    pub events: EventState,
    /// Its local APIC, if the machine has them.
    pub apic: Option<Box<LocalApic>>,
    /// What Xen keeps of it, if it runs a paravirtual guest.
    #[serde(default)]
    pub xen_pv: Option<Box<XenPv>>,
}

/// SMBASE after RESET (SDM vol. 3C 32.4; APM vol. 2 10.2.1).
pub const RESET_SMBASE: u64 = 0x30000;

impl Default for VcpuState {
    /// All zero but for the bits that are never zero: RFLAGS bit 1, DR6 and DR7 after
    /// RESET (SDM vol. 3A table 10-1), SMBASE.
    fn default() -> Self {
        Self {
            general: [0; 16],
            rip: 0,
            rflags: 2,
            segments: [Segment::default(); 8],
            gdtr: DescriptorTable::default(),
            idtr: DescriptorTable::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            efer: 0,
            ssp: 0,
            debug_address: [0; 4],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            kernel_gs_base: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            smbase: RESET_SMBASE,
            machine_check: MachineCheck::default(),
            events: EventState::default(),
            apic: None,
            xen_pv: None,
        }
    }
}

impl VcpuState {
    /// One segment register.
    #[must_use]
    pub fn segment(&self, name: SegmentName) -> &Segment {
        &self.segments[name as usize]
    }

    /// One segment register, to change.
    pub fn segment_mut(&mut self, name: SegmentName) -> &mut Segment {
        &mut self.segments[name as usize]
    }

    /// The state with everything removed that neither the guest nor the host can observe.
    ///
    /// Model and targets both pass through here, so that leftovers in unusable segment
    /// registers do not count as differences.
    #[must_use]
    pub fn observable(mut self) -> Self {
        for name in SegmentName::ALL {
            let segment = self.segment_mut(name);
            *segment = segment.observable(name);
        }
        // Xen tells nobody what it was told; what comes of it is seen.
        if let Some(xen) = self.xen_pv.as_deref_mut() {
            xen.traps.clear();
            xen.kernel_stack = 0;
            xen.syscall_callback = 0;
            xen.debugging_extensions = false;
        }
        if !self.shows_debug_registers() {
            self.debug_address = [0; 4];
            (self.dr6, self.dr7) = (0, 0);
        }
        self
    }

    /// Whether the debug registers can be seen: in a guest of Xen the kernel alone reads them, by MOV or hypercall, and
    /// the host asks as the kernel would.
    #[must_use]
    pub fn shows_debug_registers(&self) -> bool {
        self.xen_pv.as_deref().is_none_or(|xen| xen.kernel_mode)
    }

    /// Whether an event that is pending ends HLT (SMM-ENTRY-014, NMI-MASK-009, APIC-INT-006,
    /// MC-EXC-007).
    /// With `deaf_to_smi` an SMI does not.
    #[must_use]
    pub fn wakes_from_halt(&self, deaf_to_smi: bool) -> bool {
        machine_check::is_pending(&self.events) || self.is_woken_by_interrupt(deaf_to_smi)
    }

    /// The same without machine checks.
    #[must_use]
    pub fn is_woken_by_interrupt(&self, deaf_to_smi: bool) -> bool {
        let events = &self.events;
        let smi = events.smi_pending && !events.in_smm && !deaf_to_smi;
        let nmi = events.nmi_pending > 0 && !events.nmi_masked;
        smi || nmi || self.interrupt().is_some()
    }

    /// The interrupt that the local APIC delivers if no shadow holds it: IF must be set
    /// (APIC-INT-004).
    #[must_use]
    pub fn interrupt(&self) -> Option<u8> {
        let enabled = self.rflags & flag::IF != 0;
        let apic = self.apic.as_deref().filter(|_| enabled)?;
        apic.deliverable()
    }

    /// Width of a stack slot in bytes: 8 in 64-bit code, else 4 or 2 by the B bit of SS.
    #[must_use]
    pub fn stack_width(&self) -> usize {
        const LONG_MODE_ACTIVE: u64 = 1 << 10;
        let code = self.segment(SegmentName::Cs).attributes;
        if self.efer & LONG_MODE_ACTIVE != 0 && code.long() {
            8
        } else if self.segment(SegmentName::Ss).attributes.big() {
            4
        } else {
            2
        }
    }

    /// Linear address of the top of the stack.
    #[must_use]
    pub fn stack_top(&self) -> u64 {
        match self.stack_width() {
            8 => self.general[RSP],
            4 => {
                self.segment(SegmentName::Ss)
                    .base
                    .wrapping_add(self.general[RSP] & 0xffff_ffff)
                    & 0xffff_ffff
            }
            _ => self
                .segment(SegmentName::Ss)
                .base
                .wrapping_add(self.general[RSP] & 0xffff),
        }
    }
}
