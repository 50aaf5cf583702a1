//! Entering, running in and leaving system-management mode.

super::requirements! {
    SMM:
    SMM_ENTRY_001 "SMM-ENTRY-001" Architectural
        "An SMI is taken at an instruction boundary: the state-save area holds the state after the last completed instruction."
        "Intel SDM vol. 3C, \"Entering SMM\"; AMD APM vol. 2, 10.3.1 \"System-Management Interrupt (SMI)\"";
    SMM_ENTRY_002 "SMM-ENTRY-002" Architectural
        "Execution in SMM starts at SMBASE+8000h: RIP is 8000h, the CS base is SMBASE and the CS selector is SMBASE shifted right by 4."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2 \"SMM Operating-Environment\"";
    SMM_ENTRY_003 "SMM-ENTRY-003" Architectural
        "On entry to SMM every data segment has selector 0, base 0 and a limit of 4 GiB."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_004 "SMM-ENTRY-004" Architectural
        "On entry to SMM CR0.PE, EM, TS and PG are cleared and the other bits of CR0 are kept."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_005 "SMM-ENTRY-005" Architectural
        "On entry to SMM CR4 is cleared."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_006 "SMM-ENTRY-006" Architectural
        "On entry to SMM RFLAGS is 2."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_007 "SMM-ENTRY-007" Architectural
        "On entry to SMM DR7 is 400h."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_008 "SMM-ENTRY-008" Architectural
        "On entry to SMM EFER.LME and EFER.LMA are cleared."
        "Intel SDM vol. 3C, \"SMI Handler Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_009 "SMM-ENTRY-009" Architectural
        "The general registers, CR2, CR3, GDTR, LDTR and TR keep their values on entry to SMM."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_ENTRY_010 "SMM-ENTRY-010" KvmPolicy
        "On entry to SMM IDTR has base 0 and limit 0, so that an exception before the handler loads an IDT shuts the processor down."
        "Linux arch/x86/kvm/smm.c, enter_smm (commit 18c3626e3d5d); the Intel SDM leaves IDTR out of its table";
    SMM_ENTRY_011 "SMM-ENTRY-011" Architectural
        "NMIs are blocked on entry to SMM."
        "Intel SDM vol. 3C, \"NMI Handling While in SMM\"; AMD APM vol. 2, 10.3.3 \"Exceptions and Interrupts\"";
    SMM_ENTRY_012 "SMM-ENTRY-012" Vendor
        "An SMI may be taken in the shadow of STI or MOV SS, or may be held until it ends."
        "Intel SDM vol. 3C, table \"Format of Interruptibility State\" (blocking by STI may hold other events than interrupts; of blocking by MOV SS it names no SMI); Linux arch/x86/kvm/smm.c (commit fb28875fd7da)";
    SMM_ENTRY_013 "SMM-ENTRY-013" KvmPolicy
        "No interrupt shadow is in force at the first instruction of the SMI handler."
        "Linux arch/x86/kvm/smm.c, enter_smm (commit fb28875fd7da); no manual says it of an SMI handler";
    SMM_ENTRY_014 "SMM-ENTRY-014" Architectural
        "SMI wakes a processor from HLT."
        "Intel SDM vol. 3C, \"Auto HALT Restart\", and vol. 2, HLT; AMD APM vol. 2, 10.3.7 \"Auto-Halt Restart\"";
    SMM_LATCH_001 "SMM-LATCH-001" Architectural
        "An SMI that arrives in SMM is latched, one at most, and taken when SMM is left."
        "Intel SDM vol. 3C, \"SMI Interrupt\"; AMD APM vol. 2, 10.3.3";
    SMM_LATCH_002 "SMM-LATCH-002" Architectural
        "An SMI takes precedence over an NMI that is pending at the same instruction boundary."
        "Intel SDM vol. 3A, \"Priority Among Concurrent Events\" (table); AMD APM vol. 2, table \"Simultaneous Interrupt Priorities\"";
    SMM_SAVE_001 "SMM-SAVE-001" Architectural
        "The state-save area lies at SMBASE+FE00h to SMBASE+FFFFh, or with Intel 64 at SMBASE+FC00h to SMBASE+FFFFh."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\"; AMD APM vol. 2, 10.2.3 \"SMRAM State-Save Area\"";
    SMM_SAVE_002 "SMM-SAVE-002" Vendor
        "A processor with long mode writes the 64-bit format of the state-save area, one without writes the 32-bit format."
        "AMD APM vol. 2, 10.2.3; Linux arch/x86/kvm/smm.c, enter_smm";
    SMM_SAVE_003 "SMM-SAVE-003" KvmPolicy
        "The 32-bit state-save area holds each segment as 12 bytes: flags as in the high dword of a descriptor, limit in bytes, base."
        "Linux arch/x86/kvm/smm.h, struct kvm_smm_seg_state_32";
    SMM_SAVE_004 "SMM-SAVE-004" Vendor
        "The 64-bit state-save area holds each segment as selector, attributes (descriptor flags shifted right by 8), limit in bytes and base."
        "AMD APM vol. 2, table 10-1 \"AMD64 Architecture SMM State-Save Area\"; Linux arch/x86/kvm/smm.h, struct kvm_smm_seg_state_64";
    SMM_SAVE_005 "SMM-SAVE-005" KvmPolicy
        "The SMM revision identifier is 00020064h in the 64-bit format and 00020000h in the 32-bit format: relocation is supported, I/O restart is not."
        "Linux arch/x86/kvm/smm.c; Intel SDM vol. 3C, \"SMM Revision Identifier\" (bits 16 and 17); by AMD APM vol. 2, 10.2.4, an AMD processor always has I/O restart, which KVM lacks";
    SMM_SAVE_006 "SMM-SAVE-006" KvmPolicy
        "The state-save area holds the interrupt shadow that was in force, and RSM puts it in force again."
        "Linux arch/x86/kvm/smm.h, member int_shadow (commit fb28875fd7da)";
    SMM_SAVE_007 "SMM-SAVE-007" KvmPolicy
        "Reserved bytes of the state-save area are written as zero."
        "Linux arch/x86/kvm/smm.c, enter_smm";
    SMM_SAVE_008 "SMM-SAVE-008" Architectural
        "The general registers, RIP and RFLAGS are held in the state-save area and restored by RSM."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\"; AMD APM vol. 2, table 10-1";
    SMM_SAVE_009 "SMM-SAVE-009" Vendor
        "CR0, CR3, CR4, EFER, DR6 and DR7 are held in the state-save area where the format has room for them, and restored by RSM."
        "AMD APM vol. 2, table 10-1; Linux arch/x86/kvm/smm.h";
    SMM_RSM_001 "SMM-RSM-001" Architectural
        "RSM outside SMM raises #UD."
        "Intel SDM vol. 2, RSM; AMD APM vol. 3, RSM";
    SMM_RSM_002 "SMM-RSM-002" Architectural
        "RSM resumes the interrupted program at the RIP of the state-save area."
        "Intel SDM vol. 3C, \"Exiting From SMM\"; AMD APM vol. 2, 10.4 \"Leaving SMM\"";
    SMM_RSM_003 "SMM-RSM-003" Vendor
        "RSM shuts the processor down if the CR0 image combines PG=1 with PE=0 or NW=1 with CD=0, or has a bit above 31."
        "Intel SDM vol. 3C, \"Exiting From SMM\" (the combinations); AMD APM vol. 2, 10.4 (bits 63:32 too; 15.19 lets RSM return to paged real mode, which only a host of SVM has)";
    SMM_RSM_004 "SMM-RSM-004" Architectural
        "RSM shuts the processor down if a reserved bit of the CR4 image is set."
        "Intel SDM vol. 3C, \"Exiting From SMM\"; AMD APM vol. 2, 10.4";
    SMM_RSM_005 "SMM-RSM-005" Vendor
        "RSM shuts the processor down if the EFER image is illegal."
        "AMD APM vol. 2, 10.4; Linux arch/x86/kvm/smm.c, rsm_load_state_64";
    SMM_RSM_006 "SMM-RSM-006" Architectural
        "SMBASE in the state-save area takes effect at the next SMI; RSM itself still uses the old one."
        "Intel SDM vol. 3C, \"SMBASE Relocation\" (where bit 17 of the revision identifier is set); AMD APM vol. 2, 10.2.1 \"SMRAM\"";
    SMM_RSM_007 "SMM-RSM-007" Vendor
        "SMBASE need not be aligned."
        "Intel SDM vol. 3C, \"SMBASE Relocation\" (P6 and later); Linux arch/x86/kvm/smm.c";
    SMM_RSM_008 "SMM-RSM-008" Architectural
        "After an SMI that interrupted HLT, the auto-HALT restart field is 1, and RSM enters HLT again unless the handler cleared it."
        "Intel SDM vol. 3C, \"Auto HALT Restart\"; AMD APM vol. 2, 10.3.7 \"Auto-Halt Restart\" and table 10-1";
    SMM_RSM_009 "SMM-RSM-009" Vendor
        "RSM restores the segment registers with the descriptor caches of the state-save area; no descriptor table is read."
        "AMD APM vol. 2, 10.4 and table 10-1; the save map of the Intel SDM has selectors only, and leaves open where the rest is";
    SMM_RSM_010 "SMM-RSM-010" Architectural
        "RSM returns a processor to long mode, compatibility mode or paging with PAE as the state-save area says."
        "AMD APM vol. 2, 10.4; Intel SDM vol. 3C, \"Exiting From SMM\"";
    SMM_RSM_011 "SMM-RSM-011" Architectural
        "RSM restores a RIP above 4 GiB in full although it is executed in 16- or 32-bit code."
        "AMD APM vol. 2, table 10-1; Linux commit 055f37f84e30";
    SMM_RSM_012 "SMM-RSM-012" Architectural
        "RSM restores a CR3 with a nonzero PCID when the CR4 image has PCIDE set."
        "Intel SDM vol. 3C, \"Exiting From SMM\"; Linux commit fae1a3e775cc";
    SMM_RSM_013 "SMM-RSM-013" Vendor
        "RSM shuts the processor down if bits 63:32 of the DR6 or DR7 image are set."
        "AMD APM vol. 2, 10.4; Linux arch/x86/kvm/smm.c, rsm_load_state_64";
    SMM_RSM_014 "SMM-RSM-014" KvmPolicy
        "RSM ignores the SMM revision identifier in the state-save area."
        "Linux arch/x86/kvm/smm.c, rsm_load_state_64; AMD APM vol. 2, 10.4 has a modified identifier among what can cause a shutdown";
    SMM_RSM_015 "SMM-RSM-015" KvmPolicy
        "RSM ignores reserved low bits of the CR0 image and forces CR0.ET to 1."
        "Linux arch/x86/kvm/smm.c and x86.c, kvm_set_cr0; Intel SDM vol. 3A, \"Control Registers\"";
    SMM_RSM_016 "SMM-RSM-016" Architectural
        "RSM restores what the SMI handler wrote into the fields that handlers may change."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\"; AMD APM vol. 2, table 10-1";
    SMM_RSM_017 "SMM-RSM-017" Vendor
        "RSM shuts the processor down if the CR4 image has PCIDE set while long mode is not active."
        "Intel SDM vol. 3C, \"Exiting From SMM\"; AMD's list in APM vol. 2, 10.4 does not have it";
    SMM_RSM_018 "SMM-RSM-018" KvmPolicy
        "RSM into PAE paging shuts the processor down if a reserved bit of a page-directory-pointer entry is set."
        "Linux arch/x86/kvm/x86.c, load_pdptrs; neither manual has page-directory-pointer entries among what shuts RSM down (Intel SDM vol. 3C, \"Exiting From SMM\"; AMD APM vol. 2, 10.4)";
    SMM_RSM_019 "SMM-RSM-019" Architectural
        "An RSM that finds an illegal image in the state-save area shuts the processor down."
        "Intel SDM vol. 3C, \"Exiting From SMM\"; AMD APM vol. 2, 10.4; Linux commit 25b17226cd9a";
    SMM_RSM_020 "SMM-RSM-020" Vendor
        "RSM shuts an AMD processor down if the image has long mode active and both L and D set in CS."
        "AMD APM vol. 2, 10.4 (invalid returns to long mode); the Intel SDM has no such rule for RSM";
    SMM_RSM_021 "SMM-RSM-021" Vendor
        "RSM on an AMD processor loads RFLAGS.VM as the image has it where CR0.PE is set and EFER.LMA clear, and clears it everywhere else."
        "AMD APM vol. 2, 10.4 (conditions that are ignored); the Intel SDM has no such rule for RSM";
    SMM_RSM_022 "SMM-RSM-022" Vendor
        "RSM on an AMD processor makes the bases of FS, GS, GDTR, IDTR, LDTR and TR canonical by copying the highest implemented bit upwards, and clears bits 63:32 of the other bases."
        "AMD APM vol. 2, 10.4 (conditions that are ignored); the Intel SDM has no such rule for RSM";
    SMM_RSM_023 "SMM-RSM-023" Vendor
        "If the handler sets bit 0 of an auto-HALT restart field that entry left clear, an AMD processor enters HLT at RSM; what an Intel processor does cannot be foretold."
        "AMD-K5 Processor Technical Reference Manual, 6.3.5 \"Halt Restart Slot\"; Intel SDM vol. 3C, \"Auto HALT Restart\" and table \"Auto HALT Restart Flag Values\"";
    SMM_RUN_001 "SMM-RUN-001" Architectural
        "SMI handlers run with real-mode rules and 4 GiB limits; they may load segments, switch to protected mode and return with RSM from there."
        "Intel SDM vol. 3C, \"SMI Handler Execution Environment\"; AMD APM vol. 2, 10.3.2";
    SMM_RUN_002 "SMM-RUN-002" Architectural
        "Exceptions and software interrupts in SMM are delivered through the IDTR that the SMI handler loaded."
        "Intel SDM vol. 3C, \"Exceptions and Interrupts Within SMM\"; AMD APM vol. 2, 10.3.3";
    SMM_MSR_001 "SMM-MSR-001" KvmPolicy
        "MSR 34h counts the SMIs that the processor has taken, also where the processor is AMD's."
        "Intel SDM vol. 4, MSR_SMI_COUNT; Linux arch/x86/kvm/x86.c, kvm_get_msr_common";
    SMM_MSR_002 "SMM-MSR-002" KvmPolicy
        "RDMSR of IA32_SMBASE (9Eh) raises #GP in a guest, in SMM too."
        "Intel SDM vol. 4, IA32_SMBASE (only if IA32_VMX_MISC bit 15 says so, in SMM); Linux arch/x86/kvm/x86.c, kvm_get_msr_common";
}
