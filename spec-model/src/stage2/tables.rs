//! Page tables of x86 guests: one directory of 32-bit paging with pages of 4 MiB, which maps
//! addresses to themselves.

use super::scenario::{PAGE_SIZE, SERVER_PAGE};

/// The accessed bit of an entry.
pub const ACCESSED: u32 = 1 << 5;
/// The dirty bit of an entry.
pub const DIRTY: u32 = 1 << 6;
/// Present, writable, and a page of 4 MiB.
const WRITABLE_PAGE: u32 = 0x83;
/// Bits of a linear address below the number of its entry.
const SHIFT: u32 = 22;
/// Entries at the beginning of the directory, for the first 64 MiB.
const FIRST_ENTRIES: u32 = 16;

/// Offset in the directory of the entry for an address.
#[must_use]
pub const fn entry_offset(address: u64) -> u16 {
    (((address >> SHIFT) & 0x3ff) * 4) as u16
}

/// The entries that are not zero, with their offsets. Those of the target's own pages have both
/// bits set; the others have those that are given.
#[must_use]
pub fn directory(bits: u32) -> Vec<(u16, u32)> {
    let entry = |number: u32, bits| ((number * 4) as u16, number << SHIFT | WRITABLE_PAGE | bits);
    let own = (SERVER_PAGE * PAGE_SIZE) >> SHIFT;
    let mut entries: Vec<(u16, u32)> = (0..FIRST_ENTRIES).map(|number| entry(number, bits)).collect();
    entries.push(entry(own as u32, ACCESSED | DIRTY));
    entries
}
