//! Exit statuses, and why a command ended early.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use crate::interrupt;
use crate::judge::VerdictKind;
use crate::provision::ProvisionError;
use crate::report::summary::TargetSummary;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything conforms; known deviations and unsupported cases are allowed.
    Conforms,
    /// Something deviates or unexpectedly conforms.
    Deviates,
    /// The command or a file is wrong.
    Wrong,
    /// Not everything that was asked for has a verdict.
    Incomplete,
    /// It was interrupted (128 + SIGINT).
    Interrupted,
    /// It was asked to end (128 + SIGTERM).
    Terminated,
    /// Whoever read the output stopped reading (128 + SIGPIPE).
    Unread,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

impl Status {
    /// The number that the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Conforms => 0,
            Self::Deviates => 1,
            Self::Wrong => 2,
            Self::Incomplete => 3,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Unread => 141,
        }
    }

    /// Of two things that came of one command, the one that counts more: a deviation, then
    /// what is missing.
    #[must_use]
    pub(super) fn max_with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deviates, _) | (_, Self::Deviates) => Self::Deviates,
            (Self::Conforms, other) => other,
            (own, _) => own,
        }
    }

    /// The status because of a signal, if one came.
    pub(super) fn of_signal() -> Option<Self> {
        interrupt::received().map(|signal| match signal {
            interrupt::TERMINATE => Self::Terminated,
            _ => Self::Interrupted,
        })
    }

    /// Of several: a deviation that was found counts more than what is missing beside it.
    #[must_use]
    pub fn worst(statuses: impl IntoIterator<Item = Self>) -> Self {
        statuses.into_iter().fold(Self::Conforms, Self::max_with)
    }

    /// The status of what one target did. Each target has to prove something by itself: one on
    /// which nothing conforms, not even as a known deviation, proves nothing, and what another
    /// target showed does not make up for it. `complained` says that the target's kernel did, apart
    /// from what its verdicts say.
    #[must_use]
    pub fn of_target(counts: impl Fn(VerdictKind) -> usize, complained: bool, is_complete: bool) -> Self {
        let red = counts(VerdictKind::Deviates) + counts(VerdictKind::UnexpectedlyConforms);
        let proved = counts(VerdictKind::Conforms) + counts(VerdictKind::KnownDeviation);
        if complained || red > 0 {
            Self::Deviates
        } else if proved == 0 || !is_complete {
            Self::Incomplete
        } else {
            Self::Conforms
        }
    }

    /// The status of a run on these targets, one at least.
    #[must_use]
    pub fn of_run(summaries: &[TargetSummary]) -> Self {
        if summaries.is_empty() {
            return Self::Incomplete;
        }
        let of_one = |one: &TargetSummary| {
            Self::of_target(|kind| one.of(kind), !one.complaints.is_empty(), one.is_complete())
        };
        Self::worst(summaries.iter().map(of_one))
    }
}

/// Why a command ended before it did what it was asked to.
#[derive(Debug, thiserror::Error)]
pub struct Failure {
    /// What the process exits with.
    pub status: Status,
    /// What to print, a line each.
    pub messages: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.messages.join("\n"))
    }
}

impl Failure {
    /// The command or a file is wrong.
    pub fn wrong(message: impl fmt::Display) -> Self {
        Self {
            status: Status::Wrong,
            messages: vec![message.to_string()],
        }
    }

    /// The machine failed.
    pub fn incomplete(message: impl fmt::Display) -> Self {
        Self {
            status: Status::Incomplete,
            messages: vec![message.to_string()],
        }
    }

    /// Prints the messages for the user.
    pub fn report(&self) {
        for message in &self.messages {
            // Where nobody listens any more, the exit status has to do.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        if matches!(error, ProvisionError::NoSuchCache { .. }) {
            return Self::wrong(error);
        }
        let mut failure = Self::incomplete(&error);
        if let (ProvisionError::Interrupted, Some(status)) = (&error, Status::of_signal()) {
            failure.status = status;
        }
        failure
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // `conform run | head`: whoever stops reading knows it.
            return Self {
                status: Status::Unread,
                messages: Vec::new(),
            };
        }
        Self::incomplete(format_args!("the output cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::SummarizedLoss;
    use crate::target::complaint::{Complaint, ComplaintKind};

    fn summary(kinds: &[(VerdictKind, usize)]) -> TargetSummary {
        TargetSummary {
            cases: kinds.iter().map(|(_, count)| count).sum(),
            counts: kinds.iter().copied().collect(),
            ..TargetSummary::default()
        }
    }

    #[test]
    fn the_status_follows_the_verdicts() {
        use VerdictKind::*;
        for (kinds, status) in [
            (vec![(Conforms, 3)], 0),
            (vec![(Conforms, 1), (KnownDeviation, 1), (Unsupported, 1)], 0),
            (vec![(KnownDeviation, 1)], 0),
            (vec![(Conforms, 3), (Deviates, 1)], 1),
            (vec![(Conforms, 3), (UnexpectedlyConforms, 1)], 1),
            (vec![(Conforms, 3), (Broken, 1)], 3),
            (vec![(Deviates, 1), (Broken, 1)], 1),
            (vec![(Unsupported, 3)], 3),
            (vec![], 3),
        ] {
            assert_eq!(Status::of_run(&[summary(&kinds)]).code(), status, "{kinds:?}");
        }
        assert_eq!(Status::of_run(&[]).code(), 3);
    }

    #[test]
    fn no_target_excuses_another_one() {
        use VerdictKind::*;
        let good = summary(&[(Conforms, 546)]);
        for (kinds, status) in [
            (vec![(Unsupported, 546)], 3),
            (vec![(Broken, 546)], 3),
            (vec![(Unsupported, 545), (Deviates, 1)], 1),
            (vec![(Unsupported, 545), (KnownDeviation, 1)], 0),
        ] {
            let bad = summary(&kinds);
            assert_eq!(
                Status::of_run(&[good.clone(), bad.clone()]).code(),
                status,
                "{kinds:?}"
            );
            assert_eq!(Status::of_run(&[bad, good.clone()]).code(), status, "{kinds:?}");
        }
    }

    #[test]
    fn a_reader_that_stopped_reading_is_told_nothing() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((failure.status.code(), failure.messages.len()), (141, 0));
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!((failure.status.code(), failure.messages.len()), (3, 1));
    }

    #[test]
    fn what_is_missing_makes_a_run_incomplete() {
        let complete = summary(&[(VerdictKind::Conforms, 3)]);
        let mut short = complete.clone();
        short.cases = 4;
        let mut unusable = complete.clone();
        unusable.unusable = Some("no device".to_owned());
        let mut lost = complete.clone();
        lost.boots_lost.push(SummarizedLoss {
            case: None,
            reason: "QEMU ended".to_owned(),
        });
        let mut explained = lost.clone();
        explained.boots_lost[0].case = Some("a/b".to_owned());
        assert_eq!(Status::of_run(&[explained]), Status::Conforms);
        for other in [short, unusable, lost] {
            assert_eq!(Status::of_run(&[complete.clone(), other]), Status::Incomplete);
        }
    }

    #[test]
    fn a_complaint_of_no_case_fails_the_run() {
        let mut complained = summary(&[(VerdictKind::Conforms, 3)]);
        let warning = Complaint::line(ComplaintKind::Warning, "WARNING: at the end".to_owned());
        complained.complaints.push(warning);
        assert_eq!(Status::of_run(&[complained]), Status::Deviates);
    }
}
