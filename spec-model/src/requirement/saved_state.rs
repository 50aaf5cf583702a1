//! The state of a virtual processor, read out by the host and put back, into the same or
//! another virtual machine: what a hypervisor does when it migrates a guest.

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
}
