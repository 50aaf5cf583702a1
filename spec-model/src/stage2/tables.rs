//! Page tables of x86 guests: one directory of 32-bit paging with pages of 4 MiB, which maps
//! addresses to themselves.

use super::scenario::{GuestAddress, PAGE_SIZE, SERVER_PAGE};

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

/// What an entry of the directory leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// A page of 4 MiB: the guest-physical address.
    To(GuestAddress),
    /// Nothing: the entry is not present.
    Nowhere,
    /// A page table.
    Further,
}

/// What an entry leads an access to (Intel SDM vol. 3A, "32-Bit Paging"). Bits 20:13 of an entry, the upper half of
/// an address with PSE-36, count as 0.
#[must_use]
pub fn leads_to(entry: u32, at: GuestAddress) -> Leads {
    const PRESENT: u32 = 1;
    const LARGE: u32 = 1 << 7;
    let below = (1 << SHIFT) - 1;
    match entry {
        entry if entry & PRESENT == 0 => Leads::Nowhere,
        entry if entry & LARGE == 0 => Leads::Further,
        entry => Leads::To(GuestAddress::of_bytes(
            u64::from(entry) & !below | at.bytes() & below,
        )),
    }
}

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
