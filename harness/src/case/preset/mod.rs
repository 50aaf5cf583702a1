//! What a mode sets up before a case changes anything: registers, descriptor tables,
//! page tables. Everything lies at fixed addresses, see `cases/README.md`.

mod descriptor;
mod page;
mod xen_pv;

pub(super) use descriptor::{Gate, TaskState};
pub(super) use page::{MAPPED, PAGE_SIZE, Page};
pub(super) use xen_pv::{HYPERVISOR_MEMORY, guest};

use spec_model::scenario::Blob;
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{RSP, VcpuState};
use spec_model::x86::xen_pv::FLAT_CODE;

use super::syntax::Mode;

/// Size of the RAM at guest-physical address 0, in bytes.
pub(super) const RAM_SIZE: u64 = 0x10_0000;
/// Linear address of the HLT that real-mode vectors without a handler lead to.
pub(super) const UNEXPECTED: u64 = 0xf00;
/// Initial stack pointer of processor 0; each further one starts 400h lower.
const STACK: u64 = 0x7000;
/// Stack pointer for privilege level 0 in the task-state segment.
const PRIVILEGED_STACK: u64 = 0x6000;
const STACK_STEP: u64 = 0x400;
/// Linear addresses of the tables.
const GDT: u64 = 0x8_0000;
const IDT: u64 = 0x8_1000;
const TSS: u64 = 0x8_2000;
const PAGE_TABLES: u64 = 0x9_0000;

const CODE_32: u16 = 0x08;
const DATA: u16 = 0x10;
const CODE_64: u16 = 0x28;
const TASK: u16 = 0x30;
/// First selector that cases may define.
pub(super) const FREE_SELECTORS: std::ops::RangeInclusive<u16> = 0x60..=0xf8;
const GDT_LIMIT: u16 = 0xff;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const RFLAGS_IOPL_3: u64 = 3 << 12;
const RFLAGS_ALWAYS_ONE: u64 = 2;

/// What a case changes in the tables.
pub(super) struct Tables {
    /// Gates of all vectors that have one.
    pub(super) gates: Vec<(u8, Gate)>,
    pub(super) task_state: TaskState,
    /// Further descriptors by selector.
    pub(super) descriptors: Vec<(u16, u64)>,
    pub(super) pages: Vec<(u64, Page)>,
}

impl Mode {
    pub(super) fn has_long_mode(self) -> bool {
        matches!(self, Self::Compatibility | Self::Long | Self::XenPv)
    }

    pub(super) fn has_paging(self) -> bool {
        matches!(
            self,
            Self::Paged | Self::Pae | Self::Compatibility | Self::Long | Self::XenPv
        )
    }

    /// Whether there are a GDT, an IDT with gates and a TSS.
    pub(super) fn has_descriptors(self) -> bool {
        !matches!(self, Self::Real | Self::Bare | Self::XenPv)
    }

    /// Selector of the code segment in which exception handlers run.
    pub(super) fn handler_selector(self) -> u16 {
        match self {
            Self::Real | Self::Bare => 0,
            Self::Protected | Self::Paged | Self::Pae => CODE_32,
            Self::Compatibility | Self::Long => CODE_64,
            Self::XenPv => FLAT_CODE,
        }
    }
}

/// Contents of memory that a mode needs, at linear (and guest-physical) addresses.
pub(super) fn tables(mode: Mode, tables: &Tables, apic: bool) -> Vec<Blob> {
    if mode == Mode::Bare {
        return Vec::new();
    }
    if mode == Mode::Real {
        return vec![descriptor::vector_table(&tables.gates)];
    }
    if mode == Mode::XenPv {
        return xen_pv::tables(&tables.pages);
    }
    let mut blobs = vec![
        descriptor::global_table(tables),
        descriptor::task_state(mode, &tables.task_state),
    ];
    blobs.extend(descriptor::interrupt_table(mode, &tables.gates));
    blobs.extend(page::tables(mode, &tables.pages, apic));
    blobs.sort_by_key(|blob| blob.address);
    blobs
}

/// Registers of processor `number` at the start.
pub(super) fn registers(mode: Mode, number: u8, entry: u64, task_limit: u16) -> VcpuState {
    let mut state = VcpuState::default();
    if mode == Mode::Bare {
        return state;
    }
    if mode == Mode::XenPv {
        return xen_pv::registers(entry);
    }
    state.rip = entry;
    state.general[RSP] = STACK - STACK_STEP * u64::from(number);
    state.cr0 = CR0_ET;
    for name in SegmentName::ALL {
        *state.segment_mut(name) = segment(mode, name, task_limit);
    }
    if mode == Mode::Real {
        state.idtr.limit = 0x3ff;
        state.gdtr.limit = 0xffff;
        return state;
    }
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: GDT_LIMIT,
    };
    state.idtr = DescriptorTable {
        base: IDT,
        limit: if mode.has_long_mode() { 0xfff } else { 0x7ff },
    };
    state.rflags = RFLAGS_ALWAYS_ONE | RFLAGS_IOPL_3;
    state.cr0 |= CR0_PE;
    if mode.has_paging() {
        state.cr0 |= CR0_PG | CR0_WP;
        state.cr3 = PAGE_TABLES;
    }
    if mode.has_paging() && mode != Mode::Paged {
        state.cr4 = CR4_PAE;
    }
    if mode.has_long_mode() {
        state.efer = EFER_LME | EFER_LMA;
    }
    state
}

fn segment(mode: Mode, name: SegmentName, task_limit: u16) -> Segment {
    let flat = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: 0xffff_ffff,
        attributes: SegmentAttributes(attributes),
    };
    let real = |attributes| Segment {
        limit: 0xffff,
        ..flat(0, attributes)
    };
    match (mode, name) {
        (_, SegmentName::Ldtr) => Segment {
            attributes: SegmentAttributes::UNUSABLE,
            ..Segment::default()
        },
        (Mode::Real | Mode::Bare, SegmentName::Cs) => real(0x9b),
        (Mode::Real | Mode::Bare, SegmentName::Tr) => real(0x8b),
        (Mode::Real | Mode::Bare, _) => real(0x93),
        (_, SegmentName::Tr) => Segment {
            selector: TASK,
            base: TSS,
            limit: u32::from(task_limit),
            attributes: SegmentAttributes(0x8b),
        },
        (Mode::Long, SegmentName::Cs) => flat(CODE_64, 0xa09b),
        (_, SegmentName::Cs) => flat(CODE_32, 0xc09b),
        _ => flat(DATA, 0xc093),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, PAGE_TABLES, Page, Tables, TaskState, registers, tables};

    fn untouched() -> Tables {
        Tables {
            gates: Vec::new(),
            task_state: TaskState::default(),
            descriptors: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// The qword (or dword) at an address of the tables.
    fn read(mode: Mode, changes: &Tables, address: u64, width: usize) -> u64 {
        let blobs = tables(mode, changes, true);
        let holds =
            |blob: &&super::Blob| (blob.address..blob.address + blob.bytes.len() as u64).contains(&address);
        let blob = blobs.iter().find(holds).expect("something lies there");
        let offset = usize::try_from(address - blob.address).expect("tables are small");
        let bytes = &blob.bytes[offset..offset + width];
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Walks the tables as a processor does and returns the last entry.
    fn walk(mode: Mode, linear: u64, changes: &Tables) -> u64 {
        let (shifts, index, width): (&[u32], u64, usize) = match mode {
            Mode::Paged => (&[22, 12], 0x3ff, 4),
            Mode::Pae => (&[30, 21, 12], 0x1ff, 8),
            _ => (&[39, 30, 21, 12], 0x1ff, 8),
        };
        let mut entry = PAGE_TABLES;
        for shift in shifts {
            let table = entry & 0x000f_ffff_ffff_f000;
            entry = read(
                mode,
                changes,
                table + (linear >> shift & index) * width as u64,
                width,
            );
        }
        entry
    }

    #[test]
    fn pages_map_to_themselves_in_every_paging_mode() {
        for mode in [Mode::Paged, Mode::Pae, Mode::Compatibility, Mode::Long] {
            for linear in [0, 0x1000, 0x9_0000, 0x1f_f000, 0xfee0_0000] {
                assert_eq!(
                    walk(mode, linear, &untouched()),
                    linear | 7,
                    "{mode:?} {linear:#x}"
                );
            }
        }
    }

    #[test]
    fn a_page_can_lose_its_rights() {
        let mut changes = untouched();
        let page = Page {
            present: true,
            writable: false,
            user: false,
        };
        changes.pages.push((0x9000, page));
        assert_eq!(walk(Mode::Long, 0x9000, &changes), 0x9001);
        assert_eq!(walk(Mode::Long, 0xa000, &changes), 0xa007);
    }

    /// What is in the segment registers is what loading their selectors would give.
    #[test]
    fn descriptors_agree_with_the_segment_registers() {
        for mode in [
            Mode::Protected,
            Mode::Paged,
            Mode::Pae,
            Mode::Compatibility,
            Mode::Long,
        ] {
            let state = registers(mode, 0, 0x1000, 0x67);
            for segment in state
                .segments
                .iter()
                .filter(|segment| !segment.attributes.unusable())
            {
                let address = state.gdtr.base + u64::from(segment.selector);
                let descriptor = read(mode, &untouched(), address, 8);
                let rights = descriptor >> 40 & 0xf0ff;
                assert_eq!(rights, u64::from(segment.attributes.0), "{mode:?} {segment:x?}");
                let base = descriptor >> 16 & 0xff_ffff | descriptor >> 56 << 24;
                assert_eq!(base, segment.base, "{mode:?} {segment:x?}");
                let raw = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
                let limit = if segment.attributes.granularity() {
                    raw << 12 | 0xfff
                } else {
                    raw
                };
                assert_eq!(limit, u64::from(segment.limit), "{mode:?} {segment:x?}");
            }
        }
    }
}
