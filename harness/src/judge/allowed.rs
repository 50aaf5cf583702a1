//! What the model allows for a case, pure and with a target's known deviations.

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::outcome::Outcome;
use spec_model::profile::Profile;
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;

use crate::deviation::Deviation;

/// The allowed outcomes of one scenario for one kind of target.
#[derive(Clone, Debug)]
pub struct AllowedOutcomes<'d> {
    /// What the pure model allows.
    pub pure: Vec<Outcome>,
    /// What it does with all known deviations of the target on, if they touch this case.
    pub deviating: Option<Deviating<'d>>,
}

/// The model with known deviations on.
#[derive(Clone, Debug)]
pub struct Deviating<'d> {
    /// What it does.
    pub outcomes: Vec<Outcome>,
    /// The deviations that change this case.
    pub deviations: Vec<&'d Deviation>,
}

impl<'d> AllowedOutcomes<'d> {
    /// Runs the model.
    ///
    /// `base` are the defects that count as pure, normally none. `applicable` are all known
    /// deviations of the target.
    ///
    /// # Errors
    /// If the model cannot run the scenario.
    pub fn of(
        scenario: &Scenario,
        profile: &'static Profile,
        base: DefectSet,
        applicable: &[&'d Deviation],
    ) -> Result<Self, ModelError> {
        Self::with_model(|defects| outcomes(scenario, profile, defects), base, applicable)
    }

    /// The same with any function from defects to outcomes in the model's place.
    ///
    /// # Errors
    /// Those of `model`.
    pub fn with_model(
        mut model: impl FnMut(DefectSet) -> Result<Vec<Outcome>, ModelError>,
        base: DefectSet,
        applicable: &[&'d Deviation],
    ) -> Result<Self, ModelError> {
        let pure = model(base)?;
        let with = |deviations: &[&'d Deviation]| with_deviations(base, deviations);
        let all = with(applicable);
        if all == base {
            return Ok(Self {
                pure,
                deviating: None,
            });
        }
        let outcomes = model(all)?;
        if same_outcomes(&pure, &outcomes) {
            return Ok(Self {
                pure,
                deviating: None,
            });
        }
        let mut deviations = Vec::new();
        for deviation in applicable {
            if !same_outcomes(&pure, &model(with(&[deviation]))?) {
                deviations.push(*deviation);
            }
        }
        // Deviations that show only together are named together.
        if deviations.is_empty() {
            deviations = applicable.to_vec();
        }
        let deviating = Some(Deviating { outcomes, deviations });
        Ok(Self { pure, deviating })
    }
}

/// Defects, and those of known deviations.
pub(super) fn with_deviations(base: DefectSet, deviations: &[&Deviation]) -> DefectSet {
    let defects = deviations.iter().flat_map(|deviation| &deviation.defects);
    defects.fold(base, |set, defect| set.with(*defect))
}

/// Whether two sets of outcomes allow the same, in whatever order and by whatever choices.
#[must_use]
pub fn same_outcomes(one: &[Outcome], two: &[Outcome]) -> bool {
    let within = |outcome: &Outcome, set: &[Outcome]| {
        set.iter()
            .any(|other| other.transcript == outcome.transcript && other.allowances == outcome.allowances)
    };
    one.iter().all(|outcome| within(outcome, two)) && two.iter().all(|outcome| within(outcome, one))
}
