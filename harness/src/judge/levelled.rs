//! Whether two observations are the same but for what may be anything.

use spec_model::outcome::Outcome;
use spec_model::transcript::Observation;
use spec_model::x86::field::FIELDS;
use spec_model::x86::save_area::Layout;
use spec_model::x86::state::VcpuState;

use super::compare::free_bits;

/// Compares the whole, once the bits that an outcome leaves free at that observation, and the rows
/// that the format leaves open, are level.
pub(super) fn agree(
    layout: &Layout,
    outcome: &Outcome,
    index: usize,
    allowed: &Observation,
    seen: &Observation,
) -> bool {
    let mut levelled = seen.clone();
    if let (Some(ours), Some(theirs)) = (&allowed.state, &mut levelled.state) {
        level_state(outcome, index, ours, theirs);
    }
    for (slot, (ours, theirs)) in allowed.stack.iter().zip(&mut levelled.stack).enumerate() {
        let free = free_bits(outcome, index, &format!("stack.{slot}"));
        *theirs = *theirs & !free | *ours & free;
    }
    if let (Some(ours), Some(theirs)) = (&allowed.save_area, &mut levelled.save_area)
        && ours.len() == layout.size()
        && theirs.len() == layout.size()
    {
        level_save_area(layout, outcome, index, ours, theirs);
    }
    levelled == *allowed
}

fn level_state(outcome: &Outcome, index: usize, ours: &VcpuState, theirs: &mut VcpuState) {
    for field in FIELDS {
        let free = free_bits(outcome, index, field.name);
        if free != 0 {
            let value = field.read(theirs) & !free | field.read(ours) & free;
            field.write(theirs, value);
        }
    }
}

fn level_save_area(layout: &Layout, outcome: &Outcome, index: usize, ours: &[u8], theirs: &mut [u8]) {
    for row in layout.rows {
        let range = row.range(ours.len());
        if layout.leaves_open(row) {
            if let (Some(ours), Some(theirs)) = (ours.get(range.clone()), theirs.get_mut(range)) {
                theirs.copy_from_slice(ours);
            }
        } else if row.width <= 8 {
            let free = free_bits(outcome, index, &format!("save.{}", row.name));
            if free != 0 {
                let value = row.read(theirs) & !free | row.read(ours) & free;
                row.write(theirs, value);
            }
        }
    }
}
