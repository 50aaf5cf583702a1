//! Slots and dirty logs, extensions that are hidden, and what a virtual machine is made of.

use super::super::outcome::{INCOMPLETE, NOT_GREEN, RED};
use super::{Local, local};

const REAL: &[&str] = &["exceptions", "nmi", "state"];
const SLOTS: &[&str] = &["stage2"];
const DIRTY: &[&str] = &["stage2/*dirty*"];

/// An extension is hidden: the cases that need it can only be unsupported, so the user has to say
/// that they must run.
const fn hidden(
    sabotage: &'static str,
    cases: &'static [&'static str],
    says: &'static [&'static str],
) -> Local {
    Local {
        sabotage,
        cases,
        options: &["--fail-on-unsupported", "*"],
        statuses: RED,
        says,
    }
}

pub const ROWS: &[Local] = &[
    local("KVM_SET_USER_MEMORY_REGION:lie", REAL, RED, &[]),
    local("KVM_SET_USER_MEMORY_REGION:lie:from=4", SLOTS, RED, &[]),
    // SMM that is not there.
    local(
        "KVM_CHECK_EXTENSION:claim=117",
        &["smm/smi-before-nmi", "nmi/wakes-hlt"],
        RED,
        &["KVM_SET_"],
    ),
    local(
        "KVM_SET_USER_MEMORY_REGION:lie:only=2",
        &["stage2/delete-and-create-again"],
        RED,
        &[],
    ),
    local(
        "KVM_SET_USER_MEMORY_REGION:lie:only=3",
        &["stage2/delete-and-create-again"],
        RED,
        &[],
    ),
    local(
        "KVM_SET_USER_MEMORY_REGION:fail=EINVAL",
        REAL,
        NOT_GREEN,
        &["KVM_SET_USER_MEMORY_REGION"],
    ),
    local(
        "KVM_SET_USER_MEMORY_REGION:fail=EEXIST:from=20",
        SLOTS,
        NOT_GREEN,
        &[],
    ),
    local("KVM_GET_DIRTY_LOG:full", DIRTY, RED, &["dirty"]),
    local("KVM_GET_DIRTY_LOG:empty", DIRTY, RED, &["dirty"]),
    local("KVM_GET_DIRTY_LOG:empty:from=10", DIRTY, RED, &["dirty"]),
    local("KVM_GET_DIRTY_LOG:lie", DIRTY, RED, &["dirty"]),
    local("KVM_GET_DIRTY_LOG:twice", DIRTY, RED, &["dirty"]),
    local("KVM_GET_DIRTY_LOG:fail=ENOENT", DIRTY, RED, &["dirty"]),
    local("KVM_CLEAR_DIRTY_LOG:lie", DIRTY, RED, &["dirty"]),
    local("KVM_ENABLE_CAP:lie", SLOTS, RED, &[]),
    local("KVM_ENABLE_CAP:lie", REAL, RED, &["flags of KVM_GET_VCPU_EVENTS"]),
    local(
        "KVM_ENABLE_CAP:fail=EINVAL",
        SLOTS,
        NOT_GREEN,
        &["KVM_ENABLE_CAP"],
    ),
    local("KVM_CREATE_VM:fail=ENOMEM", REAL, INCOMPLETE, &["KVM_CREATE_VM"]),
    local(
        "KVM_CREATE_VM:fail=EBUSY:from=3",
        &["exceptions", "stage2"],
        INCOMPLETE,
        &["KVM_CREATE_VM"],
    ),
    local(
        "KVM_CREATE_VCPU:fail=EEXIST",
        REAL,
        INCOMPLETE,
        &["KVM_CREATE_VCPU"],
    ),
    local("KVM_GET_API_VERSION:lie", REAL, INCOMPLETE, &["KVM API version"]),
    local(
        "KVM_GET_SUPPORTED_CPUID:fail=EIO",
        REAL,
        INCOMPLETE,
        &["KVM_GET_SUPPORTED_CPUID"],
    ),
    local(
        "open:fail=EACCES",
        REAL,
        INCOMPLETE,
        &["/dev/kvm may not be opened"],
    ),
    local("open:fail=ENOENT", REAL, INCOMPLETE, &["there is no /dev/kvm"]),
    local(
        "open:fail=EBUSY",
        REAL,
        INCOMPLETE,
        &["/dev/kvm cannot be opened"],
    ),
    // Between finding out what the device is and running on it.
    local(
        "open:fail=EACCES:from=2",
        REAL,
        INCOMPLETE,
        &["/dev/kvm may not be opened"],
    ),
    local(
        "KVM_CHECK_EXTENSION:hide=14",
        REAL,
        INCOMPLETE,
        &["KVM_CAP_MP_STATE"],
    ),
    local(
        "KVM_CHECK_EXTENSION:hide=136",
        REAL,
        INCOMPLETE,
        &["KVM_CAP_IMMEDIATE_EXIT"],
    ),
    local(
        "KVM_CHECK_EXTENSION:hide=41",
        REAL,
        INCOMPLETE,
        &["KVM_CAP_VCPU_EVENTS"],
    ),
    hidden(
        "KVM_CHECK_EXTENSION:hide=121",
        &["apic/interrupt-does-not-wake-hlt-without-if"],
        &["KVM_CAP_SPLIT_IRQCHIP"],
    ),
    hidden(
        "KVM_CHECK_EXTENSION:hide=31",
        &["exceptions/mc-in-real-mode"],
        &["KVM_CAP_MCE"],
    ),
    hidden(
        "KVM_CHECK_EXTENSION:hide=192;KVM_CHECK_EXTENSION:hide=223",
        &["stage2/ring-lists-written-pages"],
        &["KVM_CAP_DIRTY_LOG_RING"],
    ),
];
