//! What the manuals leave to an implementation about the local APIC and INIT.

use crate::profile::Choice;

/// NMI or SMI with a shorthand that includes the sender, which Intel's table of valid
/// combinations does not have (APIC-ICR-006).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfShorthand {
    /// It is delivered.
    Delivered,
    /// Nothing is sent.
    Ignored,
}

/// The registers of a local APIC that is turned off in IA32_APIC_BASE, which may be lost
/// (APIC-BASE-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistersWhenOff {
    /// They are what they were when it is on again.
    Kept,
    /// They are those after RESET.
    Reset,
}

/// NMIs and SMIs that are pending when INIT is taken (INIT-STATE-006).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingAtInit {
    /// They are lost.
    Dropped,
    /// They stay pending.
    Kept,
}

/// The access rights in the segment registers after INIT, which only a hypervisor or a
/// state-save area shows (INIT-STATE-005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentsAfterInit {
    /// Accessed code and data segments, a busy 32-bit TSS.
    Accessed,
    /// Code and data segments that are not accessed, a busy 16-bit TSS.
    NotAccessed,
    /// As KVM shows them on SVM: CS and SS that are not accessed, accessed data segments, a
    /// busy 16-bit TSS (Linux `arch/x86/kvm/svm/svm.c`, `svm_get_segment`).
    DataAccessed,
}

/// The choices of one implementation.
#[derive(Debug, PartialEq, Eq)]
pub struct ApicChoices {
    /// APIC-ICR-006.
    pub self_shorthand: Choice<SelfShorthand>,
    /// APIC-BASE-002.
    pub registers_when_off: Choice<RegistersWhenOff>,
    /// INIT-STATE-006.
    pub pending_at_init: Choice<PendingAtInit>,
    /// INIT-STATE-005.
    pub segments_after_init: Choice<SegmentsAfterInit>,
}

impl ApicChoices {
    /// Everything that the manuals allow.
    pub const OPEN: Self = Self {
        self_shorthand: Choice::AnyOf(&[SelfShorthand::Delivered, SelfShorthand::Ignored]),
        registers_when_off: Choice::AnyOf(&[RegistersWhenOff::Kept, RegistersWhenOff::Reset]),
        pending_at_init: Choice::AnyOf(&[PendingAtInit::Dropped, PendingAtInit::Kept]),
        segments_after_init: Choice::AnyOf(&[SegmentsAfterInit::Accessed, SegmentsAfterInit::NotAccessed]),
    };

    /// What KVM does on VMX (Linux `arch/x86/kvm/lapic.c`, `__apic_accept_irq` and
    /// `kvm_lapic_set_base`;
    /// `arch/x86/kvm/x86.c`, `kvm_vcpu_reset`; `arch/x86/kvm/vmx/vmx.c`, `vmx_vcpu_reset`).
    pub const KVM: Self = Self {
        self_shorthand: Choice::Always(SelfShorthand::Delivered),
        registers_when_off: Choice::Always(RegistersWhenOff::Kept),
        pending_at_init: Choice::Always(PendingAtInit::Dropped),
        segments_after_init: Choice::Always(SegmentsAfterInit::Accessed),
    };

    /// The same on SVM (Linux `arch/x86/kvm/svm/svm.c`, `init_vmcb`).
    pub const KVM_SVM: Self = Self {
        segments_after_init: Choice::Always(SegmentsAfterInit::DataAccessed),
        ..Self::KVM
    };
}
