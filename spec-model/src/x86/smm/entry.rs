//! Entering system-management mode.

use super::{layout, save_area, shift_attributes};
use crate::defect::Defect;
use crate::profile::{Choice, Dr6OnEntry, EferOnEntry, IdtrOnEntry, ShadowKinds};
use crate::requirement::{Requirement, SEG_CACHE_002, SMM_ENTRY_010, SMM_FORMAT_004, SMM_LATCH_003};
use crate::x86::control::{cr0, efer, flag};
use crate::x86::processor::{Activity, Processor};
use crate::x86::save_area::{AttributeEncoding, Content, Extras, Layout, Rest, Unwritten};
use crate::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use crate::x86::state::{RAX, RSP, Shadow, VcpuState};

/// Offset of the SMI handler from SMBASE, in bytes.
const HANDLER_OFFSET: u64 = 0x8000;
/// A present, writable, accessed data segment with a limit in pages: what all segment
/// registers hold in SMM, CS included.
const SMM_SEGMENT: SegmentAttributes = SegmentAttributes(0x8093);

/// A row of the state-save area, bits of it that may be anything, and why.
type Leftover = (&'static str, u64, &'static Requirement);

/// Bits of the state-save area that mean nothing: leftovers in unusable segment registers
/// (SEG-CACHE-002), I/O fields when the SMI followed no I/O instruction (SMM-IO-001), bits of
/// the revision identifier that differ between processors (SMM-FORMAT-005), and the private
/// ones in Bochs' access rights (SMM-FORMAT-004).
fn leftovers(saved: &VcpuState, layout: &Layout, followed_io: bool) -> Vec<Leftover> {
    let mut found = unusable_segments(saved, layout);
    for row in layout.rows {
        let bits = match row.content {
            Content::Io(field) => field.open_bits(followed_io),
            Content::Revision => u64::from(layout.revision_varies),
            _ => 0,
        };
        if bits != 0 {
            found.push((row.name, bits, layout.requirement(row)));
        }
        if let Content::Attributes { encoding, .. } = row.content
            && encoding == AttributeEncoding::WithValidBit
        {
            found.push((row.name, BOCHS_ACCESS_BITS, &SMM_FORMAT_004));
        }
    }
    found
}

/// Whether Bochs has checked the segment for reading and writing since it was loaded, ORed over
/// AVL (Bochs `cpu/descriptor.h`, `SegAccessROK` to `SegAccessWOK4G`, shifted by 8).
const BOCHS_ACCESS_BITS: u64 = 0x1e00;

/// What says whether the register is usable is meaningful, and so is the base in FS and GS.
fn unusable_segments(saved: &VcpuState, layout: &Layout) -> Vec<Leftover> {
    let rows = [
        (SegmentName::Es, "es"),
        (SegmentName::Ss, "ss"),
        (SegmentName::Ds, "ds"),
        (SegmentName::Fs, "fs"),
        (SegmentName::Gs, "gs"),
        (SegmentName::Ldtr, "ldtr"),
    ];
    let unusable = rows
        .into_iter()
        .filter(|row| saved.segment(row.0).attributes.unusable());
    let mut found = Vec::new();
    for (name, prefix) in unusable {
        let base_is_observable = matches!(name, SegmentName::Fs | SegmentName::Gs);
        for row in layout.rows {
            let bits = match row.name.split_once('.') {
                Some((register, _)) if register != prefix => 0,
                Some((_, "attributes")) => match row.content {
                    Content::Attributes { encoding, .. } => !encoding.usable_bits(),
                    _ => 0,
                },
                Some((_, "limit")) => u64::MAX,
                Some((_, "base" | "base-low" | "base-high")) if !base_is_observable => u64::MAX,
                _ => 0,
            };
            if bits != 0 {
                found.push((row.name, bits, &SEG_CACHE_002));
            }
        }
    }
    found
}

/// A single-step trap that was pending when an SMI was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingTrap {
    /// It follows after RSM.
    AfterRsm,
    /// It is lost.
    Lost,
}

impl Processor<'_, '_> {
    /// Takes an SMI: writes the state-save area and starts the handler (SMM-ENTRY-001 to
    /// SMM-ENTRY-014, SMM-SAVE-001 to SMM-SAVE-009). What of the area finds no memory is lost
    /// (CHIPSET-ENTRY-001).
    pub fn enter_smm(&mut self) {
        let halted = self.vcpu.activity == Activity::Halted;
        self.vcpu.halted_at_smi = halted;
        let written = self.write_save_area(halted);
        if !written && self.rules.broken(Defect::EntryWithoutMemoryIsFatal) {
            self.vcpu.activity = Activity::Dead;
            return;
        }
        self.vcpu.activity = Activity::Running;
        self.vcpu.smis_taken = self.vcpu.smis_taken.wrapping_add(1);
        self.put_off_debug_trap();
        let in_shadow = self.state().events.shadow != Shadow::None;
        if in_shadow && self.rules.broken(Defect::ShadowKeptOnEntry) {
            self.vcpu.activity = Activity::EntryFailed;
        }
        self.enter_smm_events();
        self.enter_smm_registers();
    }

    /// Nothing says what becomes of a debug trap over which the SMI took precedence
    /// (SMM-LATCH-003): it may be lost, or follow after RSM.
    fn put_off_debug_trap(&mut self) {
        const EITHER: Choice<PendingTrap> = Choice::AnyOf(&[PendingTrap::AfterRsm, PendingTrap::Lost]);
        let debug = std::mem::take(&mut self.vcpu.debug);
        let causes = debug.trap | debug.held;
        if causes != 0 {
            let choice = self.rules.choices.settle(EITHER, &SMM_LATCH_003);
            let follows = choice == PendingTrap::AfterRsm;
            self.vcpu.debug.after_rsm = if follows { causes } else { 0 };
        }
    }

    /// Says whether all of it was written to memory.
    fn write_save_area(&mut self, halted: bool) -> bool {
        let layout = layout(self.rules);
        let mut saved = self.state().clone();
        if self.rules.broken(Defect::ShadowLostAcrossSmm) {
            saved.events.shadow = Shadow::None;
        }
        for name in SegmentName::ALL {
            let cached = self.rules.cached(*saved.segment(name));
            *saved.segment_mut(name) = cached;
        }
        if self.rules.broken(Defect::SaveArea64LimitInPages) && self.rules.cpuid.long_mode {
            for name in SegmentName::ALL {
                let segment = saved.segment_mut(name);
                if segment.attributes.granularity() {
                    segment.limit >>= 12;
                }
            }
        }
        let recorded = !self.rules.broken(Defect::IoInstructionNotRecorded);
        let io = self.vcpu.last_io.take().filter(|_| recorded);
        self.vcpu.interrupted_io = io;
        self.vcpu.save_area_leftovers = leftovers(&saved, layout, io.is_some());
        let extras = Extras {
            halted: halted && !self.rules.broken(Defect::AutoHaltIgnored),
            one_shadow: self.rules.profile.shadow_kinds == ShadowKinds::One,
            shadow_stack: self.rules.cpuid.shadow_stack && !self.rules.broken(Defect::SspLostAcrossSmm),
            io,
        };
        let mut area = match save_area(self.rules, &saved, self.memory) {
            Some(before) if layout.unwritten != Unwritten::Zero => before,
            _ => vec![0; layout.size()],
        };
        layout.encode_over(&mut area, &saved, extras);
        shift_attributes(layout, &mut area, self.rules, |flags| flags >> 8);
        if self.rules.broken(Defect::SaveAreaKeepsReserved)
            && let Some(before) = save_area(self.rules, &saved, self.memory)
        {
            for row in layout.rows.iter().filter(|row| row.content == Content::Zero) {
                let bytes = row.range(layout.size());
                area[bytes.clone()].copy_from_slice(&before[bytes]);
            }
        }
        if self.rules.broken(Defect::SaveAreaUpperHalvesStale)
            && let Some(before) = save_area(self.rules, &saved, self.memory)
        {
            for name in ["rflags", "dr6", "dr7", "cr0", "cr4"] {
                if let Some(row) = layout.row(name).filter(|row| row.width == 8) {
                    let bytes = row.range(area.len());
                    let upper = bytes.start + 4..bytes.end;
                    area[upper.clone()].copy_from_slice(&before[upper]);
                }
            }
        }
        let changed = if self.rules.broken(Defect::RevisionClaimsIoRestart) {
            1 << 16
        } else if self.rules.broken(Defect::RevisionWithoutRelocation) {
            1 << 17
        } else {
            0
        };
        if let Some(row) = layout.rows.iter().find(|row| row.content == Content::Revision) {
            let revision = row.read(&area) ^ changed;
            row.write(&mut area, revision);
        }
        let misplaced = if self.rules.broken(Defect::SaveAreaMisplaced) {
            8
        } else {
            0
        };
        let address = saved.smbase.wrapping_add(layout.offset()).wrapping_sub(misplaced);
        if layout.rest == Rest::Hidden {
            self.vcpu.kept_in_smm = Some(Box::new(saved));
        }
        self.memory.write_bytes(address, &area, true)
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

    /// SMM-ENTRY-002 to SMM-ENTRY-010, SMM-IDTR-001, SMM-EFER-001, SMM-DR6-001, SMM-KEEP-001, and
    /// with CR0.PE clear the rules of real mode
    /// (SMM-RUN-001).
    fn enter_smm_registers(&mut self) {
        let idtr = self
            .rules
            .choices
            .settle(self.rules.profile.idtr_on_entry, &SMM_ENTRY_010);
        let keeps_idtr = idtr == IdtrOnEntry::Kept || self.rules.broken(Defect::IdtrKeptOnEntry);
        let keeps_cr4 = self.rules.broken(Defect::Cr4KeptOnEntry);
        let small_limits = self.rules.broken(Defect::SmmLimits64k);
        let keeps_limits = self.rules.broken(Defect::DataLimitsKeptOnEntry);
        let clears_efer = self.rules.cpuid.long_mode || self.rules.broken(Defect::EferClearedWithoutLongMode);
        let kept_in_efer = match self.rules.profile.efer_on_entry {
            EferOnEntry::Zero => 0,
            EferOnEntry::SvmeKept if self.rules.broken(Defect::SvmeClearedOnEntry) => 0,
            EferOnEntry::SvmeKept => efer::SVME,
        };
        self.vcpu.dr6_undefined = self.rules.profile.dr6_on_entry == Dr6OnEntry::Undefined;
        let kept_flags = if self.rules.broken(Defect::FlagsKeptOnEntry) {
            self.state().rflags & flag::ARITHMETIC
        } else {
            0
        };
        self.load_flags(flag::FIXED | kept_flags);
        let clears_cr0 = self.rules.broken(Defect::Cr0ClearedOnEntry);
        let kept_in_cr0 = if self.rules.broken(Defect::Cr0EmulationKeptOnEntry) {
            cr0::EM | cr0::TS
        } else {
            0
        };
        let keeps_dr7 = self.rules.broken(Defect::Dr7KeptOnEntry);
        let clears_gdtr = self.rules.broken(Defect::GdtrClearedOnEntry);
        let clears_cr3 = self.rules.broken(Defect::Cr3ClearedOnEntry);
        let clears_general = self.rules.broken(Defect::GeneralClearedOnEntry);
        let fixed_selector = self.rules.broken(Defect::SmmCodeSelectorZero);
        let keeps_lme = self.rules.broken(Defect::EferKeptOnEntry);
        let state = self.state_mut();
        state.rip = HANDLER_OFFSET;
        state.cr0 &= !(cr0::PE | cr0::EM | cr0::TS | cr0::PG) | kept_in_cr0;
        if clears_cr0 {
            state.cr0 &= cr0::ET;
        }
        if clears_gdtr {
            state.gdtr = DescriptorTable::default();
        }
        if clears_cr3 {
            state.cr3 = 0;
        }
        if clears_general {
            state.general[RAX] = 0;
            state.general[RSP] = 0;
        }
        if !keeps_cr4 {
            state.cr4 = 0;
        }
        if !keeps_dr7 {
            state.dr7 = 0x400;
        }
        if clears_efer {
            state.efer &= kept_in_efer | if keeps_lme { efer::LME } else { 0 };
        }
        if !keeps_idtr {
            state.idtr = DescriptorTable::default();
        }
        let data_limit = if small_limits { 0xffff } else { 0xffff_ffff };
        let smbase = state.smbase;
        for name in [
            SegmentName::Ds,
            SegmentName::Es,
            SegmentName::Fs,
            SegmentName::Gs,
            SegmentName::Ss,
        ] {
            let segment = state.segment_mut(name);
            let limit = if keeps_limits { segment.limit } else { data_limit };
            *segment = Segment {
                selector: 0,
                base: 0,
                limit,
                attributes: SMM_SEGMENT,
            };
        }
        *state.segment_mut(SegmentName::Cs) = Segment {
            selector: if fixed_selector { 0 } else { (smbase >> 4) as u16 },
            base: smbase,
            limit: 0xffff_ffff,
            attributes: SMM_SEGMENT,
        };
    }
}
