//! The payload that all combinations share, and what sets one apart.

use std::borrow::Cow;
use std::path::Path;

use spec_model::scenario::{Blob, Observe, Scenario};
use spec_model::x86::segment::SegmentName;
use spec_model::x86::state::{RSP, VcpuState};

use super::case_file::{case_text, name};
use super::place::{self, GATES, IDT, RAM, Slot, TSS};
use super::row::{Event, Row};
use super::tables::{flags, gates, gdt_limit, idt_limit, loaded, segments, stack_at};
use crate::batch::item::{Item, Work};
use crate::batch::{BadPayload, Family, trimmed};
use crate::case::{Case, Expectations};

/// Number of RAX among the general registers.
const RAX: usize = 0;
/// Offset of RSP0 in a 64-bit TSS.
const RSP0: usize = 4;
/// Offset of IST1.
const IST1: usize = 0x24;

/// The payload, and where in it the tables are.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The case of an NMI, which is the only one with something for the host to do.
    case: Case,
    /// Region and blob that hold the IDT.
    idt: (usize, usize),
    /// Region and blob that hold the TSS.
    tss: (usize, usize),
}

impl Payload {
    /// Assembles it.
    ///
    /// # Errors
    /// If the assembler or the case format does not take it any more.
    pub fn new() -> Result<Self, BadPayload> {
        let row = Row {
            event: Event::Nmi,
            ..Row::default()
        };
        let mut case = read(&row)?;
        case.scenario = trimmed(case.scenario, &RAM)?;
        case.expectations = Expectations::default();
        let whole_idt = IDT..IDT + 16 * GATES as u64;
        for region in &mut case.scenario.memory {
            region.contents.retain(|blob| !whole_idt.contains(&blob.address));
            if (region.address..region.address + region.size).contains(&IDT) {
                let after = region.contents.partition_point(|blob| blob.address < IDT);
                let bytes = vec![0; 16 * GATES];
                region.contents.insert(after, Blob { address: IDT, bytes });
            }
        }
        let find = |address| {
            blob_at(&case.scenario, address)
                .ok_or_else(|| BadPayload(format!("there is no table at {address:#x}")))
        };
        let (idt, tss) = (find(IDT)?, find(TSS)?);
        let mut payload = Self { case, idt, tss };
        let mut scenario = std::mem::take(&mut payload.case.scenario);
        payload.set(&mut scenario, &row);
        payload.case.scenario = scenario;
        Ok(payload)
    }

    /// The same with the host looking at no more than this in the course of a run.
    #[must_use]
    pub fn observed_at(mut self, observe: Observe) -> Self {
        self.case.scenario.observe = observe;
        self
    }
}

impl Family for Payload {
    type Row = Row;
    const NOUN: &'static str = "combinations";
    const GROUP: &'static str = "group";

    fn payload(_smm: bool) -> Result<Self, BadPayload> {
        Self::new()
    }

    fn template(&self) -> Scenario {
        self.case.scenario.clone()
    }

    fn set(&self, scenario: &mut Scenario, row: &Row) {
        scenario.name.clear();
        scenario.name.push_str(&name(row));
        if let Some(bytes) = bytes_of(scenario, self.idt) {
            bytes.fill(0);
            for (vector, words) in gates(row) {
                for (index, word) in words.iter().enumerate() {
                    put(bytes, usize::from(vector) * 16 + index * 2, &word.to_le_bytes());
                }
            }
        }
        if let Some(bytes) = bytes_of(scenario, self.tss) {
            for level in 0..3 {
                let pointer = stack_at(row, Slot::Level(level)).to_le_bytes();
                put(bytes, RSP0 + 8 * usize::from(level), &pointer);
            }
            for ist in 1..8 {
                let pointer = stack_at(row, Slot::Ist(ist)).to_le_bytes();
                put(bytes, IST1 + 8 * (usize::from(ist) - 1), &pointer);
            }
        }
        if let Some(state) = scenario.vcpus.first_mut() {
            set_registers(state, row);
        }
    }

    fn case(&self, row: &Row) -> Result<Case, BadPayload> {
        let mut case = self.case.clone();
        self.set(&mut case.scenario, row);
        case.name = name(row);
        Ok(case)
    }

    fn name(row: &Row) -> String {
        name(row)
    }

    fn words(row: &Row) -> String {
        row.to_string()
    }

    fn case_text(row: &Row, paths: &[Vec<String>]) -> String {
        case_text(row, paths)
    }

    fn work<'a>(items: Vec<Cow<'a, Item<Row>>>) -> Work<'a> {
        Work::Gates(items)
    }
}

fn set_registers(state: &mut VcpuState, row: &Row) {
    state.rip = place::event(row.event);
    state.rflags = flags(row);
    state.idtr.limit = idt_limit(row) as u16;
    state.gdtr.limit = gdt_limit(row) as u16;
    state.segment_mut(SegmentName::Tr).limit = u32::from(row.tss);
    for (register, value) in [(RAX, loaded(row)), (RSP, stack_at(row, Slot::Program))] {
        if let Some(place) = state.general.get_mut(register) {
            *place = value;
        }
    }
    let names = [SegmentName::Cs, SegmentName::Ss];
    for (name, (selector, attributes)) in names.into_iter().zip(segments(row.cpl)) {
        let segment = state.segment_mut(name);
        segment.selector = selector;
        segment.attributes.0 = attributes;
    }
}

fn blob_at(scenario: &Scenario, address: u64) -> Option<(usize, usize)> {
    scenario.memory.iter().enumerate().find_map(|(index, region)| {
        let blob = region.contents.iter().position(|blob| blob.address == address)?;
        Some((index, blob))
    })
}

fn bytes_of(scenario: &mut Scenario, (region, blob): (usize, usize)) -> Option<&mut [u8]> {
    let region = scenario.memory.get_mut(region)?;
    Some(&mut region.contents.get_mut(blob)?.bytes)
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The case of a row, from its text.
fn read(row: &Row) -> Result<Case, BadPayload> {
    let name = name(row);
    let path = match row.event {
        Event::Nmi => vec!["nmi".to_owned(), "halted".to_owned()],
        _ => vec!["halted".to_owned()],
    };
    let text = case_text(row, &[path]);
    let file = format!("{name}.yaml");
    Case::parse(name, Path::new(&file), text.as_bytes()).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        BadPayload(mistakes.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::sweep::sweep;

    #[test]
    fn the_scenario_of_a_row_is_that_of_its_case_file() {
        let payload = Payload::new().unwrap();
        let mut scenario = payload.template();
        let memory = |scenario: &Scenario| {
            let mut memory = vec![0_u8; 1 << 20];
            for blob in scenario.memory.iter().flat_map(|region| &region.contents) {
                let at = blob.address as usize;
                memory[at..at + blob.bytes.len()].copy_from_slice(&blob.bytes);
            }
            memory
        };
        for (_, row) in sweep().iter().step_by(97) {
            payload.set(&mut scenario, row);
            let case = read(row).unwrap();
            assert!(memory(&scenario) == memory(&case.scenario), "{row}");
            assert_eq!(scenario.points, case.scenario.points);
            assert_eq!(scenario.vcpus, case.scenario.vcpus, "{row}");
            assert_eq!(scenario.name, case.name);
            let known = |event| scenario.events.contains(event);
            assert!(case.scenario.events.iter().all(known), "{row}");
        }
    }
}
