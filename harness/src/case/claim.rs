//! What a case says of every schedule of its processors.

use super::document::Located;
use super::expectation::{AllowedValue, ENDS, FieldExpectation};
use super::observe::{self, Observable};
use super::reach::Reach;
use super::resolve::Resolver;
use super::syntax::{ExploreEntry, Possibility};

/// What a case says of all its schedules.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Whether a processor can crash: shut down, or make the hypervisor give up.
    pub crash: bool,
    /// Turns of the shortest schedule after which one has; not checked if absent.
    pub shortest: Option<usize>,
    /// Whether processors can end up waiting for each other for ever.
    pub stranded: bool,
    /// How many ways to end there are; not checked if absent.
    pub endings: Option<usize>,
    /// Points that no schedule comes to, or that one does.
    pub points: Vec<PointClaim>,
}

/// A point that is never reached or possibly reached, with what is observed there.
#[derive(Clone, Debug, PartialEq)]
pub struct PointClaim {
    /// The point.
    pub at: String,
    /// Only if this processor reaches it.
    pub vcpu: Option<u8>,
    /// Only if all of this is observed there.
    pub fields: Vec<FieldExpectation>,
    /// Whether a schedule leads there.
    pub possible: bool,
    /// Turns of the shortest schedule that does; not checked if absent.
    pub turns: Option<usize>,
    /// The claim as the case writes it, for reports.
    pub text: String,
}

/// Reads the claim of a case.
pub(super) fn claim(
    written: &ExploreEntry,
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) -> Claim {
    let crash = written.crash == Possibility::Possible;
    if let Some(shortest) = written.shortest.as_ref().filter(|_| !crash) {
        resolver.mistakes.add(
            shortest.at,
            "a way to a crash that is never to happen",
            "leave out `shortest`, or write `crash: possible`",
        );
    }
    let mut points = Vec::new();
    for (list, possible) in [(&written.never, false), (&written.possible, true)] {
        for reach in list {
            points.push(point(reach, possible, observable, resolver));
        }
    }
    Claim {
        crash,
        shortest: written
            .shortest
            .as_ref()
            .map(|shortest| usize::from(shortest.value)),
        stranded: written.stranded == Some(Possibility::Possible),
        endings: written.endings.map(usize::from),
        points,
    }
}

fn point(
    reach: &Located<Reach>,
    possible: bool,
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) -> PointClaim {
    let Reach {
        at,
        vcpu,
        turns,
        fields,
    } = &reach.value;
    if ENDS.contains(&at.value.as_str()) {
        resolver.mistakes.add(
            at.at,
            format!("`{}` is no point", at.value),
            "name a `sync` or `halt` of the code; `crash` and `endings` are about how runs end",
        );
    } else {
        observe::check_stop(&at.value, at.at, observable, resolver);
    }
    if let Some(turns) = turns.as_ref().filter(|_| !possible) {
        resolver.mistakes.add(
            turns.at,
            "a way to a point that is never to be reached",
            "leave out `turns`, or move the entry to `possible`",
        );
    }
    let mut read = Vec::new();
    observe::read_fields(fields, observable, resolver, &mut |name, field, allowed, _| {
        read.push(FieldExpectation {
            at: at.value.clone(),
            nth: None,
            vcpu: None,
            field,
            allowed,
            because: None,
            line: name.at.line,
            column: name.at.column,
        });
    });
    let mut text = format!("`{}`", at.value);
    if let Some(vcpu) = vcpu {
        text += &format!(" on vCPU {}", vcpu.value);
    }
    let conditions: Vec<String> = fields
        .iter()
        .map(|(name, _)| {
            let wanted = read
                .iter()
                .find(|field| (field.line, field.column) == (name.at.line, name.at.column));
            match wanted.map(|field| &field.allowed) {
                Some(AllowedValue::Exactly(value)) => format!("{} {value:#x}", name.value),
                _ => format!("{} as the case says", name.value),
            }
        })
        .collect();
    if !conditions.is_empty() {
        text += &format!(" with {}", conditions.join(" and "));
    }
    PointClaim {
        at: at.value.clone(),
        vcpu: vcpu.as_ref().and_then(|vcpu| resolver.vcpu(vcpu)),
        fields: read,
        possible,
        turns: turns.as_ref().map(|turns| usize::from(turns.value)),
        text,
    }
}
