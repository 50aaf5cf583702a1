//! What registers and descriptors of a guest at EL1 hold.

/// PSTATE of EL1 with its own stack pointer, and all interrupts masked (Arm ARM C5.2.18).
pub(super) const EL1H_MASKED: u64 = 0x3c5;
/// CPACR_EL1.FPEN: no access to SIMD registers traps.
pub(super) const SIMD: u64 = 3 << 20;
/// MAIR_EL1: attribute 0 is normal memory, write-back in both levels; 1 is a device (nGnRnE); 2
/// is normal memory without caches.
pub(super) const MEMORY_TYPES: u64 = 0x44_00ff;
/// TCR_EL1: 39 bits of virtual addresses (T0SZ 25), 4 KiB granule, walks through write-back
/// inner-shareable memory, 40 bits of physical addresses, no walks through TTBR1.
pub(super) const TRANSLATION_CONTROL: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
/// SCTLR_EL1: MMU and both caches on.
pub(super) const TRANSLATION_ON: u64 = 1 | 1 << 2 | 1 << 12;
/// A block descriptor of 1 GiB: valid, attribute 0, EL1 may read and write, inner shareable,
/// access flag set, not executable at EL0 (Arm ARM D8.3.1).
pub(super) const BLOCK: u64 = 1 | 3 << 8 | 1 << 10 | 1 << 54;
