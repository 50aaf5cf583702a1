//! What the model allows for each sequence, as fingerprints.

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;
use spec_model::x86::memory::Image;

use super::payload::Payload;
use super::symbol::Symbol;
use super::walk::{Visitor, Walk, Way};
use crate::batch;
use crate::batch::digest::{Behaviour, fingerprint};
use crate::batch::expected::Allowed;

/// What the model allows for a sequence; the group is its length less 1.
pub type Expected = batch::expected::Expected<Vec<Symbol>>;

/// A sequence and its outcomes in ascending order.
pub type SequenceOutcomes = (Vec<Symbol>, Vec<Allowed>);

/// The outcomes of every sequence, prefixes first.
struct Outcomes {
    all: Vec<SequenceOutcomes>,
}

impl<'s> Visitor<'s> for Outcomes {
    fn visit(
        &mut self,
        walk: &mut Walk<'s>,
        sequence: &[Symbol],
        ways: &[Way<'s>],
    ) -> Result<bool, ModelError> {
        let mut allowed = Vec::with_capacity(ways.len());
        for way in ways {
            for transcript in walk.transcripts(way)? {
                allowed.push(Allowed {
                    fingerprint: fingerprint(&transcript),
                    behaviour: Behaviour::of(&transcript),
                });
            }
        }
        allowed.sort_unstable();
        allowed.dedup();
        self.all.push((sequence.to_vec(), allowed));
        Ok(!crate::interrupt::interrupted())
    }
}

/// The outcomes of every sequence of up to `length` out of `symbols`, prefixes first.
///
/// # Errors
/// If the model cannot go on.
pub fn outcomes(
    payload: &Payload,
    profile: &'static Profile,
    defects: DefectSet,
    symbols: &[Symbol],
    length: usize,
) -> Result<Vec<SequenceOutcomes>, ModelError> {
    let template = payload.template();
    let image = Image::new(&template)?;
    let mut outcomes = Outcomes { all: Vec::new() };
    Walk::new(payload, &template, &image, profile, defects)?.walk(symbols, length, &mut outcomes)?;
    Ok(outcomes.all)
}

/// What a target may do: as the model has it with the defects `base` on, normally none, and with
/// its known deviations on as well.
///
/// # Errors
/// If the model cannot go on.
pub fn expected(
    payload: &Payload,
    profile: &'static Profile,
    base: DefectSet,
    deviations: DefectSet,
    symbols: &[Symbol],
    length: usize,
) -> Result<Vec<Expected>, ModelError> {
    let pure = outcomes(payload, profile, base, symbols, length)?;
    let all: DefectSet = base.iter().chain(deviations.iter()).collect();
    let deviating = if all == base {
        Vec::new()
    } else {
        outcomes(payload, profile, all, symbols, length)?
    };
    let mut deviating = deviating.into_iter().map(|(_, allowed)| allowed);
    let expected = pure.into_iter().map(|(sequence, pure)| Expected {
        deviating: deviating.next().filter(|deviating| *deviating != pure),
        group: sequence.len().saturating_sub(1),
        row: sequence,
        pure,
    });
    Ok(expected.collect())
}
