//! The machine of a case: initial registers, and memory with code and tables in it.

use std::ops::Range;

use spec_model::scenario::{AddressSpace, Blob, MemoryRegion};
use spec_model::x86::field::FIELDS;
use spec_model::x86::state::VcpuState;

use super::code::{self, Code};
use super::document::{Entries, Located};
use super::mistake::{Position, suggest};
use super::preset::{self, FREE_SELECTORS, Gate, MAPPED, PAGE_SIZE, Page, Tables, TaskState};
use super::resolve::Resolver;
use super::syntax::{GateEntry, GateKind, Machine, MemoryEntry, Mode, Space};
use super::value::FieldValues;

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
            preset::registers(machine.mode.value, number, entry, task_limit)
        })
        .collect();
    if let Some(state) = vcpus.first_mut() {
        set(state, &machine.registers, resolver);
    }
    for (key, values) in &machine.processors.0 {
        let number = resolver.key(key, 8, "a processor number");
        let number = number.and_then(|number| u8::try_from(number).ok());
        let located = number.map(|value| Located { at: key.at, value });
        let Some(number) = located.and_then(|number| resolver.vcpu(&number)) else {
            continue;
        };
        if let Some(state) = vcpus.get_mut(usize::from(number)) {
            set(state, values, resolver);
        }
    }
    vcpus
}

/// Sets fields in the order of the field table, so that an exception exists before its
/// vector is set.
fn set(state: &mut VcpuState, values: &FieldValues, resolver: &mut Resolver<'_>) {
    for field in FIELDS {
        let value = values.entries.0.iter().find(|(name, _)| name.value == field.name);
        let Some((_, number)) = value else { continue };
        if let Some(value) = resolver.number(number, field.bits, field.name) {
            field.write(state, value);
        }
    }
}

/// What the case changes in the tables of its mode.
pub(super) fn tables(machine: &Machine, code: &Code, resolver: &mut Resolver<'_>) -> Tables {
    let mode = machine.mode.value;
    check_applicable(machine, resolver);
    Tables {
        gates: gates(machine, code, resolver),
        task_state: task_state(machine, resolver),
        descriptors: descriptors(&machine.gdt, resolver),
        pages: if mode.has_paging() {
            pages(machine, resolver)
        } else {
            Vec::new()
        },
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
    if !mode.has_descriptors() {
        if let Some(number) = any.into_iter().flatten().next() {
            refuse(number.at, "tss", "protected, paged, pae, compatibility or long");
        }
    }
    if !mode.has_long_mode() {
        for number in long_only.into_iter().flatten() {
            refuse(number.at, "tss.ist", "compatibility or long");
        }
    } else if let Some(number) = &tss.ss0 {
        refuse(number.at, "tss.ss0", "protected, paged or pae");
    }
    if let (Some(cpuid), true) = (&machine.long_mode_cpuid, mode.has_long_mode()) {
        if !cpuid.value {
            resolver.mistakes.add(
                cpuid.at,
                "long mode needs CPUID to report it",
                "remove `long-mode-cpuid: false`, or use mode real, protected, paged or pae",
            );
        }
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
    let bits = if mode.has_long_mode() {
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
    if let Some((at, what)) = misplaced {
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
    let bits = if machine.mode.value.has_long_mode() {
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

/// A region before anything is in it.
struct Region {
    range: Range<u64>,
    space: AddressSpace,
    contents: Vec<Blob>,
}

/// RAM: the preset's, cut by the case's own regions, in ascending order; then the code and
/// the tables are put into it.
pub(super) fn memory(
    machine: &Machine,
    code: &Code,
    tables: &[Blob],
    resolver: &mut Resolver<'_>,
) -> Vec<MemoryRegion> {
    let mut regions = Vec::new();
    if machine.mode.value != Mode::Bare {
        regions.push(Region {
            range: 0..preset::RAM_SIZE,
            space: AddressSpace::Both,
            contents: Vec::new(),
        });
    }
    let preset_regions = regions.len();
    for entry in &machine.memory {
        let Some(region) = region(entry, resolver) else {
            continue;
        };
        let own = regions.split_off(preset_regions.min(regions.len()));
        let clashes = own
            .iter()
            .any(|other| overlap(&other.range, &region.range) && both_visible(other.space, region.space));
        regions.extend(own);
        if clashes {
            resolver.mistakes.add(
                entry.at,
                "this region overlaps another one of `memory`",
                "give them different addresses, or the spaces `normal` and `smm`",
            );
            continue;
        }
        regions.push(region);
    }
    let own = regions.split_off(preset_regions);
    let mut regions = cut(regions, &own);
    regions.extend(own);
    if machine.mode.value != Mode::Bare {
        regions.sort_by_key(|region| (region.range.start, region.space as u8));
    }
    for blob in tables {
        put(&mut regions, blob, false);
    }
    for piece in &code.blobs {
        if !put(&mut regions, &piece.blob, piece.in_smm) {
            resolver.mistakes.add(
                piece.at,
                format!(
                    "the code at {:#x} to {:#x} lies outside RAM or on something else",
                    piece.blob.address,
                    piece.end()
                ),
                "move it with `.at`, or add RAM in `machine.memory`; cases/README.md says where the tables lie",
            );
        }
    }
    regions.into_iter().map(Region::finish).collect()
}

impl Region {
    fn finish(mut self) -> MemoryRegion {
        self.contents.sort_by_key(|blob| blob.address);
        MemoryRegion {
            address: self.range.start,
            size: self.range.end - self.range.start,
            space: self.space,
            contents: self.contents,
        }
    }
}

fn region(entry: &Located<MemoryEntry>, resolver: &mut Resolver<'_>) -> Option<Region> {
    let address = resolver.number(&entry.value.address, 64, "a guest-physical address")?;
    let size = resolver.number(&entry.value.size, 64, "a size")?;
    if !address.is_multiple_of(PAGE_SIZE) {
        resolver.mistakes.add(
            entry.value.address.at,
            format!("{address:#x} is not the address of a page"),
            format!("write a multiple of {PAGE_SIZE:#x}"),
        );
        return None;
    }
    let end = address.checked_add(size);
    let Some(end) = end.filter(|_| size != 0 && size.is_multiple_of(PAGE_SIZE)) else {
        resolver.mistakes.add(
            entry.value.size.at,
            format!("{size:#x} is not the size of a region"),
            format!("write a multiple of {PAGE_SIZE:#x} above 0"),
        );
        return None;
    };
    let mut region = Region {
        range: address..end,
        space: match entry.value.space {
            None | Some(Space::Both) => AddressSpace::Both,
            Some(Space::Normal) => AddressSpace::Normal,
            Some(Space::Smm) => AddressSpace::Smm,
        },
        contents: Vec::new(),
    };
    for (key, bytes) in &entry.value.contents.0 {
        let at = resolver.key(key, 64, "a guest-physical address");
        let (Some(address), Some(bytes)) = (at, resolver.bytes(bytes)) else {
            continue;
        };
        if !region.put(&Blob { address, bytes }) {
            resolver.mistakes.add(
                key.at,
                "these bytes do not lie in their region, or lie on others",
                format!(
                    "write addresses from {:#x} up to {:#x}",
                    region.range.start, region.range.end
                ),
            );
        }
    }
    Some(region)
}

impl Region {
    /// Puts bytes in if all of them are inside and nothing is there.
    fn put(&mut self, blob: &Blob) -> bool {
        let range = span(blob);
        let inside = self.range.start <= range.start && range.end <= self.range.end;
        let free = !self.contents.iter().any(|other| overlap(&span(other), &range));
        if inside && free {
            self.contents.push(blob.clone());
        }
        inside && free
    }
}

/// Puts bytes into every part of RAM that a processor in or out of SMM sees there.
fn put(regions: &mut [Region], blob: &Blob, in_smm: bool) -> bool {
    let mut at = blob.address;
    let end = span(blob).end;
    while at < end {
        let region = regions
            .iter_mut()
            .find(|region| region.space.visible(in_smm) && region.range.contains(&at));
        let Some(region) = region else { return false };
        let upto = end.min(region.range.end);
        let offset = |address: u64| usize::try_from(address - blob.address).unwrap_or(usize::MAX);
        let bytes = blob
            .bytes
            .get(offset(at)..offset(upto))
            .unwrap_or_default()
            .to_vec();
        if !region.put(&Blob { address: at, bytes }) {
            return false;
        }
        at = upto;
    }
    true
}

/// Cuts out of the preset's RAM what the case's own regions replace.
fn cut(preset: Vec<Region>, own: &[Region]) -> Vec<Region> {
    let mut rest = preset;
    for region in own {
        let mut next = Vec::new();
        for piece in rest {
            if !overlap(&piece.range, &region.range) || !both_visible(piece.space, region.space) {
                next.push(piece);
                continue;
            }
            let inner = piece.range.start.max(region.range.start)..piece.range.end.min(region.range.end);
            let left = match (piece.space, region.space) {
                (AddressSpace::Both, AddressSpace::Normal) => Some(AddressSpace::Smm),
                (AddressSpace::Both, AddressSpace::Smm) => Some(AddressSpace::Normal),
                _ => None,
            };
            let parts = [
                (piece.range.start..inner.start, Some(piece.space)),
                (inner.clone(), left),
                (inner.end..piece.range.end, Some(piece.space)),
            ];
            for (range, space) in parts {
                if let (Some(space), false) = (space, range.is_empty()) {
                    next.push(Region {
                        range,
                        space,
                        contents: Vec::new(),
                    });
                }
            }
        }
        rest = next;
    }
    rest
}

fn span(blob: &Blob) -> Range<u64> {
    blob.address..blob.address.saturating_add(blob.bytes.len() as u64)
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn both_visible(one: AddressSpace, other: AddressSpace) -> bool {
    [false, true]
        .iter()
        .any(|in_smm| one.visible(*in_smm) && other.visible(*in_smm))
}
