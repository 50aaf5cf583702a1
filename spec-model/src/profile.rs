//! The choices that the manuals leave to an implementation, complete per implementation.
//!
//! What contradicts a manual is not a choice but a [`crate::defect::Defect`]. There is
//! no default: a profile that does not make a choice does not compile.

use crate::x86::local_apic::ApicChoices;
use crate::x86::save_area::{KVM_32, KVM_64, Layout};

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

/// IDTR on entry to SMM (SMM-ENTRY-010).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdtrOnEntry {
    /// As it was.
    Kept,
    /// Base 0 and limit 0.
    Zero,
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

/// SS when the IST switches stacks without a change of privilege (IST-006).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackSegmentOnIst {
    /// As it was.
    Kept,
    /// Null.
    Null,
}

/// How many NMIs are held (NMI-MASK-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiLatch {
    /// One.
    One,
    /// One while NMIs are blocked or one is in flight, else two.
    OneBehindTheNext,
}

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
    /// Whether there is system-management mode at all.
    pub smm: bool,
    /// SMM-SAVE-002.
    pub save_areas: SaveAreas,
    /// NMI-SMM-002, NMI-SMM-004.
    pub nmi_mask_after_rsm: Choice<NmiMaskAfterRsm>,
    /// SMM-ENTRY-012 for STI.
    pub smi_in_sti_shadow: Choice<InShadow>,
    /// SMM-ENTRY-012 for MOV SS and POP SS.
    pub smi_in_mov_ss_shadow: Choice<InShadow>,
    /// NMI-MASK-008.
    pub nmi_in_sti_shadow: Choice<InShadow>,
    /// SMM-ENTRY-010.
    pub idtr_on_entry: Choice<IdtrOnEntry>,
    /// NMI-MASK-005.
    pub nmi_latch: NmiLatch,
    /// SEG-CACHE-001.
    pub cached_granularity: CachedGranularity,
    /// SHADOW-KIND-001.
    pub shadow_kinds: ShadowKinds,
    /// EXC-SHADOW-003.
    pub shadow_in_shadow: Choice<ShadowInShadow>,
    /// IST-006.
    pub stack_segment_on_ist: Choice<StackSegmentOnIst>,
    /// The local APIC and INIT.
    pub apic: ApicChoices,
}

const KVM_SAVE_AREAS: SaveAreas = SaveAreas {
    long_mode: &KVM_64,
    legacy: &KVM_32,
};

/// KVM on AMD hardware.
pub static KVM_SVM: Profile = Profile {
    name: "kvm-svm",
    cached_granularity: CachedGranularity::FromLimit,
    shadow_kinds: ShadowKinds::One,
    apic: ApicChoices::KVM_SVM,
    ..kvm_like()
};

/// Intel's text has SS null after every IST switch, AMD's only after a change of privilege.
const EITHER_STACK_SEGMENT: Choice<StackSegmentOnIst> =
    Choice::AnyOf(&[StackSegmentOnIst::Kept, StackSegmentOnIst::Null]);

/// KVM on Intel hardware.
pub static KVM_VMX: Profile = Profile {
    name: "kvm-vmx",
    ..kvm_like()
};

/// KVM's software backend without SMM (`kvm_pvm`).
pub static KVM_PVM: Profile = Profile {
    name: "kvm-pvm",
    smm: false,
    ..kvm_like()
};

/// What KVM does whatever the hardware.
const fn kvm_like() -> Profile {
    Profile {
        name: "",
        smm: true,
        save_areas: KVM_SAVE_AREAS,
        nmi_mask_after_rsm: Choice::Always(NmiMaskAfterRsm::KeptInsideNmi),
        smi_in_sti_shadow: Choice::Always(InShadow::Taken),
        smi_in_mov_ss_shadow: Choice::Always(InShadow::Taken),
        nmi_in_sti_shadow: Choice::Always(InShadow::Held),
        idtr_on_entry: Choice::Always(IdtrOnEntry::Zero),
        nmi_latch: NmiLatch::OneBehindTheNext,
        cached_granularity: CachedGranularity::Kept,
        shadow_kinds: ShadowKinds::Two,
        shadow_in_shadow: Choice::AnyOf(&[ShadowInShadow::Started, ShadowInShadow::Ignored]),
        stack_segment_on_ist: EITHER_STACK_SEGMENT,
        apic: ApicChoices::KVM,
    }
}

/// Every profile.
pub static PROFILES: &[&Profile] = &[&KVM_SVM, &KVM_VMX, &KVM_PVM];

impl Profile {
    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().copied().find(|profile| profile.name == name)
    }
}
