//! What came out of a run over memory slots.

use serde::{Deserialize, Serialize};

use super::scenario::GuestAddress;

/// Everything observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stage2Seen {
    /// One per step. If the virtual machine is lost before the last step, the rest is missing.
    pub steps: Vec<StepSeen>,
    /// Bytes of host memory that are not what the backing held at the start, in ascending order.
    pub changes: Vec<Change>,
    /// Bytes that are not zero in an anonymous page that was mapped after the last step.
    pub canary: u64,
}

/// What one step showed. What does not apply to it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepSeen {
    /// What was read: by a guest operation that reads, or by the host.
    pub value: Option<u64>,
    /// Accesses of the guest that reached the host.
    pub exits: Vec<MemoryExit>,
    /// How it ended.
    pub end: End,
    /// Pages that a dirty log holds, counted in the slot.
    pub dirty: Option<Vec<u64>>,
    /// What the host saw when it had the first access completed and nothing else run.
    pub interrupted: Option<Interrupted>,
}

/// KVM_EXIT_MMIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryExit {
    /// Whether the guest wrote.
    pub write: bool,
    /// Where.
    pub at: GuestAddress,
    /// Length in bytes.
    pub length: u8,
    /// What the guest wrote, zero-extended; 0 for reads.
    pub data: u64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It was done.
    #[default]
    Done,
    /// KVM_RUN or the host's operation failed with this errno.
    Failed(i32),
    /// KVM_EXIT_INTERNAL_ERROR with this suberror.
    InternalError(u32),
    /// KVM_EXIT_SHUTDOWN.
    Shutdown,
    /// The guest did not come back.
    Stuck,
    /// The guest took an exception (arm64).
    Exception {
        /// ESR_EL1.
        syndrome: u64,
        /// FAR_EL1, the guest-virtual address.
        address: u64,
    },
    /// KVM_EXIT_ARM_NISV.
    Undescribed {
        /// Whether the access was a write.
        write: bool,
        /// Guest-physical address.
        at: u64,
    },
}

/// The processor after KVM_RUN with `immediate_exit` set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interrupted {
    /// How KVM_RUN ended.
    pub end: End,
    /// Whether the instruction pointer is behind the instruction.
    pub retired: bool,
}

/// Bytes that differ at the end from what was there at the start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Index into [`super::scenario::Stage2::backings`].
    pub backing: u16,
    /// In the file under it rather than in the mapping.
    pub file: bool,
    /// Page of the backing.
    pub page: u32,
    /// Byte in the page.
    pub offset: u16,
    /// What is there; empty if the whole page cannot be read.
    pub bytes: Vec<u8>,
}
