//! The choices that the manuals leave to an implementation, complete per implementation.
//!
//! What contradicts a manual is not a choice but a [`crate::defect::Defect`]. There is
//! no default: a profile that does not make a choice does not compile.

mod choices;

pub use choices::*;

use crate::architecture::Architecture;
use crate::scenario::Cpuid;
use crate::x86::debug::DebugChoices;
use crate::x86::execute::{EntriesAboveFault, InstructionChoices};
use crate::x86::local_apic::ApicChoices;
use crate::x86::save_area::{
    AMD_64, BOCHS_32, BOCHS_64, INTEL_32, INTEL_64, KVM_32, KVM_64, Layout, QEMU_32, QEMU_64,
};

/// The formats of the state-save area (SMM-SAVE-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveAreas {
    /// For a processor with long mode.
    pub long_mode: &'static Layout,
    /// For a processor without.
    pub legacy: &'static Layout,
}

/// The complete list of choices of one implementation.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name, for instance `kvm-svm`.
    pub name: &'static str,
    /// What its guests are made of. What follows is about x86.
    pub architecture: Architecture,
    /// Whether there is system-management mode at all.
    pub smm: bool,
    /// SMM-SAVE-002.
    pub save_areas: SaveAreas,
    /// NMI-SMM-002, NMI-SMM-004.
    pub nmi_mask_after_rsm: Choice<NmiMaskAfterRsm>,
    /// NMI-MASK-003.
    pub faulting_iret: FaultingIret,
    /// SMM-ENTRY-012 for STI.
    pub smi_in_sti_shadow: Choice<InShadow>,
    /// SMM-ENTRY-012 for MOV SS and POP SS.
    pub smi_in_mov_ss_shadow: Choice<InShadow>,
    /// NMI-MASK-008.
    pub nmi_in_sti_shadow: Choice<InShadow>,
    /// SMM-ENTRY-010.
    pub idtr_on_entry: Choice<IdtrOnEntry>,
    /// SMM-EFER-001.
    pub efer_on_entry: EferOnEntry,
    /// SMM-DR6-001.
    pub dr6_on_entry: Dr6OnEntry,
    /// SMM-IO-001, SMM-IO-002.
    pub io_restart: IoRestart,
    /// SMM-RSM-020 to SMM-RSM-022.
    pub odd_image: OddImage,
    /// NMI-MASK-005.
    pub nmi_latch: NmiLatch,
    /// SMM-RSM-023.
    pub auto_halt_set: Choice<AutoHaltSet>,
    /// SEG-CACHE-001.
    pub cached_granularity: CachedGranularity,
    /// SHADOW-KIND-001.
    pub shadow_kinds: ShadowKinds,
    /// EXC-SHADOW-003.
    pub shadow_in_shadow: Choice<ShadowInShadow>,
    /// SMM-STRING-002.
    pub string_end: Choice<StringEnd>,
    /// IST-006.
    pub stack_segment_on_ist: Choice<StackSegmentOnIst>,
    /// CHIPSET-FETCH-001, CHIPSET-FETCH-002.
    pub fetch_without_memory: FetchWithoutMemory,
    /// Debug exceptions.
    pub debug: DebugChoices,
    /// SYS-CALL-004.
    pub syscall_outside_64_bit: Choice<SyscallOutside64Bit>,
    /// SYS-RET-004.
    pub sysret_fault: Choice<SysretFault>,
    /// SYS-ENTER-001.
    pub sysenter_in_long_mode: Choice<SysenterInLongMode>,
    /// INS-HYPERCALL-001 to INS-HYPERCALL-005.
    pub hypercalls: Hypercalls,
    /// MC-MSR-004.
    pub error_control: ErrorControl,
    /// The local APIC and INIT.
    pub apic: ApicChoices,
    /// Single instructions and page walks.
    pub instructions: InstructionChoices,
}

const KVM_SAVE_AREAS: SaveAreas = SaveAreas {
    long_mode: &KVM_64,
    legacy: &KVM_32,
};

/// KVM on AMD hardware.
pub static KVM_SVM: Profile = Profile {
    name: "kvm-svm",
    odd_image: OddImage::Amd64,
    // arch/x86/kvm/svm/svm.c, svm_complete_interrupts: when RIP is no longer that of the IRET.
    faulting_iret: FaultingIret::UnblocksAtExit,
    auto_halt_set: Choice::Always(AutoHaltSet::Halts),
    cached_granularity: CachedGranularity::FromLimit,
    shadow_kinds: ShadowKinds::One,
    debug: DebugChoices::AMD,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Defined),
    sysret_fault: Choice::Always(SysretFault::AtTarget),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Undefined),
    hypercalls: Hypercalls::VMMCALL,
    apic: ApicChoices::KVM_SVM,
    instructions: InstructionChoices::AMD,
    ..kvm_like()
};

/// Intel's text has SS null after every IST switch, AMD's only after a change of privilege.
const EITHER_STACK_SEGMENT: Choice<StackSegmentOnIst> =
    Choice::AnyOf(&[StackSegmentOnIst::Kept, StackSegmentOnIst::Null]);

/// KVM on Intel hardware.
pub static KVM_VMX: Profile = Profile {
    name: "kvm-vmx",
    debug: DebugChoices::INTEL,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Undefined),
    sysret_fault: Choice::Always(SysretFault::AtSysret),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Defined),
    hypercalls: Hypercalls::VMCALL,
    instructions: InstructionChoices::INTEL,
    ..kvm_like()
};

/// KVM's software backend without SMM (`kvm_pvm`).
pub static KVM_PVM: Profile = Profile {
    name: "kvm-pvm",
    smm: false,
    ..kvm_like()
};

/// Xen as seen from a paravirtual guest: the guest runs on the processor itself, has no
/// system-management mode, and gets no interrupts or NMIs but Xen's events.
pub static XEN_PV: Profile = Profile {
    name: "xen-pv",
    smm: false,
    ..kvm_like()
};

/// KVM on arm64, with and without VHE. It runs scenarios about stage-2 mappings only.
pub static KVM_ARM64: Profile = Profile {
    name: "kvm-arm64",
    architecture: Architecture::Arm64,
    smm: false,
    ..kvm_like()
};

/// What KVM does whatever the hardware.
const fn kvm_like() -> Profile {
    Profile {
        name: "",
        architecture: Architecture::X86,
        smm: true,
        save_areas: KVM_SAVE_AREAS,
        nmi_mask_after_rsm: Choice::Always(NmiMaskAfterRsm::KeptInsideNmi),
        faulting_iret: FaultingIret::Unblocks,
        smi_in_sti_shadow: Choice::Always(InShadow::Taken),
        smi_in_mov_ss_shadow: Choice::Always(InShadow::Taken),
        nmi_in_sti_shadow: Choice::Always(InShadow::Held),
        idtr_on_entry: Choice::Always(IdtrOnEntry::Zero),
        efer_on_entry: EferOnEntry::Zero,
        dr6_on_entry: Dr6OnEntry::Kept,
        io_restart: IoRestart::Absent,
        odd_image: OddImage::Unspecified,
        nmi_latch: NmiLatch::OneBehindTheNext,
        auto_halt_set: EITHER_AUTO_HALT_SET,
        cached_granularity: CachedGranularity::Kept,
        shadow_kinds: ShadowKinds::Two,
        shadow_in_shadow: Choice::AnyOf(&[ShadowInShadow::Started, ShadowInShadow::Ignored]),
        // arch/x86/kvm/emulate.c, x86_emulate_insn: the count is tested before an iteration.
        string_end: Choice::Always(StringEnd::AtInstruction),
        stack_segment_on_ist: EITHER_STACK_SEGMENT,
        fetch_without_memory: FetchWithoutMemory::GivesUp,
        debug: DebugChoices::EMULATOR,
        // By the vendor of the processor, which the guest's CPUID tells too.
        syscall_outside_64_bit: Choice::AnyOf(&[
            SyscallOutside64Bit::Undefined,
            SyscallOutside64Bit::Defined,
        ]),
        sysret_fault: Choice::AnyOf(&[SysretFault::AtSysret, SysretFault::AtTarget]),
        sysenter_in_long_mode: Choice::AnyOf(&[SysenterInLongMode::Undefined, SysenterInLongMode::Defined]),
        hypercalls: Hypercalls::Undefined,
        error_control: ErrorControl::AllOrNothing,
        apic: ApicChoices::KVM,
        instructions: InstructionChoices::OPEN,
    }
}

const EITHER_IN_SHADOW: Choice<InShadow> = Choice::AnyOf(&[InShadow::Taken, InShadow::Held]);
pub(crate) const EITHER_AUTO_HALT_SET: Choice<AutoHaltSet> =
    Choice::AnyOf(&[AutoHaltSet::Returns, AutoHaltSet::Halts]);
const EITHER_STRING_END: Choice<StringEnd> = Choice::AnyOf(&[StringEnd::Behind, StringEnd::AtInstruction]);
const EITHER_SHADOW_IN_SHADOW: Choice<ShadowInShadow> =
    Choice::AnyOf(&[ShadowInShadow::Started, ShadowInShadow::Ignored]);

/// Intel's processors, as far as the manual tells.
pub static INTEL: Profile = Profile {
    name: "intel",
    architecture: Architecture::X86,
    smm: true,
    save_areas: SaveAreas {
        long_mode: &INTEL_64,
        legacy: &INTEL_32,
    },
    // SDM vol. 3C, "NMI Handling While in SMM": blocked before the SMI, blocked after RSM; whether an IRET in SMM
    // counts is open.
    nmi_mask_after_rsm: Choice::AnyOf(&[NmiMaskAfterRsm::KeptInsideNmi, NmiMaskAfterRsm::Restored]),
    faulting_iret: FaultingIret::Unblocks,
    smi_in_sti_shadow: EITHER_IN_SHADOW,
    smi_in_mov_ss_shadow: EITHER_IN_SHADOW,
    nmi_in_sti_shadow: EITHER_IN_SHADOW,
    idtr_on_entry: Choice::Always(IdtrOnEntry::Kept),
    efer_on_entry: EferOnEntry::Zero,
    dr6_on_entry: Dr6OnEntry::Undefined,
    io_restart: IoRestart::Implemented,
    odd_image: OddImage::Unspecified,
    nmi_latch: NmiLatch::One,
    auto_halt_set: EITHER_AUTO_HALT_SET,
    cached_granularity: CachedGranularity::Kept,
    shadow_kinds: ShadowKinds::Two,
    shadow_in_shadow: EITHER_SHADOW_IN_SHADOW,
    string_end: EITHER_STRING_END,
    stack_segment_on_ist: EITHER_STACK_SEGMENT,
    fetch_without_memory: FetchWithoutMemory::AllOnes,
    debug: DebugChoices::INTEL,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Undefined),
    sysret_fault: Choice::Always(SysretFault::AtSysret),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Defined),
    hypercalls: Hypercalls::Undefined,
    error_control: ErrorControl::Unspecified,
    apic: ApicChoices::OPEN,
    instructions: InstructionChoices::INTEL,
};

/// AMD's processors with long mode, as far as the manual tells.
pub static AMD: Profile = Profile {
    name: "amd",
    architecture: Architecture::X86,
    smm: true,
    // The manual knows one format for them, whatever the mode.
    save_areas: SaveAreas {
        long_mode: &AMD_64,
        legacy: &AMD_64,
    },
    // APM vol. 2, 15.30.3 has RSM restore the mask; whether an IRET in SMM counts is open.
    nmi_mask_after_rsm: Choice::AnyOf(&[NmiMaskAfterRsm::KeptInsideNmi, NmiMaskAfterRsm::Restored]),
    // APM vol. 2, 10.3.3 and 15.21.10: when an IRET has completed.
    faulting_iret: FaultingIret::Keeps,
    smi_in_sti_shadow: EITHER_IN_SHADOW,
    smi_in_mov_ss_shadow: EITHER_IN_SHADOW,
    nmi_in_sti_shadow: EITHER_IN_SHADOW,
    idtr_on_entry: Choice::Always(IdtrOnEntry::Kept),
    efer_on_entry: EferOnEntry::SvmeKept,
    dr6_on_entry: Dr6OnEntry::Kept,
    io_restart: IoRestart::Implemented,
    odd_image: OddImage::Amd64,
    nmi_latch: NmiLatch::One,
    auto_halt_set: Choice::Always(AutoHaltSet::Halts),
    cached_granularity: CachedGranularity::Kept,
    shadow_kinds: ShadowKinds::One,
    shadow_in_shadow: EITHER_SHADOW_IN_SHADOW,
    string_end: EITHER_STRING_END,
    stack_segment_on_ist: EITHER_STACK_SEGMENT,
    fetch_without_memory: FetchWithoutMemory::AllOnes,
    debug: DebugChoices::AMD,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Defined),
    sysret_fault: Choice::Always(SysretFault::AtTarget),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Undefined),
    hypercalls: Hypercalls::Undefined,
    error_control: ErrorControl::Unspecified,
    apic: ApicChoices::OPEN,
    instructions: InstructionChoices::AMD,
};

/// QEMU's TCG: `qemu-system-x86_64`, and `qemu-system-i386` where CPUID has no long mode.
///
/// `qemu-system-x86_64` writes its one format also for a processor model without long mode;
/// that machine is not among the two.
pub static QEMU_TCG: Profile = Profile {
    name: "qemu-tcg",
    architecture: Architecture::X86,
    smm: true,
    save_areas: SaveAreas {
        long_mode: &QEMU_64,
        legacy: &QEMU_32,
    },
    // target/i386/tcg/system/smm_helper.c, helper_rsm: the scheme that KVM has too.
    nmi_mask_after_rsm: Choice::Always(NmiMaskAfterRsm::KeptInsideNmi),
    faulting_iret: FaultingIret::Unblocks,
    // target/i386/cpu.c, x86_cpu_pending_interrupt: only interrupts look at the shadow.
    smi_in_sti_shadow: Choice::Always(InShadow::Taken),
    smi_in_mov_ss_shadow: Choice::Always(InShadow::Taken),
    nmi_in_sti_shadow: Choice::Always(InShadow::Taken),
    idtr_on_entry: Choice::Always(IdtrOnEntry::Kept),
    efer_on_entry: EferOnEntry::Zero,
    dr6_on_entry: Dr6OnEntry::Kept,
    io_restart: IoRestart::Absent,
    odd_image: OddImage::Unspecified,
    // A pending NMI is one bit of interrupt_request.
    nmi_latch: NmiLatch::One,
    auto_halt_set: EITHER_AUTO_HALT_SET,
    cached_granularity: CachedGranularity::Kept,
    shadow_kinds: ShadowKinds::One,
    shadow_in_shadow: EITHER_SHADOW_IN_SHADOW,
    string_end: EITHER_STRING_END,
    stack_segment_on_ist: EITHER_STACK_SEGMENT,
    fetch_without_memory: FetchWithoutMemory::AllOnes,
    debug: DebugChoices::AMD,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Defined),
    sysret_fault: Choice::Always(SysretFault::AtTarget),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Undefined),
    hypercalls: Hypercalls::Undefined,
    error_control: ErrorControl::Unspecified,
    apic: ApicChoices::OPEN,
    // target/i386/tcg/system/excp_helper.c, mmu_translate: each entry is marked as it is read.
    instructions: InstructionChoices {
        entries_above_fault: Choice::Always(EntriesAboveFault::Accessed),
        ..InstructionChoices::OPEN
    },
};

/// Bochs with x86-64 support, and without it where CPUID has no long mode.
pub static BOCHS: Profile = Profile {
    name: "bochs",
    architecture: Architecture::X86,
    smm: true,
    save_areas: SaveAreas {
        long_mode: &BOCHS_64,
        legacy: &BOCHS_32,
    },
    // cpu/smm.cc, RSM: it unmasks NMIs first of all.
    nmi_mask_after_rsm: Choice::Always(NmiMaskAfterRsm::Cleared),
    faulting_iret: FaultingIret::Unblocks,
    // cpu/event.cc, handleAsyncEvent: SMI comes before the test of the shadow, NMI after it.
    smi_in_sti_shadow: Choice::Always(InShadow::Taken),
    smi_in_mov_ss_shadow: Choice::Always(InShadow::Taken),
    nmi_in_sti_shadow: Choice::Always(InShadow::Held),
    idtr_on_entry: Choice::Always(IdtrOnEntry::Kept),
    efer_on_entry: EferOnEntry::SvmeKept,
    dr6_on_entry: Dr6OnEntry::Kept,
    io_restart: IoRestart::Absent,
    odd_image: OddImage::Unspecified,
    // A pending NMI is one bit of pending_event.
    nmi_latch: NmiLatch::One,
    auto_halt_set: EITHER_AUTO_HALT_SET,
    cached_granularity: CachedGranularity::Kept,
    shadow_kinds: ShadowKinds::Two,
    shadow_in_shadow: EITHER_SHADOW_IN_SHADOW,
    string_end: EITHER_STRING_END,
    stack_segment_on_ist: EITHER_STACK_SEGMENT,
    fetch_without_memory: FetchWithoutMemory::AllOnes,
    debug: DebugChoices::INTEL,
    syscall_outside_64_bit: Choice::Always(SyscallOutside64Bit::Undefined),
    sysret_fault: Choice::Always(SysretFault::AtSysret),
    sysenter_in_long_mode: Choice::Always(SysenterInLongMode::Defined),
    hypercalls: Hypercalls::Undefined,
    error_control: ErrorControl::Unspecified,
    apic: ApicChoices::OPEN,
    // cpu/paging.cc, translate_linear_long_mode: entries are marked when the walk has ended well.
    instructions: InstructionChoices {
        entries_above_fault: Choice::Always(EntriesAboveFault::Untouched),
        ..InstructionChoices::INTEL
    },
};

/// Every profile.
pub static PROFILES: &[&Profile] = &[
    &KVM_SVM, &KVM_VMX, &KVM_PVM, &INTEL, &AMD, &QEMU_TCG, &BOCHS, &XEN_PV, &KVM_ARM64,
];

impl Profile {
    /// Whether it is KVM on whatever hardware.
    #[must_use]
    pub fn is_kvm(&self) -> bool {
        self.name.starts_with("kvm-")
    }

    /// The format of the state-save area that a processor with this CPUID writes
    /// (SMM-SAVE-002).
    #[must_use]
    pub fn layout(&self, cpuid: Cpuid) -> &'static Layout {
        if cpuid.long_mode {
            self.save_areas.long_mode
        } else {
            self.save_areas.legacy
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().copied().find(|profile| profile.name == name)
    }
}
