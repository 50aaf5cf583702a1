//! In a booted kernel: system-management interrupts, the state that goes with them, 64-bit mode.

use super::{Booted, booted_row as row, failing_row as failing};

/// A case that starts with a value of its own in every register that nothing else shows.
const LONG: &str = "state/registers-of-long-mode";
/// A case that stops with a debug exception pending.
const STEPPING: &str = "nmi/single-step-trap-before-nmi";

pub const ROWS: &[Booted] = &[
    // Events.
    row("KVM_SMI:lie", "smm/entry-starts-at-smbase-plus-8000", &["path"]),
    row("KVM_SMI:lie", "smm/whole-area-64-bit-64", &["path"]),
    row("KVM_SMI:lie:only=2", "smm/smi-in-smm-is-latched", &["smi"]),
    row("KVM_SMI:late", "smm/entry-keeps-general-registers", &["path"]),
    row("KVM_SMI:late", "smm/smi-before-nmi", &[]),
    row("KVM_SMI:again", "smm/entry-keeps-cr8", &["smi"]),
    row("KVM_NMI:lie", "nmi/in-smm-is-latched", &["nmi"]),
    row("KVM_NMI:late", "nmi/delivered-with-interrupts-disabled", &["nmi"]),
    row("KVM_NMI:again", "nmi/delivery-blocks-until-iret", &["nmi"]),
    row(
        "KVM_NMI:lie:only=2",
        "nmi/two-at-once-are-both-delivered",
        &["nmi"],
    ),
    row("KVM_NMI:other", "state/another-processor", &["nmi"]),
    // State that is told wrong.
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.smm.0",
        "smm/entry-clears-idtr",
        &["smm"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.pending.0",
        "state/pending-smi",
        &["smi"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.smm-inside-nmi.0",
        "state/smm-inside-an-nmi-handler",
        &["smm.inside-nmi"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=nmi.masked.0",
        "nmi/latched-in-smm-inside-the-handler",
        &["nmi.masked"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=interrupt.shadow.0",
        "nmi/mov-ss-shadow-holds",
        &["shadow"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.smm.0:only=3",
        "smm/entry-keeps-cr3",
        &["smm"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.latched-init.0",
        "smm/init-in-smm-is-latched",
        &["init"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.smm.7",
        "smm/entry-clears-idtr",
        &["smi.smm of"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=smi.pending.3",
        "state/pending-smi",
        &["smi.pending of"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=flags.3",
        "smm/entry-keeps-cr3",
        &["flags of"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=flags.5",
        "smm/entry-keeps-cr3",
        &["flags of"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=triple-fault.pending.0:from=2",
        "smm/entry-keeps-cr3",
        &["triple_fault.pending of"],
    ),
    // An exception that waits, which only a single step leaves at a stop.
    row(
        "KVM_GET_VCPU_EVENTS:flip=exception.nr.1",
        STEPPING,
        &["exception.vector"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=@2.0",
        STEPPING,
        &["exception.has-error-code"],
    ),
    row(
        "KVM_GET_VCPU_EVENTS:flip=exception.injected.0:from=2",
        STEPPING,
        &["exception"],
    ),
    row("KVM_GET_MSRS:flip=0x34.0", "smm/entry-keeps-cr3", &["msr 0x34"]),
    row("KVM_GET_VCPU_EVENTS:frozen", "nmi/nmi-smi-rsm-nmi", &[]),
    row("KVM_GET_VCPU_EVENTS:behind", "nmi/smi-and-rsm-unblock-again", &[]),
    row(
        "KVM_GET_MSRS:flip=0x9e.16",
        "smm/smbase-relocation-aligned",
        &["smbase"],
    ),
    row("KVM_GET_MSRS:flip=0xc0000102.5", LONG, &["kernel-gs-base"]),
    row("KVM_GET_MSRS:flip=0xc0000083.0", LONG, &["cstar"]),
    row("KVM_GET_SREGS:flip=efer.10", "smm/rip-above-4-gib", &["efer"]),
    row("KVM_GET_SREGS:flip=cr3.12", "smm/entry-keeps-cr3", &["cr3"]),
    row("KVM_GET_SREGS:flip=fs.base.40", LONG, &["fs.base"]),
    row("KVM_GET_SREGS:cached", "smm/entry-leaves-long-mode", &[]),
    row("KVM_GET_REGS:cached", "smm/handler-changes-registers-64", &[]),
    row("KVM_GET_REGS:other", "smm/init-in-smm-is-latched", &[]),
    row(
        "KVM_GET_DEBUGREGS:flip=dr7.0",
        "smm/entry-sets-dr7-to-400",
        &["dr7"],
    ),
    row(
        "KVM_GET_MP_STATE:flip=mp-state.1",
        "smm/smi-in-wait-for-sipi",
        &[],
    ),
    // State that is not set.
    row("KVM_SET_VCPU_EVENTS:lie", "nmi/mov-ss-shadow-holds", &[]),
    row(
        "KVM_SET_VCPU_EVENTS:drop=interrupt.shadow",
        "state/interrupt-shadow",
        &["shadow"],
    ),
    row("KVM_SET_MSRS:lie", LONG, &["star"]),
    row("KVM_SET_MSRS:drop=0xc0000084", LONG, &["sfmask"]),
    row(
        "KVM_SET_MSRS:drop=0x9e",
        "smm/startup-alone-in-smm-is-lost",
        &["smbase"],
    ),
    failing("KVM_SET_MSRS:fail=EINVAL", LONG, &["KVM_SET_MSRS"]),
    row("KVM_SET_SREGS:drop=cr2", LONG, &["cr2"]),
    row("KVM_SET_SREGS:drop=gs.base", LONG, &["gs.base"]),
    row("KVM_SET_SREGS:drop=cr3", "smm/handler-in-paged-mode", &["cr3"]),
    failing(
        "KVM_SET_SREGS:fail=EINVAL",
        "smm/handler-in-64-bit-mode",
        &["KVM_SET_SREGS"],
    ),
    failing("KVM_SET_CPUID2:lie", "smm/whole-area-64-bit-64", &[]),
    row("KVM_SET_DEBUGREGS:drop=db3", LONG, &["dr3"]),
    row("KVM_SET_REGS:drop=r15", LONG, &["r15"]),
    // Memory and slots.
    row("KVM_RUN:forget", "smm/save-general-registers-64", &[]),
    row("KVM_RUN:forget-page", "smm/save-revision-64", &[]),
    row("KVM_RUN:scribble:only=1", "smm/entry-keeps-cr0-am", &["memory"]),
    row("KVM_RUN:skip", "smm/smi-between-iterations", &[]),
    row(
        "KVM_RUN:fail=EFAULT:only=3",
        "smm/from-protected-mode",
        &["KVM_RUN"],
    ),
    row(
        "KVM_SET_USER_MEMORY_REGION:lie:only=3",
        "smram/lock-closes",
        &["KVM_SET_USER_MEMORY_REGION"],
    ),
    // A slot that no guest touches: memory outside SMM at the tables' place.
    row(
        "KVM_SET_USER_MEMORY_REGION:lie:only=3",
        "state/page-tables-in-smram",
        &["KVM_SET_USER_MEMORY_REGION"],
    ),
    // The kernel complains.
    row("KVM_RUN:warn:only=2", "smm/entry-clears-svme", &["WARNING"]),
];
