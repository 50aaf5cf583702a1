//! The chipset of a case, and what it adds to the machine.

use std::ops::Range;

use spec_model::chipset::register::Register;
use spec_model::chipset::{Chipset, HostBridge, Implementation, Kind};
use spec_model::defect::DefectSet;

use super::document::Located;
use super::preset;
use super::resolve::Resolver;
use super::syntax::{ChipsetEntry, ChipsetImplementation, ChipsetKind, Machine, Mode};
use super::value::ChipsetValues;

/// Top of low memory unless the case says otherwise, in bytes: room for a TSEG of 2 MiB.
const TOP_OF_MEMORY: u64 = 4 << 20;

/// The chipset, if the case has one that makes sense.
pub(super) fn chipset(entry: Option<&Located<ChipsetEntry>>, resolver: &mut Resolver<'_>) -> Option<Chipset> {
    let Located { at, value: entry } = entry?;
    let top = resolver.number_or(
        entry.top_of_memory.as_ref(),
        64,
        "the top of low memory",
        TOP_OF_MEMORY,
    );
    let chipset = Chipset {
        kind: match entry.kind {
            ChipsetKind::I440fx => Kind::I440fx,
            ChipsetKind::Q35 => Kind::Q35,
        },
        implementation: match entry.implementation {
            None | Some(ChipsetImplementation::Datasheet) => Implementation::Datasheet,
            Some(ChipsetImplementation::Qemu) => Implementation::Qemu,
            Some(ChipsetImplementation::Bochs) => Implementation::Bochs,
        },
        top_of_memory: top,
        registers: registers(&entry.registers, resolver),
    };
    if let Err(error) = HostBridge::new(&chipset, DefectSet::NONE) {
        let remedy = "see `chipset` in cases/README.md";
        resolver.mistakes.add(*at, error.to_string(), remedy);
        return None;
    }
    Some(chipset)
}

/// Values for registers, in the order of the file.
pub(super) fn registers(values: &ChipsetValues, resolver: &mut Resolver<'_>) -> Vec<(Register, u16)> {
    let mut registers = Vec::new();
    for (name, number) in &values.entries.0 {
        let Some(register) = Register::named(&name.value) else {
            continue;
        };
        let value = resolver.number(number, register.width() * 8, register.name());
        if let Some(value) = value.and_then(|value| u16::try_from(value).ok()) {
            registers.push((register, value));
        }
    }
    registers
}

/// The RAM between the preset's and the top of low memory.
pub(super) fn extended_memory(machine: &Machine, chipset: Option<&Chipset>) -> Option<Range<u64>> {
    let chipset = chipset.filter(|_| machine.mode.value != Mode::Bare)?;
    Some(preset::RAM_SIZE..chipset.top_of_memory)
}
