//! `conform explain`.

use std::fmt::Write as _;
use std::path::PathBuf;

use spec_model::requirement::{self, Requirement};
use spec_model::x86::save_area::LAYOUTS;

use super::console::print;
use super::exit::{Failure, Status};
use super::findings::{SEEN, golden_file};
use super::suite::Suite;
use crate::case::Case;
use crate::coverage;
use crate::deviation::{Deviation, Owner};
use crate::report::text::write_requirement;
use crate::sighting::{Sightings, seen_on};
use crate::target::Backend;

pub(super) fn explain(id: Option<&str>, further: &[PathBuf]) -> Result<Status, Failure> {
    let Some(id) = id else {
        return list();
    };
    let wanted = id.to_ascii_uppercase();
    let Some(requirement) = requirement::find(&wanted) else {
        return Err(unknown(&wanted));
    };
    let suite = Suite::load_if_any(further)?;
    suite.warn_of_bad_files();
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_requirement(&mut out, requirement);
    let places = requirement::implemented_in(requirement);
    section(
        &mut out,
        "model",
        places
            .iter()
            .map(|place| format!("spec-model/src/{}:{}  {}", place.file, place.line, place.item)),
    );
    let (mut proving, mut claiming) = (Vec::new(), Vec::new());
    for case in suite.cases.iter().filter(|case| names(case, requirement)) {
        let line = format!("{}  {}", case.name, case.title);
        if coverage::proof(case, requirement).is_given() {
            proving.push(line);
        } else {
            claiming.push(line);
        }
    }
    section(
        &mut out,
        "cases that deviate if it is broken",
        proving.into_iter(),
    );
    section(
        &mut out,
        "cases that name it, which is not proved",
        claiming.into_iter(),
    );
    let breaking = coverage::defects_of(requirement);
    section(
        &mut out,
        "defects",
        breaking.map(|defect| format!("{defect}  {}", defect.sentence())),
    );
    for layout in LAYOUTS {
        let rows = layout
            .rows
            .iter()
            .filter(|row| layout.requirement(row) == requirement);
        let rows = rows.filter(|row| !row.is_reserved());
        let title = format!("rows of the save area {}", layout.name);
        section(
            &mut out,
            &title,
            rows.map(|row| format!("{:04X}h  {}", row.offset, row.name)),
        );
    }
    // Where there is no repository, or it has counted nothing, nothing was seen.
    let sightings = golden_file(SEEN)
        .ok()
        .and_then(|file| Sightings::load(&file).ok());
    let sightings = sightings.unwrap_or_default();
    let known = suite.deviations.iter().filter(|deviation| {
        deviation.requirement == requirement
            || deviation
                .defects
                .iter()
                .any(|defect| defect.requirement() == requirement)
    });
    section(
        &mut out,
        "known deviations",
        known.map(|deviation| {
            let whose = match deviation.owner() {
                Owner::Kvm => "KVM's",
                Owner::Xen => "Xen's",
                Owner::Emulator => "the emulated processor's",
            };
            format!(
                "{whose}: {} (kernels {})  {}\n      {}\n      upstream: {}",
                deviation.title,
                deviation.kernels,
                deviation.file.display(),
                seen(&sightings, deviation),
                deviation.upstream
            )
        }),
    );
    print(&out)?;
    Ok(Status::Conforms)
}

/// On what it was seen, and where it is expected.
fn seen(sightings: &Sightings, deviation: &Deviation) -> String {
    let mut text = format!("seen on {}", seen_on(sightings, deviation));
    if !deviation.expected.is_empty() {
        let names: Vec<String> = deviation.expected.iter().map(Backend::to_string).collect();
        text += &format!("; expected on {}, by reading", names.join(", "));
    }
    text
}

/// Lists what cases claim and do not prove.
pub(super) fn unproven(further: &[PathBuf]) -> Result<Status, Failure> {
    let suite = Suite::load(further)?;
    suite.warn_of_bad_files();
    let proofs = coverage::proofs(&suite.cases);
    let mut out = coverage::unproven(&proofs);
    let given = proofs.iter().filter(|(_, _, proof)| proof.is_given()).count();
    let missing = coverage::unproven_requirements(&proofs).len();
    let all = requirement::all().count();
    let _ = writeln!(
        out,
        "{given} of {} claims are proved, and {} of {all} requirements by at least one case",
        proofs.len(),
        all - missing
    );
    print(&out)?;
    Ok(Status::Conforms)
}

fn names(case: &Case, requirement: &Requirement) -> bool {
    let mut because = case.expectations.fields.iter().filter_map(|field| field.because);
    case.checks.contains(&requirement) || because.any(|because| because == requirement)
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "  {title}:");
        }
        let _ = writeln!(out, "    {line}");
    }
}

fn list() -> Result<Status, Failure> {
    let mut out = String::new();
    for requirement in requirement::all().chain(requirement::HOST.iter().copied()) {
        let _ = writeln!(out, "{:14}  {}", requirement.id, requirement.sentence);
    }
    print(&out)?;
    Ok(Status::Conforms)
}

fn unknown(id: &str) -> Failure {
    let area = id.split('-').next().unwrap_or(id);
    let near: Vec<&str> = requirement::all()
        .map(|requirement| requirement.id)
        .filter(|known| known.starts_with(area))
        .collect();
    let hint = if near.is_empty() {
        "`conform explain` lists all".to_owned()
    } else {
        format!("there are {}", near.join(", "))
    };
    Failure::wrong(format_args!("no requirement has the id `{id}`; {hint}"))
}
