//! What a case says of every schedule of its processors.

/// What a case says of all its schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whether a processor can crash: shut down, or make the hypervisor give up.
    pub crash: bool,
    /// Turns of the shortest schedule after which one has; not checked if absent.
    pub shortest: Option<usize>,
    /// Whether processors can end up waiting for each other for ever.
    pub stranded: bool,
    /// How many ways to end there are; not checked if absent.
    pub endings: Option<usize>,
}
