//! Jumps, calls and returns, near and far.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::choices::{FarCall, FrameOrder, NearCall, ReturnedStack};
use super::operand::ones;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::requirement::{INS_CALL_001, INS_CALL_002, INS_RETURN_001, INS_RETURN_002};
use crate::x86::control::is_canonical;
use crate::x86::exception::{Exception, GP, Interruption, NP, SS, Step};
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::{Segment, SegmentAttributes, SegmentName};
use crate::x86::segmentation::{Descriptor, null_stack_segment, selector_error};
use crate::x86::state::{RCX, RSP};

/// Where a far transfer leads, after all checks.
#[derive(Clone, Copy, Debug)]
pub(in crate::x86) struct CodeTarget {
    /// CS as it will be, but for its accessed bit.
    pub segment: Segment,
    /// Its descriptor, outside real mode.
    descriptor: Option<Descriptor>,
}

impl Processor<'_, '_> {
    /// Executes a branch.
    pub(super) fn execute_branch(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        let mnemonic = instruction.mnemonic();
        match mnemonic {
            M::Jmp | M::Call if is_far(instruction) => self.far_transfer(instruction)?,
            M::Jmp => {
                let target = self.read_operand(instruction, 0)?;
                self.jump(target)?;
            }
            M::Call => {
                let target = self.read_operand(instruction, 0)?;
                let width = instruction.stack_pointer_increment().unsigned_abs() as usize;
                let next = self.state().rip;
                if let Err(fault) = self.check_target(target) {
                    return Err(self.fault_of_call(fault, width));
                }
                self.push(next, width)?;
                self.jump(target)?;
            }
            M::Ret => {
                let width = near_return_width(instruction);
                let target = self.peek(0, width)?;
                self.check_target(target)?;
                self.move_stack(width as i64 + extra_bytes(instruction));
                self.jump(target)?;
            }
            M::Retf => self.far_return(instruction)?,
            M::Loop | M::Loope | M::Loopne => {
                let mask = counter_mask(instruction);
                let rcx = &mut self.state_mut().general[RCX];
                let count = rcx.wrapping_sub(1) & mask;
                *rcx = if mask == 0xffff {
                    *rcx & !mask | count
                } else {
                    count
                };
                if count != 0 && self.condition(instruction.condition_code()) {
                    self.jump(instruction.near_branch_target())?;
                }
            }
            M::Jcxz | M::Jecxz | M::Jrcxz => {
                if self.state().general[RCX] & counter_mask(instruction) == 0 {
                    self.jump(instruction.near_branch_target())?;
                }
            }
            _ if instruction.is_jcc_short_or_near() => {
                if self.condition(instruction.condition_code()) {
                    self.jump(instruction.near_branch_target())?;
                }
            }
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(())
    }

    /// #GP(0) if code cannot continue at `target`.
    fn check_target(&self, target: u64) -> Step {
        let legal = if self.mode() == Mode::Long64 {
            is_canonical(target)
        } else {
            target <= u64::from(self.segment(SegmentName::Cs).limit)
        };
        if legal { Ok(()) } else { Err(Exception::GP0.into()) }
    }

    fn jump(&mut self, target: u64) -> Step {
        self.check_target(target)?;
        self.state_mut().rip = target;
        self.vcpu.debug.branched = true;
        Ok(())
    }

    /// The fault of a near CALL whose target is wrong, as `fault` says; its push may be, too
    /// (INS-CALL-001).
    fn fault_of_call(&mut self, fault: Interruption, width: usize) -> Interruption {
        let Err(of_push) = self.check_pushes(1, width) else {
            return fault;
        };
        let choice = self.rules.profile.instructions.near_call;
        match self.rules.choices.settle_for_good(choice, &INS_CALL_001) {
            NearCall::TargetFirst => fault,
            NearCall::PushFirst => of_push,
        }
    }

    /// Whether a target is in another of 64-bit and compatibility mode.
    pub(super) fn changes_mode(&self, target: &Segment) -> bool {
        let here = self.segment(SegmentName::Cs).attributes.long();
        self.long_mode_active() && target.attributes.long() != here
    }

    /// Whether a far CALL pushes through the stack of its target's mode, before its offset is checked
    /// (INS-CALL-002).
    fn pushes_first(&mut self, target: &Segment, offset: u64, width: usize) -> bool {
        let is_plain = !self.changes_mode(target) && self.check_in(target, offset).is_ok();
        if is_plain && self.check_pushes(2, width).is_ok() {
            return false;
        }
        let choice = self.rules.profile.instructions.far_call;
        self.rules.choices.settle_for_good(choice, &INS_CALL_002) == FarCall::PushedFirst
    }

    fn far_transfer(&mut self, instruction: &Instruction) -> Step {
        let (selector, offset, width) = self.far_target(instruction)?;
        let calls = instruction.mnemonic() == Mnemonic::Call;
        if self.transfer_to_task(selector, calls)? {
            return Ok(());
        }
        let target = self.code_segment(selector, self.cpl(), false)?;
        let pushed = [
            u64::from(self.segment(SegmentName::Cs).selector),
            self.state().rip,
        ];
        if calls && self.pushes_first(&target.segment, offset, width) {
            *self.state_mut().segment_mut(SegmentName::Cs) = target.segment;
            for value in pushed {
                self.push(value, width)?;
            }
            self.check_call_target(&target.segment, offset)?;
            let segment = self.load_code(target)?;
            *self.state_mut().segment_mut(SegmentName::Cs) = segment;
            self.state_mut().rip = offset;
            return Ok(());
        }
        if calls {
            self.check_call_target(&target.segment, offset)?;
            self.check_pushes(pushed.len() as u64, width)?;
        } else {
            self.check_in(&target.segment, offset)?;
        }
        let segment = self.load_code(target)?;
        if calls {
            self.push_all_or_none(&pushed, width)?;
        }
        *self.state_mut().segment_mut(SegmentName::Cs) = segment;
        self.state_mut().rip = offset;
        Ok(())
    }

    /// INS-CALL-003 for CALL.
    fn check_call_target(&self, segment: &Segment, offset: u64) -> Step {
        let fault = self.check_in(segment, offset);
        if fault.is_err() && self.rules.broken(Defect::FarCallLimitNamesSelector) {
            return Err(Exception::with_code(GP, selector_error(segment.selector)).into());
        }
        fault
    }

    /// Selector, offset and width of the offset in bytes.
    fn far_target(&mut self, instruction: &Instruction) -> Step<(u16, u64, usize)> {
        match instruction.op_kind(0) {
            OpKind::FarBranch16 => Ok((
                instruction.far_branch_selector(),
                u64::from(instruction.far_branch16()),
                2,
            )),
            OpKind::FarBranch32 => Ok((
                instruction.far_branch_selector(),
                u64::from(instruction.far_branch32()),
                4,
            )),
            _ => {
                let address = self.address(instruction)?;
                let width = instruction.memory_size().size() - 2;
                if self.rules.broken(Defect::FarPointerIsOneAccess) && width < 8 {
                    self.read_segment(address.segment, address.offset, width + 2)?;
                }
                let offset = self.read_segment(address.segment, address.offset, width)?;
                let after = address.after(width as u64);
                let selector = self.read_segment(after.segment, after.offset, 2)? as u16;
                Ok((selector, offset, width))
            }
        }
    }

    /// The code segment that a far transfer to `selector` leads to. `returning` selects the
    /// rules of RETF and IRET, where RPL is the new privilege level.
    ///
    /// # Errors
    /// #GP or #NP with the selector as error code, or #PF.
    pub(in crate::x86) fn code_segment(
        &mut self,
        selector: u16,
        cpl: u8,
        returning: bool,
    ) -> Step<CodeTarget> {
        if self.mode() == Mode::Real {
            let old = *self.segment(SegmentName::Cs);
            let segment = Segment {
                selector,
                base: u64::from(selector) << 4,
                ..old
            };
            return Ok(CodeTarget {
                segment,
                descriptor: None,
            });
        }
        if selector & !3 == 0 {
            return Err(Exception::GP0.into());
        }
        let fault = Exception::with_code(GP, selector_error(selector));
        let descriptor = self.descriptor(selector, GP)?;
        let attributes = descriptor.attributes();
        if !attributes.is_code_or_data() && !returning && self.is_call_gate(attributes.kind()) {
            let message = "far transfers through call gates".to_owned();
            return Err(ModelError::NotModelled(message).into());
        }
        let rpl = (selector & 3) as u8;
        let conforming = attributes.kind() & 4 != 0;
        let privileged = match (returning, conforming) {
            (true, true) => attributes.dpl() <= rpl,
            (true, false) => attributes.dpl() == rpl,
            (false, true) => attributes.dpl() <= cpl,
            (false, false) => attributes.dpl() == cpl && rpl <= cpl,
        };
        let unchecked = returning && self.rules.broken(Defect::CodeWidthUnchecked);
        let both_widths = self.long_mode_active() && attributes.long() && attributes.big() && !unchecked;
        if !attributes.is_code() || !privileged || both_widths || returning && rpl < cpl {
            return Err(fault.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(NP, selector_error(selector)).into());
        }
        let level = if returning { rpl } else { cpl };
        Ok(CodeTarget {
            segment: descriptor.load(selector & !3 | u16::from(level)),
            descriptor: Some(descriptor),
        })
    }

    /// Whether a system descriptor of this type is a call gate. In long mode there are none of 16 bits, nor task
    /// gates and task-state segments to transfer to, all of which raise #GP there (SDM vol. 2, CALL and JMP).
    fn is_call_gate(&self, kind: u32) -> bool {
        kind == 12 || kind == 4 && !self.long_mode_active()
    }

    /// Sets the accessed bit of a code descriptor once nothing else can fault (EXC-IRET-009), and
    /// returns CS as it then is.
    ///
    /// # Errors
    /// #PF.
    pub(super) fn load_code(&mut self, target: CodeTarget) -> Step<Segment> {
        let Some(descriptor) = target.descriptor else {
            return Ok(target.segment);
        };
        let descriptor = self.mark_transfer_accessed(descriptor)?;
        Ok(descriptor.load(target.segment.selector))
    }

    pub(in crate::x86) fn mark_transfer_accessed(&mut self, descriptor: Descriptor) -> Step<Descriptor> {
        if self.rules.broken(Defect::FarTransferLeavesAccessedClear) {
            return Ok(descriptor);
        }
        self.mark_accessed(descriptor)
    }

    /// #GP(0) if `offset` lies outside a code segment about to be entered (INS-CALL-003 for CALL and JMP).
    fn check_in(&self, segment: &Segment, offset: u64) -> Step {
        let legal = if self.long_mode_active() && segment.attributes.long() {
            is_canonical(offset)
        } else {
            offset <= u64::from(segment.limit)
        };
        if legal { Ok(()) } else { Err(Exception::GP0.into()) }
    }

    /// The same for IRET and RETF (EXC-IRET-003, EXC-IRET-010).
    pub(super) fn check_return_target(&self, segment: &Segment, offset: u64) -> Step {
        let unchecked = if self.long_mode_active() && segment.attributes.long() {
            Defect::IretAcceptsNonCanonical
        } else {
            Defect::CodeLimitUnchecked
        };
        if self.rules.broken(unchecked) {
            return Ok(());
        }
        self.check_in(segment, offset)
    }

    /// RETF. The parameters that it releases lie between the return address and the outer stack
    /// pointer, however many bytes they are (INS-RETF-001).
    fn far_return(&mut self, instruction: &Instruction) -> Step {
        let width = far_return_width(instruction);
        let extra = extra_bytes(instruction);
        self.read_frame(&[0, 1], width)?;
        let offset = self.peek(0, width)?;
        let selector = self.peek(1, width)? as u16;
        let cpl = self.cpl();
        if self.changes_level(selector) {
            self.look_at_outer_stack(2 * width as u64 + extra.cast_unsigned(), width)?;
        }
        let target = self.code_segment(selector, cpl, true)?;
        self.check_return_target(&target.segment, offset)?;
        let outer = self.mode() != Mode::Real && (selector & 3) as u8 > cpl;
        if outer {
            let behind = 2 * width as u64 + extra.cast_unsigned();
            let rsp = self.peek_behind(behind, width)?;
            let stack = self.peek_behind(behind + width as u64, width)? as u16;
            self.enter_outer(target, offset, rsp, stack)?;
            self.move_stack(extra);
            return Ok(());
        }
        let segment = self.load_code(target)?;
        self.return_within_level(segment, offset & ones(width), 2 * width as i64 + extra);
        Ok(())
    }

    /// Goes on in a code segment of the same privilege level, with `released` bytes less on the stack
    /// (INS-RETURN-002).
    pub(super) fn return_within_level(&mut self, segment: Segment, rip: u64, released: i64) {
        let choice = self.rules.profile.instructions.returned_stack;
        let late = self.changes_mode(&segment)
            && self.rules.choices.settle_for_good(choice, &INS_RETURN_002) == ReturnedStack::OfTarget;
        if !late {
            self.move_stack(released);
        }
        *self.state_mut().segment_mut(SegmentName::Cs) = segment;
        self.state_mut().rip = rip;
        if late {
            self.move_stack(released);
        }
    }

    /// Checks that slots of a frame, in ascending order, can be read. Which fault is raised if more
    /// than one cannot is open (INS-RETURN-001).
    pub(super) fn read_frame(&mut self, slots: &[u64], width: usize) -> Step {
        let Some(upwards) = slots.iter().find_map(|slot| self.peek(*slot, width).err()) else {
            return Ok(());
        };
        if self.reads_downwards() {
            for slot in slots.iter().rev() {
                self.peek(*slot, width)?;
            }
        }
        Err(upwards)
    }

    fn reads_downwards(&mut self) -> bool {
        let choice = self.rules.profile.instructions.frame_order;
        self.rules.choices.settle_for_good(choice, &INS_RETURN_001) == FrameOrder::Downwards
    }

    /// Whether a return to `selector` would leave the privilege level.
    pub(super) fn changes_level(&self, selector: u16) -> bool {
        self.mode() != Mode::Real && (selector & 3) as u8 != self.cpl()
    }

    /// A return with a stack pointer in its frame, `behind` the top of the stack, may read it before it
    /// checks anything (INS-RETURN-001).
    pub(super) fn look_at_outer_stack(&mut self, behind: u64, width: usize) -> Step {
        let stack = self.peek_behind(behind + width as u64, width).map(|_| ());
        let both = stack.and_then(|()| self.peek_behind(behind, width).map(|_| ()));
        match both {
            Err(fault) if self.reads_downwards() => Err(fault),
            _ => Ok(()),
        }
    }

    /// With the defect, the fault of a stack segment that is not present is #NP instead of #SS.
    fn as_not_present(&self, fault: Interruption) -> Interruption {
        match fault {
            Interruption::Exception(exception)
                if exception.vector == SS && self.rules.broken(Defect::ReturnStackNotPresentIsNp) =>
            {
                Exception {
                    vector: NP,
                    ..exception
                }
                .into()
            }
            other => other,
        }
    }

    /// SS when a return loads a null selector (EXC-IRET-012).
    fn returned_null_stack(&self, selector: u16, cpl: u8) -> Segment {
        let null = null_stack_segment(selector, cpl);
        if !self.rules.broken(Defect::IretNullStackUsable) {
            return null;
        }
        const FLAT_DATA: u32 = 0xc093;
        Segment {
            limit: u32::MAX,
            attributes: SegmentAttributes(FLAT_DATA).with_dpl(cpl),
            ..null
        }
    }

    /// Continues at an outer privilege level: SS and RSP come from the frame, and data
    /// segments that the program there may not use become null (SDM vol. 2, IRET and RET;
    /// EXC-IRET-007, EXC-IRET-008, EXC-IRET-011).
    pub(in crate::x86) fn enter_outer(&mut self, target: CodeTarget, rip: u64, rsp: u64, stack: u16) -> Step {
        let cpl = (target.segment.selector & 3) as u8;
        let to_64_bit = self.long_mode_active() && target.segment.attributes.long();
        let accepts_null = self.rules.broken(Defect::IretAcceptsNullStack);
        let keeps_data = self.rules.broken(Defect::IretKeepsDataSegments);
        let may_be_null = to_64_bit && cpl != 3 && stack as u8 == cpl;
        let descriptor = if stack & !3 == 0 && (may_be_null || accepts_null) {
            None
        } else {
            let descriptor = self.stack_descriptor(stack, cpl, GP);
            let descriptor = descriptor.map_err(|fault| self.as_not_present(fault))?;
            if !self.rules.broken(Defect::FarTransferLeavesAccessedClear) {
                self.check_markable(descriptor)?;
            }
            Some(descriptor)
        };
        let code = self.load_code(target)?;
        let stack = match descriptor {
            Some(descriptor) => self.mark_transfer_accessed(descriptor)?.load(stack),
            None => self.returned_null_stack(stack, cpl),
        };
        let state = self.state_mut();
        *state.segment_mut(SegmentName::Cs) = code;
        *state.segment_mut(SegmentName::Ss) = stack;
        state.rip = rip;
        let mask = if to_64_bit {
            u64::MAX
        } else if stack.attributes.big() {
            0xffff_ffff
        } else {
            0xffff
        };
        let slot = &mut state.general[RSP];
        *slot = *slot & !mask | rsp & mask;
        for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
            let segment = state.segment_mut(name);
            let attributes = segment.attributes;
            let conforming = attributes.is_code() && attributes.kind() & 4 != 0;
            if !attributes.unusable() && attributes.dpl() < cpl && !conforming && !keeps_data {
                segment.selector = 0;
                segment.attributes = SegmentAttributes::UNUSABLE;
            }
        }
        Ok(())
    }
}

fn is_far(instruction: &Instruction) -> bool {
    matches!(instruction.op_kind(0), OpKind::FarBranch16 | OpKind::FarBranch32)
        || matches!(
            instruction.code(),
            Code::Jmp_m1616
                | Code::Jmp_m1632
                | Code::Jmp_m1664
                | Code::Call_m1616
                | Code::Call_m1632
                | Code::Call_m1664
        )
}

fn near_return_width(instruction: &Instruction) -> usize {
    match instruction.code() {
        Code::Retnw | Code::Retnw_imm16 => 2,
        Code::Retnd | Code::Retnd_imm16 => 4,
        _ => 8,
    }
}

fn far_return_width(instruction: &Instruction) -> usize {
    match instruction.code() {
        Code::Retfw | Code::Retfw_imm16 => 2,
        Code::Retfd | Code::Retfd_imm16 => 4,
        _ => 8,
    }
}

fn extra_bytes(instruction: &Instruction) -> i64 {
    if instruction.op_count() == 1 {
        i64::from(instruction.immediate16())
    } else {
        0
    }
}

/// CX, ECX or RCX, as the address size of LOOP and JCXZ says.
fn counter_mask(instruction: &Instruction) -> u64 {
    use Code as C;
    match instruction.code() {
        C::Loop_rel8_16_CX | C::Loop_rel8_32_CX | C::Loope_rel8_16_CX | C::Loope_rel8_32_CX => 0xffff,
        C::Loopne_rel8_16_CX | C::Loopne_rel8_32_CX | C::Jcxz_rel8_16 | C::Jcxz_rel8_32 => 0xffff,
        C::Loop_rel8_16_RCX | C::Loop_rel8_64_RCX | C::Loope_rel8_16_RCX | C::Loope_rel8_64_RCX => u64::MAX,
        C::Loopne_rel8_16_RCX | C::Loopne_rel8_64_RCX | C::Jrcxz_rel8_16 | C::Jrcxz_rel8_64 => u64::MAX,
        _ => 0xffff_ffff,
    }
}
