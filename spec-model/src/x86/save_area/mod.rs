//! Layouts of the state-save area.
//!
//! Each layout is one table. Encoder, decoder, golden rendering, overlap checks and
//! reports all read that table; nothing else knows an offset.

mod amd_64;
mod bochs_32;
mod bochs_64;
mod encode;
mod intel_32;
mod intel_64;
mod io;
mod kvm_32;
mod kvm_64;
mod qemu_32;
mod qemu_64;
mod row;

pub use amd_64::AMD_64;
pub use bochs_32::BOCHS_32;
pub use bochs_64::BOCHS_64;
pub use encode::Extras;
pub use intel_32::INTEL_32;
pub use intel_64::INTEL_64;
pub use io::IoInstruction;
pub use kvm_32::KVM_32;
pub use kvm_64::KVM_64;
pub use qemu_32::QEMU_32;
pub use qemu_64::QEMU_64;
pub use row::{AttributeEncoding, Content, IoField, Row};

use super::field::{FIELDS, Field};
use crate::requirement::{self, Requirement};

/// Offset of KVM's state-save areas from SMBASE, in bytes (SMM-SAVE-001). Those of other
/// implementations may begin earlier, see [`Layout::offset`].
pub const SAVE_AREA_OFFSET: u64 = 0xfe00;
/// Size of KVM's state-save areas in bytes, see [`Layout::size`].
pub const SAVE_AREA_SIZE: usize = 512;

/// What entry to SMM does with bytes that no row gives a value (SMM-FORMAT-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// It writes zero.
    Zero,
    /// It leaves what memory held.
    Kept,
    /// Anything: the manuals reserve them.
    Unspecified,
}

/// When RSM takes SMBASE from the area (SMM-FORMAT-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// Always.
    Always,
    /// If bit 17 of the revision identifier in the area is still set.
    IfRevisionSays,
}

/// Where the state is that a format has no row for (SMM-FORMAT-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nowhere: entry leaves it alone, or it is lost.
    NotSaved,
    /// In a place that the manuals do not document, and RSM restores it.
    Hidden,
}

/// A layout of the state-save area.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name on the command line.
    pub name: &'static str,
    /// What uses it.
    pub title: &'static str,
    /// The SMM revision identifier that it comes with.
    pub revision: u32,
    /// Bits of the revision identifier in which processors with this layout differ.
    pub revision_varies: u32,
    /// The rows in ascending order of offset; together they cover every byte up to 7FFFh.
    pub rows: &'static [Row],
    /// What entry does with bytes that no row gives a value.
    pub unwritten: Unwritten,
    /// When RSM takes SMBASE from the area.
    pub relocation: Relocation,
    /// Where the rest of the state is.
    pub rest: Rest,
    /// The requirement that fixes the encoding of segments.
    pub segments: &'static Requirement,
    /// The requirement that fixes the revision identifier.
    pub identifies: &'static Requirement,
}

/// Every layout.
pub static LAYOUTS: &[&Layout] = &[
    &KVM_32, &KVM_64, &AMD_64, &INTEL_32, &INTEL_64, &QEMU_32, &QEMU_64, &BOCHS_32, &BOCHS_64,
];

impl Layout {
    /// The layout of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Layout> {
        LAYOUTS.iter().copied().find(|layout| layout.name == name)
    }

    /// Offset of its first byte from SMBASE, in bytes (SMM-SAVE-001).
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.rows.first().map_or(SAVE_AREA_OFFSET, Row::from_smbase)
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let first = self.rows.first().map_or(row::END, |row| row.offset);
        usize::from(row::END - first)
    }

    /// The row of that name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The row that covers a byte of the area.
    #[must_use]
    pub fn row_at(&self, index: usize) -> Option<&'static Row> {
        let size = self.size();
        self.rows.iter().find(|row| row.range(size).contains(&index))
    }

    /// Whether the bytes of a row may hold anything after entry (SMM-FORMAT-001).
    #[must_use]
    pub fn leaves_open(&self, row: &Row) -> bool {
        match row.content {
            Content::Unspecified => true,
            Content::Zero => self.unwritten == Unwritten::Unspecified,
            _ => false,
        }
    }

    /// The state that SMM saves and for which this layout has no row.
    pub fn missing(&self) -> impl Iterator<Item = &'static Field> + '_ {
        let holds = |name: &str| self.rows.iter().any(|row| row.field() == Some(name));
        FIELDS
            .iter()
            .filter(move |field| is_saved(field.name) && !holds(field.name))
    }

    /// The requirement that a difference in a row violates.
    #[must_use]
    pub fn requirement(&self, row: &Row) -> &'static Requirement {
        match row.content {
            Content::Attributes { .. } | Content::Part { .. } | Content::Copy(_) => self.segments,
            Content::Revision => self.identifies,
            Content::AutoHalt => &requirement::SMM_RSM_008,
            Content::Shadow => &requirement::SMM_SAVE_006,
            Content::ShadowStack => &requirement::SMM_SSP_001,
            Content::Io(_) => &requirement::SMM_IO_001,
            Content::IoRestart => &requirement::SMM_IO_002,
            Content::Zero if self.unwritten == Unwritten::Zero => &requirement::SMM_SAVE_007,
            Content::Zero | Content::Unspecified => &requirement::SMM_FORMAT_001,
            Content::State => match row.name {
                "cr0" | "cr3" | "cr4" | "efer" | "dr6" | "dr7" => &requirement::SMM_SAVE_009,
                "smbase" => &requirement::SMM_RSM_006,
                name if name.contains('.') => self.segments,
                _ => &requirement::SMM_SAVE_008,
            },
        }
    }
}

/// Whether a field is part of the state that an SMI saves at all: not CR2, CR8, DR0 to DR3,
/// MSRs other than EFER, or the event state (SDM vol. 3C, "SMRAM State Save Map").
fn is_saved(name: &str) -> bool {
    let segment = |name: &str| {
        let register = name.split('.').next().unwrap_or_default();
        matches!(
            register,
            "es" | "cs" | "ss" | "ds" | "fs" | "gs" | "ldtr" | "tr" | "gdtr" | "idtr"
        )
    };
    let general = FIELDS.iter().take(18).any(|field| field.name == name);
    let control = matches!(name, "cr0" | "cr3" | "cr4" | "efer" | "dr6" | "dr7" | "ssp");
    general || control || segment(name)
}

#[cfg(test)]
mod tests;
