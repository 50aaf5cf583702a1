//! Delivery of exceptions, software interrupts and NMIs through the IVT and the IDT.

use super::control::{flag, is_canonical};
use super::exception::{DB, DF, Event, Exception, GP, MC, NMI, NP, SS, Source, Step, TS, has_error_code};
use super::paging::{Privilege, Purpose};
use super::processor::{Mode, Processor};
use super::segment::{Segment, SegmentName};
use super::segmentation::{Descriptor, null_stack_segment, selector_error};
use super::state::RSP;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::outcome::Facility;
use crate::profile::StackSegmentOnIst;
use crate::requirement::IST_006;

/// The IDT bit of an error code: the index refers to the IDT.
const IDT: u32 = 2;

/// The type of a task gate.
const TASK_GATE: u32 = 5;

/// A gate of the IDT.
#[derive(Clone, Copy, Debug)]
struct Gate {
    selector: u16,
    offset: u64,
    kind: u32,
    dpl: u8,
    present: bool,
    ist: u8,
}

impl Gate {
    /// Fields of a gate from its first eight bytes.
    fn decode(raw: u64) -> Self {
        Self {
            selector: (raw >> 16) as u16,
            offset: raw & 0xffff | raw >> 48 << 16,
            kind: (raw >> 40 & 0x1f) as u32,
            dpl: (raw >> 45 & 3) as u8,
            present: raw >> 47 & 1 != 0,
            ist: (raw >> 32 & 7) as u8,
        }
    }

    fn clears_interrupt_flag(self) -> bool {
        self.kind & 1 == 0
    }
}

/// Where a handler starts and on which stack.
struct Entry {
    code: Segment,
    rip: u64,
    stack: Segment,
    rsp: u64,
}

/// Where a gate leads in long mode.
struct LongTarget {
    gate: Gate,
    /// Code segment of the handler.
    descriptor: Descriptor,
    /// Privilege level of the handler.
    cpl: u8,
    /// Whether that is an inner one.
    inner: bool,
    /// The IST field as far as it counts.
    ist: u8,
    /// Stack pointer, not aligned yet.
    rsp: u64,
}

impl Processor<'_, '_> {
    /// One attempt at delivery. Nothing but memory has changed if it fails.
    ///
    /// # Errors
    /// The exception that the delivery itself raises.
    pub(super) fn deliver(&mut self, event: Event) -> Step {
        if event.vector != NMI && self.rules.broken(Defect::ExceptionsUnblockNmis) {
            self.state_mut().events.nmi_masked = false;
        }
        match self.mode() {
            Mode::Real => {
                self.deliver_real(event.vector)?;
                let has_code = has_error_code(event.vector) && event.source == Source::Hardware;
                if has_code && self.rules.broken(Defect::ErrorCodeInRealMode) {
                    self.push(u64::from(event.error_code.unwrap_or(0)), 2)?;
                }
                Ok(())
            }
            _ if self.flag(flag::VM) => Err(ModelError::NotModelled("virtual-8086 mode".to_owned()).into()),
            _ if self.long_mode_active() => self.deliver_long(event),
            _ => self.deliver_protected(event),
        }
    }

    /// Real mode, and SMM as it starts: the vector table at the IDTR base (EXC-REAL-001 to
    /// EXC-REAL-003, SMM-RUN-002).
    fn deliver_real(&mut self, vector: u8) -> Step {
        let mut table = self.state().idtr;
        if self.state().events.in_smm && self.rules.broken(Defect::SmmVectorsAtZero) {
            (table.base, table.limit) = (0, 0x3ff);
        }
        let offset = u64::from(vector) * 4;
        if offset + 3 > u64::from(table.limit) && !self.rules.broken(Defect::RealModeVectorLimitIgnored) {
            return Err(Exception::with_code(GP, u32::from(vector) * 8 + IDT).into());
        }
        let target = self.read_linear(table.base.wrapping_add(offset), 4, Privilege::System)?;
        let flags = self.state().rflags;
        let code = u64::from(self.segment(SegmentName::Cs).selector);
        let rip = self.state().rip;
        for value in [flags, code, rip] {
            self.push(value, 2)?;
        }
        let kept = if self.rules.broken(Defect::RealModeKeepsInterruptFlag) {
            flag::IF | flag::TF
        } else {
            0
        };
        let state = self.state_mut();
        state.rflags &= !(flag::IF | flag::TF | flag::AC | flag::RF) | kept;
        state.rip = target & 0xffff;
        let segment = state.segment_mut(SegmentName::Cs);
        segment.selector = (target >> 16) as u16;
        segment.base = u64::from(segment.selector) << 4;
        Ok(())
    }

    /// The gate of a vector after all checks on it (EXC-GATE-001 to EXC-GATE-004, EXC-GATE-007).
    fn gate(&mut self, event: Event, size: u64, allowed: &[u32]) -> Step<Gate> {
        let index = u64::from(event.vector) * size;
        let table = self.state().idtr;
        let code = u32::from(event.vector) * 8 + IDT;
        if index + size - 1 > u64::from(table.limit) {
            let other = self.rules.broken(Defect::GateBeyondLimitIsNp);
            return Err(Exception::with_code(if other { NP } else { GP }, code).into());
        }
        let address = self.wrap(table.base.wrapping_add(index));
        let mut gate = Gate::decode(self.read_linear(address, 8, Privilege::System)?);
        if size == 16 {
            let high = self.read_linear(self.wrap(address.wrapping_add(8)), 8, Privilege::System)?;
            gate.offset |= (high & 0xffff_ffff) << 32;
            if high >> 40 & 0x1f != 0 && self.rules.broken(Defect::SpareGateBitsChecked) {
                return Err(Exception::with_code(GP, code).into());
            }
        }
        if !allowed.contains(&gate.kind) {
            let other = self.rules.broken(Defect::WrongGateIsNp);
            return Err(Exception::with_code(if other { NP } else { GP }, code).into());
        }
        let checks_dpl =
            event.source == Source::Software && !self.rules.broken(Defect::SoftwareInterruptIgnoresDpl);
        if checks_dpl && gate.dpl < self.cpl() {
            return Err(Exception::with_code(GP, code).into());
        }
        if !gate.present {
            let other = self.rules.broken(Defect::AbsentGateIsGp);
            return Err(Exception::with_code(if other { GP } else { NP }, code).into());
        }
        Ok(gate)
    }

    /// The code segment that a gate leads to, and the privilege level there (EXC-GATE-008,
    /// EXC-GATE-009).
    fn handler_segment(&mut self, gate: Gate) -> Step<(Descriptor, u8)> {
        if gate.selector & !3 == 0 {
            return Err(Exception::GP0.into());
        }
        let fault = Exception::with_code(GP, selector_error(gate.selector));
        let descriptor = self.descriptor(gate.selector, GP)?;
        let attributes = descriptor.attributes();
        if !attributes.is_code() || attributes.dpl() > self.cpl() {
            return Err(fault.into());
        }
        let any_size = self.rules.broken(Defect::HandlerCodeUnchecked);
        if self.long_mode_active() && (!attributes.long() || attributes.big()) && !any_size {
            return Err(fault.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(NP, selector_error(gate.selector)).into());
        }
        let conforming =
            attributes.kind() & 4 != 0 && !self.rules.broken(Defect::ConformingHandlerAtItsOwnLevel);
        let cpl = if conforming { self.cpl() } else { attributes.dpl() };
        Ok((descriptor, cpl))
    }

    /// Protected mode. The gate says how wide the frame and the handler's offset are (EXC-GATE-010).
    fn deliver_protected(&mut self, event: Event) -> Step {
        let gate = self.gate(event, 8, &[TASK_GATE, 6, 7, 14, 15])?;
        let is_task = gate.kind == TASK_GATE;
        if is_task && !self.rules.broken(Defect::TaskGateIsInterruptGate) {
            return self.deliver_to_task(gate.selector, event);
        }
        let width = if gate.kind & 8 != 0 || is_task { 4 } else { 2 };
        let (descriptor, cpl) = if is_task {
            (self.descriptor(gate.selector, GP)?, self.cpl())
        } else {
            self.handler_segment(gate)?
        };
        let state = self.state();
        let old_stack = *state.segment(SegmentName::Ss);
        let old_rsp = state.general[RSP];
        let inner = cpl < self.cpl();
        let (stack, rsp) = if inner {
            self.inner_stack(cpl)?
        } else {
            (old_stack, old_rsp)
        };
        let mut frame = Vec::with_capacity(6);
        if inner {
            frame.extend([u64::from(old_stack.selector), old_rsp]);
            if self.rules.broken(Defect::InnerFrameSwapped) {
                frame.reverse();
            }
        }
        self.push_return_address(&mut frame, event);
        let limit_fault = if inner { selector_error(stack.selector) } else { 0 };
        let rsp = self.push_frame(&stack, rsp, width, &frame, cpl, limit_fault)?;
        let code = self
            .mark_transfer_accessed(descriptor)?
            .load(gate.selector & !3 | u16::from(cpl));
        let rip = if width == 2 {
            gate.offset & 0xffff
        } else {
            gate.offset
        };
        if rip > u64::from(code.limit) {
            return Err(Exception::GP0.into());
        }
        self.enter(
            gate,
            Entry {
                code,
                rip,
                stack,
                rsp,
            },
        );
        Ok(())
    }

    /// SS and ESP for an inner privilege level from a 32- or 16-bit TSS (EXC-FRAME-004).
    fn inner_stack(&mut self, cpl: u8) -> Step<(Segment, u64)> {
        if !self.rules.facilities.contains(&Facility::StackFromLegacyTss) {
            self.rules.facilities.push(Facility::StackFromLegacyTss);
        }
        let task = *self.segment(SegmentName::Tr);
        let is_32_bit = task.attributes.kind() & 8 != 0;
        let (offset, width) = if is_32_bit {
            (4 + 8 * u64::from(cpl), 4)
        } else {
            (2 + 4 * u64::from(cpl), 2)
        };
        if offset + 2 * width - 1 > u64::from(task.limit) {
            return Err(Exception::with_code(TS, selector_error(task.selector)).into());
        }
        let address = task.base.wrapping_add(offset);
        let rsp = self.read_linear(self.wrap(address), width as usize, Privilege::System)?;
        let selector = self.read_linear(self.wrap(address.wrapping_add(width)), 2, Privilege::System)? as u16;
        let stack = self.stack_segment(selector, cpl, TS)?;
        Ok((stack, rsp))
    }

    /// Long mode (EXC-FRAME-005, EXC-GATE-006, IST-004 to IST-006).
    fn deliver_long(&mut self, event: Event) -> Step {
        let LongTarget {
            gate,
            descriptor,
            cpl,
            inner,
            ist,
            rsp,
        } = self.long_target(event)?;
        let old_stack = *self.segment(SegmentName::Ss);
        let old_rsp = self.state().general[RSP];
        // Only what is pushed is looked at with the defect, and the stack of a TSS as ever.
        let from_task = ist != 0 || inner;
        let looks_at_pushes = !from_task && self.rules.broken(Defect::FramePushNonCanonicalIsGp);
        if !is_canonical(rsp) && !looks_at_pushes {
            if from_task && self.rules.broken(Defect::TaskStackNonCanonicalIsGp) {
                return Err(Exception::GP0.into());
            }
            return Err(Exception::SS0.into());
        }
        let aligned = if self.rules.broken(Defect::StackNotAligned) {
            rsp
        } else {
            rsp & !0xf
        };
        let mut frame = Vec::with_capacity(6);
        if inner || !self.rules.broken(Defect::LongFrameWithoutStack) {
            frame.extend([u64::from(old_stack.selector), old_rsp]);
        }
        self.push_return_address(&mut frame, event);
        let nulls_stack = inner || self.ist_nulls_stack(ist);
        let stack = if nulls_stack && self.rules.broken(Defect::InnerStackSegmentFlat) {
            Segment {
                selector: old_stack.selector & !3 | u16::from(cpl),
                attributes: old_stack.attributes.with_dpl(cpl),
                ..old_stack
            }
        } else if nulls_stack {
            null_stack_segment(u16::from(cpl), cpl)
        } else {
            old_stack
        };
        if !is_canonical(gate.offset) && !self.rules.broken(Defect::GateTargetUnchecked) {
            return Err(Exception::GP0.into());
        }
        let rsp = self.push_frame_64(aligned, &frame, cpl)?;
        let code = self
            .mark_transfer_accessed(descriptor)?
            .load(gate.selector & !3 | u16::from(cpl));
        self.enter(
            gate,
            Entry {
                code,
                rip: gate.offset,
                stack,
                rsp,
            },
        );
        Ok(())
    }

    /// What the gate of an event and the TSS say.
    fn long_target(&mut self, event: Event) -> Step<LongTarget> {
        let gate = self.gate(event, 16, &[14, 15])?;
        let (descriptor, cpl) = self.handler_segment(gate)?;
        let inner = cpl < self.cpl();
        let ist = if self.rules.broken(Defect::IstIgnored) {
            0
        } else {
            gate.ist
        };
        let old_rsp = self.state().general[RSP];
        let rsp = self.long_stack(ist, inner, cpl, old_rsp)?;
        Ok(LongTarget {
            gate,
            descriptor,
            cpl,
            inner,
            ist,
            rsp,
        })
    }

    /// A delivery in long mode that is given up before anything is pushed: the page walks leave
    /// their marks, those of the tables and perhaps that of the stack.
    ///
    /// # Errors
    /// What it meets on the way.
    pub(super) fn break_off_delivery(&mut self, event: Event, at_stack: bool) -> Step {
        let target = self.long_target(event)?;
        if at_stack {
            let pushed_to = (target.rsp & !0xf).wrapping_sub(8);
            self.translate(pushed_to, Purpose::Write, privilege(target.cpl))?;
        }
        Ok(())
    }

    /// Whether a stack switch without a change of privilege leaves SS null (IST-006).
    fn ist_nulls_stack(&mut self, ist: u8) -> bool {
        let choice = self.rules.profile.stack_segment_on_ist;
        ist != 0 && self.rules.choices.settle_for_good(choice, &IST_006) == StackSegmentOnIst::Null
    }

    /// RSP for a handler in long mode (IST-001 to IST-003, IST-007, IST-008).
    fn long_stack(&mut self, ist: u8, inner: bool, cpl: u8, old_rsp: u64) -> Step<u64> {
        let switches = self.rules.broken(Defect::IstZeroSwitches);
        let next = u64::from(self.rules.broken(Defect::InnerStackOfNextLevel));
        let offset = match (ist, inner) {
            (0, false) if switches => 4,
            (0, false) => return Ok(old_rsp),
            (0, true) => 4 + 8 * (u64::from(cpl) + next),
            (ist, _) => 0x24 + 8 * (u64::from(ist) - 1),
        };
        let task = *self.segment(SegmentName::Tr);
        let limited = !self.rules.broken(Defect::TaskStackLimitIgnored);
        if limited && offset + 7 > u64::from(task.limit) {
            let other = ist != 0 && self.rules.broken(Defect::IstBeyondLimitIsGp);
            let vector = if other { GP } else { TS };
            return Err(Exception::with_code(vector, selector_error(task.selector)).into());
        }
        let top = self.read_linear(task.base.wrapping_add(offset), 8, Privilege::System)?;
        const ONE_STACK: u64 = 0x400;
        let in_use = ist != 0 && top.wrapping_sub(old_rsp).wrapping_sub(1) < ONE_STACK;
        let nests = in_use && self.rules.broken(Defect::IstNests);
        Ok(if nests { old_rsp } else { top })
    }

    /// RFLAGS, CS, RIP and the error code, in the order in which they are pushed
    /// (EXC-FRAME-001 to EXC-FRAME-003, EXC-FRAME-006).
    fn push_return_address(&self, frame: &mut Vec<u64>, event: Event) {
        let state = self.state();
        let is_fault = match event.vector {
            NMI | 32.. => event.source == Source::Hardware && self.rules.broken(Defect::NmiFrameSetsRf),
            DF => self.rules.broken(Defect::DoubleFaultFrameSetsRf),
            DB => self.rules.broken(Defect::DebugFrameSetsRf),
            MC => false,
            _ => event.source == Source::Hardware,
        };
        let resume = if is_fault { flag::RF } else { 0 };
        let step = if self.vcpu.frame_shows_tf { flag::TF } else { 0 };
        frame.push(state.rflags | resume | step);
        frame.push(u64::from(self.segment(SegmentName::Cs).selector));
        let behind = is_fault && self.rules.broken(Defect::FaultFrameBehind);
        frame.push(state.rip.wrapping_add(u64::from(behind)));
        let has_code = has_error_code(event.vector) && !self.rules.broken(Defect::ErrorCodeMissing);
        if has_code && event.source == Source::Hardware {
            frame.push(u64::from(event.error_code.unwrap_or(0)));
        }
    }

    /// Pushes a frame outside 64-bit mode (EXC-STACK-002).
    fn push_frame(
        &mut self,
        stack: &Segment,
        rsp: u64,
        width: usize,
        frame: &[u64],
        cpl: u8,
        limit_fault: u32,
    ) -> Step<u64> {
        let mask = if stack.attributes.big() {
            0xffff_ffff
        } else {
            0xffff
        };
        let mut offset = rsp;
        for value in frame {
            offset = offset & !mask | offset.wrapping_sub(width as u64) & mask;
            let start = offset & mask;
            if start + width as u64 - 1 > u64::from(stack.limit) && !expands_down(stack) {
                return Err(Exception::with_code(SS, limit_fault).into());
            }
            let linear = stack.base.wrapping_add(start) & 0xffff_ffff;
            self.write_linear(linear, width, *value, privilege(cpl))?;
        }
        Ok(offset)
    }

    fn push_frame_64(&mut self, rsp: u64, frame: &[u64], cpl: u8) -> Step<u64> {
        let mut rsp = rsp;
        for value in frame {
            rsp = rsp.wrapping_sub(8);
            self.check_pushed_to(rsp)?;
            self.write_linear(rsp, 8, *value, privilege(cpl))?;
        }
        Ok(rsp)
    }

    /// #SS(0) if a frame would be pushed to a non-canonical address (EXC-STACK-001).
    fn check_pushed_to(&self, rsp: u64) -> Step {
        if is_canonical(rsp) {
            return Ok(());
        }
        let fault = if self.rules.broken(Defect::FramePushNonCanonicalIsGp) {
            Exception {
                address: Some(rsp),
                ..Exception::GP0
            }
        } else {
            Exception::SS0
        };
        Err(fault.into())
    }

    /// Starts the handler (EXC-GATE-005).
    fn enter(&mut self, gate: Gate, entry: Entry) {
        self.vcpu.frame_shows_tf = false;
        let clears_if =
            gate.clears_interrupt_flag() || self.rules.broken(Defect::TrapGateClearsInterruptFlag);
        let state = self.state_mut();
        *state.segment_mut(SegmentName::Cs) = entry.code;
        *state.segment_mut(SegmentName::Ss) = entry.stack;
        state.rip = entry.rip;
        state.general[RSP] = entry.rsp;
        state.rflags &= !(flag::TF | flag::NT | flag::RF | flag::VM);
        if clears_if {
            state.rflags &= !flag::IF;
        }
    }
}

fn expands_down(stack: &Segment) -> bool {
    stack.attributes.kind() & 0xc == 4
}

/// Frames are written with the privilege of the handler.
fn privilege(cpl: u8) -> Privilege {
    if cpl == 3 {
        Privilege::Program
    } else {
        Privilege::System
    }
}
