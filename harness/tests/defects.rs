//! The suite's own strength: every defect that the model can have, switched on in turn, must
//! make at least one of the repository's cases deviate.
//!
//! The model with the defect takes the place of a target. It is judged against the pure model
//! and the hand-written expectations, as any target is. One trial per defect: it prints how
//! many cases notice the defect and which one comes first.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use harness::cli::suite::Suite;
use harness::judge::VerdictKind;
use harness::judge::case::judge_own;
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::KVM_SVM;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = match Suite::load_folders(&[cases]) {
        Ok(suite) => Arc::new(suite),
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = vec![{
        let suite = Arc::clone(&suite);
        Trial::test("no-defect", move || no_case_deviates_without_a_defect(&suite))
    }];
    trials.extend(Defect::ALL.iter().map(|defect| {
        let suite = Arc::clone(&suite);
        Trial::test(defect.name(), move || is_noticed(*defect, &suite)).with_kind("defect")
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The control: what notices a defect must not be noise that is there without one.
fn no_case_deviates_without_a_defect(suite: &Suite) -> Result<(), Failed> {
    let noisy: Vec<&str> = verdicts(suite, DefectSet::NONE)
        .filter(|(_, verdict)| *verdict != VerdictKind::Conforms)
        .map(|(case, _)| case)
        .collect();
    if noisy.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "without any defect, these cases do not conform: {}",
            noisy.join(", ")
        )
        .into())
    }
}

fn is_noticed(defect: Defect, suite: &Suite) -> Result<(), Failed> {
    let mut noticed = Vec::new();
    let mut broken = Vec::new();
    for (case, verdict) in verdicts(suite, DefectSet::NONE.with(defect)) {
        match verdict {
            VerdictKind::Deviates => noticed.push(case),
            VerdictKind::Broken => broken.push(case),
            _ => {}
        }
    }
    if let Some(first) = noticed.first() {
        println!("{defect}: {} cases, first: {first}", noticed.len());
        return Ok(());
    }
    let requirement = defect.requirement();
    let unjudged = if broken.is_empty() {
        String::new()
    } else {
        // A model that fails is no finding: a target that did the same would go unnoticed.
        format!(
            "\nThe model with the defect cannot run these: {}",
            broken.join(", ")
        )
    };
    Err(format!(
        "no case notices `{defect}`: {}\nIt breaks {}: {}\nAdd a case that checks this.{unjudged}",
        defect.sentence(),
        requirement.id,
        requirement.sentence,
    )
    .into())
}

/// Every case with what the model with these defects gets for it.
fn verdicts(suite: &Suite, defects: DefectSet) -> impl Iterator<Item = (&str, VerdictKind)> {
    suite.cases.iter().map(move |case| {
        let (verdict, _) = judge_own(case, &KVM_SVM, defects);
        (case.name.as_str(), verdict.kind())
    })
}
