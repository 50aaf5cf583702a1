//! Segment registers: selector and the cached descriptor behind it.

use serde::{Deserialize, Serialize};

/// The eight segment registers. The first six are numbered as `MOV Sreg` encodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum SegmentName {
    /// ES, encoding 0.
    Es,
    /// CS, encoding 1.
    Cs,
    /// SS, encoding 2.
    Ss,
    /// DS, encoding 3.
    Ds,
    /// FS, encoding 4.
    Fs,
    /// GS, encoding 5.
    Gs,
    /// The local descriptor table register.
    Ldtr,
    /// The task register.
    Tr,
}

impl SegmentName {
    /// All eight, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Es,
        Self::Cs,
        Self::Ss,
        Self::Ds,
        Self::Fs,
        Self::Gs,
        Self::Ldtr,
        Self::Tr,
    ];

    /// Those that programs load, in the order of their numbers.
    pub const LOADABLE: [Self; 6] = [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs];
}

/// Access rights of a cached descriptor.
///
/// The bits lie as in the high dword of a descriptor shifted right by 8 (SDM vol. 3A,
/// 3.4.5), which is also where VMX keeps them (SDM vol. 3C, table 24-2): type 3:0,
/// S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15. Bit 16 says that the register holds
/// a null selector and is unusable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentAttributes(pub u32);

impl SegmentAttributes {
    /// A register that holds a null selector.
    pub const UNUSABLE: Self = Self(1 << 16);
    /// The bits that a descriptor in memory defines.
    pub const DESCRIPTOR_BITS: u32 = 0xf0ff;

    /// Type, bits 3:0: for code and data (S=1) bit 3 code, 2 conforming or
    /// expand-down, 1 readable or writable, 0 accessed.
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.0 & 0xf
    }
    /// S: set for code and data, clear for system descriptors.
    #[must_use]
    pub const fn is_code_or_data(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// A code segment (S=1, type bit 3).
    #[must_use]
    pub const fn is_code(self) -> bool {
        self.0 & 0x18 == 0x18
    }
    /// Descriptor privilege level, 0 to 3.
    #[must_use]
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }
    /// P: present.
    #[must_use]
    pub const fn present(self) -> bool {
        self.0 & 0x80 != 0
    }
    /// L: a 64-bit code segment.
    #[must_use]
    pub const fn long(self) -> bool {
        self.0 & 0x2000 != 0
    }
    /// D/B: default operation size of 32 bits, or a 32-bit stack.
    #[must_use]
    pub const fn big(self) -> bool {
        self.0 & 0x4000 != 0
    }
    /// G: the descriptor's limit counted pages of 4 KiB.
    #[must_use]
    pub const fn granularity(self) -> bool {
        self.0 & 0x8000 != 0
    }
    /// The register holds a null selector: any use faults.
    #[must_use]
    pub const fn unusable(self) -> bool {
        self.0 & Self::UNUSABLE.0 != 0
    }
    /// The same with another descriptor privilege level.
    #[must_use]
    pub const fn with_dpl(self, dpl: u8) -> Self {
        Self(self.0 & !0x60 | (dpl as u32 & 3) << 5)
    }
}

/// A segment register: the visible selector and the hidden descriptor cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Linear base address in bytes.
    pub base: u64,
    /// Last valid offset in bytes, already expanded by the granularity bit.
    pub limit: u32,
    /// Access rights.
    pub attributes: SegmentAttributes,
}

impl Segment {
    /// The part of the register that software can observe.
    ///
    /// An unusable register has no limit and no access rights that any instruction
    /// could read back, and implementations keep different leftovers there. Its base
    /// is observable in FS and GS only (through 64-bit addressing).
    #[must_use]
    pub fn observable(self, name: SegmentName) -> Self {
        if !self.attributes.unusable() {
            return self;
        }
        let base_is_observable = matches!(name, SegmentName::Fs | SegmentName::Gs);
        Self {
            selector: self.selector,
            base: if base_is_observable { self.base } else { 0 },
            limit: 0,
            attributes: SegmentAttributes::UNUSABLE,
        }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// Linear base address in bytes.
    pub base: u64,
    /// Last valid offset in bytes.
    pub limit: u16,
}
