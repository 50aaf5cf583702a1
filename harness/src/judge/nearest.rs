//! Picks, of several allowed outcomes, the one that a run came nearest to.

use spec_model::outcome::Outcome;
use spec_model::transcript::{Stop, Transcript};

use super::CaseView;
use super::compare::{Comparison, compare};
use super::difference::{Difference, Subject};
use super::observed::read;
use super::value::Value;
use crate::case::ObservedField;

/// The nearest outcome and what differs from it.
pub(super) struct Nearest<'o> {
    pub(super) outcome: &'o Outcome,
    pub(super) comparison: Comparison,
}

impl Nearest<'_> {
    /// The run is this outcome.
    pub(super) fn matches(&self) -> bool {
        self.comparison.differences.is_empty()
    }
}

/// The nearest of `outcomes`; nothing if there are none.
pub(super) fn nearest<'o>(
    case: &CaseView<'_>,
    outcomes: &'o [Outcome],
    seen: &Transcript,
) -> Option<Nearest<'o>> {
    let compared = outcomes.iter().map(|outcome| Nearest {
        outcome,
        comparison: compare(case, outcome, seen),
    });
    let mut nearest = compared.min_by_key(|candidate| candidate.comparison.distance())?;
    for difference in &mut nearest.comparison.differences {
        add_alternatives(case, outcomes, seen, difference);
    }
    Some(nearest)
}

/// Adds what the other outcomes allow at the same place, as far as they get there.
fn add_alternatives(
    case: &CaseView<'_>,
    outcomes: &[Outcome],
    seen: &Transcript,
    difference: &mut Difference,
) {
    let Some(field) = field_of(case, &difference.subject) else {
        return;
    };
    let index = difference.place.index();
    let way_here = |transcript: &Transcript| -> Vec<(u8, Stop)> {
        let stops = transcript.observations.iter().take(index.saturating_add(1));
        stops
            .map(|observation| (observation.vcpu, observation.stop))
            .collect()
    };
    let seen_way = way_here(seen);
    for outcome in outcomes {
        let Some(observation) = outcome.transcript.observations.get(index) else {
            continue;
        };
        let value = read(&field, observation, case.layout);
        // A value that is allowed only in another combination would read like a
        // contradiction: "allowed 0 or 1, seen 1".
        let new = value != difference.seen && !difference.allowed.contains(&value);
        if new && value != Value::Absent && way_here(&outcome.transcript) == seen_way {
            difference.allowed.push(value);
        }
    }
}

fn field_of(case: &CaseView<'_>, subject: &Subject) -> Option<ObservedField> {
    let name = match subject {
        Subject::Field { name } => name.clone(),
        Subject::SaveRow { name, .. } => format!("save.{name}"),
        _ => return None,
    };
    let field = ObservedField::named(&name, case.layout, &case.scenario.watches)?;
    (!matches!(field, ObservedField::Watch(_))).then_some(field)
}
