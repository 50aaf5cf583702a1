//! What it does to a machine that the host reads all of its state at a point and puts it
//! back, into the same virtual machine or another one.

use super::Machine;
use crate::defect::Defect;
use crate::x86::control::{cr0, cr4, efer};
use crate::x86::machine_check;
use crate::x86::processor::{Activity, Processor};
use crate::x86::state::{Shadow, VcpuState};

impl Machine<'_> {
    /// The host saves and restores the state, after it has acted at a point: nothing changes
    /// (STATE-001 to STATE-008). Whether it does so at all is therefore no part of a
    /// scenario. With a defect of this kind on, it does, at every point.
    pub(super) fn save_and_restore(&mut self) {
        let rules = &self.rules;
        for vcpu in &mut self.state.vcpus {
            let asleep = vcpu.activity == Activity::Halted && vcpu.state.apic.is_some();
            if asleep
                && machine_check::is_pending(&vcpu.state.events)
                && rules.broken(Defect::RestoredMachineCheckSleeps)
            {
                vcpu.machine_check_unnoticed = true;
            }
            if rules.broken(Defect::RestoreDropsShutdown) && vcpu.shutdown_pending {
                vcpu.shutdown_pending = false;
                vcpu.machine_check_unnoticed |= asleep;
            }
            let events = &mut vcpu.state.events;
            if rules.broken(Defect::RestoreMergesNmis) {
                events.nmi_pending = events.nmi_pending.min(1);
            }
            if rules.broken(Defect::RestoreDropsSmi) {
                events.smi_pending = false;
            }
            let waits_for_sipi = vcpu.state.apic.as_ref().is_some_and(|apic| apic.waiting_for_sipi);
            if waits_for_sipi && rules.broken(Defect::RestoreRefusesSmiInWaitForSipi) {
                events.smi_pending = false;
            }
            if rules.broken(Defect::RestoreDropsInit) {
                events.init_latched = false;
            }
            if rules.broken(Defect::RestoreDropsInsideNmi) {
                events.smm_inside_nmi = false;
            }
            if rules.broken(Defect::RestoreDropsShadow) {
                events.shadow = Shadow::None;
            }
        }
        if self.rules.broken(Defect::RestoredNmiWakesHalted) {
            for index in 0..self.state.vcpus.len() {
                if self.state.vcpus[index].state.events.nmi_pending > 0 {
                    self.processor(index).disturb();
                }
            }
        }
        if self.rules.broken(Defect::RestoreLosesPdptes) {
            for index in 0..self.state.vcpus.len() {
                self.state.vcpus[index].pdptes_lost = !self.loadable_pdptes(index);
            }
        }
    }

    /// Whether the page-directory-pointer entries, if there are any, can be loaded from memory.
    fn loadable_pdptes(&mut self, index: usize) -> bool {
        let processor = self.processor(index);
        let state = processor.state();
        !pages_with_pae(state) || processor.pdptes_are_legal(state.cr3, state.events.in_smm)
    }

    /// A HLT that the hypervisor cannot read, one byte long, is not stepped over (STATE-001).
    /// False if the hypervisor gives up on it, which it does where HLT is its own business: with
    /// a local APIC. Without one the exit for HLT hides that.
    pub(super) fn step_over_hlt(&mut self, index: usize) -> bool {
        let processor = self.processor(index);
        let unreadable = processor.instructions_are_unreadable();
        let vcpu = &mut self.state.vcpus[index];
        if unreadable {
            vcpu.state.rip = vcpu.state.rip.wrapping_sub(1);
        }
        !unreadable || vcpu.state.apic.is_none()
    }
}

impl Processor<'_, '_> {
    /// With a defect: the hypervisor's own page walk has lost the page-directory-pointer entries, or looks for
    /// them where long mode has them, so that it can emulate no instruction (STATE-001).
    pub(in crate::x86) fn instructions_are_unreadable(&self) -> bool {
        self.vcpu.pdptes_lost && pages_with_pae(self.state())
    }
}

/// Whether paging is on, with PAE and outside long mode.
pub(super) fn pages_with_pae(state: &VcpuState) -> bool {
    state.cr0 & cr0::PG != 0 && state.cr4 & cr4::PAE != 0 && state.efer & efer::LMA == 0
}
