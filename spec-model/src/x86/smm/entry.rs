//! Entering system-management mode.

use super::{layout, save_area, shift_attributes};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::{IdtrOnEntry, ShadowKinds};
use crate::requirement::SMM_ENTRY_010;
use crate::x86::control::{cr0, flag};
use crate::x86::processor::{Activity, Processor};
use crate::x86::save_area::{Content, Extras, Layout, SAVE_AREA_OFFSET};
use crate::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use crate::x86::state::{Shadow, VcpuState};

/// Offset of the SMI handler from SMBASE, in bytes.
const HANDLER_OFFSET: u64 = 0x8000;
/// A present, writable, accessed data segment with a limit in pages: what all segment
/// registers hold in SMM, CS included.
const SMM_SEGMENT: SegmentAttributes = SegmentAttributes(0x8093);

/// Rows of the state-save area that hold leftovers of unusable segment registers, with the
/// bits that mean nothing (SEG-CACHE-002). P says that the register is unusable; the base
/// is meaningful in FS and GS.
fn leftovers(saved: &VcpuState, layout: &Layout) -> Vec<(&'static str, u64)> {
    let wide = layout.row("es.attributes").is_some_and(|row| row.width == 4);
    let present = if wide { 0x8000 } else { 0x80 };
    let rows = [
        (SegmentName::Es, "es.attributes", "es.limit", "es.base"),
        (SegmentName::Ss, "ss.attributes", "ss.limit", "ss.base"),
        (SegmentName::Ds, "ds.attributes", "ds.limit", "ds.base"),
        (SegmentName::Fs, "fs.attributes", "fs.limit", ""),
        (SegmentName::Gs, "gs.attributes", "gs.limit", ""),
        (SegmentName::Ldtr, "ldtr.attributes", "ldtr.limit", "ldtr.base"),
    ];
    let unusable = rows
        .into_iter()
        .filter(|row| saved.segment(row.0).attributes.unusable());
    unusable
        .flat_map(|(_, attributes, limit, base)| {
            [(attributes, !present), (limit, u64::MAX), (base, u64::MAX)]
        })
        .filter(|(row, _)| !row.is_empty())
        .collect()
}

impl Processor<'_, '_> {
    /// Takes an SMI: writes the state-save area and starts the handler (SMM-ENTRY-001 to
    /// SMM-ENTRY-014, SMM-SAVE-001 to SMM-SAVE-009).
    ///
    /// # Errors
    /// If the state-save area lies outside RAM.
    pub fn enter_smm(&mut self) -> Result<(), ModelError> {
        let halted = self.vcpu.activity == Activity::Halted;
        self.write_save_area(halted)?;
        self.vcpu.activity = Activity::Running;
        self.vcpu.smis_taken = self.vcpu.smis_taken.wrapping_add(1);
        self.vcpu.single_step_pending = false;
        self.enter_smm_events();
        self.enter_smm_registers();
        Ok(())
    }

    fn write_save_area(&mut self, halted: bool) -> Result<(), ModelError> {
        let layout = layout(self.rules);
        let mut saved = self.state().clone();
        if self.rules.broken(Defect::ShadowLostAcrossSmm) {
            saved.events.shadow = Shadow::None;
        }
        for name in SegmentName::ALL {
            let cached = self.rules.cached(*saved.segment(name));
            *saved.segment_mut(name) = cached;
        }
        self.vcpu.save_area_leftovers = leftovers(&saved, layout);
        let extras = Extras {
            halted: halted && !self.rules.broken(Defect::AutoHaltIgnored),
            one_shadow: self.rules.profile.shadow_kinds == ShadowKinds::One,
        };
        let mut area = layout.encode(&saved, extras);
        shift_attributes(layout, &mut area, self.rules, |flags| flags >> 8);
        if self.rules.broken(Defect::SaveAreaKeepsReserved)
            && let Some(before) = save_area(&saved, self.memory)
        {
            for row in layout.rows.iter().filter(|row| row.content == Content::Zero) {
                let bytes = row.index()..row.index() + usize::from(row.width);
                area[bytes.clone()].copy_from_slice(&before[bytes]);
            }
        }
        let address = saved.smbase.wrapping_add(SAVE_AREA_OFFSET);
        if self.memory.write_bytes(address, &area, true) {
            Ok(())
        } else {
            Err(ModelError::BadScenario(format!(
                "the state-save area at {address:#x} is not in RAM"
            )))
        }
    }

    /// SMM-ENTRY-011, SMM-ENTRY-013, NMI-SMM-002.
    fn enter_smm_events(&mut self) {
        let keeps_nmi_mask = self.rules.broken(Defect::SmiKeepsNmiMask);
        let events = &mut self.state_mut().events;
        events.smi_pending = false;
        events.in_smm = true;
        events.smm_inside_nmi = events.nmi_masked;
        if !keeps_nmi_mask {
            events.nmi_masked = true;
        }
        events.shadow = Shadow::None;
    }

    /// SMM-ENTRY-002 to SMM-ENTRY-010, and with CR0.PE clear the rules of real mode
    /// (SMM-RUN-001).
    fn enter_smm_registers(&mut self) {
        let idtr = self
            .rules
            .choices
            .settle(self.rules.profile.idtr_on_entry, &SMM_ENTRY_010);
        let keeps_idtr = idtr == IdtrOnEntry::Kept || self.rules.broken(Defect::IdtrKeptOnEntry);
        let keeps_cr4 = self.rules.broken(Defect::Cr4KeptOnEntry);
        let keeps_limits = self.rules.broken(Defect::DataLimitsKeptOnEntry);
        let has_efer = self.rules.cpuid.long_mode;
        self.load_flags(flag::FIXED);
        let state = self.state_mut();
        state.rip = HANDLER_OFFSET;
        state.cr0 &= !(cr0::PE | cr0::EM | cr0::TS | cr0::PG);
        if !keeps_cr4 {
            state.cr4 = 0;
        }
        state.dr7 = 0x400;
        if has_efer {
            state.efer = 0;
        }
        if !keeps_idtr {
            state.idtr = DescriptorTable::default();
        }
        let smbase = state.smbase;
        for name in [
            SegmentName::Ds,
            SegmentName::Es,
            SegmentName::Fs,
            SegmentName::Gs,
            SegmentName::Ss,
        ] {
            let segment = state.segment_mut(name);
            let limit = if keeps_limits { segment.limit } else { 0xffff_ffff };
            *segment = Segment {
                selector: 0,
                base: 0,
                limit,
                attributes: SMM_SEGMENT,
            };
        }
        *state.segment_mut(SegmentName::Cs) = Segment {
            selector: (smbase >> 4) as u16,
            base: smbase,
            limit: 0xffff_ffff,
            attributes: SMM_SEGMENT,
        };
    }
}
