//! What an arm64 guest can be made to do with an address, one stub of machine code each.
//!
//! A guest needs no program of its own: the host sets the registers and the program counter
//! to a stub, and runs it until its end, which is a store to the address in X27. That address is
//! in no memory slot, so the store comes out as an MMIO exit. Words are A64 instructions (Arm
//! ARM C6), little-endian in memory.

/// What ends a stub: `str xzr, [x27]`, and `b .` should it go on.
pub const END: [u32; 2] = [0xf900_037f, 0x1400_0000];

/// What an exception vector does: `str xzr, [x28]` and `b .`. X28 holds another address without
/// memory, by which the host tells an exception from the end of a stub.
pub const EXCEPTION: [u32; 2] = [0xf900_039f, 0x1400_0000];

/// `ret`: what the page that [`FETCH`] calls has to hold.
pub const RETURN: u32 = 0xd65f_03c0;

/// What an operation does to the memory at the address in X0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it, whatever it holds.
    Write,
    /// Reads it and may write it, as one access.
    ReadModifyWrite,
    /// Executes it.
    Fetch,
    /// Cleans or invalidates caches; its contents stay.
    Maintenance,
}

/// What a processor must have beside the base of Armv8.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Nothing.
    Base,
    /// The atomic instructions of Armv8.1 (`ID_AA64ISAR0_EL1.Atomic` 2 or more).
    Lse,
    /// Access to SIMD registers (`CPACR_EL1.FPEN` 3).
    Simd,
    /// DC ZVA not prohibited (`DCZID_EL0.DZP` 0).
    ZeroingByAddress,
}

/// One operation. X0 holds the address; X1 and, for some, X2 hold the value that is written and
/// get the value that is read; X3 gets the status of an exclusive store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Name, and how an assembler would write it.
    pub name: &'static str,
    /// The same in words, without [`END`].
    pub words: &'static [u32],
    /// What it does.
    pub access: Access,
    /// How many bytes it touches; 0 for operations on whole cache lines or blocks.
    pub length: u8,
    /// Whether a data abort that it takes to EL2 describes it (ESR_EL2.ISV, Arm ARM D24.2.40):
    /// KVM can tell userspace of it as MMIO only if so.
    pub described: bool,
    /// What the processor must have.
    pub needs: Needs,
}

const fn plain(name: &'static str, words: &'static [u32], access: Access, length: u8) -> Operation {
    Operation {
        name,
        words,
        access,
        length,
        described: matches!(access, Access::Read | Access::Write),
        needs: Needs::Base,
    }
}

const fn undescribed(
    name: &'static str,
    words: &'static [u32],
    access: Access,
    length: u8,
    needs: Needs,
) -> Operation {
    Operation {
        name,
        words,
        access,
        length,
        described: false,
        needs,
    }
}

/// Loads of 1, 2, 4 and 8 bytes, which extend with zeros.
pub const READS: [Operation; 4] = [
    plain("ldrb w1, [x0]", &[0x3940_0001], Access::Read, 1),
    plain("ldrh w1, [x0]", &[0x7940_0001], Access::Read, 2),
    plain("ldr w1, [x0]", &[0xb940_0001], Access::Read, 4),
    plain("ldr x1, [x0]", &[0xf940_0001], Access::Read, 8),
];

/// A load of one byte that extends with its sign.
pub const READ_SIGNED: Operation = plain("ldrsb x1, [x0]", &[0x3980_0001], Access::Read, 1);

/// Stores of 1, 2, 4 and 8 bytes.
pub const WRITES: [Operation; 4] = [
    plain("strb w1, [x0]", &[0x3900_0001], Access::Write, 1),
    plain("strh w1, [x0]", &[0x7900_0001], Access::Write, 2),
    plain("str w1, [x0]", &[0xb900_0001], Access::Write, 4),
    plain("str x1, [x0]", &[0xf900_0001], Access::Write, 8),
];

/// A load of two registers.
pub const READ_PAIR: Operation =
    undescribed("ldp x1, x2, [x0]", &[0xa940_0801], Access::Read, 16, Needs::Base);
/// A store of two registers.
pub const WRITE_PAIR: Operation =
    undescribed("stp x1, x2, [x0]", &[0xa900_0801], Access::Write, 16, Needs::Base);
/// A load that adds 8 to the address register afterwards.
pub const READ_INDEXED: Operation =
    undescribed("ldr x1, [x0], #8", &[0xf840_8401], Access::Read, 8, Needs::Base);
/// A store that adds 8 to the address register afterwards.
pub const WRITE_INDEXED: Operation =
    undescribed("str x1, [x0], #8", &[0xf800_8401], Access::Write, 8, Needs::Base);
/// A load of a SIMD register, handed over in X1 and X2.
pub const READ_SIMD: Operation = undescribed(
    "ldr q0, [x0]; fmov x1, d0; mov x2, v0.d[1]",
    &[0x3dc0_0000, 0x9e66_0001, 0x4e18_3c02],
    Access::Read,
    16,
    Needs::Simd,
);
/// A store of a SIMD register, made from X1 and X2.
pub const WRITE_SIMD: Operation = undescribed(
    "fmov d0, x1; mov v0.d[1], x2; str q0, [x0]",
    &[0x9e67_0020, 0x4e18_1c40, 0x3d80_0000],
    Access::Write,
    16,
    Needs::Simd,
);
/// An exclusive load with acquire semantics, alone.
pub const READ_EXCLUSIVE: Operation =
    undescribed("ldaxr x1, [x0]", &[0xc85f_fc01], Access::Read, 8, Needs::Base);
/// An exclusive load into X1, and an exclusive store of X2 with its status in W3 (0 stored).
pub const EXCLUSIVE: Operation = undescribed(
    "ldxr x1, [x0]; stxr w3, x2, [x0]",
    &[0xc85f_7c01, 0xc803_7c02],
    Access::ReadModifyWrite,
    8,
    Needs::Base,
);
/// Compare and swap: stores X2 if the memory holds X1; X1 gets what it held.
pub const COMPARE_AND_SWAP: Operation = undescribed(
    "cas x1, x2, [x0]",
    &[0xc8a1_7c02],
    Access::ReadModifyWrite,
    8,
    Needs::Lse,
);
/// Adds X2 to the memory; X1 gets what it held.
pub const ADD: Operation = undescribed(
    "ldadd x2, x1, [x0]",
    &[0xf822_0001],
    Access::ReadModifyWrite,
    8,
    Needs::Lse,
);
/// Cleans the cache line to the point of coherency.
pub const CLEAN: Operation = undescribed("dc cvac, x0", &[0xd50b_7a20], Access::Maintenance, 0, Needs::Base);
/// Cleans and invalidates the cache line to the point of coherency.
pub const CLEAN_AND_INVALIDATE: Operation = undescribed(
    "dc civac, x0",
    &[0xd50b_7e20],
    Access::Maintenance,
    0,
    Needs::Base,
);
/// Invalidates the instruction cache to the point of unification.
pub const INVALIDATE_INSTRUCTIONS: Operation =
    undescribed("ic ivau, x0", &[0xd50b_7520], Access::Maintenance, 0, Needs::Base);
/// Zeroes a block of memory (its size is in DCZID_EL0).
pub const ZERO_BLOCK: Operation = undescribed(
    "dc zva, x0",
    &[0xd50b_7420],
    Access::Write,
    0,
    Needs::ZeroingByAddress,
);
/// Calls the address, which has to hold [`RETURN`]; X30 is changed.
pub const FETCH: Operation = undescribed("blr x0", &[0xd63f_0000], Access::Fetch, 4, Needs::Base);

/// Every operation.
pub const ALL: [Operation; 24] = [
    READS[0],
    READS[1],
    READS[2],
    READS[3],
    READ_SIGNED,
    WRITES[0],
    WRITES[1],
    WRITES[2],
    WRITES[3],
    READ_PAIR,
    WRITE_PAIR,
    READ_INDEXED,
    WRITE_INDEXED,
    READ_SIMD,
    WRITE_SIMD,
    READ_EXCLUSIVE,
    EXCLUSIVE,
    COMPARE_AND_SWAP,
    ADD,
    CLEAN,
    CLEAN_AND_INVALIDATE,
    INVALIDATE_INSTRUCTIONS,
    ZERO_BLOCK,
    FETCH,
];

impl Operation {
    /// The whole stub, as it lies in memory.
    #[must_use]
    pub fn stub(&self) -> Vec<u8> {
        let words = self.words.iter().chain(&END);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_there_once() {
        let names: BTreeSet<&str> = ALL.iter().map(|operation| operation.name).collect();
        let words: BTreeSet<&[u32]> = ALL.iter().map(|operation| operation.words).collect();
        assert_eq!((names.len(), words.len()), (ALL.len(), ALL.len()));
    }

    /// Arm ARM D24.2.40, ISV: loads and stores of one general-purpose register, other than
    /// exclusive ones and those with writeback.
    #[test]
    fn only_loads_and_stores_of_one_register_are_described() {
        for operation in ALL {
            let single = matches!(operation.length, 1 | 2 | 4 | 8);
            assert!(!operation.described || single, "{}", operation.name);
        }
        assert_eq!(ALL.iter().filter(|operation| operation.described).count(), 9);
    }

    #[test]
    fn a_stub_ends_with_the_store_that_the_host_waits_for() {
        assert_eq!(
            READS[3].stub(),
            [0x01, 0x00, 0x40, 0xf9, 0x7f, 0x03, 0x00, 0xf9, 0, 0, 0, 0x14]
        );
    }
}
