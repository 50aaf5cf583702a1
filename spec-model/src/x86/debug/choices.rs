//! What the manuals leave to an implementation about debug exceptions.

use crate::profile::Choice;

/// B0 to B3 of an earlier exception when DR6 gets a breakpoint or general detect (DBG-DR6-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleBreakpoints {
    /// They are cleared.
    Cleared,
    /// They stay.
    Kept,
}

/// An instruction breakpoint at the instruction after MOV SS (DBG-SS-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakpointAfterMovSs {
    /// It is not reported.
    Suppressed,
    /// It is reported like any other.
    Reported,
}

/// The single step of a MOV SS when the next instruction is one that ends stepping
/// (DBG-SS-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepAtMovSs {
    /// There is none.
    Lost,
    /// It is held off like a data breakpoint, and follows the next instruction.
    Held,
}

/// A data breakpoint in a repeated MOVS or STOS (DBG-DATA-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatedStore {
    /// It is reported after the iteration that met it.
    AfterIteration,
    /// It is reported when the instruction is done.
    AfterAll,
}

/// What a fault in the delivery of INT1 reports (DBG-INT1-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOfInt1 {
    /// The INT1, as for INT n.
    AtInstruction,
    /// The next instruction, as for a trap.
    Behind,
}

/// A data breakpoint that MOV SS holds off before INT1 (DBG-SS-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldAtInt1 {
    /// It interrupts the handler of INT1, as for INT n.
    InHandler,
    /// INT1's own exception reports it.
    Merged,
}

/// The choices of one implementation.
#[derive(Debug, PartialEq, Eq)]
pub struct DebugChoices {
    /// DBG-DR6-002.
    pub stale_breakpoints: Choice<StaleBreakpoints>,
    /// DBG-SS-004.
    pub breakpoint_after_mov_ss: Choice<BreakpointAfterMovSs>,
    /// DBG-SS-003.
    pub step_at_mov_ss: Choice<StepAtMovSs>,
    /// DBG-INT1-003.
    pub fault_of_int1: Choice<FaultOfInt1>,
    /// DBG-DATA-004.
    pub repeated_store: Choice<RepeatedStore>,
    /// DBG-SS-005.
    pub held_at_int1: Choice<HeldAtInt1>,
}

/// Either.
pub(in crate::x86) const EITHER_STALE: Choice<StaleBreakpoints> =
    Choice::AnyOf(&[StaleBreakpoints::Cleared, StaleBreakpoints::Kept]);
const EITHER_STEP: Choice<StepAtMovSs> = Choice::AnyOf(&[StepAtMovSs::Lost, StepAtMovSs::Held]);

impl DebugChoices {
    /// Intel: some debug exceptions may clear B0 to B3, and MOV SS inhibits breakpoints.
    pub const INTEL: Self = Self {
        stale_breakpoints: EITHER_STALE,
        breakpoint_after_mov_ss: Choice::Always(BreakpointAfterMovSs::Suppressed),
        step_at_mov_ss: EITHER_STEP,
        fault_of_int1: Choice::AnyOf(&[FaultOfInt1::AtInstruction, FaultOfInt1::Behind]),
        repeated_store: Choice::AnyOf(&[RepeatedStore::AfterIteration, RepeatedStore::AfterAll]),
        held_at_int1: Choice::AnyOf(&[HeldAtInt1::InHandler, HeldAtInt1::Merged]),
    };

    /// AMD: breakpoints and general detect update B0 to B3, and MOV SS inhibits interrupts only
    /// (Linux commit baf67ca8e545 says so of the hardware).
    pub const AMD: Self = Self {
        stale_breakpoints: Choice::Always(StaleBreakpoints::Cleared),
        breakpoint_after_mov_ss: Choice::Always(BreakpointAfterMovSs::Reported),
        ..Self::INTEL
    };

    /// KVM's emulator, which goes by the vendor in the guest's CPUID (Linux
    /// `arch/x86/kvm/x86.c`, `kvm_vcpu_check_code_breakpoint`).
    pub const EMULATOR: Self = Self {
        breakpoint_after_mov_ss: Choice::AnyOf(&[
            BreakpointAfterMovSs::Suppressed,
            BreakpointAfterMovSs::Reported,
        ]),
        ..Self::INTEL
    };
}
