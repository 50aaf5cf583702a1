//! Events that are lost, doubled, late or sent elsewhere, and KVM_RUN that comes back wrong.

use super::super::outcome::{NOT_GREEN, RED};
use super::{Local, local};

const REAL: &[&str] = &["exceptions", "nmi", "state"];
const NMI: &[&str] = &["nmi", "state"];
/// One NMI, in a case that conforms on every backend.
const ONE: &[&str] = &["nmi/delivery-blocks-until-iret"];
const MC: &[&str] = &["exceptions/mc-*"];
const SLOTS: &[&str] = &["stage2"];

pub const ROWS: &[Local] = &[
    local("KVM_NMI:lie", NMI, RED, &["nmi"]),
    local("KVM_NMI:lie:from=20", NMI, RED, &["nmi"]),
    local("KVM_NMI:twice", NMI, RED, &["nmi"]),
    local("KVM_NMI:late", NMI, RED, &["nmi"]),
    local("KVM_NMI:again", NMI, RED, &["nmi"]),
    local("KVM_NMI:again:only=1", ONE, RED, &["nmi"]),
    local("KVM_NMI:late:only=1", ONE, RED, &["nmi"]),
    local("KVM_NMI:other", &["state/another-processor"], RED, &["nmi"]),
    local("KVM_NMI:fail=EINVAL", NMI, NOT_GREEN, &["KVM_NMI"]),
    local("KVM_X86_SET_MCE:lie", MC, RED, &[]),
    local("KVM_X86_SET_MCE:late", MC, RED, &[]),
    local("KVM_X86_SET_MCE:fail=EINVAL", MC, NOT_GREEN, &["KVM_X86_SET_MCE"]),
    // KVM_RUN fails, or has not run.
    local("KVM_RUN:fail=EFAULT", &["nmi"], RED, &["KVM_RUN"]),
    local("KVM_RUN:fail=EFAULT:only=1", ONE, RED, &["KVM_RUN"]),
    local(
        "KVM_RUN:fail=EINTR:from=30",
        &["nmi/w*", "nmi/del*"],
        NOT_GREEN,
        &[],
    ),
    local(
        "KVM_RUN:fail=EAGAIN:from=30",
        &["nmi/w*", "nmi/del*"],
        NOT_GREEN,
        &[],
    ),
    local("KVM_RUN:lie:only=3", ONE, NOT_GREEN, &[]),
    // Two that stay green, and are right to. `KVM_RUN:lie` where the exit before was KVM_EXIT_INTR: KVM may come
    // back so at any time, and the suite enters again. `KVM_RUN:skip` on PVM, where RIP is behind an OUT before it
    // is completed (398 of them in `nmi` and `exceptions` changed no verdict); on SVM a row of `booted` shows it.
    local("KVM_RUN:on", ONE, RED, &["immediate_exit"]),
    // Over whole areas it takes minutes, since guests that halt are entered again and again.
    // The second KVM_RUN of this case is to complete the OUT of its first point.
    local(
        "KVM_RUN:fail=EFAULT:only=2",
        ONE,
        RED,
        &["immediate_exit", "Bad address"],
    ),
    // It comes back with another exit.
    local("KVM_RUN:port", &["nmi"], RED, &[]),
    local("KVM_RUN:port:only=1", ONE, RED, &[]),
    local("KVM_RUN:data", &["smram"], RED, &[]),
    local("KVM_RUN:reason=5:only=1", ONE, RED, &[]),
    local("KVM_RUN:reason=8:only=1", ONE, RED, &["shutdown"]),
    local("KVM_RUN:reason=9:only=1", ONE, RED, &[]),
    local("KVM_RUN:reason=17:only=1", ONE, RED, &["internal-error"]),
    local("KVM_RUN:reason=99:only=1", ONE, NOT_GREEN, &["KVM_RUN"]),
    local("KVM_RUN:data:from=2", SLOTS, RED, &[]),
    local("KVM_RUN:address", SLOTS, RED, &[]),
    // Memory is not what the guest made of it.
    local("KVM_RUN:forget", REAL, RED, &[]),
    local("KVM_RUN:forget-page", REAL, RED, &[]),
    local("KVM_RUN:forget-page:from=150", REAL, RED, &[]),
    local("KVM_RUN:forget", SLOTS, RED, &[]),
    local("KVM_RUN:scribble", REAL, RED, &["memory"]),
    local("KVM_RUN:scribble:only=101", REAL, RED, &["memory"]),
    local("KVM_RUN:scribble:from=60", SLOTS, RED, &[]),
];
