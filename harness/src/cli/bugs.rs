//! `conform bugs`: historic bugs, the defects that express them and the cases that catch those.

use std::fmt::Write as _;
use std::path::PathBuf;

use spec_model::defect::{Defect, DefectSet};
use spec_model::historic_bug::{self, Expression};

use super::console::print;
use super::exit::{Failure, Status};
use super::suite::Suite;
use crate::judge::VerdictKind;
use crate::judge::case::judge_own_uncited;

/// Cases that are named for one defect; further ones are only counted.
const NAMED: usize = 3;

pub(super) fn bugs(further: &[PathBuf]) -> Result<Status, Failure> {
    let suite = Suite::load(further)?;
    suite.warn_of_bad_files();
    let mut out = String::new();
    let mut expressed = 0;
    // Writing to a string does not fail.
    for bug in historic_bug::all() {
        let _ = writeln!(out, "{:2}  {}\n    {}", bug.number, bug.sentence, bug.versions);
        match bug.expression {
            Expression::Not(reason) => {
                let _ = writeln!(out, "    not expressed: {reason}");
            }
            Expression::Rule(rule, reason) => {
                let _ = writeln!(out, "    {}: {reason}", rule.id);
            }
            Expression::Defects(defects) => {
                expressed += 1;
                for defect in defects {
                    let _ = writeln!(out, "    {defect}: {}", caught_by(*defect, &suite));
                }
            }
        }
    }
    let _ = writeln!(
        out,
        "{} bugs, {expressed} of them expressed",
        historic_bug::all().count()
    );
    print(&out)?;
    Ok(Status::Conforms)
}

/// The cases in which the model with that defect deviates.
fn caught_by(defect: Defect, suite: &Suite) -> String {
    let set = DefectSet::NONE.with(defect);
    let deviates = |case: &&crate::case::Case| {
        let (verdict, _) = judge_own_uncited(case, case.own_profile(), set);
        verdict.kind() == VerdictKind::Deviates
    };
    let caught: Vec<&str> = suite
        .cases
        .iter()
        .filter(deviates)
        .map(|case| case.name.as_str())
        .collect();
    let names = caught[..caught.len().min(NAMED)].join(", ");
    match caught.len() {
        0 => "caught by no case".to_owned(),
        1..=NAMED => format!("caught by {names}"),
        more => format!("caught by {names} and {} more", more - NAMED),
    }
}
