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
}

impl InstructionChoices {
    /// What is open without a vendor.
    pub const OPEN: Self = Self {
        near_branch: Choice::AnyOf(&[NearBranch::Always64, NearBranch::Sized16]),
        push_of_selector: Choice::AnyOf(&[PushOfSelector::ZeroExtended, PushOfSelector::SelectorOnly]),
        push_all_at_end: Choice::AnyOf(&[PushAllAtEnd::GeneralProtection, PushAllAtEnd::Stack]),
        compared_first: Choice::AnyOf(&[ComparedFirst::Source, ComparedFirst::Destination]),
        entries_above_fault: Choice::AnyOf(&[EntriesAboveFault::Accessed, EntriesAboveFault::Untouched]),
    };

    /// Intel's processors (SDM vol. 2, CALL, PUSH and PUSHA).
    pub const INTEL: Self = Self {
        near_branch: Choice::Always(NearBranch::Always64),
        push_all_at_end: Choice::Always(PushAllAtEnd::GeneralProtection),
        ..Self::OPEN
    };

    /// AMD's processors (APM vol. 3, "Near Branches in 64-Bit Mode", PUSH and PUSHA).
    pub const AMD: Self = Self {
        near_branch: Choice::Always(NearBranch::Sized16),
        push_of_selector: Choice::Always(PushOfSelector::ZeroExtended),
        ..Self::OPEN
    };
}
