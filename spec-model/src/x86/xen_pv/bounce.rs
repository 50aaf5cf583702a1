//! Entering the guest kernel: which handler, which stack, which frame.

use iced_x86::Instruction;

use super::{FLAT_CODE, FLAT_STACK, HYPERVISOR_RANGE, XenPv, flat_segment};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::control::flag;
use crate::x86::exception::{BP, DB, Exception, GP, Interruption, OF, PF, Step, has_error_code};
use crate::x86::paging::Privilege;
use crate::x86::processor::{Activity, Processor};
use crate::x86::segment::SegmentName;
use crate::x86::state::{RCX, RSP};

/// Index of R11 in [`crate::x86::state::VcpuState::general`].
pub(super) const R11: usize = 11;
/// The bit of a page fault's error code that says privilege level 3.
const USER: u32 = 1 << 2;
/// The bits of a selector's error code that say IDT, and an event from outside.
const IDT: u32 = 2;
/// The vector that has a gate of its own, for programs that make system calls with it.
const DIRECT: u8 = 0x80;
/// The privilege level of the guest kernel as INT n counts it.
const KERNEL_LEVEL: u8 = 1;

/// What was interrupted, as the frame shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub rip: u64,
    pub cs: u16,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u16,
}

/// Where the guest goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The handler; 0 if there is none.
    pub address: u64,
    pub masks_events: bool,
    pub error_code: Option<u32>,
}

impl Processor<'_, '_> {
    /// What the hypervisor keeps, if the processor runs a paravirtual guest.
    pub(super) fn xen(&mut self) -> Option<&mut XenPv> {
        self.state_mut().xen_pv.as_deref_mut()
    }

    pub(super) fn is_kernel_mode(&self) -> bool {
        let xen = self.state().xen_pv.as_deref();
        xen.is_some_and(|xen| xen.kernel_mode)
    }

    pub(super) fn context(&self) -> Context {
        let state = self.state();
        Context {
            rip: state.rip,
            cs: state.segment(SegmentName::Cs).selector,
            rflags: state.rflags,
            rsp: state.general[RSP],
            ss: state.segment(SegmentName::Ss).selector,
        }
    }

    /// An exception that an instruction raised reaches the guest's handler (XENPV-TRAP-001,
    /// XENPV-TRAP-004). The processor has set RF in the image of RFLAGS for a fault
    /// (XENPV-FRAME-008).
    pub(in crate::x86) fn bounce_exception(&mut self, exception: Exception) -> Result<(), ModelError> {
        let mut context = self.context();
        if exception.vector == DB {
            self.note_guest_debug_exception(exception.debug_status);
        } else {
            context.rflags |= self.rf_of_faults();
        }
        if exception.vector == PF {
            let address = exception.address.unwrap_or_default();
            if !self.rules.broken(Defect::XenPvPageFaultLeavesCr2) {
                self.state_mut().cr2 = address;
            }
        }
        let code = self.error_code(exception);
        self.bounce_vector(context, exception.vector, code)
    }

    /// A fault of the hypervisor's own IRET to the guest (XENPV-IRET-006): the guest was not
    /// running yet, so that RFLAGS is the one it was to get.
    pub(super) fn bounce_failed_return(
        &mut self,
        context: Context,
        exception: Exception,
    ) -> Result<(), ModelError> {
        if self.rules.broken(Defect::XenPvFailedReturnCrashes) {
            self.crash_domain();
            return Ok(());
        }
        self.load_flags(context.rflags);
        let code = self.error_code(exception);
        self.bounce_vector(context, exception.vector, code)
    }

    /// The error code as the guest gets it (XENPV-FRAME-003, XENPV-FRAME-007).
    fn error_code(&self, exception: Exception) -> Option<u32> {
        if !has_error_code(exception.vector) || self.rules.broken(Defect::XenPvErrorCodeMissing) {
            return None;
        }
        let code = exception.error_code.unwrap_or(0);
        let hides_user = exception.vector == PF
            && self.is_kernel_mode()
            && !self.rules.broken(Defect::XenPvPageFaultSaysUser);
        Some(if hides_user { code & !USER } else { code })
    }

    /// RF in the frame of a fault (XENPV-FRAME-008).
    fn rf_of_faults(&self) -> u64 {
        if self.rules.broken(Defect::XenPvFaultFrameWithoutRf) {
            0
        } else {
            flag::RF
        }
    }

    /// Whether the trap table permits an INT n that the processor refuses (XENPV-TRAP-002).
    fn permits_software_interrupt(&self, vector: u8) -> bool {
        let Some(xen) = self.state().xen_pv.as_deref() else {
            return false;
        };
        let level = if xen.kernel_mode { KERNEL_LEVEL } else { 3 };
        let Some(trap) = xen.traps.iter().find(|trap| trap.vector == vector) else {
            return false;
        };
        trap.dpl >= level || self.rules.broken(Defect::XenPvSoftwareInterruptIgnoresDpl)
    }

    /// INT3, INTO and INT n. The hypervisor's own gates let programs use INT3, INTO and INT 80h, if
    /// the guest handles that (XENPV-TRAP-003, XENPV-TRAP-005, XENPV-TRAP-007). For the rest the processor raises #GP, which
    /// the hypervisor takes for the software interrupt if the guest permits it (XENPV-TRAP-006), and passes on
    /// if not.
    pub(in crate::x86) fn bounce_software_interrupt(
        &mut self,
        instruction: &Instruction,
        vector: u8,
    ) -> Step {
        let xen = self.state().xen_pv.as_deref();
        let direct = match vector {
            BP | OF => true,
            DIRECT => xen.is_some_and(|xen| xen.trap(DIRECT).is_some()),
            _ => false,
        };
        let refused = vector == BP
            && self.rules.broken(Defect::XenPvInt3ChecksDpl)
            && xen.is_some_and(|xen| !xen.kernel_mode && xen.trap(BP).is_some_and(|trap| trap.dpl < 3));
        let mut context = self.context();
        if !direct && self.permits_software_interrupt(vector) {
            context.rflags |= self.rf_of_faults();
            if self.rules.broken(Defect::XenPvIntIsTwoBytes) {
                context.rip = instruction.ip().wrapping_add(2);
            }
        } else if vector == DIRECT && !direct {
            // The processor has executed it, so that RF is clear, and the hypervisor takes it back.
            context.rip = if self.rules.broken(Defect::XenPvInt80IsTwoBytes) {
                context.rip.wrapping_sub(2)
            } else {
                instruction.ip()
            };
            if self.rules.broken(Defect::XenPvInt80FaultSetsRf) {
                context.rflags |= flag::RF;
            }
            return Ok(self.bounce_vector(context, GP, Some(u32::from(DIRECT) * 8 + IDT))?);
        } else if !direct || refused {
            return Err(Exception::with_code(GP, u32::from(vector) * 8 + IDT).into());
        }
        Ok(self.bounce_vector(context, vector, None)?)
    }

    /// INT1, for which no gate is asked (XENPV-DEBUG-003).
    pub(super) fn bounce_int1(&mut self) -> Result<(), ModelError> {
        if self.rules.broken(Defect::XenPvInt1IsSoftwareInterrupt) && !self.permits_software_interrupt(DB) {
            return self.bounce_exception(Exception::with_code(GP, u32::from(DB) * 8 + IDT));
        }
        let context = self.context();
        self.note_guest_debug_exception(0);
        self.bounce_vector(context, DB, None)
    }

    fn bounce_vector(
        &mut self,
        context: Context,
        vector: u8,
        error_code: Option<u32>,
    ) -> Result<(), ModelError> {
        let vector = if self.rules.broken(Defect::XenPvHandlerMissed) {
            6
        } else {
            vector
        };
        let trap = self.state().xen_pv.as_deref().and_then(|xen| xen.trap(vector));
        self.bounce(
            context,
            Entry {
                address: trap.map_or(0, |trap| trap.address),
                masks_events: trap.is_some_and(|trap| trap.masks_events),
                error_code,
            },
        )
    }

    /// Makes the frame and enters the guest kernel (XENPV-FRAME-001 to XENPV-FRAME-006,
    /// XENPV-STACK-001 to XENPV-STACK-004, XENPV-EVENT-001, XENPV-ENTRY-001 to
    /// XENPV-ENTRY-003), or ends the domain (XENPV-CRASH-001, XENPV-CRASH-002).
    pub(super) fn bounce(&mut self, mut context: Context, entry: Entry) -> Result<(), ModelError> {
        let top = if self.is_kernel_mode() {
            if !self.rules.broken(Defect::XenPvKernelShowsLevel3) {
                context.cs &= !3;
            }
            if self.rules.broken(Defect::XenPvKernelTakesKernelStack) {
                self.xen().map_or(0, |xen| xen.kernel_stack)
            } else {
                context.rsp
            }
        } else {
            self.toggle_mode();
            let stack = self.xen().map_or(0, |xen| xen.kernel_stack);
            if self.rules.broken(Defect::XenPvKernelStackIgnored) {
                context.rsp
            } else {
                stack
            }
        };
        let top = if self.rules.broken(Defect::XenPvStackNotAligned) {
            top
        } else {
            top & !0xf
        };
        let frame = self.frame(context, entry);
        let rsp = match self.push_for_guest(top, &frame) {
            Ok(rsp) => rsp,
            Err(Interruption::Model(error)) => return Err(error),
            Err(Interruption::Exception(_)) => {
                self.crash_domain();
                return Ok(());
            }
        };
        if entry.address == 0 {
            self.crash_domain();
            return Ok(());
        }
        let masks = entry.masks_events && !self.rules.broken(Defect::XenPvEventsNotMasked);
        if let Some(xen) = self.xen() {
            xen.upcall_mask |= masks;
        }
        let keeps_flags = self.rules.broken(Defect::XenPvHandlerKeepsFlags);
        let state = self.state_mut();
        if !keeps_flags {
            state.rflags &= !(flag::AC | flag::VM | flag::RF | flag::NT | flag::TF);
        }
        state.general[RSP] = rsp;
        state.rip = entry.address;
        self.leave_by_sysret();
        self.forget_own_accesses();
        Ok(())
    }

    /// The words of the frame, in the order in which they are pushed.
    fn frame(&mut self, context: Context, entry: Entry) -> Vec<u64> {
        let masked = self.xen().is_some_and(|xen| xen.upcall_mask);
        // The hardware's IF is always set; the guest's own is its event mask.
        let interrupt = if self.rules.broken(Defect::XenPvFrameShowsHardwareIf) {
            context.rflags & flag::IF
        } else if masked {
            0
        } else {
            flag::IF
        };
        let saved_mask = u64::from(masked && !self.rules.broken(Defect::XenPvUpcallMaskNotSaved));
        let mut frame = vec![
            u64::from(context.ss),
            context.rsp,
            context.rflags & !flag::IF | interrupt,
            u64::from(context.cs) | saved_mask << 32,
            context.rip,
        ];
        frame.extend(entry.error_code.map(u64::from));
        if !self.rules.broken(Defect::XenPvFrameWithoutRcxR11) {
            let general = &self.state().general;
            frame.extend([general[R11], general[RCX]]);
        }
        frame
    }

    /// Writes with the rights of the guest, which are those of privilege level 3.
    fn push_for_guest(&mut self, top: u64, frame: &[u64]) -> Step<u64> {
        if HYPERVISOR_RANGE.contains(&top) {
            return Err(Exception::GP0.into());
        }
        let mut rsp = top;
        for word in frame {
            rsp = rsp.wrapping_sub(8);
            self.write_linear(rsp, 8, *word, Privilege::Program)?;
        }
        Ok(rsp)
    }

    /// Goes from the guest kernel to a program or back: each has its own GS base
    /// (XENPV-GS-001).
    pub(super) fn toggle_mode(&mut self) {
        let swaps = !self.rules.broken(Defect::XenPvGsNotSwitched);
        let state = self.state_mut();
        if swaps {
            let other = state.kernel_gs_base;
            state.kernel_gs_base = std::mem::replace(&mut state.segment_mut(SegmentName::Gs).base, other);
        }
        if let Some(xen) = self.xen() {
            xen.kernel_mode = !xen.kernel_mode;
        }
    }

    /// Back to the guest with SYSRET: RCX and R11 are RIP and RFLAGS, which is why the frame
    /// holds what they were (XENPV-ENTRY-002).
    pub(super) fn leave_by_sysret(&mut self) {
        let keeps = self.rules.broken(Defect::XenPvEntryKeepsRcx);
        let state = self.state_mut();
        if !keeps {
            state.general[RCX] = state.rip;
            state.general[R11] = state.rflags;
        }
        for (name, selector) in [(SegmentName::Cs, FLAT_CODE), (SegmentName::Ss, FLAT_STACK)] {
            if let Some(segment) = flat_segment(selector) {
                *state.segment_mut(name) = segment;
            }
        }
    }

    /// The hypervisor ends the guest. The host sees what it sees of a shutdown.
    pub(super) fn crash_domain(&mut self) {
        self.vcpu.activity = Activity::Shutdown;
    }
}
