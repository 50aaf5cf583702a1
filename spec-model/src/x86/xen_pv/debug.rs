//! Debug registers: what the guest kernel reads and writes of them, and what a #DB leaves in DR6.
//!
//! DR0 to DR3, DR6 and DR7 of the state are the guest's. The hypervisor keeps them, loads them into the
//! processor while a breakpoint is enabled, and takes every #DB.

use crate::defect::Defect;
use crate::requirement::XENPV_DEBUG_002;
use crate::x86::control::{dr6_loaded, dr7_loaded, is_canonical};
use crate::x86::debug::{EITHER_STALE, StaleBreakpoints, dr6, dr7};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::Processor;

use super::HYPERVISOR_RANGE;

/// The field RW of a breakpoint in DR7 that says a port.
const PORT: u64 = 2;

/// Why the hypervisor does not set, or has not, a debug register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// What a guest may not (XENPV-DEBUG-006).
    NotPermitted,
    /// Bits that no such register has (XENPV-DEBUG-005).
    Invalid,
    /// There is no such register (XENPV-DEBUG-007, XENPV-DEBUG-009).
    NoRegister,
}

impl Refused {
    /// What MOV raises.
    const fn exception(self) -> Exception {
        match self {
            Self::NotPermitted | Self::Invalid => Exception::GP0,
            Self::NoRegister => Exception::UNDEFINED,
        }
    }
}

impl Processor<'_, '_> {
    /// DR6 when a #DB reaches the guest: its causes are added, and of what was there B0 to B3 may go, and
    /// nothing else (XENPV-DEBUG-001, XENPV-DEBUG-002). The processor's own may show conditions that are met and not enabled
    /// (DBG-DR6-004).
    pub(super) fn note_guest_debug_exception(&mut self, causes: u64) {
        let old = self.state().dr6;
        let stale = old & dr6::BREAKPOINTS & !causes;
        let cleared = stale != 0
            && self.rules.choices.settle_for_good(EITHER_STALE, &XENPV_DEBUG_002)
                == StaleBreakpoints::Cleared;
        let kept = if self.rules.broken(Defect::XenPvDr6Overwritten) {
            dr6_loaded(0, false)
        } else if cleared {
            old & !stale
        } else {
            old
        };
        let lost = if self.rules.broken(Defect::XenPvBreakpointsNotReported) {
            dr6::BREAKPOINTS
        } else {
            0
        };
        if causes & dr6::BS != 0 {
            self.vcpu.debug.undefined |= dr6::BREAKPOINTS & !self.data_breakpoints_enabled();
        }
        self.state_mut().dr6 = (kept | causes) & !lost;
    }

    /// What the hypervisor itself accessed for the guest is no condition that a breakpoint of the guest
    /// reports, and a trap that MOV SS held off strikes in the hypervisor (XENPV-DEBUG-010).
    pub(super) fn forget_own_accesses(&mut self) {
        if self.rules.broken(Defect::XenPvOwnAccessReported) {
            return;
        }
        let debug = &mut self.vcpu.debug;
        debug.met = 0;
        debug.held = 0;
        debug.step_at_mov_ss = false;
    }

    /// What the hypervisor executes for the guest kernel is stepped like anything else (XENPV-DEBUG-012).
    pub(super) fn note_emulated_for_guest(&mut self) {
        if self.rules.broken(Defect::XenPvEmulatedIsNotStepped) {
            self.vcpu.debug.returned_by_iret = true;
        }
    }

    /// MOV from a debug register in the guest kernel (XENPV-DEBUG-004).
    pub(super) fn move_from_debug_register(&mut self, number: usize) -> Step<u64> {
        if self.rules.broken(Defect::XenPvDebugRegisterReadsZero) {
            return Ok(0);
        }
        self.guest_debug_register(number as u64)
            .map_err(|refused| refused.exception().into())
    }

    /// MOV to one (XENPV-DEBUG-004, XENPV-DEBUG-005).
    pub(super) fn move_to_debug_register(&mut self, number: usize, value: u64) -> Step {
        if self.rules.broken(Defect::XenPvDebugRegisterWriteLost) {
            return Ok(());
        }
        self.set_guest_debug_register(number as u64, value)
            .map_err(|refused| refused.exception().into())
    }

    /// What a debug register of the guest holds.
    pub(super) fn guest_debug_register(&self, number: u64) -> Result<u64, Refused> {
        let state = self.state();
        Ok(match self.guest_register_number(number)? {
            index @ 0..=3 => state.debug_address[index],
            6 => state.dr6,
            _ => state.dr7,
        })
    }

    /// Sets a debug register of the guest.
    pub(super) fn set_guest_debug_register(&mut self, number: u64, value: u64) -> Result<(), Refused> {
        let number = self.guest_register_number(number)?;
        match number {
            0..=3 => {
                let own = HYPERVISOR_RANGE.contains(&value) || !is_canonical(value);
                if own && !self.rules.broken(Defect::XenPvBreakpointAnywhere) {
                    return Err(Refused::NotPermitted);
                }
                self.state_mut().debug_address[number] = value;
            }
            _ if value >> 32 != 0 && !self.rules.broken(Defect::XenPvDebugUpperHalfIgnored) => {
                return Err(Refused::Invalid);
            }
            6 => {
                self.vcpu.debug.undefined = 0;
                self.state_mut().dr6 = dr6_loaded(value & 0xffff_ffff, false);
            }
            _ => {
                let value = dr7_loaded(value & 0xffff_ffff);
                if self.is_not_permitted(value) && !self.rules.broken(Defect::XenPvBreakpointAnywhere) {
                    return Err(Refused::NotPermitted);
                }
                self.state_mut().dr7 = value;
            }
        }
        Ok(())
    }

    /// General detect, and, without CR4.DE, a port in a DR7 that enables anything (XENPV-DEBUG-006).
    fn is_not_permitted(&self, control: u64) -> bool {
        let has_port = (0..4).any(|index| control >> (16 + 4 * index) & 3 == PORT);
        let takes_ports =
            self.has_guest_debugging_extensions() && !self.rules.broken(Defect::XenPvPortAlwaysRefused);
        let refuses_ports = control & dr7::ENABLED != 0 && !takes_ports;
        control & dr7::GD != 0 || has_port && refuses_ports
    }

    fn has_guest_debugging_extensions(&self) -> bool {
        let xen = self.state().xen_pv.as_deref();
        xen.is_some_and(|xen| xen.debugging_extensions)
    }

    /// DR4 and DR5 are DR6 and DR7, or with the guest's CR4.DE nothing (XENPV-DEBUG-007).
    fn guest_register_number(&self, number: u64) -> Result<usize, Refused> {
        let is_alias =
            !self.has_guest_debugging_extensions() || self.rules.broken(Defect::XenPvDr4AlwaysAlias);
        match number {
            0..=3 => Ok(number as usize),
            4 | 5 if !is_alias || self.rules.broken(Defect::XenPvDr4NeverAlias) => Err(Refused::NoRegister),
            4 | 6 => Ok(6),
            5 | 7 => Ok(7),
            _ => Err(Refused::NoRegister),
        }
    }
}
