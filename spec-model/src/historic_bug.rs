//! Bugs of SMM, NMI and exception handling that KVM, QEMU, Bochs and their users have had.
//!
//! Each one that a guest can see is expressed by defects of the model, and the cases must
//! catch every one of those; for the others the table names the rule of the model that says the
//! same, or why a scenario cannot show them.
//! The numbers are those of the collection that the table was made from. Version ranges come from commit
//! messages and stable trees, and were not all run.

use crate::defect::Defect;
use crate::requirement::{INIT_SMM_003, Requirement, SMM_FORMAT_004};

/// A bug that was, or is, in a hypervisor or emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoricBug {
    /// Its number in the collection.
    pub number: u8,
    /// What went wrong, in one sentence.
    pub sentence: &'static str,
    /// Which versions have it, and what fixed it, with the source.
    pub versions: &'static str,
    /// How the model shows it.
    pub expression: Expression,
}

/// How the model shows a historic bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Each of these defects, alone, is the bug or a part of it.
    Defects(&'static [Defect]),
    /// What it does is what the model says for the implementation, by this rule and for this
    /// reason; cases check the rule.
    Rule(&'static Requirement, &'static str),
    /// Not at all, for this reason.
    Not(&'static str),
}

impl HistoricBug {
    /// The defects that express it; none if nothing does.
    #[must_use]
    pub fn defects(&self) -> &'static [Defect] {
        match self.expression {
            Expression::Defects(defects) => defects,
            Expression::Rule(..) | Expression::Not(_) => &[],
        }
    }
}

const NESTED: &str = "it needs a nested guest, and scenarios have no nested virtualization";

macro_rules! bugs {
    ($($number:literal $sentence:literal $versions:literal $how:ident($($what:expr),+);)*) => {
        &[$(HistoricBug {
            number: $number,
            sentence: $sentence,
            versions: $versions,
            expression: bugs!(@$how $($what),+),
        }),*]
    };
    (@defects $($what:expr),+) => { Expression::Defects(&[$($what),+]) };
    (@rule $rule:expr, $reason:expr) => { Expression::Rule(&$rule, $reason) };
    (@not $what:expr) => { Expression::Not($what) };
}

mod stage2;

pub use stage2::STAGE2_BUGS;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static HistoricBug> {
    HISTORIC_BUGS.iter().chain(STAGE2_BUGS)
}

/// The bugs of SMM, NMI and exceptions, in the order of their numbers.
pub static HISTORIC_BUGS: &[HistoricBug] = bugs! {
    1 "An SMI in the shadow of STI or MOV SS left the shadow in force in SMM, where VMX refuses to enter the guest, and lost it at RSM."
        "KVM before 6.2, Linux commit fb28875fd7da"
        defects(Defect::ShadowKeptOnEntry, Defect::ShadowLostAcrossSmm);
    2 "RSM executed in 16- or 32-bit code cut RIP to 32 bits."
        "KVM before 6.2, Linux commit 055f37f84e30, also in 6.1 stable"
        defects(Defect::RsmTruncatesRip);
    3 "RSM from the 32-bit format loaded sixteen general registers where the format has eight, and read beyond its end."
        "KVM 6.0 to 6.1, Linux commit \"number of GPRs in the SMRAM image depends on the image format\" (fixes b443183a25ab)"
        defects(Defect::RsmLoadsSixteenRegisters);
    4 "RSM failed when CR3 held a process-context identifier."
        "KVM before 4.16, Linux commit fae1a3e775cc"
        defects(Defect::RsmRejectsPcid);
    5 "The emulator wrote back flags it had read before RSM or IRET, so that neither unblocked NMIs."
        "KVM before 4.12, Linux commit 6ed071f051e1"
        defects(Defect::RsmKeepsNmiMask, Defect::IretKeepsNmiMask);
    6 "RSM loaded the state while still in SMM, and read memory in the wrong address space."
        "KVM before 5.1, Linux commits 9ec19493fb86 and ed19321fb657"
        defects(Defect::RsmKeepsSmmAddressSpace);
    7 "RSM to 64-bit code failed."
        "KVM 4.2, Linux commits b10d92a54dac and 25188b9986cf"
        defects(Defect::RsmRejects64BitCode);
    8 "Entering SMM left IDTR as it was, so that an early exception or NMI ran a handler outside SMRAM."
        "KVM before 4.2, Linux commit 18c3626e3d5d"
        defects(Defect::IdtrKeptOnEntry);
    9 "An SMI did not wake a halted processor."
        "KVM before 4.12, Linux commit ce2e852ecc9a"
        defects(Defect::SmiDoesNotWakeHalted);
    10 "An SMI that was pending when the state was saved was lost."
        "KVM before 5.11, Linux commit 1f7becf1b7e2"
        defects(Defect::RestoreDropsSmi);
    11 "An SMI that arrived while a nested guest ran corrupted its state and that of its hypervisor."
        "KVM before 4.15, Linux commits 72e9cbdb4338 and 05cade71cf3b"
        not(NESTED);
    12 "An SMI in a nested guest overwrote the host-save area of its hypervisor."
        "KVM before 5.14, Linux commits 37be407b2ce8, 136a55c054ca and e8efa4ff0037"
        not(NESTED);
    13 "An event right after RSM to a nested guest caused a wrong exit."
        "KVM before 5.16, Linux commit 759cbd59674a"
        not(NESTED);
    14 "RSM to a nested guest in real mode reported a stale exit reason."
        "KVM before 5.15, Linux commit c42dec148b3e"
        not(NESTED);
    15 "An RSM to a nested guest that failed gave its hypervisor an exit that hardware never gives."
        "KVM from 5.16; a fix was posted in September 2024"
        not(NESTED);
    16 "Controls of a nested guest that were edited in SMM were not checked again at RSM."
        "KVM before 7.0, Linux commits be5fa8737d42 and 5a30e8aea079"
        not(NESTED);
    17 "SMI and RSM in a nested guest changed MSRs that only a VM exit should change."
        "KVM, not fixed when the collection was made"
        not(NESTED);
    18 "A triple fault in SMM on SVM reset the processor and left it in SMM."
        "KVM 6.1 to 6.14, Linux commit a2620f8932fa, CVE-2025-37957"
        not("a run ends at the shutdown, and KVM's reset of the processor comes after it");
    19 "Userspace that switched SMM on or off for a processor with a nested guest made the kernel warn."
        "KVM before 5.17, Linux commits f7e570780efc and 4bcdd831d9d0"
        not(NESTED);
    20 "INIT in SMM was lost across saving the state, or ignored, and SIPI in SMM was delivered."
        "KVM, Linux commits 4b9852f4f389, ff90afa75573, 27cbe7d61898 and 28bf28887976"
        defects(
            Defect::RestoreDropsInit,
            Defect::InitDroppedInSmm,
            Defect::InitResetsInSmm,
            Defect::SipiQueuedInSmm
        );
    21 "Startup IPIs that arrive in SMM are dropped, so that an application processor never starts."
        "all KVM, by design; EDK2 issue 10293"
        rule(
            INIT_SMM_003,
            "the model does it too: a startup IPI is lost on a processor that does not wait for one, and firmware has to send it again"
        );
    22 "DEBUGCTL.FREEZE_IN_SMM of a nested guest was accepted or refused inconsistently."
        "KVM 6.17 to 7.0, Linux commit e2ffe85b6d2b"
        not(NESTED);
    23 "An SMI ends every HLT: neither auto-HALT restart nor I/O restart is implemented."
        "all KVM, QEMU and Bochs"
        defects(Defect::AutoHaltIgnored);
    24 "An RSM that failed ended in an internal error instead of shutdown."
        "KVM before 5.13, Linux commit 25b17226cd9a"
        defects(Defect::RsmFailureIsInternalError);
    25 "The shadow-stack pointer was not saved, so that an SMI broke a guest with shadow stacks."
        "never released: KVM has SSP in the area since it has shadow stacks, 6.18"
        defects(Defect::SspLostAcrossSmm);
    26 "RSM took the address of the state-save area for a linear one."
        "KVM 4.2, Linux commit f40606b147dd"
        defects(Defect::SmramReadThroughLinearAddress);
    27 "While KVM stepped over an IRET to find the end of an NMI handler, its TF and RF showed in the guest, and an NMI could come late."
        "KVM on SVM before 4.13 and 5.2, Linux commits a12713c25b76, ab2f4d73eb1a and 99c221796a81; the frame of a faulting IRET still shows TF"
        defects(Defect::IretStepShowsTf, Defect::NmiLateAfterFaultingIret);
    28 "The shadow of the STI with which KVM enters the guest was taken for one of the guest when an injection did not succeed at once."
        "KVM on SVM before 6.14, Linux commit be45bc4eff33"
        defects(Defect::InjectionStartsShadow);
    29 "On processors that mask NMIs in hardware, NMIs of an encrypted guest were unblocked at the next exit only, and the bits for blocked and pending NMIs were mixed up."
        "KVM with vNMI, Linux commit 389fbbec261b (6.6), and the merge for 6.4"
        defects(Defect::NmiLateAfterFaultingIret, Defect::IretKeepsNmiMask);
    30 "Of two pending NMIs one was lost when the event state was saved and restored."
        "KVM before 6.4, Linux commits ab2ee212a57b, 2cb9317377ca and 400fee8c9b2d"
        defects(Defect::RestoreMergesNmis, Defect::PendingNmisReportedAsOne);
    31 "KVM refused to load on processors without virtual NMIs."
        "KVM 4.12 to 4.14, Linux commits 2c82878b0cb3 and 8a1b43922d0d"
        not("a module that does not load runs no guest; where it loads, NMI blocking in software is checked by all NMI cases");
    32 "A local APIC that software had disabled refused NMI, SMI and INIT, which the parked processors of Xen's crash path depend on."
        "KVM before 3.19, Linux commit 173beedc1601"
        defects(Defect::SoftwareDisabledApicRefusesNmi);
    33 "An IRET that met a page missing in the nested tables lost the block of NMIs that it was to restore when it was executed again."
        "KVM on VMX, Linux commit 4c4a6f790ee8 (4.14)"
        defects(Defect::FaultingIretKeepsNmiMask, Defect::NmiLateAfterFaultingIret);
    34 "A single-step trap after an STI that sets IF, or in the shadow of MOV SS, made the entry to the guest fail."
        "KVM on VMX before 5.18, Linux commit b9bed78e2fa9; Xen, XSA-308"
        defects(Defect::StepAfterStiFailsEntry);
    35 "When the delivery of INT3 or INT n was interrupted, KVM executed the instruction again, or skipped another one."
        "KVM on SVM before 6.0, Linux commits 6ef88d6e36c2 and 7e5b5ef8dca3; 4da3768e1820 for text that changes meanwhile"
        defects(Defect::SoftwareInterruptRetried);
    36 "The emulator reported instruction breakpoints and general detect as traps, and did not suppress breakpoints after MOV SS."
        "KVM before 6.1, Linux commits 5623f751bd9c and baf67ca8e545"
        defects(Defect::InstructionBreakpointIsTrap, Defect::GeneralDetectIsTrap);
    37 "A triple fault of a nested guest shut its hypervisor down."
        "KVM before 5.13, Linux commits cb6a32c2b877 and 92e7d5c83aff"
        not(NESTED);
    38 "A #DB or #AC whose delivery caused another of its kind never ended, and the host with it."
        "KVM and Xen, CVE-2015-5307 and CVE-2015-8104; KVM before 4.4, Linux commits 54a20552e1ea and cbdb967af3d5"
        not("the guest loops in the delivery with and without the fix; what the bug stopped was the host, and a run that does not come back is *stuck* either way");
    39 "A #DB that MOV SS had held off was taken for INT1, and KVM moved RIP over an instruction."
        "KVM on VMX before 4.16, Linux commit 32d43cd391ba; the privilege escalation with it is CVE-2018-1087"
        defects(Defect::HeldTrapTakenForInt1);
    40 "RSM checks nothing, leaves SMBASE alone unless bit 17 of the saved revision identifier is set, and some fields are stored with stale upper halves."
        "all QEMU with TCG, target/i386/tcg/system/smm_helper.c, do_smm_enter and helper_rsm"
        defects(
            Defect::RsmAcceptsIllegalImage,
            Defect::SmbaseGatedByRevision,
            Defect::SaveAreaUpperHalvesStale,
            Defect::SaveAreaKeepsReserved
        );
    41 "INIT is not latched in SMM; before 2.4 an SMI did not block NMIs and did not wake HLT either."
        "QEMU with TCG; QEMU commits 9982f74bad and a9bad65d2c for the parts that were fixed"
        defects(Defect::InitResetsInSmm, Defect::SmiKeepsNmiMask, Defect::SmiDoesNotWakeHalted);
    42 "Events that a shadow held off never came, because a block of translated code went on behind it."
        "QEMU with TCG to 8.2, patch of December 2023"
        defects(Defect::NmiAtEntryOnly);
    43 "The lock bits of Q35's SMRAM control did not lock, and there was no TSEG."
        "QEMU before 2.4"
        defects(Defect::LockCanBeUndone, Defect::TsegMissing);
    44 "An SMI reached one processor only where firmware expects all, which lost processors at S3 and hotplug."
        "QEMU and OVMF, EDK2 commits 020bb4b46d and cbccf99592"
        defects(Defect::BroadcastSmiReachesOne);
    45 "RSM in another hypervisor left a wrong CR3, which ended in a triple fault."
        "Android Emulator hypervisor driver, pull request 94 (2024)"
        defects(Defect::RsmKeepsCr3);
    46 "The entry to the guest failed with CS:RIP C000:8000 and RFLAGS 2."
        "KVM with OVMF, EDK2 bug 85; the family of number 1"
        defects(Defect::ShadowKeptOnEntry);
    47 "RSM unblocks NMIs although the SMI interrupted an NMI handler."
        "Bochs at 783b58fd6, bochs/cpu/smm.cc, RSM"
        defects(Defect::RsmClearsNmiMask);
    48 "INIT in SMM resets the processor at once, and one that is masked is dropped."
        "Bochs at 783b58fd6, bochs/cpu/event.cc, deliver_INIT"
        defects(Defect::InitResetsInSmm, Defect::InitDroppedInSmm);
    49 "RSM lost the selectors of segment registers, restored CR3 wrongly, and closed SMRAM before it had read the image."
        "Bochs commits 12f685796, 2b2fd6e81, d972e4a4b and f091c7c0a"
        defects(Defect::RsmDropsSelectors, Defect::RsmKeepsCr3, Defect::RsmClosesSmramFirst);
    50 "A VM exit that left SMM behind marked SMIs as blocked, and the next VM entry failed."
        "Bochs before commit 0ae5e6789"
        not(NESTED);
    51 "SMM lost EFER.SVME, and with nested guests the state of VMX and NMI blocking; a local APIC that was off kept SMIs back."
        "Bochs commits a1ebdc41a, f174ce2b6, bd51ec5f8, 6b48d6e33, 8ad20f278 and d1e71ec4a"
        defects(Defect::SvmeClearedOnEntry, Defect::SoftwareDisabledApicRefusesNmi);
    52 "The state-save area has SSP at another place than AMD's, and a bit of the attributes that makes images of others unusable."
        "Bochs at 783b58fd6, bochs/cpu/smm.cc, init_SMRAM"
        rule(
            SMM_FORMAT_004,
            "a format of its own, the layouts bochs-32 and bochs-64 of the profile bochs"
        );
    53 "The NMI shootdown missed processors that ran a guest: an NMI that ends a guest does not go through the IDT whose handler was swapped."
        "Xen from commit 7dd3b06ff to cbeeaa7da0 (2015)"
        not("no processor of a scenario runs a guest of its own, and without one every NMI goes through the IDT; the swap itself is checked in cases/kexec");
    54 "DR6 of the guest got the causes of the last debug exception and lost what was there before."
        "Xen before commits f7d457524c and db39fa4b27 (2018)"
        defects(Defect::Dr6Overwritten);
    55 "INT1 was taken for a fault where it is intercepted as one, so that it was executed again or its frame was wrong."
        "Xen before commits 1495b4ff9b and e2585f8c2e (2019)"
        defects(Defect::Int1IsFault);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_there_once_and_in_order() {
        let numbers: Vec<u8> = HISTORIC_BUGS.iter().map(|bug| bug.number).collect();
        let expected: Vec<u8> = (1..=55).collect();
        assert_eq!(numbers, expected);
        let numbers: Vec<u8> = STAGE2_BUGS.iter().map(|bug| bug.number).collect();
        assert_eq!(numbers, (101..=141).collect::<Vec<u8>>());
    }

    #[test]
    fn each_is_expressed_or_says_why_not() {
        for bug in all() {
            match bug.expression {
                Expression::Defects(defects) => assert!(!defects.is_empty(), "{}", bug.number),
                // A reason that only points elsewhere explains nothing.
                Expression::Rule(_, reason) | Expression::Not(reason) => {
                    assert!(reason.len() > 20 && !reason.starts_with("see "), "{}", bug.number);
                }
            }
            assert!(bug.sentence.ends_with('.'), "{}: not a sentence", bug.number);
        }
    }
}
