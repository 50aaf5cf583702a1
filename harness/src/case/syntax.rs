//! The syntax of a case file as Rust types.
//!
//! The JSON Schema in `cases/case.schema.json` is generated from these types and their
//! comments, and the structure of every case file is checked against that same schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::apic::ApicPreset;
use super::document::{Entries, Located};
use super::observation::Expectation;
use super::raise::Raises;
use super::reach::Reach;
use super::refused::ErrnoName;
use super::value::{
    Bytes, ChipsetValues, FieldValues, Number, Paths, ProfileName, RequirementId, SaveAreaValues,
};

/// A conformance case: one fact about a processor, the payload that shows it, and what
/// must be seen.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "a conformance case")]
pub(super) struct CaseFile {
    /// The fact in one sentence.
    pub(super) title: Located<String>,
    /// Ids of the requirements that the case checks.
    #[serde(default)]
    pub(super) checks: Vec<Located<RequirementId>>,
    /// The implementations for which the fact holds; KVM's unless given.
    #[serde(default)]
    pub(super) profiles: Vec<Located<ProfileName>>,
    /// The machine at the start.
    pub(super) machine: Machine,
    /// Sections of assembly text by name. `start` is where execution starts, `smi` the SMI
    /// handler; a section named for an exception, such as `nmi`, handles it.
    #[serde(default)]
    pub(super) code: Entries<Located<String>>,
    /// Points by name, in mode `bare` only: elsewhere the code declares them.
    #[serde(default)]
    pub(super) points: Entries<PointEntry>,
    /// What the host does at which point.
    #[serde(default)]
    pub(super) host: Vec<Located<HostEntry>>,
    /// Guest-physical memory to record at every point, by name.
    #[serde(default)]
    pub(super) watch: Entries<WatchEntry>,
    /// What the host looks at in the course of the run: `points` unless given.
    #[serde(default)]
    pub(super) observe: Option<ObserveName>,
    /// Which processor runs next, one number per stretch between two points.
    #[serde(default)]
    pub(super) schedule: Vec<Located<u8>>,
    /// What holds for every schedule; `conform explore` follows them all.
    #[serde(default)]
    pub(super) explore: Option<ExploreEntry>,
    /// When to give up.
    #[serde(default)]
    pub(super) limits: Option<LimitsEntry>,
    /// The points in the order in which they are reached, and how the run ends.
    #[serde(default)]
    pub(super) path: Option<Located<Paths>>,
    /// What must be seen at which point.
    #[serde(default)]
    pub(super) expect: Vec<Located<Expectation>>,
    /// The state at the start is refused with this error, so that nothing runs.
    #[serde(default)]
    pub(super) refused: Option<Located<ErrnoName>>,
}

/// What the host looks at in the course of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ObserveName {
    /// The whole state at every point.
    Points,
    /// Which point it is, accesses and watched memory; the whole state at the end only.
    Ends,
}

/// The machine at the start.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Machine {
    /// The mode in which execution starts.
    pub(super) mode: Located<Mode>,
    /// Whether CPUID reports long mode. Without it KVM writes the 32-bit save area.
    #[serde(default)]
    pub(super) long_mode_cpuid: Option<Located<bool>>,
    /// Whether CPUID reports shadow stacks, so that an SMI saves `ssp`. Not unless given.
    #[serde(default)]
    pub(super) shadow_stack_cpuid: Option<bool>,
    /// Whether CPUID reports debug exceptions for bus locks, so that bit 11 of DR6 can be cleared. Not unless given.
    #[serde(default)]
    pub(super) bus_lock_cpuid: Option<bool>,
    /// Registers of processor 0 that differ from the mode's preset.
    #[serde(default)]
    pub(super) registers: FieldValues,
    /// Registers of the other processors that differ from the preset, by processor number.
    #[serde(default)]
    pub(super) processors: Entries<FieldValues>,
    /// Number of processors, 1 unless given. They start at sections `start`, `start.1`, ...
    #[serde(default)]
    #[schemars(range(max = 16))]
    pub(super) vcpus: Option<Located<u8>>,
    /// Local APICs and how they start; without this there are none. In modes with paging the
    /// page of their registers is mapped.
    #[serde(default)]
    pub(super) apic: Option<Located<ApicPreset>>,
    /// Changes to gates of the interrupt descriptor table, by vector name or number.
    #[serde(default)]
    pub(super) idt: Entries<GateEntry>,
    /// Changes to the task-state segment.
    #[serde(default)]
    pub(super) tss: TssEntry,
    /// Further 8-byte descriptors by selector, 0x60 to 0xf8.
    #[serde(default)]
    pub(super) gdt: Entries<Located<Number>>,
    /// Changes to 4 KiB pages of the identity map of the first 2 MiB, by linear address.
    #[serde(default)]
    pub(super) pages: Entries<PageEntry>,
    /// Further RAM. Where it overlaps the preset RAM it takes its place.
    #[serde(default)]
    pub(super) memory: Vec<Located<MemoryEntry>>,
    /// The chipset that controls SMRAM. With it RAM reaches up to the top of low memory.
    #[serde(default)]
    pub(super) chipset: Option<Located<ChipsetEntry>>,
}

/// The chipset that controls SMRAM.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ChipsetEntry {
    /// Which one.
    pub(super) kind: ChipsetKind,
    /// Whose rules it follows where they differ: `datasheet` unless given, `qemu` or `bochs`.
    #[serde(default)]
    pub(super) implementation: Option<ChipsetImplementation>,
    /// Guest-physical address at which low memory ends, 0x400000 unless given.
    #[serde(default)]
    pub(super) top_of_memory: Option<Located<Number>>,
    /// Registers written before the run, by name and in this order.
    #[serde(default)]
    pub(super) registers: ChipsetValues,
}

/// A chipset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ChipsetKind {
    /// Intel 440FX: the SMRAM register at 72h.
    #[serde(rename = "440fx")]
    I440fx,
    /// Intel Q35: SMRAM at 9Dh, ESMRAMC at 9Eh.
    Q35,
}

/// Whose rules a chipset follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ChipsetImplementation {
    /// Intel's datasheet.
    Datasheet,
    /// QEMU: no D_CLS, on the 440FX no lock either; on the Q35 registers 50h and 9Ch.
    Qemu,
    /// Bochs: the 440FX only.
    Bochs,
}

/// The mode in which execution starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// Real mode, 16-bit code.
    Real,
    /// Protected mode without paging, 32-bit code.
    Protected,
    /// Protected mode with 32-bit paging.
    Paged,
    /// Protected mode with PAE paging.
    Pae,
    /// Compatibility mode: 32-bit code in long mode, with 64-bit exception handlers.
    Compatibility,
    /// 64-bit mode.
    Long,
    /// Nothing is preset: neither RAM nor tables nor registers.
    Bare,
    /// The kernel of a paravirtual guest of Xen, 64-bit code at privilege level 3.
    XenPv,
}

/// Changes to one gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GateEntry {
    /// Entry of the interrupt stack table, 0 to 7. Long mode only.
    #[serde(default)]
    pub(super) ist: Option<Located<Number>>,
    /// Descriptor privilege level, 0 to 3.
    #[serde(default)]
    pub(super) dpl: Option<Located<Number>>,
    /// Type of the gate.
    #[serde(default)]
    pub(super) kind: Option<GateKind>,
    /// Whether it is present; if not given, whether the vector has a handler.
    #[serde(default)]
    pub(super) present: Option<bool>,
    /// Offset of the handler, usually a label.
    #[serde(default)]
    pub(super) handler: Option<Located<Number>>,
    /// Code segment selector; in real mode the segment.
    #[serde(default)]
    pub(super) selector: Option<Located<Number>>,
}

/// Type of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum GateKind {
    /// Interrupt gate, type Eh.
    Interrupt,
    /// Trap gate, type Fh.
    Trap,
    /// 16-bit interrupt gate, type 6.
    #[serde(rename = "interrupt-16")]
    Interrupt16,
    /// 16-bit trap gate, type 7.
    #[serde(rename = "trap-16")]
    Trap16,
    /// Call gate, type Ch: not allowed in an IDT.
    Call,
    /// Task gate, type 5: not allowed in long mode.
    Task,
}

/// Changes to the task-state segment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TssEntry {
    /// Stack pointer for privilege level 0 (ESP0 in protected mode).
    #[serde(default)]
    pub(super) rsp0: Option<Located<Number>>,
    /// Stack pointer for privilege level 1.
    #[serde(default)]
    pub(super) rsp1: Option<Located<Number>>,
    /// Stack pointer for privilege level 2.
    #[serde(default)]
    pub(super) rsp2: Option<Located<Number>>,
    /// Stack segment for privilege level 0, protected mode only.
    #[serde(default)]
    pub(super) ss0: Option<Located<Number>>,
    /// Interrupt stack 1, long mode only; likewise the others.
    #[serde(default)]
    pub(super) ist1: Option<Located<Number>>,
    /// Interrupt stack 2.
    #[serde(default)]
    pub(super) ist2: Option<Located<Number>>,
    /// Interrupt stack 3.
    #[serde(default)]
    pub(super) ist3: Option<Located<Number>>,
    /// Interrupt stack 4.
    #[serde(default)]
    pub(super) ist4: Option<Located<Number>>,
    /// Interrupt stack 5.
    #[serde(default)]
    pub(super) ist5: Option<Located<Number>>,
    /// Interrupt stack 6.
    #[serde(default)]
    pub(super) ist6: Option<Located<Number>>,
    /// Interrupt stack 7.
    #[serde(default)]
    pub(super) ist7: Option<Located<Number>>,
    /// Last valid offset, 0x67 unless given. There is no I/O permission bitmap.
    #[serde(default)]
    pub(super) limit: Option<Located<Number>>,
}

/// Changes to one page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PageEntry {
    /// Whether it is present, true unless given.
    #[serde(default)]
    pub(super) present: Option<bool>,
    /// Whether it can be written, true unless given.
    #[serde(default)]
    pub(super) writable: Option<bool>,
    /// Whether code at privilege level 3 can use it, true unless given.
    #[serde(default)]
    pub(super) user: Option<bool>,
}

/// A region of RAM.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MemoryEntry {
    /// Guest-physical address, a multiple of 0x1000.
    pub(super) address: Located<Number>,
    /// Size in bytes, a multiple of 0x1000.
    pub(super) size: Located<Number>,
    /// Who sees it; `both` unless given.
    #[serde(default)]
    pub(super) space: Option<Space>,
    /// What it holds at the start: bytes by guest-physical address.
    #[serde(default)]
    pub(super) contents: Entries<Located<Bytes>>,
}

/// Who sees a region of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Space {
    /// Processors in and out of SMM.
    Both,
    /// Processors outside SMM only.
    Normal,
    /// Processors in SMM only: SMRAM.
    Smm,
}

/// A point that no code declares.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PointEntry {
    /// For a HLT: the linear address after it. Without it, a sync point.
    #[serde(default)]
    pub(super) halt: Option<Located<Number>>,
}

/// What the host does at a point. Of one entry's actions `save` comes first, then `set`,
/// `write`, `smram`, `shadow`, `do` and `then`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HostEntry {
    /// Name of the point.
    pub(super) at: Located<String>,
    /// Only the n-th time that the point is reached, counted from 1.
    #[serde(default)]
    pub(super) nth: Option<Located<u32>>,
    /// Only when this processor reaches it.
    #[serde(default)]
    pub(super) by: Option<Located<u8>>,
    /// The processor that the actions are for; the one that stopped unless given.
    #[serde(default)]
    pub(super) vcpu: Option<Located<u8>>,
    /// Fields of the state-save area to write, by name.
    #[serde(default)]
    pub(super) save: SaveAreaValues,
    /// Registers to set, by field name.
    #[serde(default)]
    pub(super) set: FieldValues,
    /// Bytes to write, by guest-physical address.
    #[serde(default)]
    pub(super) write: Entries<Located<Bytes>>,
    /// Write what a processor in SMM sees; false unless given.
    #[serde(default)]
    pub(super) smm: Option<Located<bool>>,
    /// Registers of the chipset to write, by name and in this order.
    #[serde(default)]
    pub(super) smram: ChipsetValues,
    /// The interrupt shadow to put in force at the next instruction.
    #[serde(default)]
    pub(super) shadow: Option<ShadowName>,
    /// What to raise: one or a list.
    #[serde(default, rename = "do")]
    pub(super) raise: Option<Raises>,
    /// What is set is refused with this error, and the run goes on without it.
    #[serde(default)]
    pub(super) refused: Option<Located<ErrnoName>>,
    /// When to raise it: behind the OUT of the sync point unless given.
    #[serde(default, rename = "raise")]
    pub(super) moment: Option<Located<Moment>>,
    /// Further actions, in order.
    #[serde(default)]
    pub(super) then: Vec<Located<Step>>,
}

/// Actions of the host for one processor.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    /// The processor that the actions are for; the one of the entry unless given.
    #[serde(default)]
    pub(super) vcpu: Option<Located<u8>>,
    /// Fields of the state-save area to write, by name.
    #[serde(default)]
    pub(super) save: SaveAreaValues,
    /// Registers to set, by field name.
    #[serde(default)]
    pub(super) set: FieldValues,
    /// Bytes to write, by guest-physical address.
    #[serde(default)]
    pub(super) write: Entries<Located<Bytes>>,
    /// Write what a processor in SMM sees; false unless given.
    #[serde(default)]
    pub(super) smm: Option<Located<bool>>,
    /// Registers of the chipset to write, by name and in this order.
    #[serde(default)]
    pub(super) smram: ChipsetValues,
    /// The interrupt shadow to put in force at the next instruction.
    #[serde(default)]
    pub(super) shadow: Option<ShadowName>,
    /// What to raise: one or a list.
    #[serde(default, rename = "do")]
    pub(super) raise: Option<Raises>,
}

impl HostEntry {
    /// The entry's own actions as a step.
    pub(super) fn step(&self) -> Step {
        Step {
            vcpu: self.vcpu.clone(),
            save: self.save.clone(),
            set: self.set.clone(),
            write: self.write.clone(),
            smm: self.smm.clone(),
            smram: self.smram.clone(),
            shadow: self.shadow,
            raise: self.raise.clone(),
        }
    }
}

/// When the host raises what it raises at a sync point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moment {
    /// While the OUT is outstanding: KVM_RUN has come back with it and has not been entered again.
    BeforeCompletion,
}

/// An interrupt shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ShadowName {
    /// None: ends one that is in force.
    None,
    /// As after STI.
    Sti,
    /// As after MOV SS.
    MovSs,
}

/// A range of guest-physical memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WatchEntry {
    /// Guest-physical address.
    pub(super) address: Located<Number>,
    /// Length in bytes.
    pub(super) length: Located<Number>,
    /// Read what a processor in SMM sees; false unless given.
    #[serde(default)]
    pub(super) smm: Option<bool>,
}

/// What holds for every schedule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ExploreEntry {
    /// Whether a processor can shut down or make the hypervisor give up.
    pub(super) crash: Possibility,
    /// Turns of the shortest schedule after which one has; only where it is possible.
    #[serde(default)]
    pub(super) shortest: Option<Located<u16>>,
    /// Whether processors can end up waiting for each other for ever; `never` unless given.
    #[serde(default)]
    pub(super) stranded: Option<Possibility>,
    /// Points that no schedule comes to, with what is observed there or whatever is.
    #[serde(default)]
    pub(super) never: Vec<Located<Reach>>,
    /// Points that some schedule comes to.
    #[serde(default)]
    pub(super) possible: Vec<Located<Reach>>,
    /// In how many ways the run can end, counted by the last stop of each processor.
    #[serde(default)]
    pub(super) endings: Option<u16>,
}

/// Whether some schedule leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Possibility {
    /// At least one does.
    Possible,
    /// None does.
    Never,
}

/// When to give up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LimitsEntry {
    /// Observations before the run ends.
    #[serde(default)]
    pub(super) observations: Option<u32>,
    /// Instructions without a point before the model calls the guest stuck.
    #[serde(default)]
    pub(super) instructions: Option<u32>,
}
