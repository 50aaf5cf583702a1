//! The model's side of a step: a machine in long mode with the program at CPL 3, its segments as Linux
//! has them, and a handler for each exception that stops at once.

use spec_model::choice::Choices;
use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::outcome::ChoiceMade;
use spec_model::profile::Profile;
use spec_model::scenario::{
    AddressSpace, Blob, Cpuid, Limits, MemoryRegion, Point, PointKind, SYNC_PORT, Scenario,
};
use spec_model::transcript::Stop;
use spec_model::x86::control::{cr4, efer};
use spec_model::x86::exception::{PF, has_error_code};
use spec_model::x86::machine::{Machine, MachineState};
use spec_model::x86::memory::Image;
use spec_model::x86::processor::Rules;
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{RSP, VcpuState};

use super::layout::{self, GLOBAL, LOCAL, LocalSegment, PAGE, PAGES};
use super::state::{After, Before, CS, Event, FS, Memory, Registers, SS};

/// Where the system's own memory lies in linear addresses: physical memory from 0 on.
const SYSTEM: u64 = 0xffff_ffff_8000_0000;
const TABLES: u64 = 0x1000;
const GDT: u64 = 0x2_0000;
const IDT: u64 = 0x2_1000;
const TSS: u64 = 0x2_2000;
const LDT: u64 = 0x2_2800;
const HANDLERS: u64 = 0x2_3000;
const STACK_END: u64 = 0x2_5000;
/// Physical address of the first page of the program.
const PROGRAM: u64 = 0x10_0000;
const MEMORY_END: u64 = 0x20_0000;

/// Linux's selector of its own 64-bit code.
const KERNEL_CODE: u16 = 0x10;
/// Linux's selector of the TSS.
const TASK: u16 = 0x40;
/// Linux's selector of the LDT.
const LOCAL_TABLE: u16 = 0x50;
/// Vectors with a handler; others have gates that no program may use.
const HANDLED: u64 = 32;

/// What a step comes to in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// Registers and the event.
    pub after: After,
    /// Flags that the instruction leaves undefined.
    pub undefined_flags: u64,
    /// The open choices that it met, with what was chosen.
    pub choices: Vec<(&'static str, String)>,
}

/// Why the model says nothing about a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    /// It lacks the instruction, or a part of the processor that it needs.
    #[error("{0}")]
    Gap(#[from] ModelError),
    /// The processor came to no exception.
    #[error("the model's processor stops: {0:?}")]
    Stop(Stop),
}

/// The machine before any step, as plain data.
pub struct Setting {
    scenario: Scenario,
    image: Image,
}

impl Setting {
    /// # Errors
    /// If the model does not take it.
    pub fn new() -> Result<Self, ModelError> {
        let scenario = scenario();
        let image = Image::new(&scenario)?;
        Ok(Self { scenario, image })
    }
}

/// The model, ready for steps.
pub struct Reference<'run> {
    machine: Machine<'run>,
    start: MachineState<'run>,
}

impl<'run> Reference<'run> {
    /// # Errors
    /// If the model does not take the setting.
    pub fn new(
        setting: &'run Setting,
        profile: &'static Profile,
        defects: DefectSet,
    ) -> Result<Self, ModelError> {
        let rules = Rules {
            profile,
            defects,
            cpuid: setting.scenario.cpuid,
            choices: Choices::default(),
            facilities: Vec::new(),
        };
        let machine = Machine::new(&setting.scenario, &setting.image, rules, false)?;
        let start = machine.state().clone();
        Ok(Self { machine, start })
    }

    /// Makes a step in which open choices go as `script` says.
    ///
    /// # Errors
    /// If the model says nothing about it.
    pub fn step(&mut self, before: &Before, script: Vec<usize>) -> Result<Predicted, Silent> {
        self.machine.set_state(&self.start);
        self.machine.rules.choices = Choices::scripted(script);
        let state = self.machine.state_mut();
        for poke in &before.pokes {
            if let Some((page, offset)) = layout::locate(poke.address) {
                let bytes = &poke.bytes[..poke.bytes.len().min(PAGE - offset)];
                let address = physical(page) + offset as u64;
                let written = state.memory.write_bytes(address, bytes, false);
                debug_assert!(written, "every page of the program is memory");
            }
        }
        load(&mut state.vcpus[0].state, &before.registers);
        let stretch = self.machine.advance(0)?;
        let Stop::Sync(point) = stretch.observation.stop else {
            return Err(Silent::Stop(stretch.observation.stop));
        };
        Ok(self.predicted(point.0 as u8))
    }

    /// The script of the next way in which the choices of the last step can go.
    #[must_use]
    pub fn next_script(&self) -> Option<Vec<usize>> {
        self.machine.rules.choices.next_script()
    }

    /// Shows a page of the program as the last step left it.
    pub fn show_page(&self, index: usize, show: &mut dyn FnMut(&[u8; PAGE])) {
        let bytes = self.machine.state().memory.rest_of_page(physical(index), false);
        if let Some(page) = bytes.and_then(|bytes| <&[u8; PAGE]>::try_from(bytes).ok()) {
            show(page);
        }
    }

    /// The registers behind a step, from the frame of the handler of `vector`.
    fn predicted(&self, vector: u8) -> Predicted {
        let state = self.machine.state();
        let vcpu = &state.vcpus[0];
        let code = u64::from(has_error_code(vector));
        let slot = |index: u64| {
            let address = vcpu.state.general[RSP].wrapping_sub(SYSTEM) + 8 * index;
            state.memory.read(address, 8, false).unwrap_or(0)
        };
        let selector = |name| vcpu.state.segment(name).selector;
        let mut general = vcpu.state.general;
        general[RSP] = slot(code + 3);
        let registers = Registers {
            general,
            rip: slot(code),
            rflags: slot(code + 2),
            selectors: [
                selector(SegmentName::Es),
                slot(code + 1) as u16,
                slot(code + 4) as u16,
                selector(SegmentName::Ds),
                selector(SegmentName::Fs),
                selector(SegmentName::Gs),
            ],
            bases: [SegmentName::Fs, SegmentName::Gs].map(|name| vcpu.state.segment(name).base),
        };
        let event = Event {
            vector,
            error_code: (code != 0).then(|| slot(0) as u32),
            address: (vector == PF).then_some(vcpu.state.cr2),
        };
        let made = self.machine.rules.choices.clone().into_made();
        let choice = |made: ChoiceMade| (made.requirement.id, made.chosen);
        Predicted {
            after: After { event, registers },
            undefined_flags: vcpu.undefined_flags,
            choices: made.into_iter().map(choice).collect(),
        }
    }
}

fn physical(page: usize) -> u64 {
    PROGRAM + (page * PAGE) as u64
}

/// Gives a processor the registers of a step.
fn load(state: &mut VcpuState, registers: &Registers) {
    state.general = registers.general;
    state.rip = registers.rip;
    state.rflags = registers.rflags;
    for (index, name) in SegmentName::LOADABLE.into_iter().enumerate() {
        let selector = registers.selectors[index];
        let null = Segment {
            selector,
            attributes: SegmentAttributes::UNUSABLE,
            ..Segment::default()
        };
        let mut segment = layout::segment(selector).unwrap_or(null);
        if index >= FS {
            segment.base = registers.bases[index - FS];
        }
        *state.segment_mut(name) = segment;
    }
    debug_assert!(!state.segments[CS].attributes.unusable() && !state.segments[SS].attributes.unusable());
}

/// Page tables as they are built.
struct Tables {
    /// Entries by physical address.
    entries: Vec<(u64, u64)>,
    next: u64,
}

impl Tables {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 1 << 1;
    const USER: u64 = 1 << 2;
    /// Accessed and dirty: no walk changes anything.
    const MARKED: u64 = 0x60;
    const NO_EXECUTE: u64 = 1 << 63;

    fn entry(&self, address: u64) -> Option<u64> {
        let found = self.entries.iter().find(|(known, _)| *known == address);
        found.map(|(_, value)| *value)
    }

    fn map(&mut self, linear: u64, physical: u64, rights: u64) {
        let mut table = TABLES;
        for shift in [39, 30, 21] {
            let address = table + (linear >> shift & 0x1ff) * 8;
            table = match self.entry(address) {
                Some(value) => value & 0x000f_ffff_ffff_f000,
                None => {
                    let new = self.next;
                    self.next += PAGE as u64;
                    let value = new | Self::PRESENT | Self::WRITABLE | Self::USER | Self::MARKED;
                    self.entries.push((address, value));
                    new
                }
            };
        }
        let address = table + (linear >> 12 & 0x1ff) * 8;
        let value = physical | Self::PRESENT | Self::MARKED | rights;
        self.entries.push((address, value));
    }
}

fn quadwords(address: u64, values: &[u64]) -> Blob {
    Blob {
        address,
        bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// A system descriptor of 16 bytes in long mode.
fn system_descriptor(base: u64, limit: u64, kind: u64) -> [u64; 2] {
    let low = limit | (base & 0xff_ffff) << 16 | (kind | 0x80) << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

fn gates() -> Vec<u64> {
    const BREAKPOINT: u64 = 3;
    const OVERFLOW: u64 = 4;
    const INTERRUPT_GATE: u64 = 0x8e;
    const OPEN_TO_PROGRAMS: u64 = 0x60;
    let gate = |vector: u64| {
        let handler = SYSTEM + HANDLERS + vector % HANDLED * 16;
        let open = matches!(vector, BREAKPOINT | OVERFLOW);
        let access = INTERRUPT_GATE | if open { OPEN_TO_PROGRAMS } else { 0 };
        let low =
            handler & 0xffff | u64::from(KERNEL_CODE) << 16 | access << 40 | (handler >> 16 & 0xffff) << 48;
        [low, handler >> 32]
    };
    (0..256).flat_map(gate).collect()
}

fn scenario() -> Scenario {
    let mut tables = Tables {
        entries: Vec::new(),
        next: TABLES + PAGE as u64,
    };
    for address in (GDT..STACK_END).step_by(PAGE) {
        tables.map(SYSTEM + address, address, Tables::WRITABLE);
    }
    for (index, page) in PAGES.iter().enumerate() {
        let writable = if page.rights.writable() {
            Tables::WRITABLE
        } else {
            0
        };
        let executable = if page.rights.executable() {
            0
        } else {
            Tables::NO_EXECUTE
        };
        tables.map(
            page.address,
            physical(index),
            Tables::USER | writable | executable,
        );
    }
    debug_assert!(tables.next <= GDT, "page tables end before the descriptor tables");
    tables.entries.sort_unstable();
    let entry = |(address, value): &(u64, u64)| quadwords(*address, &[*value]);
    let mut contents: Vec<Blob> = tables.entries.iter().map(entry).collect();
    let local: Vec<u64> = LOCAL
        .iter()
        .map(|segment| segment.map_or(0, LocalSegment::raw))
        .collect();
    let local_limit = (local.len() * 8 - 1) as u64;
    const TASK_LIMIT: u64 = 0x67;
    const BUSY_TASK: u64 = 0xb;
    const LDT_KIND: u64 = 2;
    let mut global = GLOBAL;
    let place = |selector: u16| usize::from(selector >> 3);
    global[place(TASK)..][..2].copy_from_slice(&system_descriptor(SYSTEM + TSS, TASK_LIMIT, BUSY_TASK));
    global[place(LOCAL_TABLE)..][..2].copy_from_slice(&system_descriptor(
        SYSTEM + LDT,
        local_limit,
        LDT_KIND,
    ));
    contents.push(quadwords(GDT, &global));
    contents.push(quadwords(IDT, &gates()));
    // RSP0, and no map of ports within the limit.
    let stack = SYSTEM + STACK_END;
    let mut task = vec![0; TASK_LIMIT as usize + 1];
    task[4..12].copy_from_slice(&stack.to_le_bytes());
    task[0x66..].fill(0xff);
    contents.push(Blob {
        address: TSS,
        bytes: task,
    });
    contents.push(quadwords(LDT, &local));
    let handler = |vector: u64| {
        const OUT: u8 = 0xe6;
        const HLT: u8 = 0xf4;
        Blob {
            address: HANDLERS + vector * 16,
            bytes: vec![OUT, SYNC_PORT + vector as u8, HLT],
        }
    };
    contents.extend((0..HANDLED).map(handler));
    let memory = Memory::at_start();
    contents.extend((0..PAGES.len()).map(|index| Blob {
        address: physical(index),
        bytes: memory.page(index).to_vec(),
    }));
    let point = |vector: u64| Point {
        name: format!("vector-{vector}"),
        kind: PointKind::Sync,
    };
    Scenario {
        name: "native".to_owned(),
        cpuid: Cpuid {
            long_mode: true,
            shadow_stack: false,
            bus_lock: false,
        },
        memory: vec![MemoryRegion {
            address: 0,
            size: MEMORY_END,
            space: AddressSpace::Both,
            contents,
        }],
        vcpus: vec![processor(local_limit as u32)],
        points: (0..HANDLED).map(point).collect(),
        limits: Limits {
            observations: 2,
            instructions: 8,
        },
        ..Scenario::default()
    }
}

/// What every step has in common.
fn processor(local_limit: u32) -> VcpuState {
    // PE, MP, ET, NE, WP, PG; AM has no effect, since no step sets AC first.
    const CR0: u64 = 0x8001_0033;
    let system = |selector, base, limit, attributes| Segment {
        selector,
        base,
        limit,
        attributes: SegmentAttributes(attributes),
    };
    let mut state = VcpuState {
        cr0: CR0,
        cr3: TABLES,
        cr4: cr4::PAE | cr4::PSE | cr4::DE,
        efer: efer::SCE | efer::LME | efer::LMA | efer::NXE,
        gdtr: DescriptorTable {
            base: SYSTEM + GDT,
            limit: (size_of_val(&GLOBAL) - 1) as u16,
        },
        idtr: DescriptorTable {
            base: SYSTEM + IDT,
            limit: 0xfff,
        },
        ..VcpuState::default()
    };
    *state.segment_mut(SegmentName::Ldtr) = system(LOCAL_TABLE, SYSTEM + LDT, local_limit, 0x82);
    *state.segment_mut(SegmentName::Tr) = system(TASK, SYSTEM + TSS, 0x67, 0x8b);
    state
}
