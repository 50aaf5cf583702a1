//! The image that RSM loads: what shuts the processor down, and what is put right.

use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::OddImage;
use crate::x86::control::{
    PHYSICAL_ADDRESS_BITS, canonical_form, cr0, cr0_is_legal, cr4, cr4_is_legal, efer, efer_is_legal, flag,
};
use crate::x86::exception::{self, Step};
use crate::x86::paging::{Privilege, Purpose};
use crate::x86::processor::{Activity, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::VcpuState;

impl Processor<'_, '_> {
    /// What APM vol. 2, 10.4 lists as ignored and restored in a default manner (SMM-RSM-021, SMM-RSM-022).
    ///
    /// # Errors
    ///
    /// [`ModelError::Unspecified`] where no manual says what comes of the image.
    pub(super) fn put_odd_image_right(&self, new: &mut VcpuState) -> Step {
        let mut right = new.clone();
        if !virtual_8086(new) {
            right.rflags &= !flag::VM;
        }
        for name in SegmentName::ALL {
            let base = &mut right.segment_mut(name).base;
            *base = if has_wide_base(name) {
                canonical_form(*base)
            } else {
                *base & 0xffff_ffff
            };
        }
        right.gdtr.base = canonical_form(right.gdtr.base);
        right.idtr.base = canonical_form(right.idtr.base);
        let odd = right != *new || code_is_long_and_32_bit(new);
        if odd && self.rules.profile.odd_image == OddImage::Unspecified {
            let message =
                "RFLAGS.VM, a base or CS.L with CS.D in the image of RSM, of which AMD's manual alone speaks";
            return Err(ModelError::Unspecified(message.to_owned()).into());
        }
        let keeps_flags = if new.efer & efer::LMA == 0 {
            Defect::RsmKeepsVirtual8086
        } else {
            Defect::RsmShutsDownOnVirtual8086
        };
        if self.rules.broken(keeps_flags) {
            right.rflags = new.rflags;
        }
        let keeps = |wide| {
            let defect = if wide {
                Defect::RsmKeepsBases
            } else {
                Defect::RsmKeepsUpperBases
            };
            self.rules.broken(defect)
        };
        for name in SegmentName::ALL
            .into_iter()
            .filter(|name| keeps(has_wide_base(*name)))
        {
            right.segment_mut(name).base = new.segment(name).base;
        }
        if keeps(true) {
            (right.gdtr, right.idtr) = (new.gdtr, new.idtr);
        }
        *new = right;
        Ok(())
    }

    /// What comes of an image that is legal otherwise where an implementation does not handle it as the manual says.
    pub(super) fn end_of_odd_image(&self, new: &VcpuState) -> Option<Activity> {
        let active = new.efer & efer::LMA != 0;
        let virtual_8086 = active && new.rflags & flag::VM != 0;
        let broken = |defect| self.rules.broken(defect);
        match () {
            () if virtual_8086 && broken(Defect::RsmGivesUpOnVirtual8086) => Some(Activity::GivenUp),
            () if code_is_long_and_32_bit(new) && broken(Defect::LongAnd32BitFailsEntry) => {
                Some(Activity::EntryFailed)
            }
            () => None,
        }
    }

    /// Where an implementation runs on in virtual-8086 mode although long mode is active, the first instruction
    /// raises #GP, and its delivery does not work.
    pub(super) fn fail_in_virtual_8086(&mut self) {
        let state = self.state();
        let runs_on = state.efer & efer::LMA != 0 && state.rflags & flag::VM != 0;
        if runs_on && self.rules.broken(Defect::RsmShutsDownOnVirtual8086) {
            let gate = self.state().idtr.base + 16 * u64::from(exception::GP);
            // Only its marks in the page tables remain.
            let _ = self.translate(gate, Purpose::Read, Privilege::System);
            self.vcpu.activity = Activity::Shutdown;
        }
    }

    /// Whether RSM may load this state (SMM-RSM-003 to SMM-RSM-005, SMM-RSM-013, SMM-RSM-017,
    /// SMM-RSM-018, SMM-RSM-020, SMM-IMAGE-004, SMM-IMAGE-005).
    pub(super) fn image_is_legal(&self, new: &VcpuState) -> bool {
        let long_mode = self.rules.cpuid.long_mode;
        let active = new.efer & efer::LMA != 0;
        let pcid = new.cr4 & cr4::PCIDE != 0;
        let pae = new.cr0 & cr0::PG != 0 && new.cr4 & cr4::PAE != 0 && !active;
        let smm_view = self.rules.broken(Defect::RsmKeepsSmmAddressSpace);
        let rejects_pcid = self.rules.broken(Defect::RsmRejectsPcid) && pcid && new.cr3 & 0xfff != 0;
        let rejects_64_bit = self.rules.broken(Defect::RsmRejects64BitCode)
            && active
            && new.segment(SegmentName::Cs).attributes.long();
        let shuts_down = self.rules.profile.odd_image == OddImage::Amd64
            && !self.rules.broken(Defect::LongAnd32BitFailsEntry);
        cr0_is_legal(new.cr0)
            && (cr4_is_legal(new.cr4) || self.rules.broken(Defect::RsmAcceptsReservedCr4))
            && (new.cr4 & cr4::VMXE == 0 || self.rules.broken(Defect::RsmAcceptsVmxe))
            && (efer_is_legal(new.efer, long_mode) || self.rules.broken(Defect::RsmAcceptsIllegalEfer))
            && (!active || new.cr4 & cr4::PAE != 0)
            && (!pcid || active || self.rules.broken(Defect::RsmAcceptsPcidAlone))
            && (!pae || self.pdptes_are_legal(new.cr3, smm_view))
            && (new.cr3 >> PHYSICAL_ADDRESS_BITS == 0 || self.rules.broken(Defect::RsmCr3FailsEntry))
            && !(code_is_long_and_32_bit(new) && shuts_down)
            && new.dr6 >> 32 == 0
            && new.dr7 >> 32 == 0
            && !rejects_pcid
            && !rejects_64_bit
    }
}

/// Whether RFLAGS.VM has a meaning in this state.
fn virtual_8086(state: &VcpuState) -> bool {
    state.cr0 & cr0::PE != 0 && state.efer & efer::LMA == 0
}

/// Whether CS has both L and D set where L means something.
fn code_is_long_and_32_bit(state: &VcpuState) -> bool {
    let attributes = state.segment(SegmentName::Cs).attributes;
    state.efer & efer::LMA != 0 && attributes.long() && attributes.big()
}

/// Whether the base has 64 bits in a processor with long mode.
fn has_wide_base(name: SegmentName) -> bool {
    matches!(
        name,
        SegmentName::Fs | SegmentName::Gs | SegmentName::Ldtr | SegmentName::Tr
    )
}
