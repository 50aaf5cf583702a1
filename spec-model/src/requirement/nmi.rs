//! Non-maskable interrupts and their mask.

super::requirements! {
    NMI:
    NMI_MASK_001 "NMI-MASK-001" Architectural
        "Delivery of an NMI blocks further NMIs until the next IRET."
        "Intel SDM vol. 3A, \"Handling Multiple NMIs\"; AMD APM vol. 2, 8.2.3";
    NMI_MASK_002 "NMI-MASK-002" Architectural
        "IRET unblocks NMIs, in whatever handler it is executed."
        "Intel SDM vol. 3A, \"Handling Multiple NMIs\"; AMD APM vol. 2, 8.2.3";
    NMI_MASK_003 "NMI-MASK-003" Vendor
        "An IRET that faults unblocks NMIs on Intel's processors and not on AMD's; KVM on SVM unblocks them at the next exit."
        "Intel SDM vol. 3C, \"Changes to Instruction Behavior in VMX Non-Root Operation\" (IRET); AMD APM vol. 2, 10.3.3 and 15.21.10; Linux arch/x86/kvm/svm/svm.c, svm_complete_interrupts";
    NMI_MASK_004 "NMI-MASK-004" Architectural
        "An NMI that arrives while NMIs are blocked is held and delivered after the IRET."
        "Intel SDM vol. 3A, \"Handling Multiple NMIs\"; AMD APM vol. 2, 8.2.3";
    NMI_MASK_005 "NMI-MASK-005" KvmPolicy
        "KVM holds one NMI while NMIs are blocked and two while they are not: one to deliver and one behind it."
        "Linux arch/x86/kvm/x86.c, process_nmi";
    NMI_MASK_006 "NMI-MASK-006" Architectural
        "NMIs are delivered whatever the value of RFLAGS.IF."
        "Intel SDM vol. 3A, \"Nonmaskable Interrupt (NMI)\"; AMD APM vol. 2, 8.2.3";
    NMI_MASK_007 "NMI-MASK-007" Architectural
        "An NMI is not delivered between MOV SS or POP SS and the instruction after it."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; AMD APM vol. 2, 8.2.1";
    NMI_MASK_008 "NMI-MASK-008" Vendor
        "An NMI may be held in the shadow of STI."
        "Intel SDM vol. 3C, table \"Format of Interruptibility State\" (blocking by STI may hold other events than interrupts); Linux arch/x86/kvm/vmx/vmx.c, vmx_nmi_blocked";
    NMI_MASK_009 "NMI-MASK-009" Architectural
        "An NMI wakes a processor from HLT and returns to the instruction after it."
        "Intel SDM vol. 2, HLT; AMD APM vol. 3, HLT";
    NMI_MASK_010 "NMI-MASK-010" Architectural
        "Exceptions and software interrupts are delivered while NMIs are blocked and leave them blocked."
        "Intel SDM vol. 3A, \"Handling Multiple NMIs\"";
    NMI_MASK_011 "NMI-MASK-011" Architectural
        "An NMI that arrives while NMIs are blocked does not wake a processor from HLT."
        "Intel SDM vol. 2, HLT (an enabled interrupt, NMI included, resumes) and vol. 3A, \"Handling Multiple NMIs\"; AMD APM vol. 2, 8.2.3 (it is held pending)";
    NMI_API_001 "NMI-API-001" KvmPolicy
        "KVM_GET_VCPU_EVENTS reports the number of pending NMIs."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS; Linux commit ab2ee212a57b";
    NMI_API_002 "NMI-API-002" KvmPolicy
        "Reading the event state with KVM_GET_VCPU_EVENTS loses no NMI that was accepted."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS (a getter)";
    NMI_SMM_001 "NMI-SMM-001" Architectural
        "An NMI that arrives in SMM is latched, one at most, and delivered after RSM."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\"; AMD APM vol. 2, 10.3.3";
    NMI_SMM_002 "NMI-SMM-002" Architectural
        "After an SMI that interrupted an NMI handler, RSM leaves NMIs blocked until the handler's IRET."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\" (blocked before the SMI, blocked after RSM); AMD APM vol. 2, 15.30.3 \"SMM_CTL MSR\"; Linux arch/x86/kvm/smm.c (HF_SMM_INSIDE_NMI_MASK)";
    NMI_SMM_003 "NMI-SMM-003" Architectural
        "IRET in SMM unblocks NMIs there."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\"";
    NMI_SMM_004 "NMI-SMM-004" Vendor
        "When the SMI handler executed IRET after interrupting an NMI handler, RSM may leave NMIs unblocked in that handler."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\"; AMD APM vol. 2, 15.30.3; Linux arch/x86/kvm/smm.c";
    NMI_SMM_005 "NMI-SMM-005" Architectural
        "After an SMI that arrived while NMIs were not blocked, RSM unblocks them."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\"; AMD APM vol. 2, 10.4";
}
