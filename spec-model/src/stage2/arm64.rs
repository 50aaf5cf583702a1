//! What scenarios on arm64 have beside what every architecture has: instructions of A64, how
//! the guest translates its own addresses (stage 1), and what its virtual machine is like.

use serde::{Deserialize, Serialize};

use super::scenario::GuestAddress;

/// First guest-virtual address that the table of a scenario translates; addresses below stand for
/// themselves and are normal memory.
pub const WINDOW: u64 = 0x40_0000_0000;
/// Bytes that one table of level 2 translates.
pub const WINDOW_SIZE: u64 = 1 << 30;
/// Bytes that one entry of it translates (Arm ARM D8.3.1, 4 KiB granule).
pub const BLOCK_SIZE: u64 = 1 << 21;
/// Bits of guest-physical addresses that a virtual machine has unless it asks for less (KVM API
/// 4.2, KVM_VM_TYPE_ARM_IPA_SIZE).
pub const ADDRESS_BITS: u8 = 40;
/// Bytes that DC ZVA zeroes, at a multiple of that (`DCZID_EL0.BS` 4, as every processor has it
/// that QEMU emulates).
pub const ZERO_BLOCK: u16 = 64;

/// The virtual machine and its guest's translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arm64 {
    /// The guest translates addresses (SCTLR_EL1.M). If not, all its data accesses are to device
    /// memory.
    pub translation: bool,
    /// Guest page of the table of level 2 that translates [`WINDOW`].
    pub table: Option<u64>,
    /// The processor sets access flags by itself (TCR_EL1.HA).
    pub hardware_access_flag: bool,
    /// Accesses that no syndrome describes reach the host (KVM_CAP_ARM_NISV_TO_USER).
    pub undescribed_exits: bool,
    /// Bits of guest-physical addresses.
    pub address_bits: u8,
}

impl Default for Arm64 {
    fn default() -> Self {
        Self {
            translation: true,
            table: None,
            hardware_access_flag: false,
            undescribed_exits: false,
            address_bits: ADDRESS_BITS,
        }
    }
}

/// An instruction that other architectures have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Arm64Operation {
    /// Which.
    pub instruction: Instruction,
    /// Guest-virtual address.
    pub at: GuestAddress,
    /// What is written or added.
    pub value: u64,
    /// What CAS compares with.
    pub expected: u64,
}

/// Instructions of A64 on the memory at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instruction {
    /// `ldp w1, w2, [x0]`: two registers of 4 bytes.
    LoadPair,
    /// `stp w1, w2, [x0]`.
    StorePair,
    /// `ldr x1, [x0], #8`: changes the address register.
    LoadIndexed,
    /// `str x1, [x0], #8`.
    StoreIndexed,
    /// `ldr d0, [x0]`: 8 bytes of a SIMD register.
    LoadSimd,
    /// `str d0, [x0]`.
    StoreSimd,
    /// `ldaxr x1, [x0]`.
    LoadExclusive,
    /// `cas x1, x2, [x0]`.
    CompareAndSwap,
    /// `ldadd x2, x1, [x0]`.
    AtomicAdd,
    /// `ldrsb w1, [x0]`: extends the sign to 32 bits, and zeros to 64.
    LoadSignedWord,
    /// `ldrsb x1, [x0]`: extends the sign to 64 bits.
    LoadSigned,
    /// `dc cvac, x0`: cleans a cache line.
    Clean,
    /// `dc civac, x0`: cleans and invalidates it.
    CleanAndInvalidate,
    /// `dc ivac, x0`: invalidates it; with stage 2 on it cleans it, too.
    Invalidate,
    /// `ic ivau, x0`: invalidates instructions.
    InvalidateInstructions,
    /// `dc zva, x0`: zeroes [`ZERO_BLOCK`] bytes.
    ZeroBlock,
}

impl Instruction {
    /// Every instruction.
    pub const ALL: [Self; 16] = [
        Self::LoadPair,
        Self::StorePair,
        Self::LoadIndexed,
        Self::StoreIndexed,
        Self::LoadSimd,
        Self::StoreSimd,
        Self::LoadExclusive,
        Self::CompareAndSwap,
        Self::AtomicAdd,
        Self::LoadSignedWord,
        Self::LoadSigned,
        Self::Clean,
        Self::CleanAndInvalidate,
        Self::Invalidate,
        Self::InvalidateInstructions,
        Self::ZeroBlock,
    ];

    /// Name in case files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoadPair => "load-pair",
            Self::StorePair => "store-pair",
            Self::LoadIndexed => "load-indexed",
            Self::StoreIndexed => "store-indexed",
            Self::LoadSimd => "load-simd",
            Self::StoreSimd => "store-simd",
            Self::LoadExclusive => "load-exclusive",
            Self::CompareAndSwap => "compare-and-swap",
            Self::AtomicAdd => "atomic-add",
            Self::LoadSignedWord => "load-signed-word",
            Self::LoadSigned => "load-signed",
            Self::Clean => "clean",
            Self::CleanAndInvalidate => "clean-and-invalidate",
            Self::Invalidate => "invalidate",
            Self::InvalidateInstructions => "invalidate-instructions",
            Self::ZeroBlock => "zero-block",
        }
    }

    /// Whether it maintains caches by address.
    #[must_use]
    pub const fn is_maintenance(self) -> bool {
        matches!(
            self,
            Self::Clean | Self::CleanAndInvalidate | Self::Invalidate | Self::InvalidateInstructions
        )
    }
}

/// Syndromes of exceptions to EL1 from EL1 (Arm ARM D24.2.37, ESR_EL1).
pub mod syndrome {
    /// The instruction had 32 bits.
    const LENGTH: u64 = 1 << 25;
    /// A data abort without a change of exception level.
    pub const DATA_ABORT: u64 = 0x25 << 26 | LENGTH;
    /// An instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT: u64 = 0x21 << 26 | LENGTH;
    /// The access was a write (WnR).
    pub const WRITE: u64 = 1 << 6;
    /// The access was cache maintenance (CM).
    pub const MAINTENANCE: u64 = 1 << 8;
    /// Fault status: a synchronous external abort, not on a walk.
    pub const EXTERNAL: u64 = 0x10;
    /// Fault status: a synchronous external abort on the walk, level 2.
    pub const EXTERNAL_ON_WALK: u64 = 0x16;
    /// Fault status: translation, level 2.
    pub const TRANSLATION: u64 = 0x06;
    /// Fault status: access flag, level 2.
    pub const ACCESS_FLAG: u64 = 0x0a;
    /// Fault status: permission, level 2.
    pub const PERMISSION: u64 = 0x0e;
    /// Fault status: alignment.
    pub const ALIGNMENT: u64 = 0x21;

    /// One in words.
    #[must_use]
    pub fn text(syndrome: u64) -> String {
        let class = match syndrome >> 26 & 0x3f {
            0x00 => "undefined instruction",
            0x21 => "instruction abort",
            0x25 => "data abort",
            _ => "exception",
        };
        let status = match syndrome & 0x3f {
            _ if class == "undefined instruction" => "",
            EXTERNAL => ", external",
            0x14..=0x17 => ", external on a walk",
            0x04..=0x07 => ", translation",
            0x08..=0x0b => ", access flag",
            0x0c..=0x0f => ", permission",
            0x00..=0x03 => ", address size",
            ALIGNMENT => ", alignment",
            _ => "",
        };
        format!("{class}{status} (syndrome {syndrome:#x})")
    }
}
