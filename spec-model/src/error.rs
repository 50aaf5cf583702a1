//! Why the model cannot run a scenario.

/// The model cannot run a scenario. This is a mistake in the scenario or a gap in the
/// model, never a finding about a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The payload contains an instruction outside the closed set.
    #[error("the model does not know the instruction `{instruction}` at linear address {address:#x}")]
    UnknownInstruction {
        /// Disassembly.
        instruction: String,
        /// Linear address in bytes.
        address: u64,
    },
    /// The scenario needs a part of the processor that exists and that the model lacks.
    #[error("not modelled: {0}")]
    NotModelled(String),
    /// No manual says what this processor makes of it, so that a case can only be about others.
    #[error("unspecified: {0}")]
    Unspecified(String),
    /// The scenario contradicts itself.
    #[error("{0}")]
    BadScenario(String),
    /// The chipset cannot be what the scenario makes it.
    #[error(transparent)]
    Chipset(#[from] crate::chipset::ChipsetError),
    /// More combinations of open choices than is sensible.
    #[error("more than {0} outcomes are allowed; the scenario leaves too much open")]
    TooManyOutcomes(usize),
    /// The same, although few outcomes come of them.
    #[error("more than {0} combinations of open choices are possible; the scenario leaves too much open")]
    TooManyWays(usize),
}

impl ModelError {
    /// Whether the model falls short of a scenario that may well be right: a processor can run
    /// it, and what a person expects of it can be judged without the model.
    #[must_use]
    pub const fn is_gap(&self) -> bool {
        match self {
            Self::UnknownInstruction { .. }
            | Self::NotModelled(_)
            | Self::Unspecified(_)
            | Self::TooManyOutcomes(_)
            | Self::TooManyWays(_) => true,
            Self::BadScenario(_) | Self::Chipset(_) => false,
        }
    }
}
