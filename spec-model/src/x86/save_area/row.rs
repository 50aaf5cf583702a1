//! One row of a layout.

use std::ops::Range;

use crate::x86::segment::SegmentName;

/// Every format ends here: offset of the first byte behind it, as the manuals count.
pub(super) const END: u16 = 0x8000;

/// What a row of a layout holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The processor state field of the row's own name, see [`crate::x86::field`].
    State,
    /// Part of a state field: as many bits as the row has, from this one up.
    Part {
        /// Name of the field.
        field: &'static str,
        /// Number of the lowest bit.
        shift: u8,
    },
    /// A state field that RSM takes from another row.
    Copy(&'static str),
    /// Access rights of a segment.
    Attributes {
        /// The segment.
        segment: SegmentName,
        /// How they are encoded.
        encoding: AttributeEncoding,
    },
    /// The SMM revision identifier.
    Revision,
    /// Auto-HALT restart: 1 if the SMI interrupted HLT.
    AutoHalt,
    /// The interrupt shadow as KVM numbers it: bit 0 MOV SS, bit 1 STI.
    Shadow,
    /// The shadow-stack pointer, on a processor that has shadow stacks; else 0.
    ShadowStack,
    /// Something about the I/O instruction that the SMI followed.
    Io(IoField),
    /// I/O instruction restart: FFh if RSM is to execute the I/O instruction again.
    IoRestart,
    /// Nothing that RSM looks at. What entry writes there, [`super::Unwritten`] says.
    Zero,
    /// Something that the model does not have; any value is allowed.
    Unspecified,
}

/// How a format encodes access rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeEncoding {
    /// As the high dword of a descriptor has them: type in bits 11:8, P bit 15, G bit 23.
    Descriptor,
    /// The same shifted right by 8: type in bits 3:0, P bit 7, G bit 15.
    Shifted,
    /// The same, and bit 8 says whether the register is usable; P does not (Bochs
    /// `cpu/smm.cc`, `smram_save_state`). Bochs ORs further private bits above bit 8.
    WithValidBit,
}

impl AttributeEncoding {
    /// The bits of a row that tell a usable register from an unusable one.
    #[must_use]
    pub const fn usable_bits(self) -> u64 {
        match self {
            Self::Descriptor => 0x8000,
            Self::Shifted => 0x80,
            Self::WithValidBit => 0x100,
        }
    }

    /// In one line.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Descriptor => "the high dword of a descriptor (type 11:8, P 15, G 23)",
            Self::Shifted => "the high dword of a descriptor shifted right by 8 (type 3:0, P 7, G 15)",
            Self::WithValidBit => {
                "the high dword of a descriptor shifted right by 8, and bit 8 for a usable register"
            }
        }
    }
}

/// What a format records of an I/O instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoField {
    /// Intel's I/O state: bit 0 the SMI followed an I/O instruction, 3:1 length in bytes, 7:4
    /// type, 31:16 port (SDM vol. 3C, "I/O State Implementation").
    State,
    /// AMD's I/O trap word: bit 0 input, 1 valid, 2 string, 3 REP, 6:4 size, 31:16 port (APM
    /// vol. 2, "SMM I/O Trap Offset").
    Trap,
    /// RIP of the instruction.
    Rip,
    /// RCX before it.
    Rcx,
    /// RSI before it.
    Rsi,
    /// RDI before it.
    Rdi,
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
    /// The Linux release that brought it, major and minor; absent if it was always there.
    pub since: Option<(u16, u16)>,
}

impl Row {
    /// Offset from SMBASE, in bytes.
    #[must_use]
    pub const fn from_smbase(&self) -> u64 {
        0x8000 + self.offset as u64
    }

    /// Where its bytes are in an area of that many bytes. Every area ends at SMBASE+10000h.
    ///
    /// # Panics
    /// If the area is shorter than the row's layout.
    #[must_use]
    pub fn range(&self, size: usize) -> Range<usize> {
        let start = size - usize::from(END - self.offset);
        start..start + usize::from(self.width)
    }

    /// Whether its bytes have no meaning.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name == "reserved"
    }

    /// The row's value in an area, the first 8 bytes of a wider one.
    ///
    /// # Panics
    /// If the area is shorter than the row's layout.
    #[must_use]
    pub fn read(&self, area: &[u8]) -> u64 {
        let bytes = area[self.range(area.len())].iter().take(8);
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Puts a value into an area. Bytes beyond the row's width are dropped.
    ///
    /// # Panics
    /// If the area is shorter than the row's layout.
    pub fn write(&self, area: &mut [u8], value: u64) {
        let range = self.range(area.len());
        for (byte, new) in area[range].iter_mut().zip(value.to_le_bytes()) {
            *byte = new;
        }
    }

    /// Name of the state field that the row holds, whole or in part.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self.content {
            Content::State | Content::Attributes { .. } | Content::ShadowStack => Some(self.name),
            Content::Part { field, .. } | Content::Copy(field) => Some(field),
            _ => None,
        }
    }
}

/// A row that holds the state field of its own name.
pub(super) const fn state(offset: u16, width: u16, name: &'static str) -> Row {
    special(offset, width, name, true, Content::State)
}

/// The same for a field that the manuals let a handler change.
pub(super) const fn writable(offset: u16, width: u16, name: &'static str) -> Row {
    Row {
        writable: true,
        ..state(offset, width, name)
    }
}

/// A row with some bits of a state field.
pub(super) const fn part(offset: u16, width: u16, name: &'static str, field: &'static str, shift: u8) -> Row {
    special(offset, width, name, true, Content::Part { field, shift })
}

/// A row that RSM does not look at and that holds nothing.
pub(super) const fn zero(offset: u16, width: u16, name: &'static str) -> Row {
    special(offset, width, name, false, Content::Zero)
}

/// Bytes without a meaning.
pub(super) const fn reserved(offset: u16, width: u16) -> Row {
    zero(offset, width, "reserved")
}

/// A row for what the model does not have.
pub(super) const fn unspecified(offset: u16, width: u16, name: &'static str) -> Row {
    special(offset, width, name, false, Content::Unspecified)
}

/// A row with the access rights of a segment.
pub(super) const fn attributes(
    offset: u16,
    width: u16,
    name: &'static str,
    segment: SegmentName,
    encoding: AttributeEncoding,
) -> Row {
    let content = Content::Attributes { segment, encoding };
    special(offset, width, name, true, content)
}

/// A row with other contents.
pub(super) const fn special(
    offset: u16,
    width: u16,
    name: &'static str,
    restored: bool,
    content: Content,
) -> Row {
    Row {
        offset,
        width,
        name,
        writable: matches!(content, Content::AutoHalt | Content::IoRestart),
        restored,
        content,
        since: None,
    }
}

/// The same row, there only since a Linux release.
pub(super) const fn since(row: Row, major: u16, minor: u16) -> Row {
    Row {
        since: Some((major, minor)),
        ..row
    }
}
