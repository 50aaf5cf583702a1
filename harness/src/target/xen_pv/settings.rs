//! What Xen is told of a guest before a case: its trap table, stack, callback and segment bases.

use super::guest::{FLAT_CODE, FLAT_STACK, Guest, GuestError};
use super::kernel;

/// Hypercalls (`xen/include/public/xen.h`).
const SET_TRAP_TABLE: u64 = 0;
const STACK_SWITCH: u64 = 3;
const SET_CALLBACKS: u64 = 4;
const SET_SEGMENT_BASE: u64 = 25;

/// Where the processor's segment bases come from at the start of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bases {
    pub fs: u64,
    pub gs_of_programs: u64,
    pub gs_of_kernel: u64,
}

/// An entry of the trap table for Xen.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrapEntry {
    pub vector: u8,
    pub flags: u8,
    pub address: u64,
}

impl Guest {
    /// Sets the whole trap table: what it held before is gone.
    pub fn set_traps(&mut self, traps: &[TrapEntry]) -> Result<(), GuestError> {
        self.hypercall(SET_TRAP_TABLE, &[0])?;
        let mut table = Vec::new();
        for trap in traps {
            table.extend([trap.vector, trap.flags]);
            table.extend((FLAT_CODE as u16).to_le_bytes());
            table.extend([0; 4]);
            table.extend(trap.address.to_le_bytes());
        }
        table.extend([0; 16]);
        self.write(kernel::ARGUMENTS, &table)?;
        self.hypercall(SET_TRAP_TABLE, &[kernel::ARGUMENTS])
    }

    pub fn set_kernel_stack(&mut self, stack: u64) -> Result<(), GuestError> {
        self.hypercall(STACK_SWITCH, &[FLAT_STACK, stack])
    }

    /// Sets the callback for system calls; events and failures of segment loads have none.
    pub fn set_syscall_callback(&mut self, address: u64) -> Result<(), GuestError> {
        let address = if address == 0 { kernel::IDLE } else { address };
        self.hypercall(SET_CALLBACKS, &[kernel::IDLE, kernel::IDLE, address])
    }

    pub fn set_bases(&mut self, bases: Bases) -> Result<(), GuestError> {
        let values = [bases.fs, bases.gs_of_programs, bases.gs_of_kernel];
        for (which, base) in (0..).zip(values) {
            self.hypercall(SET_SEGMENT_BASE, &[which, base])?;
        }
        Ok(())
    }
}
