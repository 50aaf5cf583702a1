//! What RSM makes of single fields of the state-save area, and of registers without one.

super::requirements! {
    SMM_IMAGE:
    SMM_KEEP_001 "SMM-KEEP-001" KvmPolicy
        "A processor without long mode keeps EFER across SMM: the 32-bit state-save area has no place for it."
        "Linux arch/x86/kvm/smm.c, enter_smm and emulator_leave_smm (\"Don't clear EFER during SMM transitions for 32-bit vCPU\")";
    SMM_KEEP_002 "SMM-KEEP-002" Architectural
        "RSM leaves registers that the state-save area does not hold, such as CR2, DR0 to DR3 and MSRs, as the SMI handler left them."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\" (registers that are not saved)";
    SMM_IMAGE_001 "SMM-IMAGE-001" KvmPolicy
        "RSM ignores the I/O restart fields, the NMI mask field and reserved bytes of the state-save area."
        "Linux arch/x86/kvm/smm.c, rsm_load_state_32 and rsm_load_state_64; Intel SDM vol. 3C, \"I/O Instruction Restart\" (the field counts where bit 16 of the revision identifier is set)";
    SMM_IMAGE_002 "SMM-IMAGE-002" Vendor
        "RSM sets EFER.LMA if the images have EFER.LME and CR0.PG, and clears it otherwise, whatever the LMA of the image."
        "AMD APM vol. 2, 10.4 (EFER.LMA becomes the AND of LME, CR0.PG and CR4.PAE); Linux arch/x86/kvm/smm.c, rsm_load_state_64 (EFER is loaded without LMA before CR0)";
    SMM_IMAGE_003 "SMM-IMAGE-003" Vendor
        "RSM cannot change the fixed bits of DR6, DR7 and RFLAGS."
        "Linux arch/x86/kvm/smm.c, rsm_load_state_64 and x86.c, kvm_set_dr; Intel SDM vol. 3B, \"Debug Registers\"";
    SMM_IMAGE_004 "SMM-IMAGE-004" Vendor
        "RSM shuts the processor down if the CR3 image has bits set beyond the physical addresses."
        "Linux arch/x86/kvm/smm.c, rsm_enter_protected_mode; AMD APM vol. 2, 10.4";
    SMM_IMAGE_005 "SMM-IMAGE-005" Vendor
        "RSM shuts the processor down if the CR4 image has VMXE set."
        "AMD APM vol. 2, 10.4 (an unsupported bit of CR4); Intel SDM vol. 3C, \"Protection of CR4.VMXE in SMM\" (a reserved bit there); Linux arch/x86/kvm/vmx/vmx.c, vmx_is_valid_cr4";
    SMM_LATCH_003 "SMM-LATCH-003" Architectural
        "An SMI takes precedence over the single-step trap of the instruction before it."
        "Intel SDM vol. 3C, \"Entering SMM\" (an SMI has a greater priority than debug exceptions) and vol. 3A, table \"Priority Among Concurrent Events\"; AMD APM vol. 2, table \"Simultaneous Interrupt Priorities\"; Bochs cpu/event.cc, handleAsyncEvent (the same order)";
    SMM_STRING_001 "SMM-STRING-001" Architectural
        "An SMI or NMI is taken between two iterations of a repeated string instruction, which goes on where it was afterwards."
        "Intel SDM vol. 2, REP; AMD APM vol. 3, 1.2.6 \"Repeat Prefixes\"";
    SMM_STRING_002 "SMM-STRING-002" KvmPolicy
        "After the last item of a repeated OUTS, RIP may be behind the instruction or still at it with the count 0; in KVM it is still at it."
        "Intel SDM vol. 2, REP (its operation leaves the loop after the last iteration; no rule says what an event shows); Linux arch/x86/kvm/emulate.c, x86_emulate_insn and string_insn_completed";
}
