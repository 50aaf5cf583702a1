//! Lies that nobody can see, each with the reason.

/// A call that may be lied about in a case.
struct Legal {
    call: &'static str,
    case: &'static str,
    /// Which of the calls in the case, counted from 1; each of them if empty.
    numbers: &'static [usize],
    why: &'static str,
}

const MERGED: &str = "the case is that some of these are one: with one lost the others are as many";

const DISABLED: &str = "the case is that a machine check which is disabled changes nothing";

const LEGAL: &[Legal] = &[
    Legal {
        call: "KVM_NMI",
        case: "nmi/blocked-nmi-does-not-wake-hlt",
        numbers: &[],
        why: "nothing looks at the processor once the second NMI has come: nmi/blocked-nmi-stays-pending-in-hlt does",
    },
    Legal {
        call: "KVM_NMI",
        case: "nmi/three-at-once-are-two",
        numbers: &[],
        why: MERGED,
    },
    Legal {
        call: "KVM_NMI",
        case: "nmi/two-in-smm-are-one",
        numbers: &[1, 2],
        why: MERGED,
    },
    Legal {
        call: "KVM_NMI",
        case: "nmi/two-in-the-handler-are-one",
        numbers: &[2, 3],
        why: MERGED,
    },
    Legal {
        call: "KVM_SMI",
        case: "smm/two-smis-in-smm-are-one",
        numbers: &[2, 3],
        why: MERGED,
    },
    Legal {
        call: "KVM_X86_SET_MCE",
        case: "exceptions/mc-that-is-disabled",
        numbers: &[1],
        why: DISABLED,
    },
    Legal {
        call: "KVM_X86_SET_MCE",
        case: "exceptions/mc-that-is-disabled-for-all-banks",
        numbers: &[],
        why: DISABLED,
    },
    Legal {
        call: "KVM_SET_SREGS",
        case: "stage2/dirty-log-of-no-slot",
        numbers: &[],
        why: "no step of the case runs the guest",
    },
    Legal {
        call: "KVM_SET_SREGS",
        case: "state/task-priority-that-the-host-sets",
        numbers: &[],
        why: "of what it sets anew only CR8 differs, and KVM_SET_LAPIC sets the same task priority",
    },
];

/// Why a lie about a call in a case cannot be seen, if it cannot.
pub fn reason(call: &str, case: &str, number: usize) -> Option<&'static str> {
    let legal = LEGAL.iter().find(|legal| {
        let is_one = legal.numbers.is_empty() || legal.numbers.contains(&number);
        (legal.call, legal.case) == (call, case) && is_one
    });
    legal.map(|legal| legal.why)
}
