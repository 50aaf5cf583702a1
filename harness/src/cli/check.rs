//! `conform check`.

use std::path::{Path, PathBuf};

use spec_model::requirement::Requirement;

use super::console::print;
use super::exit::{Failure, Status};
use super::suite::{DEVIATIONS, Suite, repository_cases, shortest};
use crate::case::Case;
use crate::coverage::{Proof, proofs};
use crate::deviation;
use crate::judge;

pub(super) fn check(path: Option<&Path>) -> Result<Status, Failure> {
    let path = match path {
        Some(path) => shortest(path, &std::env::current_dir().map_err(Failure::incomplete)?),
        None => own_cases()?,
    };
    let metadata = std::fs::metadata(&path)
        .map_err(|error| Failure::wrong(format_args!("{}: cannot be read: {error}", path.display())))?;
    let found = if metadata.is_dir() {
        folder(&path)?
    } else {
        file(&path)?
    };
    print(&format!("{found}: no mistake\n"))?;
    Ok(Status::Conforms)
}

fn own_cases() -> Result<PathBuf, Failure> {
    let current = std::env::current_dir().map_err(Failure::incomplete)?;
    repository_cases(&current)
        .map(|folder| shortest(&folder, &current))
        .ok_or_else(|| Failure::wrong("no cases here: change to the repository, or name a file or folder"))
}

fn folder(path: &Path) -> Result<String, Failure> {
    if path.file_name().is_some_and(|name| name == DEVIATIONS) {
        let deviations = deviation::load_folder(path).map_err(|mistakes| failure(&mistakes))?;
        return Ok(counted(deviations.len(), "deviation"));
    }
    let suite = Suite::load_folders(&[path.to_owned()])?;
    run_on_model(&suite.cases)?;
    check_claims(&suite.cases)?;
    let cases = counted(suite.cases.len(), "case");
    Ok(format!(
        "{cases}, {}",
        counted(suite.deviations.len(), "deviation")
    ))
}

fn file(path: &Path) -> Result<String, Failure> {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = full.parent().and_then(Path::file_name);
    if folder.is_some_and(|name| name == DEVIATIONS) {
        let bytes = std::fs::read(path).map_err(Failure::incomplete)?;
        deviation::parse(path, &bytes).map_err(|mistakes| failure(&mistakes))?;
        return Ok("1 deviation".to_owned());
    }
    let case = Case::load(path).map_err(|mistakes| failure(&mistakes))?;
    run_on_model(std::slice::from_ref(&case))?;
    check_claims(std::slice::from_ref(&case))?;
    Ok("1 case".to_owned())
}

/// What is wrong with cases whose files can be read: what they expect where nothing can be seen, and
/// where they and the model disagree.
fn run_on_model(cases: &[Case]) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    for case in cases {
        let checked = judge::check::check(case);
        for note in checked.notes {
            print(&format!("{note}\n"))?;
        }
        mistakes.extend(checked.mistakes);
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(failure(&mistakes))
    }
}

/// Refuses cases that notice nothing of what they say they check when it is broken. Where a case
/// notices some of it, `conform explain --unproven` lists the rest, which does not count.
fn check_claims(cases: &[Case]) -> Result<(), Failure> {
    let proofs = proofs(cases);
    let proves = |case: &Case| {
        let mut own = proofs.iter().filter(|(other, ..)| other.name == case.name);
        own.any(|(_, _, proof)| proof.is_given())
    };
    let unnoticed = proofs
        .iter()
        .filter_map(|(case, requirement, proof)| match proof {
            Proof::Unnoticed(defects) if !proves(case) => {
                let names: Vec<&str> = defects.iter().map(|defect| defect.name()).collect();
                let id = requirement.id;
                Some(format!(
                    "{}: {id} is in `checks`, but the case conforms also if the model breaks it ({}); \
                 expect what tells them apart, or take {id} out",
                    place(case, requirement),
                    names.join(", ")
                ))
            }
            _ => None,
        });
    let messages: Vec<String> = unnoticed.collect();
    if messages.is_empty() {
        Ok(())
    } else {
        Err(failure(&messages))
    }
}

/// Where a case names a requirement: file, line and column.
fn place(case: &Case, requirement: &Requirement) -> String {
    let text = std::fs::read_to_string(&case.file).unwrap_or_default();
    let found = text.lines().zip(1..).find_map(|(line, number)| {
        let at = line.find(requirement.id)?;
        Some((number, line.get(..at)?.chars().count() + 1))
    });
    let (line, column) = found.unwrap_or((1, 1));
    format!("{}:{line}:{column}", case.file.display())
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

fn failure<M: ToString>(mistakes: &[M]) -> Failure {
    Failure {
        status: Status::Wrong,
        messages: mistakes.iter().map(ToString::to_string).collect(),
    }
}
