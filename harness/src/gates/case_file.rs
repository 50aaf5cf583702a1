//! A combination as the text of a case file.

use std::fmt::Write as _;

use spec_model::requirement::{self, Requirement};

use super::place::{self, ABSENT_PAGE, FAULTS, READ_ONLY_PAGE, SUPERVISOR_PAGE, Slot, fault_handler};
use super::row::{Event, Row};
use super::tables::{DESCRIPTORS, LDT_CODE, flags, gates, gdt_limit, idt_limit, loaded, segments, stack_at};

/// What combinations check, whichever they are.
const CHECKS: [&Requirement; 13] = [
    &requirement::EXC_GATE_001,
    &requirement::EXC_GATE_002,
    &requirement::EXC_GATE_003,
    &requirement::EXC_GATE_004,
    &requirement::EXC_GATE_005,
    &requirement::EXC_DF_001,
    &requirement::EXC_DF_002,
    &requirement::EXC_DF_003,
    &requirement::EXC_FRAME_005,
    &requirement::IST_001,
    &requirement::IST_003,
    &requirement::IST_005,
    &requirement::IST_007,
];

/// Stops after which a run ends.
const OBSERVATIONS: u32 = 6;

/// Name of the case of a combination.
#[must_use]
pub fn name(row: &Row) -> String {
    let words = row.to_string().replace(['=', ','], "-");
    format!("gates/{words}")
}

/// The code of an event.
fn code(event: Event) -> &'static str {
    match event {
        Event::Int => "int 0x20",
        Event::Int3 => "int3",
        Event::Ud => "ud2",
        Event::De => "div ecx",
        Event::Gp | Event::Np => "mov es, ax",
        Event::Ss => "mov ss, ax",
        Event::Pf => "mov byte ptr [rbx], al",
        Event::Nmi => "sync nmi",
    }
}

/// The combination as a case file. `paths` are the orders of stops that the model allows.
#[must_use]
pub fn case_text(row: &Row, paths: &[Vec<String>]) -> String {
    let mut text = String::with_capacity(4096);
    // Writing to a string does not fail.
    let _ = write(&mut text, row, paths);
    text
}

fn write(text: &mut String, row: &Row, paths: &[Vec<String>]) -> std::fmt::Result {
    let checks: Vec<&str> = CHECKS.iter().map(|requirement| requirement.id).collect();
    writeln!(text, "# yaml-language-server: $schema=../case.schema.json")?;
    writeln!(text, "title: The combination {row} of the gate sweep")?;
    writeln!(text, "checks: [{}]", checks.join(", "))?;
    write_machine(text, row)?;
    write_code(text, row)?;
    // A HLT at a level above 0 raises #GP, whose handler may run at that level again.
    writeln!(
        text,
        "limits: {{ observations: {OBSERVATIONS}, instructions: 2000 }}"
    )?;
    if row.event == Event::Nmi {
        writeln!(text, "host:\n  - {{ at: nmi, do: nmi }}")?;
    }
    match paths {
        [] => Ok(()),
        [path] => writeln!(text, "path: [{}]", path.join(", ")),
        paths => {
            writeln!(text, "path:\n  any-of:")?;
            paths
                .iter()
                .try_for_each(|path| writeln!(text, "    - [{}]", path.join(", ")))
        }
    }
}

fn write_machine(text: &mut String, row: &Row) -> std::fmt::Result {
    let [code, stack] = segments(row.cpl);
    writeln!(text, "machine:\n  mode: long\n  registers:")?;
    writeln!(text, "    rip: {:#x}", place::event(row.event))?;
    writeln!(text, "    rsp: {:#x}", stack_at(row, Slot::Program))?;
    writeln!(text, "    rflags: {:#x}", flags(row))?;
    writeln!(text, "    rax: {:#x}", loaded(row))?;
    writeln!(text, "    rbx: {ABSENT_PAGE:#x}")?;
    for (name, (selector, attributes)) in [("cs", code), ("ss", stack)] {
        writeln!(
            text,
            "    {name}.selector: {selector:#x}\n    {name}.attributes: {attributes:#x}"
        )?;
    }
    writeln!(
        text,
        "    idtr.base: {:#x}\n    idtr.limit: {:#x}",
        place::IDT,
        idt_limit(row)
    )?;
    writeln!(text, "    gdtr.limit: {:#x}", gdt_limit(row))?;
    writeln!(
        text,
        "    ldtr.base: {:#x}\n    ldtr.limit: {}\n    ldtr.attributes: 0x82",
        place::LDT,
        place::LDT_LIMIT
    )?;
    writeln!(text, "    tr.limit: {:#x}", row.tss)?;
    writeln!(text, "  tss:")?;
    for level in 0..3 {
        writeln!(text, "    rsp{level}: {:#x}", stack_at(row, Slot::Level(level)))?;
    }
    for ist in 1..8 {
        writeln!(text, "    ist{ist}: {:#x}", stack_at(row, Slot::Ist(ist)))?;
    }
    writeln!(text, "  gdt:")?;
    for (selector, descriptor, about) in DESCRIPTORS {
        writeln!(text, "    {selector:#x}: {descriptor:#018x}   # {about}")?;
    }
    writeln!(text, "  pages:")?;
    writeln!(text, "    {ABSENT_PAGE:#x}: {{ present: false }}")?;
    writeln!(text, "    {READ_ONLY_PAGE:#x}: {{ writable: false }}")?;
    writeln!(text, "    {SUPERVISOR_PAGE:#x}: {{ user: false }}")
}

fn write_code(text: &mut String, row: &Row) -> std::fmt::Result {
    writeln!(
        text,
        "code:\n  start: |                     # RIP chooses the event"
    )?;
    for event in Event::ALL {
        writeln!(
            text,
            "    .at {:#x}\n    {}\n    hlt",
            place::event(*event),
            code(*event)
        )?;
    }
    writeln!(text, "  handlers: |")?;
    writeln!(
        text,
        "    .at {:#x}\n    handler:\n    sync handler\n    hlt",
        place::HANDLER
    )?;
    for (index, (_, name)) in FAULTS.iter().enumerate() {
        let label = name.replace('-', "_");
        writeln!(
            text,
            "    .at {:#x}\n    {label}:\n    sync {name}\n    hlt",
            fault_handler(index)
        )?;
    }
    writeln!(
        text,
        "  gates: |                     # the IDT, and the LDT behind it"
    )?;
    for (vector, words) in gates(row) {
        let about = if vector == place::vector(row.event) {
            "the gate of the event"
        } else {
            "the gate of a fault"
        };
        let words = words.map(|word| format!("{word:#x}")).join(", ");
        writeln!(
            text,
            "    .at {:#x}      # vector {vector}: {about}\n    dw {words}",
            place::IDT + 16 * u64::from(vector)
        )?;
    }
    writeln!(text, "    .at {:#x}\n    dq {LDT_CODE:#x}", place::LDT + 8)
}
