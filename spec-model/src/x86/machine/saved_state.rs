//! What it does to a machine that the host reads all of its state at a point and puts it
//! back, into the same virtual machine or another one.

use super::Machine;
use crate::defect::Defect;
use crate::x86::state::Shadow;

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
            if rules.broken(Defect::RestoreDropsInsideNmi) {
                events.smm_inside_nmi = false;
            }
            if rules.broken(Defect::RestoreDropsShadow) {
                events.shadow = Shadow::None;
            }
        }
    }
}
