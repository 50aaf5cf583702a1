//! What differs between a step of the processor and one of the model.

use std::fmt;

use super::layout::USER_END;
use super::reference::Predicted;
use super::state::{After, Before, CS, GENERAL, SEGMENTS};
use crate::native::layout;
use spec_model::x86::control::flag;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What: a register, `vector`, `error-code`, `address`, or `memory`.
    pub what: String,
    /// The processor's value.
    pub native: u64,
    /// The model's value.
    pub model: u64,
}

impl Difference {
    /// One that no two values show.
    pub fn of_words(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            native: 0,
            model: 0,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, native, model } = self;
        if native == model {
            return formatter.write_str(what);
        }
        write!(formatter, "{what}: processor {native:#x}, model {model:#x}")
    }
}

/// Whether a selector names 64-bit code.
fn is_long(selector: u16) -> bool {
    layout::segment(selector).is_some_and(|segment| segment.attributes.long())
}

/// Everything but memory.
#[must_use]
pub fn compare(before: &Before, native: &After, predicted: &Predicted) -> Vec<Difference> {
    let model = &predicted.after;
    let mut differences = Vec::new();
    let mut note = |what: &str, native: u64, model: u64| {
        if native != model {
            differences.push(Difference {
                what: what.to_owned(),
                native,
                model,
            });
        }
    };
    note("vector", native.event.vector.into(), model.event.vector.into());
    if native.event.vector == model.event.vector {
        let code = |event: super::state::Event| u64::from(event.error_code.unwrap_or(0)) | hidden(event);
        note("error-code", code(native.event), code(model.event));
        let address = |event: super::state::Event| event.address.unwrap_or(0);
        note("address", address(native.event), address(model.event));
    }
    let (seen, expected) = (&native.registers, &model.registers);
    // Outside 64-bit mode nothing shows the upper halves, and a change of mode may lose them (SDM vol. 1,
    // "Address Calculations in 64-Bit Mode").
    let started_long = is_long(before.registers.selectors[CS]);
    let stays_long = started_long && is_long(seen.selectors[CS]) && is_long(expected.selectors[CS]);
    let (width, count) = if stays_long {
        (u64::MAX, 16)
    } else {
        (0xffff_ffff, 8)
    };
    for (index, name) in GENERAL.iter().enumerate().take(count) {
        let (seen, expected) = (seen.general[index] & width, expected.general[index] & width);
        note(name, seen, expected);
    }
    note("rip", seen.rip, expected.rip);
    let defined = flag::ARITHMETIC & !predicted.undefined_flags | !flag::ARITHMETIC;
    note("rflags", seen.rflags & defined, expected.rflags & defined);
    for (index, name) in SEGMENTS.iter().enumerate() {
        note(
            name,
            seen.selectors[index].into(),
            expected.selectors[index].into(),
        );
    }
    for (index, name) in ["fs-base", "gs-base"].iter().enumerate() {
        note(name, seen.bases[index], expected.bases[index]);
    }
    differences
}

/// Linux sets P of the error code for every address that is not a program's, whether or not there is a
/// page (arch/x86/mm/fault.c, `set_signal_archinfo`).
fn hidden(event: super::state::Event) -> u64 {
    u64::from(event.address.is_some_and(|address| address >= USER_END))
}
