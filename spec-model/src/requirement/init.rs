//! INIT and the startup IPI.

super::requirements! {
    INIT:
    INIT_STATE_001 "INIT-STATE-001" Architectural
        "INIT clears the general registers, CR2 to CR4, EFER and DR0 to DR3, and sets RFLAGS to 2, DR6 and DR7 to their values after RESET."
        "Intel SDM vol. 3A, \"IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT\"; AMD APM vol. 2, 14.1.3";
    INIT_STATE_002 "INIT-STATE-002" Architectural
        "INIT leaves CR0.CD and CR0.NW as they were."
        "Intel SDM vol. 3A, the same table, note on CD and NW; AMD APM vol. 2, 14.1.3";
    INIT_STATE_003 "INIT-STATE-003" Architectural
        "INIT keeps SMBASE."
        "Intel SDM vol. 3C, \"SMBASE Relocation\"; AMD APM vol. 2, 10.2.1";
    INIT_STATE_004 "INIT-STATE-004" Architectural
        "INIT leaves the processor signature of CPUID leaf 1 in EDX."
        "Intel SDM vol. 3A, the same table; AMD APM vol. 2, 14.1.3";
    INIT_STATE_005 "INIT-STATE-005" Vendor
        "INIT sets the segment and table registers to those of real mode at F000:FFF0 with limits FFFFh; accessed bits and the type of TSS in the task register differ."
        "Intel SDM vol. 3A, the same table; AMD APM vol. 2, 14.1.3";
    INIT_STATE_006 "INIT-STATE-006" KvmPolicy
        "INIT drops NMIs and SMIs that are pending."
        "Linux arch/x86/kvm/x86.c, kvm_vcpu_reset";
    INIT_STATE_007 "INIT-STATE-007" Architectural
        "INIT keeps the machine-check registers."
        "Intel SDM vol. 3A, table \"IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT\"; AMD APM vol. 2, 9.3.2 and 14.1.3";
    INIT_APIC_001 "INIT-APIC-001" Architectural
        "INIT resets the local APIC, but for IA32_APIC_BASE and the identifier; it is then disabled by software."
        "Intel SDM vol. 3A, \"Local APIC State After an INIT Reset\"; AMD APM vol. 2, 16.3.2";
    INIT_SIPI_001 "INIT-SIPI-001" Architectural
        "After INIT an application processor waits for a startup IPI and starts in real mode at its vector times 4096."
        "Intel SDM vol. 3A, \"Multiple-Processor (MP) Initialization\"; AMD APM vol. 2, 16.5";
    INIT_SIPI_002 "INIT-SIPI-002" Architectural
        "After INIT the bootstrap processor goes on at FFFFFFF0h."
        "Intel SDM vol. 3A, \"First Instruction Executed\"; AMD APM vol. 2, 14.1.5";
    INIT_SIPI_003 "INIT-SIPI-003" Architectural
        "A startup IPI does nothing to a processor that does not wait for one."
        "Intel SDM vol. 3A, \"Interrupt Command Register (ICR)\"; AMD APM vol. 2, 16.5";
    INIT_SMM_001 "INIT-SMM-001" Architectural
        "An INIT that arrives in SMM is latched."
        "Intel SDM vol. 3C, \"SMI Handler Execution Environment\"; AMD APM vol. 2, 10.3.3";
    INIT_SMM_002 "INIT-SMM-002" Architectural
        "A latched INIT is taken after RSM, before another instruction."
        "Intel SDM vol. 3C, \"SMI Handler Execution Environment\"; AMD APM vol. 2, 10.3.3";
    INIT_SMM_003 "INIT-SMM-003" Architectural
        "A startup IPI that arrives in SMM is lost, also one that follows an INIT."
        "Intel SDM vol. 3A, \"Interrupt Command Register (ICR)\" (not in wait-for-SIPI); Linux arch/x86/kvm/lapic.c, kvm_apic_accept_events";
    INIT_WAIT_001 "INIT-WAIT-001" KvmPolicy
        "An SMI that arrives in wait-for-SIPI is taken before the first instruction after the startup IPI."
        "Linux arch/x86/kvm/lapic.c, kvm_apic_accept_events, and x86.c, vcpu_block; OvmfPkg relies on it";
    INIT_WAIT_002 "INIT-WAIT-002" KvmPolicy
        "An NMI that arrives in wait-for-SIPI is delivered after the startup IPI."
        "Linux arch/x86/kvm/lapic.c, kvm_apic_accept_events, and x86.c, vcpu_block";
}
