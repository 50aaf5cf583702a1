//! The host sets the state of a processor.

use super::Machine;
use super::saved_state::pages_with_pae;
use crate::defect::Defect;
use crate::host_state::{EINVAL, Fault, HostCall, StateFault, Taken, take, told_wrongly};
use crate::x86::control::efer;
use crate::x86::field::Field;
use crate::x86::state::VcpuState;

impl Machine<'_> {
    /// The host gives every processor the state that the scenario starts with. A paravirtual guest of
    /// Xen gets its own in another way.
    pub(super) fn take_initial_state(&mut self) {
        if self.scenario.needs_xen_pv() {
            return;
        }
        let before = VcpuState {
            dr6: 0xffff_0ff0,
            ..VcpuState::default()
        };
        for (index, wanted) in self.scenario.vcpus.iter().enumerate() {
            self.give(index, &before, wanted.clone());
        }
    }

    /// The host changes the state of a processor at a point.
    pub(super) fn set_state_by_host(&mut self, index: usize, wanted: VcpuState) {
        let Some(vcpu) = self.state.vcpus.get_mut(index) else {
            return;
        };
        let before = vcpu.state.clone();
        let from_long_mode = before.efer & efer::LMA != 0 && pages_with_pae(&wanted);
        if from_long_mode && (before.cr0, before.cr4) == (wanted.cr0, wanted.cr4) {
            vcpu.pdptes_lost |= self.rules.broken(Defect::LongModeWalkKept);
        }
        self.give(index, &before, wanted);
    }

    fn give(&mut self, index: usize, before: &VcpuState, wanted: VcpuState) {
        let faults: Vec<Fault> = match take(before, &wanted, &self.rules) {
            Taken::Whole => Vec::new(),
            Taken::Unenterable => {
                self.state.vcpus[index].unenterable = true;
                Vec::new()
            }
            Taken::Refused => {
                self.note_faults(
                    index,
                    vec![Fault::Refused {
                        call: HostCall::SetSregs,
                        errno: EINVAL,
                    }],
                );
                return;
            }
            Taken::Without(lost) => lost
                .into_iter()
                .filter_map(Field::named)
                .map(|field| Fault::NotKept {
                    field: field.name.to_owned(),
                    set: field.read(&wanted),
                    read: field.read(before),
                })
                .collect(),
        };
        let lost: Vec<&'static Field> = faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::NotKept { field, .. } => Field::named(field),
                _ => None,
            })
            .collect();
        let state = &mut self.state.vcpus[index].state;
        *state = wanted;
        for field in lost {
            field.write(state, field.read(before));
        }
        let told = told_wrongly(index, state, &self.rules);
        self.note_faults(index, faults);
        self.note_faults(index, told);
    }

    fn note_faults(&mut self, index: usize, faults: Vec<Fault>) {
        let after = u32::try_from(self.state.observed)
            .ok()
            .and_then(|observed| observed.checked_sub(1));
        let vcpu = u8::try_from(index).unwrap_or(u8::MAX);
        self.state_faults
            .extend(faults.into_iter().map(|what| StateFault { vcpu, after, what }));
    }
}
