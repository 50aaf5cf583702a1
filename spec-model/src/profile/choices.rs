//! What the manuals leave to an implementation about events, SMM and system calls. What belongs to debug
//! exceptions, the local APIC and single instructions stands beside their rules.

/// What an implementation may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<T: 'static> {
    /// Always this.
    Always(T),
    /// One of these, and not necessarily the same each time.
    AnyOf(&'static [T]),
}

/// How RSM sets the NMI mask (NMI-SMM-002, NMI-SMM-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiMaskAfterRsm {
    /// As it was before the SMI.
    Restored,
    /// Unblocked, but if the SMI interrupted an NMI handler then as the SMI handler left
    /// it: blocked unless it executed IRET.
    KeptInsideNmi,
    /// Unblocked.
    Cleared,
}

/// What happens to an event in an interrupt shadow (SMM-ENTRY-012, NMI-MASK-008).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InShadow {
    /// It is taken at once.
    Taken,
    /// It waits until the shadow ends.
    Held,
}

/// IDTR on entry to SMM (SMM-ENTRY-010, SMM-IDTR-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdtrOnEntry {
    /// As it was.
    Kept,
    /// Base 0 and limit 0.
    Zero,
}

/// EFER on entry to SMM, where there is long mode (SMM-EFER-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EferOnEntry {
    /// 0.
    Zero,
    /// 0 but for SVME, which is as it was.
    SvmeKept,
}

/// What an IRET that faults does to the block of NMIs (NMI-MASK-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultingIret {
    /// It ends it, before the fault is delivered.
    Unblocks,
    /// A hypervisor ends it when the guest is left for the next time.
    UnblocksAtExit,
    /// Only an IRET that completes ends it.
    Keeps,
}

/// DR6 on entry to SMM (SMM-DR6-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dr6OnEntry {
    /// As it was.
    Kept,
    /// Anything.
    Undefined,
}

/// I/O instruction restart (SMM-IO-001, SMM-IO-002). The manuals leave it to the processor,
/// and bit 16 of the revision identifier says which way it went (SMM-FORMAT-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoRestart {
    /// The area records the instruction, and RSM can execute it again.
    Implemented,
    /// Neither.
    Absent,
}

/// What RSM makes of an image that no SMI writes (SMM-RSM-020 to SMM-RSM-022).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddImage {
    /// APM vol. 2, 10.4 says it: some of them shut the processor down, others are put right.
    Amd64,
    /// No manual says it, and the model refuses it.
    Unspecified,
}

/// G of a cached descriptor, which nothing but a state-save area shows (SEG-CACHE-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedGranularity {
    /// As the descriptor had it.
    Kept,
    /// Set if the limit in bytes does not fit in 20 bits.
    FromLimit,
}

/// Whether the two interrupt shadows can be told apart (SHADOW-KIND-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowKinds {
    /// One for STI, one for MOV SS.
    Two,
    /// One for both; it is reported and saved as both.
    One,
}

/// An instruction that starts an interrupt shadow and is itself in one (EXC-SHADOW-003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowInShadow {
    /// It starts another.
    Started,
    /// It starts none.
    Ignored,
}

/// RIP after the last item of a repeated OUTS, where the host or an event sees it
/// (SMM-STRING-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringEnd {
    /// Behind the instruction.
    Behind,
    /// Still at the instruction, which then ends because the count is 0.
    AtInstruction,
}

/// SS when the IST switches stacks without a change of privilege (IST-006).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackSegmentOnIst {
    /// As it was.
    Kept,
    /// Null.
    Null,
}

/// SYSCALL outside 64-bit mode (SYS-CALL-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallOutside64Bit {
    /// #UD, as Intel's processors have it.
    Undefined,
    /// It works, as on AMD's processors: in compatibility mode by CSTAR, in protected mode by STAR.
    Defined,
}

/// SYSRET to 64-bit mode with a non-canonical RCX (SYS-RET-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysretFault {
    /// SYSRET itself faults, at CPL 0, as Intel's processors have it.
    AtSysret,
    /// The fetch at CPL 3 faults, as on AMD's processors.
    AtTarget,
}

/// SYSENTER and SYSEXIT in 64-bit and compatibility mode (SYS-ENTER-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysenterInLongMode {
    /// #UD, as AMD's processors have it.
    Undefined,
    /// They work, as on Intel's processors.
    Defined,
}

/// What RSM does if the auto-HALT restart field does not hold what entry wrote, nor 0 (SMM-RSM-023).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoHaltSet {
    /// It enters HLT.
    Halts,
    /// It returns to the program.
    Returns,
}

/// How many NMIs are held (NMI-MASK-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiLatch {
    /// One.
    One,
    /// One while NMIs are blocked or one is in flight, else two.
    OneBehindTheNext,
}

/// An instruction fetch from an address at which nothing answers (CHIPSET-FETCH-001,
/// CHIPSET-FETCH-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchWithoutMemory {
    /// The bytes are all ones.
    AllOnes,
    /// At CPL 0 the hypervisor gives up; above, the bytes are all ones.
    GivesUp,
}

/// Values of IA32_MCG_CTL and IA32_MCi_CTL (MC-MSR-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorControl {
    /// All errors or none.
    AllOrNothing,
    /// Which bits there are is the processor's own business.
    Unspecified,
}

/// What becomes of VMCALL and VMMCALL (INS-HYPERCALL-001 to INS-HYPERCALL-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercalls {
    /// There is no hypervisor to call: both raise #UD.
    Undefined,
    /// The hypervisor answers one of them, and rewrites the other.
    Answered {
        /// What it writes in the place of the other.
        rewritten: [u8; 3],
    },
}

impl Hypercalls {
    /// VMCALL is answered: KVM on Intel's processors.
    pub const VMCALL: Self = Self::Answered {
        rewritten: [0x0f, 0x01, 0xc1],
    };
    /// VMMCALL is answered: KVM on AMD's processors.
    pub const VMMCALL: Self = Self::Answered {
        rewritten: [0x0f, 0x01, 0xd9],
    };
}
