//! The machine of a case: initial registers, and what it changes in the tables of its mode.

use spec_model::x86::field::FIELDS;
use spec_model::x86::state::VcpuState;

use super::apic::is_apic_field;
use super::code::{self, Code};
use super::document::{Entries, Located};
use super::mistake::{Position, suggest};
use super::preset::{self, FREE_SELECTORS, Gate, MAPPED, PAGE_SIZE, Page, Tables, TaskState};
use super::resolve::Resolver;
use super::syntax::{GateEntry, GateKind, Machine, Mode};
use super::value::FieldValues;
use super::xen_pv;

/// Initial registers of all processors.
pub(super) fn vcpus(
    machine: &Machine,
    code: &Code,
    task_limit: u16,
    resolver: &mut Resolver<'_>,
) -> Vec<VcpuState> {
    let mut vcpus: Vec<VcpuState> = (0..resolver.vcpus)
        .map(|number| {
            let entry = code.entries.get(usize::from(number)).copied().unwrap_or_default();
            let mut state = preset::registers(machine.mode.value, number, entry, task_limit);
            let apic = machine.apic.as_ref();
            state.apic = apic.map(|apic| Box::new(apic.value.local_apic(number)));
            state
        })
        .collect();
    if let Some(state) = vcpus.first_mut() {
        set(state, &machine.registers, resolver);
    }
    for (key, values) in &machine.processors.0 {
        let number = resolver.key(key, 8, "a processor number");
        let number = number.and_then(|number| u8::try_from(number).ok());
        let located = number.map(|value| Located { at: key.at, value });
        let number = located.and_then(|number| resolver.vcpu(&number));
        let mut nobody = VcpuState::default();
        let state = number.and_then(|number| vcpus.get_mut(usize::from(number)));
        set(state.unwrap_or(&mut nobody), values, resolver);
    }
    vcpus
}

/// Sets fields in the order of the field table, so that an exception exists before its
/// vector is set.
fn set(state: &mut VcpuState, values: &FieldValues, resolver: &mut Resolver<'_>) {
    for field in FIELDS {
        let value = values.entries.0.iter().find(|(name, _)| name.value == field.name);
        let Some((name, number)) = value else { continue };
        if xen_pv::is_field(&name.value) && state.xen_pv.is_none() {
            resolver.mistakes.add(
                name.at,
                format!("`{}` means nothing in this mode", name.value),
                "remove it, or use mode xen-pv",
            );
            continue;
        }
        if is_apic_field(&name.value) && state.apic.is_none() {
            resolver.mistakes.add(
                name.at,
                format!("`{}` needs a local APIC", name.value),
                "add `apic: xapic`, `x2apic` or `off` to `machine`",
            );
            continue;
        }
        if let Some(value) = resolver.number(number, field.bits, field.name) {
            field.write(state, value);
        }
    }
}

/// What the case changes in the tables of its mode.
pub(super) fn tables(machine: &Machine, code: &Code, resolver: &mut Resolver<'_>) -> Tables {
    let mode = machine.mode.value;
    if resolver.mode_known {
        check_applicable(machine, resolver);
    }
    if mode == Mode::XenPv {
        xen_pv::check(machine, resolver);
    }
    let pages = pages(machine, resolver);
    Tables {
        gates: gates(machine, code, resolver),
        task_state: task_state(machine, resolver),
        descriptors: descriptors(&machine.gdt, resolver),
        pages: if mode.has_paging() { pages } else { Vec::new() },
    }
}

/// Reports settings that mean nothing in the mode.
fn check_applicable(machine: &Machine, resolver: &mut Resolver<'_>) {
    let mode = machine.mode.value;
    let mut refuse = |at: Position, what: &str, modes: &str| {
        let what = format!("`{what}` means nothing in this mode");
        resolver
            .mistakes
            .add(at, what, format!("remove it, or use mode {modes}"));
    };
    if let (false, Some((key, _))) = (mode.has_descriptors(), machine.gdt.0.first()) {
        refuse(key.at, "gdt", "protected, paged, pae, compatibility or long");
    }
    if let (false, Some((key, _))) = (mode.has_paging(), machine.pages.0.first()) {
        refuse(key.at, "pages", "paged, pae, compatibility or long");
    }
    if let (Mode::Bare, Some((key, _))) = (mode, machine.idt.0.first()) {
        refuse(
            key.at,
            "idt",
            "real, protected, paged, pae, compatibility or long",
        );
    }
    let tss = &machine.tss;
    let any = [&tss.rsp0, &tss.rsp1, &tss.rsp2, &tss.ss0, &tss.limit];
    let long_only = [
        &tss.ist1, &tss.ist2, &tss.ist3, &tss.ist4, &tss.ist5, &tss.ist6, &tss.ist7,
    ];
    let has_tss = mode.has_descriptors() || mode == Mode::XenPv;
    if let (false, Some(number)) = (has_tss, any.into_iter().flatten().next()) {
        refuse(number.at, "tss", "protected, paged, pae, compatibility or long");
    }
    if !mode.has_long_mode() {
        for number in long_only.into_iter().flatten() {
            refuse(number.at, "tss.ist", "compatibility or long");
        }
    } else if let Some(number) = &tss.ss0 {
        refuse(number.at, "tss.ss0", "protected, paged or pae");
    }
    let hidden = machine.long_mode_cpuid.as_ref().filter(|cpuid| !cpuid.value);
    if let (Some(cpuid), true) = (hidden, mode.has_long_mode()) {
        resolver.mistakes.add(
            cpuid.at,
            "long mode needs CPUID to report it",
            "remove `long-mode-cpuid: false`, or use mode real, protected, paged or pae",
        );
    }
}

fn gates(machine: &Machine, code: &Code, resolver: &mut Resolver<'_>) -> Vec<(u8, Gate)> {
    let mode = machine.mode.value;
    let mut gates = Vec::new();
    let mut named: Vec<u8> = Vec::new();
    for (key, _) in &machine.idt.0 {
        match vector_of(key, resolver) {
            Some(vector) if named.contains(&vector) => resolver.mistakes.add(
                key.at,
                format!("vector {vector} is given twice"),
                "keep one of them",
            ),
            Some(vector) => named.push(vector),
            None => {}
        }
    }
    for vector in 0..=u8::MAX {
        let handler = code.handlers.iter().find(|(handled, _)| *handled == vector);
        let entry = machine
            .idt
            .0
            .iter()
            .find(|(key, _)| vector_in(key) == Some(vector))
            .map(|(_, entry)| entry);
        let mut gate = Gate {
            offset: handler.map_or(0, |(_, offset)| *offset),
            selector: mode.handler_selector(),
            kind: GateKind::Interrupt,
            dpl: 0,
            ist: 0,
            present: handler.is_some(),
        };
        if mode == Mode::Real && handler.is_none() {
            gate.offset = preset::UNEXPECTED;
            gate.present = true;
        }
        if let Some(entry) = entry {
            change_gate(&mut gate, entry, mode, resolver);
        }
        if gate.present || entry.is_some() {
            gates.push((vector, gate));
        }
    }
    gates
}

fn change_gate(gate: &mut Gate, entry: &GateEntry, mode: Mode, resolver: &mut Resolver<'_>) {
    let bits = if mode.has_long_mode() || !resolver.mode_known {
        64
    } else if mode == Mode::Real {
        16
    } else {
        32
    };
    gate.offset = resolver.number_or(
        entry.handler.as_ref(),
        bits,
        "the offset of a handler",
        gate.offset,
    );
    gate.present = entry.present.unwrap_or(gate.present || entry.handler.is_some());
    let selector = resolver.number_or(entry.selector.as_ref(), 16, "a selector", gate.selector.into());
    let dpl = resolver.number_or(entry.dpl.as_ref(), 2, "a privilege level", 0);
    let ist = resolver.number_or(entry.ist.as_ref(), 3, "the IST field", 0);
    gate.selector = u16::try_from(selector).unwrap_or_default();
    gate.dpl = u8::try_from(dpl).unwrap_or_default();
    gate.ist = u8::try_from(ist).unwrap_or_default();
    gate.kind = entry.kind.unwrap_or(gate.kind);
    let misplaced = match &entry.ist {
        Some(ist) if !mode.has_long_mode() => Some((ist.at, "ist")),
        _ => match (&entry.dpl, mode) {
            (Some(dpl), Mode::Real) => Some((dpl.at, "dpl")),
            _ => None,
        },
    };
    if let Some((at, what)) = misplaced.filter(|_| resolver.mode_known) {
        resolver.mistakes.add(
            at,
            format!("a gate has no `{what}` in this mode"),
            "remove it, or use another mode",
        );
    }
}

fn vector_in(key: &Located<String>) -> Option<u8> {
    let number = super::tree::integer(&key.value).and_then(|number| u8::try_from(number).ok());
    code::vector(&key.value).or(number)
}

fn vector_of(key: &Located<String>, resolver: &mut Resolver<'_>) -> Option<u8> {
    let vector = vector_in(key);
    if vector.is_none() {
        let names = [
            "de", "db", "nmi", "bp", "of", "br", "ud", "nm", "df", "ts", "np", "ss", "gp", "pf", "mf", "ac",
            "mc",
        ];
        resolver.mistakes.add(
            key.at,
            format!("`{}` is not a vector", key.value),
            format!(
                "{}; numbers from 0 to 255 are allowed too",
                suggest(&key.value, names, "vectors")
            ),
        );
    }
    vector
}

fn task_state(machine: &Machine, resolver: &mut Resolver<'_>) -> TaskState {
    let tss = &machine.tss;
    let bits = if machine.mode.value.has_long_mode() || !resolver.mode_known {
        64
    } else {
        32
    };
    let mut state = TaskState::default();
    for (stack, entry) in state.stacks.iter_mut().zip([&tss.rsp0, &tss.rsp1, &tss.rsp2]) {
        *stack = resolver.number_or(entry.as_ref(), bits, "a stack pointer", *stack);
    }
    let interrupt_stacks = [
        &tss.ist1, &tss.ist2, &tss.ist3, &tss.ist4, &tss.ist5, &tss.ist6, &tss.ist7,
    ];
    for (stack, entry) in state.interrupt_stacks.iter_mut().zip(interrupt_stacks) {
        *stack = resolver.number_or(entry.as_ref(), 64, "a stack pointer", *stack);
    }
    let segment = resolver.number_or(tss.ss0.as_ref(), 16, "a selector", state.stack_segment.into());
    state.stack_segment = u16::try_from(segment).unwrap_or_default();
    let limit = resolver.number_or(tss.limit.as_ref(), 16, "the limit of the TSS", state.limit.into());
    state.limit = u16::try_from(limit).unwrap_or_default();
    state
}

fn descriptors(gdt: &Entries<Located<super::value::Number>>, resolver: &mut Resolver<'_>) -> Vec<(u16, u64)> {
    let mut descriptors = Vec::new();
    for (key, number) in &gdt.0 {
        let selector = resolver
            .key(key, 16, "a selector")
            .and_then(|key| u16::try_from(key).ok());
        let descriptor = resolver.number(number, 64, "a descriptor");
        let Some(selector) = selector else { continue };
        if !FREE_SELECTORS.contains(&selector) || selector % 8 != 0 {
            resolver.mistakes.add(
                key.at,
                format!("selector {selector:#x} is not free"),
                format!(
                    "use a multiple of 8 from {:#x} to {:#x}",
                    FREE_SELECTORS.start(),
                    FREE_SELECTORS.end()
                ),
            );
        } else if descriptors.iter().any(|(other, _)| *other == selector) {
            resolver.mistakes.add(
                key.at,
                format!("selector {selector:#x} is given twice"),
                "keep one of them",
            );
        } else if let Some(descriptor) = descriptor {
            descriptors.push((selector, descriptor));
        }
    }
    descriptors
}

fn pages(machine: &Machine, resolver: &mut Resolver<'_>) -> Vec<(u64, Page)> {
    let mut pages: Vec<(u64, Page)> = Vec::new();
    for (key, entry) in &machine.pages.0 {
        let Some(address) = resolver.key(key, 64, "a linear address") else {
            continue;
        };
        if address % PAGE_SIZE != 0 || address >= MAPPED {
            resolver.mistakes.add(
                key.at,
                format!("{address:#x} is not the address of a page"),
                format!("write a multiple of {PAGE_SIZE:#x} below {MAPPED:#x}"),
            );
        } else if pages.iter().any(|(other, _)| *other == address) {
            resolver.mistakes.add(
                key.at,
                format!("page {address:#x} is given twice"),
                "keep one of them",
            );
        } else {
            pages.push((
                address,
                Page {
                    present: entry.present.unwrap_or(true),
                    writable: entry.writable.unwrap_or(true),
                    user: entry.user.unwrap_or(true),
                },
            ));
        }
    }
    pages
}
