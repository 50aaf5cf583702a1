//! Values of registers, and addresses.

use crate::native::layout::{CODE, LOW, PAGE, PAGES, USER_END};
use crate::native::numbers::Numbers;
use spec_model::x86::segment::Segment;

/// Addresses at which something begins or ends.
const EDGES: [u64; 10] = [
    0,
    0xffff,
    0xffff_ffff,
    0x1_0000_0000,
    USER_END,
    0x8000_0000_0000,
    0xffff_7fff_ffff_ffff,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

/// A value for a general register.
pub(super) fn value(numbers: &mut Numbers, bits: u32) -> u64 {
    let value = match numbers.below(6) {
        0 => numbers.below(0x100),
        1 => {
            let bit = 1u64 << numbers.below(64);
            numbers.pick(&[0, 1, u64::MAX, bit, bit.wrapping_sub(1), bit.wrapping_neg()])
        }
        2 | 3 => linear(numbers, bits),
        _ => numbers.number(),
    };
    if bits == 64 { value } else { value & 0xffff_ffff }
}

/// A small number that may be negative.
fn near(numbers: &mut Numbers) -> u64 {
    numbers.below(33).wrapping_sub(16)
}

/// A linear address: mostly of a page that can be written.
pub(super) fn linear(numbers: &mut Numbers, bits: u32) -> u64 {
    let page = numbers.pick(PAGES);
    let address = match numbers.below(16) {
        0..=6 => {
            let writable = page.rights.writable() && page.address < 0xffff_0000;
            let page = if writable { page.address } else { LOW + PAGE as u64 };
            page + numbers.below(PAGE as u64)
        }
        7..=9 => page
            .address
            .wrapping_add(if numbers.one_in(2) { 0 } else { PAGE as u64 }),
        10 => LOW + numbers.below(0x1_0000),
        11 => numbers.pick(&CODE) + numbers.below(PAGE as u64),
        12 => return numbers.pick(PAGES).address.wrapping_sub(numbers.below(9)),
        13 if bits == 64 => return (USER_END - 16).wrapping_add(numbers.below(32)),
        14 => numbers.pick(&EDGES),
        _ if bits == 64 && numbers.one_in(4) => numbers.number(),
        _ => numbers.number() & 0xffff_ffff,
    };
    address.wrapping_add(near(numbers))
}

/// An offset in a segment, or in none in 64-bit code: mostly one that leads to a page.
pub(super) fn offset(numbers: &mut Numbers, bits: u32, segment: Option<Segment>) -> u64 {
    let base = segment.map_or(0, |segment| segment.base);
    if bits == 64 {
        return linear(numbers, bits).wrapping_sub(base);
    }
    let limit = segment.map_or(0, |segment| u64::from(segment.limit));
    let offset = match numbers.below(10) {
        0 | 1 => limit.wrapping_add(near(numbers)),
        2 => numbers
            .pick(&[0u64, 0xffff, 0xffff_ffff])
            .wrapping_add(near(numbers)),
        _ => linear(numbers, bits).wrapping_sub(base),
    };
    offset & 0xffff_ffff
}
