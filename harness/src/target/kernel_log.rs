//! Watching the kernel whose KVM is tested: its log and its taint.
//!
//! The log is read through `/dev/kmsg` from where it ends when watching starts (Linux
//! `Documentation/ABI/testing/dev-kmsg`), the taint through `/proc/sys/kernel/tainted` (Linux
//! `Documentation/admin-guide/tainted-kernels.rst`).
//!
//! On a host that does other things as well, every complaint counts that the kernel itself logs
//! while a scenario runs, whoever brought it about: nothing in a report says for certain that it is
//! not KVM's, and its text is shown. What a process writes into the log does not count there. In a
//! kernel that was booted for the suite there is nobody else, and all of it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use serde::{Deserialize, Serialize};

use super::complaint::{Complaint, ComplaintKind, find};

const LOG: &str = "/dev/kmsg";
const TAINT: &str = "/proc/sys/kernel/tainted";
/// What makes the kernel forget which of its warnings that come only once have come (Linux commit
/// b1fca27d384e).
const FORGET_WARNINGS: &str = "/sys/kernel/debug/clear_warn_once";
/// The longest record, in bytes (Linux `CONSOLE_EXT_LOG_MAX` and `PRINTKRB_RECORD_MAX`).
const RECORD: usize = 16 << 10;
/// Taints that are the mark of a fault, with what they stand for: a machine check, a bad page, an
/// oops, a warning, a soft lockup.
const FAULTS: [(u32, &str); 5] = [
    (4, "M: a machine check"),
    (5, "B: a bad page"),
    (7, "D: an oops or a BUG"),
    (9, "W: a warning"),
    (14, "L: a soft lockup"),
];

/// How much of what a kernel complains of is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// All of it, and a warning that the kernel gives once is given in every scenario that brings
    /// it about.
    Every,
    /// All of it; of a warning that the kernel gives once, only the first one since it booted.
    First,
    /// Only that the kernel is tainted for the first time, for this reason.
    TaintOnly(String),
    /// Nothing, for this reason.
    Not(String),
    /// Nobody has said.
    #[default]
    Unknown,
}

impl Watched {
    /// What a report has to say about it, if anything is not seen.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        match self {
            Self::Every | Self::First => None,
            Self::TaintOnly(reason) => Some(format!(
                "the kernel's log cannot be read ({reason}), so that a WARN shows only as the first taint"
            )),
            Self::Not(reason) => Some(format!(
                "a WARN or an oops of the kernel would not be seen: {reason}"
            )),
            Self::Unknown => None,
        }
    }
}

/// The log and the taint of the kernel that this process runs on.
pub struct KernelLog {
    log: Option<File>,
    /// Only what the kernel says counts, not what processes write into its log.
    kernel_only: bool,
    /// The taint that is known.
    taint: Option<u64>,
    watched: Watched,
}

impl KernelLog {
    /// Of a kernel that does nothing but this. Its warnings are armed again after each.
    #[must_use]
    pub fn of_own_kernel() -> Self {
        let mut log = Self::open(false);
        if log.watched == Watched::First && forget_warnings() {
            log.watched = Watched::Every;
        }
        log
    }

    /// Of a kernel that may do other things as well, and whose settings are left alone.
    #[must_use]
    pub fn of_host() -> Self {
        Self::open(true)
    }

    fn open(kernel_only: bool) -> Self {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(LOG)
            .and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log));
        let taint = taint();
        let (log, watched) = match (opened, taint) {
            (Ok(log), _) => (Some(log), Watched::First),
            (Err(error), Some(_)) => (None, Watched::TaintOnly(format!("{LOG}: {error}"))),
            (Err(error), None) => (
                None,
                Watched::Not(format!("{LOG}: {error}; {TAINT} cannot be read either")),
            ),
        };
        Self {
            log,
            kernel_only,
            taint,
            watched,
        }
    }

    /// How much is seen.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// What the kernel has complained of since this was called last.
    pub fn complaints(&mut self) -> Vec<Complaint> {
        let mut complaints = self.logged();
        let before = self.taint;
        self.taint = taint();
        if let (Some(before), Some(now)) = (before, self.taint)
            && complaints.is_empty()
        {
            complaints.extend(unexplained(before, now));
        }
        let warned = |complaint: &Complaint| complaint.kind == ComplaintKind::Warning;
        if self.watched == Watched::Every && complaints.iter().any(warned) {
            forget_warnings();
        }
        complaints
    }

    fn logged(&mut self) -> Vec<Complaint> {
        let Some(log) = &mut self.log else {
            return Vec::new();
        };
        let mut record = [0; RECORD];
        let (mut text, mut overrun) = (String::new(), false);
        loop {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let bytes = record.get(..length).unwrap_or_default();
                    if let Some(message) = message(&String::from_utf8_lossy(bytes), self.kernel_only) {
                        text.push_str(&message);
                        text.push('\n');
                    }
                }
                Err(error) if error.kind() == ErrorKind::BrokenPipe => overrun = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Without a further record it would block.
                Err(_) => break,
            }
        }
        let mut complaints = find(text.lines());
        if overrun {
            let headline = "the kernel's log has lost messages of this scenario: too many came";
            complaints.push(Complaint::line(ComplaintKind::Overrun, headline.to_owned()));
        }
        complaints
    }
}

/// The text of a record of `/dev/kmsg`, without what belongs to it for machines.
fn message(record: &str, kernel_only: bool) -> Option<String> {
    let (prefix, rest) = record.split_once(';')?;
    // Facility times 8 plus severity; facility 0 is the kernel.
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    if kernel_only && priority >> 3 != 0 {
        return None;
    }
    let text = rest.split('\n').next().unwrap_or(rest);
    // A message of several lines is one record.
    Some(text.replace("\\x0a", "\n"))
}

fn taint() -> Option<u64> {
    fs::read_to_string(TAINT).ok()?.trim().parse().ok()
}

/// A complaint about taints that came without one.
fn unexplained(before: u64, now: u64) -> Option<Complaint> {
    let came = now & !before;
    let names: Vec<&str> = FAULTS
        .iter()
        .filter(|(bit, _)| came & 1 << bit != 0)
        .map(|(_, name)| *name)
        .collect();
    (!names.is_empty()).then(|| {
        let headline = format!("the kernel is tainted now ({})", names.join(", "));
        Complaint::line(ComplaintKind::Taint, headline)
    })
}

/// Whether it worked.
fn forget_warnings() -> bool {
    fs::write(FORGET_WARNINGS, "1").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_processes_count_only_where_there_are_no_others() {
        let kernel = "4,1,2,-;WARNING: CPU: 0 PID: 1 at f+0x1/0x2\n SUBSYSTEM=x\n";
        let process = "12,1,2,-;WARNING: from a process\n";
        assert_eq!(
            message(kernel, true).as_deref(),
            Some("WARNING: CPU: 0 PID: 1 at f+0x1/0x2")
        );
        assert_eq!(message(process, true), None);
        assert_eq!(
            message(process, false).as_deref(),
            Some("WARNING: from a process")
        );
        assert_eq!(message("4,1,2,-;a\\x0ab", true).as_deref(), Some("a\nb"));
        for damaged in ["", "x", "x;y"] {
            assert_eq!(message(damaged, true), None, "{damaged}");
        }
    }

    #[test]
    fn only_taints_by_faults_are_complaints() {
        const UNSIGNED_MODULE: u64 = 1 << 13;
        assert_eq!(unexplained(0, UNSIGNED_MODULE), None);
        assert_eq!(unexplained(1 << 9, 1 << 9), None);
        let complaint = unexplained(1 << 9, 1 << 9 | 1 << 7).unwrap();
        assert_eq!(complaint.kind, ComplaintKind::Taint);
        assert!(complaint.headline.contains("D: an oops"), "{complaint:?}");
    }

    #[test]
    fn whatever_cannot_be_read_is_said() {
        let mut log = KernelLog::of_host();
        match (log.watched(), &log.log) {
            (Watched::First, Some(_)) => {}
            (Watched::TaintOnly(_) | Watched::Not(_), None) => assert!(log.watched().gap().is_some()),
            other => panic!("{:?}", other.0),
        }
        // Nothing to assert about what other programs bring about meanwhile.
        let _ = log.complaints();
    }
}
