//! The state of a virtual processor, read out by the host and put back, into the same or
//! another virtual machine: what a hypervisor does when it migrates a guest. And state that the host
//! makes up: what a hypervisor does when it starts one.

super::requirements! {
    SAVED_STATE:
    STATE_001 "STATE-001" KvmPolicy
        "Registers that the host reads and puts back, into the same or another virtual machine, are what they were, hidden parts included."
        "KVM API, 4.13 KVM_GET_SREGS, 4.18 KVM_GET_MSRS, 4.33 KVM_GET_DEBUGREGS, 4.131 KVM_GET_SREGS2 and their setters";
    STATE_002 "STATE-002" KvmPolicy
        "Pending NMIs are as many after the host has read and put back the event state as before."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (nmi.pending); Linux commit ab2ee212a57b";
    STATE_003 "STATE-003" KvmPolicy
        "An SMI that is pending stays pending when the host reads and puts back the event state."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (smi.pending); Linux commit 1f7becf1b7e2";
    STATE_004 "STATE-004" KvmPolicy
        "What blocks NMIs and SMIs, and whether SMM interrupted an NMI handler, survives that the host reads and puts back the event state."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (nmi.masked, smi.smm, smi.smm_inside_nmi)";
    STATE_005 "STATE-005" KvmPolicy
        "An interrupt shadow survives that the host reads and puts back the event state."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (KVM_VCPUEVENT_VALID_SHADOW)";
    STATE_006 "STATE-006" KvmPolicy
        "A shutdown that is pending stays pending when the host reads and puts back the event state."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (KVM_VCPUEVENT_VALID_TRIPLE_FAULT), 7.32 KVM_CAP_X86_TRIPLE_FAULT_EVENT";
    STATE_007 "STATE-007" KvmPolicy
        "A machine check that is pending stays pending when the host reads and puts back the event state, and wakes a halted processor as before."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (exception.injected, exception.pending)";
    STATE_008 "STATE-008" KvmPolicy
        "A blocked NMI that is pending when the host reads and puts back the event state does not wake a halted processor."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS (nmi.pending, nmi.masked)";
    STATE_009 "STATE-009" KvmPolicy
        "General registers, RIP and RFLAGS read back as the host has set them."
        "KVM API, 4.11 KVM_GET_REGS and 4.12 KVM_SET_REGS";
    STATE_010 "STATE-010" KvmPolicy
        "Segments, descriptor tables, control registers and EFER read back as the host has set them."
        "KVM API, 4.13 KVM_GET_SREGS and 4.14 KVM_SET_SREGS";
    STATE_011 "STATE-011" KvmPolicy
        "Debug registers read back as the host has set them."
        "KVM API, 4.33 KVM_GET_DEBUGREGS and 4.34 KVM_SET_DEBUGREGS";
    STATE_012 "STATE-012" KvmPolicy
        "MSRs read back as the host has set them."
        "KVM API, 4.18 KVM_GET_MSRS and 4.19 KVM_SET_MSRS";
    STATE_013 "STATE-013" KvmPolicy
        "The event state reads back as the host has set it, the interrupt shadow included."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 4.32 KVM_SET_VCPU_EVENTS";
    STATE_014 "STATE-014" KvmPolicy
        "Registers of the local APIC, and whether it waits for a startup IPI, read back as the host has set them."
        "KVM API, 4.57 KVM_GET_LAPIC, 4.58 KVM_SET_LAPIC, 4.38 KVM_GET_MP_STATE and 4.39 KVM_SET_MP_STATE";
    STATE_015 "STATE-015" KvmPolicy
        "Getters and setters of a processor's state succeed for every state that the processor can be in."
        "KVM API, 4.11 to 4.14, 4.18, 4.19, 4.31 to 4.34, 4.38, 4.39, 4.57 and 4.58 (\"Returns: 0 on success\"; KVM_SET_MSRS stops at \"reserved bits\" and at MSRs that are not there)";
    STATE_016 "STATE-016" KvmPolicy
        "KVM_SET_SREGS refuses an EFER with reserved bits (EINVAL)."
        "Linux arch/x86/kvm/regs.c, kvm_is_valid_sregs (since commit 184bd464bdb6); KVM API, 4.14 KVM_SET_SREGS, names no errors";
    STATE_017 "STATE-017" KvmPolicy
        "KVM_SET_SREGS refuses a CR0 with paging without protection, NW without CD, or bits above 31 (EINVAL)."
        "Linux arch/x86/kvm/x86.c or regs.c, kvm_is_valid_cr0, called by kvm_is_valid_sregs; KVM API, 4.14 KVM_SET_SREGS, names no errors";
    STATE_018 "STATE-018" KvmPolicy
        "KVM_SET_SREGS refuses a CR4 with reserved bits, EFER.LMA without EFER.LME and CR0.PG or the reverse, paging in long mode without CR4.PAE, and CS.L outside long mode (EINVAL)."
        "Linux arch/x86/kvm/x86.c or regs.c, kvm_is_valid_sregs; KVM API, 4.14 KVM_SET_SREGS, names no errors";
    STATE_019 "STATE-019" KvmPolicy
        "What a getter tells is well formed: a member that stands for a bit is 0 or 1, undefined bits, reserved members and padding are 0, a segment that is not present is unusable, flags say which members are valid, MP states are those of the architecture, and all MSRs that were asked for are told."
        "KVM API, 4.18 KVM_GET_MSRS (\"number of msrs successfully returned\"), 4.31 KVM_GET_VCPU_EVENTS (flags), 4.34 KVM_SET_DEBUGREGS (flags \"must be cleared\"), 4.38 KVM_GET_MP_STATE (\"possible values\"); Linux svm_get_segment and vmx_get_segment; commit 2c10b61421a2 for members that would be memory of the kernel otherwise";
    STATE_020 "STATE-020" KvmPolicy
        "Events that the host reads are such as have happened: while a processor is stopped no external interrupt is on its way into it, a shutdown is pending only after a machine check, and an exception that is pending is told as injected unless KVM_CAP_EXCEPTION_PAYLOAD is enabled."
        "KVM API, 4.13 KVM_GET_SREGS (interrupt_bitmap), 4.31 KVM_GET_VCPU_EVENTS, 7.17 KVM_CAP_EXCEPTION_PAYLOAD; Linux arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_get_vcpu_events";
    STATE_021 "STATE-021" KvmPolicy
        "The page of a local APIC that the host reads is as the manuals have it: the processor priority is that of TPR and ISR, a stopped timer's current count is 0, the version is that of an integrated APIC with as many local vector table entries as there are, and reserved registers and bits are 0."
        "KVM API, 4.57 KVM_GET_LAPIC (\"the same as documented in the architecture manual\"); SDM vol. 3A, \"Local APIC Version Register\", \"Task and Processor Priorities\", \"APIC Timer\"";
}
