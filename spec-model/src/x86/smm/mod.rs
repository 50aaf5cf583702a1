//! System-management mode: entry and RSM.

mod entry;
mod image;
mod io_restart;
mod resume;

use super::memory::PhysicalMemory;
use super::processor::Rules;
use super::save_area::{AttributeEncoding, Content, Layout};
use super::state::VcpuState;
use crate::defect::Defect;

/// The layout in force (SMM-SAVE-002).
#[must_use]
pub fn layout(rules: &Rules) -> &'static Layout {
    let mut cpuid = rules.cpuid;
    cpuid.long_mode |= rules.broken(Defect::SaveAreaFormatFixed64);
    cpuid.long_mode &= !rules.broken(Defect::SaveAreaFormatFixed32);
    rules.profile.layout(cpuid)
}

/// The state-save area of a processor as it sees it in SMM; `None` if it is not in RAM.
#[must_use]
pub fn save_area(rules: &Rules, state: &VcpuState, memory: &PhysicalMemory<'_>) -> Option<Vec<u8>> {
    let layout = layout(rules);
    memory.read_bytes(state.smbase.wrapping_add(layout.offset()), layout.size(), true)
}

/// Moves the segment flags of a 32-bit area by 8 bits, the confusion between the two
/// encodings that the defect stands for.
fn shift_attributes(layout: &Layout, area: &mut [u8], rules: &Rules, shift: impl Fn(u64) -> u64) {
    if !rules.broken(Defect::SaveAreaAttributesShifted) {
        return;
    }
    for row in layout.rows {
        let encoding = AttributeEncoding::Descriptor;
        if matches!(row.content, Content::Attributes { encoding: own, .. } if own == encoding) {
            row.write(area, shift(row.read(area)));
        }
    }
}
