//! Ids of registers for KVM_GET_ONE_REG and KVM_SET_ONE_REG (KVM API 4.68, "arm64 core
//! registers" and "arm64 system registers").

/// KVM_REG_ARM64, 64 bits, core registers.
const CORE: u64 = 0x6030_0000_0010_0000;
/// KVM_REG_ARM64, 64 bits, system registers.
const SYSTEM: u64 = 0x6030_0000_0013_0000;

/// A general-purpose register X0 to X30.
pub(super) const fn x(number: u8) -> u64 {
    CORE + 2 * number as u64
}

/// The program counter.
pub(super) const PC: u64 = CORE + 0x40;
/// PSTATE.
pub(super) const PSTATE: u64 = CORE + 0x42;

/// A system register by its encoding (Arm ARM C5.3).
const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    SYSTEM | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// System control.
pub(super) const SCTLR_EL1: u64 = system(3, 0, 1, 0, 0);
/// Access to SIMD.
pub(super) const CPACR_EL1: u64 = system(3, 0, 1, 0, 2);
/// Base of the translation tables.
pub(super) const TTBR0_EL1: u64 = system(3, 0, 2, 0, 0);
/// Control of translation.
pub(super) const TCR_EL1: u64 = system(3, 0, 2, 0, 2);
/// Syndrome of the last exception.
pub(super) const ESR_EL1: u64 = system(3, 0, 5, 2, 0);
/// Address of the last fault.
pub(super) const FAR_EL1: u64 = system(3, 0, 6, 0, 0);
/// Memory attributes.
pub(super) const MAIR_EL1: u64 = system(3, 0, 10, 2, 0);
/// Base of the exception vectors.
pub(super) const VBAR_EL1: u64 = system(3, 0, 12, 0, 0);
/// What instructions there are.
pub(super) const ID_AA64ISAR0_EL1: u64 = system(3, 0, 0, 6, 0);
/// What translation there is.
pub(super) const ID_AA64MMFR1_EL1: u64 = system(3, 0, 0, 7, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_kvm_api() {
        assert_eq!(x(30), 0x6030_0000_0010_003c);
        assert_eq!(SCTLR_EL1, 0x6030_0000_0013_c080);
        assert_eq!(ESR_EL1, 0x6030_0000_0013_c290);
        assert_eq!(VBAR_EL1, 0x6030_0000_0013_c600);
        assert_eq!(ID_AA64ISAR0_EL1, 0x6030_0000_0013_c030);
    }
}
