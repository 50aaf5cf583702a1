//! Many steps, counted.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::profile::Profile;

use super::compare::{Difference, compare};
use super::debug_exceptions::DebugExceptions;
use super::explained::{Case, explain, explain_endless};
use super::layout::{PAGE, PAGES};
use super::random::Generator;
use super::reference::{Predicted, Reference, Setting, Silent};
use super::state::{After, Before};
use super::tracee::{NativeError, Tracee};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The process, or the system.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// The model does not take the machine.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// What steps are made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The first step.
    pub first: u64,
    /// How many.
    pub steps: u64,
    /// Widths of code, which take turns.
    pub widths: Vec<u32>,
    /// The profile of the model.
    pub profile: &'static Profile,
    /// Defects of the model.
    pub defects: DefectSet,
}

/// Steps that differ in the same way.
#[derive(Clone, Debug)]
pub struct Kind {
    /// How many.
    pub count: u64,
    /// The number of the first one.
    pub number: u64,
    /// The first one.
    pub before: Before,
    /// What the processor made of it, if it came to an end.
    pub native: Option<After>,
    /// What differed there.
    pub differences: Vec<Difference>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Steps that agree.
    pub agree: u64,
    /// Steps that differ, by kind.
    pub kinds: BTreeMap<String, Kind>,
    /// Steps that differ in a way that is explained, by reason.
    pub explained: BTreeMap<&'static str, u64>,
    /// What the machine does with debug exceptions.
    pub debug: DebugExceptions,
    /// Steps that are not comparable, by reason.
    pub silent: BTreeMap<String, u64>,
    /// What the processor does where the model leaves a choice open: by requirement, each option that
    /// fits all steps so far, with the number of steps that decided for it.
    pub choices: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Tally {
    /// Steps that differ.
    #[must_use]
    pub fn differ(&self) -> u64 {
        self.kinds.values().map(|kind| kind.count).sum()
    }

    /// Steps that differ and are explained.
    #[must_use]
    pub fn explained(&self) -> u64 {
        self.explained.values().sum()
    }

    /// Steps that are not comparable.
    #[must_use]
    pub fn not_comparable(&self) -> u64 {
        self.silent.values().sum()
    }
}

/// Makes the steps of a plan. `look` is asked before each one whether to go on.
///
/// # Errors
/// If the process cannot be started or is lost, or the model cannot begin.
pub fn run(plan: &Plan, mut look: impl FnMut(&Tally) -> bool) -> Result<Tally, RunError> {
    let setting = Setting::new()?;
    let mut reference = Reference::new(&setting, plan.profile, plan.defects)?;
    let mut tracee = Tracee::start()?;
    let generator = Generator::new(plan.seed);
    let mut tally = Tally {
        debug: DebugExceptions::look(&mut reference, &mut tracee)?,
        ..Tally::default()
    };
    for number in plan.first..plan.first + plan.steps {
        if !look(&tally) {
            break;
        }
        let bits = plan.widths[(number % plan.widths.len() as u64) as usize];
        let mut before = generator.step(number, bits);
        tracee.complete(&mut before);
        one_step(&mut tally, &mut reference, &mut tracee, number, before)?;
    }
    Ok(tally)
}

/// Makes one step on both sides and counts it.
fn one_step(
    tally: &mut Tally,
    reference: &mut Reference<'_>,
    tracee: &mut Tracee,
    number: u64,
    before: Before,
) -> Result<(), RunError> {
    let first = reference.step(&before, Vec::new());
    if let Err(Silent::Gap(error)) = &first {
        *tally.silent.entry(gap(error)).or_default() += 1;
        return Ok(());
    }
    let native = match tracee.step(&before) {
        Ok(native) => native,
        Err(NativeError::Endless) => {
            tally.note_endless(number, before);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    const ALIGNMENT_CHECK: u8 = 17;
    if native.event.vector == ALIGNMENT_CHECK {
        let reason = "the system watches locked accesses that cross cache lines".to_owned();
        *tally.silent.entry(reason).or_default() += 1;
        return Ok(());
    }
    let mut nearest: Option<(Vec<Difference>, After)> = None;
    let mut fitting: Vec<Predicted> = Vec::new();
    let mut way = first;
    let mut is_open = false;
    loop {
        let (differences, model) = match &way {
            Ok(predicted) => {
                is_open |= !predicted.choices.is_empty();
                let mut differences = compare(&before, &native, predicted);
                compare_memory(reference, tracee, &mut differences);
                if differences.is_empty() && tally.allows(predicted) {
                    fitting.push(predicted.clone());
                }
                (differences, predicted.after.clone())
            }
            Err(silent) => (vec![Difference::of_words(silent)], native.clone()),
        };
        if nearest
            .as_ref()
            .is_none_or(|(known, _)| differences.len() < known.len())
        {
            nearest = Some((differences, model));
        }
        let Some(script) = reference.next_script() else {
            break;
        };
        way = reference.step(&before, script);
    }
    if fitting.is_empty() {
        let (mut differences, model) = nearest.unwrap_or_else(|| (Vec::new(), native.clone()));
        if differences.is_empty() {
            differences.push(Difference::of_words(
                "an open choice, made otherwise in an earlier step",
            ));
        }
        let case = Case {
            before: &before,
            native: &native,
            model: &model,
            differences: &differences,
            debug: &tally.debug,
        };
        match explain(&case) {
            Some(reason) => *tally.explained.entry(reason).or_default() += 1,
            None => tally.note(number, before, Some(native), differences),
        }
        return Ok(());
    }
    if is_open {
        tally.learn(&fitting);
    }
    tally.agree += 1;
    Ok(())
}

impl Tally {
    /// Whether the choices of a way are among those that the processor can still be making.
    fn allows(&self, predicted: &Predicted) -> bool {
        predicted.choices.iter().all(|(id, chosen)| {
            let known = self.choices.get(id);
            known.is_none_or(|known| known.contains_key(chosen))
        })
    }

    /// What choices the processor can be making, now that these ways are the ones that fit.
    fn learn(&mut self, fitting: &[Predicted]) {
        let ids: Vec<&'static str> = fitting
            .iter()
            .flat_map(|way| way.choices.iter().map(|choice| choice.0))
            .collect();
        for id in ids {
            let of_id = |way: &Predicted| {
                let made = way.choices.iter().find(|choice| choice.0 == id);
                made.map(|choice| choice.1.clone())
            };
            let options: Vec<String> = fitting.iter().filter_map(of_id).collect();
            if fitting.iter().any(|way| of_id(way).is_none()) {
                continue;
            }
            let known = self.choices.entry(id).or_default();
            if known.is_empty() {
                known.extend(options.iter().map(|option| (option.clone(), 0)));
            }
            known.retain(|option, _| options.contains(option));
            for count in known.values_mut() {
                *count += 1;
            }
        }
    }

    fn note_endless(&mut self, number: u64, before: Before) {
        match explain_endless(&before) {
            Some(reason) => *self.explained.entry(reason).or_default() += 1,
            None => {
                let words = Difference::of_words("the processor does not come to an end");
                self.note(number, before, None, vec![words]);
            }
        }
    }

    fn note(&mut self, number: u64, before: Before, native: Option<After>, differences: Vec<Difference>) {
        let name = kind(&before, &differences);
        let new = || Kind {
            count: 0,
            number,
            before,
            native,
            differences,
        };
        self.kinds.entry(name).or_insert_with(new).count += 1;
    }
}

fn compare_memory(reference: &Reference<'_>, tracee: &Tracee, differences: &mut Vec<Difference>) {
    for index in tracee.pages_other_than(|index, show| reference.show_page(index, show)) {
        let native = tracee.page(index);
        reference.show_page(index, &mut |model| {
            let Some(offset) = (0..PAGE).find(|offset| native[*offset] != model[*offset]) else {
                return;
            };
            differences.push(Difference {
                what: format!("memory at {:#x}", PAGES[index].address + offset as u64),
                native: native[offset].into(),
                model: model[offset].into(),
            });
        });
    }
}

/// Why the model says nothing, without the addresses.
fn gap(error: &ModelError) -> String {
    match error {
        ModelError::UnknownInstruction { .. } => "the model lacks the instruction".to_owned(),
        other => other.to_string(),
    }
}

/// A name for a way to differ: the encoding, the width of code and what differs.
fn kind(before: &Before, differences: &[Difference]) -> String {
    let bits = before.registers.bits();
    let instruction = Decoder::new(bits, &before.code, DecoderOptions::NONE).decode();
    let mut what: Vec<String> = differences
        .iter()
        .map(|difference| match difference.what.as_str() {
            "vector" => format!("vector {} for {}", difference.native, difference.model),
            what if what.starts_with("memory") => "memory".to_owned(),
            what => what.to_owned(),
        })
        .collect();
    what.dedup();
    format!("{:?}, {bits}-bit code: {}", instruction.code(), what.join(", "))
}

/// The instruction of a step in words.
#[must_use]
pub fn disassemble(before: &Before) -> String {
    let registers = &before.registers;
    let instruction = Decoder::with_ip(
        registers.bits(),
        &before.code,
        registers.rip,
        DecoderOptions::NONE,
    )
    .decode();
    let mut text = String::new();
    NasmFormatter::new().format(&instruction, &mut text);
    text
}
