//! What the target's own pages hold: translation tables, exception vectors, and machine code.

use spec_model::stage2::arm64::{Arm64Operation, Instruction};
use spec_model::stage2::scenario::{Operation, PAGE_SIZE};

use super::super::super::el1::BLOCK;
use super::{BASE, PAGES};
use crate::target::arm64_operation::{END, EXCEPTION};

/// Where the table of level 1 lies in the program, in bytes.
pub(super) const TABLE: usize = 0;
/// Where the exception vectors do.
pub(super) const VECTORS: usize = 0x1000;
/// Where the pieces of code do.
pub(super) const STUBS: usize = 0x2000;
/// The guest sets this byte once it spins.
pub(in super::super) const SPINS: usize = 0x2ff8;
/// Distance of pieces of code.
const STUB: usize = 64;

/// Machine code, and the instruction of it that makes the access, from 0.
struct Code {
    words: &'static [u32],
    access: u64,
}

const fn code(words: &'static [u32], access: u64) -> Code {
    Code { words, access }
}

/// `ldr w1, [x0]` and so on, for 1, 2, 4 and 8 bytes.
const READS: [Code; 4] = [
    code(&[0x3940_0001], 0),
    code(&[0x7940_0001], 0),
    code(&[0xb940_0001], 0),
    code(&[0xf940_0001], 0),
];
/// `str w1, [x0]` and so on.
const WRITES: [Code; 4] = [
    code(&[0x3900_0001], 0),
    code(&[0x7900_0001], 0),
    code(&[0xb900_0001], 0),
    code(&[0xf900_0001], 0),
];
/// `ldxr w1, [x0]; add w4, w1, w2; stxr w3, w4, [x0]; cbnz w3, .-12` and so on.
const ADDS: [Code; 4] = [
    code(&[0x085f_7c01, 0x0b02_0024, 0x0803_7c04, 0x35ff_ffa3], 2),
    code(&[0x485f_7c01, 0x0b02_0024, 0x4803_7c04, 0x35ff_ffa3], 2),
    code(&[0x885f_7c01, 0x0b02_0024, 0x8803_7c04, 0x35ff_ffa3], 2),
    code(&[0xc85f_7c01, 0x8b02_0024, 0xc803_7c04, 0x35ff_ffa3], 2),
];
/// `ldxr w1, [x0]; cmp w1, w2; b.ne .+12; stxr w3, w5, [x0]; cbnz w3, .-16` and so on.
const COMPARES: [Code; 4] = [
    code(
        &[0x085f_7c01, 0x6b02_003f, 0x5400_0061, 0x0803_7c05, 0x35ff_ff83],
        3,
    ),
    code(
        &[0x485f_7c01, 0x6b02_003f, 0x5400_0061, 0x4803_7c05, 0x35ff_ff83],
        3,
    ),
    code(
        &[0x885f_7c01, 0x6b02_003f, 0x5400_0061, 0x8803_7c05, 0x35ff_ff83],
        3,
    ),
    code(
        &[0xc85f_7c01, 0xeb02_003f, 0x5400_0061, 0xc803_7c05, 0x35ff_ff83],
        3,
    ),
];
/// `cbz x2, .+28; ldrb w3, [x0]; strb w3, [x1]; add x0, x0, #1; add x1, x1, #1; subs x2, x2, #1;
/// b.ne .-20`.
const COPY: Code = code(
    &[
        0xb400_00e2,
        0x3940_0003,
        0x3900_0023,
        0x9100_0400,
        0x9100_0421,
        0xf100_0442,
        0x54ff_ff61,
    ],
    2,
);
/// `ic iallu; dsb ish; isb; blr x0; mov x1, x0`: code may be new.
const FETCH: Code = code(
    &[0xd508_751f, 0xd503_3b9f, 0xd503_3fdf, 0xd63f_0000, 0xaa00_03e1],
    3,
);

/// `ldr w1, [x0]; mov w3, #1; str w3, [x2]; ldr w4, [x0]; cmp w4, w1; b.eq .-8; mov w1, w4`: X2 is
/// the address of [`SPINS`].
const SPIN: Code = code(
    &[
        0xb940_0001,
        0x5280_0023,
        0xb900_0043,
        0xb940_0004,
        0x6b01_009f,
        0x54ff_ffc0,
        0x2a04_03e1,
    ],
    3,
);

/// The code of an instruction of which A64 has only one.
const fn of_instruction(instruction: Instruction) -> Code {
    match instruction {
        // ldp w1, w2, [x0]
        Instruction::LoadPair => code(&[0x2940_0801], 0),
        // stp w1, w2, [x0]
        Instruction::StorePair => code(&[0x2900_0801], 0),
        // ldr x1, [x0], #8
        Instruction::LoadIndexed => code(&[0xf840_8401], 0),
        // str x1, [x0], #8
        Instruction::StoreIndexed => code(&[0xf800_8401], 0),
        // ldr d0, [x0]; fmov x1, d0
        Instruction::LoadSimd => code(&[0xfd40_0000, 0x9e66_0001], 0),
        // fmov d0, x1; str d0, [x0]
        Instruction::StoreSimd => code(&[0x9e67_0020, 0xfd00_0000], 1),
        // ldaxr x1, [x0]
        Instruction::LoadExclusive => code(&[0xc85f_fc01], 0),
        // cas x2, x5, [x0]; mov x1, x2
        Instruction::CompareAndSwap => code(&[0xc8a2_7c05, 0xaa02_03e1], 0),
        // ldadd x2, x1, [x0]
        Instruction::AtomicAdd => code(&[0xf822_0001], 0),
        // ldrsb w1, [x0]
        Instruction::LoadSignedWord => code(&[0x39c0_0001], 0),
        // ldrsb x1, [x0]
        Instruction::LoadSigned => code(&[0x3980_0001], 0),
        // dc cvac, x0
        Instruction::Clean => code(&[0xd50b_7a20], 0),
        // dc civac, x0
        Instruction::CleanAndInvalidate => code(&[0xd50b_7e20], 0),
        // dc ivac, x0
        Instruction::Invalidate => code(&[0xd508_7620], 0),
        // ic ivau, x0
        Instruction::InvalidateInstructions => code(&[0xd50b_7520], 0),
        // dc zva, x0
        Instruction::ZeroBlock => code(&[0xd50b_7420], 0),
    }
}

/// Every piece of code, in the order of [`number`].
fn codes() -> impl Iterator<Item = Code> {
    let sizes = READS.into_iter().chain(WRITES).chain(ADDS).chain(COMPARES);
    let sizes = sizes.chain([COPY, FETCH, SPIN]);
    sizes.chain(Instruction::ALL.into_iter().map(of_instruction))
}

/// What the target's own pages hold.
pub(in super::super) fn program() -> Vec<u8> {
    let mut program = vec![0; (PAGES * PAGE_SIZE) as usize];
    let mut write = |at: usize, bytes: &[u8]| {
        let place = program.iter_mut().skip(at);
        place.zip(bytes).for_each(|(to, from)| *to = *from);
    };
    for block in 0..PAGE_SIZE / 8 {
        let entry = (block << 30) | BLOCK;
        write(TABLE + 8 * block as usize, &entry.to_le_bytes());
    }
    let vector = EXCEPTION.map(u32::to_le_bytes).concat();
    for number in 0..16 {
        write(VECTORS + 0x80 * number, &vector);
    }
    for (number, code) in codes().enumerate() {
        let words = code.words.iter().chain(&END);
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        write(STUBS + STUB * number, &bytes);
    }
    program
}

/// A piece of code.
pub(super) struct Stub {
    /// Where it lies after [`STUBS`], in bytes.
    pub(super) offset: usize,
    /// Bytes of it that are executed once the access is complete.
    pub(super) retired: u64,
}

/// The code of an operation, if there is any.
pub(super) fn stub(operation: Operation) -> Option<Stub> {
    let number = number(operation)?;
    Some(Stub {
        offset: STUB * number,
        retired: 4 * (codes().nth(number)?.access + 1),
    })
}

fn number(operation: Operation) -> Option<usize> {
    let by_size = |first: usize, size: u8| match size {
        1 => Some(first),
        2 => Some(first + 1),
        4 => Some(first + 2),
        8 => Some(first + 3),
        _ => None,
    };
    match operation {
        Operation::Read { size, .. } => by_size(0, size),
        Operation::Write { size, .. } => by_size(4, size),
        Operation::Add { size, .. } => by_size(8, size),
        Operation::CompareExchange { size, .. } => by_size(12, size),
        Operation::Copy { .. } => Some(16),
        Operation::Fetch { .. } => Some(17),
        Operation::Spin { .. } => Some(18),
        Operation::Arm64(operation) => {
            let found = |instruction: &Instruction| *instruction == operation.instruction;
            Some(19 + Instruction::ALL.iter().position(found)?)
        }
        Operation::Retry | Operation::UseTables { .. } => None,
    }
}

/// Registers X0, X1, X2 and X5 for an operation.
pub(super) fn registers(operation: Operation) -> [u64; 4] {
    let mask = |size: u8, value: u64| value & (u64::MAX >> (64 - u32::from(size.clamp(1, 8)) * 8));
    match operation {
        Operation::Read { at, .. } | Operation::Fetch { at } => [at.bytes(), 0, 0, 0],
        Operation::Write { at, value, .. } => [at.bytes(), value, 0, 0],
        Operation::Add { at, value, .. } => [at.bytes(), 0, value, 0],
        Operation::CompareExchange {
            at,
            size,
            expected,
            value,
        } => [at.bytes(), 0, mask(size, expected), value],
        Operation::Spin { at } => [at.bytes(), 0, BASE + SPINS as u64, 0],
        Operation::Copy { from, to, length } => [from.bytes(), to.bytes(), u64::from(length), 0],
        Operation::Arm64(Arm64Operation {
            instruction,
            at,
            value,
            expected,
        }) => match instruction {
            Instruction::StorePair => [at.bytes(), value & 0xffff_ffff, value >> 32, 0],
            Instruction::CompareAndSwap => [at.bytes(), 0, expected, value],
            _ => [at.bytes(), value, value, 0],
        },
        Operation::Retry | Operation::UseTables { .. } => [0; 4],
    }
}
