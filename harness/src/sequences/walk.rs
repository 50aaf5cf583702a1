//! The tree of sequences on the model, depth first.
//!
//! A sequence continues its prefix: the state after the prefix is kept, the code of the next
//! event is put in its place, and the model runs on until it is done with that event. So each
//! sequence costs one event, however long it is. Open choices are followed every way they can
//! go; what one way settles for good stays settled in its continuations.

use std::rc::Rc;

use spec_model::choice::{Choices, Settled};
use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;
use spec_model::scenario::Scenario;
use spec_model::transcript::{Observation, Stop, Transcript};
use spec_model::x86::machine::{Machine, MachineState};
use spec_model::x86::memory::Image;
use spec_model::x86::processor::Rules;

use super::history::History;
use super::invariant::{self, Broken, Turn};
use super::payload::Payload;
use super::place::{self, At};
use super::symbol::Symbol;
use crate::batch::digest::Behaviour;

/// Turns that one event may take before it counts as getting nowhere.
const MOST_TURNS: usize = 64;
/// Ways that one sequence may go. Only a hypervisor that may do one of several things at every
/// step comes near.
const MOST_WAYS: usize = 4096;

/// One way that a sequence can go.
#[derive(Clone, Debug)]
pub struct Way<'s> {
    /// The machine after its last event.
    pub state: MachineState<'s>,
    /// What happened, in short.
    pub behaviour: Behaviour,
    /// What the invariants need to know of the past.
    pub history: History,
    settled: Settled,
    trail: Option<Rc<Trail>>,
    /// The run is over before the sequence is, as in a shutdown.
    over: bool,
}

/// The stops of one event, and those before.
#[derive(Debug)]
struct Trail {
    observations: Vec<Observation>,
    before: Option<Rc<Trail>>,
}

/// What [`Walk::walk`] hands out for each sequence.
pub trait Visitor<'s> {
    /// A sequence and the ways that it can go. `false` ends the walk.
    ///
    /// # Errors
    /// Those of the walk, where it is asked for more.
    fn visit(
        &mut self,
        walk: &mut Walk<'s>,
        sequence: &[Symbol],
        ways: &[Way<'s>],
    ) -> Result<bool, ModelError>;
}

/// How a model is walked.
pub struct Walk<'s> {
    payload: &'s Payload,
    machine: Machine<'s>,
    /// Whether stops are kept, so that [`Self::transcripts`] has something to tell.
    keeps_stops: bool,
    /// The first invariants that did not hold, with where.
    pub broken: Vec<(Vec<Symbol>, Broken)>,
    /// How many did not hold.
    pub violations: usize,
    checks: bool,
}

/// Violations that are kept.
const BROKEN_KEPT: usize = 20;

impl<'s> Walk<'s> {
    /// A walk over the sequences of `payload`; `template` is its template, `image` that of the
    /// template.
    ///
    /// # Errors
    /// If the model does not take the template.
    pub fn new(
        payload: &'s Payload,
        template: &'s Scenario,
        image: &'s Image,
        profile: &'static Profile,
        defects: DefectSet,
    ) -> Result<Self, ModelError> {
        let rules = Rules {
            profile,
            defects,
            cpuid: template.cpuid,
            choices: Choices::default(),
            facilities: Vec::new(),
        };
        Ok(Self {
            payload,
            machine: Machine::new(template, image, rules, false)?,
            keeps_stops: true,
            broken: Vec::new(),
            violations: 0,
            checks: false,
        })
    }

    /// The same, which keeps no stops and checks the invariants instead.
    #[must_use]
    pub fn checking_invariants(self) -> Self {
        Self {
            keeps_stops: false,
            checks: true,
            ..self
        }
    }

    /// Walks every sequence of up to `length` out of `symbols`. Before a sequence come its
    /// prefixes.
    ///
    /// # Errors
    /// If the model cannot go on, or a sequence can go too many ways.
    pub fn walk(
        &mut self,
        symbols: &[Symbol],
        length: usize,
        visitor: &mut dyn Visitor<'s>,
    ) -> Result<(), ModelError> {
        let start = vec![self.start()];
        let mut sequence = Vec::with_capacity(length);
        self.extend(&start, 0, &mut sequence, symbols, length, visitor)?;
        Ok(())
    }

    /// The ways that one sequence can go.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn follow(&mut self, sequence: &[Symbol]) -> Result<Vec<Way<'s>>, ModelError> {
        let mut ways = vec![self.start()];
        for (position, chain) in place::chains(sequence) {
            let code = self.payload.code(position, chain);
            ways = self.chain(&ways, position, chain, &code, sequence)?;
        }
        Ok(ways)
    }

    fn start(&self) -> Way<'s> {
        Way {
            state: self.machine.state().clone(),
            behaviour: Behaviour::default(),
            history: History::default(),
            settled: Settled::new(),
            trail: None,
            over: false,
        }
    }

    /// Extends a sequence by every symbol. `base` are the ways of the sequence without the
    /// shadows at its end, which start at `from`: they belong to what follows.
    fn extend(
        &mut self,
        base: &[Way<'s>],
        from: usize,
        sequence: &mut Vec<Symbol>,
        symbols: &[Symbol],
        length: usize,
        visitor: &mut dyn Visitor<'s>,
    ) -> Result<bool, ModelError> {
        if sequence.len() >= length {
            return Ok(true);
        }
        for symbol in symbols {
            sequence.push(*symbol);
            let code = self.payload.code(from, &sequence[from..]);
            let ways = self.chain(base, from, &sequence[from..], &code, sequence)?;
            let goes_on = visitor.visit(self, sequence, &ways)?
                && if symbol.is_shadow() {
                    self.extend(base, from, sequence, symbols, length, visitor)?
                } else {
                    let next = sequence.len();
                    self.extend(&ways, next, sequence, symbols, length, visitor)?
                };
            sequence.pop();
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs one chain from every way that leads to it.
    fn chain(
        &mut self,
        base: &[Way<'s>],
        position: usize,
        chain: &[Symbol],
        code: &[u8],
        sequence: &[Symbol],
    ) -> Result<Vec<Way<'s>>, ModelError> {
        let following = place::slot(position + chain.len());
        let mut ways: Vec<Way<'s>> = Vec::with_capacity(base.len());
        for way in base {
            if way.over {
                ways.push(way.clone());
                continue;
            }
            let mut script = Some(Vec::new());
            while let Some(current) = script {
                self.go_to(way, current);
                // The place is RAM of the template.
                let _ = self
                    .machine
                    .state_mut()
                    .memory
                    .write_bytes(place::slot(position), code, false);
                let next = self.event(way, following, chain, sequence)?;
                script = self.machine.rules.choices.next_script();
                if ways.len() >= MOST_WAYS {
                    return Err(ModelError::TooManyOutcomes(MOST_WAYS));
                }
                if !ways.iter().any(|known| same(known, &next)) {
                    ways.push(next);
                }
            }
        }
        Ok(ways)
    }

    fn go_to(&mut self, way: &Way<'s>, script: Vec<usize>) {
        self.machine.set_state(&way.state);
        self.machine.rules.choices = Choices::continued(way.settled.clone(), script);
    }

    /// Runs until the event is done and the machine has stopped behind it or in a handler.
    fn event(
        &mut self,
        from: &Way<'s>,
        following: u64,
        chain: &[Symbol],
        sequence: &[Symbol],
    ) -> Result<Way<'s>, ModelError> {
        let mut behaviour = from.behaviour;
        let mut history = from.history.clone();
        let mut observations = Vec::new();
        let mut over = true;
        for _ in 0..MOST_TURNS {
            let before = self.machine.state().vcpus[0].state.events;
            let observation = self.machine.advance(0)?.observation;
            behaviour.add(&observation);
            let at = match observation.stop {
                Stop::Sync(point) => At::of(point),
                _ => None,
            };
            if self.checks {
                let turn = Turn {
                    before,
                    at,
                    observation: &observation,
                    after: &self.machine.state().vcpus[0].state,
                    memory: &self.machine.state().memory,
                    chain,
                    profile: self.machine.rules.profile,
                    settled: self.machine.rules.choices.settled(),
                };
                if let Err(broken) = invariant::check(&turn, &mut history) {
                    self.violations += 1;
                    if self.broken.len() < BROKEN_KEPT {
                        self.broken.push((sequence.to_vec(), broken));
                    }
                }
            }
            if self.keeps_stops {
                observations.push(observation);
            }
            let Some(at) = at else { break };
            let next = self.machine.state().memory.read(place::next_pointer(), 2, false);
            if !at.raises() && next == Some(following) {
                over = false;
                break;
            }
        }
        Ok(Way {
            state: self.machine.state().clone(),
            behaviour,
            history,
            settled: self.machine.rules.choices.settled().clone(),
            trail: self.keeps_stops.then(|| {
                Rc::new(Trail {
                    observations,
                    before: from.trail.clone(),
                })
            }),
            over,
        })
    }

    /// What is observed when a way ends in HLT, every way in which it can.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn transcripts(&mut self, way: &Way<'s>) -> Result<Vec<Transcript>, ModelError> {
        let mut transcripts: Vec<Transcript> = Vec::new();
        let mut script = Some(Vec::new());
        while let Some(current) = script {
            self.go_to(way, current);
            let mut observations = stops(way.trail.as_deref());
            while self.machine.runnable().next().is_some() {
                observations.push(self.machine.advance(0)?.observation);
            }
            script = self.machine.rules.choices.next_script();
            let (memory_changes, smm_memory_changes) = self.machine.state().memory.changes();
            let transcript = Transcript {
                observations,
                memory_changes: without_slots(memory_changes),
                smm_memory_changes,
                stage2: None,
                state_faults: Vec::new(),
            };
            if !transcripts.contains(&transcript) {
                transcripts.push(transcript);
            }
        }
        Ok(transcripts)
    }
}

/// Whether nothing can tell two ways apart any more.
fn same(one: &Way<'_>, two: &Way<'_>) -> bool {
    let stops = |way: &Way<'_>| way.trail.clone();
    let trails = match (stops(one), stops(two)) {
        (Some(one), Some(two)) => one.observations == two.observations && same_past(&one.before, &two.before),
        (None, None) => true,
        _ => false,
    };
    one.behaviour == two.behaviour
        && one.settled == two.settled
        && one.history == two.history
        && trails
        && one.state == two.state
}

fn same_past(one: &Option<Rc<Trail>>, two: &Option<Rc<Trail>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Rc::ptr_eq(one, two),
        (None, None) => true,
        _ => false,
    }
}

fn stops(trail: Option<&Trail>) -> Vec<Observation> {
    let mut parts = Vec::new();
    let mut part = trail;
    while let Some(here) = part {
        parts.push(&here.observations);
        part = here.before.as_deref();
    }
    parts.into_iter().rev().flatten().cloned().collect()
}

/// The code of events is part of what a target starts with; here it was put in place on the
/// way.
fn without_slots(changes: Vec<spec_model::scenario::Blob>) -> Vec<spec_model::scenario::Blob> {
    changes
        .into_iter()
        .filter(|blob| !place::holds_slot(blob.address))
        .collect()
}
