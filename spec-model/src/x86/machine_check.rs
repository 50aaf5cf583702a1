//! Machine checks (SDM vol. 3B, "Machine-Check Architecture"; APM vol. 2, chapter 9).
//!
//! There is one bank of error registers. The one kind of error is uncorrected and leaves the
//! interrupted program as it was, so that it can go on (RIPV). Address and further information of an
//! error and corrected errors are left out.

use serde::{Deserialize, Serialize};

use super::control::cr4;
use super::exception::{Class, Event, Exception, MC, Source, Step};
use super::processor::{Activity, Processor};
use super::state::{EventState, PendingException, Shadow};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::ErrorControl;

/// IA32_MCG_STATUS: the interrupted program can go on at the address in the frame.
pub const RIPV: u64 = 1 << 0;
/// IA32_MCG_STATUS: a machine check is in progress.
pub const MCIP: u64 = 1 << 2;
/// IA32_MCG_CAP: one bank, and IA32_MCG_CTL exists.
pub const CAPABILITIES: u64 = 0x101;
/// IA32_MCG_CTL and IA32_MCi_CTL: all errors are reported.
const ALL_ERRORS: u64 = u64::MAX;
/// Bits of IA32_MCi_CTL that KVM lets a guest leave clear: 10 for the GART errors of AMD's K8, 0 for
/// corrected errors of UnixWare's.
const MAY_BE_CLEAR: u64 = 1 << 10 | 1;
/// IA32_MCi_STATUS of an error: VAL, UC and EN.
pub const UNCORRECTED: u64 = 1 << 63 | 1 << 61 | 1 << 60;
/// IA32_MCi_STATUS: the bank holds an error.
const VALID: u64 = 1 << 63;
/// IA32_MCi_STATUS: there was another error before.
const OVERFLOW: u64 = 1 << 62;

/// IA32_MCG_CAP.
const MCG_CAP: u32 = 0x179;
/// IA32_MCG_STATUS.
pub const MCG_STATUS: u32 = 0x17a;
/// IA32_MCG_CTL.
pub const MCG_CTL: u32 = 0x17b;
/// IA32_MC0_CTL.
pub const MC0_CTL: u32 = 0x400;
/// IA32_MC0_STATUS.
pub const MC0_STATUS: u32 = 0x401;

/// The registers of the machine-check architecture that errors change or depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MachineCheck {
    /// IA32_MCG_STATUS.
    pub global_status: u64,
    /// IA32_MCG_CTL.
    #[serde(default = "all_errors")]
    pub global_control: u64,
    /// IA32_MC0_CTL.
    #[serde(default = "all_errors")]
    pub bank_control: u64,
    /// IA32_MC0_STATUS.
    pub bank_status: u64,
}

const fn all_errors() -> u64 {
    ALL_ERRORS
}

impl Default for MachineCheck {
    /// No error, and all are reported: what KVM_X86_SETUP_MCE makes of the registers.
    fn default() -> Self {
        Self {
            global_status: 0,
            global_control: ALL_ERRORS,
            bank_control: ALL_ERRORS,
            bank_status: 0,
        }
    }
}

impl MachineCheck {
    /// Whether the errors of the bank are reported (MC-MSR-005).
    const fn reports(self) -> bool {
        self.global_control == ALL_ERRORS && self.bank_control == ALL_ERRORS
    }
}

/// A machine check on its way, as an event that the host can read.
const PENDING: PendingException = PendingException {
    vector: MC,
    error_code: None,
};

/// Whether a machine check waits to be delivered.
#[must_use]
pub fn is_pending(events: &EventState) -> bool {
    events.exception == Some(PENDING)
}

impl Processor<'_, '_> {
    /// A machine check arrives: it becomes pending, or shuts the processor down if it cannot be
    /// delivered (MC-EXC-002, MC-EXC-003, MC-MSR-003). One that is not to be reported leaves no
    /// trace (MC-MSR-005).
    pub(super) fn latch_machine_check(&mut self) {
        let ignores_progress = self.rules.broken(Defect::MachineCheckIgnoresMcip);
        let ignored = self.rules.broken(Defect::MachineCheckIgnoredWithoutMce);
        let leaves_clear = self.rules.broken(Defect::MachineCheckLeavesMcipClear);
        let no_overflow = self.rules.broken(Defect::MachineCheckOverflowMissing);
        let reported =
            self.state().machine_check.reports() || self.rules.broken(Defect::MachineCheckControlIgnored);
        if !reported {
            return;
        }
        self.vcpu.machine_check_slept_through = false;
        let state = self.state_mut();
        let enabled = state.cr4 & cr4::MCE != 0;
        if !enabled && ignored {
            return;
        }
        let in_progress = state.machine_check.global_status & MCIP != 0 && !ignores_progress;
        if in_progress || !enabled {
            self.vcpu.shutdown_pending = true;
            return;
        }
        let held_one = state.machine_check.bank_status & VALID != 0 && !no_overflow;
        state.machine_check.bank_status = UNCORRECTED | if held_one { OVERFLOW } else { 0 };
        state.machine_check.global_status = RIPV | if leaves_clear { 0 } else { MCIP };
        state.events.exception = Some(PENDING);
    }

    /// Delivers a machine check, before any other event (MC-EXC-001, MC-EXC-004 to MC-EXC-006). In
    /// wait-for-SIPI it is not called (MC-EXC-008). A
    /// single-step trap of the instruction before it is lost, as lower priority exceptions are.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub(super) fn take_machine_check(&mut self) -> Result<Option<&'static str>, ModelError> {
        let unnoticed = if self.vcpu.shutdown_pending {
            self.rules.broken(Defect::MachineCheckShutdownSleeps)
        } else {
            self.vcpu.machine_check_unnoticed
        };
        let asleep = self.vcpu.activity == Activity::Halted && self.state().apic.is_some();
        self.vcpu.machine_check_slept_through =
            unnoticed && asleep && !self.state().is_woken_by_interrupt(false);
        if self.vcpu.machine_check_slept_through {
            return Ok(None);
        }
        self.vcpu.machine_check_unnoticed = false;
        if std::mem::take(&mut self.vcpu.shutdown_pending) {
            self.vcpu.activity = Activity::Shutdown;
            return Ok(Some("machine check"));
        }
        if !is_pending(&self.state().events) || self.is_held() {
            return Ok(None);
        }
        let blocks = self.rules.broken(Defect::MachineCheckBlocksNmis);
        let events = &mut self.state_mut().events;
        events.exception = None;
        events.nmi_masked |= blocks;
        self.vcpu.debug.trap = 0;
        self.vcpu.event_just_delivered = self.rules.broken(Defect::AccessAfterEventFails);
        let class = if self.rules.broken(Defect::MachineCheckIsContributory) {
            Class::Contributory
        } else {
            Class::of(MC)
        };
        let event = Event {
            vector: MC,
            error_code: None,
            source: Source::Hardware,
        };
        if self.rules.broken(Defect::MachineCheckPushesCode) {
            let state = self.state_mut();
            state.rip = state.rip.wrapping_add(1);
        }
        self.interrupt(event, class)?;
        Ok(Some("machine check"))
    }

    /// With a defect only (MC-EXC-004, MC-EXC-005).
    fn is_held(&mut self) -> bool {
        let events = self.state().events;
        events.nmi_masked && self.rules.broken(Defect::MachineCheckHeldWithNmis)
            || events.shadow != Shadow::None && self.rules.broken(Defect::MachineCheckHeldByShadow)
            || self.rules.broken(Defect::MachineCheckAfterOthers) && (self.smi_is_due() || self.nmi_is_due())
    }

    /// RDMSR of a machine-check register (MC-MSR-001).
    ///
    /// # Errors
    /// If it is one that the model does not know.
    pub(super) fn read_machine_check_msr(&self, index: u32) -> Step<u64> {
        let registers = self.state().machine_check;
        Ok(match index {
            MCG_CAP => CAPABILITIES,
            MCG_STATUS => registers.global_status,
            MCG_CTL => registers.global_control,
            MC0_CTL => registers.bank_control,
            MC0_STATUS => registers.bank_status,
            _ => return Err(unknown("reads", index).into()),
        })
    }

    /// WRMSR to a machine-check register (MC-MSR-001, MC-MSR-002, MC-MSR-004).
    ///
    /// # Errors
    /// #GP for a register that cannot be written so.
    pub(super) fn write_machine_check_msr(&mut self, index: u32, value: u64) -> Step {
        let keeps_status = self.rules.broken(Defect::MachineCheckStatusKept);
        let takes_anything = self.rules.broken(Defect::MachineCheckStatusTakesAnything);
        let may_be_clear = if index == MC0_CTL { MAY_BE_CLEAR } else { 0 };
        let is_whole = value == 0 || value | may_be_clear == ALL_ERRORS;
        let takes_value = is_whole || self.rules.broken(Defect::MachineCheckControlTakesAnything);
        let control = self.rules.profile.error_control;
        let registers = &mut self.state_mut().machine_check;
        match index {
            MCG_CAP => return Err(Exception::GP0.into()),
            // Reserved bits are refused by some processors and not by others.
            MCG_STATUS if value & !7 == 0 && keeps_status => {}
            MCG_STATUS if value & !7 == 0 => registers.global_status = value,
            MCG_CTL if takes_value => registers.global_control = value,
            MC0_CTL if takes_value => registers.bank_control = value,
            MCG_CTL | MC0_CTL if control == ErrorControl::AllOrNothing => return Err(Exception::GP0.into()),
            MCG_CTL | MC0_CTL => {
                let what = format!("what a write of {value:#x} to machine-check register {index:#x} does");
                return Err(ModelError::Unspecified(what).into());
            }
            MC0_STATUS if value == 0 || takes_anything => registers.bank_status = value,
            MC0_STATUS => {
                if self.rules.broken(Defect::MachineCheckStatusWriteIsFatal) {
                    self.vcpu.activity = Activity::Refused;
                }
                return Err(Exception::GP0.into());
            }
            _ => return Err(unknown("writes", index).into()),
        }
        Ok(())
    }
}

fn unknown(verb: &str, index: u32) -> ModelError {
    ModelError::NotModelled(format!(
        "the guest {verb} machine-check register {index:#x} in a way that the model does not know"
    ))
}
