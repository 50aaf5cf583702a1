//! What the model allows for each scenario of a family, as fingerprints.

use serde::{Deserialize, Serialize};
use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;
use spec_model::run;
use spec_model::scenario::Scenario;

use super::digest::{Behaviour, fingerprint};
use super::item::Item;

/// One outcome of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Allowed {
    /// Everything that is observed.
    pub fingerprint: u128,
    /// What happens.
    pub behaviour: Behaviour,
}

/// What the model allows for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected<R> {
    /// The row.
    pub row: R,
    /// Index of the group in which it is counted.
    pub group: usize,
    /// What the model allows, in ascending order.
    pub pure: Vec<Allowed>,
    /// What it does with the known deviations of the target on, if that is something else.
    pub deviating: Option<Vec<Allowed>>,
}

impl<R: Clone> Expected<R> {
    /// The same as something to run.
    #[must_use]
    pub fn item(&self, number: u32) -> Item<R> {
        let known = self
            .known()
            .take(usize::from(u8::MAX))
            .map(|allowed| allowed.fingerprint);
        Item {
            number,
            row: self.row.clone(),
            known: known.collect(),
        }
    }
}

impl<R> Expected<R> {
    pub(super) fn known(&self) -> impl Iterator<Item = &Allowed> {
        self.pure.iter().chain(self.deviating.iter().flatten())
    }
}

/// What the model allows for one scenario, in ascending order.
///
/// # Errors
/// If the model cannot go on.
pub fn allowed(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
) -> Result<Vec<Allowed>, ModelError> {
    let outcomes = run::outcomes(scenario, profile, defects)?;
    let mut allowed: Vec<Allowed> = outcomes
        .iter()
        .map(|outcome| Allowed {
            fingerprint: fingerprint(&outcome.transcript),
            behaviour: Behaviour::of(&outcome.transcript),
        })
        .collect();
    allowed.sort_unstable();
    allowed.dedup();
    Ok(allowed)
}
