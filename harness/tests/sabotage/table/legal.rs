//! Lies that nobody can see, each with the reason.

/// A call that may be lied about in a case.
struct Legal {
    call: &'static str,
    case: &'static str,
    why: &'static str,
}

const LEGAL: &[Legal] = &[
    Legal {
        call: "KVM_NMI",
        case: "nmi/blocked-nmi-does-not-wake-hlt",
        why: "nothing looks at the processor once the second NMI has come: nmi/blocked-nmi-stays-pending-in-hlt does",
    },
    Legal {
        call: "KVM_SET_SREGS",
        case: "stage2/dirty-log-of-no-slot",
        why: "no step of the case runs the guest",
    },
    Legal {
        call: "KVM_SET_SREGS",
        case: "state/task-priority-that-the-host-sets",
        why: "of what it sets anew only CR8 differs, and KVM_SET_LAPIC sets the same task priority",
    },
];

/// Why a lie about a call in a case cannot be seen, if it cannot.
pub fn reason(call: &str, case: &str) -> Option<&'static str> {
    let legal = LEGAL
        .iter()
        .find(|legal| (legal.call, legal.case) == (call, case));
    legal.map(|legal| legal.why)
}
