//! What the kernel that runs a guest complained of, and that it died, as part of a verdict.
//!
//! A scenario in which the kernel complained never conforms. A deviation can list a complaint for
//! certain cases; there it is known, and if it does not come any more, that is said.

use spec_model::requirement;

use super::cited::Cited;
use super::difference::{Difference, Source, Subject};
use super::stop::Place;
use super::value::Value;
use super::{Against, Verdict};
use crate::deviation::{Deviation, ListedComplaint};
use crate::target::complaint::{Complaint, ComplaintKind};
use crate::target::event::HowDied;
use crate::target::kernel_log::Watched;
use crate::target::{Death, Ran, Run};

/// The verdict on what the guest did with the kernel's complaints taken into it. `applicable` are
/// the deviations of the target, and `watched` says how much of its complaints is seen.
#[must_use]
pub fn with_complaints<'d>(
    verdict: Verdict<'d>,
    case: &str,
    ran: &Ran,
    applicable: &[&'d Deviation],
    watched: &Watched,
) -> Verdict<'d> {
    let listed: Vec<&'d Deviation> = applicable
        .iter()
        .copied()
        .filter(|deviation| {
            deviation
                .complaint
                .as_ref()
                .is_some_and(|listed| listed.comes_in(case))
        })
        .collect();
    let is = |deviation: &Deviation, complaint: &Complaint| {
        deviation
            .complaint
            .as_ref()
            .is_some_and(|listed| listed.is(complaint))
    };
    let unknown: Vec<&Complaint> = ran
        .complaints
        .iter()
        .filter(|complaint| !listed.iter().any(|deviation| is(deviation, complaint)))
        .collect();
    let (came, stayed_away): (Vec<&Deviation>, Vec<&Deviation>) = listed
        .into_iter()
        .partition(|deviation| ran.complaints.iter().any(|complaint| is(deviation, complaint)));
    if let Run::Died(death) = &ran.run {
        let is_explained = came
            .iter()
            .any(|deviation| explains(deviation, death, &ran.complaints));
        return match (unknown.is_empty(), is_explained) {
            (true, true) => Verdict::KnownDeviation(came),
            _ => Verdict::Deviates {
                differences: std::iter::once(died(case, death))
                    .chain(unknown.into_iter().map(|complaint| complained(case, complaint)))
                    .collect(),
                against: Against::Pure,
            },
        };
    }
    if !unknown.is_empty() {
        return deviates(verdict, case, &unknown);
    }
    // A complaint that comes once since the kernel booted may have come before.
    let ought = |deviation: &&Deviation| {
        let listed = deviation.complaint.as_ref();
        *watched == Watched::Every && listed.is_some_and(ListedComplaint::comes_every_time)
    };
    let stayed_away: Vec<&Deviation> = stayed_away.into_iter().filter(ought).collect();
    match verdict {
        Verdict::Conforms if !came.is_empty() => Verdict::KnownDeviation(came),
        Verdict::Conforms | Verdict::KnownDeviation(_) if !stayed_away.is_empty() => {
            Verdict::UnexpectedlyConforms(stayed_away)
        }
        Verdict::KnownDeviation(mut known) => {
            known.extend(came);
            Verdict::KnownDeviation(known)
        }
        verdict => verdict,
    }
}

/// Whether what a deviation lists explains a death: the kernel panics after a fatal complaint of the list, or hangs
/// where the list says so.
fn explains(deviation: &Deviation, death: &Death, complaints: &[Complaint]) -> bool {
    let Some(listed) = &deviation.complaint else {
        return false;
    };
    let mut came = complaints.iter().filter(|complaint| listed.is(complaint));
    match death.how {
        HowDied::Hung => listed.hangs || came.any(|complaint| complaint.kind == ComplaintKind::Stall),
        HowDied::Panicked | HowDied::Restarted => came.any(|complaint| complaint.kind.is_fatal()),
    }
}

/// The verdict with these complaints, which nothing lists.
fn deviates<'d>(verdict: Verdict<'d>, case: &str, complaints: &[&Complaint]) -> Verdict<'d> {
    let complained = complaints.iter().map(|complaint| complained(case, complaint));
    match verdict {
        Verdict::Deviates {
            mut differences,
            against,
        } => {
            differences.extend(complained);
            Verdict::Deviates { differences, against }
        }
        other => {
            let mut differences: Vec<Difference> = complained.collect();
            let against = match other {
                Verdict::KnownDeviation(known) => Against::WithDeviations(known),
                Verdict::Broken(reason) => {
                    // What the guest did is not known, and that is not to be lost.
                    if let Some(Value::Text(seen)) = differences.first_mut().map(|first| &mut first.seen) {
                        *seen += &format!("; what the guest did is not known: {reason}");
                    }
                    Against::Pure
                }
                _ => Against::Pure,
            };
            Verdict::Deviates { differences, against }
        }
    }
}

fn complained(case: &str, complaint: &Complaint) -> Difference {
    difference(
        case,
        Subject::Complaint(complaint.clone()),
        "no complaint",
        complaint.headline.clone(),
    )
}

fn died(case: &str, death: &Death) -> Difference {
    let console = death.console.clone();
    let seen = format!("{}, {}", death.how.name(), death.again.name());
    difference(case, Subject::KernelDied { console }, "goes on", seen)
}

fn difference(case: &str, subject: Subject, allowed: &str, seen: String) -> Difference {
    Difference {
        case: case.to_owned(),
        place: Place::Kernel,
        subject,
        allowed: vec![Value::Text(allowed.to_owned())],
        seen: Value::Text(seen),
        cited: Cited::one(&requirement::HOST_001),
        source: Source::Always,
    }
}

#[cfg(test)]
mod tests;
