//! Layouts of the state-save area.
//!
//! Each layout is one table. Encoder, decoder, golden rendering, overlap checks and
//! reports all read that table; nothing else knows an offset.

mod kvm_32;
mod kvm_64;

pub use kvm_32::KVM_32;
pub use kvm_64::KVM_64;

use super::field::Field;
use super::segment::SegmentName;
use super::state::{Shadow, VcpuState};
use crate::requirement::{self, Requirement};

/// Offset of the state-save area from SMBASE, in bytes (SMM-SAVE-001).
pub const SAVE_AREA_OFFSET: u64 = 0xfe00;
/// Size of the state-save area in bytes.
pub const SAVE_AREA_SIZE: usize = 512;
/// Offset of the first byte of the area as the manuals count it, from SMBASE+8000h.
const FIRST_OFFSET: u16 = 0x7e00;

/// What a row of a layout holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The processor state field of the row's own name, see [`super::field`].
    State,
    /// Access rights of a segment, as the high dword of a descriptor has them, shifted
    /// right by this many bits.
    Attributes {
        /// The segment.
        segment: SegmentName,
        /// 0 for the 32-bit formats, 8 for the 64-bit formats.
        shift: u8,
    },
    /// The SMM revision identifier.
    Revision,
    /// Auto-HALT restart: 1 if the SMI interrupted HLT.
    AutoHalt,
    /// The interrupt shadow as KVM numbers it: bit 0 MOV SS, bit 1 STI.
    Shadow,
    /// Written as zero; what a handler puts there is ignored.
    Zero,
}

/// One row of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Offset from SMBASE+8000h, in bytes, as the manuals' tables count.
    pub offset: u16,
    /// Width in bytes: 1, 2, 4 or 8; any number for reserved rows.
    pub width: u16,
    /// Name, the same as the processor state field if it holds one.
    pub name: &'static str,
    /// The manuals let an SMI handler change it.
    pub writable: bool,
    /// RSM takes it from here.
    pub restored: bool,
    /// What it holds.
    pub content: Content,
}

impl Row {
    /// Offset in the 512 bytes of the area.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::from(self.offset - FIRST_OFFSET)
    }

    /// Whether its bytes have no meaning.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name == "reserved"
    }

    /// The row's value in an area.
    #[must_use]
    pub fn read(&self, area: &[u8]) -> u64 {
        let bytes = &area[self.index()..self.index() + usize::from(self.width).min(8)];
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Puts a value into an area. Bytes beyond the row's width are dropped.
    pub fn write(&self, area: &mut [u8], value: u64) {
        let width = usize::from(self.width).min(8);
        area[self.index()..self.index() + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
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
    /// The rows in ascending order of offset; together they cover all 512 bytes.
    pub rows: &'static [Row],
    /// The requirement that fixes the encoding of segments.
    pub segments: &'static Requirement,
}

/// Every layout.
pub static LAYOUTS: &[&Layout] = &[&KVM_32, &KVM_64];

/// What an SMI puts into the state-save area beside the processor state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The SMI interrupted HLT.
    pub halted: bool,
    /// One shadow stands for both kinds (SHADOW-KIND-001).
    pub one_shadow: bool,
}

impl Layout {
    /// The layout of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Layout> {
        LAYOUTS.iter().copied().find(|layout| layout.name == name)
    }

    /// The row of that name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The row that covers a byte of the area.
    #[must_use]
    pub fn row_at(&self, index: usize) -> Option<&'static Row> {
        let covers = |row: &&Row| (row.index()..row.index() + usize::from(row.width)).contains(&index);
        self.rows.iter().find(covers)
    }

    /// Writes the whole area (SMM-SAVE-001 to SMM-SAVE-009).
    #[must_use]
    pub fn encode(&self, state: &VcpuState, extras: Extras) -> [u8; SAVE_AREA_SIZE] {
        let mut area = [0; SAVE_AREA_SIZE];
        for row in self.rows {
            row.write(&mut area, self.value(row, state, extras));
        }
        area
    }

    fn value(&self, row: &Row, state: &VcpuState, extras: Extras) -> u64 {
        match row.content {
            Content::State => Field::named(row.name).map_or(0, |field| field.read(state)),
            Content::Attributes { segment, shift } => {
                let attributes = state.segment(segment).attributes;
                let rights = attributes.0 & super::segment::SegmentAttributes::DESCRIPTOR_BITS;
                u64::from(rights) << 8 >> shift
            }
            Content::Revision => u64::from(self.revision),
            Content::AutoHalt => u64::from(extras.halted),
            Content::Shadow => match state.events.shadow {
                Shadow::None => 0,
                _ if extras.one_shadow => 3,
                Shadow::MovSs => 1,
                Shadow::Sti => 2,
            },
            Content::Zero => 0,
        }
    }

    /// Takes everything that RSM restores from an area into `state`. Nothing is checked.
    ///
    /// A segment whose present bit is clear becomes unusable (Linux `smm.c`,
    /// `rsm_set_desc_flags` and `rsm_load_seg_64`).
    pub fn restore(&self, area: &[u8], state: &mut VcpuState) {
        for row in self.rows.iter().filter(|row| row.restored) {
            let value = row.read(area);
            match row.content {
                Content::State => {
                    if let Some(field) = Field::named(row.name) {
                        field.write(state, value);
                    }
                }
                Content::Attributes { segment, shift } => {
                    state.segment_mut(segment).attributes = attributes_from(value << shift);
                }
                Content::Shadow => {
                    state.events.shadow = match value & 3 {
                        1 | 3 => Shadow::MovSs,
                        2 => Shadow::Sti,
                        _ => Shadow::None,
                    };
                }
                Content::Revision | Content::AutoHalt | Content::Zero => {}
            }
        }
    }

    /// The requirement that a difference in a row violates.
    #[must_use]
    pub fn requirement(&self, row: &Row) -> &'static Requirement {
        match row.content {
            Content::Attributes { .. } => self.segments,
            Content::Revision => &requirement::SMM_SAVE_005,
            Content::AutoHalt => &requirement::SMM_RSM_008,
            Content::Shadow => &requirement::SMM_SAVE_006,
            Content::Zero => &requirement::SMM_SAVE_007,
            Content::State => match row.name {
                "cr0" | "cr3" | "cr4" | "efer" | "dr6" | "dr7" => &requirement::SMM_SAVE_009,
                "smbase" => &requirement::SMM_RSM_006,
                name if name.contains('.') => self.segments,
                _ => &requirement::SMM_SAVE_008,
            },
        }
    }
}

/// Access rights from the high dword of a descriptor.
fn attributes_from(flags: u64) -> super::segment::SegmentAttributes {
    use super::segment::SegmentAttributes;
    #[allow(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
    let attributes = SegmentAttributes((flags >> 8) as u32 & SegmentAttributes::DESCRIPTOR_BITS);
    if attributes.present() {
        attributes
    } else {
        SegmentAttributes(attributes.0 | SegmentAttributes::UNUSABLE.0)
    }
}

/// A row that holds the state field of its own name.
const fn state(offset: u16, width: u16, name: &'static str) -> Row {
    Row {
        offset,
        width,
        name,
        writable: false,
        restored: true,
        content: Content::State,
    }
}

/// The same for a field that the manuals let a handler change.
const fn writable(offset: u16, width: u16, name: &'static str) -> Row {
    Row {
        writable: true,
        ..state(offset, width, name)
    }
}

/// A row that RSM does not look at and that SMM entry writes as zero.
const fn zero(offset: u16, width: u16, name: &'static str) -> Row {
    Row {
        offset,
        width,
        name,
        writable: false,
        restored: false,
        content: Content::Zero,
    }
}

/// Bytes without a meaning.
const fn reserved(offset: u16, width: u16) -> Row {
    zero(offset, width, "reserved")
}

/// A row with the access rights of a segment.
const fn attributes(offset: u16, width: u16, name: &'static str, segment: SegmentName, shift: u8) -> Row {
    Row {
        offset,
        width,
        name,
        writable: false,
        restored: true,
        content: Content::Attributes { segment, shift },
    }
}

/// A row with other contents.
const fn special(offset: u16, width: u16, name: &'static str, restored: bool, content: Content) -> Row {
    Row {
        offset,
        width,
        name,
        writable: matches!(content, Content::AutoHalt),
        restored,
        content,
    }
}

#[cfg(test)]
mod tests;
