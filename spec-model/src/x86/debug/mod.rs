//! Debug exceptions: breakpoints in DR0 to DR3, single steps, general detect, and when the
//! exception for them is due.

mod breakpoint;
mod choices;
mod exception;

pub(in crate::x86) use choices::EITHER_STALE;

pub use choices::{
    BreakpointAfterMovSs, DebugChoices, FaultOfInt1, HeldAtInt1, RepeatedStore, StaleBreakpoints, StepAtMovSs,
};

/// Bits of DR6.
pub mod dr6 {
    /// B0 to B3: the conditions of the four breakpoints.
    pub const BREAKPOINTS: u64 = 0xf;
    /// Clear if a bus lock was the cause; set where that is not reported.
    pub const BLD: u64 = 1 << 11;
    /// An access to a debug register while DR7.GD was set.
    pub const BD: u64 = 1 << 13;
    /// A single step.
    pub const BS: u64 = 1 << 14;
    /// A switch to a task with T set.
    pub const BT: u64 = 1 << 15;
    /// The status bits that the model sets.
    pub const STATUS: u64 = BREAKPOINTS | BD | BS | BT;
}

/// Bits of DR7.
pub mod dr7 {
    /// L0 to L3 and G0 to G3: two bits for each breakpoint.
    pub const ENABLED: u64 = 0xff;
    /// L0 to L3.
    pub const LOCAL: u64 = 0x55;
    /// General detect.
    pub const GD: u64 = 1 << 13;
}

/// Bits of IA32_DEBUGCTL.
pub mod debugctl {
    /// The MSR.
    pub const INDEX: u32 = 0x1d9;
    /// TF steps from branch to branch.
    pub const BTF: u64 = 1 << 1;
}

/// What of debug exceptions a processor has yet to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DebugState {
    /// Bits of DR6 for the trap that waits for the instruction boundary; 0 for none.
    pub trap: u64,
    /// The same for a trap that MOV SS holds off until the next instruction has completed.
    pub held: u64,
    /// The same for a trap that waited when an SMI was taken and is to follow after RSM.
    pub after_rsm: u64,
    /// The conditions that the instruction under execution has met so far.
    pub met: u64,
    /// Bits B0 to B3 of DR6 that a single step has left undefined (DBG-DR6-004).
    pub undefined: u64,
    /// With a defect: L0 to L3 are clear, although DR7 reads as if they were not.
    pub hidden_local: bool,
    /// The instruction under execution has branched within its code segment.
    pub branched: bool,
    /// TF was set when a MOV SS completed that the next instruction follows.
    pub step_at_mov_ss: bool,
    /// Whether the instruction under execution is one that a hypervisor has to emulate so far.
    pub emulated: Emulated,
    /// In the instruction under execution a hypervisor has returned to the guest with its own IRET: RF is as that has
    /// loaded it, and TF counts from the next instruction on (XENPV-IRET-008).
    pub returned_by_iret: bool,
}

/// What a hypervisor has to emulate of an instruction. On a processor it makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Emulated {
    /// Nothing: every access went to memory.
    #[default]
    Not,
    /// It read where there is no memory, or accessed the page of the local APIC.
    Within,
    /// It wrote where there is no memory, and the host is to make that write.
    HostWrites,
}

impl DebugState {
    /// Bits of DR6 that mean nothing when the host reads it, a trap that waits included
    /// (DBG-DR6-004).
    #[must_use]
    pub const fn undefined_with_trap(&self) -> u64 {
        if self.trap & dr6::BS != 0 {
            dr6::BREAKPOINTS
        } else {
            self.undefined
        }
    }
}
