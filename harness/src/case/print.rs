//! Prints a scenario as a case file.
//!
//! The file uses mode `bare`, in which nothing is preset: it holds every register that
//! differs from [`VcpuState::default`] (and, of a local APIC, from its preset) and every byte of
//! memory. So any scenario of a whole machine prints, whether a person, a generator or a minimiser
//! made it, and reading the text gives an equal one. A paravirtual guest of Xen does not: what the
//! hypervisor keeps of it has no keys in that mode.

use std::fmt::{self, Write};

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use spec_model::chipset::{Chipset, Implementation, Kind};
use spec_model::scenario::{
    Action, AddressSpace, Blob, HostEvent, Limits, MemoryRegion, Observe, Point, PointKind, SYNC_PORT,
    Scenario,
};
use spec_model::x86::field::FIELDS;
use spec_model::x86::segment::SegmentName;
use spec_model::x86::state::{Shadow, VcpuState};

use super::apic::ApicPreset;

/// Bytes per line of memory contents.
const ROW: usize = 32;
/// Bytes of code at a processor's first instruction that are also shown disassembled.
const SHOWN_CODE: usize = 64;

/// The text of a case file that reads as this scenario. It checks nothing until someone
/// adds requirements, a path and expectations.
#[must_use]
pub fn print(scenario: &Scenario) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_case(&mut text, scenario);
    text
}

fn write_case(text: &mut String, scenario: &Scenario) -> fmt::Result {
    if let Some(stage2) = &scenario.stage2 {
        writeln!(text, "# yaml-language-server: $schema=../stage2.schema.json")?;
        writeln!(text, "title: {}", quoted(&scenario.name))?;
        return super::stage2::print(text, stage2);
    }
    writeln!(text, "# yaml-language-server: $schema=../case.schema.json")?;
    writeln!(text, "title: {}", quoted(&scenario.name))?;
    writeln!(text, "machine:")?;
    writeln!(text, "  mode: bare")?;
    if !scenario.cpuid.long_mode {
        writeln!(text, "  long-mode-cpuid: false")?;
    }
    if scenario.cpuid.shadow_stack {
        writeln!(text, "  shadow-stack-cpuid: true")?;
    }
    if scenario.cpuid.bus_lock {
        writeln!(text, "  bus-lock-cpuid: true")?;
    }
    if scenario.vcpus.len() != 1 {
        writeln!(text, "  vcpus: {}", scenario.vcpus.len())?;
    }
    let apic = ApicPreset::nearest(&scenario.vcpus);
    if let Some(apic) = apic {
        writeln!(text, "  apic: {}", apic.name())?;
    }
    for (number, state) in scenario.vcpus.iter().enumerate() {
        let preset = VcpuState {
            apic: apic.map(|apic| Box::new(apic.local_apic(u8::try_from(number).unwrap_or(u8::MAX)))),
            ..VcpuState::default()
        };
        match number {
            0 => writeln!(text, "  registers:")?,
            1 => writeln!(text, "  processors:\n    1:")?,
            _ => writeln!(text, "    {number}:")?,
        }
        let indent = if number == 0 { "    " } else { "      " };
        write_registers(text, indent, state, &preset)?;
    }
    write_memory(text, scenario)?;
    if let Some(chipset) = &scenario.chipset {
        write_chipset(text, chipset)?;
    }
    write_points(text, &scenario.points)?;
    if !scenario.events.is_empty() {
        writeln!(text, "host:")?;
    }
    for event in &scenario.events {
        write_event(text, scenario, event)?;
    }
    if !scenario.watches.is_empty() {
        writeln!(text, "watch:")?;
    }
    for watch in &scenario.watches {
        let smm = if watch.smm { ", smm: true" } else { "" };
        let (name, address, length) = (quoted(&watch.name), watch.address, watch.length);
        writeln!(
            text,
            "  {name}: {{ address: {address:#x}, length: {length:#x}{smm} }}"
        )?;
    }
    if scenario.observe != Observe::default() {
        writeln!(text, "observe: {}", scenario.observe.name())?;
    }
    if !scenario.schedule.is_empty() {
        writeln!(text, "schedule: {:?}", scenario.schedule)?;
    }
    if scenario.limits != Limits::default() {
        let Limits {
            observations,
            instructions,
        } = scenario.limits;
        writeln!(
            text,
            "limits: {{ observations: {observations}, instructions: {instructions} }}"
        )?;
    }
    Ok(())
}

fn write_registers(text: &mut String, indent: &str, state: &VcpuState, default: &VcpuState) -> fmt::Result {
    let mut any = false;
    for field in FIELDS {
        let value = field.read(state);
        // An error code of 0 is not the same as none, though both read as 0.
        let error_code = field.name == "exception.error-code"
            && state
                .events
                .exception
                .is_some_and(|exception| exception.error_code.is_some());
        if value != field.read(default) || error_code {
            writeln!(text, "{indent}{}: {value:#x}", field.name)?;
            any = true;
        }
    }
    if !any {
        writeln!(text, "{indent}rip: 0")?;
    }
    Ok(())
}

fn write_memory(text: &mut String, scenario: &Scenario) -> fmt::Result {
    if scenario.memory.is_empty() {
        return Ok(());
    }
    writeln!(text, "  memory:")?;
    for region in &scenario.memory {
        let MemoryRegion { address, size, .. } = region;
        writeln!(text, "    - address: {address:#x}")?;
        writeln!(text, "      size: {size:#x}")?;
        match region.space {
            AddressSpace::Both => {}
            AddressSpace::Normal => writeln!(text, "      space: normal")?,
            AddressSpace::Smm => writeln!(text, "      space: smm")?,
        }
        if !region.contents.is_empty() {
            writeln!(text, "      contents:")?;
        }
        for blob in &region.contents {
            write_code(text, scenario, region, blob)?;
            writeln!(
                text,
                "        {:#x}: {}",
                blob.address,
                hexadecimal(&blob.bytes, "          ")
            )?;
        }
    }
    Ok(())
}

/// Shows the code at each processor's first instruction as comments.
fn write_code(text: &mut String, scenario: &Scenario, region: &MemoryRegion, blob: &Blob) -> fmt::Result {
    for (number, state) in scenario.vcpus.iter().enumerate() {
        if !region.space.visible(state.events.in_smm) {
            continue;
        }
        let code = state.segment(SegmentName::Cs);
        let first = code.base.wrapping_add(state.rip);
        let offset = first
            .checked_sub(blob.address)
            .and_then(|offset| usize::try_from(offset).ok());
        let Some(bytes) = offset
            .and_then(|offset| blob.bytes.get(offset..))
            .filter(|bytes| !bytes.is_empty())
        else {
            continue;
        };
        let bits = match state.stack_width() {
            8 => 64,
            _ if code.attributes.big() => 32,
            _ => 16,
        };
        let shown = bytes.get(..SHOWN_CODE).unwrap_or(bytes);
        writeln!(text, "        # processor {number} starts here:")?;
        let mut formatter = NasmFormatter::new();
        for instruction in Decoder::with_ip(bits, shown, first, DecoderOptions::NONE) {
            let mut line = String::new();
            formatter.format(&instruction, &mut line);
            let port = instruction.immediate8().checked_sub(SYNC_PORT);
            let sync = port
                .filter(|_| instruction.mnemonic() == iced_x86::Mnemonic::Out)
                .and_then(|port| scenario.points.get(usize::from(port)))
                .map_or(String::new(), |point| {
                    format!("  (sync {})", single_line(&point.name))
                });
            writeln!(text, "        #   {:#x}: {line}{sync}", instruction.ip())?;
        }
    }
    Ok(())
}

fn write_chipset(text: &mut String, chipset: &Chipset) -> fmt::Result {
    let kind = match chipset.kind {
        Kind::I440fx => "440fx",
        Kind::Q35 => "q35",
    };
    let implementation = match chipset.implementation {
        Implementation::Datasheet => "datasheet",
        Implementation::Qemu => "qemu",
        Implementation::Bochs => "bochs",
    };
    writeln!(text, "  chipset:")?;
    writeln!(text, "    kind: {kind}")?;
    writeln!(text, "    implementation: {implementation}")?;
    writeln!(text, "    top-of-memory: {:#x}", chipset.top_of_memory)?;
    if !chipset.registers.is_empty() {
        writeln!(text, "    registers:")?;
    }
    for (register, value) in &chipset.registers {
        writeln!(text, "      {}: {value:#x}", register.name())?;
    }
    Ok(())
}

fn write_points(text: &mut String, points: &[Point]) -> fmt::Result {
    if !points.is_empty() {
        writeln!(text, "points:")?;
    }
    for point in points {
        let name = quoted(&point.name);
        match point.kind {
            PointKind::Sync => writeln!(text, "  {name}: {{}}")?,
            PointKind::Halt { resume } => writeln!(text, "  {name}: {{ halt: {resume:#x} }}")?,
        }
    }
    Ok(())
}

fn write_event(text: &mut String, scenario: &Scenario, event: &HostEvent) -> fmt::Result {
    let point = scenario.points.get(usize::from(event.at.0));
    let name = quoted(point.map_or("", |point| point.name.as_str()));
    writeln!(text, "  - at: {name}")?;
    if let Some(nth) = event.occurrence {
        writeln!(text, "    nth: {nth}")?;
    }
    if let Some(by) = event.by {
        writeln!(text, "    by: {by}")?;
    }
    if event.before_completion {
        let raised = event.actions.iter().filter_map(raised).collect::<Vec<_>>();
        writeln!(text, "    do: [{}]", raised.join(", "))?;
        return writeln!(text, "    raise: before-completion");
    }
    if event.actions.is_empty() {
        return writeln!(text, "    do: []");
    }
    writeln!(text, "    then:")?;
    for action in &event.actions {
        match action {
            Action::Nmi { vcpu } => writeln!(text, "      - {{ do: nmi, vcpu: {vcpu} }}")?,
            Action::Smi { vcpu } => writeln!(text, "      - {{ do: smi, vcpu: {vcpu} }}")?,
            Action::MachineCheck { vcpu } => writeln!(text, "      - {{ do: mc, vcpu: {vcpu} }}")?,
            Action::Shadow { vcpu, shadow } => {
                let shadow = match shadow {
                    Shadow::None => "none",
                    Shadow::Sti => "sti",
                    Shadow::MovSs => "mov-ss",
                };
                writeln!(text, "      - {{ shadow: {shadow}, vcpu: {vcpu} }}")?;
            }
            Action::SetField { vcpu, field, value } => {
                writeln!(
                    text,
                    "      - {{ set: {{ {}: {value:#x} }}, vcpu: {vcpu} }}",
                    quoted(field)
                )?;
            }
            Action::WriteSaveArea { vcpu, field, value } => {
                writeln!(
                    text,
                    "      - {{ save: {{ {}: {value:#x} }}, vcpu: {vcpu} }}",
                    quoted(field)
                )?;
            }
            Action::WriteChipset { register, value } => {
                writeln!(text, "      - {{ smram: {{ {}: {value:#x} }} }}", register.name())?;
            }
            Action::ResetChipset => writeln!(text, "      - {{ do: chipset-reset }}")?,
            Action::WriteMemory { address, bytes, smm } => {
                let bytes = hexadecimal(bytes, "            ");
                writeln!(text, "      - write:\n          {address:#x}: {bytes}")?;
                if *smm {
                    writeln!(text, "        smm: true")?;
                }
            }
        }
    }
    Ok(())
}

/// The word for an event that is raised.
fn raised(action: &Action) -> Option<&'static str> {
    match action {
        Action::Nmi { .. } => Some("nmi"),
        Action::Smi { .. } => Some("smi"),
        Action::MachineCheck { .. } => Some("mc"),
        _ => None,
    }
}

/// Bytes as hexadecimal digits, on lines of their own if they are many.
fn hexadecimal(bytes: &[u8], indent: &str) -> String {
    let row = |bytes: &[u8]| {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(" ")
    };
    if bytes.len() <= ROW {
        return format!("\"{}\"", row(bytes));
    }
    let rows = bytes.chunks(ROW).map(|bytes| format!("\n{indent}{}", row(bytes)));
    format!("|{}", rows.collect::<String>())
}

/// A text as a YAML scalar: plain where that is unmistakable, else quoted. JSON's quoting
/// is also YAML's.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null"].contains(&text);
    if plain {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

/// A name that cannot end a comment.
fn single_line(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
