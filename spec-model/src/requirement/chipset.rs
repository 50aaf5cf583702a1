//! The chipset's control of SMRAM, and what processors meet where it lets nothing through.

super::requirements! {
    CHIPSET:
    CHIPSET_SMRAM_001 "CHIPSET-SMRAM-001" Vendor
        "To a processor outside SMM closed SMRAM is not there: reads give all ones, writes are dropped."
        "Intel 82Q35 datasheet, \"SMRAM\" and \"System Management Mode (SMM)\"; Intel 82441FX datasheet, \"SMRAM\"; QEMU hw/pci-host/q35.c, tseg_blackhole_ops";
    CHIPSET_SMRAM_002 "CHIPSET-SMRAM-002" Vendor
        "With G_SMRAME set a processor in SMM sees DRAM at A0000h to BFFFFh."
        "Intel 82Q35 datasheet, \"SMRAM\", G_SMRAME; Intel 82441FX datasheet, \"SMRAM\"";
    CHIPSET_SMRAM_003 "CHIPSET-SMRAM-003" Vendor
        "With D_OPEN set every processor sees SMRAM."
        "Intel 82Q35 datasheet, \"SMRAM\", D_OPEN; Intel 82441FX datasheet, \"SMRAM\"";
    CHIPSET_SMRAM_004 "CHIPSET-SMRAM-004" Vendor
        "Opening and closing SMRAM changes who sees it and not what it holds."
        "Intel 82Q35 datasheet, \"System Management Mode (SMM)\"; QEMU hw/pci-host/q35.c, mch_update_smram";
    CHIPSET_SMRAM_005 "CHIPSET-SMRAM-005" Vendor
        "With D_CLS set instruction fetches in SMM reach SMRAM and data accesses do not."
        "Intel 82Q35 datasheet, \"SMRAM\", D_CLS; Bochs iodev/pci.cc, smram_control";
    CHIPSET_SMRAM_006 "CHIPSET-SMRAM-006" Vendor
        "With G_SMRAME clear no processor sees DRAM at A0000h to BFFFFh, and TSEG is memory like any other."
        "Intel 82Q35 datasheet, \"SMRAM\", G_SMRAME; QEMU hw/pci-host/q35.c, mch_update_smram";
    CHIPSET_LOCK_001 "CHIPSET-LOCK-001" Vendor
        "Setting D_LCK clears D_OPEN."
        "Intel 82Q35 datasheet, \"SMRAM\", D_LCK; Intel 82441FX datasheet, \"SMRAM\"";
    CHIPSET_LOCK_002 "CHIPSET-LOCK-002" Vendor
        "Once D_LCK is set, D_LCK and D_OPEN are read-only, on a Q35 also G_SMRAME and all of ESMRAMC."
        "Intel 82Q35 datasheet, \"SMRAM\" and \"ESMRAMC\"; QEMU hw/pci-host/q35.c, mch_update_smram (2.4 and later)";
    CHIPSET_LOCK_003 "CHIPSET-LOCK-003" Vendor
        "Only a reset of the chipset undoes D_LCK; it sets SMRAM to 02h and ESMRAMC to 38h."
        "Intel 82Q35 datasheet, \"SMRAM\", D_LCK; QEMU hw/pci-host/q35.c, mch_reset";
    CHIPSET_TSEG_001 "CHIPSET-TSEG-001" Vendor
        "With G_SMRAME and T_EN set, the top 1, 2 or 8 MiB of low memory are SMRAM (TSEG)."
        "Intel 82Q35 datasheet, \"ESMRAMC\", T_EN and TSEG_SZ; QEMU hw/pci-host/q35.c, mch_update_smram";
    CHIPSET_HIGH_001 "CHIPSET-HIGH-001" Vendor
        "With H_SMRAME set the SMRAM of A0000h to BFFFFh is seen at FEDA0000h to FEDBFFFFh and not at A0000h."
        "Intel 82Q35 datasheet, \"ESMRAMC\", H_SMRAME; QEMU hw/pci-host/q35.c, mch_update_smram";
    CHIPSET_REG_001 "CHIPSET-REG-001" Vendor
        "C_BASE_SEG of the SMRAM register reads 010b and the caching bits of ESMRAMC read as ones, whatever is written."
        "Intel 82Q35 datasheet, \"SMRAM\" and \"ESMRAMC\"; Intel 82441FX datasheet, \"SMRAM\"";
    CHIPSET_REG_002 "CHIPSET-REG-002" Vendor
        "The registers of the host bridge, bus 0 device 0 function 0, are accessed through ports CF8h (32 bits) and CFCh to CFFh."
        "PCI Local Bus Specification 3.0, 3.2.2.3.2 \"Software Generation of Configuration Transactions\"";
    CHIPSET_DEFAULT_001 "CHIPSET-DEFAULT-001" Vendor
        "QEMU's Q35 answers FFh in register 9Ch with 01h, and 02h closes 30000h to 4FFFFh to processors outside SMM until reset."
        "QEMU hw/pci-host/q35.c, mch_update_smbase_smram; edk2 OvmfPkg/Include/IndustryStandard/Q35MchIch9.h";
    CHIPSET_FETCH_001 "CHIPSET-FETCH-001" Vendor
        "An instruction fetch that nothing answers gets all ones, and FFh FFh is no instruction: #UD."
        "Intel SDM vol. 2, opcode map, group 5 (FFh /7 is not defined); Intel 82Q35 datasheet, \"System Management Mode (SMM)\" (that nothing answers reads as all ones is the chipset's)";
    CHIPSET_FETCH_002 "CHIPSET-FETCH-002" KvmPolicy
        "KVM cannot execute from where there is no memory slot: at CPL 0 it gives up with KVM_EXIT_INTERNAL_ERROR (emulation), at other levels it raises #UD."
        "KVM API, chapter 5, KVM_EXIT_INTERNAL_ERROR; Linux arch/x86/kvm/x86.c, handle_emulation_failure";
    CHIPSET_WALK_001 "CHIPSET-WALK-001" Vendor
        "A page walk sees memory as its processor does: in SMM also SMRAM, outside SMM all ones where SMRAM is closed."
        "Intel 82Q35 datasheet, \"System Management Mode (SMM)\" (whether the processor is in SMM decides what an access sees, and a walk is an access)";
    CHIPSET_ENTRY_001 "CHIPSET-ENTRY-001" Vendor
        "Where SMRAM is not enabled, SMM entry writes a state-save area that is lost, and RSM reads all ones, which it cannot load."
        "Intel 82Q35 datasheet, \"SMRAM\", G_SMRAME; Intel SDM vol. 3C, \"SMRAM\" and \"Exiting From SMM\"";
    CHIPSET_RSM_001 "CHIPSET-RSM-001" Vendor
        "RSM completes although the page tables or the code that it returns to lie in closed SMRAM; what comes after it fails."
        "Intel SDM vol. 3C, \"Exiting From SMM\" (what shuts RSM down; tables and code are not among it)";
    CHIPSET_RSM_002 "CHIPSET-RSM-002" Architectural
        "SMM entry and RSM access the state-save area at guest-physical addresses, as in SMM, whatever the paging and the chipset show others."
        "Intel SDM vol. 3C, \"SMRAM\"; Linux commit f40606b147dd";
}
