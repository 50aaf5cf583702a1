//! What happened so far in a sequence, as far as the invariants need it.

use std::rc::Rc;

use spec_model::x86::state::VcpuState;

/// The past of one way through a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// NMIs that the processor accepted, and those that it delivered.
    pub nmis_accepted: u8,
    /// See [`Self::nmis_accepted`].
    pub nmis_delivered: u8,
    /// SMIs that the processor accepted, and those that it took.
    pub smis_accepted: u8,
    /// See [`Self::smis_accepted`].
    pub smis_taken: u8,
    /// In SMM: what the SMI interrupted.
    pub interrupted: Option<Rc<VcpuState>>,
}
