//! Where implementations of system-management mode differ: formats of the state-save area,
//! state on entry, I/O instruction restart, shadow stacks.

super::requirements! {
    SMM_FORMATS:
    SMM_FORMAT_001 "SMM-FORMAT-001" Vendor
        "Bytes of the state-save area for which entry to SMM has no value hold zero (KVM, Bochs), what memory held (QEMU), or anything (Intel, AMD)."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\" (reserved); AMD APM vol. 2, table 10-1 (reserved); Linux arch/x86/kvm/smm.c, enter_smm; QEMU target/i386/tcg/system/smm_helper.c, do_smm_enter; Bochs cpu/smm.cc, enter_system_management_mode";
    SMM_FORMAT_002 "SMM-FORMAT-002" Vendor
        "RSM restores state that Intel's formats do not document, such as descriptor caches and table limits, whatever the handler does to the documented fields."
        "Intel SDM vol. 3C, \"SMRAM State Save Map\"";
    SMM_FORMAT_003 "SMM-FORMAT-003" Vendor
        "RSM of QEMU takes SMBASE from the state-save area only if bit 17 of the revision identifier there is set."
        "QEMU target/i386/tcg/system/smm_helper.c, helper_rsm";
    SMM_FORMAT_004 "SMM-FORMAT-004" Vendor
        "Bochs marks usable segment registers in bit 8 of the saved access rights, and RSM takes a register without that bit as unusable."
        "Bochs cpu/smm.cc, smram_save_state and smram_restore_state";
    SMM_FORMAT_005 "SMM-FORMAT-005" Vendor
        "The SMM revision identifier has bit 17 set if SMBASE can be relocated and bit 16 if I/O instructions can be restarted: 00030064h on AMD64, both bits on Intel, only bit 17 in QEMU and Bochs."
        "Intel SDM vol. 3C, \"SMM Revision Identifier\"; AMD APM vol. 2, 10.2.4 \"SMM-Revision Identifier\"; QEMU target/i386/tcg/system/smm_helper.c; Bochs cpu/smm.h";
    SMM_FORMAT_006 "SMM-FORMAT-006" Vendor
        "The 32-bit state-save area of QEMU holds the access rights of segments shifted right by 8."
        "QEMU target/i386/tcg/system/smm_helper.c, do_smm_enter";
    SMM_IO_001 "SMM-IO-001" Vendor
        "An SMI that follows an I/O instruction records port, size and type of that instruction in the state-save area, on processors that can restart it."
        "Intel SDM vol. 3C, \"I/O State Implementation\"; AMD APM vol. 2, \"SMM I/O Trap Offset\"";
    SMM_IO_002 "SMM-IO-002" Vendor
        "With FFh in the I/O instruction restart field, RSM executes again the I/O instruction that the SMI followed, on processors whose revision identifier has bit 16 set."
        "Intel SDM vol. 3C, \"I/O Instruction Restart\"; AMD APM vol. 2, \"I/O Instruction Restart Offset\"";
    SMM_EFER_001 "SMM-EFER-001" Vendor
        "On entry to SMM EFER is 0, but for SVME, which AMD's processors and Bochs keep."
        "AMD APM vol. 2, 10.3.2 \"SMM Operating-Environment\"; Bochs cpu/smm.cc, enter_system_management_mode; Linux arch/x86/kvm/smm.c, enter_smm; QEMU target/i386/tcg/system/smm_helper.c, do_smm_enter; the table of initial state in the Intel SDM does not list EFER";
    SMM_IDTR_001 "SMM-IDTR-001" Vendor
        "IDTR keeps its value on entry to SMM, except in KVM."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; QEMU target/i386/tcg/system/smm_helper.c, do_smm_enter; Bochs cpu/smm.cc, enter_system_management_mode";
    SMM_DR6_001 "SMM-DR6-001" Vendor
        "DR6 keeps its value on entry to SMM, except that Intel leaves it undefined."
        "Intel SDM vol. 3C, \"Initial SMM Execution Environment\"; Linux arch/x86/kvm/smm.c, enter_smm";
    SMM_SSP_001 "SMM-SSP-001" Vendor
        "A processor with shadow stacks saves SSP on entry to SMM, and RSM restores it."
        "AMD APM vol. 2, table 10-1; Intel SDM vol. 3C, \"SMRAM State Save Map\"; Linux arch/x86/kvm/smm.c, enter_smm_save_state_64 (v6.18); Bochs cpu/smm.cc, smram_save_state";
}
