//! Stage-2 mappings on arm64: what differs from other architectures, and the guest's own
//! translation in front of them.

super::requirements! {
    ARM64:
    A64_NISV_001 "A64-NISV-001" KvmPolicy
        "An access without a valid syndrome (a pair, writeback, SIMD, an exclusive, an atomic, DC ZVA) that is not in memory, or writes a read-only slot, makes KVM_RUN fail with ENOSYS, and the instruction is not executed."
        "Arm ARM D24.2.40, ESR_EL2.ISS.ISV; KVM API 7.20, KVM_CAP_ARM_NISV_TO_USER; Linux arch/arm64/kvm/mmio.c, io_mem_abort";
    A64_NISV_002 "A64-NISV-002" KvmPolicy
        "With KVM_CAP_ARM_NISV_TO_USER such an access ends in KVM_EXIT_ARM_NISV with its guest-physical address, and the instruction is not executed."
        "KVM API 7.20, KVM_CAP_ARM_NISV_TO_USER, and chapter 5, KVM_EXIT_ARM_NISV";
    A64_EXCL_001 "A64-EXCL-001" Architectural
        "A pair of an exclusive load and an exclusive store is a load and a store without a valid syndrome: it needs to read, and needs to write only if it stores."
        "Arm ARM B2.17 and D24.2.40, ESR_EL2.ISS.ISV";
    A64_EXCL_002 "A64-EXCL-002" Architectural
        "An atomic instruction needs to be able to write, also if CAS finds another value than it compares with."
        "Arm ARM C6.2, CAS and LDADD; D8.4, \"Memory access control\"";
    A64_MMIO_001 "A64-MMIO-001" KvmPolicy
        "What the host answers to a load that extends the sign is extended to the size of its register, and the rest of the register is zero."
        "Arm ARM D24.2.40, ESR_EL2.ISS.SSE and SF; Linux commit b6ae256afd32";
    A64_CROSS_001 "A64-CROSS-001" KvmPolicy
        "An access across a page boundary of which a part is no memory, or is written in a read-only slot, reaches the host as a whole, at the first byte for which that holds."
        "Linux arch/arm64/kvm/mmio.c, io_mem_abort; Arm ARM D24.2.40, FAR_EL2";
    A64_CROSS_002 "A64-CROSS-002" Architectural
        "The part of a store that is in memory may be done or not if the other part aborts."
        "Arm ARM B2.2.1, \"Requirements for single-copy atomicity\"";
    A64_FETCH_001 "A64-FETCH-001" KvmPolicy
        "A guest that executes a page without a slot takes an external instruction abort at that address."
        "Linux arch/arm64/kvm/mmu.c, kvm_handle_guest_abort";
    A64_MAINT_001 "A64-MAINT-001" KvmPolicy
        "Cache maintenance of a page without a slot does nothing."
        "Linux arch/arm64/kvm/mmu.c, kvm_handle_guest_abort; Linux commit 57c841f131ef";
    A64_MAINT_002 "A64-MAINT-002" KvmPolicy
        "Cache maintenance in a slot changes no contents and fails nowhere, in a read-only slot as well, and whatever was accessed before."
        "Arm ARM D7.5.9, \"Cache maintenance instructions\"; KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY";
    A64_MAINT_003 "A64-MAINT-003" KvmPolicy
        "Cache maintenance of a page in a slot with a dirty log may mark the page."
        "Arm ARM D24.2.40, ESR_EL2.ISS.CM and WnR";
    A64_ATTR_001 "A64-ATTR-001" Architectural
        "Whether a guest may write a page is independent of the memory type that it gives the page."
        "Arm ARM D8.5, \"Stage 2 access permissions\", and D8.6, \"Combining memory attributes\"; Linux commit 07a9748c78cf";
    A64_STAGE1_001 "A64-STAGE1-001" Architectural
        "A fault of the guest's own translation is an exception of the guest with its syndrome and the virtual address, whatever stage 2 would say."
        "Arm ARM D8.15, \"MMU fault priorities\", and D24.2.37, ESR_EL1";
    A64_STAGE1_002 "A64-STAGE1-002" Architectural
        "An access to device memory that is not aligned to its size is an alignment fault of the guest and does not reach the host."
        "Arm ARM B2.5.2, \"Alignment of data accesses\"";
    A64_STAGE1_003 "A64-STAGE1-003" KvmPolicy
        "The memory of a slot is normal memory unless the guest says otherwise, untouched pages included: unaligned accesses work."
        "Arm ARM D8.6, \"Combining memory attributes\"; Linux commits 85c8555ff0 and 07a9748c78cf";
    A64_WALK_001 "A64-WALK-001" Architectural
        "A walk through a table in a page without a slot is an external abort on a walk, with the level and the virtual address."
        "Arm ARM D24.2.37, DFSC 0b0101xx; Linux arch/arm64/kvm/mmu.c, kvm_handle_guest_abort";
    A64_WALK_002 "A64-WALK-002" KvmPolicy
        "The guest's tables may lie in a read-only slot."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY; Linux commit 406c10962a4c";
    A64_WALK_003 "A64-WALK-003" Architectural
        "An access flag that is clear is an access flag fault, or the processor sets it in the table where TCR_EL1.HA says so, which is a write to the table's page."
        "Arm ARM D8.5.4, \"Hardware management of the Access flag\"";
    A64_WALK_004 "A64-WALK-004" KvmPolicy
        "An update of a table in a read-only slot by the processor is an external abort on a walk, and never reaches the host."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY (\"page table updates\"); Linux commit b8f8d190fa8f";
    A64_RANGE_001 "A64-RANGE-001" KvmPolicy
        "An access beyond the guest-physical addresses of the virtual machine is an external abort at the virtual address, and does not reach the host."
        "Linux arch/arm64/kvm/mmu.c, kvm_handle_guest_abort";
    A64_RANGE_002 "A64-RANGE-002" KvmPolicy
        "A slot that ends beyond the guest-physical addresses of the virtual machine is refused with EFAULT; one that ends with them is not."
        "Linux arch/arm64/kvm/mmu.c, kvm_arch_prepare_memory_region";
    A64_SYNDROME_001 "A64-SYNDROME-001" Architectural
        "The upper half of the syndrome of an abort is zero unless a feature gives it a meaning."
        "Arm ARM D24.2.37, ESR_EL1, ISS2 and RES0";
    A64_ABORT_001 "A64-ABORT-001" KvmPolicy
        "If the host answers an access with an external data abort, the guest takes it at the address of the access, and the access is not completed."
        "KVM API 4.38, KVM_SET_VCPU_EVENTS, ext_dabt_pending";
}
