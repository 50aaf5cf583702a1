//! Machine checks: when they are delivered, when they shut the processor down, and their registers.

super::requirements! {
    MACHINE_CHECK:
    MC_EXC_001 "MC-EXC-001" Architectural
        "A machine check is delivered between two instructions through vector 18, without an error code, and its frame holds the address of the next instruction."
        "Intel SDM vol. 3A, \"Interrupt 18: Machine-Check Exception (#MC)\"; AMD APM vol. 2, 8.2.18 and 9.3.2";
    MC_EXC_002 "MC-EXC-002" Architectural
        "A machine check sets MCIP in IA32_MCG_STATUS, and one that comes while MCIP is set shuts the processor down."
        "Intel SDM vol. 3B, \"IA32_MCG_STATUS MSR\"; AMD APM vol. 2, 9.3.1.2";
    MC_EXC_003 "MC-EXC-003" Architectural
        "A machine check with CR4.MCE clear shuts the processor down."
        "Intel SDM vol. 3A, \"Interrupt 18: Machine-Check Exception (#MC)\"; AMD APM vol. 2, 9.3.2";
    MC_EXC_004 "MC-EXC-004" Architectural
        "Neither IF nor blocked NMIs nor an interrupt shadow hold a machine check off, and its delivery does not block NMIs."
        "Intel SDM vol. 3A, \"Handling Multiple NMIs\" and \"Masking Exceptions and Interrupts When Switching Stacks\"; AMD APM vol. 2, 8.2.3 and 8.2.18";
    MC_EXC_005 "MC-EXC-005" Architectural
        "Of a machine check and other events that are pending at the same instruction boundary, the machine check is delivered first."
        "Intel SDM vol. 3A, \"Priority Among Simultaneous Exceptions and Interrupts\"; AMD APM vol. 2, 8.5";
    MC_EXC_006 "MC-EXC-006" Architectural
        "A machine check is benign: an exception during its delivery is delivered in its place."
        "Intel SDM vol. 3A, \"Interrupt 8: Double Fault Exception (#DF)\"; AMD APM vol. 2, 8.2.9";
    MC_EXC_007 "MC-EXC-007" KvmPolicy
        "A machine check wakes a processor from HLT, and its frame holds the address after the HLT."
        "Linux arch/x86/kvm/x86.c, kvm_vcpu_has_events; Intel SDM vol. 2, HLT, and AMD APM vol. 3, HLT, do not name machine checks among what ends it";
    MC_EXC_008 "MC-EXC-008" KvmPolicy
        "A machine check on a processor that waits for a startup IPI takes effect when it starts: INIT has cleared CR4.MCE, so it shuts down."
        "Linux arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_set_mce and vcpu_enter_guest; Intel SDM vol. 3A, table \"IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT\"";
    MC_MSR_001 "MC-MSR-001" Architectural
        "IA32_MCG_CAP says how many banks there are and cannot be written; software clears MCIP with a write to IA32_MCG_STATUS, and then the next machine check can be delivered."
        "Intel SDM vol. 3B, \"IA32_MCG_CAP MSR\" and \"IA32_MCG_STATUS MSR\"; AMD APM vol. 2, 9.3.1";
    MC_MSR_002 "MC-MSR-002" Architectural
        "The status register of a bank can be cleared, and writing anything else raises #GP."
        "Intel SDM vol. 3B, \"IA32_MCi_STATUS MSRS\"; AMD APM vol. 2, 9.3.2.2 (with HWCR.McStatusWrEn clear)";
    MC_MSR_003 "MC-MSR-003" Architectural
        "An uncorrected error sets VAL, UC and EN in the status of its bank, and OVER as well if the bank held one already."
        "Intel SDM vol. 3B, \"IA32_MCi_STATUS MSRS\"; AMD APM vol. 2, 9.3.2.2";
    MC_MSR_004 "MC-MSR-004" KvmPolicy
        "IA32_MCG_CTL and the control register of a bank take 0 and all ones, where bits 0 and 10 of the latter may be clear, and any other value raises #GP."
        "Linux arch/x86/kvm/x86.c, set_msr_mce. Intel SDM vol. 3B, \"IA32_MCG_CTL MSR\", leaves other values to the implementation; \"IA32_MCi_CTL MSRs\" has a bit for each error, and says of P6 processors only that they take no other values";
    MC_MSR_005 "MC-MSR-005" KvmPolicy
        "While IA32_MCG_CTL or the control register of its bank is not all ones, an uncorrected error that the host raises has no effect at all."
        "Linux arch/x86/kvm/x86.c, kvm_vcpu_ioctl_x86_set_mce. Intel SDM vol. 3B, \"IA32_MCi_CTL MSRs\", has a bit for each error, and clearing it disables the report of that error";
}
