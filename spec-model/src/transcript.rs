//! What came out of a run, the same for the model and for every target.

use serde::{Deserialize, Serialize};

use crate::host_state::StateFault;
use crate::scenario::{Blob, PointId};
use crate::stage2::transcript::Stage2Seen;
use crate::x86::state::VcpuState;

/// Number of stack slots that an observation records.
pub const STACK_SLOTS: usize = 8;

/// Everything observed in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transcript {
    /// One per stop, in the order in which they happened. The last one says how the run
    /// ended.
    pub observations: Vec<Observation>,
    /// Runs of bytes that differ between the start and the end of the run, in ascending
    /// order of guest-physical address; neighbouring bytes are one run. Regions that only
    /// a processor in SMM sees are in `smm_memory_changes`.
    pub memory_changes: Vec<Blob>,
    /// The same for regions in [`crate::scenario::AddressSpace::Smm`].
    pub smm_memory_changes: Vec<Blob>,
    /// What a scenario about stage-2 mappings showed; then the rest is empty.
    pub stage2: Option<Box<Stage2Seen>>,
    /// State that the host set and that was refused or not kept, in the order in which that was
    /// noticed. A run whose initial state was not taken has no observations.
    pub state_faults: Vec<StateFault>,
}

impl Transcript {
    /// A run that ended before it began, or of which nothing else is known.
    #[must_use]
    pub fn of_state_faults(state_faults: Vec<StateFault>) -> Self {
        Self {
            state_faults,
            ..Self::default()
        }
    }

    /// What a scenario about stage-2 mappings showed.
    #[must_use]
    pub fn of_stage2(seen: Stage2Seen) -> Self {
        Self {
            stage2: Some(Box::new(seen)),
            ..Self::default()
        }
    }
}

/// What was seen when the host regained control.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Observation {
    /// Which processor stopped.
    pub vcpu: u8,
    /// Why.
    pub stop: Stop,
    /// The processor's state with the stopping instruction complete and before the host's
    /// events at this point. Absent where software could not observe it: after a
    /// shutdown, and when the guest is stuck.
    pub state: Option<Box<VcpuState>>,
    /// The top [`STACK_SLOTS`] stack slots, zero-extended, top first; each is
    /// [`VcpuState::stack_width`] bytes. Empty if any of it lies outside RAM.
    pub stack: Vec<u64>,
    /// The 512 bytes at SMBASE+FE00h as a processor in SMM sees them; present in SMM only.
    pub save_area: Option<Vec<u8>>,
    /// Bytes of each of the scenario's watches. An empty one lies outside RAM.
    pub watches: Vec<Vec<u8>>,
    /// Accesses that reached the host since the last observation: ports other than sync
    /// points, and guest-physical addresses without RAM.
    pub accesses: Vec<Access>,
}

/// Why a processor stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// It wrote to the port of a sync point.
    Sync(PointId),
    /// It executed HLT. A HLT that is not a point ends the run of this processor.
    Halted(Option<PointId>),
    /// It took INIT and waits for a startup IPI.
    WaitsForSipi,
    /// It entered shutdown (KVM_EXIT_SHUTDOWN).
    Shutdown,
    /// The hypervisor gave up: KVM_EXIT_INTERNAL_ERROR with this suberror.
    InternalError(u32),
    /// The hardware refused to enter the guest: KVM_EXIT_FAIL_ENTRY.
    EntryFailed,
    /// KVM_RUN itself failed with this errno.
    RunFailed(i32),
    /// The guest ran on without reaching a point.
    Stuck,
    /// The limit of observations was reached.
    LimitReached,
}

impl Stop {
    /// Whether the processor's state, its stack and its state-save area can be observed there:
    /// not where it is lost, and software has nothing to read them from. This is what cases are
    /// checked by, what the model shows and what a target has to show.
    #[must_use]
    pub fn shows_state(self) -> bool {
        !self.is_crash()
    }

    /// Whether the processor is lost: no guest ends in this way on purpose.
    #[must_use]
    pub fn is_crash(self) -> bool {
        match self {
            Self::Shutdown
            | Self::InternalError(_)
            | Self::EntryFailed
            | Self::RunFailed(_)
            | Self::Stuck => true,
            Self::Sync(_) | Self::Halted(_) | Self::WaitsForSipi | Self::LimitReached => false,
        }
    }
}

/// An access that the host had to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// Port or memory.
    pub space: AccessSpace,
    /// Whether the guest wrote.
    pub write: bool,
    /// Port number or guest-physical address.
    pub address: u64,
    /// Length in bytes.
    pub length: u8,
    /// What the guest wrote, zero-extended; reads get all ones and record 0.
    pub data: u64,
}

/// Where an [`Access`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessSpace {
    /// An I/O port.
    Port,
    /// A guest-physical address without RAM (KVM_EXIT_MMIO).
    Memory,
}
