//! The one payload that all sequences share.
//!
//! Every context (the main program, the handlers of NMI, #BP and #UD, the SMI handler) goes on
//! at the address in `next`, where the code of the next event stands, so that a sequence does
//! not depend on where it is when an event happens. The code of an event first moves `next` on
//! to its successor. A handler reports to the host and goes on with the next event; what
//! returns from a handler comes back behind the code of the event that was interrupted, reports
//! at `resumed` and goes on likewise.
//!
//! * NMI and SMI are raised by the host at a point of their own.
//! * STI and MOV SS stand directly before the instruction of the event that follows. Before an
//!   NMI or SMI this is the OUT that calls the host; it ends the shadow, so the host puts it in
//!   force again when it raises the event, and one more instruction runs in it.
//! * STI follows a CLI at the start of the run of shadows, so that the first one of a run
//!   starts a shadow; a second one does not, because IF is set by then.
//! * IRET outside a handler finds one of eight frames that lead to `resumed`, on the main stack
//!   and on that of the SMI handler: an IRET to itself.
//! * The SMI handler takes a stack of its own, loads the interrupt vector table, and runs the
//!   same code in the same segment as everybody else.
//!
//! So every sequence is possible. On a machine without SMM those with an SMI are not.

use std::borrow::Cow;
use std::path::Path;

use spec_model::scenario::{Action, Blob, Observe, SYNC_PORT, Scenario};

use super::case_file::{case_text, name, raised};
use super::place::{At, LONGEST, NEXT, SLOTS, STEP, chains, slot};
use super::symbol::{Symbol, words};
use crate::assembler::{Bits, Section, assemble};
use crate::batch::item::{Item, Work};
use crate::batch::{BadPayload, Family, trimmed};
use crate::case::Case;

/// Address of the pointer to `resumed`.
const BACK: u64 = 0x6002;
/// HLT.
const HLT: u8 = 0xf4;

/// The payload and the pieces that the code of events is put together from.
#[derive(Clone, Debug)]
pub struct Payload {
    template: Scenario,
    /// Region and blob of the template that hold the code of events.
    slots: (usize, usize),
    /// `mov word ptr [next], ...` without the number at its end.
    set_next: Vec<u8>,
    cli: Vec<u8>,
    read_ss: Vec<u8>,
    sti: Vec<u8>,
    write_ss: Vec<u8>,
    iret: Vec<u8>,
    rsm: Vec<u8>,
    int3: Vec<u8>,
    ud2: Vec<u8>,
    go_back: Vec<u8>,
}

impl Payload {
    /// Assembles it.
    ///
    /// # Errors
    /// If the assembler does not take it any more.
    pub fn new() -> Result<Self, BadPayload> {
        let case = read(&[])?;
        let mut template = trimmed(case.scenario, &RAM)?;
        template.name = "sequences/template".to_owned();
        for (index, at) in At::ALL.iter().enumerate() {
            let name = template.points.get(index).map(|point| point.name.as_str());
            if name != Some(at.name()) {
                return Err(BadPayload(format!("point {index} is not `{}`", at.name())));
            }
        }
        let mut pieces = pieces()?.into_iter();
        let mut piece = || pieces.next().unwrap_or_default();
        let mut set_next = piece();
        set_next.truncate(set_next.len().saturating_sub(2));
        let slots = slots_of(&template).ok_or_else(|| BadPayload("there is no code of events".to_owned()))?;
        let payload = Self {
            template,
            slots,
            set_next,
            cli: piece(),
            read_ss: piece(),
            sti: piece(),
            write_ss: piece(),
            iret: piece(),
            rsm: piece(),
            int3: piece(),
            ud2: piece(),
            go_back: piece(),
        };
        Ok(payload)
    }

    /// The scenario of no event at all, in which every place for code holds HLT.
    #[must_use]
    pub fn template(&self) -> Scenario {
        let mut scenario = self.template.clone();
        let mut code = vec![0; LONGEST * STEP as usize + 1];
        code.iter_mut()
            .step_by(STEP as usize)
            .for_each(|byte| *byte = HLT);
        self.put(&mut scenario, code);
        scenario
    }

    /// The same for a machine without SMM: the host raises no SMI.
    #[must_use]
    pub fn without_smi(mut self) -> Self {
        for event in &mut self.template.events {
            event
                .actions
                .retain(|action| !matches!(action, Action::Smi { .. }));
        }
        self
    }

    fn put(&self, scenario: &mut Scenario, code: Vec<u8>) {
        let (region, blob) = self.slots;
        let region = scenario.memory.get_mut(region);
        if let Some(blob) = region.and_then(|region| region.contents.get_mut(blob)) {
            blob.bytes = code;
        }
    }

    /// Makes a scenario that came from [`Self::template`] or from here that of a sequence.
    pub fn set(&self, scenario: &mut Scenario, sequence: &[Symbol]) {
        let mut code = vec![0; sequence.len() * STEP as usize + 1];
        if let Some(last) = code.last_mut() {
            *last = HLT;
        }
        for (position, chain) in chains(sequence) {
            let bytes = self.code(position, chain);
            let start = position * STEP as usize;
            if let Some(place) = code.get_mut(start..start + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
        self.put(scenario, code);
        scenario.name.clear();
        scenario.name.push_str(&name(sequence));
    }

    /// The code of a chain: shadows, and at its end the event that they are about. The chain
    /// is events `position` and following of its sequence.
    #[must_use]
    pub fn code(&self, position: usize, chain: &[Symbol]) -> Vec<u8> {
        let mut code = Vec::with_capacity(STEP as usize);
        code.extend(&self.set_next);
        code.extend((slot(position + chain.len()) as u16).to_le_bytes());
        for (symbol, piece) in [(Symbol::Sti, &self.cli), (Symbol::MovSs, &self.read_ss)] {
            if chain.contains(&symbol) {
                code.extend(piece);
            }
        }
        let mut shadow = None;
        for symbol in chain {
            match symbol {
                Symbol::Nmi | Symbol::Smi => {
                    let at = At::raising(*symbol, shadow).map_or(0, |at| at as u8);
                    code.extend([0xe6, SYNC_PORT + at]);
                }
                Symbol::Iret => code.extend(&self.iret),
                Symbol::Rsm => code.extend(&self.rsm),
                Symbol::Int3 => code.extend(&self.int3),
                Symbol::Fault => code.extend(&self.ud2),
                Symbol::Sti => code.extend(&self.sti),
                Symbol::MovSs => code.extend(&self.write_ss),
            }
            shadow = symbol.is_shadow().then_some(*symbol);
        }
        code.extend(&self.go_back);
        code
    }

    /// The sequence as a case.
    ///
    /// # Errors
    /// If the case format changed.
    pub fn case(&self, sequence: &[Symbol]) -> Result<Case, BadPayload> {
        let mut case = read(sequence)?;
        case.scenario.observe = self.template.observe;
        Ok(case)
    }

    /// The same with the host looking at no more than this in the course of a run.
    #[must_use]
    pub fn observed_at(mut self, observe: Observe) -> Self {
        self.template.observe = observe;
        self
    }
}

impl Family for Payload {
    type Row = Vec<Symbol>;
    const NOUN: &'static str = "sequences";
    const GROUP: &'static str = "length";

    fn payload(smm: bool) -> Result<Self, BadPayload> {
        let payload = Self::new()?;
        Ok(if smm { payload } else { payload.without_smi() })
    }

    fn template(&self) -> Scenario {
        Self::template(self)
    }

    fn set(&self, scenario: &mut Scenario, sequence: &Vec<Symbol>) {
        Self::set(self, scenario, sequence);
    }

    fn case(&self, sequence: &Vec<Symbol>) -> Result<Case, BadPayload> {
        Self::case(self, sequence)
    }

    fn name(sequence: &Vec<Symbol>) -> String {
        name(sequence)
    }

    fn words(sequence: &Vec<Symbol>) -> String {
        words(sequence)
    }

    fn case_text(sequence: &Vec<Symbol>, paths: &[Vec<String>]) -> String {
        case_text(sequence, paths)
    }

    fn work<'a>(items: Vec<Cow<'a, Item<Vec<Symbol>>>>) -> Work<'a> {
        Work::Sequences(items)
    }
}

/// The RAM that the payload uses, address and size in bytes: less of it has to be set, kept and
/// compared for each sequence than the preset has.
const RAM: [(u64, u64); 2] = [(0, 0x8000), (0x3_8000, 0x8000)];

fn slots_of(scenario: &Scenario) -> Option<(usize, usize)> {
    let is_slots = |blob: &Blob| blob.address == SLOTS;
    scenario.memory.iter().enumerate().find_map(|(index, region)| {
        let blob = region.contents.iter().position(is_slots)?;
        Some((index, blob))
    })
}

/// The bytes of the pieces, in the order of the members of [`Payload`].
fn pieces() -> Result<Vec<Vec<u8>>, BadPayload> {
    let text = format!(
        "mov word ptr [{NEXT:#x}], 0x1234\ncli\nmov ax, ss\nsti\nmov ss, ax\niret\nrsm\nint3\nud2\njmp word ptr [{BACK:#x}]"
    );
    let section = Section {
        name: "pieces",
        text: &text,
        bits: Bits::Bits16,
        segment_base: 0,
        origin: Some(SLOTS),
    };
    let program = assemble(&[section], &std::collections::BTreeMap::new());
    let program = program.map_err(|errors| BadPayload(format!("{errors:?}")))?;
    Ok(program.listing.into_iter().map(|line| line.bytes).collect())
}

fn read(sequence: &[Symbol]) -> Result<Case, BadPayload> {
    let name = name(sequence);
    // Of what the host does nothing may be left out by the path. Which one it is does not matter.
    let mut path: Vec<String> = raised(sequence).map(|at| at.name().to_owned()).collect();
    path.push("halted".to_owned());
    let text = case_text(sequence, &[path]);
    let file = format!("{name}.yaml");
    Case::parse(name, Path::new(&file), text.as_bytes()).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        BadPayload(mistakes.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sequence of up to that length.
    fn all(length: usize) -> Vec<Vec<Symbol>> {
        let mut all = vec![Vec::new()];
        let mut start = 0;
        for _ in 0..length {
            let end = all.len();
            for index in start..end {
                for symbol in Symbol::ALL {
                    let mut longer = all[index].clone();
                    longer.push(symbol);
                    all.push(longer);
                }
            }
            start = end;
        }
        all
    }

    #[test]
    fn the_bytes_of_a_sequence_are_those_of_its_case_file() {
        let payload = Payload::new().unwrap();
        let mut sequences = all(2);
        sequences.push(Symbol::ALL[1..].to_vec());
        sequences.push(vec![
            Symbol::MovSs,
            Symbol::Sti,
            Symbol::Sti,
            Symbol::Rsm,
            Symbol::MovSs,
        ]);
        let mut scenario = payload.template();
        for sequence in sequences {
            payload.set(&mut scenario, &sequence);
            let case = payload.case(&sequence).unwrap();
            let bytes = |scenario: &Scenario| {
                let mut memory = vec![0_u8; 1 << 20];
                for blob in scenario.memory.iter().flat_map(|region| &region.contents) {
                    let at = blob.address as usize;
                    memory[at..at + blob.bytes.len()].copy_from_slice(&blob.bytes);
                }
                memory
            };
            assert!(bytes(&scenario) == bytes(&case.scenario), "{}", words(&sequence));
            assert_eq!(scenario.points, case.scenario.points);
            let known = |event| scenario.events.contains(event);
            assert!(case.scenario.events.iter().all(known));
            assert_eq!(case.scenario.events.len(), raised(&sequence).count());
            assert_eq!(scenario.vcpus, case.scenario.vcpus);
            assert_eq!(scenario.name, case.name);
        }
    }
}
