//! Every order in which the processors of a scenario can take their turns.
//!
//! A turn lasts from one stop to the next, so the orders are the interleavings at sync points.
//! They are searched breadth first; states that were seen before are not searched again, which
//! is what makes loops end. Open choices are followed every way they can go.
//!
//! The scenario's own schedule and its limit of observations play no part.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use xxhash_rust::xxh3::Xxh3;

use crate::choice::{Choices, Settled};
use crate::defect::DefectSet;
use crate::error::ModelError;
use crate::profile::Profile;
use crate::run::rules;
use crate::scenario::{Limits, PointId, Scenario};
use crate::transcript::{Observation, Stop};
use crate::x86::machine::{Machine, MachineState};
use crate::x86::memory::Image;

/// What there is to know about all schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exploration {
    /// Distinct states between two turns, the first one included.
    pub states: usize,
    /// Turns taken, those that led to a known state included.
    pub turns: usize,
    /// Turns of the longest of the shortest ways to a state.
    pub depth: usize,
    /// The distinct ways in which the run can end, each with its shortest schedule, the
    /// shortest first.
    pub endings: Vec<Ending>,
    /// The shortest schedule after which a processor has crashed.
    pub crash: Option<Path>,
    /// A shortest way to a state from which no ending can be reached any more: the processors
    /// wait for each other for ever.
    pub stranded: Option<Path>,
    /// For each thing that was looked for, in the order given, a shortest way to where it is seen.
    pub sought: Vec<Option<Path>>,
    /// Whether every schedule was followed to its end; otherwise the limit was reached.
    pub complete: bool,
}

/// A way in which a run can end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The last stop of each processor; `None` if it never took a turn.
    pub stops: Vec<Option<Stop>>,
    /// A shortest way there.
    pub path: Path,
}

impl Ending {
    /// Whether a processor crashed on the way.
    #[must_use]
    pub fn has_crash(&self) -> bool {
        self.stops.iter().flatten().any(|stop| stop.is_crash())
    }
}

/// A way from the start to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Whose turn it was, turn by turn.
    pub schedule: Vec<u8>,
    /// How the open choices went, in the order in which they were met; the script of
    /// [`crate::run::follow`].
    pub script: Vec<usize>,
}

/// Something to look for in what is observed after each turn.
pub type Sought<'a> = &'a dyn Fn(&Observation) -> bool;

/// A state that has been reached and how.
struct Node {
    parent: usize,
    vcpu: u8,
    script: Vec<usize>,
    successors: Vec<u32>,
    is_ending: bool,
}

/// A state whose turns have not been taken yet.
struct Open<'run> {
    node: usize,
    state: MachineState<'run>,
    stops: Vec<Option<Stop>>,
    settled: Settled,
}

/// Follows every schedule of a scenario, up to `most_states` distinct states, and looks for
/// `sought` after each turn.
///
/// # Errors
/// If the scenario is inconsistent or uses what the model does not know, on any schedule.
pub fn explore(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
    most_states: usize,
    sought: &[Sought<'_>],
) -> Result<Exploration, ModelError> {
    let scenario = &Scenario {
        schedule: Vec::new(),
        limits: Limits {
            observations: u32::MAX,
            ..scenario.limits
        },
        ..scenario.clone()
    };
    let image = Image::new(scenario)?;
    let rules = rules(scenario, profile, defects, Vec::new());
    let machine = Machine::new(scenario, &image, rules, false)?;
    Search::new(scenario, machine, sought).run(most_states)
}

struct Search<'run> {
    scenario: &'run Scenario,
    sought: &'run [Sought<'run>],
    machine: Machine<'run>,
    /// Points at which what the host does depends on how often they were reached.
    counted: Vec<PointId>,
    nodes: Vec<Node>,
    /// Fingerprints of 128 bits: with the states that fit in memory, two different ones with the
    /// same fingerprint are less likely than a fault of the memory.
    known: HashMap<u128, u32>,
    found: Exploration,
}

impl<'run> Search<'run> {
    fn new(scenario: &'run Scenario, machine: Machine<'run>, sought: &'run [Sought<'run>]) -> Self {
        let counted = scenario.events.iter().filter(|event| event.occurrence.is_some());
        Self {
            counted: counted.map(|event| event.at).collect(),
            scenario,
            machine,
            nodes: Vec::new(),
            known: HashMap::new(),
            found: Exploration {
                sought: vec![None; sought.len()],
                ..Exploration::default()
            },
            sought,
        }
    }

    fn run(mut self, most_states: usize) -> Result<Exploration, ModelError> {
        let mut state = self.machine.state().clone();
        let stops = vec![None; self.scenario.vcpus.len()];
        self.forget_what_does_not_count(&mut state);
        self.known.insert(fingerprint(&state, &stops, &Settled::new()), 0);
        self.nodes.push(Node {
            parent: 0,
            vcpu: 0,
            script: Vec::new(),
            successors: Vec::new(),
            is_ending: false,
        });
        let mut level = vec![Open {
            node: 0,
            state,
            stops,
            settled: Settled::new(),
        }];
        self.found.complete = true;
        while !level.is_empty() {
            let mut next = Vec::new();
            for open in &level {
                self.take_turns(open, &mut next)?;
                if self.nodes.len() > most_states {
                    self.found.complete = false;
                    self.found.states = self.nodes.len();
                    return Ok(self.found);
                }
            }
            if !next.is_empty() {
                self.found.depth += 1;
            }
            level = next;
        }
        self.found.states = self.nodes.len();
        self.found.stranded = self.stranded();
        Ok(self.found)
    }

    /// Lets each processor that can run take a turn from a state.
    fn take_turns(&mut self, open: &Open<'run>, next: &mut Vec<Open<'run>>) -> Result<(), ModelError> {
        self.machine.set_state(&open.state);
        let runnable: Vec<usize> = self.machine.runnable().collect();
        if runnable.is_empty() {
            self.nodes[open.node].is_ending = true;
            if self.found.endings.iter().all(|known| known.stops != open.stops) {
                let path = self.path(open.node);
                self.found.endings.push(Ending {
                    stops: open.stops.clone(),
                    path,
                });
            }
        }
        for vcpu in runnable {
            let mut script = Some(Vec::new());
            while let Some(current) = script {
                self.machine.set_state(&open.state);
                self.machine.rules.choices = Choices::continued(open.settled.clone(), current.clone());
                let observation = self.machine.advance(vcpu)?.observation;
                let stop = observation.stop;
                self.found.turns += 1;
                script = self.machine.rules.choices.next_script();
                let taken = self.machine.rules.choices.script_taken();
                self.look(open.node, vcpu, &taken, &observation);
                self.arrive(open, vcpu, taken, stop, next);
            }
        }
        Ok(())
    }

    /// Looks for what is sought. The state after the turn may be a known one: what was seen on
    /// the way there need not be.
    fn look(&mut self, from: usize, vcpu: usize, script: &[usize], observation: &Observation) {
        for (index, sought) in self.sought.iter().enumerate() {
            if self.found.sought[index].is_none() && sought(observation) {
                let mut path = self.path(from);
                path.schedule.push(vcpu as u8);
                path.script.extend(script);
                self.found.sought[index] = Some(path);
            }
        }
    }

    fn arrive(
        &mut self,
        from: &Open<'run>,
        vcpu: usize,
        script: Vec<usize>,
        stop: Stop,
        next: &mut Vec<Open<'run>>,
    ) {
        let mut state = self.machine.state().clone();
        self.forget_what_does_not_count(&mut state);
        let mut stops = from.stops.clone();
        stops[vcpu] = Some(stop);
        let settled = self.machine.rules.choices.settled().clone();
        let here = fingerprint(&state, &stops, &settled);
        #[allow(clippy::cast_possible_truncation, reason = "the states fit in memory")]
        let number = self.nodes.len() as u32;
        let known = *self.known.entry(here).or_insert(number);
        self.nodes[from.node].successors.push(known);
        if known != number {
            return;
        }
        self.nodes.push(Node {
            parent: from.node,
            vcpu: vcpu as u8,
            script,
            successors: Vec::new(),
            is_ending: false,
        });
        let node = self.nodes.len() - 1;
        if stop.is_crash() && self.found.crash.is_none() {
            self.found.crash = Some(self.path(node));
        }
        next.push(Open {
            node,
            state,
            stops,
            settled,
        });
    }

    /// Counters that nothing in the future depends on would keep equal states apart.
    fn forget_what_does_not_count(&self, state: &mut MachineState<'run>) {
        state.observed = 0;
        for (point, count) in state.reached.iter_mut().enumerate() {
            if !self.counted.iter().any(|counted| usize::from(counted.0) == point) {
                *count = 0;
            }
        }
    }

    fn path(&self, node: usize) -> Path {
        let mut steps = Vec::new();
        let mut node = node;
        while node != 0 {
            steps.push(&self.nodes[node]);
            node = self.nodes[node].parent;
        }
        steps.reverse();
        Path {
            schedule: steps.iter().map(|step| step.vcpu).collect(),
            script: steps
                .iter()
                .flat_map(|step| step.script.iter().copied())
                .collect(),
        }
    }

    /// The first state from which no ending can be reached.
    fn stranded(&self) -> Option<Path> {
        let mut predecessors: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for successor in &node.successors {
                predecessors[*successor as usize].push(index);
            }
        }
        let endings = self.nodes.iter().enumerate().filter(|(_, node)| node.is_ending);
        let mut todo: Vec<usize> = endings.map(|(index, _)| index).collect();
        let mut can_end: HashSet<usize> = todo.iter().copied().collect();
        while let Some(node) = todo.pop() {
            for before in &predecessors[node] {
                if can_end.insert(*before) {
                    todo.push(*before);
                }
            }
        }
        let lost = (0..self.nodes.len()).find(|node| !can_end.contains(node))?;
        Some(self.path(lost))
    }
}

fn fingerprint(state: &MachineState<'_>, stops: &[Option<Stop>], settled: &Settled) -> u128 {
    let mut hasher = Xxh3::new();
    (state, stops, settled).hash(&mut hasher);
    hasher.digest128()
}
