//! Compares what became of the state that the host set.

use spec_model::host_state::{Fault, StateFault};
use spec_model::outcome::Outcome;
use spec_model::requirement;
use spec_model::transcript::Transcript;

use super::CaseView;
use super::cited::Cited;
use super::difference::{Difference, Source, Subject};
use super::stop::{self, Place};
use super::value::Value;
use crate::case::{RefusalExpectation, errno_name};

/// What a setter does that refuses nothing.
const TAKEN: &str = "taken";

/// The differences between what was allowed not to be taken and what was not taken.
pub(super) fn compare(case: &CaseView<'_>, outcome: &Outcome, seen: &Transcript) -> Vec<Difference> {
    let allowed = &outcome.transcript.state_faults;
    let mut differences = beyond(case, allowed, seen);
    for fault in allowed.iter().filter(|fault| !seen.state_faults.contains(fault)) {
        let (subject, right, value) = describe(fault);
        differences.push(Difference {
            case: case.name.to_owned(),
            place: place(case, seen, fault.after),
            subject,
            allowed: vec![value],
            seen: right.into_iter().next().unwrap_or(Value::Absent),
            cited: refusal_rules(case),
            source: Source::Model,
        });
    }
    differences
}

/// What was not taken beyond what was allowed not to be.
pub(super) fn beyond(case: &CaseView<'_>, allowed: &[StateFault], seen: &Transcript) -> Vec<Difference> {
    let mut differences = Vec::new();
    for fault in seen.state_faults.iter().filter(|fault| !allowed.contains(fault)) {
        let (subject, allowed, value) = describe(fault);
        differences.push(Difference {
            case: case.name.to_owned(),
            place: place(case, seen, fault.after),
            subject,
            allowed,
            seen: value,
            cited: Cited::one(fault.requirement()),
            source: Source::Model,
        });
    }
    differences
}

/// The rules by which a state is refused, of those that the case checks; all of them if none.
fn refusal_rules(case: &CaseView<'_>) -> Cited {
    let all = [
        &requirement::STATE_016,
        &requirement::STATE_017,
        &requirement::STATE_018,
    ];
    let is_checked = |rule: &&'static requirement::Requirement| case.checks.contains(rule);
    match Cited::found(all.into_iter().filter(is_checked)) {
        Cited::Rules(rules) => Cited::Rules(rules),
        Cited::NotSought | Cited::Unknown => Cited::found(all),
    }
}

/// What differs, its values where nothing is wrong, and its value with the fault.
fn describe(fault: &StateFault) -> (Subject, Vec<Value>, Value) {
    let vcpu = fault.vcpu;
    match &fault.what {
        Fault::Refused { call, errno } => (
            Subject::HostCall {
                name: call.name().to_owned(),
                vcpu,
            },
            vec![Value::Text(TAKEN.to_owned())],
            refused(*errno),
        ),
        Fault::MsrRefused { index, value } => (
            Subject::HostCall {
                name: format!("KVM_SET_MSRS of MSR {index:#x} := {value:#x}"),
                vcpu,
            },
            vec![Value::Text(TAKEN.to_owned())],
            Value::Text("refused".to_owned()),
        ),
        Fault::NotKept { field, set, read } => {
            let bits = spec_model::x86::field::Field::named(field).map_or(64, |field| field.bits);
            let subject = Subject::ReadBack {
                name: field.clone(),
                vcpu,
            };
            (
                subject,
                vec![Value::number(*set, bits)],
                Value::number(*read, bits),
            )
        }
        Fault::Told {
            call,
            member,
            allowed,
            read,
        } => {
            let subject = Subject::HostCall {
                name: format!("{member} of {}", call.name()),
                vcpu,
            };
            let allowed = allowed.iter().map(|value| Value::number(*value, 64));
            (subject, allowed.collect(), Value::number(*read, 64))
        }
        Fault::NotCompleted { exit } => (
            Subject::HostCall {
                name: "KVM_RUN with immediate_exit, to complete an OUT".to_owned(),
                vcpu,
            },
            vec![Value::Text("EINTR".to_owned())],
            Value::Text(exit.clone()),
        ),
        Fault::Slot {
            space,
            address,
            size,
            made,
        } => {
            let (done, there, seen) = if *made {
                ("made", "it is there", "another one can be made in its place")
            } else {
                ("deleted", "it is gone", "it can be deleted once more")
            };
            let name = format!(
                "KVM_SET_USER_MEMORY_REGION, by which a slot of {size:#x} bytes at {address:#x} in address space \
                 {space} is {done}"
            );
            (
                Subject::HostCall { name, vcpu },
                vec![Value::Text(there.to_owned())],
                Value::Text(seen.to_owned()),
            )
        }
    }
}

fn refused(errno: i32) -> Value {
    Value::Text(format!("refused ({})", errno_name(errno)))
}

fn place(case: &CaseView<'_>, seen: &Transcript, after: Option<u32>) -> Place {
    match after.and_then(|index| usize::try_from(index).ok()) {
        None => Place::Start,
        Some(index) => Place::of(case.scenario, seen, index),
    }
}

/// The refusals that a person expects and that did not come. `number` is that of the first of them
/// among all expectations.
pub(super) fn check(case: &CaseView<'_>, seen: &Transcript, number: usize) -> Vec<Difference> {
    let expected = case.expectations.refusals.iter().enumerate();
    let failed = expected.filter_map(|(index, expectation)| {
        let (place, what) = unfulfilled(case, seen, expectation)?;
        let vcpu = match place {
            Place::At { vcpu, .. } => vcpu,
            _ => 0,
        };
        Some(Difference {
            case: case.name.to_owned(),
            place,
            subject: Subject::HostCall {
                name: expectation.call.name().to_owned(),
                vcpu,
            },
            allowed: vec![refused(expectation.errno)],
            seen: what,
            cited: refusal_rules(case),
            source: Source::Expectation {
                index: number + index,
                line: expectation.line,
                column: expectation.column,
            },
        })
    });
    failed.collect()
}

/// Where the host's setting should have been refused and was not, and what came instead.
fn unfulfilled(
    case: &CaseView<'_>,
    seen: &Transcript,
    expectation: &RefusalExpectation,
) -> Option<(Place, Value)> {
    let refusal = |after: Option<u32>| {
        let mut faults = seen.state_faults.iter().filter(|fault| fault.after == after);
        faults.find_map(|fault| match fault.what {
            Fault::Refused { call, errno } if call == expectation.call => Some(errno),
            _ => None,
        })
    };
    let value = |errno: Option<i32>| errno.map_or(Value::Text(TAKEN.to_owned()), refused);
    let Some((point, nth)) = &expectation.at else {
        let errno = refusal(None);
        return (errno != Some(expectation.errno)).then(|| (Place::Start, value(errno)));
    };
    for (index, observation) in seen.observations.iter().enumerate() {
        let here = stop::name(case.scenario, observation.stop) == point
            && nth.is_none_or(|wanted| {
                matches!(Place::of(case.scenario, seen, index), Place::At { nth, .. } if nth == wanted)
            });
        if !here {
            continue;
        }
        let errno = refusal(u32::try_from(index).ok());
        if errno != Some(expectation.errno) {
            return Some((Place::of(case.scenario, seen, index), value(errno)));
        }
    }
    None
}
