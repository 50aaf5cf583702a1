//! Guest memory: what backs it, what a scenario puts into it, what a run changed.
//!
//! Every region is one anonymous mapping that stays for the life of the virtual machine.
//! Comparing all of it after each run would cost more than the run, so only pages that
//! have ever been touched are looked at: the kernel knows them (`/proc/self/pagemap`),
//! and a page that was never touched is zero.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use spec_model::chipset::HostBridge;
use spec_model::chipset::window::View;
use spec_model::scenario::{AddressSpace, Blob, MemoryRegion};

use super::failure::Failure;
use super::mapping::Mapping;

/// Size of a page in bytes.
pub(super) const PAGE: usize = 4096;

/// Largest region in bytes. Payloads are tiny; a larger one is a mistake in the scenario
/// that should not end in the host running out of memory.
const LARGEST: usize = 1 << 30;

/// All regions of a virtual machine.
pub(super) struct GuestMemory {
    regions: Vec<Region>,
    /// `None` where procfs is not mounted: every page then counts as touched.
    pagemap: Option<File>,
    /// The chipset that says who sees SMRAM.
    bridge: Option<HostBridge>,
}

/// One region.
pub(super) struct Region {
    /// Guest-physical address of the first byte.
    pub(super) address: u64,
    pub(super) space: AddressSpace,
    pub(super) mapping: Mapping,
    /// What the scenario says memory holds at the start.
    image: Vec<u8>,
    /// Where `image` may be other than zero, as byte offsets.
    filled: Vec<Range<usize>>,
    /// Pages that may hold anything but zero.
    touched: Vec<bool>,
    /// Pages that may differ from `image` when the next scenario is loaded.
    stale: Vec<bool>,
}

impl GuestMemory {
    /// Maps memory for the regions, all of it zero.
    ///
    /// # Errors
    /// If a region is not made of whole pages or the host has not enough memory.
    pub(super) fn new(regions: &[MemoryRegion]) -> Result<Self, Failure> {
        Ok(Self {
            regions: regions.iter().map(Region::new).collect::<Result<_, _>>()?,
            pagemap: File::open("/proc/self/pagemap").ok(),
            bridge: None,
        })
    }

    /// Puts a chipset in front of the memory, or none.
    pub(super) fn put_behind(&mut self, bridge: Option<HostBridge>) {
        self.bridge = bridge;
    }

    pub(super) fn bridge(&self) -> Option<&HostBridge> {
        self.bridge.as_ref()
    }

    pub(super) fn bridge_mut(&mut self) -> Option<&mut HostBridge> {
        self.bridge.as_mut()
    }

    pub(super) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether `regions` has the same addresses, sizes and spaces.
    pub(super) fn fits(&self, regions: &[MemoryRegion]) -> bool {
        self.regions.len() == regions.len()
            && self.regions.iter().zip(regions).all(|(own, other)| {
                own.address == other.address
                    && own.mapping.len() as u64 == other.size
                    && own.space == other.space
            })
    }

    /// Makes memory what a scenario says. Only what differs is written. After a run,
    /// [`Self::changes`] comes first: it finds what the run left behind.
    ///
    /// # Errors
    /// If a blob lies outside its region.
    pub(super) fn load(&mut self, regions: &[MemoryRegion]) -> Result<(), Failure> {
        for (own, wanted) in self.regions.iter_mut().zip(regions) {
            own.load(&wanted.contents)?;
        }
        Ok(())
    }

    /// Reads what a processor in or out of SMM sees. Gives false and leaves `buffer` in an
    /// unspecified state if any of it lies outside RAM.
    pub(super) fn read(&self, address: u64, smm: bool, buffer: &mut [u8]) -> bool {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let Some((region, offset)) = self.find(at, smm) else {
                return false;
            };
            let source = self.regions[region].mapping.bytes();
            let count = rest.len().min(rest_of_page(at));
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&source[offset..offset + count]);
            at = at.wrapping_add(count as u64);
            rest = later;
        }
        true
    }

    /// The same into a new vector.
    pub(super) fn read_vec(&self, address: u64, smm: bool, length: u32) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok()?;
        let all: usize = self.regions.iter().map(|region| region.mapping.len()).sum();
        if length > all {
            return None;
        }
        let mut bytes = vec![0; length];
        self.read(address, smm, &mut bytes).then_some(bytes)
    }

    /// Writes what a processor in or out of SMM sees. Gives false if any of it lies outside
    /// RAM; what lies before is then written.
    pub(super) fn write(&mut self, address: u64, smm: bool, bytes: &[u8]) -> bool {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((region, offset)) = self.find(at, smm) else {
                return false;
            };
            let target = self.regions[region].mapping.bytes_mut();
            let count = rest.len().min(rest_of_page(at));
            let (now, later) = rest.split_at(count);
            target[offset..offset + count].copy_from_slice(now);
            at = at.wrapping_add(count as u64);
            rest = later;
        }
        true
    }

    /// Takes over the contents of memory of the same shape, as far as it was ever touched;
    /// the rest is zero on both sides. What counts as changed is still counted from what was
    /// last loaded here.
    pub(super) fn copy_from(&mut self, source: &mut Self) {
        for (own, other) in self.regions.iter_mut().zip(&mut source.regions) {
            other.find_touched(source.pagemap.as_ref());
            let (target, contents) = (own.mapping.bytes_mut(), other.mapping.bytes());
            for (page, _) in other.touched.iter().enumerate().filter(|(_, touched)| **touched) {
                target[bytes_of(page)].copy_from_slice(&contents[bytes_of(page)]);
                own.touched[page] = true;
            }
        }
    }

    /// Index of the region at a guest-physical address, and the offset in it.
    fn find(&self, address: u64, smm: bool) -> Option<(usize, usize)> {
        let address = match &self.bridge {
            Some(bridge) => bridge.route(address, View::data(smm))?,
            None => address,
        };
        self.regions.iter().enumerate().find_map(|(index, region)| {
            let offset = usize::try_from(address.checked_sub(region.address)?).ok()?;
            (region.space.visible(smm) && offset < region.mapping.len()).then_some((index, offset))
        })
    }

    /// What differs from the scenario's image: first what processors outside SMM see,
    /// then SMRAM, each in ascending order.
    pub(super) fn changes(&mut self) -> (Vec<Blob>, Vec<Blob>) {
        let mut order: Vec<usize> = (0..self.regions.len()).collect();
        order.sort_by_key(|index| self.regions[*index].address);
        let (mut normal, mut smm) = (Vec::new(), Vec::new());
        for index in order {
            let region = &mut self.regions[index];
            region.find_touched(self.pagemap.as_ref());
            let changes = match region.space {
                AddressSpace::Smm => &mut smm,
                AddressSpace::Both | AddressSpace::Normal => &mut normal,
            };
            region.collect_changes(changes);
        }
        (normal, smm)
    }
}

impl Region {
    fn new(region: &MemoryRegion) -> Result<Self, Failure> {
        let bad = |what| Failure::BadScenario(format!("the region at {:#x} {what}", region.address));
        let page = PAGE as u64;
        if region.size == 0 || !region.size.is_multiple_of(page) || !region.address.is_multiple_of(page) {
            return Err(bad("is not made of whole pages of 4096 bytes"));
        }
        if region.address.checked_add(region.size).is_none() {
            return Err(bad("reaches beyond 64 bits"));
        }
        let size = usize::try_from(region.size).ok().filter(|size| *size <= LARGEST);
        let size = size.ok_or_else(|| bad("is larger than 1 GiB"))?;
        let mapping = Mapping::anonymous(size).map_err(|source| Failure::Call {
            call: "mmap for guest memory",
            source,
        })?;
        Ok(Self {
            address: region.address,
            space: region.space,
            mapping,
            image: vec![0; size],
            filled: Vec::new(),
            touched: vec![false; size / PAGE],
            stale: vec![false; size / PAGE],
        })
    }

    fn load(&mut self, contents: &[Blob]) -> Result<(), Failure> {
        for range in self.filled.drain(..) {
            self.stale[pages(&range)].fill(true);
            self.image[range].fill(0);
        }
        for blob in contents {
            let range = self.range(blob)?;
            self.stale[pages(&range)].fill(true);
            self.touched[pages(&range)].fill(true);
            self.image[range.clone()].copy_from_slice(&blob.bytes);
            self.filled.push(range);
        }
        let memory = self.mapping.bytes_mut();
        for (page, stale) in self.stale.iter_mut().enumerate().filter(|(_, stale)| **stale) {
            let range = bytes_of(page);
            if memory[range.clone()] != self.image[range.clone()] {
                memory[range.clone()].copy_from_slice(&self.image[range]);
            }
            *stale = false;
        }
        Ok(())
    }

    /// Where a blob lies in the region, as byte offsets.
    fn range(&self, blob: &Blob) -> Result<Range<usize>, Failure> {
        let start = blob.address.checked_sub(self.address);
        let start = start.and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(blob.bytes.len())?));
        range
            .filter(|range| range.end <= self.image.len())
            .ok_or_else(|| {
                Failure::BadScenario(format!(
                    "the contents at {:#x} lie outside the region at {:#x}",
                    blob.address, self.address
                ))
            })
    }

    /// Notes which pages have been touched since the mapping was made.
    fn find_touched(&mut self, pagemap: Option<&File>) {
        // One entry of 64 bits per page: bit 63 present, bit 62 swapped out (Linux
        // Documentation/admin-guide/mm/pagemap.rst).
        const PRESENT_OR_SWAPPED: u8 = 0xc0;
        const ENTRY: usize = 8;
        let mut entries = vec![0; self.touched.len() * ENTRY];
        let first = (self.mapping.host_address() / PAGE * ENTRY) as u64;
        if pagemap.is_some_and(|pagemap| pagemap.read_exact_at(&mut entries, first).is_ok()) {
            for (touched, entry) in self.touched.iter_mut().zip(entries.chunks_exact(ENTRY)) {
                *touched |= entry[ENTRY - 1] & PRESENT_OR_SWAPPED != 0;
            }
        } else {
            self.touched.fill(true);
        }
    }

    fn collect_changes(&mut self, changes: &mut Vec<Blob>) {
        let memory = self.mapping.bytes();
        for (page, _) in self.touched.iter().enumerate().filter(|(_, touched)| **touched) {
            let range = bytes_of(page);
            if memory[range.clone()] == self.image[range.clone()] {
                continue;
            }
            self.stale[page] = true;
            for offset in range.filter(|offset| memory[*offset] != self.image[*offset]) {
                append(changes, self.address + offset as u64, memory[offset]);
            }
        }
    }
}

/// Bytes from an address to the end of its page.
fn rest_of_page(address: u64) -> usize {
    PAGE - address as usize % PAGE
}

/// Indices of the pages that a range of byte offsets lies in.
fn pages(range: &Range<usize>) -> Range<usize> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

/// The byte offsets of a page.
fn bytes_of(page: usize) -> Range<usize> {
    page * PAGE..(page + 1) * PAGE
}

/// Adds a changed byte: to the last run if it is its neighbour, else as a new run.
fn append(changes: &mut Vec<Blob>, address: u64, byte: u8) {
    match changes.last_mut() {
        Some(last) if last.address + last.bytes.len() as u64 == address => last.bytes.push(byte),
        _ => changes.push(Blob {
            address,
            bytes: vec![byte],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(address: u64, size: u64, space: AddressSpace, contents: Vec<Blob>) -> MemoryRegion {
        MemoryRegion {
            address,
            size,
            space,
            contents,
        }
    }

    fn blob(address: u64, bytes: &[u8]) -> Blob {
        Blob {
            address,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn loading_another_scenario_leaves_nothing_of_the_one_before() {
        let first = [region(
            0x1000,
            0x3000,
            AddressSpace::Both,
            vec![blob(0x1ffe, &[1, 2, 3, 4])],
        )];
        let second = [region(
            0x1000,
            0x3000,
            AddressSpace::Both,
            vec![blob(0x3000, &[9])],
        )];
        let mut memory = GuestMemory::new(&first).expect("memory");
        memory.load(&first).expect("first");
        assert!(memory.write(0x1500, false, &[7]), "inside RAM");
        assert!(memory.write(0x2fff, false, &[8]), "inside RAM");
        assert_eq!(memory.changes().0.len(), 2);
        memory.load(&second).expect("second");
        let mut bytes = vec![0xff; 0x3000];
        assert!(memory.read(0x1000, false, &mut bytes));
        let nonzero: Vec<usize> = (0..bytes.len()).filter(|index| bytes[*index] != 0).collect();
        assert_eq!(nonzero, [0x2000]);
        assert_eq!(memory.changes(), (vec![], vec![]));
    }

    #[test]
    fn changes_merge_neighbours_only_also_across_pages_and_regions() {
        let regions = [
            region(0x2000, 0x1000, AddressSpace::Both, vec![]),
            region(0x0, 0x2000, AddressSpace::Normal, vec![blob(0xff0, &[5])]),
            region(0x0, 0x1000, AddressSpace::Smm, vec![]),
        ];
        let mut memory = GuestMemory::new(&regions).expect("memory");
        memory.load(&regions).expect("load");
        assert!(memory.write(0xfff, false, &[1, 2]));
        assert!(memory.write(0x1002, false, &[3]));
        assert!(memory.write(0x1fff, false, &[4, 6]));
        assert!(memory.write(0xff0, false, &[0]));
        assert!(memory.write(0x10, true, &[8]));
        let normal = vec![
            blob(0xff0, &[0]),
            blob(0xfff, &[1, 2]),
            blob(0x1002, &[3]),
            blob(0x1fff, &[4, 6]),
        ];
        assert_eq!(memory.changes(), (normal, vec![blob(0x10, &[8])]));
    }

    #[test]
    fn the_two_address_spaces_differ_where_the_scenario_says_so() {
        let regions = [
            region(0x0, 0x1000, AddressSpace::Both, vec![]),
            region(0x1000, 0x1000, AddressSpace::Normal, vec![blob(0x1000, &[1])]),
            region(0x1000, 0x1000, AddressSpace::Smm, vec![blob(0x1000, &[2])]),
        ];
        let mut memory = GuestMemory::new(&regions).expect("memory");
        memory.load(&regions).expect("load");
        let mut byte = [0; 2];
        assert!(memory.read(0xfff, false, &mut byte));
        assert_eq!(byte, [0, 1]);
        assert!(memory.read(0xfff, true, &mut byte));
        assert_eq!(byte, [0, 2]);
        assert!(!memory.read(0x1fff, true, &mut byte), "beyond RAM");
        assert!(!memory.read(u64::MAX, false, &mut byte), "wraps around");
    }

    #[test]
    fn a_copy_holds_the_same_and_counts_changes_from_the_same_start() {
        let regions = [
            region(
                0x1000,
                0x3000,
                AddressSpace::Normal,
                vec![blob(0x1ffe, &[1, 2, 3, 4])],
            ),
            region(0x1000, 0x1000, AddressSpace::Smm, vec![blob(0x1000, &[5])]),
        ];
        let mut source = GuestMemory::new(&regions).expect("memory");
        source.load(&regions).expect("load");
        assert!(source.write(0x1fff, false, &[0, 0]));
        assert!(source.write(0x3fff, false, &[7]));
        assert!(source.write(0x1001, true, &[6]));
        let mut copy = GuestMemory::new(&regions).expect("memory");
        copy.load(&regions).expect("load");
        copy.copy_from(&mut source);
        drop(source);
        let mut bytes = [0xff; 4];
        assert!(copy.read(0x1ffe, false, &mut bytes));
        assert_eq!(bytes, [1, 0, 0, 4]);
        let normal = vec![blob(0x1fff, &[0, 0]), blob(0x3fff, &[7])];
        assert_eq!(copy.changes(), (normal, vec![blob(0x1001, &[6])]));
    }

    #[test]
    fn regions_and_blobs_that_make_no_sense_are_refused() {
        for (address, size) in [(0x10, 0x1000), (0, 0), (0, 0x1001), (u64::MAX - 0xfff, 0x2000)] {
            let regions = [region(address, size, AddressSpace::Both, vec![])];
            assert!(GuestMemory::new(&regions).is_err(), "{address:#x} {size:#x}");
        }
        for contents in [blob(0xfff, &[1]), blob(0x1fff, &[1, 2]), blob(u64::MAX, &[1, 2])] {
            let regions = [region(0x1000, 0x1000, AddressSpace::Both, vec![contents])];
            let mut memory = GuestMemory::new(&regions).expect("memory");
            assert!(memory.load(&regions).is_err());
        }
    }
}
