//! Getters that tell something else than what is: a bit, what was before, what was set, what another
//! vCPU has.

use super::super::outcome::RED;
use super::{Local, local};

/// Cases in real mode, which every backend can run.
const REAL: &[&str] = &["exceptions", "nmi", "state"];
const NMI: &[&str] = &["nmi", "state"];
const APIC: &[&str] = &["apic"];

pub const ROWS: &[Local] = &[
    // Each getter, from the first call on: what reads back is not what was set.
    local("KVM_GET_REGS:flip=rax.63", REAL, RED, &["rax"]),
    local("KVM_GET_REGS:flip=r15.3", REAL, RED, &["r15"]),
    local("KVM_GET_REGS:flip=rsp.1", REAL, RED, &["rsp"]),
    local("KVM_GET_REGS:flip=rip.2", REAL, RED, &["rip"]),
    local("KVM_GET_REGS:flip=rflags.6", REAL, RED, &["rflags"]),
    local("KVM_GET_SREGS:flip=cs.base.4", REAL, RED, &["cs.base"]),
    local("KVM_GET_SREGS:flip=cs.type.0", REAL, RED, &["cs."]),
    local("KVM_GET_SREGS:flip=ss.selector.3", REAL, RED, &["ss"]),
    local("KVM_GET_SREGS:flip=ds.limit.0", REAL, RED, &["ds.limit"]),
    local("KVM_GET_SREGS:flip=tr.base.5", REAL, RED, &["tr.base"]),
    local("KVM_GET_SREGS:flip=ldt.unusable.0", REAL, RED, &["ldt.unusable"]),
    local("KVM_GET_SREGS:flip=gdt.base.12", REAL, RED, &["gdtr"]),
    local("KVM_GET_SREGS:flip=idt.limit.3", REAL, RED, &["idtr"]),
    local("KVM_GET_SREGS:flip=cr0.3", REAL, RED, &["cr0"]),
    local("KVM_GET_SREGS:flip=cr2.0", REAL, RED, &["cr2"]),
    local("KVM_GET_SREGS:flip=cr3.12", REAL, RED, &["cr3"]),
    local("KVM_GET_SREGS:flip=cr4.2", REAL, RED, &["cr4"]),
    local("KVM_GET_SREGS:flip=cr8.0", REAL, RED, &["cr8"]),
    local("KVM_GET_SREGS:flip=efer.0", REAL, RED, &["efer"]),
    local("KVM_GET_SREGS:flip=apic-base.11", APIC, RED, &["apic"]),
    local("KVM_GET_MSRS:flip=0xc0000081.40", REAL, RED, &["star"]),
    local("KVM_GET_MSRS:flip=0xc0000082.3", REAL, RED, &["lstar"]),
    local("KVM_GET_MSRS:flip=0xc0000084.9", REAL, RED, &["sfmask"]),
    local("KVM_GET_MSRS:flip=0xc0000102.5", REAL, RED, &["kernel-gs-base"]),
    local("KVM_GET_MSRS:flip=0x17a.2", REAL, RED, &["mcg.status"]),
    local("KVM_GET_MSRS:flip=0x401.63", REAL, RED, &["mc0.status"]),
    local("KVM_GET_DEBUGREGS:flip=db0.0", REAL, RED, &["dr0"]),
    local("KVM_GET_DEBUGREGS:flip=db3.63", REAL, RED, &["dr3"]),
    local("KVM_GET_DEBUGREGS:flip=dr6.0", REAL, RED, &["dr6"]),
    local("KVM_GET_DEBUGREGS:flip=dr7.0", REAL, RED, &["dr7"]),
    local("KVM_GET_VCPU_EVENTS:flip=nmi.masked.0", NMI, RED, &["nmi.masked"]),
    local(
        "KVM_GET_VCPU_EVENTS:flip=nmi.pending.0",
        NMI,
        RED,
        &["nmi.pending"],
    ),
    local(
        "KVM_GET_VCPU_EVENTS:flip=nmi.injected.0",
        NMI,
        RED,
        &["nmi.injected"],
    ),
    local(
        "KVM_GET_VCPU_EVENTS:flip=interrupt.shadow.0",
        NMI,
        RED,
        &["shadow"],
    ),
    local(
        "KVM_GET_VCPU_EVENTS:flip=interrupt.injected.0",
        NMI,
        RED,
        &["interrupt"],
    ),
    local(
        "KVM_GET_VCPU_EVENTS:flip=exception.pending.0",
        NMI,
        RED,
        &["exception"],
    ),
    local(
        "KVM_GET_VCPU_EVENTS:flip=exception.injected.0",
        NMI,
        RED,
        &["exception"],
    ),
    local("KVM_GET_VCPU_EVENTS:flip=smi.smm.0", NMI, RED, &["smm"]),
    local("KVM_GET_VCPU_EVENTS:flip=smi.pending.0", NMI, RED, &["smi"]),
    local(
        "KVM_GET_VCPU_EVENTS:flip=smi.latched-init.0",
        APIC,
        RED,
        &["init"],
    ),
    local("KVM_GET_LAPIC:flip=0x20.24", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0x80.4", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0xd0.25", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0xf0.8", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0x110.7", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0x210.5", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0x300.3", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:flip=0x360.16", APIC, RED, &["apic"]),
    local("KVM_GET_MP_STATE:flip=mp-state.1", APIC, RED, &[]),
    // Not all that was asked for.
    local("KVM_GET_MSRS:lie", REAL, RED, &["the number of MSRs"]),
    local("KVM_GET_MSRS:lie:from=150", REAL, RED, &["the number of MSRs"]),
    // The same late in a run, when initial states have been checked.
    local("KVM_GET_REGS:flip=r15.3:from=150", REAL, RED, &["r15"]),
    local("KVM_GET_REGS:flip=rcx.0:only=151", REAL, RED, &["rcx"]),
    local("KVM_GET_SREGS:flip=cr2.0:from=150", REAL, RED, &["cr2"]),
    local("KVM_GET_MSRS:flip=0xc0000082.3:from=300", REAL, RED, &["lstar"]),
    local("KVM_GET_DEBUGREGS:flip=dr6.0:from=150", REAL, RED, &["dr6"]),
    local(
        "KVM_GET_VCPU_EVENTS:flip=nmi.masked.0:from=150",
        NMI,
        RED,
        &["nmi.masked"],
    ),
    local("KVM_GET_LAPIC:flip=0x80.4:from=80", APIC, RED, &["apic"]),
    // Not the truth of now.
    local("KVM_GET_REGS:frozen", REAL, RED, &[]),
    local("KVM_GET_REGS:behind", REAL, RED, &[]),
    local("KVM_GET_REGS:cached", REAL, RED, &[]),
    local("KVM_GET_SREGS:frozen", REAL, RED, &[]),
    local("KVM_GET_SREGS:behind", REAL, RED, &[]),
    local("KVM_GET_SREGS:cached", REAL, RED, &[]),
    local("KVM_GET_VCPU_EVENTS:frozen", NMI, RED, &["nmi"]),
    local("KVM_GET_VCPU_EVENTS:behind", NMI, RED, &["nmi"]),
    local("KVM_GET_VCPU_EVENTS:cached", NMI, RED, &["nmi"]),
    local("KVM_GET_DEBUGREGS:cached", REAL, RED, &["dr6"]),
    local("KVM_GET_LAPIC:frozen", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:behind", APIC, RED, &["apic"]),
    local("KVM_GET_LAPIC:cached", APIC, RED, &["apic"]),
    // Of another vCPU.
    local("KVM_GET_REGS:other", APIC, RED, &[]),
    local("KVM_GET_LAPIC:other", APIC, RED, &["apic"]),
    local("KVM_GET_VCPU_EVENTS:other", NMI, RED, &["nmi"]),
];
