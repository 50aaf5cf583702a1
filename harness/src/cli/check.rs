//! `conform check`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use spec_model::defect::DefectSet;
use spec_model::requirement::Requirement;

use super::console::print;
use super::exit::{Failure, Status};
use super::suite::{DEVIATIONS, Suite, repository_cases, shortest};
use crate::case::{Case, Claim, Mistake, Position};
use crate::coverage::{Proof, proofs};
use crate::deviation::{self, Deviation};
use crate::explore::explored;
use crate::judge;

/// File of a folder of cases that lists what they name in `checks` and do not prove.
const UNPROVEN: &str = "unproven.txt";
/// Distinct states after which the schedules of a case are not followed any further. Every case of the
/// repository has fewer.
const MOST_STATES: usize = 100_000;

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
        check_complaints(&deviations, path.parent().unwrap_or(Path::new(".")))?;
        return Ok(counted(deviations.len(), "deviation"));
    }
    let suite = Suite::load_folders(&[path.to_owned()])?;
    check_complaints(&suite.deviations, path)?;
    run_on_model(&suite.cases)?;
    explore_on_model(&suite.cases)?;
    check_claims(&suite.cases, path)?;
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
        let deviation = deviation::parse(path, &bytes).map_err(|mistakes| failure(&mistakes))?;
        let above = full.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        check_complaints(&[deviation], above)?;
        return Ok("1 deviation".to_owned());
    }
    let case = Case::load(path).map_err(|mistakes| failure(&mistakes))?;
    run_on_model(std::slice::from_ref(&case))?;
    explore_on_model(std::slice::from_ref(&case))?;
    let above = full.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    check_claims(std::slice::from_ref(&case), above)?;
    Ok("1 case".to_owned())
}

/// A complaint is listed for cases that there are: for others it could neither come nor stay away.
fn check_complaints(deviations: &[Deviation], cases: &Path) -> Result<(), Failure> {
    for deviation in deviations {
        let listed = deviation.complaint.iter().flat_map(|complaint| &complaint.cases);
        for case in listed {
            if !cases.join(format!("{case}.yaml")).is_file() {
                return Err(Failure::wrong(format_args!(
                    "{}: `complaint` names the case `{case}`, which is not in {}",
                    deviation.file.display(),
                    cases.display()
                )));
            }
        }
    }
    Ok(())
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

/// Follows the schedules of cases that claim something about all of them, as far as that is quick. The
/// processors share the work.
fn explore_on_model(cases: &[Case]) -> Result<(), Failure> {
    let claiming: Vec<(&Case, &Claim)> = cases
        .iter()
        .filter_map(|case| Some((case, case.explore.as_ref()?)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found: Vec<(usize, Explored)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((case, claim)) = claiming.get(index) else {
                return found;
            };
            found.push((index, explore_case(case, claim)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<(usize, Explored)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    found.sort_unstable_by_key(|(index, _)| *index);
    let mut mistakes = Vec::new();
    for (_, explored) in found {
        match explored {
            Explored::Holds => {}
            Explored::TooLong(note) => print(&format!("{note}\n"))?,
            Explored::Mistakes(of_case) => mistakes.extend(of_case),
        }
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(failure(&mistakes))
    }
}

/// What came of following all schedules of a case.
enum Explored {
    /// What the case claims holds.
    Holds,
    /// There are more states than are followed here.
    TooLong(String),
    /// It does not hold, or the model cannot run the case.
    Mistakes(Vec<Mistake>),
}

fn explore_case(case: &Case, claim: &Claim) -> Explored {
    let mistake = |what: String, remedy: &str| Mistake {
        file: case.file.clone(),
        at: place_of_claim(case),
        what,
        remedy: remedy.to_owned(),
    };
    let found = match explored(case, case.own_profile(), DefectSet::NONE, MOST_STATES) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "correct the machine, the host's actions or the code";
            return Explored::Mistakes(vec![mistake(error.to_string(), remedy)]);
        }
    };
    if !found.complete {
        return Explored::TooLong(format!(
            "{}: there are more than {MOST_STATES} states, so that its claim was not looked at: `conform explore \
             {}` follows all of them",
            case.file.display(),
            case.name
        ));
    }
    let refuted = crate::explore::check(claim, &found).into_iter();
    let remedy =
        "`conform explore` shows the schedules; no target can be judged before claim or code is put right";
    let mistakes: Vec<Mistake> = refuted
        .map(|refuted| mistake(refuted.to_string(), remedy))
        .collect();
    if mistakes.is_empty() {
        Explored::Holds
    } else {
        Explored::Mistakes(mistakes)
    }
}

/// Where a case claims something about all schedules.
fn place_of_claim(case: &Case) -> Position {
    let text = std::fs::read_to_string(&case.file).unwrap_or_default();
    let line = text.lines().position(|line| line.starts_with("explore:"));
    line.map_or(Position::START, |line| Position {
        line: line + 1,
        column: 1,
    })
}

/// Refuses cases that notice nothing of what they say they check when it is broken, unless the
/// list of their folder has them. Where a case notices some of it, the rest does not count as
/// coverage, which `conform explain --unproven` shows.
fn check_claims(cases: &[Case], folder: &Path) -> Result<(), Failure> {
    let listed = std::fs::read_to_string(folder.join(UNPROVEN)).unwrap_or_default();
    let is_listed = |case: &Case, id: &str| {
        let of_id = listed.lines().filter_map(|line| line.split_once(": "));
        let mut of_id = of_id.filter(|(listed, _)| *listed == id);
        of_id.any(|(_, rest)| rest.split_whitespace().any(|word| word == case.name))
    };
    let proofs = proofs(cases);
    let proves = |case: &Case| {
        let mut own = proofs.iter().filter(|(other, ..)| other.name == case.name);
        own.any(|(_, _, proof)| proof.is_given())
    };
    let unnoticed = proofs
        .iter()
        .filter_map(|(case, requirement, proof)| match proof {
            Proof::Unnoticed(defects) if !proves(case) && !is_listed(case, requirement.id) => {
                let names: Vec<&str> = defects.iter().map(|defect| defect.name()).collect();
                let id = requirement.id;
                Some(format!(
                    "{}: {id} is in `checks`, but the case conforms also if the model breaks it ({}); \
                 expect what tells them apart, take {id} out, or if it is about another part of {id}, \
                 write `{id}: {}` into {}",
                    place(case, requirement),
                    names.join(", "),
                    case.name,
                    folder.join(UNPROVEN).display()
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
