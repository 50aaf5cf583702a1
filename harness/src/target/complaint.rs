//! What a kernel, or Xen, says in its log when something is wrong with it: warnings, oopses, lockups.
//!
//! The same text comes two ways: as records of `/dev/kmsg`, and as lines on a console. Either way
//! [`find`] makes complaints of it, each with its report from the first line to the end of its
//! trace.

use serde::{Deserialize, Serialize};

/// Lines of one report that are kept.
const LINES: usize = 48;

/// In which way a kernel complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComplaintKind {
    /// A WARN.
    Warning,
    /// A BUG, or memory that is in no order.
    Bug,
    /// An exception in the kernel itself.
    Oops,
    /// A fault in locking that lockdep or RCU found.
    Lockdep,
    /// A report of KASAN, KCSAN, KFENCE, KMSAN or UBSAN.
    Sanitizer,
    /// A soft or hard lockup, an RCU stall, a task that hangs.
    Stall,
    /// The kernel panicked without another complaint before.
    Panic,
    /// The machine restarted without a word.
    Restart,
    /// The kernel is tainted by a fault of which the log says nothing.
    Taint,
    /// The log has lost messages, so that a complaint may be among them.
    Overrun,
}

impl ComplaintKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Warning,
        Self::Bug,
        Self::Oops,
        Self::Lockdep,
        Self::Sanitizer,
        Self::Stall,
        Self::Panic,
        Self::Restart,
        Self::Taint,
        Self::Overrun,
    ];

    /// Name in deviation files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Bug => "bug",
            Self::Oops => "oops",
            Self::Lockdep => "lockdep",
            Self::Sanitizer => "sanitizer",
            Self::Stall => "stall",
            Self::Panic => "panic",
            Self::Restart => "restart",
            Self::Taint => "taint",
            Self::Overrun => "overrun",
        }
    }

    /// Whether a kernel that is told to panic on an oops, as booted ones are, is dead after it.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Bug | Self::Oops | Self::Panic | Self::Restart)
    }

    /// Whether a scenario that brings it about does so every time, once [`super::kernel_log`] has
    /// made the kernel forget that it warned. Lockdep and sanitizers fall silent after their
    /// first report, and a stall is a matter of time.
    #[must_use]
    pub const fn comes_every_time(self) -> bool {
        matches!(
            self,
            Self::Warning | Self::Bug | Self::Oops | Self::Panic | Self::Restart
        )
    }
}

/// One complaint of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Complaint {
    /// In which way it complains.
    pub kind: ComplaintKind,
    /// The function of the kernel in which it came up, if the report names one.
    pub function: Option<String>,
    /// The line that says what is wrong.
    pub headline: String,
    /// The report, from its first line on, without time stamps.
    pub report: Vec<String>,
}

impl Complaint {
    /// Whether another one is the same but for addresses, times and the like.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.function) == (other.kind, &other.function)
    }

    /// One that is no more than a line.
    #[must_use]
    pub fn line(kind: ComplaintKind, headline: String) -> Self {
        Self {
            kind,
            function: None,
            report: vec![headline.clone()],
            headline,
        }
    }
}

/// The complaints among lines of a log, in their order.
pub fn find<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Complaint> {
    let mut finder = Finder::default();
    for line in lines {
        finder.line(without_stamp(line.trim_end()));
    }
    finder.close();
    finder.found
}

/// A report of which not all lines have come.
struct Open {
    kind: Option<ComplaintKind>,
    headline: String,
    report: Vec<String>,
}

impl Open {
    /// Xen says once more of what it panics.
    fn is_of_xens_end(&self) -> bool {
        self.report.iter().any(|line| line.starts_with("Panic on CPU"))
    }
}

#[derive(Default)]
struct Finder {
    found: Vec<Complaint>,
    open: Option<Open>,
}

impl Finder {
    fn line(&mut self, line: &str) {
        if line.contains("[ cut here ]") {
            self.close();
            self.begin(None, line);
            return;
        }
        match (kind(line), &mut self.open) {
            (Some(kind), None) => self.begin(Some(kind), line),
            (Some(kind), Some(open)) => match open.kind {
                None => {
                    open.kind = Some(kind);
                    line.clone_into(&mut open.headline);
                    open.report.push(line.to_owned());
                }
                Some(before) if continues(before, kind) || open.is_of_xens_end() => {
                    open.report.push(line.to_owned());
                }
                Some(_) => {
                    self.close();
                    self.begin(Some(kind), line);
                }
            },
            (None, Some(open)) => {
                if open.report.len() < LINES && !line.is_empty() {
                    open.report.push(line.to_owned());
                }
            }
            (None, None) => {}
        }
        if line.contains("---[ end trace") || line.contains("---[ end Kernel panic") {
            self.close();
        }
    }

    fn begin(&mut self, kind: Option<ComplaintKind>, line: &str) {
        let panics_after = kind == Some(ComplaintKind::Panic);
        if let Some(last) = self
            .found
            .last_mut()
            .filter(|last| panics_after && last.kind.is_fatal())
        {
            // The oops was the complaint; that the kernel panics on it follows.
            last.report.push(line.to_owned());
            return;
        }
        self.open = Some(Open {
            kind,
            headline: line.to_owned(),
            report: vec![line.to_owned()],
        });
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if open.kind.is_none() {
            // Cut off before its headline: nothing else begins like that.
            if let Some(first) = open.report.get(1) {
                first.clone_into(&mut open.headline);
            }
        }
        self.found.push(Complaint {
            kind: open.kind.unwrap_or(ComplaintKind::Warning),
            function: open.report.iter().find_map(|line| function(line)),
            headline: open.headline,
            report: open.report,
        });
    }
}

/// Whether a line of that kind goes on with a report rather than beginning another one.
const fn continues(report: ComplaintKind, line: ComplaintKind) -> bool {
    use ComplaintKind::{Bug, Oops, Panic, Sanitizer, Stall};
    matches!(
        (report, line),
        (Bug | Oops | Sanitizer, Oops | Panic) | (Stall, Panic)
    )
}

/// What a line complains of, if it begins a complaint.
fn kind(line: &str) -> Option<ComplaintKind> {
    const LOCKDEP: [&str; 10] = [
        "possible circular locking dependency",
        "possible recursive locking",
        "possible irq lock inversion",
        "inconsistent lock state",
        "suspicious RCU usage",
        "bad unlock balance",
        "held lock freed",
        "lock held when returning to user space",
        "Invalid wait context",
        "trying to register non-static key",
    ];
    const SANITIZERS: [&str; 5] = ["BUG: KASAN", "BUG: KCSAN", "BUG: KFENCE", "BUG: KMSAN", "UBSAN:"];
    const STALLS: [&str; 6] = [
        "soft lockup",
        "hard LOCKUP",
        "detected stall",
        "detected expedited stall",
        "self-detected stall",
        "blocked for more than",
    ];
    // Kernels before 6.10 print these without `Oops:`.
    const TRAPS: [&str; 5] = [
        "general protection fault",
        "divide error:",
        "invalid opcode:",
        "stack segment:",
        "double fault:",
    ];
    const OOPSES: [&str; 3] = ["Oops:", "Internal error: ", "Unable to handle kernel "];
    // Xen's (xen/common/bug.c and xen/arch/x86/traps.c).
    const XEN_TRAPS: [&str; 3] = ["FATAL TRAP", "FATAL PAGE FAULT", "DOUBLE FAULT"];
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if has(&LOCKDEP) {
        Some(ComplaintKind::Lockdep)
    } else if has(&SANITIZERS) {
        Some(ComplaintKind::Sanitizer)
    } else if has(&STALLS) {
        Some(ComplaintKind::Stall)
    } else if line.contains("Kernel panic - not syncing") || line.starts_with("Panic on CPU") {
        Some(ComplaintKind::Panic)
    } else if line.starts_with("BUG:")
        || line.starts_with("BUG ")
        || line.contains("kernel BUG at ")
        || line.starts_with("Xen BUG at ")
        || line.starts_with("Assertion '")
    {
        Some(ComplaintKind::Bug)
    // What a process does wrong is logged with `traps: ` and its name before.
    } else if has(&OOPSES) || TRAPS.iter().chain(&XEN_TRAPS).any(|trap| line.starts_with(trap)) {
        Some(ComplaintKind::Oops)
    } else if line.starts_with("WARNING:")
        || line.starts_with("unchecked MSR access error")
        || line.starts_with("Xen WARN at ")
    {
        Some(ComplaintKind::Warning)
    } else {
        None
    }
}

/// The function in the first `name+0x12/0x34` of a line.
fn function(line: &str) -> Option<String> {
    let (before, after) = line.split_once("+0x")?;
    let (_, size) = after.split_once('/')?;
    let of_symbol = |character: char| character.is_ascii_alphanumeric() || "_.".contains(character);
    let name = before.rsplit(|character| !of_symbol(character)).next()?;
    (size.starts_with("0x") && !name.is_empty()).then(|| name.to_owned())
}

/// A line of a console without the time and, if the kernel gives it, the caller before it; of Xen's without its
/// name.
fn without_stamp(line: &str) -> &str {
    let mut rest = line.strip_prefix("(XEN) ").unwrap_or(line);
    while let Some((stamp, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let stamp = stamp.trim_start();
        let is_time = stamp.contains('.') && stamp.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_caller = stamp.len() > 1
            && stamp.starts_with(['T', 'C'])
            && stamp.chars().skip(1).all(|c| c.is_ascii_digit());
        if !is_time && !is_caller {
            break;
        }
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNING: &str = "\
[    4.100000] kvm: loaded
[    5.200000] ------------[ cut here ]------------
[    5.200100] WARNING: CPU: 0 PID: 1 at arch/x86/kvm/mmu/mmu.c:293 mark_mmio_spte+0x60/0x70 [kvm]
[    5.200200] Modules linked in: kvm_amd kvm
[    5.200300] RIP: 0010:mark_mmio_spte+0x60/0x70 [kvm]
[    5.200400] ---[ end trace 0000000000000000 ]---
[    5.200500] something else
";

    fn kinds(text: &str) -> Vec<ComplaintKind> {
        find(text.lines())
            .iter()
            .map(|complaint| complaint.kind)
            .collect()
    }

    #[test]
    fn a_warning_is_its_report_and_nothing_more() {
        let [complaint] = &find(WARNING.lines())[..] else {
            panic!("{:?}", find(WARNING.lines()));
        };
        assert_eq!(complaint.kind, ComplaintKind::Warning);
        assert_eq!(complaint.function.as_deref(), Some("mark_mmio_spte"));
        assert!(complaint.headline.starts_with("WARNING: CPU: 0"), "{complaint:?}");
        assert_eq!(complaint.report.len(), 5);
    }

    #[test]
    fn two_warnings_are_two() {
        assert_eq!(
            kinds(&WARNING.repeat(2)),
            [ComplaintKind::Warning, ComplaintKind::Warning]
        );
    }

    #[test]
    fn an_oops_and_the_panic_that_follows_are_one() {
        let text = "\
[    9.0][    T1] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    9.0][    T1] #PF: supervisor read access in kernel mode
[    9.0][    T1] Oops: Oops: 0000 [#1] SMP NOPTI
[    9.0][    T1] RIP: 0010:kvm_vcpu_ioctl+0x10/0x700 [kvm]
[    9.0][    T1] ---[ end trace 0000000000000000 ]---
[    9.0][    T1] Kernel panic - not syncing: Fatal exception
";
        let found = find(text.lines());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, ComplaintKind::Bug);
        assert_eq!(found[0].function.as_deref(), Some("kvm_vcpu_ioctl"));
        assert!(found[0].report.last().unwrap().contains("Fatal exception"));
    }

    #[test]
    fn what_xen_dies_of_is_one_complaint() {
        let text = "\
(XEN) Assertion 'local_irq_is_enabled()' failed at common/softirq.c:1
(XEN) ----[ Xen-4.17.5  x86_64  debug=n  Not tainted ]----
(XEN) CPU:    0
(XEN) RIP:    e008:[<ffff82d040200000>] do_softirq+0x10/0x20
(XEN) Xen call trace:
(XEN)    [<ffff82d040200000>] R do_softirq+0x10/0x20
(XEN) ****************************************
(XEN) Panic on CPU 0:
(XEN) Assertion 'local_irq_is_enabled()' failed at common/softirq.c:1
(XEN) ****************************************
";
        let found = find(text.lines());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, ComplaintKind::Bug);
        assert_eq!(found[0].function.as_deref(), Some("do_softirq"));
    }

    #[test]
    fn every_kind_is_known_by_its_words() {
        use ComplaintKind::*;
        for (line, kind) in [
            ("WARNING: possible circular locking dependency detected", Lockdep),
            ("WARNING: suspicious RCU usage", Lockdep),
            ("BUG: KASAN: slab-out-of-bounds in f+0x1/0x2", Sanitizer),
            (
                "UBSAN: array-index-out-of-bounds in arch/x86/kvm/x86.c:1:2",
                Sanitizer,
            ),
            (
                "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [init:1]",
                Stall,
            ),
            ("rcu: INFO: rcu_sched self-detected stall on CPU", Stall),
            (
                "INFO: task kworker/0:1:10 blocked for more than 120 seconds.",
                Stall,
            ),
            ("kernel BUG at arch/x86/kvm/x86.c:1!", Bug),
            (
                "general protection fault, probably for non-canonical address",
                Oops,
            ),
            ("Internal error: Oops: 0000000096000004 [#1] SMP", Oops),
            ("Kernel panic - not syncing: sysrq triggered crash", Panic),
            ("(XEN) Panic on CPU 0:", Panic),
            ("(XEN) Xen BUG at arch/x86/traps.c:1", Bug),
            ("(XEN) Xen WARN at common/domain.c:1", Warning),
            ("(XEN) FATAL TRAP: vector = 13 (general protection fault)", Oops),
            (
                "WARNING: arch/x86/kvm/mmu.c:1 at f+0x1/0x2 [kvm], CPU#0: init/1",
                Warning,
            ),
        ] {
            assert_eq!(kinds(line), [kind], "{line}");
        }
    }

    #[test]
    fn what_is_no_complaint_is_none() {
        for line in [
            "traps: conform[7] general protection fault ip:1 sp:2 error:0",
            "Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "kvm: Nested Virtualization enabled",
            "(XEN) Domain 0 (vcpu#0) crashed on cpu#0:",
            "",
        ] {
            assert_eq!(kinds(line), [], "{line}");
        }
    }

    #[test]
    fn a_report_without_a_headline_is_a_warning() {
        let found = find(["------------[ cut here ]------------", "odd thing"]);
        assert_eq!(
            (found[0].kind, found[0].headline.as_str()),
            (ComplaintKind::Warning, "odd thing")
        );
    }
}
