//! Compares one run with one allowed outcome, field by field.

use spec_model::outcome::Outcome;
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::{Access, AccessSpace, Observation, Transcript};
use spec_model::x86::field::FIELDS;
use spec_model::x86::save_area::{Layout, Row};
use spec_model::x86::state::VcpuState;

use super::CaseView;
use super::cited::Cited;
use super::difference::{Difference, Source, Subject};
use super::levelled;
use super::memory;
use super::observed::{row_bits, stack_bits};
use super::stop::{self, Place};
use super::value::Value;

/// What comparing with one outcome gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Every difference up to where the paths part.
    pub(super) differences: Vec<Difference>,
    /// Number of stops on which the paths agree, if they part.
    pub(super) parted: Option<usize>,
}

impl Comparison {
    /// Smaller is nearer: paths that stay together longest come first, then the fewest
    /// differences, then the latest first difference.
    pub(super) fn distance(&self) -> impl Ord + use<> {
        let first = self
            .differences
            .first()
            .map_or(usize::MAX, |first| first.place.index());
        (
            std::cmp::Reverse(self.parted.unwrap_or(usize::MAX)),
            self.differences.len(),
            std::cmp::Reverse(first),
        )
    }
}

/// Compares `seen` with one outcome.
pub(super) fn compare(case: &CaseView<'_>, outcome: &Outcome, seen: &Transcript) -> Comparison {
    let mut comparer = Comparer {
        case,
        outcome,
        seen,
        differences: Vec::new(),
    };
    match (&outcome.transcript.stage2, &seen.stage2) {
        (Some(allowed), Some(steps)) => {
            comparer.differences = super::stage2::compare(case, allowed, steps);
            if comparer.differences.is_empty() && outcome.transcript != *seen {
                comparer.nameless(0);
            }
            return Comparison {
                differences: comparer.differences,
                parted: None,
            };
        }
        (None, None) => {}
        (allowed, seen) => {
            let steps = |seen: bool| Value::Text(if seen { "steps" } else { "stops" }.to_owned());
            let (one, two) = (steps(allowed.is_some()), steps(seen.is_some()));
            comparer.field(0, "kind of run", one, two);
            return Comparison {
                differences: comparer.differences,
                parted: Some(0),
            };
        }
    }
    comparer.differences = super::host_state::compare(case, outcome, seen);
    if comparer
        .differences
        .iter()
        .any(|difference| difference.place == Place::Start)
    {
        // Nothing ran on one side, and that is all that there is to say.
        return Comparison {
            differences: comparer.differences,
            parted: Some(0),
        };
    }
    let parted = comparer.observations();
    // Memory at the end says nothing about paths that did not end at the same place.
    if parted.is_none() {
        let found = memory::compare(case, outcome, seen);
        comparer.differences.extend(found);
    }
    comparer
        .differences
        .sort_by_key(|difference| difference.place.index());
    Comparison {
        differences: comparer.differences,
        parted,
    }
}

struct Comparer<'a> {
    case: &'a CaseView<'a>,
    outcome: &'a Outcome,
    seen: &'a Transcript,
    differences: Vec<Difference>,
}

impl Comparer<'_> {
    /// Compares until the paths part, and says after how many stops they do.
    fn observations(&mut self) -> Option<usize> {
        let (outcome, transcript) = (self.outcome, self.seen);
        let allowed = &outcome.transcript.observations;
        let seen = &transcript.observations;
        for (index, (allowed, seen)) in allowed.iter().zip(seen).enumerate() {
            if (allowed.vcpu, allowed.stop) != (seen.vcpu, seen.stop) {
                self.path(index);
                return Some(index);
            }
            if allowed != seen {
                self.observation(index, allowed, seen);
            }
        }
        if allowed.len() == seen.len() {
            return None;
        }
        let common = allowed.len().min(seen.len());
        self.path(common);
        Some(common)
    }

    fn path(&mut self, agree: usize) {
        let scenario = self.case.scenario;
        let stop_at = |transcript: &Transcript| match transcript.observations.get(agree) {
            Some(observation) => Value::Text(format!(
                "{} on vCPU {}",
                stop::describe(scenario, observation.stop),
                observation.vcpu
            )),
            None => Value::Text("end of the run".to_owned()),
        };
        let place = match self.seen.observations.len() {
            // The run ended early: say where it ended rather than nothing.
            length if agree >= length && length > 0 => Place::of(scenario, self.seen, length - 1),
            _ => Place::of(scenario, self.seen, agree),
        };
        let subject = Subject::Path {
            agree,
            allowed: path_of(scenario, &self.outcome.transcript),
            seen: path_of(scenario, self.seen),
        };
        let allowed = stop_at(&self.outcome.transcript);
        let seen = stop_at(self.seen);
        self.push(place, subject, allowed, seen, Cited::NotSought);
    }

    /// Every difference, part by part. What is compared in the end is the whole: a part that has
    /// no name of its own differs, too.
    fn observation(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        let is_last_seen = allowed.state.is_none() && seen.state.is_some();
        if is_last_seen && self.case.scenario.observe == Observe::Ends {
            // The run ended early, so that this is the last of that processor; where the paths part is told there.
            self.accesses(index, allowed, seen);
            return;
        }
        let before = self.differences.len();
        self.parts(index, allowed, seen);
        let (outcome, layout) = (self.outcome, self.case.layout);
        if self.differences.len() == before && !levelled::agree(layout, outcome, index, allowed, seen) {
            self.nameless(index);
        }
    }

    fn nameless(&mut self, index: usize) {
        let text = |text: &str| Value::Text(text.to_owned());
        let seen = text("something else, in a part that has no name; --json FILE has all of it");
        self.field(index, "the rest", text("what the model has"), seen);
    }

    fn parts(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        match (&allowed.state, &seen.state) {
            (Some(allowed), Some(seen)) => self.state(index, allowed, seen),
            (None, None) => {}
            (allowed, seen) => {
                let observable = |state: &Option<Box<VcpuState>>| match state {
                    Some(_) => Value::Text("observable".to_owned()),
                    None => Value::Absent,
                };
                self.field(index, "state", observable(allowed), observable(seen));
            }
        }
        self.stack(index, allowed, seen);
        self.save_area(index, allowed, seen);
        self.watches(index, allowed, seen);
        self.accesses(index, allowed, seen);
    }

    fn state(&mut self, index: usize, allowed: &VcpuState, seen: &VcpuState) {
        for field in FIELDS {
            let (one, two) = (field.read(allowed), field.read(seen));
            if (one ^ two) & !free_bits(self.outcome, index, field.name) != 0 {
                let (one, two) = (Value::number(one, field.bits), Value::number(two, field.bits));
                self.field(index, field.name, one, two);
            }
        }
        // Without a local APIC its registers read as 0.
        if allowed.apic.is_some() != seen.apic.is_some() {
            let value = |has| Value::number(u64::from(has), 1);
            let (one, two) = (allowed.apic.is_some(), seen.apic.is_some());
            self.field(index, "apic", value(one), value(two));
        }
        // The field's value cannot tell "no error code" from "error code 0".
        let has_code = |state: &VcpuState| state.events.exception.map(|it| it.error_code.is_some());
        if let (Some(one), Some(two)) = (has_code(allowed), has_code(seen))
            && one != two
        {
            let name = "exception.has-error-code";
            let value = |has| Value::number(u64::from(has), 1);
            self.field(index, name, value(one), value(two));
        }
    }

    fn stack(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        if allowed.stack.len() != seen.stack.len() {
            let slots = |observation: &Observation| match observation.stack.len() {
                0 => Value::Absent,
                slots => Value::Text(format!("{slots} slots")),
            };
            return self.field(index, "stack", slots(allowed), slots(seen));
        }
        for (slot, (one, two)) in allowed.stack.iter().zip(&seen.stack).enumerate() {
            let name = format!("stack.{slot}");
            if (one ^ two) & !free_bits(self.outcome, index, &name) != 0 {
                let one = Value::number(*one, stack_bits(allowed));
                let two = Value::number(*two, stack_bits(seen));
                self.field(index, &name, one, two);
            }
        }
    }

    fn save_area(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        let layout = self.case.layout;
        match (area_of(allowed, layout), area_of(seen, layout)) {
            (Some(allowed), Some(seen)) => {
                if allowed != seen {
                    self.save_area_rows(index, allowed, seen);
                }
            }
            (None, None) => {}
            (allowed, seen) => {
                let presence = |area: Option<&[u8]>| match area {
                    Some(_) => Value::Text("present".to_owned()),
                    None => Value::Absent,
                };
                self.field(index, "save", presence(allowed), presence(seen));
            }
        }
    }

    fn save_area_rows(&mut self, index: usize, allowed: &[u8], seen: &[u8]) {
        let layout = self.case.layout;
        for row in layout.rows.iter().filter(|row| !layout.leaves_open(row)) {
            let free = free_bits(self.outcome, index, &format!("save.{}", row.name));
            let Some((allowed, seen)) = row_difference(row, allowed, seen, free) else {
                continue;
            };
            let subject = save_row(layout, row);
            let place = Place::of(self.case.scenario, self.seen, index);
            self.push(place, subject, allowed, seen, Cited::one(layout.requirement(row)));
        }
    }

    fn watches(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        for (watch, definition) in self.case.scenario.watches.iter().enumerate() {
            let bytes = |observation: &Observation| observation.watches.get(watch).cloned();
            let (allowed, seen) = (
                bytes(allowed).unwrap_or_default(),
                bytes(seen).unwrap_or_default(),
            );
            if allowed.len() != seen.len() {
                let name = format!("watch.{}", definition.name);
                let value = |bytes: Vec<u8>| match bytes.is_empty() {
                    true => Value::Absent,
                    false => Value::Bytes(bytes),
                };
                self.field(index, &name, value(allowed), value(seen));
                continue;
            }
            for run in differing_runs(&allowed, &seen) {
                let subject = Subject::Watch {
                    name: definition.name.clone(),
                    address: definition.address.wrapping_add(run.start as u64),
                };
                let bytes = |bytes: &[u8]| Value::Bytes(bytes.get(run.clone()).unwrap_or_default().to_vec());
                let place = Place::of(self.case.scenario, self.seen, index);
                self.push(place, subject, bytes(&allowed), bytes(&seen), Cited::NotSought);
            }
        }
    }

    fn accesses(&mut self, index: usize, allowed: &Observation, seen: &Observation) {
        let count = allowed.accesses.len().max(seen.accesses.len());
        let differing = (0..count).find(|at| allowed.accesses.get(*at) != seen.accesses.get(*at));
        let Some(at) = differing else { return };
        let value = |accesses: &[Access]| match accesses.get(at) {
            Some(access) => Value::Text(describe_access(access)),
            None => Value::Text("no access".to_owned()),
        };
        let place = Place::of(self.case.scenario, self.seen, index);
        let (one, two) = (value(&allowed.accesses), value(&seen.accesses));
        self.push(place, Subject::Access { index: at }, one, two, Cited::NotSought);
    }

    fn field(&mut self, index: usize, name: &str, allowed: Value, seen: Value) {
        let place = Place::of(self.case.scenario, self.seen, index);
        let name = name.to_owned();
        self.push(place, Subject::Field { name }, allowed, seen, Cited::NotSought);
    }

    fn push(&mut self, place: Place, subject: Subject, allowed: Value, seen: Value, cited: Cited) {
        self.differences.push(Difference {
            case: self.case.name.to_owned(),
            place,
            subject,
            allowed: vec![allowed],
            seen,
            cited,
            source: Source::Model,
        });
    }
}

/// The names of a transcript's stops in order, with the processor where there are several.
pub(super) fn path_of(scenario: &Scenario, transcript: &Transcript) -> Vec<String> {
    let several = scenario.vcpus.len() > 1;
    let step = |observation: &Observation| {
        let name = stop::name(scenario, observation.stop);
        if several {
            format!("{}:{name}", observation.vcpu)
        } else {
            name.to_owned()
        }
    };
    transcript.observations.iter().map(step).collect()
}

/// Bits of a field that may be anything at an observation.
pub(super) fn free_bits(outcome: &Outcome, observation: usize, field: &str) -> u64 {
    let here = outcome
        .allowances
        .iter()
        .filter(|allowance| allowance.observation == observation && allowance.field == field);
    here.fold(0, |bits, allowance| bits | allowance.any_bits)
}

/// The save area of an observation, if it has its full size.
fn area_of<'a>(observation: &'a Observation, layout: &Layout) -> Option<&'a [u8]> {
    let area = observation.save_area.as_deref()?;
    (area.len() == layout.size()).then_some(area)
}

/// How a difference calls a row.
pub(super) fn save_row(layout: &'static Layout, row: &'static Row) -> Subject {
    Subject::SaveRow {
        layout: layout.name,
        name: row.name,
        offset: row.offset,
    }
}

/// Both values of a row if they differ outside the free bits. Both areas are whole.
fn row_difference(row: &Row, allowed: &[u8], seen: &[u8], free: u64) -> Option<(Value, Value)> {
    if row.width > 8 {
        let (allowed, seen) = (
            allowed.get(row.range(allowed.len()))?,
            seen.get(row.range(seen.len()))?,
        );
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        return (allowed != seen).then(|| (bytes(allowed), bytes(seen)));
    }
    let (one, two) = (row.read(allowed), row.read(seen));
    let bits = row_bits(row);
    ((one ^ two) & !free != 0).then(|| (Value::number(one, bits), Value::number(two, bits)))
}

/// Runs of neighbouring indices at which two slices of one length differ.
fn differing_runs(one: &[u8], two: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in one.iter().zip(two).enumerate().filter(|(_, (a, b))| a != b) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// An access in words.
pub(super) fn describe_access(access: &Access) -> String {
    let Access {
        address,
        length,
        data,
        ..
    } = *access;
    let bits = u32::from(length) * 8;
    match (access.space, access.write) {
        (AccessSpace::Port, true) => format!("{bits}-bit OUT of {data:#x} to port {address:#x}"),
        (AccessSpace::Port, false) => format!("{bits}-bit IN from port {address:#x}"),
        (AccessSpace::Memory, true) => format!("{bits}-bit write of {data:#x} to {address:#x}"),
        (AccessSpace::Memory, false) => format!("{bits}-bit read from {address:#x}"),
    }
}
