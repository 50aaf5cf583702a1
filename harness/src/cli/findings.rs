//! `conform findings`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::console::print;
use super::exit::{Failure, Status};
use super::suite::{Suite, repository_cases};
use crate::confirmation::Confirmations;
use crate::sighting::{Section, Sightings, collect, gaps};

/// Where the repository keeps what was seen, beside its cases.
pub const SEEN: &str = "golden/seen.yaml";
/// The same for who confirms what cases expect.
pub const CONFIRMED: &str = "golden/confirmed.yaml";

/// What `conform findings` takes.
#[derive(Debug, clap::Args)]
pub(super) struct FindingsArguments {
    /// Reports of `conform run --json`. Where several have the same case of the same run, the last one counts.
    reports: Vec<PathBuf>,
    /// Add what they show to golden/seen.yaml, and what they confirm of the cases to golden/confirmed.yaml.
    #[arg(long, requires = "reports")]
    write: bool,
}

pub(super) fn findings(arguments: &FindingsArguments) -> Result<Status, Failure> {
    let suite = Suite::load(&[])?;
    let file = golden_file(SEEN)?;
    let mut known = if file.is_file() {
        Sightings::load(&file).map_err(Failure::wrong)?
    } else {
        Sightings::default()
    };
    let mut unexplained = Vec::new();
    if !arguments.reports.is_empty() {
        let collected =
            collect(&arguments.reports, &suite.cases, &suite.deviations).map_err(Failure::wrong)?;
        unexplained = collected.unexplained;
        if arguments.write {
            known.update(collected.sightings);
            known.save(&file).map_err(Failure::incomplete)?;
            let file = golden_file(CONFIRMED)?;
            let mut confirmed = Confirmations::load(&file).map_err(Failure::wrong)?;
            confirmed.update(&collected.confirmed, &suite.cases, &suite.deviations);
            confirmed.save(&file).map_err(Failure::incomplete)?;
        } else {
            known = collected.sightings;
        }
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    for section in Section::ALL {
        let table = section.render(&known, &suite.deviations);
        let _ = writeln!(out, "{}:\n{table}", section.name());
    }
    let gaps = gaps(&known, &suite.deviations);
    for (what, lines) in [
        (
            "listed and not seen",
            gaps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ),
        ("not explained", unexplained),
    ] {
        let _ = writeln!(out, "{what}: {}", lines.len());
        for line in &lines {
            let _ = writeln!(out, "  {line}");
        }
        if !lines.is_empty() {
            let _ = writeln!(out);
        }
    }
    let clean = gaps.is_empty() && out.ends_with("not explained: 0\n");
    print(&out)?;
    Ok(if clean { Status::Conforms } else { Status::Deviates })
}

/// A file of the repository at or above the current folder.
///
/// # Errors
/// If there is none.
pub(super) fn golden_file(name: &str) -> Result<PathBuf, Failure> {
    let current = std::env::current_dir().map_err(Failure::incomplete)?;
    repository_cases(&current)
        .as_deref()
        .and_then(Path::parent)
        .map(|root| root.join(name))
        .ok_or_else(|| Failure::wrong("no cases here: change to the repository"))
}
