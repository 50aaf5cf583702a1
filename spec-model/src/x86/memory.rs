//! Guest-physical memory: regions, address spaces, the chipset in front of them, and what
//! changed.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::page::{PAGE, Page, ZEROS};
use crate::chipset::HostBridge;
use crate::chipset::window::View;
use crate::error::ModelError;
use crate::scenario::{AddressSpace, Blob, Scenario};

/// Pages are shared between a memory and its copies until one of them writes.
type SharedPage = Rc<Page>;

/// What a scenario's memory holds at the start. Pages of zeros take no room.
#[derive(Debug)]
pub struct Image {
    regions: Vec<Region>,
}

#[derive(Debug)]
struct Region {
    address: u64,
    space: AddressSpace,
    pages: Vec<Option<SharedPage>>,
}

impl Region {
    fn end(&self) -> u64 {
        self.address + (self.pages.len() * PAGE) as u64
    }
}

impl Image {
    /// Lays out the scenario's regions.
    ///
    /// # Errors
    /// If a region is not page aligned, two regions of one address space overlap, or a blob
    /// lies outside its region.
    pub fn new(scenario: &Scenario) -> Result<Self, ModelError> {
        let mut regions = Vec::with_capacity(scenario.memory.len());
        for spec in &scenario.memory {
            if !spec.address.is_multiple_of(PAGE as u64) || !spec.size.is_multiple_of(PAGE as u64) {
                return Err(bad(format!(
                    "the memory region at {:#x} is not page aligned",
                    spec.address
                )));
            }
            let count = usize::try_from(spec.size / PAGE as u64)
                .map_err(|_| bad(format!("the memory region at {:#x} is too large", spec.address)))?;
            let mut region = Region {
                address: spec.address,
                space: spec.space,
                pages: std::iter::repeat_with(|| None).take(count).collect(),
            };
            for blob in &spec.contents {
                fill(&mut region, blob)?;
            }
            regions.push(region);
        }
        let overlap = |a: &Region, b: &Region| {
            let spaces = [false, true];
            let shared = spaces
                .iter()
                .any(|smm| a.space.visible(*smm) && b.space.visible(*smm));
            shared && a.address < b.end() && b.address < a.end()
        };
        for (index, region) in regions.iter().enumerate() {
            if let Some(other) = regions[..index].iter().find(|other| overlap(region, other)) {
                let (a, b) = (region.address, other.address);
                return Err(bad(format!("the memory regions at {a:#x} and {b:#x} overlap")));
            }
        }
        Ok(Self { regions })
    }
}

fn bad(message: String) -> ModelError {
    ModelError::BadScenario(message)
}

fn fill(region: &mut Region, blob: &Blob) -> Result<(), ModelError> {
    let end = blob.address.checked_add(blob.bytes.len() as u64);
    if blob.address < region.address || end.is_none_or(|end| end > region.end()) {
        return Err(bad(format!(
            "the bytes at {:#x} lie outside their memory region",
            blob.address
        )));
    }
    let mut offset = offset(blob.address, region.address);
    let mut rest = &blob.bytes[..];
    while !rest.is_empty() {
        let start = offset % PAGE;
        let (now, later) = rest.split_at(rest.len().min(PAGE - start));
        let page = region.pages[offset / PAGE].get_or_insert_with(|| Rc::new(Page::zero()));
        Rc::make_mut(page).bytes_mut()[start..start + now.len()].copy_from_slice(now);
        offset += now.len();
        rest = later;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "a region's size fits in usize")]
fn offset(address: u64, base: u64) -> usize {
    (address - base) as usize
}

/// Guest-physical memory during a run: the image and the pages written since.
#[derive(Debug)]
pub struct PhysicalMemory<'image> {
    image: &'image Image,
    written: Vec<Vec<Option<SharedPage>>>,
    bridge: Option<HostBridge>,
}

impl Clone for PhysicalMemory<'_> {
    fn clone(&self) -> Self {
        Self {
            image: self.image,
            written: self.written.clone(),
            bridge: self.bridge,
        }
    }

    /// Whoever goes back to a state many times allocates nothing.
    fn clone_from(&mut self, source: &Self) {
        self.image = source.image;
        self.written.clone_from(&source.written);
        self.bridge.clone_from(&source.bridge);
    }
}

impl PartialEq for PhysicalMemory<'_> {
    /// Whether two memories over the same image have the same pages written behind the same
    /// chipset.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.image, other.image) && self.written == other.written && self.bridge == other.bridge
    }
}

impl Eq for PhysicalMemory<'_> {}

impl Hash for PhysicalMemory<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.written.hash(state);
        self.bridge.hash(state);
    }
}

impl<'image> PhysicalMemory<'image> {
    /// Memory as the image has it.
    #[must_use]
    pub fn new(image: &'image Image) -> Self {
        Self {
            image,
            written: image.regions.iter().map(|_| Vec::new()).collect(),
            bridge: None,
        }
    }

    /// The same memory behind a chipset that decides who sees SMRAM.
    #[must_use]
    pub fn behind(self, bridge: Option<HostBridge>) -> Self {
        Self { bridge, ..self }
    }

    /// The chipset, if there is one.
    #[must_use]
    pub fn bridge(&self) -> Option<&HostBridge> {
        self.bridge.as_ref()
    }

    /// The chipset, to change. What it changes counts from the next access on.
    pub fn bridge_mut(&mut self) -> Option<&mut HostBridge> {
        self.bridge.as_mut()
    }

    fn locate(&self, address: u64, view: View) -> Option<(usize, usize)> {
        let address = match &self.bridge {
            Some(bridge) => bridge.route(address, view)?,
            None => address,
        };
        let in_smm = view != View::Outside;
        let hit = |region: &Region| {
            region.space.visible(in_smm) && region.address <= address && address < region.end()
        };
        let index = self.image.regions.iter().position(hit)?;
        Some((index, offset(address, self.image.regions[index].address)))
    }

    fn page(&self, region: usize, page: usize) -> &[u8; PAGE] {
        let written = self.written[region].get(page).and_then(Option::as_ref);
        let original = || self.image.regions[region].pages[page].as_ref();
        written.or_else(original).map_or(&ZEROS, |page| page.bytes())
    }

    /// The bytes from `address` to the end of its page, as a processor in or out of SMM sees
    /// them; `None` where there is no RAM.
    #[must_use]
    pub fn rest_of_page(&self, address: u64, in_smm: bool) -> Option<&[u8]> {
        self.rest_of_page_in(address, View::data(in_smm))
    }

    /// The same for instruction fetches, which a chipset can tell from data accesses
    /// (CHIPSET-SMRAM-005).
    #[must_use]
    pub fn rest_of_code_page(&self, address: u64, in_smm: bool) -> Option<&[u8]> {
        self.rest_of_page_in(address, View::code(in_smm))
    }

    fn rest_of_page_in(&self, address: u64, view: View) -> Option<&[u8]> {
        let (region, offset) = self.locate(address, view)?;
        Some(&self.page(region, offset / PAGE)[offset % PAGE..])
    }

    /// Reads a little-endian value of 1 to 8 bytes that does not cross a page; `None` where
    /// there is no RAM.
    #[must_use]
    pub fn read(&self, address: u64, width: usize, in_smm: bool) -> Option<u64> {
        let bytes = self.rest_of_page(address, in_smm)?.get(..width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    }

    /// Writes a little-endian value of 1 to 8 bytes that does not cross a page. Says whether
    /// there was RAM.
    #[must_use]
    pub fn write(&mut self, address: u64, width: usize, value: u64, in_smm: bool) -> bool {
        self.write_bytes(address, &value.to_le_bytes()[..width], in_smm)
    }

    /// Writes bytes, page by page. Says whether all of it was RAM; what was not is dropped.
    #[must_use]
    pub fn write_bytes(&mut self, address: u64, bytes: &[u8], in_smm: bool) -> bool {
        let mut address = address;
        let mut rest = bytes;
        let mut complete = true;
        while !rest.is_empty() {
            let room = PAGE - (address % PAGE as u64) as usize;
            let (now, later) = rest.split_at(rest.len().min(room));
            if let Some((region, offset)) = self.locate(address, View::data(in_smm)) {
                let page = self.page_mut(region, offset / PAGE);
                page[offset % PAGE..offset % PAGE + now.len()].copy_from_slice(now);
            } else {
                complete = false;
            }
            address = address.wrapping_add(now.len() as u64);
            rest = later;
        }
        complete
    }

    fn page_mut(&mut self, region: usize, page: usize) -> &mut [u8; PAGE] {
        let image: &'image Image = self.image;
        let original = &image.regions[region].pages;
        let pages = &mut self.written[region];
        if pages.is_empty() {
            pages.resize_with(original.len(), || None);
        }
        let written = pages[page]
            .get_or_insert_with(|| original[page].clone().unwrap_or_else(|| Rc::new(Page::zero())));
        Rc::make_mut(written).bytes_mut()
    }

    /// Reads bytes; `None` unless all of it is RAM.
    #[must_use]
    pub fn read_bytes(&self, address: u64, length: usize, in_smm: bool) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let rest = self.rest_of_page(address.wrapping_add(bytes.len() as u64), in_smm)?;
            bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
        }
        Some(bytes)
    }

    /// Runs of bytes that differ from the image: in regions that processors outside SMM see,
    /// and in regions that only a processor in SMM sees.
    #[must_use]
    pub fn changes(&self) -> (Vec<Blob>, Vec<Blob>) {
        let mut order: Vec<usize> = (0..self.image.regions.len()).collect();
        order.sort_by_key(|index| self.image.regions[*index].address);
        let (mut normal, mut smm) = (Vec::new(), Vec::new());
        for index in order {
            let region = &self.image.regions[index];
            let changes = if region.space == AddressSpace::Smm {
                &mut smm
            } else {
                &mut normal
            };
            for (number, page) in self.written[index].iter().enumerate() {
                let Some(page) = page else { continue };
                let original = region.pages[number].as_ref().map_or(&ZEROS, |page| page.bytes());
                compare(
                    region.address + (number * PAGE) as u64,
                    original,
                    page.bytes(),
                    changes,
                );
            }
        }
        (normal, smm)
    }
}

fn compare(address: u64, original: &[u8; PAGE], now: &[u8; PAGE], changes: &mut Vec<Blob>) {
    if original == now {
        return;
    }
    for (index, (before, after)) in original.iter().zip(now).enumerate() {
        if before == after {
            continue;
        }
        let here = address + index as u64;
        match changes.last_mut() {
            Some(run) if run.address + run.bytes.len() as u64 == here => run.bytes.push(*after),
            _ => changes.push(Blob {
                address: here,
                bytes: vec![*after],
            }),
        }
    }
}
