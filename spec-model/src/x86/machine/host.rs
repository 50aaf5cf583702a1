//! What the host does to the machine at a point.

use super::Machine;
use crate::chipset::HostBridge;
use crate::error::ModelError;
use crate::scenario::{Action, Observe, PointId};
use crate::transcript::Stop;
use crate::x86::execute::TOLD_BY_CPUID;
use crate::x86::field::Field;
use crate::x86::processor::Vcpu;
use crate::x86::smm;

impl Machine<'_> {
    pub(super) fn host_events(&mut self, index: usize, point: PointId) -> Result<(), ModelError> {
        let scenario = self.scenario;
        let count = self.state.reached.get_mut(usize::from(point.0)).ok_or_else(|| {
            ModelError::BadScenario(format!(
                "the guest reached sync point {}, which is not declared",
                point.0
            ))
        })?;
        *count += 1;
        // An event that the host raises while the OUT is outstanding is recognised where one is
        // that it raises afterwards: at the boundary behind the OUT (SDM vol. 3A 6.7 and 32.2,
        // APM vol. 2 8.2 and 10.3.1: between instructions).
        for event in scenario.events_at(point, *count, index as u8) {
            for action in &event.actions {
                self.act(action)?;
            }
        }
        Ok(())
    }

    /// Whether the host does not look at the state at this stop.
    pub(super) fn is_unobserved(&self, index: usize, stop: Stop) -> bool {
        if !stop.is_at_point() || self.scenario.observe == Observe::Ends {
            return stop.is_at_point();
        }
        // A HLT is complete when the host sees it.
        let Stop::Sync(point) = stop else { return false };
        let reached = self.state.reached.get(usize::from(point.0)).copied();
        let occurrence = reached.unwrap_or(0) + 1;
        self.scenario
            .raises_before_completion(point, occurrence, index as u8)
    }

    fn act(&mut self, action: &Action) -> Result<(), ModelError> {
        if let Some(vcpu) = looks_at_events(action) {
            self.vcpu(vcpu)?.nmi_awaits_step = false;
        }
        match action {
            Action::Nmi { vcpu } => {
                self.vcpu(*vcpu)?;
                self.processor(usize::from(*vcpu)).latch_nmi();
            }
            Action::Smi { vcpu } => {
                self.vcpu(*vcpu)?;
                self.processor(usize::from(*vcpu)).latch_smi()?;
            }
            Action::MachineCheck { vcpu } => {
                self.vcpu(*vcpu)?;
                self.processor(usize::from(*vcpu)).latch_machine_check();
            }
            Action::Shadow { vcpu, shadow } => self.vcpu(*vcpu)?.state.events.shadow = *shadow,
            Action::SetField { vcpu, field, value } => {
                let field = Field::named(field)
                    .ok_or_else(|| ModelError::BadScenario(format!("no field is called `{field}`")))?;
                let state = &mut self.vcpu(*vcpu)?.state;
                if field.name.starts_with("apic.") && state.apic.is_none() {
                    let message = format!(
                        "the host sets `{}`, but the machine has no local APIC",
                        field.name
                    );
                    return Err(ModelError::BadScenario(message));
                }
                let mut wanted = state.clone();
                field.write(&mut wanted, *value);
                if let Some(number) = TOLD_BY_CPUID.iter().position(|name| *name == field.name) {
                    self.vcpu(*vcpu)?.told_by_cpuid[number] = 0;
                }
                self.set_state_by_host(usize::from(*vcpu), wanted);
            }
            Action::WriteMemory { address, bytes, smm } => {
                if !self.state.memory.write_bytes(*address, bytes, *smm) {
                    let message = format!("the host writes to {address:#x}, where there is no memory");
                    return Err(ModelError::BadScenario(message));
                }
            }
            Action::WriteSaveArea { vcpu, field, value } => {
                let layout = smm::layout(&self.rules);
                let row = layout.row(field).ok_or_else(|| {
                    ModelError::BadScenario(format!("the layout {} has no field `{field}`", layout.name))
                })?;
                let smbase = self.vcpu(*vcpu)?.state.smbase;
                let address = smbase.wrapping_add(row.from_smbase());
                let bytes = &value.to_le_bytes()[..usize::from(row.width).min(8)];
                if !self.state.memory.write_bytes(address, bytes, true) {
                    let message = format!("the state-save area of SMBASE {smbase:#x} is not in RAM");
                    return Err(ModelError::BadScenario(message));
                }
            }
            Action::WriteChipset { register, value } => self.bridge()?.write(*register, *value)?,
            Action::ResetChipset => self.bridge()?.reset()?,
        }
        Ok(())
    }

    fn bridge(&mut self) -> Result<&mut HostBridge, ModelError> {
        let none = || ModelError::BadScenario("the host uses a chipset, and there is none".to_owned());
        self.state.memory.bridge_mut().ok_or_else(none)
    }

    fn vcpu(&mut self, index: u8) -> Result<&mut Vcpu, ModelError> {
        self.state
            .vcpus
            .get_mut(usize::from(index))
            .ok_or_else(|| ModelError::BadScenario(format!("there is no processor {index}")))
    }
}

/// The processor whose pending events the hypervisor looks at when the host acts: only registers
/// that travel through KVM_SET_MSRS and KVM_SET_DEBUGREGS leave them alone, and what is in memory.
fn looks_at_events(action: &Action) -> Option<u8> {
    match action {
        Action::Nmi { vcpu }
        | Action::Smi { vcpu }
        | Action::MachineCheck { vcpu }
        | Action::Shadow { vcpu, .. } => Some(*vcpu),
        Action::SetField { vcpu, field, .. } => {
            let quiet = Field::named(field).is_some_and(Field::is_set_without_events);
            (!quiet).then_some(*vcpu)
        }
        Action::WriteMemory { .. }
        | Action::WriteSaveArea { .. }
        | Action::WriteChipset { .. }
        | Action::ResetChipset => None,
    }
}
