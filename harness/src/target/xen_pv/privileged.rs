//! Debug and control registers of the guest, which its kernel reads and writes through Xen.

use super::debugger::Registers;
use super::guest::{FLAT_CODE, FLAT_STACK, Guest, GuestError};
use super::kernel;

/// Hypercalls (`xen/include/public/xen.h`).
const SET_DEBUG_REGISTER: u64 = 8;
const GET_DEBUG_REGISTER: u64 = 9;
const DR6: u64 = 6;
const DR7: u64 = 7;

/// The debug registers that a guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DebugRegisters {
    /// DR0 to DR3.
    pub addresses: [u64; 4],
    pub status: u64,
    pub control: u64,
}

impl Guest {
    /// Takes all breakpoints off, and gives the guest the CR4 that it started with.
    pub fn disarm(&mut self) -> Result<(), GuestError> {
        self.hypercall(SET_DEBUG_REGISTER, &[DR7, 0])?;
        self.move_to_control(kernel::MOVE_TO_CR4, 0)
    }

    /// Sets a CR2 for MOV and for `arch.cr2` of the shared page.
    pub fn set_cr2(&mut self, cr2: u64) -> Result<(), GuestError> {
        self.move_to_control(kernel::MOVE_TO_CR2, cr2)
    }

    /// Sets the debug registers of a guest that has no breakpoints. The last one arms them.
    pub fn set_debug_registers(&mut self, registers: DebugRegisters) -> Result<(), GuestError> {
        for (number, address) in (0..).zip(registers.addresses) {
            self.hypercall(SET_DEBUG_REGISTER, &[number, address])?;
        }
        self.hypercall(SET_DEBUG_REGISTER, &[DR6, registers.status])?;
        self.hypercall(SET_DEBUG_REGISTER, &[DR7, registers.control])
    }

    /// The debug registers as the kernel reads them, which has stopped with these registers and gets them back.
    pub fn debug_registers(&mut self, stopped: &Registers) -> Result<DebugRegisters, GuestError> {
        let [_, code, stack, ..] = stopped.selectors;
        if (u64::from(code), u64::from(stack)) != (FLAT_CODE, FLAT_STACK) {
            return Err(GuestError::Lost("a stop with segments that a hypercall changes"));
        }
        let (masked, _) = self.event_mask_and_cr2()?;
        self.set_event_mask(true)?;
        let mut get = |number: u64| self.result_of(GET_DEBUG_REGISTER, &[number]);
        let registers = DebugRegisters {
            addresses: [get(0)?, get(1)?, get(2)?, get(3)?],
            status: get(DR6)?,
            control: get(DR7)?,
        };
        self.set_event_mask(masked)?;
        self.set_registers(stopped)?;
        Ok(registers)
    }
}
