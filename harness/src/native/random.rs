//! Random steps: an instruction with registers and memory that are biased to edges, and to addresses in
//! and around the pages. A step depends on its seed, its number and the width of code alone.

mod operands;
mod registers;

use super::encoding::{self, Encodings, LONGEST};
use super::layout::{self, CODE, CODE_32, CODE_64, DATA, PAGE, local_selector};
use super::numbers::Numbers;
use super::state::{Before, CHOSEN, CS, Poke, Registers, SS};
use spec_model::x86::control::flag;

/// Selectors of 16-bit code.
const CODE_OF_16_BITS: [u16; 2] = [local_selector(2), local_selector(13)];
/// Selectors of 32-bit code.
const CODE_OF_32_BITS: [u16; 4] = [CODE_32, local_selector(1), local_selector(10), local_selector(11)];
/// Selectors that SS can have.
const STACKS: [u16; 9] = [
    DATA,
    local_selector(0),
    local_selector(3),
    local_selector(4),
    local_selector(6),
    local_selector(7),
    local_selector(12),
    local_selector(15),
    local_selector(17),
];
/// Selectors that a data segment register can have, besides those. Null is 0 only: Linux's return to the
/// program may make 0 of the others.
const READABLE: [u16; 6] = [
    0,
    local_selector(1),
    local_selector(2),
    local_selector(5),
    local_selector(16),
    CODE_32,
];

/// Where steps come from.
pub struct Generator {
    encodings: Encodings,
    seed: u64,
}

impl Generator {
    /// Steps of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            encodings: Encodings::new(),
            seed,
        }
    }

    /// Step `number` in code of `bits` bits.
    #[must_use]
    pub fn step(&self, number: u64, bits: u32) -> Before {
        let mut mixed = Numbers::new(self.seed ^ number.rotate_left(32));
        let mut numbers = Numbers::new(mixed.number());
        let numbers = &mut numbers;
        let mut registers = Registers {
            general: std::array::from_fn(|_| registers::value(numbers, bits)),
            rip: 0,
            rflags: flags(numbers),
            selectors: selectors(numbers, bits),
            bases: [0; 2],
        };
        for (index, base) in registers.bases.iter_mut().enumerate() {
            *base = base_of(numbers, registers.selectors[super::state::FS + index], bits);
        }
        let (mut bytes, instruction) = self.encodings.draw(numbers, bits);
        let linear = place(numbers, registers.selectors[CS], bytes.len());
        let base = if bits == 64 {
            0
        } else {
            segment_base(registers.selectors[CS])
        };
        registers.rip = linear.wrapping_sub(base);
        let mut step = operands::Step {
            numbers,
            bits,
            registers: &mut registers,
            bytes: &mut bytes,
            pokes: Vec::new(),
        };
        if !instruction.is_invalid() {
            step.choose_operands();
        }
        let mut pokes = step.pokes;
        if encoding::is_excluded(&encoding::decode(&bytes, bits)) {
            // A displacement that was chosen afterwards made it another instruction.
            bytes = vec![NOP];
        }
        pokes.extend(split(linear, &bytes));
        Before {
            registers,
            code: bytes,
            pokes,
        }
    }
}

const NOP: u8 = 0x90;

/// Bytes at an address, page by page.
fn split(address: u64, bytes: &[u8]) -> Vec<Poke> {
    let room = (PAGE as u64 - address % PAGE as u64) as usize;
    let (first, second) = bytes.split_at(bytes.len().min(room));
    let behind = address.wrapping_add(room as u64);
    [(address, first), (behind, second)]
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(address, bytes)| Poke {
            address,
            bytes: bytes.to_vec(),
        })
        .collect()
}

fn flags(numbers: &mut Numbers) -> u64 {
    let mut flags = numbers.number() & CHOSEN;
    for (rare, chance) in [(flag::DF, 2), (flag::NT, 8), (flag::RF, 8)] {
        if !numbers.one_in(chance) {
            flags &= !rare;
        }
    }
    flags
}

fn selectors(numbers: &mut Numbers, bits: u32) -> [u16; 6] {
    let mut data = || {
        if numbers.one_in(3) {
            numbers.pick(&READABLE)
        } else {
            numbers.pick(&STACKS)
        }
    };
    let (es, ds, fs, gs) = (data(), data(), data(), data());
    let (code, stack) = match bits {
        16 => (numbers.pick(&CODE_OF_16_BITS), numbers.pick(&STACKS)),
        32 => (numbers.pick(&CODE_OF_32_BITS), numbers.pick(&STACKS)),
        _ => (CODE_64, DATA),
    };
    [es, code, stack, ds, fs, gs]
}

fn segment_base(selector: u16) -> u64 {
    layout::segment(selector).map_or(0, |segment| segment.base)
}

/// The base of FS or GS. A null selector leaves it to the program in 64-bit code.
fn base_of(numbers: &mut Numbers, selector: u16, bits: u32) -> u64 {
    if layout::segment(selector).is_some() {
        return segment_base(selector);
    }
    if bits != 64 {
        return 0;
    }
    match numbers.below(4) {
        0 => 0,
        1 => registers::linear(numbers, 64) & (layout::USER_END - 1),
        _ => numbers.below(0x1_0000_0000),
    }
}

/// A linear address for an instruction: mostly within a page, sometimes up to the end of one or of the
/// segment.
fn place(numbers: &mut Numbers, code: u16, length: usize) -> u64 {
    let limit = layout::segment(code).map_or(u64::MAX, |segment| segment.base + u64::from(segment.limit));
    let page = numbers.pick(&CODE);
    let page = if page > limit { CODE[0] } else { page };
    let reaches_over = numbers.below(LONGEST as u64) + 1;
    let end = page + PAGE as u64;
    let within = page + numbers.below((PAGE - LONGEST) as u64);
    let linear = match numbers.below(10) {
        0 => end - reaches_over,
        1 if CODE
            .iter()
            .any(|page| (*page..page + PAGE as u64).contains(&limit)) =>
        {
            limit + 1 - reaches_over
        }
        _ => within,
    };
    if linear <= limit {
        linear
    } else {
        page + length as u64
    }
}

/// What a program may find in SS, for steps that load it.
fn any_selector(numbers: &mut Numbers) -> u16 {
    match numbers.below(8) {
        0 => numbers.below(4) as u16,
        1 => numbers.number() as u16,
        2 => (numbers.below(16) << 3 | numbers.below(4)) as u16,
        3 => numbers.pick(&STACKS),
        4 => numbers.pick(&[CODE_32, DATA, CODE_64]),
        _ => local_selector(numbers.below(19) as usize) & !(if numbers.one_in(8) { 3 } else { 0 }),
    }
}

/// What a program may find in CS, mostly of code.
fn code_selector(numbers: &mut Numbers) -> u16 {
    match numbers.below(5) {
        0 => any_selector(numbers),
        1 => CODE_64,
        2 => numbers.pick(&CODE_OF_16_BITS),
        _ => numbers.pick(&CODE_OF_32_BITS),
    }
}

/// The stack's base, limit and mask of offsets.
fn stack_mask(registers: &Registers, bits: u32) -> u64 {
    let wide = layout::segment(registers.selectors[SS]).is_some_and(|stack| stack.attributes.big());
    match (bits, wide) {
        (64, _) => u64::MAX,
        (_, true) => 0xffff_ffff,
        (_, false) => 0xffff,
    }
}
