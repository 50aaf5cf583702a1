//! Page tables: an identity map of the first 2 MiB with 4 KiB pages.

use spec_model::scenario::Blob;

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
pub(super) fn tables(mode: Mode, pages: &[(u64, Page)]) -> Vec<Blob> {
    const ALL: u64 = PRESENT | WRITABLE | USER;
    // The entries of a PAE page-directory-pointer table have no access rights: the bits
    // are reserved (SDM vol. 3A, "PDPTE Registers").
    let levels: &[u64] = match mode {
        Mode::Paged => &[ALL],
        Mode::Pae => &[PRESENT, ALL],
        Mode::Compatibility | Mode::Long => &[ALL, ALL, ALL],
        Mode::Real | Mode::Protected | Mode::Bare => return Vec::new(),
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
    blobs
}

impl Page {
    fn rights(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.present, PRESENT) | bit(self.writable, WRITABLE) | bit(self.user, USER)
    }
}
