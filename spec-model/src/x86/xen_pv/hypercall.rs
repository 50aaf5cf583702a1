//! SYSCALL: hypercalls of the guest kernel, and system calls of its programs.

use super::Trap;
use super::bounce::{Context, Entry, R11};
use super::debug::Refused;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::Choice;
use crate::requirement::XENPV_CALL_005;
use crate::x86::control::{flag, is_canonical};
use crate::x86::exception::{Exception, Interruption, Step};
use crate::x86::paging::Privilege;
use crate::x86::processor::Processor;
use crate::x86::segment::SegmentName;
use crate::x86::state::{RAX, RCX, RDI, RDX, RSI, RSP};

/// Numbers of hypercalls (`xen/include/public/xen.h`).
const SET_TRAP_TABLE: u64 = 0;
const STACK_SWITCH: u64 = 3;
const SET_CALLBACKS: u64 = 4;
const SET_DEBUG_REGISTER: u64 = 8;
const GET_DEBUG_REGISTER: u64 = 9;
const IRET: u64 = 23;
const SET_SEGMENT_BASE: u64 = 25;

/// What SET_SEGMENT_BASE sets.
const FS_BASE: u64 = 0;
const GS_BASE_OF_PROGRAMS: u64 = 1;
const GS_BASE_OF_KERNEL: u64 = 2;

/// Results of hypercalls: success, EPERM, EFAULT, ENODEV and EINVAL.
const DONE: i64 = 0;
const NOT_PERMITTED: i64 = -1;
const BAD_ADDRESS: i64 = -14;
const NO_DEVICE: i64 = -19;
const INVALID: i64 = -22;

/// The flag in an IRET frame that says that RCX and R11 need not be restored
/// (`VGCF_in_syscall`).
const IN_SYSCALL: u64 = 1 << 8;
/// DR7.
const LAST_DEBUG_REGISTER: u64 = 7;
/// Words of an IRET frame: RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS.
const IRET_WORDS: usize = 9;
/// Entries of a trap table that the hypervisor reads at most: one per vector.
const MOST_TRAPS: u64 = 256;
const TRAP_SIZE: u64 = 16;

/// What Xen does after an entry of a trap table if something else is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterEntry {
    GoesOn,
    BreaksOff,
}

const EITHER_WAY: Choice<AfterEntry> = Choice::AnyOf(&[AfterEntry::GoesOn, AfterEntry::BreaksOff]);

impl Processor<'_, '_> {
    /// SYSCALL. RIP is behind it already.
    pub(super) fn syscall_to_hypervisor(&mut self) -> Step {
        if self.is_kernel_mode() {
            self.hypercall()?;
        } else {
            self.system_call()?;
        }
        self.forget_own_accesses();
        Ok(())
    }

    /// A program calls its kernel (XENPV-CALL-002, XENPV-CALL-004). The frame's RCX and R11 are those that
    /// SYSCALL left: the return address and RFLAGS.
    fn system_call(&mut self) -> Result<(), ModelError> {
        let context = self.context();
        let leaves = self.rules.broken(Defect::XenPvSyscallLeavesRcx);
        let state = self.state_mut();
        if !leaves {
            state.general[RCX] = context.rip;
            state.general[R11] = context.rflags;
        }
        let address = self.xen().map_or(0, |xen| xen.syscall_callback);
        self.bounce(
            context,
            Entry {
                address,
                masks_events: false,
                error_code: None,
            },
        )?;
        let private = self.rules.broken(Defect::XenPvPrivateFinding);
        let state = self.state_mut();
        let kept = if private {
            state.general[RSP] & 0xffff_ffff | flag::IF
        } else {
            !flag::DF
        };
        state.general[R11] &= kept;
        state.rflags = state.rflags & kept | flag::FIXED;
        Ok(())
    }

    /// The guest kernel calls the hypervisor (XENPV-CALL-001).
    fn hypercall(&mut self) -> Step {
        let general = self.state().general;
        let (first, second) = (general[RDI], general[RSI]);
        let result = match general[RAX] {
            SET_TRAP_TABLE => self.set_trap_table(first)?,
            STACK_SWITCH => self.change_xen(|xen| xen.kernel_stack = second),
            SET_CALLBACKS => self.change_xen(|xen| xen.syscall_callback = general[RDX]),
            SET_DEBUG_REGISTER => self.set_debug_register_hypercall(first, second),
            GET_DEBUG_REGISTER => self.get_debug_register_hypercall(first),
            IRET => return self.iret_hypercall(),
            SET_SEGMENT_BASE => self.set_segment_base(first, second),
            number => {
                let message = format!("the model of Xen does not know hypercall {number}");
                return Err(ModelError::NotModelled(message).into());
            }
        };
        if !self.rules.broken(Defect::XenPvHypercallKeepsRax) {
            self.state_mut().general[RAX] = result.cast_unsigned();
        }
        self.leave_by_sysret();
        Ok(())
    }

    fn change_xen(&mut self, change: impl FnOnce(&mut super::XenPv)) -> i64 {
        self.xen().map(change);
        DONE
    }

    /// Entries up to one whose address is 0 replace those of their vectors (XENPV-CALL-003). A call
    /// that was broken off leaves RDI at the entry from which it was repeated (XENPV-CALL-005).
    fn set_trap_table(&mut self, table: u64) -> Step<i64> {
        if table == 0 {
            return Ok(self.change_xen(|xen| xen.traps.clear()));
        }
        if self.rules.broken(Defect::XenPvTrapTableReplaced) {
            self.change_xen(|xen| xen.traps.clear());
        }
        for index in 0..MOST_TRAPS {
            let entry = table.wrapping_add(index * TRAP_SIZE);
            let read = |processor: &mut Self, offset: u64| {
                processor.read_linear(entry.wrapping_add(offset), 8, Privilege::Program)
            };
            let (head, address) = match (read(self, 0), read(self, 8)) {
                (Ok(head), Ok(address)) => (head, address),
                (Err(Interruption::Model(error)), _) | (_, Err(Interruption::Model(error))) => {
                    return Err(error.into());
                }
                _ => return Ok(BAD_ADDRESS),
            };
            if address == 0 {
                break;
            }
            let trap = Trap {
                vector: head as u8,
                dpl: (head >> 8 & 3) as u8,
                masks_events: head >> 8 & 4 != 0,
                address,
            };
            self.change_xen(|xen| {
                xen.traps.retain(|other| other.vector != trap.vector);
                xen.traps.push(trap);
            });
            if self.rules.choices.settle(EITHER_WAY, &XENPV_CALL_005) == AfterEntry::BreaksOff {
                self.state_mut().general[RDI] = entry.wrapping_add(TRAP_SIZE);
            }
        }
        Ok(DONE)
    }

    /// XENPV-DEBUG-008. The number is a 32-bit one.
    fn set_debug_register_hypercall(&mut self, number: u64, value: u64) -> i64 {
        if self.rules.broken(Defect::XenPvSetDebugRegisterIgnored) {
            return DONE;
        }
        match self.set_guest_debug_register(number & 0xffff_ffff, value) {
            Ok(()) => DONE,
            Err(Refused::NotPermitted) => NOT_PERMITTED,
            Err(Refused::Invalid) => INVALID,
            Err(Refused::NoRegister) => NO_DEVICE,
        }
    }

    /// XENPV-DEBUG-008, XENPV-DEBUG-009.
    fn get_debug_register_hypercall(&mut self, number: u64) -> i64 {
        if self.rules.broken(Defect::XenPvGetDebugRegisterReturnsZero) {
            return DONE;
        }
        let number = number & 0xffff_ffff;
        let known =
            number <= LAST_DEBUG_REGISTER || self.rules.broken(Defect::XenPvNoDebugRegisterIsNoDevice);
        match self.guest_debug_register(number) {
            Ok(value) => value.cast_signed(),
            Err(_) if known => NO_DEVICE,
            Err(_) => INVALID,
        }
    }

    /// XENPV-GS-002.
    fn set_segment_base(&mut self, which: u64, base: u64) -> i64 {
        if !is_canonical(base) {
            return INVALID;
        }
        let swapped = self.rules.broken(Defect::XenPvGsBasesSwapped);
        let state = self.state_mut();
        match which {
            FS_BASE => state.segment_mut(SegmentName::Fs).base = base,
            GS_BASE_OF_PROGRAMS if !swapped => state.kernel_gs_base = base,
            GS_BASE_OF_KERNEL if swapped => state.kernel_gs_base = base,
            GS_BASE_OF_PROGRAMS | GS_BASE_OF_KERNEL => state.segment_mut(SegmentName::Gs).base = base,
            _ => return INVALID,
        }
        DONE
    }

    /// The hypercall that takes the place of IRET (XENPV-IRET-001 to XENPV-IRET-008).
    fn iret_hypercall(&mut self) -> Step {
        let Some([rax, r11, rcx, kind, rip, cs, rflags, rsp, ss]) = self.iret_frame()? else {
            self.crash_domain();
            return Ok(());
        };
        let to_program = cs & 3 == 3;
        if to_program && !self.rules.broken(Defect::XenPvIretStaysInKernel) {
            self.toggle_mode();
        }
        let masks = rflags & flag::IF == 0 && !self.rules.broken(Defect::XenPvIretKeepsUpcallMask);
        let keeps = self.rules.broken(Defect::XenPvIretKeepsUpcallMask);
        if let Some(xen) = self.xen().filter(|_| !keeps) {
            xen.upcall_mask = masks;
        }
        let iopl = if self.rules.broken(Defect::XenPvIretRaisesIopl) {
            0
        } else {
            flag::IOPL
        };
        // The guest can neither clear the hardware's IF nor raise its I/O privilege level.
        let context = Context {
            rip,
            cs: cs as u16 | 3,
            rflags: rflags & !(iopl | flag::VM) | flag::IF | flag::FIXED,
            rsp,
            ss: ss as u16 | 3,
        };
        if !self.rules.broken(Defect::XenPvIretLeavesRax) {
            self.state_mut().general[RAX] = rax;
        }
        let by_sysret = kind & IN_SYSCALL != 0 && !self.rules.broken(Defect::XenPvIretIgnoresInSyscall);
        if by_sysret && is_canonical(rip) {
            self.load(context);
            self.leave_by_sysret();
            return Ok(());
        }
        let state = self.state_mut();
        (state.general[RCX], state.general[R11]) = if by_sysret {
            (rip, context.rflags)
        } else {
            (rcx, r11)
        };
        match self.return_to(context) {
            Ok(()) => {
                self.vcpu.debug.returned_by_iret = !self.rules.broken(Defect::XenPvIretStepsAtOnce);
                Ok(())
            }
            Err(Interruption::Exception(exception)) => Ok(self.bounce_failed_return(context, exception)?),
            Err(error) => Err(error),
        }
    }

    /// The words at RSP; none if they cannot be read.
    fn iret_frame(&mut self) -> Step<Option<[u64; IRET_WORDS]>> {
        let mut address = self.state().general[RSP];
        let mut words = [0; IRET_WORDS];
        for word in &mut words {
            *word = match self.read_linear(address, 8, Privilege::Program) {
                Ok(word) => word,
                Err(Interruption::Exception(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            address = address.wrapping_add(8);
        }
        Ok(Some(words))
    }

    fn load(&mut self, context: Context) {
        let state = self.state_mut();
        state.rip = context.rip;
        state.general[RSP] = context.rsp;
        self.load_flags(context.rflags);
    }

    /// The IRET of the processor with which the hypervisor goes back (EXC-IRET-001), with the
    /// checks on CS, RIP and SS for privilege level 3.
    fn return_to(&mut self, context: Context) -> Step {
        let code = self.code_segment(context.cs, 3, true)?;
        if !is_canonical(context.rip) && code.segment.attributes.long() {
            return Err(Exception::GP0.into());
        }
        self.enter_outer(code, context.rip, context.rsp, context.ss)?;
        self.load(context);
        Ok(())
    }
}
