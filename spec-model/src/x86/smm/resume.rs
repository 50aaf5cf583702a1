//! RSM: leaving system-management mode.

use super::{layout, save_area, shift_attributes};
use crate::defect::Defect;
use crate::profile::{AutoHaltSet, Choice, EITHER_AUTO_HALT_SET, NmiMaskAfterRsm};
use crate::requirement::{NMI_SMM_002, SMM_RSM_023};
use crate::x86::control::{PHYSICAL_ADDRESS_BITS, cr0, dr6_loaded, dr7_loaded, efer, flag};
use crate::x86::exception::{Exception, Step};
use crate::x86::paging::{Privilege, Purpose};
use crate::x86::processor::{Activity, Processor};
use crate::x86::save_area::{Content, Layout};
use crate::x86::segment::{SegmentAttributes, SegmentName};
use crate::x86::state::VcpuState;

/// Bits 63:32.
const UPPER_HALF: u64 = 0xffff_ffff_0000_0000;

impl Processor<'_, '_> {
    /// RSM (SMM-RSM-001 to SMM-RSM-019, CHIPSET-ENTRY-001, CHIPSET-RSM-001).
    pub(in crate::x86) fn resume_from_smm(&mut self) -> Step {
        if !self.state().events.in_smm {
            let ignored = self.rules.broken(Defect::RsmOutsideSmmIgnored);
            return if ignored {
                Ok(())
            } else {
                Err(Exception::UNDEFINED.into())
            };
        }
        let layout = layout(self.rules);
        // Where nothing answers, all ones are no image that RSM accepts (CHIPSET-ENTRY-001).
        let area = self.read_save_area(layout);
        if area.is_none() && self.rules.broken(Defect::UnreadableSaveAreaIsInternalError) {
            self.vcpu.activity = Activity::GivenUp;
            return Ok(());
        }
        let nothing = || vec![0xff; layout.size()];
        let mut area = area.unwrap_or_else(nothing);
        shift_attributes(layout, &mut area, self.rules, |flags| flags << 8);
        self.leave_smm_events();
        let mut restored = self.restored(layout, &area);
        self.restart_io(&area, &mut restored)?;
        if self.rules.broken(Defect::RsmHonoursReserved) && !reserved_is_clear(layout, &area) {
            self.vcpu.activity = Activity::Shutdown;
            return Ok(());
        }
        if !self.image_is_legal(&restored) && !self.rules.broken(Defect::RsmAcceptsIllegalImage) {
            let mut but_for_cr3 = restored.clone();
            but_for_cr3.cr3 &= (1 << PHYSICAL_ADDRESS_BITS) - 1;
            let gives_up = self.rules.broken(Defect::RsmFailureIsInternalError)
                || self.rules.broken(Defect::RsmFailureButCr3IsInternalError)
                    && !self.image_is_legal(&but_for_cr3);
            self.vcpu.activity = if gives_up {
                Activity::GivenUp
            } else {
                Activity::Shutdown
            };
            return Ok(());
        }
        if restored.cr3 >> PHYSICAL_ADDRESS_BITS != 0 {
            // Legal only with a defect: an implementation that goes on fails later.
            self.vcpu.activity = Activity::EntryFailed;
            return Ok(());
        }
        if let Some(end) = self.end_of_odd_image(&restored) {
            self.vcpu.activity = end;
            return Ok(());
        }
        self.put_odd_image_right(&mut restored)?;
        *self.state_mut() = restored;
        self.vcpu.kept_in_smm = None;
        self.vcpu.interrupted_io = None;
        self.vcpu.dr6_undefined = false;
        self.vcpu.debug.undefined = 0;
        self.vcpu.undefined_flags = 0;
        self.vcpu.told_by_cpuid = [0; 4];
        self.vcpu.debug.trap |= std::mem::take(&mut self.vcpu.debug.after_rsm);
        if self.returns_to_halt(layout, &area) {
            self.vcpu.activity = Activity::Halted;
        }
        self.fail_in_virtual_8086();
        Ok(())
    }

    /// Auto-HALT restart: by the field that SMM entry set for a halted processor (SMM-RSM-008), or the
    /// handler for one that was not (SMM-RSM-023).
    fn returns_to_halt(&mut self, layout: &Layout, area: &[u8]) -> bool {
        let row = layout.rows.iter().find(|row| row.content == Content::AutoHalt);
        let field = row.map_or(0, |row| row.read(area));
        if field == 0 || self.rules.broken(Defect::AutoHaltIgnored) {
            return false;
        }
        let choice = match (field & 1 != 0, self.vcpu.halted_at_smi) {
            (true, true) => return true,
            (true, false) if self.rules.broken(Defect::AutoHaltSetByHandlerIgnored) => return false,
            (true, false) => self.rules.profile.auto_halt_set,
            // The manuals know bit 0 only.
            (false, _) => EITHER_AUTO_HALT_SET,
        };
        self.rules.choices.settle_for_good(choice, &SMM_RSM_023) == AutoHaltSet::Halts
    }

    /// The state-save area, read at guest-physical addresses whatever the paging of the
    /// handler (CHIPSET-RSM-002).
    fn read_save_area(&mut self, layout: &Layout) -> Option<Vec<u8>> {
        if self.rules.broken(Defect::RsmClosesSmramFirst) {
            let first = self.state().smbase.wrapping_add(layout.offset());
            return self.memory.read_bytes(first, layout.size(), false);
        }
        if !self.rules.broken(Defect::SmramReadThroughLinearAddress) {
            return save_area(self.rules, self.state(), self.memory);
        }
        let first = self.state().smbase.wrapping_add(layout.offset());
        let byte = |offset: usize| {
            let linear = self.wrap(first.wrapping_add(offset as u64));
            let physical = self.translate(linear, Purpose::Read, Privilege::System).ok()?;
            self.memory.read(physical, 1, true).map(|byte| byte as u8)
        };
        (0..layout.size()).map(byte).collect()
    }

    /// NMI-SMM-002, NMI-SMM-004, NMI-SMM-005. One implementation does the same every time, and
    /// where every choice comes to the same there is none.
    fn leave_smm_events(&mut self) {
        let events = self.state().events;
        let masked = |rule| match rule {
            NmiMaskAfterRsm::Restored => events.smm_inside_nmi,
            NmiMaskAfterRsm::KeptInsideNmi => events.nmi_masked && events.smm_inside_nmi,
            NmiMaskAfterRsm::Cleared => false,
        };
        let choice = match self.rules.profile.nmi_mask_after_rsm {
            Choice::AnyOf(rules) if rules.iter().all(|rule| masked(*rule) == masked(rules[0])) => {
                Choice::Always(rules[0])
            }
            choice => choice,
        };
        let rule = self.rules.choices.settle_for_good(choice, &NMI_SMM_002);
        let masked = match () {
            () if self.rules.broken(Defect::RsmClearsNmiMask) => false,
            () if self.rules.broken(Defect::RsmKeepsNmiMask) => events.nmi_masked,
            () => masked(rule),
        };
        let keeps_inside_nmi = self.rules.broken(Defect::RsmKeepsInsideNmi);
        let events = &mut self.state_mut().events;
        events.nmi_masked = masked;
        events.in_smm = false;
        events.smm_inside_nmi &= keeps_inside_nmi;
    }

    /// The state that the image describes, and what the processor keeps besides
    /// (SMM-FORMAT-002, SMM-SSP-001, SMM-KEEP-001, SMM-KEEP-002, SMM-IMAGE-001 to SMM-IMAGE-003).
    fn restored(&self, layout: &Layout, area: &[u8]) -> VcpuState {
        let old = self.state();
        let mut new = old.clone();
        if let Some(kept) = &self.vcpu.kept_in_smm {
            for field in layout.missing() {
                field.write(&mut new, field.read(kept));
            }
        }
        let shadow_stack = self.rules.cpuid.shadow_stack && !self.rules.broken(Defect::SspLostAcrossSmm);
        layout.restore(area, &mut new, shadow_stack);
        let image_et = new.cr0 & cr0::ET;
        new.cr0 = new.cr0 & (cr0::DEFINED | !0xffff_ffff) | cr0::ET;
        if self.rules.broken(Defect::RsmLeavesEtClear) {
            new.cr0 = new.cr0 & !cr0::ET | image_et;
        }
        if !self.rules.broken(Defect::RsmLoadsFixedBits) {
            new.rflags |= flag::FIXED;
            let bus_lock = self.reports_bus_locks();
            // The upper halves stay for the check of the whole image.
            new.dr6 = new.dr6 & UPPER_HALF | dr6_loaded(new.dr6 & !UPPER_HALF, bus_lock);
            new.dr7 = new.dr7 & UPPER_HALF | dr7_loaded(new.dr7 & !UPPER_HALF);
        }
        if self.rules.broken(Defect::RsmKeepsCr0) {
            new.cr0 = old.cr0;
        }
        if self.rules.broken(Defect::RsmTurnsPagingOff) {
            new.cr0 &= !cr0::PG;
        }
        if self.rules.broken(Defect::RsmKeepsCr4) {
            new.cr4 = old.cr4;
        }
        if self.rules.broken(Defect::RsmKeepsEfer) {
            new.efer = old.efer;
        }
        if self.rules.broken(Defect::RsmKeepsDebug) {
            (new.dr6, new.dr7) = (old.dr6, old.dr7);
        }
        if self.rules.broken(Defect::RsmKeepsFlags) {
            new.rflags = old.rflags;
        }
        if self.rules.broken(Defect::RsmGoesOnBehindItself) {
            new.rip = old.rip;
        }
        if self.rules.broken(Defect::RsmKeepsGeneral) {
            new.general = old.general;
        }
        if self.rules.broken(Defect::RsmClearsCr2) {
            new.cr2 = 0;
            new.debug_address[0] = 0;
        }
        if self.rules.cpuid.long_mode && !self.rules.broken(Defect::RsmLoadsLma) {
            let active = new.efer & efer::LME != 0 && new.cr0 & cr0::PG != 0;
            new.efer = new.efer & !efer::LMA | if active { efer::LMA } else { 0 };
        }
        if self.rules.broken(Defect::ShadowLostAcrossSmm) {
            new.events.shadow = old.events.shadow;
        }
        if self.rules.broken(Defect::RsmScalesLimits) {
            for name in SegmentName::ALL {
                let segment = new.segment_mut(name);
                let low = segment.limit & 0xf_ffff;
                segment.limit = if segment.attributes.granularity() {
                    low << 12 | 0xfff
                } else {
                    low
                };
            }
        }
        if self.rules.broken(Defect::RsmDropsDebugUpperHalf) {
            new.dr6 &= 0xffff_ffff;
            new.dr7 &= 0xffff_ffff;
        }
        if self.rules.broken(Defect::RsmDropsControlUpperHalf) {
            new.cr0 &= !UPPER_HALF;
            new.cr4 &= !UPPER_HALF;
        }
        if self.rules.broken(Defect::RsmTruncatesRip) && self.code_bits() != 64 {
            new.rip &= 0xffff_ffff;
        }
        if self.rules.broken(Defect::SmbaseNotRelocated) {
            new.smbase = old.smbase;
        } else if self.rules.broken(Defect::SmbaseAligned) {
            new.smbase &= !0x7fff;
        }
        if self.rules.broken(Defect::SmbaseGatedByRevision) && !relocates(layout, area) {
            new.smbase = old.smbase;
        }
        if self.rules.broken(Defect::RsmKeepsCr3) {
            new.cr3 = old.cr3;
        }
        if self.rules.broken(Defect::RsmDropsSelectors) {
            for name in &SegmentName::ALL[..6] {
                new.segment_mut(*name).selector = old.segment(*name).selector;
            }
        }
        if self.rules.broken(Defect::RsmLoadsSixteenRegisters) && !self.rules.cpuid.long_mode {
            let values = [new.rip, new.rflags, new.cr3, new.cr0];
            new.general[8..12].copy_from_slice(&values);
        }
        if self.rules.broken(Defect::RsmReloadsAttributes) {
            for name in &SegmentName::ALL[..6] {
                new.segment_mut(*name).attributes = SegmentAttributes(0x93);
            }
        }
        new
    }
}

/// Whether the bytes of the image hold 0 that RSM should not look at (SMM-IMAGE-001).
fn reserved_is_clear(layout: &Layout, area: &[u8]) -> bool {
    let mut reserved = layout.rows.iter().filter(|row| row.content == Content::Zero);
    reserved.all(|row| area[row.range(layout.size())].iter().all(|byte| *byte == 0))
}

/// Whether the revision identifier of the image has the relocation bit, which RSM should not
/// look at (SMM-RSM-014).
fn relocates(layout: &Layout, area: &[u8]) -> bool {
    const RELOCATION: u64 = 1 << 17;
    let row = layout.rows.iter().find(|row| row.content == Content::Revision);
    row.is_some_and(|row| row.read(area) & RELOCATION != 0)
}
