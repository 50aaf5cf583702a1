//! What is run: a memory image, the initial processor state and the host's events.
//!
//! A scenario is plain data. Curated, generated and minimised scenarios are the same
//! type, and the same scenario goes to the model and to every target.

use serde::{Deserialize, Serialize};

use crate::chipset::Chipset;
use crate::chipset::register::Register;
use crate::stage2::scenario::Stage2;
use crate::x86::state::{Shadow, VcpuState};

/// First I/O port of the sync points. `OUT imm8, AL` to port `SYNC_PORT + n` reports
/// sync point `n` to the host; AL is not looked at.
pub const SYNC_PORT: u8 = 0xc0;
/// Number of sync points that one scenario can have: the ports up to FFh.
pub const SYNC_POINTS: usize = 64;

/// The processor's signature, CPUID leaf 1 EAX, which INIT leaves in EDX: family 6 and nothing
/// else, so that no target's own identity shows.
pub const PROCESSOR_SIGNATURE: u32 = 0x600;

/// A complete, self-contained run. The default has nothing in it, not even a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scenario {
    /// Name of the case, for instance `nmi/iret-in-smm-unmasks`.
    pub name: String,
    /// What the guest's CPUID says.
    pub cpuid: Cpuid,
    /// Guest-physical memory. Regions of one address space do not overlap.
    pub memory: Vec<MemoryRegion>,
    /// Initial state of each virtual processor. Processor 0 is the bootstrap processor.
    pub vcpus: Vec<VcpuState>,
    /// The points at which the host regains control, indexed by [`PointId`].
    pub points: Vec<Point>,
    /// What the host does at which point.
    pub events: Vec<HostEvent>,
    /// Which processor runs next, one entry per stretch between two points. When it is
    /// used up, the lowest-numbered processor that can run goes on.
    pub schedule: Vec<u8>,
    /// When to give up.
    pub limits: Limits,
    /// Memory to record at every point.
    pub watches: Vec<Watch>,
    /// The chipset that controls SMRAM. Without one, regions alone say who sees what.
    pub chipset: Option<Chipset>,
    /// What the host looks at in the course of the run.
    #[serde(default)]
    pub observe: Observe,
    /// The run is about stage-2 mappings: then this says all of it, and the rest is not used.
    pub stage2: Option<Box<Stage2>>,
}

impl Scenario {
    /// Whether it is a paravirtual guest of Xen, which nothing but Xen can run.
    #[must_use]
    pub fn needs_xen_pv(&self) -> bool {
        self.vcpus.iter().any(|vcpu| vcpu.xen_pv.is_some())
    }

    /// What the host does when processor `by` reaches a point for the `occurrence`-th time.
    pub fn events_at(&self, point: PointId, occurrence: u32, by: u8) -> impl Iterator<Item = &HostEvent> {
        self.events.iter().filter(move |event| {
            event.at == point
                && event.occurrence.is_none_or(|number| number == occurrence)
                && event.by.is_none_or(|vcpu| vcpu == by)
        })
    }

    /// Whether the host raises something there while the OUT of the sync point is outstanding.
    #[must_use]
    pub fn raises_before_completion(&self, point: PointId, occurrence: u32, by: u8) -> bool {
        let mut events = self.events_at(point, occurrence, by);
        events.any(|event| event.before_completion)
    }
}

/// What the host looks at in the course of a run. Looking must not change what a guest sees, but
/// a hypervisor that is asked for its events may put right what it had forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observe {
    /// The whole state at every point.
    #[default]
    Points,
    /// At a point only which one it is, the accesses until then, and watched memory; the whole
    /// state of a processor when its part in the run is over, or else at the end of the run.
    Ends,
}

impl Observe {
    /// Every way to observe.
    pub const ALL: [Self; 2] = [Self::Points, Self::Ends];

    /// Name in case files, in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Ends => "ends",
        }
    }
}

/// The part of the guest's CPUID that scenarios choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cpuid {
    /// Long mode, CPUID 80000001h EDX bit 29. KVM chooses the format of the state-save
    /// area by it (Linux `arch/x86/kvm/smm.c`, `enter_smm`).
    pub long_mode: bool,
    /// Shadow stacks, CPUID (EAX=7,ECX=0) ECX bit 7. With it SSP is part of the state.
    #[serde(default)]
    pub shadow_stack: bool,
    /// Debug exceptions for bus locks, CPUID (EAX=7,ECX=0) ECX bit 24. With it software can clear bit 11
    /// of DR6.
    #[serde(default)]
    pub bus_lock: bool,
}

/// Which processors see a memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSpace {
    /// Processors in and out of SMM.
    Both,
    /// Processors outside SMM only.
    Normal,
    /// Processors in SMM only: SMRAM.
    Smm,
}

impl AddressSpace {
    /// Whether a processor sees a region of this space.
    #[must_use]
    pub fn visible(self, in_smm: bool) -> bool {
        match self {
            Self::Both => true,
            Self::Normal => !in_smm,
            Self::Smm => in_smm,
        }
    }
}

/// One region of RAM and what it holds at the start. Bytes that no blob gives are zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryRegion {
    /// Guest-physical address of the first byte, a multiple of 4096.
    pub address: u64,
    /// Size in bytes, a multiple of 4096.
    pub size: u64,
    /// Who sees it.
    pub space: AddressSpace,
    /// Initial contents at guest-physical addresses inside the region, in ascending
    /// order and without overlap.
    pub contents: Vec<Blob>,
}

/// Bytes at a guest-physical address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Index into [`Scenario::points`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointId(pub u16);

/// A place at which the host regains control.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Point {
    /// Name, unique in the scenario.
    pub name: String,
    /// How the guest gets there.
    pub kind: PointKind,
}

/// How the guest reaches a [`Point`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// A write to port [`SYNC_PORT`] plus the point's number.
    Sync,
    /// A HLT whose following instruction lies at this linear address (CS.base + RIP).
    Halt {
        /// Linear address after the HLT, in bytes.
        resume: u64,
    },
}

/// What the host does when a processor reaches a point.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostEvent {
    /// Where.
    pub at: PointId,
    /// Only the n-th time that this point is reached, counted from 1; every time if absent.
    pub occurrence: Option<u32>,
    /// Only when this processor reaches it; any processor if absent.
    pub by: Option<u8>,
    /// At a sync point: while the OUT is outstanding, rather than when it is complete. Then the
    /// host does not look at the state there, which is that of a half-done instruction.
    #[serde(default)]
    pub before_completion: bool,
    /// What, in order.
    pub actions: Vec<Action>,
}

/// One thing that the host does to a stopped virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Raise an NMI (`KVM_NMI`) on a processor.
    Nmi {
        /// The processor.
        vcpu: u8,
    },
    /// Raise an SMI (`KVM_SMI`) on a processor.
    Smi {
        /// The processor.
        vcpu: u8,
    },
    /// A machine check on a processor (`KVM_X86_SET_MCE`): an uncorrected error in bank 0, after
    /// which the interrupted program can go on (see [`crate::x86::machine_check`]).
    MachineCheck {
        /// The processor.
        vcpu: u8,
    },
    /// Put an interrupt shadow in force at the next instruction (`KVM_SET_VCPU_EVENTS`).
    Shadow {
        /// The processor.
        vcpu: u8,
        /// The shadow.
        shadow: Shadow,
    },
    /// Set a register by its field name (see [`crate::x86::field`]).
    SetField {
        /// The processor.
        vcpu: u8,
        /// Name of the field.
        field: String,
        /// New value.
        value: u64,
    },
    /// Write guest memory.
    WriteMemory {
        /// Guest-physical address of the first byte.
        address: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Write what a processor in SMM sees there, rather than what one outside sees.
        smm: bool,
    },
    /// Write a field of the state-save area at the processor's current SMBASE.
    WriteSaveArea {
        /// The processor.
        vcpu: u8,
        /// Name of the field in the layout that is in force.
        field: String,
        /// New value.
        value: u64,
    },
    /// Write a register of the chipset, as a program would.
    WriteChipset {
        /// The register.
        register: Register,
        /// New value.
        value: u16,
    },
    /// Reset the chipset, and nothing else.
    ResetChipset,
}

/// When a run is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Observations before the run ends.
    pub observations: u32,
    /// Instructions that the model executes without reaching a point before it calls the
    /// guest stuck. A target uses a timer instead.
    pub instructions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            observations: 200,
            instructions: 20_000,
        }
    }
}

/// A named range of guest-physical memory that every observation records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Watch {
    /// Name in reports and expectations.
    pub name: String,
    /// Guest-physical address in bytes.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
    /// Read what a processor in SMM sees there.
    pub smm: bool,
}
