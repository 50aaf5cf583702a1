//! What the host does at a point.

use spec_model::chipset::HostBridge;
use spec_model::scenario::{Action, PointId};
use spec_model::x86::field::Field;
use spec_model::x86::save_area::{KVM_32, KVM_64, Layout, SAVE_AREA_OFFSET, SAVE_AREA_SIZE};
use spec_model::x86::state::Shadow;

use super::failure::Failure;
use super::session::{Part, Session};

impl Session<'_> {
    /// Carries out the events of a point that `by` has just reached.
    ///
    /// # Errors
    /// If an action names what does not exist, the backend cannot do it, or KVM fails.
    pub(super) fn host_events(&mut self, point: PointId, by: u8) -> Result<(), Failure> {
        let reached = &mut self.reached[usize::from(point.0)];
        *reached = reached.saturating_add(1);
        let occurrence = *reached;
        let scenario = self.scenario;
        for event in &scenario.events {
            let applies = event.at == point
                && event.occurrence.is_none_or(|number| number == occurrence)
                && event.by.is_none_or(|vcpu| vcpu == by);
            if applies {
                for action in &event.actions {
                    self.act(action)?;
                }
            }
        }
        Ok(())
    }

    /// Lets halted processors go on for which the host raised an event that is not blocked.
    ///
    /// # Errors
    /// If KVM does not tell what is blocked.
    pub(super) fn wake_halted(&mut self) -> Result<(), Failure> {
        for (part, vcpu) in self.parts.iter_mut().zip(&mut self.machine.vcpus) {
            if let Part::Halted {
                nmi,
                smi,
                machine_check,
            } = *part
                && (nmi || smi || machine_check)
            {
                let events = vcpu.events()?;
                if machine_check || nmi && !events.nmi_masked || smi && !events.in_smm {
                    *part = Part::Running;
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), Failure> {
        match action {
            Action::Nmi { vcpu } => {
                self.machine.vcpu(*vcpu)?.nmi()?;
                if let Some(Part::Halted { nmi, .. }) = self.parts.get_mut(usize::from(*vcpu)) {
                    *nmi = true;
                }
            }
            Action::Smi { vcpu } => {
                self.machine.vcpu(*vcpu)?.smi()?;
                if let Some(Part::Halted { smi, .. }) = self.parts.get_mut(usize::from(*vcpu)) {
                    *smi = true;
                }
            }
            Action::MachineCheck { vcpu } => {
                self.machine.vcpu(*vcpu)?.machine_check()?;
                self.note_machine_check();
                if let Some(Part::Halted { machine_check, .. }) = self.parts.get_mut(usize::from(*vcpu)) {
                    *machine_check = true;
                }
            }
            Action::Shadow { vcpu, shadow } => self.set_shadow(*vcpu, *shadow)?,
            Action::SetField { vcpu, field, value } => self.set_field(*vcpu, field, *value)?,
            Action::WriteMemory { address, bytes, smm } => {
                if !self.machine.memory.write(*address, *smm, bytes) {
                    return Err(Failure::BadScenario(format!(
                        "the host writes {} bytes at {address:#x}, where there is no RAM{}",
                        bytes.len(),
                        if *smm { " in SMM" } else { "" }
                    )));
                }
            }
            Action::WriteSaveArea { vcpu, field, value } => self.write_save_area(*vcpu, field, *value)?,
            Action::WriteChipset { register, value } => self
                .machine
                .change_chipset(|bridge| bridge.write(*register, *value))?,
            Action::ResetChipset => self.machine.change_chipset(HostBridge::reset)?,
        }
        Ok(())
    }

    /// What the host sets in vain is noted, and the run goes on with the state as it was.
    fn set_shadow(&mut self, vcpu: u8, shadow: Shadow) -> Result<(), Failure> {
        let set = self.machine.vcpu(vcpu)?.set_shadow(shadow);
        self.note_faults(set)
    }

    fn set_field(&mut self, vcpu: u8, name: &str, value: u64) -> Result<(), Failure> {
        let field = Field::named(name)
            .ok_or_else(|| Failure::BadScenario(format!("no processor state field is called `{name}`")))?;
        let set = self.machine.vcpu(vcpu)?.set_field(field, value);
        self.note_faults(set)
    }

    fn write_save_area(&mut self, vcpu: u8, name: &str, value: u64) -> Result<(), Failure> {
        let layout: &Layout = if self.scenario.cpuid.long_mode {
            &KVM_64
        } else {
            &KVM_32
        };
        let row = layout.row(name).ok_or_else(|| {
            Failure::BadScenario(format!(
                "the save-area layout {} has no field `{name}`",
                layout.name
            ))
        })?;
        let smbase = self.machine.vcpu(vcpu)?.state()?.smbase;
        let address = smbase.wrapping_add(SAVE_AREA_OFFSET);
        let mut area = vec![0; SAVE_AREA_SIZE];
        let memory = &mut self.machine.memory;
        let there = memory.read(address, true, &mut area);
        row.write(&mut area, value);
        // Nothing but the row's own bytes, so that no other byte can count as written.
        let row_bytes: Vec<u8> = area[row.range(area.len())].iter().take(8).copied().collect();
        if there && memory.write(smbase.wrapping_add(row.from_smbase()), true, &row_bytes) {
            Ok(())
        } else {
            Err(Failure::BadScenario(format!(
                "the host writes the save area at {address:#x}, where there is no RAM in SMM"
            )))
        }
    }
}
