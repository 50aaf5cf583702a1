//! Two runs beside each other, stop by stop.

use std::fmt::{self, Write};

use spec_model::scenario::Scenario;
use spec_model::transcript::{Observation, Transcript};
use spec_model::x86::field::FIELDS;
use spec_model::x86::machine::TraceLine;
use spec_model::x86::state::VcpuState;

use crate::judge::stop;

/// Writes what the model and a target did, one stop after the other. Below each stop stand
/// the fields that changed since the stop before, with both values where they differ; above
/// it, what the model executed to get there.
///
/// # Errors
/// Those of the writer.
pub fn write(
    out: &mut impl Write,
    scenario: &Scenario,
    lines: &[TraceLine],
    model: &Transcript,
    target: Option<(&str, &Transcript)>,
) -> fmt::Result {
    let (name, seen) = match target {
        Some((name, transcript)) => (name, Some(transcript)),
        None => ("", None),
    };
    let stops = model
        .observations
        .len()
        .max(seen.map_or(0, |seen| seen.observations.len()));
    let mut before: Option<&Observation> = None;
    for index in 0..stops {
        for line in lines.iter().filter(|line| line.observation == index) {
            writeln!(out, "         {:>8x}  {}", line.address, line.text)?;
        }
        let ours = model.observations.get(index);
        let theirs = seen.and_then(|seen| seen.observations.get(index));
        write!(out, "  {:>3}  model: {}", index + 1, describe(scenario, ours))?;
        if seen.is_some() {
            write!(out, "   {name}: {}", describe(scenario, theirs))?;
        }
        writeln!(out)?;
        write_fields(out, before, ours, theirs)?;
        let left = seen.into_iter().flat_map(|seen| &seen.remains);
        for left in left.filter(|left| left.observation == index) {
            write_remains(out, name, &left.state)?;
        }
        before = ours.or(before);
    }
    Ok(())
}

/// What a hypervisor still says of a processor that is lost.
fn write_remains(out: &mut impl Write, name: &str, state: &VcpuState) -> fmt::Result {
    writeln!(out, "         {name} leaves this state, which nothing specifies:")?;
    let fresh = VcpuState::default();
    for field in FIELDS {
        let value = field.read(state);
        if value != field.read(&fresh) || field.name == "rip" {
            writeln!(out, "         {:20} {value:#x}", field.name)?;
        }
    }
    Ok(())
}

fn describe(scenario: &Scenario, observation: Option<&Observation>) -> String {
    match observation {
        Some(it) => format!("{} on vCPU {}", stop::describe(scenario, it.stop), it.vcpu),
        None => "nothing more".to_owned(),
    }
}

fn write_fields(
    out: &mut impl Write,
    before: Option<&Observation>,
    ours: Option<&Observation>,
    theirs: Option<&Observation>,
) -> fmt::Result {
    let state = |observation: Option<&Observation>| observation.and_then(|it| it.state.clone());
    let (before, ours, theirs) = (state(before), state(ours), state(theirs));
    for field in FIELDS {
        let read = |state: &Option<_>| state.as_deref().map(|state| field.read(state));
        let (old, new, other) = (read(&before), read(&ours), read(&theirs));
        let differs = new.is_some() && other.is_some() && new != other;
        match new {
            Some(value) if differs || old.is_some_and(|old| old != value) => {
                write!(out, "         {:20} {value:#x}", field.name)?;
                match other {
                    Some(other) if differs => writeln!(out, "   but {other:#x}")?,
                    _ => writeln!(out)?,
                }
            }
            _ => {}
        }
    }
    Ok(())
}
