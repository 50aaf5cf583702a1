//! One virtual processor at work: its state, the memory it sees, the rules in force.

use super::control::{cr0, efer, flag};
use super::debug::DebugState;
use super::decode_cache::DecodeCache;
use super::local_apic::Message;
use super::memory::PhysicalMemory;
use super::save_area::IoInstruction;
use super::segment::{Segment, SegmentAttributes, SegmentName};
use super::state::VcpuState;
use crate::choice::Choices;
use crate::defect::{Defect, DefectSet};
use crate::outcome::Facility;
use crate::profile::{CachedGranularity, Profile};
use crate::requirement::Requirement;
use crate::scenario::Cpuid;
use crate::transcript::Access;

/// What a processor is doing between instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activity {
    /// It executes instructions.
    #[default]
    Running,
    /// It executed HLT and waits for an event.
    Halted,
    /// It took INIT and waits for a startup IPI.
    WaitForSipi,
    /// It shut down: a triple fault, or an RSM that failed.
    Shutdown,
    /// The hypervisor could not go on.
    GivenUp,
    /// The hypervisor could not deliver an event.
    Undelivered,
    /// The virtual machine is dead: KVM_RUN fails with EIO.
    Dead,
    /// KVM_RUN fails with EPERM: the hypervisor took a refusal for an error of its own.
    Refused,
    /// The hypervisor goes on without the processor getting anywhere.
    Looping,
    /// The hypervisor made a state that the hardware refuses to enter.
    EntryFailed,
}

/// A virtual processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vcpu {
    /// Registers and events.
    pub state: VcpuState,
    /// A machine check that cannot be delivered shuts the processor down when it next runs.
    pub shutdown_pending: bool,
    /// With a defect: nothing has left the guest since an NMI or a machine check was delivered.
    pub event_just_delivered: bool,
    /// With a defect: it sleeps, and a blocked NMI will wake it.
    pub nmi_disturbs: bool,
    /// With a defect: a machine check that was put back into it while it slept goes unnoticed.
    pub machine_check_unnoticed: bool,
    /// With a defect: it was entered and sleeps on, although a machine check should have woken it.
    pub machine_check_slept_through: bool,
    /// What it is doing.
    pub activity: Activity,
    /// Flags that the last instruction to touch them left undefined.
    pub undefined_flags: u64,
    /// Bits of RAX, RCX, RDX and RBX that CPUID has loaded and that no scenario decides.
    pub told_by_cpuid: [u64; 4],
    /// Debug exceptions that have yet to be reported.
    pub debug: DebugState,
    /// IA32_DEBUGCTL.
    pub debug_control: u64,
    /// The last instruction was executed in an interrupt shadow.
    pub was_in_shadow: bool,
    /// The host has just entered the guest; no instruction has executed since.
    pub just_entered: bool,
    /// After a faulting IRET: the hypervisor has yet to notice that NMIs are unblocked.
    pub nmi_unblocks_at_exit: bool,
    /// With a defect: an NMI that a shadow held is looked at again only behind an instruction that
    /// the processor executes itself.
    pub nmi_awaits_step: bool,
    /// With a defect: the hypervisor's own page walk has other page-directory-pointer entries than the processor
    /// has, or goes through other levels.
    pub pdptes_lost: bool,
    /// The hypervisor steps over an IRET that faults, and its TF gets into the frame.
    pub frame_shows_tf: bool,
    /// Rows of the last state-save area that hold leftovers, with the bits that mean nothing
    /// and the requirement that says so.
    pub save_area_leftovers: Vec<(&'static str, u64, &'static Requirement)>,
    /// The I/O instruction that has just completed, where one can be restarted (SMM-IO-001).
    pub last_io: Option<IoInstruction>,
    /// The I/O instruction that the last SMI followed.
    pub interrupted_io: Option<IoInstruction>,
    /// The last SMI interrupted HLT.
    pub halted_at_smi: bool,
    /// The state at the last SMI, where the state-save area does not hold all of it
    /// (SMM-FORMAT-002).
    pub kept_in_smm: Option<Box<VcpuState>>,
    /// Entry to SMM left DR6 undefined, and nothing has written it since (SMM-DR6-001).
    pub dr6_undefined: bool,
    /// With a defect: the last page walk met a table outside memory.
    pub walk_met_nothing: bool,
    /// With a defect: the page where an access in SMM last met no memory, and the chipset's number for what
    /// processors outside SMM saw then.
    pub hole_in_smm: Option<(u64, u32)>,
    /// SMIs taken since the start of the run (SMM-MSR-001).
    pub smis_taken: u32,
    /// Messages that its local APIC has sent and that have not been delivered.
    pub messages: Vec<Message>,
    /// Vector of a startup IPI that has arrived.
    pub startup: Option<u8>,
    /// The host has given it a state that no processor can be in, so that it cannot be entered.
    pub unenterable: bool,
}

/// The rules in force: implementation, defects, CPUID and the choices made so far.
#[derive(Debug)]
pub struct Rules {
    /// The implementation that is modelled.
    pub profile: &'static Profile,
    /// Requirements that are broken on purpose.
    pub defects: DefectSet,
    /// What CPUID reports.
    pub cpuid: Cpuid,
    /// How open choices go in this run.
    pub choices: Choices,
    /// What the run has used that not every target survives.
    pub facilities: Vec<Facility>,
}

impl Rules {
    /// A segment register as its descriptor cache holds it (SEG-CACHE-001).
    #[must_use]
    pub fn cached(&self, segment: Segment) -> Segment {
        const GRANULARITY: u32 = 0x8000;
        if self.profile.cached_granularity == CachedGranularity::Kept || segment.attributes.unusable() {
            return segment;
        }
        let rights = segment.attributes.0 & !GRANULARITY;
        let granularity = if segment.limit > 0xf_ffff { GRANULARITY } else { 0 };
        Segment {
            attributes: SegmentAttributes(rights | granularity),
            ..segment
        }
    }

    /// Whether a defect is switched on.
    #[must_use]
    pub fn broken(&self, defect: Defect) -> bool {
        self.defects.has(defect)
    }
}

/// The mode that decides operand sizes, segmentation and event delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// CR0.PE is clear.
    Real,
    /// Protected mode, and compatibility mode as far as segmentation goes.
    Protected,
    /// Long mode with a 64-bit code segment.
    Long64,
}

/// A processor with everything it touches while it executes.
pub struct Processor<'a, 'image> {
    /// The processor.
    pub vcpu: &'a mut Vcpu,
    /// Guest-physical memory, shared by all processors.
    pub memory: &'a mut PhysicalMemory<'image>,
    /// Instructions decoded so far.
    pub decoded: &'a mut DecodeCache,
    /// The rules.
    pub rules: &'a mut Rules,
    /// Accesses that reach the host.
    pub accesses: &'a mut Vec<Access>,
}

impl Processor<'_, '_> {
    /// The processor's state.
    #[must_use]
    pub fn state(&self) -> &VcpuState {
        &self.vcpu.state
    }

    /// The processor's state, to change.
    pub fn state_mut(&mut self) -> &mut VcpuState {
        &mut self.vcpu.state
    }

    /// The current mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let state = self.state();
        if state.cr0 & cr0::PE == 0 {
            Mode::Real
        } else if self.long_mode_active() && self.segment(SegmentName::Cs).attributes.long() {
            Mode::Long64
        } else {
            Mode::Protected
        }
    }

    /// EFER.LMA.
    #[must_use]
    pub fn long_mode_active(&self) -> bool {
        self.state().efer & efer::LMA != 0
    }

    /// Width of code and of the default address in bits: 16, 32 or 64.
    #[must_use]
    pub fn code_bits(&self) -> u32 {
        match self.mode() {
            Mode::Long64 => 64,
            _ if self.segment(SegmentName::Cs).attributes.big() => 32,
            _ => 16,
        }
    }

    /// Current privilege level: that of SS (SDM vol. 3A, "Privilege Levels").
    #[must_use]
    pub fn cpl(&self) -> u8 {
        if self.mode() == Mode::Real {
            0
        } else {
            self.segment(SegmentName::Ss).attributes.dpl()
        }
    }

    /// A segment register.
    #[must_use]
    pub fn segment(&self, name: SegmentName) -> &Segment {
        self.vcpu.state.segment(name)
    }

    /// Whether all bits of `mask` are set in RFLAGS.
    #[must_use]
    pub fn flag(&self, mask: u64) -> bool {
        self.vcpu.state.rflags & mask == mask
    }

    /// Sets or clears the bits of `mask` in RFLAGS.
    pub fn set_flag(&mut self, mask: u64, on: bool) {
        let flags = &mut self.vcpu.state.rflags;
        *flags = if on { *flags | mask } else { *flags & !mask };
        self.vcpu.undefined_flags &= !mask;
    }

    /// Replaces RFLAGS as a whole; bit 1 is always set.
    pub fn load_flags(&mut self, value: u64) {
        self.vcpu.state.rflags = value | flag::FIXED;
        self.vcpu.undefined_flags = 0;
    }

    /// I/O privilege level.
    #[must_use]
    pub fn iopl(&self) -> u8 {
        ((self.vcpu.state.rflags & flag::IOPL) >> 12) as u8
    }
}
