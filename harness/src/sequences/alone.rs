//! The model alone: every sequence, its behaviours and the invariants.

use std::time::{Duration, Instant};

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;
use spec_model::x86::memory::Image;

use super::invariant::Broken;
use super::payload::Payload;
use super::symbol::{Symbol, count, lengths};
use super::walk::{Visitor, Walk, Way};
use crate::batch::processor_time;
use crate::batch::tally::Tally;
use crate::judge::VerdictKind;

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(250);
/// Sequences between two looks at the clock.
const STRETCH: usize = 1024;

/// What came of the model alone.
pub struct Alone<'d> {
    /// The counts; a sequence in which an invariant does not hold deviates.
    pub tally: Tally<'d, Vec<Symbol>>,
    /// The first invariants that did not hold, and where.
    pub broken: Vec<(Vec<Symbol>, Broken)>,
}

struct Counter<'t, 'd> {
    tally: &'t mut Tally<'d, Vec<Symbol>>,
    violations: usize,
    seen: usize,
    reported: Instant,
    progress: &'t mut dyn FnMut(usize),
}

impl<'s> Visitor<'s> for Counter<'_, '_> {
    fn visit(
        &mut self,
        walk: &mut Walk<'s>,
        sequence: &[Symbol],
        ways: &[Way<'s>],
    ) -> Result<bool, ModelError> {
        let violated = walk.violations > self.violations;
        self.violations = walk.violations;
        let kind = if violated {
            VerdictKind::Deviates
        } else {
            VerdictKind::Conforms
        };
        let mut behaviours = ways.iter().map(|way| way.behaviour);
        self.tally.count(sequence.len() - 1, kind, behaviours.next());
        if let Some(group) = self.tally.groups.get_mut(sequence.len() - 1) {
            group.behaviours.extend(behaviours);
        }
        self.seen += 1;
        if self.seen.is_multiple_of(STRETCH) && self.reported.elapsed() > TICK {
            self.reported = Instant::now();
            (self.progress)(self.seen);
            return Ok(!crate::interrupt::interrupted());
        }
        Ok(true)
    }
}

/// Walks every sequence of up to `length` out of `symbols`.
///
/// # Errors
/// If the model cannot go on.
pub fn walk<'d>(
    payload: &Payload,
    profile: &'static Profile,
    defects: DefectSet,
    symbols: &[Symbol],
    length: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Alone<'d>, ModelError> {
    let start = Instant::now();
    let processor_before = processor_time::of_thread();
    let template = payload.template();
    let image = Image::new(&template)?;
    let wanted = count(symbols.len(), length);
    let mut tally = Tally::new("model".to_owned(), &lengths(length), wanted);
    let mut walk = Walk::new(payload, &template, &image, profile, defects)?.checking_invariants();
    let mut counter = Counter {
        tally: &mut tally,
        violations: 0,
        seen: 0,
        reported: start,
        progress,
    };
    walk.walk(symbols, length, &mut counter)?;
    tally.took = start.elapsed();
    // On a busy machine the time on the clock says little about the model.
    tally.running = match (processor_before, processor_time::of_thread()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => tally.took,
    };
    let broken = walk.broken;
    Ok(Alone { tally, broken })
}
