//! The local APIC: interprocessor interrupts and their acceptance.

super::requirements! {
    APIC:
    APIC_ICR_001 "APIC-ICR-001" Architectural
        "A write to the low half of the interrupt command register sends what both halves say; in x2APIC mode one WRMSR writes both."
        "Intel SDM vol. 3A, \"Interrupt Command Register (ICR)\" and \"ICR Operation in x2APIC Mode\"; AMD APM vol. 2, 16.5";
    APIC_ICR_002 "APIC-ICR-002" Architectural
        "A physical destination is the processor with that APIC identifier."
        "Intel SDM vol. 3A, \"Physical Destination Mode\"; AMD APM vol. 2, 16.6.1";
    APIC_ICR_003 "APIC-ICR-003" Architectural
        "A logical destination is every processor whose logical identifier has a bit of it, in the flat model or within the cluster."
        "Intel SDM vol. 3A, \"Logical Destination Mode\"; AMD APM vol. 2, 16.6.1";
    APIC_ICR_004 "APIC-ICR-004" Architectural
        "The shorthand for all others reaches every processor but the sender, whatever the destination says."
        "Intel SDM vol. 3A, \"Interrupt Command Register (ICR)\"; AMD APM vol. 2, 16.5";
    APIC_ICR_005 "APIC-ICR-005" Architectural
        "The destination of all ones reaches every processor, the sender included."
        "Intel SDM vol. 3A, \"Physical Destination Mode\"; AMD APM vol. 2, 16.6.1";
    APIC_ICR_006 "APIC-ICR-006" KvmPolicy
        "KVM delivers NMI and SMI also with the shorthands that include the sender, which Intel's table of valid combinations does not have."
        "Linux arch/x86/kvm/lapic.c, kvm_apic_send_ipi and kvm_apic_match_dest; Intel SDM vol. 3A, \"Interrupt Command Register (ICR)\"";
    APIC_DIS_001 "APIC-DIS-001" Architectural
        "A local APIC that software has disabled in SVR accepts no fixed interrupts."
        "Intel SDM vol. 3A, \"Local APIC State After It Has Been Software Disabled\"; AMD APM vol. 2, 16.4.7";
    APIC_DIS_002 "APIC-DIS-002" Vendor
        "A local APIC that software has disabled in SVR accepts NMI, SMI, INIT and startup IPIs."
        "Intel SDM vol. 3A, \"Local APIC State After It Has Been Software Disabled\"; AMD APM vol. 2, 16.4.7 (may accept)";
    APIC_DIS_003 "APIC-DIS-003" Architectural
        "A local APIC that software has disabled in SVR still sends IPIs."
        "Intel SDM vol. 3A, \"Local APIC State After It Has Been Software Disabled\"";
    APIC_DIS_004 "APIC-DIS-004" Architectural
        "Disabling a local APIC in SVR masks its local vector table."
        "Intel SDM vol. 3A, \"Local APIC State After It Has Been Software Disabled\"; AMD APM vol. 2, 16.4.7";
    APIC_PAGE_001 "APIC-PAGE-001" Architectural
        "The page of registers can be accessed from the first instruction of an event's handler on."
        "Intel SDM vol. 3A, \"The Local APIC Block Diagram\"; AMD APM vol. 2, 16.3 (nothing restricts when)";
    APIC_BASE_001 "APIC-BASE-001" Architectural
        "Clearing the enable bit of IA32_APIC_BASE turns a local APIC off in either mode, and from there it can be turned on in xAPIC mode only: WRMSR to x2APIC mode raises #GP."
        "Intel SDM vol. 3A, \"x2APIC State Transitions\" and \"Enabling or Disabling the Local APIC\"; AMD APM vol. 2, 16.9 and 16.10";
    APIC_BASE_002 "APIC-BASE-002" Vendor
        "The registers of a local APIC that is turned off in IA32_APIC_BASE may be lost: when it is on again, they are what they were or those after RESET; KVM keeps them."
        "Intel SDM vol. 3A, \"Enabling or Disabling the Local APIC\"; Linux arch/x86/kvm/lapic.c, kvm_lapic_set_base";
    APIC_BASE_003 "APIC-BASE-003" Architectural
        "A local APIC that is off in IA32_APIC_BASE takes no interprocessor interrupts, NMIs included, whatever the shorthand."
        "Intel SDM vol. 3A, \"Enabling or Disabling the Local APIC\"; AMD APM vol. 2, 16.3.1";
    APIC_INT_001 "APIC-INT-001" Architectural
        "A fixed interrupt is requested in IRR and moves to ISR when it is delivered."
        "Intel SDM vol. 3A, \"Interrupt Acceptance for Fixed Interrupts\"; AMD APM vol. 2, 16.6.3";
    APIC_INT_002 "APIC-INT-002" Architectural
        "An interrupt is delivered only if its class is above that of the task priority and of the interrupts in service."
        "Intel SDM vol. 3A, \"Task and Processor Priorities\"; AMD APM vol. 2, 16.6.4";
    APIC_INT_003 "APIC-INT-003" Architectural
        "A write to EOI ends the service of the highest vector in ISR."
        "Intel SDM vol. 3A, \"Signaling Interrupt Servicing Completion\"; AMD APM vol. 2, 16.6.5";
    APIC_INT_004 "APIC-INT-004" Architectural
        "An interrupt waits until IF is set and no shadow of STI or MOV SS is in force."
        "Intel SDM vol. 2, STI, and vol. 3A, \"Masking Maskable Hardware Interrupts\"; AMD APM vol. 2, 8.1.4";
    APIC_INT_005 "APIC-INT-005" Architectural
        "Of several requested interrupts the one with the highest vector is delivered first."
        "Intel SDM vol. 3A, \"Interrupt, Task, and Processor Priority\"; AMD APM vol. 2, 16.6.3";
    APIC_INT_006 "APIC-INT-006" Architectural
        "An interrupt wakes a processor from HLT if IF is set, and returns to the instruction after it."
        "Intel SDM vol. 2, HLT; AMD APM vol. 3, HLT";
    APIC_INT_007 "APIC-INT-007" Architectural
        "CR8 and bits 7:4 of the task priority register are the same."
        "Intel SDM vol. 3A, \"Interaction of Task Priorities between CR8 and APIC\"; AMD APM vol. 2, 16.6.4";
    APIC_INT_008 "APIC-INT-008" Architectural
        "Of an NMI and an interrupt that are both pending, the NMI is delivered first."
        "Intel SDM vol. 3A, \"Prioritization of Concurrent Events\"; AMD APM vol. 2, 8.5";
    APIC_X2_001 "APIC-X2-001" Architectural
        "The MSRs of x2APIC mode raise #GP in xAPIC mode."
        "Intel SDM vol. 3A, \"x2APIC Register Address Space\"; AMD APM vol. 2, 16.11";
    APIC_X2_002 "APIC-X2-002" Architectural
        "In x2APIC mode the identifier is a whole 32-bit register, and the logical identifier follows from it."
        "Intel SDM vol. 3A, \"x2APIC Register Address Space\" and \"Deriving Logical x2APIC ID from the Local x2APIC ID\"; AMD APM vol. 2, 16.14";
    APIC_X2_003 "APIC-X2-003" Architectural
        "Setting a reserved bit of the 64-bit interrupt command register raises #GP."
        "Intel SDM vol. 3A, \"Reserved Bit Checking\" (x2APIC); AMD APM vol. 2, 16.11.1";
    APIC_X2_005 "APIC-X2-005" Architectural
        "In x2APIC mode RDMSR of a register that it lacks or that can only be written, WRMSR of one that can only be read, a value other than 0 for the end-of-interrupt and error status registers and a set bit above the 32 of a register raise #GP."
        "Intel SDM vol. 3A, \"x2APIC Register Address Space\" (table) and \"Reserved Bit Checking\"; AMD APM vol. 2, 16.11.1";
    APIC_X2_004 "APIC-X2-004" Architectural
        "The way from x2APIC mode back to xAPIC mode does not exist: WRMSR raises #GP."
        "Intel SDM vol. 3A, \"x2APIC State Transitions\"; AMD APM vol. 2, 16.10";
}
