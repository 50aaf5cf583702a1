//! Setters that fail, lie, or leave a member as it is.

use super::super::outcome::{NOT_GREEN, RED};
use super::{Local, local};

const REAL: &[&str] = &["exceptions", "nmi", "state"];
const NMI: &[&str] = &["nmi", "state"];
const APIC: &[&str] = &["apic"];

const MSRS: &[&str] = &["state/msrs-that-the-guest-reads"];

/// Only the guest can see it.
const fn told_right(sabotage: &'static str) -> Local {
    local(sabotage, MSRS, RED, &["DEVIATES", "msrs-that-the-guest-reads"])
}

pub const ROWS: &[Local] = &[
    // KVM holds another value than it was given, and tells the one that it was given.
    told_right("KVM_SET_MSRS:flip=0xc0000081.43;KVM_GET_MSRS:flip=0xc0000081.43"),
    told_right("KVM_SET_MSRS:flip=0xc0000082.3;KVM_GET_MSRS:flip=0xc0000082.3"),
    told_right("KVM_SET_MSRS:flip=0xc0000083.3;KVM_GET_MSRS:flip=0xc0000083.3"),
    told_right("KVM_SET_MSRS:flip=0xc0000084.9;KVM_GET_MSRS:flip=0xc0000084.9"),
    told_right("KVM_SET_MSRS:flip=0xc0000102.3;KVM_GET_MSRS:flip=0xc0000102.3"),
    told_right("KVM_SET_MSRS:flip=0x174.3;KVM_GET_MSRS:flip=0x174.3"),
    told_right("KVM_SET_MSRS:flip=0x175.3;KVM_GET_MSRS:flip=0x175.3"),
    told_right("KVM_SET_MSRS:flip=0x176.3;KVM_GET_MSRS:flip=0x176.3"),
    // They refuse what is legal.
    local("KVM_SET_REGS:fail=EINVAL", REAL, NOT_GREEN, &["KVM_SET_REGS"]),
    local("KVM_SET_SREGS:fail=EINVAL", REAL, NOT_GREEN, &["KVM_SET_SREGS"]),
    local("KVM_SET_SREGS:fail=EIO", REAL, NOT_GREEN, &["KVM_SET_SREGS"]),
    local(
        "KVM_SET_SREGS:fail=EINVAL:from=60",
        REAL,
        NOT_GREEN,
        &["KVM_SET_SREGS"],
    ),
    local("KVM_SET_MSRS:fail=EINVAL", REAL, NOT_GREEN, &["KVM_SET_MSRS"]),
    local(
        "KVM_SET_DEBUGREGS:fail=EINVAL",
        REAL,
        NOT_GREEN,
        &["KVM_SET_DEBUGREGS"],
    ),
    local(
        "KVM_SET_VCPU_EVENTS:fail=EINVAL",
        NMI,
        NOT_GREEN,
        &["KVM_SET_VCPU_EVENTS"],
    ),
    local(
        "KVM_SET_VCPU_EVENTS:fail=EIO:from=40",
        NMI,
        NOT_GREEN,
        &["KVM_SET_VCPU_EVENTS"],
    ),
    local(
        "KVM_SET_MP_STATE:fail=EINVAL",
        APIC,
        NOT_GREEN,
        &["KVM_SET_MP_STATE"],
    ),
    local("KVM_SET_LAPIC:fail=EINVAL", APIC, NOT_GREEN, &["KVM_SET_LAPIC"]),
    local("KVM_SET_CPUID2:fail=EINVAL", REAL, NOT_GREEN, &["KVM_SET_CPUID2"]),
    // They say that they did.
    local("KVM_SET_REGS:lie", REAL, RED, &["rip"]),
    local("KVM_SET_REGS:lie:from=60", REAL, RED, &[]),
    local("KVM_SET_SREGS:lie", REAL, RED, &[]),
    local("KVM_SET_SREGS:lie:from=60", REAL, RED, &[]),
    local("KVM_SET_DEBUGREGS:lie", &["exceptions"], RED, &["dr"]),
    local(
        "KVM_SET_VCPU_EVENTS:lie",
        &["nmi/mov-ss-shadow-holds"],
        RED,
        &["shadow.mov-ss"],
    ),
    local("KVM_SET_VCPU_EVENTS:lie", NMI, RED, &["nmi"]),
    local("KVM_SET_MSRS:lie", REAL, RED, &[]),
    local("KVM_SET_MSRS:lie", &["state"], RED, &[]),
    local("KVM_SET_MP_STATE:lie", APIC, RED, &[]),
    local("KVM_SET_LAPIC:lie", APIC, RED, &["apic"]),
    local("KVM_SET_LAPIC:lie:from=30", APIC, RED, &["apic"]),
    // They leave a member out.
    local("KVM_SET_REGS:drop=rip", REAL, RED, &["rip"]),
    local("KVM_SET_REGS:drop=rsp", REAL, RED, &["rsp"]),
    local("KVM_SET_REGS:drop=rflags", REAL, RED, &["rflags"]),
    local("KVM_SET_SREGS:drop=cs.base", REAL, RED, &["cs.base"]),
    local("KVM_SET_SREGS:drop=cs.selector", REAL, RED, &["cs"]),
    local("KVM_SET_SREGS:drop=idt.limit", REAL, RED, &["idtr"]),
    local("KVM_SET_SREGS:drop=cr0", REAL, RED, &["cr0"]),
    local("KVM_SET_DEBUGREGS:drop=dr7", &["exceptions"], RED, &["dr7"]),
    local("KVM_SET_DEBUGREGS:drop=dr6", &["exceptions"], RED, &["dr6"]),
    local("KVM_SET_VCPU_EVENTS:drop=nmi.masked", NMI, RED, &["nmi.masked"]),
    local(
        "KVM_SET_LAPIC:drop=0x80",
        &["state/task-priority-that-the-host-sets"],
        RED,
        &["apic.tpr"],
    ),
    local("KVM_SET_LAPIC:drop=0xd0", APIC, RED, &["apic"]),
    local("KVM_SET_LAPIC:drop=0xf0", APIC, RED, &["apic"]),
    // A bit on its way in.
    local("KVM_SET_REGS:flip=r15.3", REAL, RED, &["r15"]),
    local("KVM_SET_REGS:flip=rbx.31:from=60", REAL, RED, &["rbx"]),
    local("KVM_SET_SREGS:flip=cr8.1", REAL, RED, &["cr8"]),
    local("KVM_SET_VCPU_EVENTS:flip=nmi.masked.0", NMI, RED, &["nmi.masked"]),
];
