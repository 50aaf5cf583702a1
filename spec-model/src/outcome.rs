//! The set of outcomes that the model allows for a scenario.

use crate::requirement::Requirement;
use crate::transcript::Transcript;

/// One allowed outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is observed.
    pub transcript: Transcript,
    /// The open choices that lead here, in the order in which they were met.
    pub choices: Vec<ChoiceMade>,
    /// Places at which more than the one value in the transcript is allowed.
    pub allowances: Vec<Allowance>,
    /// What the run used that not every target survives.
    pub facilities: Vec<Facility>,
}

/// Something that a run used and that an incomplete processor may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// An event took the stack of an inner privilege level from a 16- or 32-bit TSS.
    StackFromLegacyTss,
    /// POP SS met a data breakpoint.
    BreakpointOnPopSs,
    /// An instruction breakpoint was met in a code segment whose base is not 0.
    BreakpointWithCodeBase,
    /// The processor stopped with EFER.LME set while both paging and CR4.PAE were off.
    LongModeEnabledWithoutPae,
}

/// An open choice and the way it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceMade {
    /// The requirement that leaves it open.
    pub requirement: &'static Requirement,
    /// What was chosen, in a word or two.
    pub chosen: String,
}

/// Bits of one observed value that may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Index into [`Transcript::observations`].
    pub observation: usize,
    /// Name of a processor state field (see [`crate::x86::field`]), or `save.` and the
    /// name of a row of the save-area layout in force.
    pub field: String,
    /// Guest-physical address of the row of a save area, which memory keeps when the run is over.
    pub address: Option<u64>,
    /// The bits that need not agree.
    pub any_bits: u64,
    /// The requirement that says so.
    pub requirement: &'static Requirement,
}
