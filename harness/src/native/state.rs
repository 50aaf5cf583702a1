//! A step: registers and memory before, registers, memory and the event behind.

use super::layout::{self, PAGE, PAGES};
use spec_model::x86::control::flag;

/// Segment registers in the order in which they are encoded.
pub const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
/// Index of CS in [`SEGMENTS`].
pub const CS: usize = 1;
/// Index of SS in [`SEGMENTS`].
pub const SS: usize = 2;
/// Index of FS in [`SEGMENTS`].
pub const FS: usize = 4;

/// General registers in the order in which they are encoded.
pub const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Registers of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// General registers, in the order in which they are encoded.
    pub general: [u64; 16],
    /// Instruction pointer, an offset in CS.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Selectors, in the order of [`SEGMENTS`].
    pub selectors: [u16; 6],
    /// Bases of FS and GS.
    pub bases: [u64; 2],
}

impl Registers {
    /// Bits of the code segment: 16, 32 or 64.
    #[must_use]
    pub fn bits(&self) -> u32 {
        match layout::segment(self.selectors[CS]).map(|segment| segment.attributes) {
            Some(code) if code.long() => 64,
            Some(code) if code.big() => 32,
            _ => 16,
        }
    }

    /// Linear address of the next instruction.
    #[must_use]
    pub fn linear_ip(&self) -> u64 {
        if self.bits() == 64 {
            return self.rip;
        }
        let base = layout::segment(self.selectors[CS]).map_or(0, |segment| segment.base);
        base.wrapping_add(self.rip) & 0xffff_ffff
    }
}

/// Flags that a step starts with in any case: a trap behind the instruction, and interrupts.
pub const STEPPING: u64 = flag::TF | flag::IF | flag::FIXED;
/// Flags that a step may choose.
pub const CHOSEN: u64 = flag::ARITHMETIC | flag::DF | flag::NT | flag::RF;

/// Bytes at a linear address, within one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poke {
    /// The address.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One step before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Registers.
    pub registers: Registers,
    /// The instruction, and what follows it as far as that has no room in a page.
    pub code: Vec<u8>,
    /// What memory holds, the instruction included, where it is not as [`Memory::at_start`].
    pub pokes: Vec<Poke>,
}

/// What ended the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Vector of the exception.
    pub vector: u8,
    /// Error code, where the exception has one.
    pub error_code: Option<u32>,
    /// For a page fault, the address.
    pub address: Option<u64>,
}

/// One step behind it, as far as both sides show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The exception; the trap of the single step for an instruction without one.
    pub event: Event,
    /// Registers as the exception's frame and the processor have them.
    pub registers: Registers,
}

/// The program's memory, page by page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    pages: Vec<Box<[u8; PAGE]>>,
}

impl Memory {
    /// What every step finds but for its pokes: NOPs in code, and bytes that look random elsewhere.
    #[must_use]
    pub fn at_start() -> Self {
        let mut numbers = super::numbers::Numbers::new(0);
        let mut page = |page: &layout::UserPage| {
            let mut bytes = Box::new([0x90; PAGE]);
            if !page.rights.executable() {
                for chunk in bytes.chunks_exact_mut(8) {
                    chunk.copy_from_slice(&numbers.number().to_le_bytes());
                }
            }
            bytes
        };
        Self {
            pages: PAGES.iter().map(&mut page).collect(),
        }
    }

    /// A page.
    #[must_use]
    pub fn page(&self, index: usize) -> &[u8; PAGE] {
        &self.pages[index]
    }

    /// The same with pokes; those where there is no page are left out.
    pub fn poke(&mut self, poke: &Poke) {
        if let Some((page, offset)) = layout::locate(poke.address) {
            let room = PAGE - offset;
            let bytes = &poke.bytes[..poke.bytes.len().min(room)];
            self.pages[page][offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}
