//! Stage-2 mappings: memory slots, what lies under them, and what an access does.

super::requirements! {
    STAGE2:
    S2_SLOT_001 "S2-SLOT-001" KvmPolicy
        "A slot request with an unknown flag, an address or size that is no multiple of the page size, a slot or address space that does not exist, or a range that wraps fails with EINVAL and changes nothing, also if it is to delete."
        "KVM API, KVM_SET_USER_MEMORY_REGION; Linux virt/kvm/kvm_main.c, kvm_set_memory_region";
    S2_SLOT_002 "S2-SLOT-002" KvmPolicy
        "A slot that would overlap another one of its address space is not made or moved: EEXIST."
        "KVM API, KVM_SET_USER_MEMORY_REGION; Linux virt/kvm/kvm_main.c, kvm_set_memory_region";
    S2_SLOT_003 "S2-SLOT-003" KvmPolicy
        "The size of a slot, its host address and whether it is read-only cannot be changed: EINVAL."
        "Linux virt/kvm/kvm_main.c, kvm_set_memory_region";
    S2_SLOT_004 "S2-SLOT-004" KvmPolicy
        "A slot of size 0 deletes the slot of that number, after which its guest pages are a hole; if there is none, EINVAL."
        "KVM API, KVM_SET_USER_MEMORY_REGION; Linux virt/kvm/kvm_main.c, kvm_set_memory_region";
    S2_SLOT_005 "S2-SLOT-005" KvmPolicy
        "A slot that is given another guest address is there with all it holds, and no longer where it was."
        "KVM API, KVM_SET_USER_MEMORY_REGION (\"moving it in the guest physical memory space\")";
    S2_SLOT_006 "S2-SLOT-006" KvmPolicy
        "A slot request that changes nothing succeeds."
        "Linux virt/kvm/kvm_main.c, kvm_set_memory_region";
    S2_SLOT_007 "S2-SLOT-007" KvmPolicy
        "A new slot is there for the next access, whatever the guest did at its pages before."
        "KVM API, KVM_SET_USER_MEMORY_REGION; Linux commit 56f17dd3fbc4";
    S2_SLOT_008 "S2-SLOT-008" KvmPolicy
        "Slots of different address spaces are unrelated and may overlap."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_CAP_MULTI_ADDRESS_SPACE";
    S2_MMIO_001 "S2-MMIO-001" KvmPolicy
        "An access to a guest page without a slot ends in KVM_EXIT_MMIO with its address, its length, its direction and what it writes."
        "KVM API, chapter 5, KVM_EXIT_MMIO";
    S2_MMIO_002 "S2-MMIO-002" KvmPolicy
        "The next KVM_RUN completes the access with the bytes that the host answers, once, even if `immediate_exit` lets nothing else run."
        "KVM API, chapter 5, KVM_EXIT_MMIO and `immediate_exit`";
    S2_RO_001 "S2-RO-001" KvmPolicy
        "A read of a read-only slot gets what the memory holds, without an exit."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY";
    S2_RO_002 "S2-RO-002" KvmPolicy
        "A write to a read-only slot ends in KVM_EXIT_MMIO and changes no memory."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY; Linux commit 98047888bb9f";
    S2_RO_003 "S2-RO-003" KvmPolicy
        "Code in a read-only slot can be executed."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY; Linux selftests, page_fault_test";
    S2_RO_004 "S2-RO-004" KvmPolicy
        "What an access to a read-only slot does is independent of earlier accesses to the page."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY; Linux commit 07a9748c78cf";
    S2_CROSS_001 "S2-CROSS-001" KvmPolicy
        "An access that crosses into another page is made in memory as far as there is memory, and the rest ends in KVM_EXIT_MMIO."
        "Linux arch/x86/kvm/x86.c, emulator_read_write";
    S2_ATOMIC_001 "S2-ATOMIC-001" KvmPolicy
        "A locked read and write of memory that cannot be written is a read and a write that ends in KVM_EXIT_MMIO, and a CMPXCHG that finds another value writes that value back."
        "Intel SDM vol. 2, CMPXCHG; Linux arch/x86/kvm/x86.c, emulator_cmpxchg_emulated";
    S2_STRING_001 "S2-STRING-001" Architectural
        "Each item of a repeated string instruction is an access of its own, and those before it are done."
        "Intel SDM vol. 2, REP; AMD APM vol. 3, \"Repeat Prefixes\"";
    S2_FETCH_001 "S2-FETCH-001" KvmPolicy
        "A guest that executes a page without a slot ends in KVM_EXIT_INTERNAL_ERROR."
        "KVM API, chapter 5, KVM_EXIT_INTERNAL_ERROR; Linux selftests, set_memory_region_test";
    S2_HOST_001 "S2-HOST-001" KvmPolicy
        "Anonymous memory that was never written reads as zeros, in every process and for every guest, whatever any guest does."
        "mmap(2), MAP_ANONYMOUS; Linux commit 07a9748c78cf";
    S2_HOST_002 "S2-HOST-002" KvmPolicy
        "A write to a private mapping changes that mapping and nothing that others see."
        "mmap(2), MAP_PRIVATE";
    S2_HOST_003 "S2-HOST-003" KvmPolicy
        "A write to a shared mapping changes the file and every mapping of it."
        "mmap(2), MAP_SHARED";
    S2_HOST_004 "S2-HOST-004" KvmPolicy
        "What the host maps, unmaps, drops or cuts away under a slot is so for the guest's next access."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_CAP_SYNC_MMU";
    S2_HOST_005 "S2-HOST-005" KvmPolicy
        "If the host memory of a slot cannot be accessed, because nothing is mapped, the process may not, or a file has ended, KVM_RUN fails with EFAULT and the instruction can be tried again."
        "Linux arch/x86/kvm/mmu/mmu.c, kvm_handle_error_pfn; arch/arm64/kvm/mmu.c, user_mem_abort";
    S2_HOST_006 "S2-HOST-006" KvmPolicy
        "A guest writes a slot only where the host's process may write, reads it where that may read, and what is forbidden fails with EFAULT; a read-only slot needs no more than reading."
        "Linux virt/kvm/kvm_main.c, hva_to_pfn";
    S2_HOST_007 "S2-HOST-007" KvmPolicy
        "After fork the guest has the parent's memory: the child sees none of what the guest or the parent writes to private memory, nor they what the child writes."
        "fork(2); KVM API, KVM_CAP_SYNC_MMU";
    S2_HOST_008 "S2-HOST-008" KvmPolicy
        "Memory given to MADV_FREE holds what it held or zeros until it is written."
        "madvise(2), MADV_FREE";
    S2_HOST_009 "S2-HOST-009" KvmPolicy
        "Slots over the same host memory show the same, and so does the host's mapping."
        "KVM API, KVM_SET_USER_MEMORY_REGION";
    S2_HOST_010 "S2-HOST-010" KvmPolicy
        "A virtual machine is run by the process that made it; in a child KVM_RUN fails with EIO."
        "KVM API, chapter 1 (\"ioctls must be issued from the same process\"); Linux virt/kvm/kvm_main.c, kvm_vcpu_ioctl";
    S2_HOST_011 "S2-HOST-011" KvmPolicy
        "Merging pages that hold the same changes nothing that guest or host read, and a page that is written leaves the others as they were."
        "madvise(2), MADV_MERGEABLE; Linux Documentation/admin-guide/mm/ksm.rst";
    S2_HOST_012 "S2-HOST-012" KvmPolicy
        "What the host changes while a guest runs, slots and what lies under them, the guest sees changed and never again as it was once the host's call has returned."
        "KVM API, KVM_SET_USER_MEMORY_REGION; Linux virt/kvm/kvm_main.c, kvm_swap_active_memslots and kvm_mmu_notifier_invalidate_range_start";
    S2_RING_001 "S2-RING-001" KvmPolicy
        "The dirty ring has each page of a logged slot that was written since the ring was reset, and after the reset writes to it are listed again."
        "KVM API, KVM_CAP_DIRTY_LOG_RING";
    S2_RING_002 "S2-RING-002" KvmPolicy
        "In a virtual machine with a dirty ring and without its bitmap KVM_GET_DIRTY_LOG fails with ENXIO."
        "KVM API, KVM_CAP_DIRTY_LOG_RING and KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP";
    S2_WALK_001 "S2-WALK-001" Architectural
        "A walk of page tables leads where the entries say, sets the accessed bit of an entry, and one for a write its dirty bit, and marks the table's page in the dirty log if it changes it."
        "Intel SDM vol. 3A, \"Accessed and Dirty Flags\"; AMD APM vol. 2, 5.4.2; KVM API, KVM_GET_DIRTY_LOG";
    S2_WALK_002 "S2-WALK-002" KvmPolicy
        "A page table in a read-only slot can be used, and a walk that should change it leaves it as it is."
        "KVM API, KVM_SET_USER_MEMORY_REGION, KVM_MEM_READONLY; Linux arch/x86/kvm/mmu/paging_tmpl.h, update_accessed_dirty_bits";
    S2_DIRTY_001 "S2-DIRTY-001" KvmPolicy
        "A write of the guest marks its page in the dirty log, also if it changes nothing; a read does not."
        "KVM API, KVM_GET_DIRTY_LOG";
    S2_DIRTY_002 "S2-DIRTY-002" KvmPolicy
        "Reading a dirty log clears it, and the next write to a page marks it again."
        "KVM API, KVM_GET_DIRTY_LOG";
    S2_DIRTY_003 "S2-DIRTY-003" KvmPolicy
        "With manual protection reading a dirty log leaves it as it is, and KVM_CLEAR_DIRTY_LOG clears the pages that it names."
        "KVM API, KVM_CLEAR_DIRTY_LOG, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2";
    S2_DIRTY_004 "S2-DIRTY-004" KvmPolicy
        "With KVM_DIRTY_LOG_INITIALLY_SET every page of a slot is in its dirty log at first."
        "KVM API, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2";
    S2_DIRTY_005 "S2-DIRTY-005" KvmPolicy
        "A dirty log begins empty when the slot gets the flag, stays while it has it, and is lost when it loses it."
        "Linux virt/kvm/kvm_main.c, kvm_prepare_memory_region";
    S2_DIRTY_006 "S2-DIRTY-006" KvmPolicy
        "A write that reaches the host marks no page, and a write through one slot marks none of another."
        "Linux selftests, page_fault_test";
    S2_DIRTY_007 "S2-DIRTY-007" KvmPolicy
        "The dirty log of a slot that is not there or not logged gives ENOENT, of one that cannot be EINVAL, and a range to clear that starts or ends inside a group of 64 pages EINVAL, unless it ends with the slot."
        "KVM API, KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG; Linux virt/kvm/kvm_main.c";
}
