//! The memory slots of a virtual machine, in KVM's two address spaces.
//!
//! Space 0 is what processors outside SMM see, space 1 what those in SMM see. Slots are
//! numbered in bits 15:0 and spaces in bits 31:16 (KVM API, KVM_SET_USER_MEMORY_REGION). When
//! the chipset opens, closes or moves SMRAM, slots are deleted and created; what the memory
//! holds lies in the host's mappings and stays.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use spec_model::chipset::window::View;
use spec_model::host_state::HostCall;

use super::failure::Failure;
use super::memory::GuestMemory;
use super::second_try;

/// The slots that KVM has now, one list for each address space.
pub(super) struct Slots {
    spaces: Vec<Vec<Slot>>,
}

#[derive(Clone, Copy)]
struct Slot {
    number: u16,
    piece: Piece,
}

/// A range of guest-physical addresses backed by host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Guest-physical address of the first byte.
    guest: u64,
    /// Size in bytes.
    size: u64,
    /// Address of the first byte in this process.
    host: u64,
}

impl Slots {
    /// No slots, in both spaces or, without SMM, in one.
    pub(super) fn new(smm: bool) -> Self {
        let spaces = if smm { 2 } else { 1 };
        Self {
            spaces: vec![Vec::new(); spaces],
        }
    }

    /// Deletes the smallest slot, so that KVM forgets all shadow pages; [`Self::apply`] creates the slot
    /// again. No processor may be running.
    ///
    /// The deletion of any slot invalidates what KVM has made of the guest's page tables, in all slots
    /// and both address spaces (KVM API, KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_SLOT_ZAP_ALL, a quirk
    /// that is on unless userspace switches it off).
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn forget_shadow_pages(&mut self, vm: &VmFd) -> Result<(), Failure> {
        let all = (0u32..).zip(&mut self.spaces);
        let ends = all.filter_map(|(space, slots)| {
            let place = (0..slots.len()).min_by_key(|place| slots[*place].piece.size)?;
            Some((space, slots, place))
        });
        let Some((space, slots, place)) = ends.min_by_key(|(_, slots, place)| slots[*place].piece.size)
        else {
            return Ok(());
        };
        let slot = slots.swap_remove(place);
        delete(vm, space, slot)
    }

    /// Makes the slots what regions and chipset say: deletes those that are wrong, then
    /// creates those that are missing. No processor may be running.
    ///
    /// # Errors
    /// If the chipset shows code and data in SMM different things, which slots cannot, or KVM
    /// refuses.
    pub(super) fn apply(&mut self, vm: &VmFd, memory: &GuestMemory) -> Result<(), Failure> {
        if memory
            .bridge()
            .is_some_and(|bridge| bridge.separates_code_from_data())
        {
            return Err(Failure::CodeOnlySmram);
        }
        for (space, slots) in (0u32..).zip(&mut self.spaces) {
            let view = View::data(space == 1);
            let wanted = pieces(memory, view);
            for slot in slots.extract_if(.., |slot| !wanted.contains(&slot.piece)) {
                delete(vm, space, slot)?;
            }
            for piece in wanted {
                if slots.iter().any(|slot| slot.piece == piece) {
                    continue;
                }
                let number = free_number(slots)?;
                slots.push(Slot { number, piece });
                let other = free_number(slots)?;
                set(vm, space, number, piece, other)?;
            }
        }
        Ok(())
    }
}

fn free_number(slots: &[Slot]) -> Result<u16, Failure> {
    let free = |number: &u16| slots.iter().all(|slot| slot.number != *number);
    (0..=u16::MAX)
        .find(free)
        .ok_or_else(|| Failure::BadScenario("too many memory regions".to_owned()))
}

/// What a view sees, cut where the chipset's windows begin and end.
fn pieces(memory: &GuestMemory, view: View) -> Vec<Piece> {
    let windows = memory.bridge().map_or(&[][..], |bridge| bridge.windows());
    let mut pieces = Vec::new();
    let visible = memory
        .regions()
        .iter()
        .filter(|region| region.space.visible(view != View::Outside));
    for region in visible {
        let (start, end) = (region.address, region.address + region.mapping.len() as u64);
        let host = |address: u64| region.mapping.host_address() as u64 + (address - start);
        let mut rest = vec![(start, end)];
        for window in windows.iter().filter(|window| window.size != 0) {
            let (first, last) = (window.start, window.start + window.size);
            rest = rest
                .into_iter()
                .flat_map(|(start, end)| [(start, end.min(first)), (start.max(last), end)])
                .filter(|(start, end)| start < end)
                .collect();
            let from = start.max(window.dram);
            let to = end.min(window.dram + window.size);
            if window.sees(view) && from < to {
                pieces.push(Piece {
                    guest: window.start + (from - window.dram),
                    size: to - from,
                    host: host(from),
                });
            }
        }
        pieces.extend(rest.into_iter().map(|(from, to)| Piece {
            guest: from,
            size: to - from,
            host: host(from),
        }));
    }
    pieces
}

/// A slot of size 0 is one that is deleted (KVM API, KVM_SET_USER_MEMORY_REGION).
fn delete(vm: &VmFd, space: u32, slot: Slot) -> Result<(), Failure> {
    let empty = Piece {
        size: 0,
        ..slot.piece
    };
    set(vm, space, slot.number, empty, slot.number)
}

/// Makes a slot, and checks that it is there. `free` is the number of one that is not.
fn set(vm: &VmFd, space: u32, number: u16, piece: Piece, free: u16) -> Result<(), Failure> {
    let named = |number: u16| space << 16 | u32::from(number);
    let region = kvm_userspace_memory_region {
        slot: named(number),
        flags: 0,
        guest_phys_addr: piece.guest,
        memory_size: piece.size,
        userspace_addr: piece.host,
    };
    // SAFETY: the slot lies wholly in a mapping that the machine owns and unmaps only after
    // its vCPUs are gone, or it is deleted.
    let set = unsafe { vm.set_user_memory_region(region) };
    set.map_err(Failure::host(HostCall::SetUserMemoryRegion, 0))?;
    second_try::check(vm, &region, named(free))
}

#[cfg(test)]
mod tests {
    use spec_model::chipset::register::Register;
    use spec_model::chipset::{Chipset, HostBridge, Implementation, Kind};
    use spec_model::defect::DefectSet;
    use spec_model::scenario::{AddressSpace, MemoryRegion};

    use super::*;

    const TOP: u64 = 4 << 20;

    fn memory(registers: &[(Register, u16)]) -> GuestMemory {
        let region = MemoryRegion {
            address: 0,
            size: TOP,
            space: AddressSpace::Both,
            contents: Vec::new(),
        };
        let mut memory = GuestMemory::new(&[region]).expect("memory");
        let chipset = Chipset {
            kind: Kind::Q35,
            implementation: Implementation::Datasheet,
            top_of_memory: TOP,
            registers: registers.to_vec(),
        };
        memory.put_behind(Some(HostBridge::new(&chipset, DefectSet::NONE).expect("chipset")));
        memory
    }

    /// Guest-physical address, size and offset in the host's mapping, in ascending order.
    fn ranges(memory: &GuestMemory, view: View) -> Vec<(u64, u64, u64)> {
        let base = memory.regions()[0].mapping.host_address() as u64;
        let mut ranges: Vec<_> = pieces(memory, view)
            .into_iter()
            .map(|piece| (piece.guest, piece.size, piece.host - base))
            .collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn closed_smram_is_in_the_slots_of_smm_only() {
        let memory = memory(&[(Register::Esmramc, 1), (Register::Smram, 0x0a)]);
        let outside = [(0, 0xa_0000, 0), (0xc_0000, 0x24_0000, 0xc_0000)];
        assert_eq!(ranges(&memory, View::Outside), outside);
        let inside = [
            (0, 0xa_0000, 0),
            (0xa_0000, 0x2_0000, 0xa_0000),
            (0xc_0000, 0x24_0000, 0xc_0000),
            (0x30_0000, 0x10_0000, 0x30_0000),
        ];
        assert_eq!(ranges(&memory, View::Data), inside);
    }

    #[test]
    fn high_smram_is_another_address_of_the_same_memory() {
        let memory = memory(&[(Register::Esmramc, 0x80), (Register::Smram, 0x0a)]);
        let outside = [(0, 0xa_0000, 0), (0xc_0000, 0x34_0000, 0xc_0000)];
        assert_eq!(ranges(&memory, View::Outside), outside);
        let mut inside = outside.to_vec();
        inside.push((0xfeda_0000, 0x2_0000, 0xa_0000));
        assert_eq!(ranges(&memory, View::Data), inside);
    }
}
