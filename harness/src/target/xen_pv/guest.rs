//! A booted Xen with its guest: hypercalls, memory, and letting it run.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spec_model::x86::xen_pv::HYPERVISOR_RANGE;

use super::super::complaint::{Complaint, find};
use super::debugger::{DebuggerError, Registers};
use super::emulator::Emulator;
use super::kernel;
use crate::interrupt;
use crate::provision::{Qemu, Xen};

/// How long Xen may take to start its guest: about two seconds on an idle machine.
const BOOT: Duration = Duration::from_secs(120);
/// How long the guest may run without a stop.
const RUN: Duration = Duration::from_secs(10);
/// Instructions of the guest that are executed one by one.
const STEPS: usize = 200;
/// Stops at no breakpoint that are passed over: QEMU tells one more where an instruction that was executed alone met a
/// data breakpoint of the guest.
const STRAY_STOPS: usize = 4;
/// How often the console is looked at while the guest runs.
const LOOK: Duration = Duration::from_millis(20);
/// What Xen prints when it has ended its only domain, or itself.
const DOMAIN_CRASHED: &str = "Hardware Dom0 crashed";
const XEN_CRASHED: &str = "Panic on CPU";

/// Size of a page in bytes.
pub(super) const PAGE: u64 = 0x1000;
/// Pages that the guest's map of frames is read for: up to the kernel's own.
const FRAMES: usize = 0x400;
/// Hypercalls (`xen/include/public/xen.h`).
const UPDATE_VA_MAPPING: u64 = 14;
const IRET: u64 = 23;
const VCPU_OP: u64 = 24;
const MMUEXT_OP: u64 = 26;
/// The guest's clock interrupt is stopped (`xen/include/public/vcpu.h`).
const STOP_PERIODIC_TIMER: u64 = 7;
const PIN_L4_TABLE: u32 = 3;
const NEW_USER_BASEPTR: u32 = 15;
const UVMF_INVLPG: u64 = 2;
const DOMID_SELF: u64 = 0x7ff0;
pub(super) const FLAT_CODE: u64 = 0xe033;
pub(super) const FLAT_STACK: u64 = 0xe02b;
/// RFLAGS between two cases.
const QUIET_FLAGS: u64 = 0x202;
/// Offsets in the start information, in bytes (`struct start_info`).
const SHARED_INFO: usize = 40;
const PAGE_TABLES: usize = 88;
const FRAME_LIST: usize = 104;
const START_INFO: usize = 112;
/// Offsets in the guest's shared page: the event mask of processor 0, and its CR2.
const UPCALL_MASK: u64 = 1;
const CR2: u64 = 16;
/// Index of each register in [`Registers::general`].
const RAX: usize = 0;
const RDX: usize = 2;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;
const R10: usize = 10;

/// Why the guest is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestError {
    #[error("cannot start QEMU: {0}")]
    Start(#[from] io::Error),
    #[error(transparent)]
    Debugger(#[from] DebuggerError),
    #[error("Xen did not start its guest within {} s", .0.as_secs())]
    NoBoot(Duration),
    #[error("Xen ended itself")]
    XenCrashed,
    #[error("Xen ended the guest while the next case was prepared")]
    CrashedBetweenCases,
    #[error("the guest did not come back from {0}")]
    Lost(&'static str),
    #[error("Xen refused hypercall {number} with {result}")]
    Refused { number: u64, result: i64 },
    #[error("the guest has no memory at {0:#x}")]
    NoMemory(u64),
    #[error("it was asked to stop")]
    Stopped,
}

/// What became of a guest that was let run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It stands at a breakpoint.
    Stopped,
    /// Xen has ended it.
    Crashed,
    /// It has not come to a breakpoint.
    Stuck,
}

/// A booted Xen and its guest, which stands still unless it is let run.
pub(super) struct Guest {
    emulator: Emulator,
    /// Physical address of each page of the guest.
    frames: Vec<u64>,
    /// Physical address of the page that guest and hypervisor share.
    shared: u64,
    /// CR3 while the kernel runs.
    kernel_table: u64,
    breakpoints: BTreeSet<u64>,
    /// Bytes of the console whose complaints have been told.
    told: usize,
}

impl Guest {
    /// Boots Xen until the guest's first instruction, and gives its programs page tables.
    pub fn boot(qemu: &Qemu, xen: &Xen, stop: &AtomicBool) -> Result<Self, (GuestError, String)> {
        let emulator = Emulator::start(qemu, xen).map_err(|error| (error.into(), String::new()))?;
        let mut guest = Self {
            emulator,
            frames: Vec::new(),
            shared: 0,
            kernel_table: 0,
            breakpoints: BTreeSet::new(),
            told: 0,
        };
        match guest.start(stop) {
            Ok(()) => Ok(guest),
            Err(error) => {
                let words = guest.last_words();
                Err((error, words))
            }
        }
    }

    fn start(&mut self, stop: &AtomicBool) -> Result<(), GuestError> {
        self.set_breakpoint(kernel::ENTRY)?;
        let deadline = Instant::now() + BOOT;
        let registers = loop {
            match self.run_for(deadline.saturating_duration_since(Instant::now()), stop)? {
                Ran::Stopped => {}
                Ran::Crashed => return Err(GuestError::XenCrashed),
                Ran::Stuck => return Err(GuestError::NoBoot(BOOT)),
            }
            let registers = self.emulator.debugger.registers()?;
            // Firmware and Xen may have code at that address before.
            if u64::from(registers.selectors[1]) == FLAT_CODE {
                break registers;
            }
        };
        self.kernel_table = registers.cr3;
        let debugger = &mut self.emulator.debugger;
        let information = debugger.read(registers.general[RSI], START_INFO)?;
        self.shared = quad(&information, SHARED_INFO);
        let tables = debugger.read(quad(&information, PAGE_TABLES), 8)?;
        let frames = debugger.read(quad(&information, FRAME_LIST), FRAMES * 8)?;
        debugger.use_physical_addresses()?;
        self.frames = (0..FRAMES)
            .map(|number| quad(&frames, number * 8) * PAGE)
            .collect();
        for place in [
            kernel::AFTER_HYPERCALL,
            kernel::IDLE,
            kernel::MOVE_TO_CR2 + kernel::MOVE_LENGTH,
            kernel::MOVE_TO_CR4 + kernel::MOVE_LENGTH,
        ] {
            self.set_breakpoint(place)?;
        }
        self.hypercall(VCPU_OP, &[STOP_PERIODIC_TIMER, 0, 0])?;
        self.give_programs_page_tables(&tables)
    }

    /// Programs see what the kernel sees, through a top-level table of their own.
    fn give_programs_page_tables(&mut self, first_entry: &[u8]) -> Result<(), GuestError> {
        let page = kernel::PROGRAM_TABLE;
        self.write(page, &vec![0; PAGE as usize])?;
        self.write(page, first_entry)?;
        self.map(page, Some(false))?;
        let frame = self.physical(page)? / PAGE;
        for operation in [PIN_L4_TABLE, NEW_USER_BASEPTR] {
            let mut argument = u64::from(operation).to_le_bytes().to_vec();
            argument.extend(frame.to_le_bytes());
            argument.extend([0; 8]);
            self.write(kernel::ARGUMENTS, &argument)?;
            self.hypercall(MMUEXT_OP, &[kernel::ARGUMENTS, 1, 0, DOMID_SELF])?;
        }
        Ok(())
    }

    /// What Xen says on its console that it is, for instance `4.17.5 (Debian 4.17.5-1)`.
    pub fn version(&self) -> Option<String> {
        let console = self.emulator.console();
        let (_, behind) = console.split_once("Xen version ")?;
        Some(behind.lines().next()?.trim_end().to_owned())
    }

    /// What Xen has complained of since this was called last.
    pub fn complaints(&mut self) -> Vec<Complaint> {
        let console = self.emulator.console();
        let new = console.get(self.told..).unwrap_or_default();
        self.told = console.len();
        find(new.lines())
    }

    /// Xen's and QEMU's last lines.
    pub fn last_words(&self) -> String {
        const LINES: usize = 6;
        let (console, errors) = (self.emulator.console(), self.emulator.errors());
        let lines: Vec<&str> = console
            .lines()
            .chain(errors.lines())
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        lines
            .get(lines.len().saturating_sub(LINES)..)
            .unwrap_or_default()
            .join("\n")
    }

    pub fn registers(&mut self) -> Result<Registers, GuestError> {
        Ok(self.emulator.debugger.registers()?)
    }

    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), GuestError> {
        Ok(self.emulator.debugger.set_registers(registers)?)
    }

    /// Whether the registers are those of the kernel and not of a program.
    pub fn is_kernel(&self, registers: &Registers) -> bool {
        registers.cr3 == self.kernel_table
    }

    pub fn set_breakpoint(&mut self, address: u64) -> Result<(), GuestError> {
        if self.breakpoints.insert(address) {
            self.emulator.debugger.set_breakpoint(address)?;
        }
        Ok(())
    }

    pub fn remove_breakpoint(&mut self, address: u64) -> Result<(), GuestError> {
        if self.breakpoints.remove(&address) {
            self.emulator.debugger.remove_breakpoint(address)?;
        }
        Ok(())
    }

    fn physical(&self, address: u64) -> Result<u64, GuestError> {
        let page = usize::try_from(address / PAGE).ok();
        let frame = page.and_then(|page| self.frames.get(page));
        frame
            .map(|frame| frame + address % PAGE)
            .ok_or(GuestError::NoMemory(address))
    }

    /// Reads the guest's memory, page by page, whatever the page tables say.
    pub fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GuestError> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = address + bytes.len() as u64;
            let room = (PAGE - at % PAGE) as usize;
            let physical = self.physical(at)?;
            let wanted = room.min(length - bytes.len());
            bytes.extend(self.emulator.debugger.read(physical, wanted)?);
        }
        Ok(bytes)
    }

    /// Writes the guest's memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GuestError> {
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let room = (PAGE - at % PAGE) as usize;
            let (piece, more) = rest.split_at(room.min(rest.len()));
            let physical = self.physical(at)?;
            self.emulator.debugger.write(physical, piece)?;
            at += piece.len() as u64;
            rest = more;
        }
        Ok(())
    }

    /// Whether events are masked, and the guest's CR2.
    pub fn event_mask_and_cr2(&mut self) -> Result<(bool, u64), GuestError> {
        let bytes = self.emulator.debugger.read(self.shared, CR2 as usize + 8)?;
        let masked = bytes.get(UPCALL_MASK as usize).is_some_and(|mask| *mask != 0);
        Ok((masked, quad(&bytes, CR2 as usize)))
    }

    pub fn set_event_mask(&mut self, masked: bool) -> Result<(), GuestError> {
        let at = self.shared + UPCALL_MASK;
        Ok(self.emulator.debugger.write(at, &[u8::from(masked)])?)
    }

    /// A hypercall of the kernel that must not fail.
    pub(super) fn hypercall(&mut self, number: u64, arguments: &[u64]) -> Result<(), GuestError> {
        match self.result_of(number, arguments)?.cast_signed() {
            0.. => Ok(()),
            result => Err(GuestError::Refused { number, result }),
        }
    }

    /// What a hypercall of the kernel returns.
    pub(super) fn result_of(&mut self, number: u64, arguments: &[u64]) -> Result<u64, GuestError> {
        let mut registers = Registers {
            rip: kernel::HYPERCALL,
            rflags: QUIET_FLAGS,
            ..Registers::default()
        };
        registers.general[RAX] = number;
        for (argument, register) in arguments.iter().zip([RDI, RSI, RDX, R10]) {
            registers.general[register] = *argument;
        }
        Ok(self.call(&registers, kernel::AFTER_HYPERCALL)?.general[RAX])
    }

    /// MOV of a value to a control register, by the kernel's instruction at `place`.
    pub(super) fn move_to_control(&mut self, place: u64, value: u64) -> Result<(), GuestError> {
        let mut registers = Registers {
            rip: place,
            rflags: QUIET_FLAGS,
            ..Registers::default()
        };
        registers.general[RAX] = value;
        self.call(&registers, place + kernel::MOVE_LENGTH).map(drop)
    }

    /// Runs from these registers to a place of the kernel.
    fn call(&mut self, registers: &Registers, to: u64) -> Result<Registers, GuestError> {
        self.set_registers(registers)?;
        match self.run_for(RUN, &AtomicBool::new(false))? {
            Ran::Stopped => {}
            Ran::Crashed => return Err(GuestError::CrashedBetweenCases),
            Ran::Stuck => return Err(GuestError::Lost("a hypercall")),
        }
        let after = self.registers()?;
        if after.rip == to {
            Ok(after)
        } else {
            Err(GuestError::Lost("a hypercall"))
        }
    }

    /// Maps a page of the guest at its own address: not at all, or writable or not.
    pub fn map(&mut self, page: u64, writable: Option<bool>) -> Result<(), GuestError> {
        /// Present, user and accessed; writable and dirty.
        const READABLE: u64 = 0x25;
        const WRITABLE: u64 = 0x42;
        let frame = self.physical(page)?;
        let entry = match writable {
            None => 0,
            Some(false) => frame | READABLE,
            Some(true) => frame | READABLE | WRITABLE,
        };
        self.hypercall(UPDATE_VA_MAPPING, &[page, entry, UVMF_INVLPG])
    }

    /// Goes from the kernel to a program, which stands behind the hypercall.
    pub fn enter_program(&mut self) -> Result<(), GuestError> {
        let words = [
            0,
            0,
            0,
            0,
            kernel::AFTER_HYPERCALL,
            FLAT_CODE,
            QUIET_FLAGS,
            kernel::ARGUMENTS + PAGE,
            FLAT_STACK,
        ];
        let frame: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(kernel::ARGUMENTS, &frame)?;
        let mut registers = Registers {
            rip: kernel::HYPERCALL,
            rflags: QUIET_FLAGS,
            ..Registers::default()
        };
        registers.general[RAX] = IRET;
        registers.general[RSP] = kernel::ARGUMENTS;
        self.call(&registers, kernel::AFTER_HYPERCALL).map(drop)
    }

    /// Goes back to the kernel if a program runs: by a system call, whose callback is `callback`. Its
    /// frame goes onto the kernel stack. Returns whether there was a program.
    pub fn leave_program(&mut self, callback: u64) -> Result<bool, GuestError> {
        let registers = self.registers()?;
        if self.is_kernel(&registers) {
            return Ok(false);
        }
        let callback = if callback == 0 { kernel::IDLE } else { callback };
        self.set_breakpoint(callback)?;
        self.set_registers(&Registers {
            rip: kernel::HYPERCALL,
            rflags: QUIET_FLAGS,
            ..registers
        })?;
        match self.run_for(RUN, &AtomicBool::new(false))? {
            Ran::Stopped => {}
            Ran::Crashed => return Err(GuestError::CrashedBetweenCases),
            Ran::Stuck => return Err(GuestError::Lost("a system call")),
        }
        let registers = self.registers()?;
        if self.is_kernel(&registers) {
            Ok(true)
        } else {
            Err(GuestError::Lost("a system call"))
        }
    }

    /// Lets the guest run to a breakpoint.
    ///
    /// Until Xen is entered, the guest goes step by step and gets no interrupts: QEMU pushes RFLAGS
    /// with RF set for them, and an exception right after the return from one shows that in its frame,
    /// as on no processor. An interrupt is most likely just after a stop.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<Ran, GuestError> {
        for _ in 0..STEPS {
            let rip = self.registers()?.rip;
            if self.breakpoints.contains(&rip) {
                return Ok(Ran::Stopped);
            }
            if HYPERVISOR_RANGE.contains(&rip) {
                break;
            }
            self.emulator.debugger.step()?;
        }
        for _ in 0..STRAY_STOPS {
            let ran = self.run_for(RUN, stop)?;
            let rip = self.registers()?.rip;
            if ran != Ran::Stopped || self.breakpoints.contains(&rip) {
                return Ok(ran);
            }
        }
        Err(GuestError::Lost("stops at none of its breakpoints"))
    }

    fn run_for(&mut self, patience: Duration, stop: &AtomicBool) -> Result<Ran, GuestError> {
        let deadline = Instant::now() + patience;
        self.emulator.debugger.go_on()?;
        loop {
            if self.emulator.debugger.has_stopped(LOOK)? {
                return Ok(Ran::Stopped);
            }
            if stop.load(Ordering::Relaxed) || interrupt::interrupted() {
                return Err(GuestError::Stopped);
            }
            let console = self.emulator.console();
            if console.contains(XEN_CRASHED) {
                return Err(GuestError::XenCrashed);
            }
            let ran = if console.contains(DOMAIN_CRASHED) {
                Ran::Crashed
            } else if Instant::now() > deadline {
                Ran::Stuck
            } else {
                continue;
            };
            self.emulator.debugger.interrupt()?;
            return Ok(ran);
        }
    }
}

/// The quadword at an offset; 0 where the bytes end.
fn quad(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    found.map_or(0, u64::from_le_bytes)
}
