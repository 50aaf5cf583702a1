//! Reads what an expectation names, and decides whether it is allowed.

use spec_model::transcript::{Observation, Stop};
use spec_model::x86::save_area::{Layout, Row};

use super::value::Value;
use crate::case::{AllowedValue, ObservedField};

/// The field's value in an observation; [`Value::Absent`] where it was not observable, or where
/// the format of the state-save area in force has no such row.
#[must_use]
pub fn read(field: &ObservedField, observation: &Observation, layout: &Layout) -> Value {
    match field {
        ObservedField::State(field) => match &observation.state {
            Some(state) if field.shows_in(state) => Value::number(field.read(state), field.bits),
            _ => Value::Absent,
        },
        ObservedField::Stack(slot) => match observation.stack.get(*slot) {
            Some(value) => Value::number(*value, stack_bits(observation)),
            None => Value::Absent,
        },
        ObservedField::Save(row) => match (observation.save_area.as_deref(), layout.row(row.name)) {
            (Some(area), Some(row)) if area.len() == layout.size() => {
                Value::number(row.read(area), row_bits(row))
            }
            _ => Value::Absent,
        },
        ObservedField::Watch(index) => match observation.watches.get(*index) {
            Some(bytes) if !bytes.is_empty() => Value::Bytes(bytes.clone()),
            _ => Value::Absent,
        },
    }
}

/// Why nothing can be observed of a field at a stop: what is the matter, and what to expect in its
/// place. Nothing if it can be there, as far as the stop decides that.
///
/// This is the one place that says what shows where; [`Stop::shows_state`] says where a state does.
#[must_use]
pub fn hidden_at(field: &ObservedField, stop: Stop) -> Option<(&'static str, &'static str)> {
    let of_processor = match field {
        ObservedField::State(_) | ObservedField::Stack(_) | ObservedField::Save(_) => true,
        ObservedField::Watch(_) => false,
    };
    (of_processor && !stop.shows_state()).then_some((
        "the processor is lost there, and its state cannot be read",
        "expect it at the point before, or expect a `watch`, since memory is still there",
    ))
}

/// Why [`read`] gives [`Value::Absent`], likewise.
#[must_use]
pub fn why_absent(field: &ObservedField, observation: &Observation) -> (&'static str, &'static str) {
    if let Some(hidden) = hidden_at(field, observation.stop) {
        return hidden;
    }
    match field {
        ObservedField::State(field) => match &observation.state {
            Some(state) if !field.shows_in(state) => (
                "a program runs there, and only the kernel of a guest of Xen can read debug registers",
                "expect it at a point of the kernel",
            ),
            _ => ("no state was observed there", "expect it at another point"),
        },
        ObservedField::Stack(_) => (
            "the stack there is not all in memory, so that none of it is observed",
            "expect it at another point, or expect a `watch`",
        ),
        ObservedField::Save(_) => match &observation.state {
            Some(state) if !state.events.in_smm => (
                "the processor is not in SMM there, and the save area is observed in SMM only",
                "expect it at a point of the SMI handler",
            ),
            _ => (
                "no save area of that format is observed there",
                "expect it at a point of the SMI handler, and a row that the format has",
            ),
        },
        ObservedField::Watch(_) => (
            "the watch is not all in memory there",
            "correct its `address` and `length`, or add `memory`",
        ),
    }
}

/// Whether an observed value is among the allowed ones. A watch of up to 8 bytes counts as
/// the little-endian integer that it holds when the expectation is a number.
#[must_use]
pub fn admits(allowed: &AllowedValue, seen: &Value) -> bool {
    match (allowed, seen) {
        (_, Value::Absent | Value::Text(_)) => false,
        (AllowedValue::Bytes(allowed), Value::Bytes(bytes)) => allowed == bytes,
        (AllowedValue::Bytes(allowed), Value::Number { value, .. }) => little_endian(allowed) == Some(*value),
        (_, Value::Bytes(bytes)) => little_endian(bytes).is_some_and(|value| admits_number(allowed, value)),
        (_, Value::Number { value, .. }) => admits_number(allowed, *value),
    }
}

fn admits_number(allowed: &AllowedValue, seen: u64) -> bool {
    match allowed {
        AllowedValue::Exactly(value) => seen == *value,
        AllowedValue::AnyOf(values) => values.contains(&seen),
        AllowedValue::Masked { mask, value } => seen & mask == value & mask,
        AllowedValue::Bytes(_) => false,
    }
}

/// The allowed values to print, for a field of that many bits.
#[must_use]
pub fn allowed_values(allowed: &AllowedValue, bits: u8) -> Vec<Value> {
    match allowed {
        AllowedValue::Exactly(value) => vec![Value::number(*value, bits)],
        AllowedValue::AnyOf(values) => values.iter().map(|value| Value::number(*value, bits)).collect(),
        AllowedValue::Masked { mask, value } => {
            vec![Value::Text(format!("{:#x} under mask {mask:#x}", value & mask))]
        }
        AllowedValue::Bytes(bytes) => vec![Value::Bytes(bytes.clone())],
    }
}

/// Width of the observation's stack slots in bits.
pub(super) fn stack_bits(observation: &Observation) -> u8 {
    let width = observation.state.as_ref().map_or(8, |state| state.stack_width());
    u8::try_from(width * 8).unwrap_or(64)
}

/// Width of a row's value in bits, at most 64.
pub(super) fn row_bits(row: &Row) -> u8 {
    u8::try_from(row.width.min(8) * 8).unwrap_or(64)
}

fn little_endian(bytes: &[u8]) -> Option<u64> {
    let fold = |value, byte: &u8| value << 8 | u64::from(*byte);
    (bytes.len() <= 8).then(|| bytes.iter().rev().fold(0, fold))
}
