//! One schedule as a sequence diagram: a column for each processor, time going down.

use std::fmt::{self, Write};

use spec_model::defect::DefectSet;
use spec_model::error::ModelError;
use spec_model::explore::Path;
use spec_model::profile::Profile;
use spec_model::run::follow;
use spec_model::scenario::{Action, Scenario};
use spec_model::transcript::Stop;

use crate::judge::stop;

/// Characters of a column.
const COLUMN: usize = 27;
/// Characters of the number of a turn.
const NUMBER: usize = 4;

/// Writes what happens when the processors take their turns in this order. Instructions are
/// left out; what is shown are events, such as entering and leaving SMM, the stops, and what
/// the host does there.
///
/// # Errors
/// If the model cannot run the scenario.
pub fn diagram(
    scenario: &Scenario,
    profile: &'static Profile,
    defects: DefectSet,
    path: &Path,
) -> Result<String, ModelError> {
    let turns = path.schedule.len();
    let mut scenario = scenario.clone();
    scenario.schedule.clone_from(&path.schedule);
    // One more than the turns shown: at the limit, the stop says so and nothing else.
    scenario.limits.observations = u32::try_from(turns).unwrap_or(u32::MAX).saturating_add(1);
    let run = follow(&scenario, profile, defects, path.script.clone())?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = heading(&mut out, scenario.vcpus.len());
    let mut reached = vec![0_u32; scenario.points.len()];
    for (index, observation) in run.transcript.observations.iter().take(turns).enumerate() {
        let vcpu = usize::from(observation.vcpu);
        let mut lines: Vec<String> = Vec::new();
        for line in run
            .trace
            .iter()
            .filter(|line| line.is_event && line.observation == index)
        {
            lines.push(line.text.clone());
        }
        let crashed = observation.stop.is_crash();
        lines.push(match observation.stop {
            Stop::Sync(_) => stop::name(&scenario, observation.stop).to_owned(),
            Stop::Halted(_) => format!("HLT ({})", stop::name(&scenario, observation.stop)),
            _ => format!("CRASH: {}", stop::describe(&scenario, observation.stop)),
        });
        if crashed && let Some(last) = run.trace.iter().rfind(|line| line.observation == index) {
            lines.push(format!("last: {:#x} {}", last.address, last.text));
        }
        if let Stop::Sync(point) | Stop::Halted(Some(point)) = observation.stop
            && let Some(count) = reached.get_mut(usize::from(point.0))
        {
            *count += 1;
            let happens = |event: &&spec_model::scenario::HostEvent| {
                event.at == point
                    && event.occurrence.is_none_or(|nth| nth == *count)
                    && event.by.is_none_or(|by| by == observation.vcpu)
            };
            let actions = scenario
                .events
                .iter()
                .filter(happens)
                .flat_map(|event| &event.actions);
            lines.extend(actions.map(describe));
        }
        let _ = turn(&mut out, index + 1, vcpu, &lines);
    }
    Ok(out)
}

fn heading(out: &mut String, vcpus: usize) -> fmt::Result {
    write!(out, "{:>NUMBER$}", "turn")?;
    for vcpu in 0..vcpus {
        write!(out, "  {:COLUMN$}", format!("vCPU {vcpu}"))?;
    }
    end_line(out)
}

fn turn(out: &mut String, number: usize, vcpu: usize, lines: &[String]) -> fmt::Result {
    let mut label = number.to_string();
    for line in lines.iter().flat_map(|line| wrapped(line)) {
        write!(
            out,
            "{label:>NUMBER$}{:width$}  {line}",
            "",
            width = vcpu * (COLUMN + 2)
        )?;
        end_line(out)?;
        label.clear();
    }
    Ok(())
}

fn end_line(out: &mut String) -> fmt::Result {
    out.truncate(out.trim_end_matches(' ').len());
    writeln!(out)
}

/// A line in pieces that fit into a column, broken between words where there are any.
fn wrapped(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split(' ') {
        let last = pieces.last().map_or(0, |piece| piece.chars().count());
        if last > 0 && last + 1 + word.chars().count() > COLUMN {
            pieces.push(format!("  {word}"));
        } else if let Some(piece) = pieces.last_mut() {
            if last > 0 {
                piece.push(' ');
            }
            piece.push_str(word);
        }
    }
    pieces
}

fn describe(action: &Action) -> String {
    match action {
        Action::Nmi { vcpu } => format!("host: NMI to vCPU {vcpu}"),
        Action::Smi { vcpu } => format!("host: SMI to vCPU {vcpu}"),
        Action::MachineCheck { vcpu } => format!("host: machine check on vCPU {vcpu}"),
        Action::Shadow { vcpu, shadow } => format!("host: shadow {shadow:?} on vCPU {vcpu}"),
        Action::SetField { vcpu, field, value } => format!("host: {field} of vCPU {vcpu} := {value:#x}"),
        Action::WriteMemory { address, bytes, .. } => {
            format!("host: writes {} bytes at {address:#x}", bytes.len())
        }
        Action::WriteSaveArea { vcpu, field, value } => {
            format!("host: save.{field} of vCPU {vcpu} := {value:#x}")
        }
        Action::WriteChipset { register, value } => {
            format!("host: chipset {} := {value:#x}", register.name())
        }
        Action::ResetChipset => "host: chipset reset".to_owned(),
    }
}
