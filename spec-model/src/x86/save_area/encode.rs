//! Writing and reading a state-save area by its table.

use super::{AttributeEncoding, Content, IoInstruction, Layout, Relocation, Row, Unwritten};
use crate::x86::field::Field;
use crate::x86::segment::SegmentAttributes;
use crate::x86::state::{Shadow, VcpuState};

/// What an SMI puts into the state-save area beside the processor state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The SMI interrupted HLT.
    pub halted: bool,
    /// One shadow stands for both kinds (SHADOW-KIND-001).
    pub one_shadow: bool,
    /// The processor has shadow stacks.
    pub shadow_stack: bool,
    /// The I/O instruction that the SMI followed.
    pub io: Option<IoInstruction>,
}

impl Layout {
    /// A whole area in memory that held zeros (SMM-SAVE-001 to SMM-SAVE-009).
    #[must_use]
    pub fn encode(&self, state: &VcpuState, extras: Extras) -> Vec<u8> {
        let mut area = vec![0; self.size()];
        self.encode_over(&mut area, state, extras);
        area
    }

    /// Writes the area over what memory holds there (SMM-FORMAT-001).
    ///
    /// # Panics
    /// If `area` is not as long as the layout.
    pub fn encode_over(&self, area: &mut [u8], state: &VcpuState, extras: Extras) {
        for row in self.rows {
            match row.content {
                Content::Zero | Content::Unspecified => {
                    if self.unwritten == Unwritten::Zero {
                        area[row.range(self.size())].fill(0);
                    }
                }
                _ => row.write(area, self.value(row, state, extras)),
            }
        }
    }

    fn value(&self, row: &Row, state: &VcpuState, extras: Extras) -> u64 {
        let field = |name: &str| Field::named(name).map_or(0, |field| field.read(state));
        match row.content {
            Content::State => field(row.name),
            Content::Part { field: name, shift } => field(name) >> shift,
            Content::Copy(name) => field(name),
            Content::Attributes { segment, encoding } => {
                encode_rights(state.segment(segment).attributes, encoding)
            }
            Content::Revision => u64::from(self.revision),
            Content::AutoHalt => u64::from(extras.halted),
            Content::Shadow => match state.events.shadow {
                Shadow::None => 0,
                _ if extras.one_shadow => 3,
                Shadow::MovSs => 1,
                Shadow::Sti => 2,
            },
            Content::ShadowStack if extras.shadow_stack => state.ssp,
            Content::Io(field) => extras.io.map_or(0, |io| io.field(field)),
            Content::ShadowStack | Content::IoRestart | Content::Zero | Content::Unspecified => 0,
        }
    }

    /// Takes everything that RSM restores from an area into `state`; SSP only if the
    /// processor has shadow stacks. Nothing is checked.
    ///
    /// A segment whose present bit is clear becomes unusable (Linux `smm.c`,
    /// `rsm_set_desc_flags` and `rsm_load_seg_64`); Bochs has a bit of its own for that
    /// (SMM-FORMAT-004). QEMU looks at the revision identifier in the area before it takes
    /// SMBASE (SMM-FORMAT-003).
    ///
    /// # Panics
    /// If `area` is shorter than the layout.
    pub fn restore(&self, area: &[u8], state: &mut VcpuState, shadow_stack: bool) {
        let relocates = self.relocates(area);
        for row in self.rows.iter().filter(|row| row.restored) {
            let value = row.read(area);
            match row.content {
                Content::State if row.name == "smbase" && !relocates => {}
                Content::State => {
                    if let Some(field) = Field::named(row.name) {
                        field.write(state, value);
                    }
                }
                Content::Part { field, shift } => {
                    if let Some(field) = Field::named(field) {
                        let mask = u64::MAX >> (64 - 8 * u32::from(row.width.min(8))) << shift;
                        let others = field.read(state) & !mask;
                        field.write(state, others | value << shift & mask);
                    }
                }
                Content::Attributes { segment, encoding } => {
                    state.segment_mut(segment).attributes = decode_rights(value, encoding);
                }
                Content::Shadow => {
                    state.events.shadow = match value & 3 {
                        1 | 3 => Shadow::MovSs,
                        2 => Shadow::Sti,
                        _ => Shadow::None,
                    };
                }
                Content::ShadowStack if shadow_stack => state.ssp = value,
                Content::ShadowStack
                | Content::Copy(_)
                | Content::Revision
                | Content::AutoHalt
                | Content::Io(_)
                | Content::IoRestart
                | Content::Zero
                | Content::Unspecified => {}
            }
        }
    }

    /// Whether RSM takes SMBASE from this area (SMM-FORMAT-003).
    fn relocates(&self, area: &[u8]) -> bool {
        const RELOCATION: u64 = 1 << 17;
        let revision = self.rows.iter().find(|row| row.content == Content::Revision);
        self.relocation == Relocation::Always || revision.is_some_and(|row| row.read(area) & RELOCATION != 0)
    }
}

fn encode_rights(attributes: SegmentAttributes, encoding: AttributeEncoding) -> u64 {
    const VALID: u64 = 1 << 8;
    let rights = u64::from(attributes.0 & SegmentAttributes::DESCRIPTOR_BITS);
    match encoding {
        AttributeEncoding::Descriptor => rights << 8,
        AttributeEncoding::Shifted => rights,
        AttributeEncoding::WithValidBit if attributes.unusable() => rights,
        AttributeEncoding::WithValidBit => rights | VALID,
    }
}

fn decode_rights(value: u64, encoding: AttributeEncoding) -> SegmentAttributes {
    let rights = match encoding {
        AttributeEncoding::Descriptor => value >> 8,
        AttributeEncoding::Shifted | AttributeEncoding::WithValidBit => value,
    };
    #[allow(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
    let attributes = SegmentAttributes(rights as u32 & SegmentAttributes::DESCRIPTOR_BITS);
    if value & encoding.usable_bits() != 0 {
        attributes
    } else {
        SegmentAttributes(attributes.0 | SegmentAttributes::UNUSABLE.0)
    }
}
