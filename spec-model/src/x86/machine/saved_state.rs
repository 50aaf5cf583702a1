//! What it does to a machine that the host reads all of its state at a point and puts it
//! back, into the same virtual machine or another one.

use super::Machine;
use crate::defect::Defect;
use crate::x86::control::{cr0, cr4, efer};
use crate::x86::state::{Shadow, VcpuState};

impl Machine<'_> {
    /// The host saves and restores the state, after it has acted at a point: nothing changes
    /// (STATE-001 to STATE-005). Whether it does so at all is therefore no part of a
    /// scenario. With a defect of this kind on, it does, at every point.
    pub(super) fn save_and_restore(&mut self) {
        let rules = &self.rules;
        for vcpu in &mut self.state.vcpus {
            let events = &mut vcpu.state.events;
            if rules.broken(Defect::RestoreMergesNmis) {
                events.nmi_pending = events.nmi_pending.min(1);
            }
            if rules.broken(Defect::RestoreDropsSmi) {
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
    pub(super) fn step_over_hlt(&mut self, index: usize) {
        let lost = self.rules.broken(Defect::RestoreLosesPdptes);
        let vcpu = &mut self.state.vcpus[index];
        if lost && vcpu.pdptes_lost && pages_with_pae(&vcpu.state) {
            vcpu.state.rip = vcpu.state.rip.wrapping_sub(1);
        }
    }
}

/// Whether paging is on, with PAE and outside long mode.
fn pages_with_pae(state: &VcpuState) -> bool {
    state.cr0 & cr0::PG != 0 && state.cr4 & cr4::PAE != 0 && state.efer & efer::LMA == 0
}
