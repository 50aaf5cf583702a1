//! Tests of the assembler as a whole, by area.

mod mistakes;
mod places;
mod properties;

use std::collections::BTreeMap;

use super::{AssemblyError, Bits, Mistake, Program, Section, assemble};

/// A section at offset 0 of the segment at 0.
fn section(text: &str, bits: Bits) -> Section<'_> {
    Section {
        name: "start",
        text,
        bits,
        segment_base: 0,
        origin: Some(0),
    }
}

fn program(sections: &[Section<'_>]) -> Program {
    assemble(sections, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The bytes of text that is one piece.
fn bytes(text: &str, bits: Bits) -> Vec<u8> {
    program(&[section(text, bits)])
        .blobs
        .into_iter()
        .flat_map(|blob| blob.bytes)
        .collect()
}

/// Line, column and mistake of everything wrong with a text.
fn mistakes(text: &str, bits: Bits) -> Vec<(usize, usize, Mistake)> {
    let errors: Vec<AssemblyError> = assemble(&[section(text, bits)], &BTreeMap::new()).expect_err(text);
    errors
        .into_iter()
        .map(|error| (error.line, error.column, error.mistake))
        .collect()
}
