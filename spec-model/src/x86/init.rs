//! INIT and the startup IPI (SDM vol. 3A, "Processor Management and Initialization", and
//! "Multiple-Processor (MP) Initialization"; APM vol. 2, 14.1 and 16.5).

use super::control::cr0;
use super::debug::DebugState;
use super::local_apic::{PendingAtInit, SegmentsAfterInit};
use super::machine::Machine;
use super::processor::{Activity, Processor};
use super::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use super::state::{EventState, RDX, RESET_SMBASE, VcpuState};
use crate::defect::Defect;
use crate::requirement::{INIT_STATE_005, INIT_STATE_006};
use crate::scenario::PROCESSOR_SIGNATURE;

impl Processor<'_, '_> {
    /// An INIT arrives (INIT-SMM-001).
    pub(super) fn latch_init(&mut self) {
        let drops = self.rules.broken(Defect::InitDroppedInSmm);
        let events = &mut self.state_mut().events;
        if !(drops && events.in_smm) {
            events.init_latched = true;
            self.vcpu.startup = None;
        }
    }

    /// A startup IPI arrives.
    pub(super) fn latch_startup(&mut self, vector: u8) {
        self.vcpu.startup = Some(vector);
    }

    /// Takes INIT and a startup IPI that have arrived, if they are not blocked. In SMM an INIT
    /// stays latched (INIT-SMM-001) and a startup IPI is lost (INIT-SMM-003); the INIT is taken
    /// after RSM (INIT-SMM-002). Outside wait-for-SIPI a startup IPI is lost (INIT-SIPI-003).
    pub(super) fn take_init_and_startup(&mut self) -> Option<&'static str> {
        let init = self.state().events.init_latched;
        if !init && self.vcpu.startup.is_none() {
            return None;
        }
        if self.state().events.in_smm && !self.rules.broken(Defect::InitResetsInSmm) {
            if !self.rules.broken(Defect::SipiQueuedInSmm) {
                self.vcpu.startup = None;
            }
            return None;
        }
        let mut taken = None;
        if init {
            self.initialize();
            taken = Some("INIT");
        }
        if let Some(vector) = self.vcpu.startup.take() {
            let anywhere = self.rules.broken(Defect::SipiRestartsRunning);
            if self.vcpu.activity == Activity::WaitForSipi || anywhere {
                self.start_up(vector);
                taken = Some("startup IPI");
            }
        }
        taken
    }

    /// INIT: the bootstrap processor goes on at the reset vector (INIT-SIPI-002), any other
    /// waits for a startup IPI (INIT-SIPI-001). Whether pending NMIs and SMIs survive is open (INIT-STATE-006).
    fn initialize(&mut self) {
        let choices = &self.rules.profile.apic;
        let segments = self
            .rules
            .choices
            .settle_for_good(choices.segments_after_init, &INIT_STATE_005);
        let before = &self.vcpu.state;
        let waits = self.rules.broken(Defect::BootstrapWaitsAfterInit);
        let bootstrap = before.apic.as_deref().is_none_or(|apic| apic.is_bootstrap()) && !waits;
        let (nmis, smi) = (before.events.nmi_pending, before.events.smi_pending);
        let mut after = after_init(before, segments);
        if nmis > 0 || smi {
            let pending = self
                .rules
                .choices
                .settle(choices.pending_at_init, &INIT_STATE_006);
            if pending == PendingAtInit::Kept {
                after.events.nmi_pending = nmis;
                after.events.smi_pending = smi;
            }
        }
        if self.rules.broken(Defect::InitLosesSmbase) {
            after.smbase = RESET_SMBASE;
        }
        if self.rules.broken(Defect::InitKeepsTableBases) {
            after.gdtr.base = before.gdtr.base;
            after.idtr.base = before.idtr.base;
        }
        if self.rules.broken(Defect::InitClearsMachineChecks) {
            after.machine_check = super::machine_check::MachineCheck::default();
        }
        if self.rules.broken(Defect::SignatureLostAtInit) {
            after.general[RDX] = 0;
        }
        if self.rules.broken(Defect::InitKeepsCr3) {
            after.cr3 = before.cr3;
        }
        if self.rules.broken(Defect::InitDisablesCaches) {
            after.cr0 |= cr0::CD | cr0::NW;
        }
        let keeps_apic = self.rules.broken(Defect::InitKeepsApic);
        if let Some(apic) = after.apic.as_deref_mut() {
            if !keeps_apic {
                *apic = apic.after_init();
            }
            apic.waiting_for_sipi = !bootstrap;
        }
        *self.state_mut() = after;
        self.vcpu.undefined_flags = 0;
        self.vcpu.told_by_cpuid = [0; 4];
        self.vcpu.debug = DebugState::default();
        self.vcpu.was_in_shadow = false;
        self.vcpu.activity = if bootstrap {
            Activity::Running
        } else {
            Activity::WaitForSipi
        };
    }

    /// The startup IPI: execution starts at the vector times 4096 in real mode (INIT-SIPI-001).
    fn start_up(&mut self, vector: u8) {
        let vector = if self.rules.broken(Defect::StartupVectorIgnored) {
            0
        } else {
            vector
        };
        let state = self.state_mut();
        let code = state.segment_mut(SegmentName::Cs);
        code.selector = u16::from(vector) << 8;
        code.base = u64::from(vector) << 12;
        state.rip = 0;
        if let Some(apic) = state.apic.as_deref_mut() {
            apic.waiting_for_sipi = false;
        }
        self.vcpu.activity = Activity::Running;
    }
}

impl Machine<'_> {
    /// Between two turns all processors take what they were sent: no sender is so fast that its
    /// INIT could meet a receiver in a state that the receiver entered later.
    pub(super) fn settle_messages(&mut self) {
        for index in 0..self.state().vcpus.len() {
            if self.state().vcpus[index].state.apic.is_some() {
                self.notice_at_exit(index, true);
                let _ = self.processor(index).take_init_and_startup();
            }
        }
    }
}

/// The state after INIT (INIT-STATE-001 to INIT-STATE-005, INIT-STATE-007), but for the local APIC.
#[must_use]
pub fn after_init(before: &VcpuState, segments: SegmentsAfterInit) -> VcpuState {
    let table = DescriptorTable {
        base: 0,
        limit: 0xffff,
    };
    let mut after = VcpuState {
        rip: 0xfff0,
        gdtr: table,
        idtr: table,
        cr0: before.cr0 & (cr0::CD | cr0::NW) | cr0::ET,
        kernel_gs_base: before.kernel_gs_base,
        star: before.star,
        lstar: before.lstar,
        cstar: before.cstar,
        sfmask: before.sfmask,
        sysenter_cs: before.sysenter_cs,
        sysenter_esp: before.sysenter_esp,
        sysenter_eip: before.sysenter_eip,
        smbase: before.smbase,
        machine_check: before.machine_check,
        events: EventState::default(),
        apic: before.apic.clone(),
        ..VcpuState::default()
    };
    after.general[RDX] = u64::from(PROCESSOR_SIGNATURE);
    for name in SegmentName::ALL {
        let code_accessed = segments == SegmentsAfterInit::Accessed;
        let data_accessed = segments != SegmentsAfterInit::NotAccessed;
        let attributes = match name {
            SegmentName::Cs => 0x9a | u32::from(code_accessed),
            SegmentName::Ss => 0x92 | u32::from(code_accessed),
            SegmentName::Ldtr => 0x82,
            SegmentName::Tr if code_accessed => 0x8b,
            SegmentName::Tr => 0x83,
            _ => 0x92 | u32::from(data_accessed),
        };
        *after.segment_mut(name) = Segment {
            selector: 0,
            base: 0,
            limit: 0xffff,
            attributes: SegmentAttributes(attributes),
        };
    }
    let code = after.segment_mut(SegmentName::Cs);
    code.selector = 0xf000;
    code.base = 0xffff_0000;
    after
}
