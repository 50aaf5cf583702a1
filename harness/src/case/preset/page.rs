//! Page tables: an identity map of the first 2 MiB with 4 KiB pages, and of the local APIC's
//! page if there is one.

use spec_model::scenario::Blob;
use spec_model::x86::local_apic::DEFAULT_ADDRESS;

use super::super::syntax::Mode;
use super::PAGE_TABLES;

/// Size of a page in bytes.
pub(in super::super) const PAGE_SIZE: u64 = 0x1000;
/// First linear address that is not mapped.
pub(in super::super) const MAPPED: u64 = 0x20_0000;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;

/// What a page allows.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Page {
    pub(in super::super) present: bool,
    pub(in super::super) writable: bool,
    pub(in super::super) user: bool,
}

/// The tables of a mode with paging, none otherwise. Accessed and dirty bits are clear,
/// so that setting them shows as a change of memory.
pub(super) fn tables(mode: Mode, pages: &[(u64, Page)], apic: bool) -> Vec<Blob> {
    const ALL: u64 = PRESENT | WRITABLE | USER;
    // The entries of a PAE page-directory-pointer table have no access rights: the bits
    // are reserved (SDM vol. 3A, "PDPTE Registers").
    let levels: &[u64] = match mode {
        Mode::Paged => &[ALL],
        Mode::Pae => &[PRESENT, ALL],
        Mode::Compatibility | Mode::Long => &[ALL, ALL, ALL],
        Mode::Real | Mode::Protected | Mode::Bare | Mode::XenPv => return Vec::new(),
    };
    let entry = |value: u64| match mode {
        Mode::Paged => value.to_le_bytes()[..4].to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let mut table = PAGE_TABLES;
    let mut blobs = Vec::new();
    for rights in levels {
        let next = table + PAGE_SIZE;
        blobs.push(Blob {
            address: table,
            bytes: entry(next | rights),
        });
        table = next;
    }
    let bytes = (0..MAPPED / PAGE_SIZE).flat_map(|number| {
        let address = number * PAGE_SIZE;
        let change = pages.iter().find(|(page, _)| *page == address);
        entry(address | change.map_or(ALL, |(_, page)| page.rights()))
    });
    blobs.push(Blob {
        address: table,
        bytes: bytes.collect(),
    });
    if apic {
        blobs.extend(apic_page(mode, levels, table + PAGE_SIZE));
    }
    blobs
}

/// The entries that map the page of the local APIC: one in the lowest table that is shared with
/// the first MiBs, and one in each new table below it, from `next` on.
fn apic_page(mode: Mode, levels: &[u64], mut next: u64) -> Vec<Blob> {
    let (width, index_bits) = if mode == Mode::Paged { (4, 10) } else { (8, 9) };
    let index = |shift: u64| DEFAULT_ADDRESS >> shift & ((1 << index_bits) - 1);
    // Lowest bit of the index into each level, the page tables last.
    let shifts: Vec<u64> = (0..=levels.len() as u64)
        .rev()
        .map(|level| 12 + index_bits * level)
        .collect();
    let shared = shifts.iter().position(|shift| index(*shift) != 0).unwrap_or(0);
    let mut table = PAGE_TABLES + shared as u64 * PAGE_SIZE;
    let mut blobs = Vec::new();
    for (depth, shift) in shifts.iter().enumerate().skip(shared) {
        let target = if depth == levels.len() {
            DEFAULT_ADDRESS
        } else {
            next
        };
        let rights = levels.get(depth).copied().unwrap_or(PRESENT | WRITABLE | USER);
        let bytes = (target | rights).to_le_bytes();
        blobs.push(Blob {
            address: table + index(*shift) * width,
            bytes: bytes.into_iter().take(if width == 4 { 4 } else { 8 }).collect(),
        });
        table = next;
        next += PAGE_SIZE;
    }
    blobs
}

impl Page {
    pub(super) fn rights(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.present, PRESENT) | bit(self.writable, WRITABLE) | bit(self.user, USER)
    }
}
