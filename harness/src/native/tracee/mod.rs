//! A process that executes single instructions: nothing is mapped in it but the pages of
//! [`super::layout`] and one area with a signal handler, and it can make no system call.
//!
//! A step is one PTRACE_CONT with TF set in the program's own flags, so that the system neither hides nor
//! adds anything. A fault's vector, error code and address stand only in the frame of a signal handler, so
//! the signal goes on to one, which stops at once; the frame lies in shared memory.

mod setup;
mod system;

use std::io;

use super::layout::{PAGE, PAGES};
use super::state::{After, Before, CHOSEN, Event, Memory, Poke, Registers, STEPPING};
use spec_model::x86::control::flag;
use spec_model::x86::exception::{DB, PF, has_error_code};
use system::{Shared, Stopped, Traced};

/// Where the handler and its stack lie in the traced process: far from every address that steps aim at.
const CONTROL: u64 = 0x5b5a_4000_0000;
/// Bytes of that area.
const CONTROL_LENGTH: usize = 0x2_0000;
/// A system call and a breakpoint, for the time of setting up.
const SYSTEM_CALL: usize = 0;
/// The handler: a breakpoint.
const HANDLER: usize = 0x10;
/// Arguments of system calls.
const ARGUMENTS: usize = 0x100;
/// The handler's stack; it ends with the area.
const STACK: usize = 0x1000;

/// Where the pages begin in shared memory.
const PAGES_START: usize = CONTROL_LENGTH;

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The system does not allow what a step needs.
    #[error("{call}: {error}")]
    Refused {
        /// What was asked of it.
        call: &'static str,
        /// What it answered.
        error: io::Error,
    },
    /// The table that Linux made is not the one that was asked for.
    #[error("the local descriptor table is not as modify_ldt was told")]
    DescriptorTable,
    /// The traced process is gone.
    #[error("the traced process is gone, wait status {0:#x}")]
    Gone(i32),
    /// It stopped in a way that nothing here explains.
    #[error("the traced process stopped with signal {signal}, code {code}")]
    Unexpected {
        /// The signal.
        signal: i32,
        /// Its code.
        code: i32,
    },
    /// It executed a system call.
    #[error("the step made a system call")]
    SystemCall,
    /// No trap came for 50 ms of its time.
    #[error("the step did not end")]
    Endless,
}

/// A call that failed.
fn refused(call: &'static str) -> impl FnOnce(io::Error) -> NativeError {
    move |error| NativeError::Refused { call, error }
}

/// The process.
pub struct Tracee {
    traced: Traced,
    shared: Shared,
    /// What memory holds before a step's pokes.
    start: Memory,
    /// RFLAGS.ID as the last step left it, which PTRACE_SETREGS cannot change.
    id_flag: u64,
}

/// TRAP_TRACE of siginfo: a single step.
const TRAP_TRACE: i32 = 2;
/// SYS_SECCOMP of siginfo.
const SYS_SECCOMP: i32 = 1;

impl Tracee {
    /// Starts the process and takes everything from it that it does not need.
    ///
    /// # Errors
    /// If the system refuses one of the calls.
    pub fn start() -> Result<Self, NativeError> {
        let length = CONTROL_LENGTH + PAGES.len() * PAGE;
        let shared = Shared::new(length).map_err(refused("memfd_create"))?;
        let start = Memory::at_start();
        for index in 0..PAGES.len() {
            shared.write(PAGES_START + index * PAGE, start.page(index));
        }
        const SYSCALL_INT3: [u8; 3] = [0x0f, 0x05, 0xcc];
        const INT3: [u8; 1] = [0xcc];
        shared.write(SYSTEM_CALL, &SYSCALL_INT3);
        shared.write(HANDLER, &INT3);
        let traced = Traced::start(&shared, CONTROL, CONTROL_LENGTH).map_err(refused("ptrace"))?;
        let tracee = Self {
            traced,
            shared,
            start,
            id_flag: 0,
        };
        tracee.prepare()?;
        Ok(tracee)
    }

    /// Gives a step's RFLAGS the bits that every step has.
    pub fn complete(&self, before: &mut Before) {
        before.registers.rflags = before.registers.rflags & CHOSEN | STEPPING | self.id_flag;
    }

    /// Makes a step.
    ///
    /// # Errors
    /// If the process is lost, or did something else than a step.
    pub fn step(&mut self, before: &Before) -> Result<After, NativeError> {
        self.restore();
        for poke in &before.pokes {
            self.write(poke);
        }
        self.set_registers(&before.registers)?;
        self.traced.go_on(0).map_err(refused("PTRACE_CONT"))?;
        let after = self.finish()?;
        self.id_flag = after.registers.rflags & flag::ID;
        Ok(after)
    }

    /// Waits for the end of a step.
    fn finish(&mut self) -> Result<After, NativeError> {
        let mut late = false;
        loop {
            let signal = self.wait()?;
            let code = self.traced.signal_code().map_err(refused("PTRACE_GETSIGINFO"))?;
            match signal {
                libc::SIGTRAP if code == TRAP_TRACE => {
                    let registers = self.registers()?;
                    let event = Event {
                        vector: DB,
                        error_code: None,
                        address: None,
                    };
                    return Ok(After { event, registers });
                }
                libc::SIGSYS if code == SYS_SECCOMP => return Err(NativeError::SystemCall),
                libc::SIGPROF if late => return Err(NativeError::Endless),
                libc::SIGTRAP | libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE if code > 0 => {
                    return self.handle(signal);
                }
                // The timer, and what others send: the step goes on.
                libc::SIGPROF => late = true,
                _ if code <= 0 => {}
                _ => return Err(NativeError::Unexpected { signal, code }),
            }
            self.traced.go_on(0).map_err(refused("PTRACE_CONT"))?;
        }
    }

    /// Lets a signal reach its handler, and reads the frame there.
    fn handle(&mut self, signal: i32) -> Result<After, NativeError> {
        self.traced.go_on(signal).map_err(refused("PTRACE_CONT"))?;
        loop {
            let stopped = self.wait()?;
            let here = self.traced.registers().map_err(refused("PTRACE_GETREGS"))?;
            if stopped == libc::SIGTRAP && here.rip == CONTROL + HANDLER as u64 + 1 {
                return self.frame(&here);
            }
            if stopped != libc::SIGPROF {
                let code = self.traced.signal_code().map_err(refused("PTRACE_GETSIGINFO"))?;
                if code > 0 {
                    let signal = stopped;
                    return Err(NativeError::Unexpected { signal, code });
                }
            }
            self.traced.go_on(0).map_err(refused("PTRACE_CONT"))?;
        }
    }

    /// The frame that Linux has made for the handler: RDX points to a `ucontext`.
    fn frame(&self, here: &libc::user_regs_struct) -> Result<After, NativeError> {
        let area = CONTROL..CONTROL + CONTROL_LENGTH as u64 - size_of::<libc::ucontext_t>() as u64;
        if !area.contains(&here.rdx) {
            return Err(NativeError::Unexpected {
                signal: libc::SIGTRAP,
                code: 0,
            });
        }
        let start = (here.rdx - CONTROL) as usize
            + std::mem::offset_of!(libc::ucontext_t, uc_mcontext)
            + std::mem::offset_of!(libc::mcontext_t, gregs);
        let number = |index: i32| {
            let mut bytes = [0; 8];
            self.shared.read(start + index as usize * 8, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        let segments = number(libc::REG_CSGSFS);
        let vector = number(libc::REG_TRAPNO) as u8;
        let general = GREGS.map(number);
        let event = Event {
            vector,
            error_code: has_error_code(vector).then(|| number(libc::REG_ERR) as u32),
            address: (vector == PF).then(|| number(libc::REG_CR2)),
        };
        let registers = Registers {
            general,
            rip: number(libc::REG_RIP),
            rflags: number(libc::REG_EFL),
            selectors: [
                here.es as u16,
                segments as u16,
                (segments >> 48) as u16,
                here.ds as u16,
                here.fs as u16,
                here.gs as u16,
            ],
            bases: [here.fs_base, here.gs_base],
        };
        Ok(After { event, registers })
    }

    /// Memory as the last step left it, compared with what `expected` says page by page: the index of
    /// each page that differs.
    pub fn pages_other_than(&self, expected: impl Fn(usize, &mut dyn FnMut(&[u8; PAGE]))) -> Vec<usize> {
        let mut others = Vec::new();
        for index in 0..PAGES.len() {
            expected(index, &mut |page| {
                if !self.shared.equals(PAGES_START + index * PAGE, page) {
                    others.push(index);
                }
            });
        }
        others
    }

    /// A page as the last step left it.
    #[must_use]
    pub fn page(&self, index: usize) -> Box<[u8; PAGE]> {
        let mut bytes = Box::new([0; PAGE]);
        self.shared.read(PAGES_START + index * PAGE, &mut bytes[..]);
        bytes
    }

    /// Memory as every step finds it.
    fn restore(&self) {
        for index in 0..PAGES.len() {
            let start = PAGES_START + index * PAGE;
            let page = self.start.page(index);
            if !self.shared.equals(start, page) {
                self.shared.write(start, page);
            }
        }
    }

    fn write(&self, poke: &Poke) {
        if let Some((page, offset)) = super::layout::locate(poke.address) {
            let bytes = &poke.bytes[..poke.bytes.len().min(PAGE - offset)];
            self.shared.write(PAGES_START + page * PAGE + offset, bytes);
        }
    }

    fn wait(&self) -> Result<i32, NativeError> {
        match self.traced.wait().map_err(refused("waitpid"))? {
            Stopped::Signal(signal) => Ok(signal),
            Stopped::Gone(status) => Err(NativeError::Gone(status)),
        }
    }

    fn registers(&self) -> Result<Registers, NativeError> {
        let found = self.traced.registers().map_err(refused("PTRACE_GETREGS"))?;
        Ok(Registers {
            general: [
                found.rax, found.rcx, found.rdx, found.rbx, found.rsp, found.rbp, found.rsi, found.rdi,
                found.r8, found.r9, found.r10, found.r11, found.r12, found.r13, found.r14, found.r15,
            ],
            rip: found.rip,
            rflags: found.eflags,
            selectors: [found.es, found.cs, found.ss, found.ds, found.fs, found.gs]
                .map(|selector| selector as u16),
            bases: [found.fs_base, found.gs_base],
        })
    }

    fn set_registers(&self, wanted: &Registers) -> Result<(), NativeError> {
        let [
            rax,
            rcx,
            rdx,
            rbx,
            rsp,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
        ] = wanted.general;
        let [es, cs, ss, ds, fs, gs] = wanted.selectors.map(u64::from);
        let registers = libc::user_regs_struct {
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            // No system call is to be begun again.
            orig_rax: u64::MAX,
            rip: wanted.rip,
            cs,
            eflags: wanted.rflags,
            rsp,
            ss,
            fs_base: wanted.bases[0],
            gs_base: wanted.bases[1],
            ds,
            es,
            fs,
            gs,
        };
        let done = self.traced.set_registers(&registers);
        done.map_err(refused("PTRACE_SETREGS"))
    }
}

/// General registers in a `ucontext`, in the order in which they are encoded.
const GREGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
