//! Where the model implements a requirement, found in the model's own doc comments.

use super::Requirement;

/// A function, type or constant of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Source file, from `spec-model/src`.
    pub file: &'static str,
    /// Line of the item, counted from 1.
    pub line: usize,
    /// The item's name.
    pub item: &'static str,
}

macro_rules! sources {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!("../", $path)))),*]
    };
}

static SOURCES: &[(&str, &str)] = sources![
    "chipset/configuration.rs",
    "chipset/mod.rs",
    "chipset/register.rs",
    "chipset/window.rs",
    "host_state.rs",
    "profile/choices.rs",
    "profile/mod.rs",
    "stage2/host.rs",
    "stage2/machine.rs",
    "stage2/machine/access.rs",
    "stage2/machine/arm64/mod.rs",
    "stage2/machine/arm64/stage1.rs",
    "stage2/machine/host_steps.rs",
    "stage2/machine/spin.rs",
    "stage2/machine/walk.rs",
    "stage2/slots.rs",
    "x86/control.rs",
    "x86/debug/breakpoint.rs",
    "x86/debug/choices.rs",
    "x86/debug/exception.rs",
    "x86/debug/mod.rs",
    "x86/decode.rs",
    "x86/decode_cache.rs",
    "x86/delivery.rs",
    "x86/double_fault.rs",
    "x86/exception.rs",
    "x86/execute/arithmetic.rs",
    "x86/execute/bits.rs",
    "x86/execute/branch.rs",
    "x86/execute/choices.rs",
    "x86/execute/cpuid.rs",
    "x86/execute/hypercall.rs",
    "x86/execute/io.rs",
    "x86/execute/mod.rs",
    "x86/execute/movement.rs",
    "x86/execute/operand.rs",
    "x86/execute/return_from_interrupt.rs",
    "x86/execute/string.rs",
    "x86/execute/sysenter.rs",
    "x86/execute/system.rs",
    "x86/execute/system_call.rs",
    "x86/field.rs",
    "x86/init.rs",
    "x86/injection.rs",
    "x86/instruction_set.rs",
    "x86/local_apic/choices.rs",
    "x86/local_apic/icr.rs",
    "x86/local_apic/interrupt.rs",
    "x86/local_apic/message.rs",
    "x86/local_apic/mod.rs",
    "x86/local_apic/registers.rs",
    "x86/machine_check.rs",
    "x86/machine/host.rs",
    "x86/machine/mod.rs",
    "x86/machine/observe.rs",
    "x86/machine/saved_state.rs",
    "x86/memory.rs",
    "x86/mod.rs",
    "x86/page.rs",
    "x86/paging.rs",
    "x86/processor.rs",
    "x86/save_area/amd_64.rs",
    "x86/save_area/bochs_32.rs",
    "x86/save_area/bochs_64.rs",
    "x86/save_area/encode.rs",
    "x86/save_area/intel_32.rs",
    "x86/save_area/intel_64.rs",
    "x86/save_area/io.rs",
    "x86/save_area/kvm_32.rs",
    "x86/save_area/kvm_64.rs",
    "x86/save_area/mod.rs",
    "x86/save_area/qemu_32.rs",
    "x86/save_area/qemu_64.rs",
    "x86/save_area/row.rs",
    "x86/segment.rs",
    "x86/segmentation.rs",
    "x86/smm/entry.rs",
    "x86/smm/io_restart.rs",
    "x86/smm/mod.rs",
    "x86/smm/image.rs",
    "x86/smm/resume.rs",
    "x86/state.rs",
    "x86/step.rs",
    "x86/task_switch.rs",
    "x86/vendor_decoding.rs",
    "x86/xen_pv/bounce.rs",
    "x86/xen_pv/control.rs",
    "x86/xen_pv/debug.rs",
    "x86/xen_pv/hypercall.rs",
    "x86/xen_pv/instruction.rs",
    "x86/xen_pv/mod.rs",
];

/// The items whose doc comments name the requirement, alone or within a range of ids such as
/// "SMM-ENTRY-002 to SMM-ENTRY-010".
#[must_use]
pub fn implemented_in(requirement: &Requirement) -> Vec<Place> {
    SOURCES
        .iter()
        .flat_map(|(file, source)| places(file, source, requirement.id))
        .collect()
}

fn places(file: &'static str, source: &'static str, id: &str) -> Vec<Place> {
    let mut found = Vec::new();
    let mut documentation = String::new();
    for (index, line) in source.lines().enumerate() {
        let line = line.trim_start();
        if let Some(text) = line.strip_prefix("///") {
            documentation.push_str(text);
        } else if !line.starts_with("#[") {
            if let Some(item) = item(line).filter(|_| mentions(&documentation, id)) {
                found.push(Place {
                    file,
                    line: index + 1,
                    item,
                });
            }
            documentation.clear();
        }
    }
    found
}

/// The name of the item that a line declares.
fn item(line: &'static str) -> Option<&'static str> {
    let mut words = line.split_whitespace();
    words.find(|word| matches!(*word, "fn" | "struct" | "enum" | "static" | "const" | "let"))?;
    let name = words.find(|word| *word != "fn")?;
    let end = name.find(|character: char| !(character.is_alphanumeric() || character == '_'));
    Some(&name[..end.unwrap_or(name.len())])
}

fn mentions(documentation: &str, id: &str) -> bool {
    let is_part =
        |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '-';
    let words: Vec<&str> = documentation
        .split(|character: char| {
            character.is_whitespace() || matches!(character, '(' | ')' | ',' | '.' | ';' | ':')
        })
        .filter(|word| !word.is_empty())
        .collect();
    let ids = |word: &str| word.len() > 4 && word.contains('-') && word.chars().all(is_part);
    words.iter().enumerate().any(|(index, word)| {
        let range = words.get(index + 1) == Some(&"to") && ids(word);
        match words.get(index + 2).filter(|end| range && ids(end)) {
            Some(end) => in_range(word, end, id),
            None => *word == id,
        }
    })
}

/// Whether an id lies between two of the same area, numbers compared as numbers.
fn in_range(first: &str, last: &str, id: &str) -> bool {
    let split = |id: &'_ str| {
        id.rsplit_once('-')
            .and_then(|(area, number)| Some((area.to_owned(), number.parse().ok()?)))
    };
    let (Some((area, from)), Some((_, to)), Some((own, number))): (_, Option<(String, u32)>, _) =
        (split(first), split(last), split(id))
    else {
        return false;
    };
    area == own && (from..=to).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::{self, SMM_ENTRY_004, SMM_RSM_008};

    #[test]
    fn a_requirement_is_found_by_its_id_and_within_a_range() {
        let items = |requirement| -> Vec<&str> {
            implemented_in(requirement)
                .iter()
                .map(|place| place.item)
                .collect()
        };
        assert!(items(&SMM_RSM_008).contains(&"returns_to_halt"));
        assert!(items(&SMM_ENTRY_004).contains(&"enter_smm_registers"));
    }

    #[test]
    fn every_requirement_is_implemented_somewhere() {
        let missing: Vec<&str> = requirement::all()
            .filter(|requirement| implemented_in(requirement).is_empty())
            .map(|requirement| requirement.id)
            .collect();
        assert!(missing.is_empty(), "no doc comment names {}", missing.join(", "));
    }
}
