//! What the traced process does before the first step, at its parent's word.

use std::io;

use super::{
    ARGUMENTS, CONTROL, CONTROL_LENGTH, HANDLER, NativeError, PAGES_START, STACK, SYSTEM_CALL, Tracee,
    refused,
};
use crate::native::layout::{LOCAL, LocalSegment, PAGE, PAGES, Rights, USER_END};

/// Signals by which Linux tells a program of exceptions.
const FAULTS: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

impl Tracee {
    /// Unmaps everything but the pages of the layout, sets the local descriptor table and the signal
    /// handlers, and forbids itself all further system calls.
    pub(super) fn prepare(&self) -> Result<(), NativeError> {
        self.forget_restartable_sequences()?;
        self.unmap_all_else()?;
        self.map_pages()?;
        self.set_descriptor_table()?;
        self.set_handlers()?;
        self.set_timer()?;
        self.forbid_system_calls()
    }

    /// Has the process make a system call.
    fn call(&self, name: &'static str, number: i64, arguments: &[u64]) -> Result<u64, NativeError> {
        let fail = |error| NativeError::Refused { call: name, error };
        let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
        let mut registers = self.traced.registers().map_err(fail)?;
        registers.rax = number as u64;
        registers.orig_rax = u64::MAX;
        registers.rip = CONTROL + SYSTEM_CALL as u64;
        registers.rdi = argument(0);
        registers.rsi = argument(1);
        registers.rdx = argument(2);
        registers.r10 = argument(3);
        registers.r8 = argument(4);
        registers.r9 = argument(5);
        self.traced.set_registers(&registers).map_err(fail)?;
        self.traced.go_on(0).map_err(fail)?;
        let signal = self.wait()?;
        let behind = self.traced.registers().map_err(fail)?;
        if signal != libc::SIGTRAP || behind.rip != CONTROL + SYSTEM_CALL as u64 + 3 {
            let code = self.traced.signal_code().map_err(fail)?;
            return Err(NativeError::Unexpected { signal, code });
        }
        let result = behind.rax.cast_signed();
        if (-4095..0).contains(&result) {
            return Err(fail(io::Error::from_raw_os_error(-result as i32)));
        }
        Ok(behind.rax)
    }

    /// Puts arguments into memory that the process sees, and returns their address there.
    fn pass(&self, offset: usize, bytes: &[u8]) -> u64 {
        self.shared.write(ARGUMENTS + offset, bytes);
        CONTROL + (ARGUMENTS + offset) as u64
    }

    /// The system would write to them behind the back of a step.
    fn forget_restartable_sequences(&self) -> Result<(), NativeError> {
        // Kernels before 5.13 cannot tell; none is registered on those that have none.
        let Ok((address, length, signature)) = self.traced.restartable_sequences() else {
            return Ok(());
        };
        if address == 0 {
            return Ok(());
        }
        const UNREGISTER: u64 = 1;
        let arguments = [address, length.into(), UNREGISTER, signature.into()];
        self.call("rseq", libc::SYS_rseq, &arguments).map(|_| ())
    }

    fn unmap_all_else(&self) -> Result<(), NativeError> {
        let path = format!("/proc/{}/maps", self.traced.id());
        let maps = std::fs::read_to_string(path).map_err(refused("/proc/PID/maps"))?;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text: &str| u64::from_str_radix(text, 16).ok();
            let Some((start, end)) = range.and_then(|(start, end)| Some((number(start)?, number(end)?)))
            else {
                continue;
            };
            if start == CONTROL || start >= USER_END {
                continue;
            }
            let done = self.call("munmap", libc::SYS_munmap, &[start, end - start]);
            // Some systems seal what they map themselves; no step aims there.
            let is_sealed = ["[vdso]", "[vvar]", "[vvar_vclock]"]
                .iter()
                .any(|name| line.ends_with(name));
            if !is_sealed {
                done?;
            }
        }
        Ok(())
    }

    fn map_pages(&self) -> Result<(), NativeError> {
        for (index, page) in PAGES.iter().enumerate() {
            let protection = match page.rights {
                Rights::Read => libc::PROT_READ,
                Rights::Write => libc::PROT_READ | libc::PROT_WRITE,
                Rights::Execute => libc::PROT_READ | libc::PROT_EXEC,
                Rights::All => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            };
            let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE;
            let arguments = [
                page.address,
                PAGE as u64,
                protection as u64,
                flags as u64,
                self.shared.descriptor() as u64,
                (PAGES_START + index * PAGE) as u64,
            ];
            self.call("mmap", libc::SYS_mmap, &arguments)?;
        }
        Ok(())
    }

    fn set_descriptor_table(&self) -> Result<(), NativeError> {
        const READ: u64 = 0;
        const WRITE: u64 = 0x11;
        for (index, segment) in LOCAL.iter().enumerate() {
            let Some(segment) = segment else { continue };
            let address = self.pass(0, &description(index, *segment));
            self.call("modify_ldt", libc::SYS_modify_ldt, &[WRITE, address, 16])?;
        }
        let mut wanted = Vec::new();
        for segment in LOCAL {
            wanted.extend(segment.map_or(0, LocalSegment::raw).to_le_bytes());
        }
        let address = self.pass(0, &vec![0; wanted.len()]);
        let read = [READ, address, wanted.len() as u64];
        self.call("modify_ldt", libc::SYS_modify_ldt, &read)?;
        if self.shared.equals(ARGUMENTS, &wanted) {
            Ok(())
        } else {
            Err(NativeError::DescriptorTable)
        }
    }

    fn set_handlers(&self) -> Result<(), NativeError> {
        let stack: [u64; 3] = [CONTROL + STACK as u64, 0, (CONTROL_LENGTH - STACK) as u64];
        let address = self.pass(0, &stack.map(u64::to_le_bytes).concat());
        self.call("sigaltstack", libc::SYS_sigaltstack, &[address])?;
        const SA_RESTORER: u64 = 0x0400_0000;
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER) as u64 | SA_RESTORER;
        let handler = CONTROL + HANDLER as u64;
        let action = [handler, flags, handler, 0];
        let address = self.pass(0, &action.map(u64::to_le_bytes).concat());
        for signal in FAULTS {
            let arguments = [signal as u64, address, 0, 8];
            self.call("rt_sigaction", libc::SYS_rt_sigaction, &arguments)?;
        }
        Ok(())
    }

    /// A signal for every 50 ms that the process computes, in the system or not: a step without end is
    /// seen by two of them.
    fn set_timer(&self) -> Result<(), NativeError> {
        const ITIMER_PROF: u64 = 2;
        const MICROSECONDS: u64 = 50_000;
        let address = self.pass(
            0,
            &[0, MICROSECONDS, 0, MICROSECONDS].map(u64::to_le_bytes).concat(),
        );
        let arguments = [ITIMER_PROF, address];
        self.call("setitimer", libc::SYS_setitimer, &arguments)
            .map(|_| ())
    }

    /// Whatever a step may execute, it calls nothing of the system.
    fn forbid_system_calls(&self) -> Result<(), NativeError> {
        const PR_SET_NO_NEW_PRIVS: u64 = 38;
        self.call("prctl", libc::SYS_prctl, &[PR_SET_NO_NEW_PRIVS, 1])?;
        // One instruction: return SECCOMP_RET_TRAP.
        const BPF_RET: u64 = 0x06;
        const SECCOMP_RET_TRAP: u64 = 0x0003_0000;
        let program = self.pass(16, &(BPF_RET | SECCOMP_RET_TRAP << 32).to_le_bytes());
        let filter = self.pass(0, &[1u64, program].map(u64::to_le_bytes).concat());
        const SECCOMP_SET_MODE_FILTER: u64 = 1;
        let arguments = [SECCOMP_SET_MODE_FILTER, 0, filter];
        self.call("seccomp", libc::SYS_seccomp, &arguments).map(|_| ())
    }
}

/// A `user_desc` of modify_ldt(2).
fn description(index: usize, segment: LocalSegment) -> Vec<u8> {
    let flags = u32::from(segment.wide)
        | u32::from(segment.contents) << 1
        | u32::from(segment.restricted) << 3
        | u32::from(segment.pages) << 4
        | u32::from(!segment.present) << 5;
    [index as u32, segment.base, segment.limit, flags]
        .map(u32::to_le_bytes)
        .concat()
}
