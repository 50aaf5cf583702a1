//! What the manuals leave to an implementation about single instructions.

use crate::profile::Choice;

/// 66h before a near branch in 64-bit code (INS-BRANCH-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearBranch {
    /// The prefix does nothing: Intel.
    Always64,
    /// Operands, the target and what is pushed have 16 bits: AMD.
    Sized16,
}

/// PUSH of a segment register with a 32-bit operand (INS-PUSH-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOfSelector {
    /// The selector is pushed as 32 bits.
    ZeroExtended,
    /// The selector is written, and the upper half of the slot stays.
    SelectorOnly,
}

/// PUSHA in real mode where the stack ends at an odd address within the values (INS-PUSH-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAllAtEnd {
    /// #GP.
    GeneralProtection,
    /// #SS.
    Stack,
}

/// The item that CMPS reads first (INS-CMPS-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparedFirst {
    /// That at DS:rSI.
    Source,
    /// That at ES:rDI.
    Destination,
}

/// Accessed bits of the entries that a page walk passes before it faults (EXC-PF-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntriesAboveFault {
    /// They are set.
    Accessed,
    /// They stay.
    Untouched,
}

/// REX.W before a far jump or call through memory (INS-FAR-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarPointer {
    /// The offset has 64 bits: Intel.
    Offset64,
    /// The prefix does nothing, and the offset has 32 bits: AMD.
    Offset32,
}

/// F3 90 with REX.B (INS-PAUSE-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseWithRex {
    /// PAUSE.
    Pause,
    /// XCHG of R8 and the accumulator.
    Exchange,
}

/// INS and OUTS with a repeat prefix and a count of 0 (INS-PORT-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortsOfNothing {
    /// They do nothing.
    Unchecked,
    /// The program must be allowed to use the port all the same.
    Checked,
}

/// The general registers behind a POPA that faults (INS-POP-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopAllAtFault {
    /// They are as before.
    Untouched,
    /// Those that were popped before the fault are loaded.
    Popped,
}

/// Memory behind a PUSHA that faults in protected mode (INS-PUSH-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAllAtFault {
    /// It is as before.
    NothingWritten,
    /// It holds what was pushed before the fault.
    Written,
}

/// The offset that the base of FS or GS is added to in 64-bit code (EXC-SEG-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetBeforeBase {
    /// Only the sum must be canonical.
    Unchecked,
    /// It must be canonical, too.
    Canonical,
}

/// UD0 and UD1 whose third byte cannot be fetched (INS-SET-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndefinedOperand {
    /// They have a ModRM byte, and the fetch faults.
    Fetched,
    /// They are two bytes long.
    None,
}

/// The fault of a near CALL whose target and whose push are both wrong (INS-CALL-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearCall {
    /// That of the target.
    TargetFirst,
    /// That of the push.
    PushFirst,
}

/// A far CALL that changes the mode or lies beyond the limit of its target (INS-CALL-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarCall {
    /// All is checked before anything is pushed, through the stack of the caller's mode.
    CheckedFirst,
    /// The return address is pushed through the stack of the target's mode, and then the offset is
    /// checked.
    PushedFirst,
}

/// The order in which a far return or IRET reads its frame (INS-RETURN-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOrder {
    /// From the instruction pointer up.
    Upwards,
    /// Down to the instruction pointer, and the outer stack before any check.
    Downwards,
}

/// The width by which a far return or IRET that changes the mode moves the stack pointer
/// (INS-RETURN-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnedStack {
    /// That of the stack before.
    OfCaller,
    /// That of the stack in the target's mode.
    OfTarget,
}

/// RF in the frame of a software interrupt that executes with RF set (EXC-FRAME-007).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeOfInterrupt {
    /// As it was.
    Kept,
    /// Clear, as behind any instruction.
    Cleared,
}

/// The choices of one implementation.
#[derive(Debug, PartialEq, Eq)]
pub struct InstructionChoices {
    /// INS-BRANCH-001.
    pub near_branch: Choice<NearBranch>,
    /// INS-PUSH-001.
    pub push_of_selector: Choice<PushOfSelector>,
    /// INS-PUSH-002.
    pub push_all_at_end: Choice<PushAllAtEnd>,
    /// INS-CMPS-001.
    pub compared_first: Choice<ComparedFirst>,
    /// EXC-PF-003.
    pub entries_above_fault: Choice<EntriesAboveFault>,
    /// INS-FAR-001.
    pub far_pointer: Choice<FarPointer>,
    /// INS-PAUSE-001.
    pub pause_with_rex: Choice<PauseWithRex>,
    /// INS-PORT-001.
    pub ports_of_nothing: Choice<PortsOfNothing>,
    /// INS-POP-001.
    pub pop_all_at_fault: Choice<PopAllAtFault>,
    /// INS-PUSH-003.
    pub push_all_at_fault: Choice<PushAllAtFault>,
    /// EXC-SEG-005.
    pub offset_before_base: Choice<OffsetBeforeBase>,
    /// INS-SET-002.
    pub undefined_operand: Choice<UndefinedOperand>,
    /// INS-CALL-001.
    pub near_call: Choice<NearCall>,
    /// INS-CALL-002.
    pub far_call: Choice<FarCall>,
    /// INS-RETURN-001.
    pub frame_order: Choice<FrameOrder>,
    /// INS-RETURN-002.
    pub returned_stack: Choice<ReturnedStack>,
    /// EXC-FRAME-007.
    pub resume_of_interrupt: Choice<ResumeOfInterrupt>,
}

impl InstructionChoices {
    /// What is open without a vendor.
    pub const OPEN: Self = Self {
        near_branch: Choice::AnyOf(&[NearBranch::Always64, NearBranch::Sized16]),
        push_of_selector: Choice::AnyOf(&[PushOfSelector::ZeroExtended, PushOfSelector::SelectorOnly]),
        push_all_at_end: Choice::AnyOf(&[PushAllAtEnd::GeneralProtection, PushAllAtEnd::Stack]),
        compared_first: Choice::AnyOf(&[ComparedFirst::Source, ComparedFirst::Destination]),
        entries_above_fault: Choice::AnyOf(&[EntriesAboveFault::Accessed, EntriesAboveFault::Untouched]),
        far_pointer: Choice::AnyOf(&[FarPointer::Offset64, FarPointer::Offset32]),
        pause_with_rex: Choice::AnyOf(&[PauseWithRex::Pause, PauseWithRex::Exchange]),
        ports_of_nothing: Choice::AnyOf(&[PortsOfNothing::Unchecked, PortsOfNothing::Checked]),
        pop_all_at_fault: Choice::AnyOf(&[PopAllAtFault::Untouched, PopAllAtFault::Popped]),
        push_all_at_fault: Choice::AnyOf(&[PushAllAtFault::NothingWritten, PushAllAtFault::Written]),
        offset_before_base: Choice::AnyOf(&[OffsetBeforeBase::Unchecked, OffsetBeforeBase::Canonical]),
        undefined_operand: Choice::AnyOf(&[UndefinedOperand::Fetched, UndefinedOperand::None]),
        near_call: Choice::AnyOf(&[NearCall::TargetFirst, NearCall::PushFirst]),
        far_call: Choice::AnyOf(&[FarCall::CheckedFirst, FarCall::PushedFirst]),
        frame_order: Choice::AnyOf(&[FrameOrder::Upwards, FrameOrder::Downwards]),
        returned_stack: Choice::AnyOf(&[ReturnedStack::OfCaller, ReturnedStack::OfTarget]),
        resume_of_interrupt: Choice::AnyOf(&[ResumeOfInterrupt::Kept, ResumeOfInterrupt::Cleared]),
    };

    /// Intel's processors (SDM vol. 2, CALL, JMP, PUSH and PUSHA).
    pub const INTEL: Self = Self {
        near_branch: Choice::Always(NearBranch::Always64),
        far_pointer: Choice::Always(FarPointer::Offset64),
        push_all_at_end: Choice::Always(PushAllAtEnd::GeneralProtection),
        ..Self::OPEN
    };

    /// AMD's processors (APM vol. 3, "Near Branches in 64-Bit Mode", CALL (Far), JMP (Far), PUSH and PUSHA).
    pub const AMD: Self = Self {
        near_branch: Choice::Always(NearBranch::Sized16),
        far_pointer: Choice::Always(FarPointer::Offset32),
        push_of_selector: Choice::Always(PushOfSelector::ZeroExtended),
        ..Self::OPEN
    };
}
