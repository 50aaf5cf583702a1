//! Why a boot was lost, as far as the console tells: did the kernel die, or something else?

use super::emulator::Lost;
use crate::target::complaint::{Complaint, ComplaintKind};
use crate::target::event::HowDied;

/// Panics that are not about KVM: the agent ended, or the machine has too little memory for it.
const NOT_THE_KERNEL: [&str; 3] = [
    "Attempted to kill init",
    "System is deadlocked on memory",
    "Out of memory",
];

/// Why a boot was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its kernel died.
    Kernel(HowDied),
    /// The emulator, the agent or whatever else; or nobody knows.
    Other,
}

/// Why a boot was lost. `complaints` are those that the agent did not get to tell.
pub(super) fn cause(lost: &Lost, complaints: &[Complaint], console: &str) -> Cause {
    if NOT_THE_KERNEL.iter().any(|words| console.contains(words)) {
        return Cause::Other;
    }
    let complains = |of: fn(ComplaintKind) -> bool| complaints.iter().any(|complaint| of(complaint.kind));
    match lost {
        Lost::Stopped | Lost::Corrupt(_) | Lost::Killed(_) => Cause::Other,
        _ if complains(ComplaintKind::is_fatal) => Cause::Kernel(HowDied::Panicked),
        Lost::Silent(_)
            if complains(|kind| matches!(kind, ComplaintKind::Stall | ComplaintKind::Warning)) =>
        {
            Cause::Kernel(HowDied::Hung)
        }
        Lost::Restarted => Cause::Kernel(HowDied::Restarted),
        Lost::Silent(_) | Lost::Ended(_) => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;
    use crate::target::complaint::find;

    #[test]
    fn only_what_the_kernel_says_or_does_is_its_death() {
        let silent = || Lost::Silent(Duration::from_secs(1));
        let crashed = || Lost::Ended(ExitStatus::from_raw(11));
        let killed = || Lost::Killed("terminating on signal 15".to_owned());
        let panic = "Kernel panic - not syncing: sysrq triggered crash";
        let agent = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b";
        let lockup = "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [init:1]";
        let warning =
            "WARNING: CPU: 0 PID: 1 at arch/x86/kvm/mmu/mmu.c:2982 mmu_try_to_unsync_pages+0x15a/0x190 [kvm]";
        for (lost, console, wanted) in [
            (Lost::Restarted, panic, Cause::Kernel(HowDied::Panicked)),
            (crashed(), panic, Cause::Kernel(HowDied::Panicked)),
            (silent(), lockup, Cause::Kernel(HowDied::Hung)),
            (silent(), warning, Cause::Kernel(HowDied::Hung)),
            (crashed(), warning, Cause::Other),
            (Lost::Restarted, "", Cause::Kernel(HowDied::Restarted)),
            (Lost::Restarted, agent, Cause::Other),
            (silent(), "", Cause::Other),
            (crashed(), "", Cause::Other),
            (killed(), "", Cause::Other),
        ] {
            let complaints = find(console.lines());
            assert_eq!(cause(&lost, &complaints, console), wanted, "{lost:?} {console}");
        }
    }
}
