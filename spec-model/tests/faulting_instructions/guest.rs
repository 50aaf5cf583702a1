//! A processor with page tables, on which one instruction is executed.

use iced_x86::{Code, Mnemonic};
use spec_model::choice::Choices;
use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::KVM_SVM;
use spec_model::scenario::{AddressSpace, Blob, Cpuid, Limits, MemoryRegion, Scenario};
use spec_model::transcript::Access;
use spec_model::x86::decode_cache::DecodeCache;
use spec_model::x86::exception::{Exception, Interruption};
use spec_model::x86::memory::{Image, PhysicalMemory};
use spec_model::x86::processor::{Processor, Rules, Vcpu};
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{RAX, RBX, RCX, RDI, RDX, RSI, RSP, VcpuState};

use crate::sample::Operands;

pub const CODE: u64 = 0x1000;
/// Page of the memory operand, at which RBX points.
pub const DATA: u64 = 0x2000;
const SOURCE: u64 = 0x4000;
const DESTINATION: u64 = 0x6000;
const STACK: u64 = 0x8000;
const GDT: u64 = 0xa000;
const IDT: u64 = 0xb000;
const TABLES: u64 = 0x1_0000;
const SIZE: u64 = 0x2_0000;
/// A code segment whose accessed bit is clear.
pub const OTHER_CODE: u16 = 0x18;

/// The kind of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    Code64,
    Code32,
    Code16,
}

impl Bits {
    pub fn width(self) -> u32 {
        match self {
            Self::Code64 => 64,
            Self::Code32 => 32,
            Self::Code16 => 16,
        }
    }
}

/// What is wrong with memory or segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    /// Bits of the page-table entry at an address: 0 is absent, 1 read-only.
    Page(u64, u64),
    /// DS and ES are too short.
    Limit,
    /// DS and ES cannot be written.
    ReadOnlySegment,
    /// The stack ends at the address of the first push.
    StackLimit,
}

const ABSENT: u64 = 0;
const READ_ONLY: u64 = 1;

impl Damage {
    pub const ALL: &'static [Self] = &[
        Self::Page(DATA, ABSENT),
        Self::Page(DATA, READ_ONLY),
        Self::Page(DATA + 0x1000, ABSENT),
        Self::Page(DATA + 0x1000, READ_ONLY),
        Self::Page(SOURCE, ABSENT),
        Self::Page(SOURCE + 0x1000, ABSENT),
        Self::Page(DESTINATION, ABSENT),
        Self::Page(DESTINATION, READ_ONLY),
        Self::Page(DESTINATION + 0x1000, READ_ONLY),
        Self::Page(STACK, ABSENT),
        Self::Page(STACK, READ_ONLY),
        Self::Page(STACK + 0x1000, ABSENT),
        Self::Page(STACK + 0x1000, READ_ONLY),
        Self::Page(GDT, ABSENT),
        Self::Page(GDT, READ_ONLY),
        Self::Page(IDT, ABSENT),
        Self::Limit,
        Self::ReadOnlySegment,
        Self::StackLimit,
    ];
}

/// How the instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    Faulted,
    /// It needs a part of the processor that the model does not have.
    NotModelled,
    /// The model does not know the instruction.
    Unknown,
}

pub struct Guest {
    scenario: Scenario,
    bytes: Vec<u8>,
}

impl Guest {
    pub fn new(bits: Bits, damage: Damage, operands: &Operands, bytes: &[u8]) -> Self {
        let mut contents = tables(bits, damage);
        contents.push(blob(CODE, bytes));
        contents.push(blob(GDT, &descriptors(bits)));
        contents.push(blob(IDT, &gates(bits)));
        for page in [DATA, SOURCE, DESTINATION, STACK] {
            // Everything is a selector, an offset and a flag image that can be loaded.
            let words: Vec<u8> = [0x02u8, 0x10, 0x10, 0].repeat(0x800);
            contents.push(blob(page, &words));
        }
        Self {
            scenario: scenario(state(bits, damage, operands), contents),
            bytes: bytes.to_vec(),
        }
    }

    /// Whether the bytes are no instruction.
    pub fn fetch_raises_ud(&self) -> bool {
        let image = Image::new(&self.scenario).expect("the memory is in order");
        let mut memory = PhysicalMemory::new(&image);
        let mut vcpu = self.vcpu();
        let mut rules = self.rules();
        let fetched = processor(
            &mut vcpu,
            &mut memory,
            &mut DecodeCache::default(),
            &mut rules,
            &mut Vec::new(),
        )
        .fetch();
        fetched == Err(Interruption::Exception(Exception::UNDEFINED))
    }

    fn vcpu(&self) -> Vcpu {
        Vcpu {
            state: self.scenario.vcpus[0].clone(),
            ..Vcpu::default()
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            profile: &KVM_SVM,
            defects: DefectSet::NONE,
            cpuid: self.scenario.cpuid,
            choices: Choices::scripted(Vec::new()),
            facilities: Vec::new(),
        }
    }

    /// Executes the instruction, and panics if it faults and has changed what it must not.
    pub fn run(&self, code: Code) -> End {
        let image = Image::new(&self.scenario).expect("the memory is in order");
        let mut memory = PhysicalMemory::new(&image);
        let (mut vcpu, mut rules) = (self.vcpu(), self.rules());
        let (mut decoded, mut accesses) = (DecodeCache::default(), Vec::new());
        let mut processor = processor(&mut vcpu, &mut memory, &mut decoded, &mut rules, &mut accesses);
        let instruction = match processor.fetch() {
            Ok(instruction) => instruction,
            Err(Interruption::Exception(_)) => return End::Faulted,
            Err(Interruption::Model(error)) => panic!("{:02x?}: {error}", self.bytes),
        };
        let before = vcpu_before(&processor);
        let result = processor.complete(&instruction, 0);
        let end = match result {
            Ok(Ok(_)) => return End::Completed,
            Ok(Err(_)) => End::Faulted,
            Err(ModelError::UnknownInstruction { .. }) => return End::Unknown,
            Err(_) => End::NotModelled,
        };
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        let mut after = vcpu_before(&processor);
        after.0.events = before.0.events;
        if repeats {
            return end;
        }
        assert_eq!(
            before, after,
            "{code:?} {:02x?} has changed registers",
            self.bytes
        );
        let pushes_frame = matches!(
            instruction.mnemonic(),
            Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Int3 | Mnemonic::Into
        );
        for change in memory.changes().0 {
            let allowed = change.address >= TABLES || pushes_frame && (STACK..GDT).contains(&change.address);
            assert!(allowed, "{code:?} {:02x?} has changed {change:x?}", self.bytes);
        }
        end
    }
}

fn processor<'a, 'image>(
    vcpu: &'a mut Vcpu,
    memory: &'a mut PhysicalMemory<'image>,
    decoded: &'a mut DecodeCache,
    rules: &'a mut Rules,
    accesses: &'a mut Vec<Access>,
) -> Processor<'a, 'image> {
    Processor {
        vcpu,
        memory,
        decoded,
        rules,
        accesses,
    }
}

fn vcpu_before(processor: &Processor<'_, '_>) -> (VcpuState, u64) {
    (processor.vcpu.state.clone(), processor.vcpu.undefined_flags)
}

fn blob(address: u64, bytes: &[u8]) -> Blob {
    Blob {
        address,
        bytes: bytes.to_vec(),
    }
}

/// Page tables that map all of memory to itself.
fn tables(bits: Bits, damage: Damage) -> Vec<Blob> {
    let entry_at = |page: u64| match damage {
        Damage::Page(address, rights) if address == page => page | rights,
        _ => page | 3,
    };
    let pages = (0..SIZE / 0x1000).map(|page| entry_at(page * 0x1000));
    if bits == Bits::Code64 {
        let entries: Vec<u8> = pages.flat_map(u64::to_le_bytes).collect();
        let link = |level: u64| {
            blob(
                TABLES + level * 0x1000,
                &(TABLES + (level + 1) * 0x1000 | 3).to_le_bytes(),
            )
        };
        return vec![link(0), link(1), link(2), blob(TABLES + 0x3000, &entries)];
    }
    let entries: Vec<u8> = pages.flat_map(|entry| (entry as u32).to_le_bytes()).collect();
    let link = (TABLES as u32 + 0x1000 | 3).to_le_bytes();
    vec![blob(TABLES, &link), blob(TABLES + 0x1000, &entries)]
}

fn code_rights(bits: Bits) -> u32 {
    match bits {
        Bits::Code64 => 0xa09b,
        Bits::Code32 => 0xc09b,
        Bits::Code16 => 0x809b,
    }
}

/// Code at 08h, data at 10h, and the same at 18h and 20h with clear accessed bits.
fn descriptors(bits: Bits) -> Vec<u8> {
    let code = u64::from(code_rights(bits)) << 40 | 0xf_0000_0000_ffff;
    let data = 0x00cf_9300_0000_ffff_u64;
    const ACCESSED: u64 = 1 << 40;
    // A TSS and an LDT of 16 bytes at 28h and 38h.
    let task = 0x0000_8900_0000_0067_u64;
    let local = 0x0000_8200_0000_0067_u64;
    let all = [
        0,
        code,
        data,
        code & !ACCESSED,
        data & !ACCESSED,
        task,
        0,
        local,
        0,
    ];
    all.iter().flat_map(|raw| raw.to_le_bytes()).collect()
}

fn gates(bits: Bits) -> Vec<u8> {
    let gate = (CODE & 0xffff) | u64::from(OTHER_CODE) << 16 | 0x8e00 << 32;
    let words: &[u64] = if bits == Bits::Code64 { &[gate, 0] } else { &[gate] };
    words
        .repeat(256)
        .iter()
        .flat_map(|raw| raw.to_le_bytes())
        .collect()
}

fn state(bits: Bits, damage: Damage, operands: &Operands) -> VcpuState {
    const ARITHMETIC_AND_DF: u64 = 0xcd5;
    let long = bits == Bits::Code64;
    let mut state = VcpuState {
        rip: CODE,
        cr0: 0x8001_0011,
        cr3: TABLES,
        cr4: if long { 0x20 } else { 0 },
        efer: if long { 0x501 } else { 1 },
        rflags: 0x3002 | operands.flags & ARITHMETIC_AND_DF,
        ..VcpuState::default()
    };
    for name in &SegmentName::ALL[..6] {
        *state.segment_mut(*name) = Segment {
            selector: 0x10,
            base: 0,
            limit: 0xffff_ffff,
            attributes: SegmentAttributes(0xc093),
        };
    }
    *state.segment_mut(SegmentName::Cs) = Segment {
        selector: 8,
        base: 0,
        limit: 0xffff_ffff,
        attributes: SegmentAttributes(code_rights(bits)),
    };
    state.segment_mut(SegmentName::Ldtr).attributes = SegmentAttributes::UNUSABLE;
    state.segment_mut(SegmentName::Tr).attributes = SegmentAttributes(0x8b);
    for name in [SegmentName::Ds, SegmentName::Es] {
        let segment = state.segment_mut(name);
        match damage {
            Damage::Limit => segment.limit = 0xfff,
            Damage::ReadOnlySegment => segment.attributes = SegmentAttributes(0xc091),
            _ => {}
        }
    }
    let top = STACK + 0x1000 * u64::from(operands.offset < 0x800) + operands.offset;
    if damage == Damage::StackLimit {
        let stack = state.segment_mut(SegmentName::Ss);
        stack.limit = (top - 1) as u32;
    }
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: 0x47,
    };
    state.idtr = DescriptorTable {
        base: IDT,
        limit: 0xfff,
    };
    let [rax, rcx, rdx, r8] = operands.values;
    let general = &mut state.general;
    (general[RAX], general[RCX], general[RDX], general[8]) = (rax, rcx, rdx, r8);
    general[RBX] = DATA + operands.offset;
    general[RSI] = SOURCE + operands.offset;
    general[RDI] = DESTINATION + operands.offset;
    general[RSP] = top;
    state
}

fn scenario(state: VcpuState, contents: Vec<Blob>) -> Scenario {
    Scenario {
        name: "law".to_owned(),
        cpuid: Cpuid {
            long_mode: true,
            ..Cpuid::default()
        },
        memory: vec![MemoryRegion {
            address: 0,
            size: SIZE,
            space: AddressSpace::Both,
            contents,
        }],
        vcpus: vec![state],
        points: Vec::new(),
        events: Vec::new(),
        schedule: Vec::new(),
        limits: Limits::default(),
        watches: Vec::new(),
        stage2: None,
        chipset: None,
    }
}
