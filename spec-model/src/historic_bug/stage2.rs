//! Bugs of memory slots and stage-2 mappings that KVM has had.
//!
//! Commits come from the collection that the table was made from. Kernel versions are those that
//! it gives, and were not all run.

use super::{Expression, HistoricBug};
use crate::defect::Defect;

const DEVICE_MEMORY: &str =
    "it needs host memory of a device (VM_PFNMAP or ZONE_DEVICE), which a process cannot make";
const RACE: &str = "it is a race of a few instructions of the host's kernel, which a guest that runs while the host changes memory meets by chance only";
const MEMORY_SAFETY: &str =
    "the host's kernel reads or frees memory wrongly, and the guest sees the right thing";

/// The bugs; their numbers begin at 101.
pub static STAGE2_BUGS: &[HistoricBug] = bugs! {
    101 "The zero page of the host was taken for a device and mapped writable, so that a write to a read-only slot went to it once it had been read."
        "KVM/arm64 and arm before 3.18, Linux commits 07a9748c78cf and bf4bea8e9a"
        defects(Defect::ZeroPageWritable, Defect::ZeroPageIsDevice, Defect::DeviceAttributeGrantsWrite);
    102 "The zero page counted as MMIO everywhere, so that reads of untouched memory reached the host."
        "KVM about 3.17, Linux commit 85c8555ff0"
        defects(Defect::ZeroPageIsMmio);
    103 "The zero page that merging uses was counted up by each fault until KVM_RUN failed."
        "KVM 4.11 to 5.6, Linux commit 7df003c852"
        not("it takes two thousand million faults on a page that the merging daemon has put in place");
    104 "Pages of ZONE_DEVICE memory counted as reserved, and lost their references."
        "KVM before 5.5, Linux commit a78986aae9b2"
        not(DEVICE_MEMORY);
    105 "Pages without reference counts were mapped and then freed once too often."
        "KVM before 5.13, Linux commit f8be156be163, CVE-2021-22543"
        not(DEVICE_MEMORY);
    106 "A page that the host may only read was assumed to be writable."
        "KVM before 5.12, Linux commit bd2fae8da794"
        defects(Defect::HostProtectionIgnored);
    107 "A guest whose page tables are in a read-only slot ended in a triple fault."
        "KVM/x86 before 3.12, Linux commit ba6a35415455"
        defects(Defect::ReadOnlyTableFails);
    108 "Every stage-2 fault on a walk counted as a write, which broke page tables in read-only slots."
        "KVM/arm64 before 6.2, Linux commit 406c10962a4c"
        defects(Defect::WalkCountsAsWrite);
    109 "What a walk that writes to a read-only slot does was not defined; now the guest takes an abort."
        "KVM/arm64, Linux commit b8f8d190fa8f"
        defects(Defect::WalkWriteReachesHost);
    110 "A fetch whose walk has to write the table did not count as a write, and the guest faulted for ever."
        "KVM/arm64 before 5.9, Linux commit c4ad98e4b72c"
        defects(Defect::FetchNeverSetsAccessFlag);
    111 "The same for loads and stores."
        "KVM/arm64, Linux commit 60e21a0ef54c"
        defects(Defect::DataAccessNeverSetsAccessFlag, Defect::AccessFlagNotLogged);
    112 "Cache maintenance of an address without memory ended the guest."
        "KVM/arm64, Linux commit 57c841f131ef"
        defects(Defect::MaintenanceWithoutSlotFails);
    113 "An access beyond the guest-physical addresses became an MMIO exit."
        "KVM/arm64 before 5.19, Linux commit e987eda4f61d"
        defects(Defect::BeyondAddressesReachesHost);
    114 "The instruction pointer was advanced before the access was complete."
        "KVM/arm64 before 5.0, Linux commit 0d640732dbeb"
        defects(Defect::MmioRetiredLate);
    115 "An instruction that reached the host was skipped twice if KVM_RUN was left in between."
        "KVM/arm64 before 5.4, Linux commit 2113c5f62b74"
        not("the instruction behind each access of the target's code is the one that comes back to the host, so a second skip shows as a guest that is stuck or elsewhere, not as an outcome of the model");
    116 "The answer to a load into a 32-bit register was sign-extended to 64 bits."
        "KVM/arm64 before 5.6, Linux commit b6ae256afd32"
        defects(Defect::SignExtendedPastWord);
    117 "A mapping of the host was used after the lock over it was dropped."
        "KVM/arm64 before 6.3, Linux commit 13ec9308a857"
        not(RACE);
    118 "A huge page was mapped although guest and host address are not aligned alike, or beyond the end of the slot."
        "KVM/arm64 before 5.1, Linux commits a80868f39859 and 3c3736cd32bf"
        defects(Defect::HugePageMisplaced);
    119 "A page of a device lost its attributes when it was faulted in again, or executed."
        "KVM/arm64 before 5.5, Linux commit 6d674e28f642"
        not(DEVICE_MEMORY);
    120 "A page was marked dirty although it could not be mapped."
        "KVM/arm64, Linux commit 509552e65ae8"
        defects(Defect::FailedWriteMarksDirty);
    121 "A slot that ends with the last guest-physical address was refused."
        "KVM/arm64, Linux commit 262b003d059c"
        defects(Defect::LastGuestPageRefused);
    122 "Translations of tables that were taken away were invalidated for the wrong level."
        "KVM/arm64 before 6.9, Linux commit 36e008323926"
        defects(Defect::DeletedSlotStaysMapped, Defect::HostChangeUnseen);
    123 "A hole that was accessed stayed one when a slot was created over it."
        "KVM/x86 before 3.18 and before 5.1, Linux commits 56f17dd3fbc4, ddfd1730fd82 and e1359e2beb8b"
        defects(Defect::MmioCachedAcrossCreation, Defect::ReadOnlyWriteHidesMemory);
    124 "An access that crosses into another page was handed to the host as one."
        "KVM/x86 before 3.5, Linux commit f78146b0f923"
        defects(Defect::CrossingAccessNotSplit);
    125 "A part of a crossing access pointed to a stack that was gone when the host completed it."
        "KVM/x86 before 7.1, CVE-2026-31588"
        not(MEMORY_SAFETY);
    126 "An update of a guest's page table wrote to the wrong page of the host."
        "KVM/x86 before 5.18, Linux commit f122dfe44768, CVE-2022-1158"
        not(DEVICE_MEMORY);
    127 "Shadow page tables let the guest write a page through a translation that forbids it."
        "KVM/x86, Linux commit 9e7b0e7fba45"
        not("the tables of scenarios have one writable translation for each page");
    128 "Synchronizing a shadow page lost dirty pages."
        "KVM/x86, Linux commit 9ed5520dd3c9"
        defects(Defect::DirtyOnlyAtFirstWrite);
    129 "The table walker for two-dimensional paging dropped accessed, dirty and writable bits."
        "KVM/x86, merge 4f510c8bb1dd"
        defects(Defect::DirtyOnlyAtFirstWrite, Defect::WalkNotLogged);
    130 "A page was written between its removal from the log and its write protection."
        "KVM/x86, Linux commit 7c8a4742c4ab"
        not(RACE);
    131 "A slot at guest address 0 was sorted to where it is not found."
        "KVM 3.19, Linux commit efbeec7098ee"
        defects(Defect::SlotAtZeroMissed);
    132 "Looking for a page below all slots, or where there is none, read beyond the list."
        "KVM 5.6, Linux commit 0774a964ef56"
        not(MEMORY_SAFETY);
    133 "A slot that does not exist could be deleted or changed."
        "KVM, Linux commit f0736cf0550b"
        defects(Defect::MissingSlotDeleted);
    134 "Overlapping slots were accepted."
        "KVM before 3.8, Linux commit 5419369ed6bd"
        defects(Defect::OverlapAccepted);
    135 "A slot that was moved stayed mapped where it had been."
        "KVM, Linux commit 12d6e7538e2d"
        defects(Defect::DeletedSlotStaysMapped);
    136 "A slot that was moved stayed mapped for assigned devices."
        "KVM, Linux commit e40f193f5bb0, CVE-2013-4592"
        not("it needs an assigned device behind an IOMMU");
    137 "The host address of a slot was not checked."
        "KVM before 3.8, Linux commit fa3d315a4ce2, CVE-2013-1943"
        defects(Defect::MisalignedSlotAccepted);
    138 "Recovery of huge pages looked for a slot in the wrong address space."
        "KVM/x86 before 6.4, merge f211b45057d8"
        not("the recovery runs from time to time in a thread of the kernel, and what it gets wrong is a warning");
    139 "A slot over guest_memfd could be moved, and its offset had the wrong sign."
        "KVM before 6.18 and 7.2, Linux commits af62fe2494da and 06ba195f136a"
        not("scenarios have no guest_memfd; its slots need KVM_SET_USER_MEMORY_REGION2, which the oldest kernels lack");
    140 "A guest could write what the host may only read."
        "KVM/powerpc e500, Linux commit 71b7bf1702c9"
        defects(Defect::HostProtectionIgnored);
    141 "On processors with erratum 834220 a fault on a walk of the guest's tables was looked up by another walk, which fails the same way, and the guest faulted for ever."
        "KVM/arm64 since 6.15, Linux commit fb8a3eba9c81, found by the cases of stage2 on QEMU's Cortex-A57 (6.16, 6.18 and 7.2)"
        not("the erratum belongs to Cortex-A57, and no target has one, since all of its guests would hang");
};
