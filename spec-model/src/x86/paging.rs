//! From linear to guest-physical addresses: 32-bit, PAE and 4-level paging.
//!
//! There is no translation cache: every access walks the tables. Payloads that change a
//! table entry therefore execute INVLPG or reload CR3 before they rely on the change.

use super::control::{cr0, cr4, efer, flag};
use super::exception::{Exception, PF, Step};
use super::execute::EntriesAboveFault;
use super::processor::{Mode, Processor};
use super::segment::SegmentName;
use crate::defect::Defect;
use crate::requirement::EXC_PF_003;

/// Bits of a page-table entry.
mod entry {
    pub const PRESENT: u64 = 1;
    pub const WRITABLE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const NO_EXECUTE: u64 = 1 << 63;
}

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch an instruction.
    Fetch,
}

/// Who makes an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The program at its CPL.
    Program,
    /// The processor itself, for descriptor tables and the TSS: always supervisor.
    System,
}

/// Tables on the longest way to a page.
const MOST_LEVELS: usize = 4;

/// Width of one level of page tables.
#[derive(Clone, Copy)]
struct Level {
    /// Lowest bit of the linear address that indexes this level.
    shift: u32,
    /// Whether an entry can map a page itself.
    can_be_leaf: bool,
    /// The four entries that PAE's CR3 points to have no permission and accessed bits.
    is_pdpte: bool,
}

const fn level(shift: u32, can_be_leaf: bool) -> Level {
    Level {
        shift,
        can_be_leaf,
        is_pdpte: false,
    }
}

static FOUR_LEVEL: [Level; 4] = [
    level(39, false),
    level(30, true),
    level(21, true),
    level(12, true),
];
static PAE: [Level; 3] = [
    Level {
        shift: 30,
        can_be_leaf: false,
        is_pdpte: true,
    },
    level(21, true),
    level(12, true),
];
static TWO_LEVEL: [Level; 2] = [level(22, true), level(12, true)];

impl Processor<'_, '_> {
    /// Translates one linear address (EXC-PF-001, EXC-PF-002). The address is
    /// guest-physical if paging is off.
    ///
    /// # Errors
    /// #PF with the error code and address that the manuals give.
    pub fn translate(&mut self, linear: u64, purpose: Purpose, privilege: Privilege) -> Step<u64> {
        let state = self.state();
        if state.cr0 & cr0::PG == 0 {
            return Ok(linear);
        }
        if self.long_mode_active() {
            self.walk(
                &FOUR_LEVEL,
                8,
                self.state().cr3 & PAGE_FRAME,
                linear,
                purpose,
                privilege,
            )
        } else if state.cr4 & cr4::PAE != 0 {
            self.walk(
                &PAE,
                8,
                self.state().cr3 & 0xffff_ffe0,
                linear,
                purpose,
                privilege,
            )
        } else {
            let large_pages = self.state().cr4 & cr4::PSE != 0;
            let levels = if large_pages { &TWO_LEVEL } else { &TWO_LEVEL_SMALL };
            self.walk(
                levels,
                4,
                self.state().cr3 & 0xffff_f000,
                linear,
                purpose,
                privilege,
            )
        }
    }

    fn walk(
        &mut self,
        levels: &[Level],
        width: usize,
        root: u64,
        linear: u64,
        purpose: Purpose,
        privilege: Privilege,
    ) -> Step<u64> {
        let user = privilege == Privilege::Program && self.cpl() == 3;
        let index_bits = if width == 8 { 9 } else { 10 };
        let mut table = root;
        let mut passed = [(0, 0); MOST_LEVELS];
        let (mut writable, mut user_allowed, mut executable) = (true, true, true);
        for (depth, level) in levels.iter().enumerate() {
            let mask = if level.is_pdpte { 3 } else { (1 << index_bits) - 1 };
            let address = table + (linear >> level.shift & mask) * width as u64;
            if let Some(end) = self.unreadable(address, linear, purpose, privilege) {
                if end.is_ok() {
                    self.mark_passed(&passed[..depth], width);
                } else {
                    self.mark_above_fault(&passed[..depth], width);
                }
                return end;
            }
            let value = self.table_entry(address, width);
            if value & entry::PRESENT == 0 {
                self.mark_above_fault(&passed[..depth], width);
                return Err(self.page_fault(linear, purpose, user, false, false));
            }
            let is_last = depth + 1 == levels.len();
            let is_leaf = is_last || level.can_be_leaf && value & entry::LARGE != 0;
            if self.has_reserved_bits(value, width, *level, is_leaf, is_last) {
                self.mark_above_fault(&passed[..depth], width);
                let present = !self.rules.broken(Defect::ReservedBitFaultNotPresent);
                return Err(self.page_fault(linear, purpose, user, present, true));
            }
            if !level.is_pdpte {
                writable &= value & entry::WRITABLE != 0;
                user_allowed &= value & entry::USER != 0;
                executable &= width == 4 || value & entry::NO_EXECUTE == 0;
            }
            if !is_leaf {
                if !level.is_pdpte || self.rules.broken(Defect::PdpteMarkedAccessed) {
                    passed[depth] = (address, value);
                }
                table = value & if width == 4 { 0xffff_f000 } else { PAGE_FRAME };
                continue;
            }
            if !self.permitted(purpose, user, writable, user_allowed, executable) {
                self.mark_above_fault(&passed[..depth], width);
                return Err(self.page_fault(linear, purpose, user, true, false));
            }
            let dirty = if purpose == Purpose::Write {
                entry::DIRTY
            } else {
                0
            };
            self.mark_passed(&passed[..depth], width);
            self.mark(address, width, value, entry::ACCESSED | dirty);
            let offset_mask = (1u64 << level.shift) - 1;
            let frame = if width == 4 {
                value & 0xffff_f000
            } else {
                value & PAGE_FRAME
            };
            return Ok(frame & !offset_mask | linear & offset_mask);
        }
        unreachable!("the last level is always a leaf")
    }

    /// With a defect: how a walk ends that meets an entry outside memory.
    fn unreadable(
        &mut self,
        entry: u64,
        linear: u64,
        purpose: Purpose,
        privilege: Privilege,
    ) -> Option<Step<u64>> {
        if self
            .memory
            .rest_of_page(entry, self.state().events.in_smm)
            .is_some()
        {
            return None;
        }
        self.vcpu.walk_met_nothing = self.rules.broken(Defect::DeliveryWithoutTablesRepeats)
            || self.rules.broken(Defect::DeliveryWithoutTablesFails);
        let is_data = purpose != Purpose::Fetch && privilege == Privilege::Program;
        let same_offset = (entry ^ linear) & 0xfff == 0;
        if is_data && same_offset && self.rules.broken(Defect::AccessAtPageTableEntry) {
            return Some(Ok(entry));
        }
        let user = privilege == Privilege::Program && self.cpl() == 3;
        let fault = self.page_fault(linear, purpose, user, false, false);
        self.rules
            .broken(Defect::UnreadableTableIsNotPresent)
            .then_some(Err(fault))
    }

    /// An entry as the processor's view of memory has it: all ones where nothing answers
    /// (CHIPSET-WALK-001). The host does not hear of it: only what instructions read and
    /// write reaches it as an access.
    fn table_entry(&self, address: u64, width: usize) -> u64 {
        let in_smm = self.state().events.in_smm || self.rules.broken(Defect::WalkSeesClosedSmram);
        let nothing = u64::MAX >> (64 - 8 * width);
        self.memory.read(address, width, in_smm).unwrap_or(nothing)
    }

    /// Sets the accessed bits of the entries above the last one.
    fn mark_passed(&mut self, passed: &[(u64, u64)], width: usize) {
        for (address, value) in passed {
            if value & entry::PRESENT != 0 {
                self.mark(*address, width, *value, entry::ACCESSED);
            }
        }
    }

    /// The entries that a walk has passed before it met one that faults: their accessed bits may
    /// or may not be set (EXC-PF-003).
    fn mark_above_fault(&mut self, passed: &[(u64, u64)], width: usize) {
        let is_new = |(_, value): &(u64, u64)| value & (entry::PRESENT | entry::ACCESSED) == entry::PRESENT;
        if !passed.iter().any(is_new) {
            return;
        }
        let choice = self.rules.profile.instructions.entries_above_fault;
        let settled = self.rules.choices.settle_for_good(choice, &EXC_PF_003);
        if settled == EntriesAboveFault::Accessed {
            self.mark_passed(passed, width);
        }
    }

    fn mark(&mut self, address: u64, width: usize, value: u64, bits: u64) {
        if value & bits != bits && !self.rules.broken(Defect::AccessedBitNotSet) {
            let in_smm = self.state().events.in_smm;
            // Where nothing answered the write is lost too.
            let _ = self.memory.write(address, width, value | bits, in_smm);
        }
    }

    /// Whether the four entries that CR3 points to are legal for PAE paging (SMM-RSM-018). An
    /// entry where nothing answers is all ones, and so illegal (CHIPSET-WALK-001).
    #[must_use]
    pub(super) fn pdptes_are_legal(&self, cr3: u64, in_smm: bool) -> bool {
        (0..4).all(|index| {
            let entry = self
                .memory
                .read((cr3 & 0xffff_ffe0) + index * 8, 8, in_smm)
                .unwrap_or(u64::MAX);
            entry & entry::PRESENT == 0 || entry & PDPTE_RESERVED == 0
        })
    }

    fn has_reserved_bits(
        &self,
        value: u64,
        width: usize,
        level: Level,
        is_leaf: bool,
        is_last: bool,
    ) -> bool {
        if width == 4 {
            return is_leaf && !is_last && value & 1 << 21 != 0;
        }
        let no_execute_reserved = self.state().efer & efer::NXE == 0 && value & entry::NO_EXECUTE != 0;
        // In PAE paging outside long mode bits 62:52 are reserved, in 4-level paging ignored.
        let above_address = !self.long_mode_active() && value & 0x7ff0_0000_0000_0000 != 0;
        let large_where_not_allowed = !level.can_be_leaf && value & entry::LARGE != 0;
        let unaligned_large = is_leaf && !is_last && value & ((1 << level.shift) - 1) & !0x1fff != 0;
        let reserved_in_pdpte = level.is_pdpte && value & PDPTE_RESERVED != 0;
        let marked =
            self.rules.broken(Defect::PdpteMarkedAccessed) && value & PDPTE_RESERVED == entry::ACCESSED;
        reserved_in_pdpte && !marked
            || no_execute_reserved
            || above_address
            || large_where_not_allowed
            || unaligned_large
    }

    fn permitted(
        &self,
        purpose: Purpose,
        user: bool,
        writable: bool,
        user_allowed: bool,
        executable: bool,
    ) -> bool {
        let state = self.state();
        if user && !user_allowed {
            return false;
        }
        match purpose {
            Purpose::Write if !writable && (user || state.cr0 & cr0::WP != 0) => return false,
            Purpose::Fetch if !executable && state.efer & efer::NXE != 0 => return false,
            Purpose::Fetch if !user && user_allowed && state.cr4 & cr4::SMEP != 0 => return false,
            _ => {}
        }
        let data = purpose != Purpose::Fetch;
        let access_prevented = state.cr4 & cr4::SMAP != 0 && state.rflags & flag::AC == 0;
        !(data && !user && user_allowed && access_prevented)
    }

    fn page_fault(
        &self,
        linear: u64,
        purpose: Purpose,
        user: bool,
        present: bool,
        reserved: bool,
    ) -> super::exception::Interruption {
        let state = self.state();
        let reports_fetch =
            state.cr4 & cr4::SMEP != 0 || state.efer & efer::NXE != 0 && state.cr4 & cr4::PAE != 0;
        let code = u32::from(present)
            | u32::from(purpose == Purpose::Write) << 1
            | u32::from(user) << 2
            | u32::from(reserved) << 3
            | u32::from(purpose == Purpose::Fetch && reports_fetch) << 4;
        Exception {
            vector: PF,
            error_code: Some(code),
            address: Some(linear),
            debug_status: 0,
        }
        .into()
    }

    /// Reads 1 to 8 bytes at a linear address. Where there is no RAM the host answers with
    /// all ones.
    ///
    /// # Errors
    /// #PF.
    pub fn read_linear(&mut self, linear: u64, width: usize, privilege: Privilege) -> Step<u64> {
        let first = self.translate(linear, Purpose::Read, privilege)?;
        self.emulated(first)?;
        let in_page = width.min(room_in_page(linear));
        if in_page == width {
            let value = self.read_physical(first, width)?;
            self.note_data_access(linear, width, false, privilege);
            return Ok(value);
        }
        let second = self.translate(self.next_page(linear, privilege), Purpose::Read, privilege)?;
        self.note_data_access(linear, width, false, privilege);
        let low = self.read_physical(first, in_page)?;
        let high = self.read_physical(second, width - in_page)?;
        Ok(low | high << (8 * in_page))
    }

    /// Writes 1 to 8 bytes at a linear address, all or nothing.
    ///
    /// # Errors
    /// #PF.
    pub fn write_linear(&mut self, linear: u64, width: usize, value: u64, privilege: Privilege) -> Step {
        let first = self.translate(linear, Purpose::Write, privilege)?;
        self.emulated(first)?;
        let in_page = width.min(room_in_page(linear));
        if in_page == width {
            self.write_physical(first, width, value)?;
            self.note_data_access(linear, width, true, privilege);
            return Ok(());
        }
        let second = self.translate(self.next_page(linear, privilege), Purpose::Write, privilege)?;
        self.note_data_access(linear, width, true, privilege);
        self.write_physical(first, in_page, value)?;
        self.write_physical(second, width - in_page, value >> (8 * in_page))
    }

    /// An access to the page of the local APIC is one that the hypervisor emulates. If it cannot
    /// read the instruction, that is a page fault of its fetch (STATE-001).
    fn emulated(&self, address: u64) -> Step {
        if !self.is_apic_page(address) || !self.instructions_are_unreadable() {
            return Ok(());
        }
        let state = self.state();
        let linear = state.segment(SegmentName::Cs).base.wrapping_add(state.rip);
        Err(self.page_fault(linear, Purpose::Fetch, self.cpl() == 3, false, false))
    }

    /// Translates all of `width` bytes at a linear address, of the program's, without reading or
    /// writing them.
    ///
    /// # Errors
    /// #PF.
    pub fn translate_all(&mut self, linear: u64, width: usize, purpose: Purpose) -> Step {
        self.translate_all_as(linear, width, purpose, Privilege::Program)
    }

    /// The same for an access of the processor itself as well.
    ///
    /// # Errors
    /// #PF.
    pub fn translate_all_as(
        &mut self,
        linear: u64,
        width: usize,
        purpose: Purpose,
        privilege: Privilege,
    ) -> Step {
        self.translate(linear, purpose, privilege)?;
        if room_in_page(linear) < width {
            self.translate(self.next_page(linear, privilege), purpose, privilege)?;
        }
        Ok(())
    }

    /// The page behind that of a linear address. A program outside 64-bit mode has addresses of 32
    /// bits, also in compatibility mode (SDM vol. 3A, "Segmentation in IA-32e Mode").
    pub(super) fn next_page(&self, linear: u64, privilege: Privilege) -> u64 {
        let next = (linear | 0xfff).wrapping_add(1);
        let narrow = privilege == Privilege::Program && self.mode() != Mode::Long64;
        if self.long_mode_active() && !narrow {
            next
        } else {
            next & 0xffff_ffff
        }
    }
}

static TWO_LEVEL_SMALL: [Level; 2] = [level(22, false), level(12, true)];
/// Reserved bits of a present page-directory-pointer entry in PAE paging.
const PDPTE_RESERVED: u64 = 0x1e6;
pub(super) const PAGE_FRAME: u64 = 0x000f_ffff_ffff_f000;

#[allow(clippy::cast_possible_truncation, reason = "at most 4096")]
fn room_in_page(linear: u64) -> usize {
    (0x1000 - (linear & 0xfff)) as usize
}
