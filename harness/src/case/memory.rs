//! The memory of a case: RAM, and the code and tables in it.

use std::ops::Range;

use spec_model::scenario::{AddressSpace, Blob, MemoryRegion};

use super::code::Code;
use super::document::Located;
use super::preset::{self, PAGE_SIZE};
use super::resolve::Resolver;
use super::syntax::{Machine, MemoryEntry, Mode, Space};

/// Largest region of a case in bytes.
const MOST_RAM: u64 = 0x1000_0000;

/// A region before anything is in it.
struct Region {
    range: Range<u64>,
    space: AddressSpace,
    contents: Vec<Blob>,
}

/// RAM: the preset's and `extended`, cut by the case's own regions, in ascending order; then the code and
/// the tables are put into it.
pub(super) fn memory(
    machine: &Machine,
    extended: Option<Range<u64>>,
    code: &Code,
    tables: &[Blob],
    resolver: &mut Resolver<'_>,
) -> Vec<MemoryRegion> {
    let mut regions = Vec::new();
    if machine.mode.value != Mode::Bare {
        let ranges = std::iter::once(0..preset::RAM_SIZE).chain(extended);
        regions.extend(ranges.map(|range| Region {
            range,
            space: AddressSpace::Both,
            contents: Vec::new(),
        }));
    }
    let preset_regions = regions.len();
    for entry in &machine.memory {
        let Some(region) = region(entry, resolver) else {
            continue;
        };
        let own = regions.split_off(preset_regions.min(regions.len()));
        let clashes = own
            .iter()
            .any(|other| overlap(&other.range, &region.range) && both_visible(other.space, region.space));
        regions.extend(own);
        if clashes {
            resolver.mistakes.add(
                entry.at,
                "this region overlaps another one of `memory`",
                "give them different addresses, or the spaces `normal` and `smm`",
            );
            continue;
        }
        regions.push(region);
    }
    let own = regions.split_off(preset_regions);
    let mut regions = cut(regions, &own);
    regions.extend(own);
    if machine.mode.value != Mode::Bare {
        regions.sort_by_key(|region| (region.range.start, region.space as u8));
    }
    for blob in tables {
        put(&mut regions, blob, false);
    }
    for piece in &code.blobs {
        if !put(&mut regions, &piece.blob, piece.in_smm) && resolver.mode_known {
            resolver.mistakes.add(
                piece.at,
                format!(
                    "the code at {:#x} to {:#x} lies outside RAM or on something else",
                    piece.blob.address,
                    piece.end()
                ),
                "move it with `.at`, or add RAM in `machine.memory`; cases/README.md says where the tables lie",
            );
        }
    }
    regions.into_iter().map(Region::finish).collect()
}

impl Region {
    fn finish(mut self) -> MemoryRegion {
        self.contents.sort_by_key(|blob| blob.address);
        MemoryRegion {
            address: self.range.start,
            size: self.range.end - self.range.start,
            space: self.space,
            contents: self.contents,
        }
    }
}

fn region(entry: &Located<MemoryEntry>, resolver: &mut Resolver<'_>) -> Option<Region> {
    let address = resolver.number(&entry.value.address, 64, "a guest-physical address");
    let size = resolver.number(&entry.value.size, 64, "a size");
    let contents: Vec<_> = (entry.value.contents.0.iter())
        .map(|(key, bytes)| {
            let at = resolver.key(key, 64, "a guest-physical address");
            (key, at, resolver.bytes(bytes))
        })
        .collect();
    let (address, size) = address.zip(size)?;
    if !address.is_multiple_of(PAGE_SIZE) {
        resolver.mistakes.add(
            entry.value.address.at,
            format!("{address:#x} is not the address of a page"),
            format!("write a multiple of {PAGE_SIZE:#x}"),
        );
        return None;
    }
    if size > MOST_RAM {
        resolver.mistakes.add(
            entry.value.size.at,
            format!("a region of {size:#x} bytes"),
            format!("write at most {MOST_RAM:#x}: targets get real memory for it"),
        );
        return None;
    }
    let end = address.checked_add(size);
    let Some(end) = end.filter(|_| size != 0 && size.is_multiple_of(PAGE_SIZE)) else {
        resolver.mistakes.add(
            entry.value.size.at,
            format!("{size:#x} is not the size of a region"),
            format!("write a multiple of {PAGE_SIZE:#x} above 0"),
        );
        return None;
    };
    let mut region = Region {
        range: address..end,
        space: match entry.value.space {
            None | Some(Space::Both) => AddressSpace::Both,
            Some(Space::Normal) => AddressSpace::Normal,
            Some(Space::Smm) => AddressSpace::Smm,
        },
        contents: Vec::new(),
    };
    for (key, at, bytes) in contents {
        let (Some(address), Some(bytes)) = (at, bytes) else {
            continue;
        };
        if !region.put(&Blob { address, bytes }) {
            resolver.mistakes.add(
                key.at,
                "these bytes do not lie in their region, or lie on others",
                format!(
                    "write addresses from {:#x} up to {:#x}",
                    region.range.start, region.range.end
                ),
            );
        }
    }
    Some(region)
}

impl Region {
    /// Puts bytes in if all of them are inside and nothing is there.
    fn put(&mut self, blob: &Blob) -> bool {
        let range = span(blob);
        let inside = self.range.start <= range.start && range.end <= self.range.end;
        let free = !self.contents.iter().any(|other| overlap(&span(other), &range));
        if inside && free {
            self.contents.push(blob.clone());
        }
        inside && free
    }
}

/// Puts bytes into every part of RAM that a processor in or out of SMM sees there.
fn put(regions: &mut [Region], blob: &Blob, in_smm: bool) -> bool {
    let mut at = blob.address;
    let end = span(blob).end;
    while at < end {
        let region = regions
            .iter_mut()
            .find(|region| region.space.visible(in_smm) && region.range.contains(&at));
        let Some(region) = region else { return false };
        let upto = end.min(region.range.end);
        let offset = |address: u64| usize::try_from(address - blob.address).unwrap_or(usize::MAX);
        let bytes = blob
            .bytes
            .get(offset(at)..offset(upto))
            .unwrap_or_default()
            .to_vec();
        if !region.put(&Blob { address: at, bytes }) {
            return false;
        }
        at = upto;
    }
    true
}

/// Cuts out of the preset's RAM what the case's own regions replace.
fn cut(preset: Vec<Region>, own: &[Region]) -> Vec<Region> {
    let mut rest = preset;
    for region in own {
        let mut next = Vec::new();
        for piece in rest {
            if !overlap(&piece.range, &region.range) || !both_visible(piece.space, region.space) {
                next.push(piece);
                continue;
            }
            let inner = piece.range.start.max(region.range.start)..piece.range.end.min(region.range.end);
            let left = match (piece.space, region.space) {
                (AddressSpace::Both, AddressSpace::Normal) => Some(AddressSpace::Smm),
                (AddressSpace::Both, AddressSpace::Smm) => Some(AddressSpace::Normal),
                _ => None,
            };
            let parts = [
                (piece.range.start..inner.start, Some(piece.space)),
                (inner.clone(), left),
                (inner.end..piece.range.end, Some(piece.space)),
            ];
            for (range, space) in parts {
                if let (Some(space), false) = (space, range.is_empty()) {
                    next.push(Region {
                        range,
                        space,
                        contents: Vec::new(),
                    });
                }
            }
        }
        rest = next;
    }
    rest
}

fn span(blob: &Blob) -> Range<u64> {
    blob.address..blob.address.saturating_add(blob.bytes.len() as u64)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn both_visible(one: AddressSpace, other: AddressSpace) -> bool {
    [false, true]
        .iter()
        .any(|in_smm| one.visible(*in_smm) && other.visible(*in_smm))
}
