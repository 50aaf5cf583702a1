//! What was found about all schedules of a case, as text.

use std::fmt::{self, Write};

use spec_model::explore::{Ending, Exploration};
use spec_model::scenario::Scenario;

use super::Refuted;
use crate::case::PointClaim;
use crate::judge::stop;

/// Writes the numbers, the endings and what they refute.
///
/// # Errors
/// Those of the writer.
pub fn write(
    out: &mut impl Write,
    name: &str,
    scenario: &Scenario,
    found: &Exploration,
    points: &[PointClaim],
    refuted: &[Refuted],
) -> fmt::Result {
    let Exploration {
        states, turns, depth, ..
    } = found;
    writeln!(out, "{name}")?;
    writeln!(
        out,
        "  {states} states, {turns} turns, {} ways to end, longest shortest way {depth} turns, {}",
        found.endings.len(),
        if found.complete { "complete" } else { "INCOMPLETE" }
    )?;
    for ending in &found.endings {
        writeln!(
            out,
            "  {:>4} turns: {}",
            ending.path.schedule.len(),
            stops(scenario, ending)
        )?;
    }
    match &found.crash {
        Some(path) => writeln!(
            out,
            "  crash: after {} turns at the earliest",
            path.schedule.len()
        )?,
        None if found.complete => writeln!(out, "  crash: never, whatever the schedule")?,
        None => writeln!(out, "  crash: none found so far")?,
    }
    for (point, way) in points.iter().zip(&found.sought) {
        match way {
            Some(path) => writeln!(
                out,
                "  {}: after {} turns at the earliest",
                point.text,
                path.schedule.len()
            )?,
            None if found.complete => writeln!(out, "  {}: never, whatever the schedule", point.text)?,
            None => writeln!(out, "  {}: not found so far", point.text)?,
        }
    }
    if let Some(path) = &found.stranded {
        let turns = path.schedule.len();
        writeln!(
            out,
            "  stranded: after {turns} turns, processors can wait for each other for ever"
        )?;
    }
    for claim in refuted {
        writeln!(out, "  REFUTED: {claim}")?;
    }
    Ok(())
}

/// The last stop of each processor.
#[must_use]
pub fn stops(scenario: &Scenario, ending: &Ending) -> String {
    let name = |(vcpu, last): (usize, &Option<spec_model::transcript::Stop>)| {
        let stop = last.map_or("never ran", |last| stop::name(scenario, last));
        format!("{vcpu}:{stop}")
    };
    let names: Vec<String> = ending.stops.iter().enumerate().map(name).collect();
    names.join(" ")
}
