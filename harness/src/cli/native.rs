//! `conform native`.

use std::fmt::Write as _;

use spec_model::defect::DefectSet;

use super::args::NativeArguments;
use super::console::{Progress, print};
use super::exit::{Failure, Status};
use crate::interrupt;
use crate::native::machine::Processor;
use crate::native::run::{Kind, Plan, Tally, disassemble, run};
use crate::native::state::{Event, GENERAL, SEGMENTS};

pub(super) fn native(arguments: &NativeArguments) -> Result<Status, Failure> {
    interrupt::catch();
    let processor = Processor::here();
    let profile = processor.profile().ok_or_else(|| {
        Failure::incomplete(format_args!(
            "no profile makes the choices of a {} processor",
            processor.vendor
        ))
    })?;
    let widths = match arguments.code {
        Some(width) => vec![width],
        None => vec![64, 32, 16],
    };
    let plan = Plan {
        seed: arguments.seed,
        first: arguments.first,
        steps: arguments.steps,
        widths,
        profile,
        defects: arguments.defects.iter().copied().collect::<DefectSet>(),
    };
    print(&format!("{processor}; the model as {}\n", profile.name))?;
    let mut progress = Progress::new();
    let mut done = 0u64;
    let tally = run(&plan, |_| {
        if done.is_multiple_of(1024) {
            progress.show(&format!("{done} of {} steps", plan.steps));
        }
        done += 1;
        !interrupt::interrupted()
    })
    .map_err(Failure::incomplete)?;
    progress.clear();
    print(&text(&tally, plan.seed))?;
    if let Some(status) = Status::of_signal() {
        return Ok(status);
    }
    Ok(if tally.differ() > 0 {
        Status::Deviates
    } else if tally.agree == 0 {
        Status::Incomplete
    } else {
        Status::Conforms
    })
}

fn text(tally: &Tally, seed: u64) -> String {
    let mut text = format!("{}\n", tally.debug.sentence());
    for (name, kind) in &tally.kinds {
        let _ = writeln!(text, "DIFFERS {name} ({})", kind.count);
        text.push_str(&example(kind, seed));
    }
    for (reason, count) in &tally.explained {
        let _ = writeln!(text, "explained: {reason} ({count})");
    }
    for (reason, count) in &tally.silent {
        let _ = writeln!(text, "not comparable: {reason} ({count})");
    }
    if !tally.choices.is_empty() {
        text.push_str(
            "where the model leaves a choice open, this processor does, with the number of steps that fit:\n",
        );
    }
    for (id, options) in &tally.choices {
        let options: Vec<String> = options
            .iter()
            .map(|(option, count)| format!("{option} ({count})"))
            .collect();
        let _ = writeln!(text, "  {id} {}", options.join(" or "));
    }
    let _ = writeln!(
        text,
        "{} steps agree, {} differ in {} ways, {} differ and are explained, {} are not comparable",
        tally.agree,
        tally.differ(),
        tally.kinds.len(),
        tally.explained(),
        tally.not_comparable()
    );
    text
}

fn event(event: Event) -> String {
    let code = event
        .error_code
        .map_or_else(String::new, |code| format!(", error code {code:#x}"));
    let address = event
        .address
        .map_or_else(String::new, |address| format!(", address {address:#x}"));
    format!("vector {}{code}{address}", event.vector)
}

fn example(kind: &Kind, seed: u64) -> String {
    let mut text = String::new();
    let before = &kind.before;
    let bytes: Vec<String> = before.code.iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(
        text,
        "  step {} (again with --seed {seed} --first {} --steps 1): {}   {}",
        kind.number,
        kind.number,
        bytes.join(" "),
        disassemble(before)
    );
    let registers = &before.registers;
    let _ = write!(text, "   ");
    for (name, value) in GENERAL.iter().zip(registers.general) {
        let _ = write!(text, " {name} {value:#x}");
    }
    let _ = write!(
        text,
        "\n    rip {:#x} rflags {:#x}",
        registers.rip, registers.rflags
    );
    for (name, value) in SEGMENTS.iter().zip(registers.selectors) {
        let _ = write!(text, " {name} {value:#x}");
    }
    let [fs, gs] = registers.bases;
    let _ = writeln!(text, " fs-base {fs:#x} gs-base {gs:#x}");
    if let Some(native) = &kind.native {
        let _ = writeln!(text, "    processor: {}", event(native.event));
    }
    for poke in &before.pokes {
        let _ = writeln!(text, "    memory {:#x}: {:02x?}", poke.address, poke.bytes);
    }
    for difference in &kind.differences {
        let _ = writeln!(text, "    {difference}");
    }
    text
}
