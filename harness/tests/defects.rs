//! The suite's own strength: every defect that the model can have, switched on in turn, must
//! make at least one of the repository's cases deviate.
//!
//! The model with the defect takes the place of a target. It is judged against the pure model
//! and the hand-written expectations, as any target is. One trial per defect: it prints how
//! many cases notice the defect and which one comes first.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use harness::case::Case;
use harness::cli::suite::Suite;
use harness::judge::VerdictKind;
use harness::judge::case::judge_own_uncited;
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::{Defect, DefectSet};
use spec_model::historic_bug::{self, Expression};
use spec_model::requirement::Requirement;

/// Time that the model gets for one case; it takes about a millisecond.
const PATIENCE: Duration = Duration::from_secs(30);

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
    trials.push({
        let suite = Arc::clone(&suite);
        Trial::test("historic-bugs", move || every_historic_bug_has_its_cases(&suite))
    });
    trials.extend(Defect::ALL.iter().map(|defect| {
        let suite = Arc::clone(&suite);
        Trial::test(defect.name(), move || is_noticed(*defect, &suite)).with_kind("defect")
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The control: what notices a defect must not be noise that is there without one.
fn no_case_deviates_without_a_defect(suite: &Arc<Suite>) -> Result<(), Failed> {
    let verdicts = verdicts(suite, DefectSet::NONE)?;
    let noisy: Vec<&str> = suite
        .cases
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| *verdict != VerdictKind::Conforms)
        .map(|(case, _)| case.name.as_str())
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

/// A historic bug is expressed by defects, each of which a trial of its own covers, or is what
/// a rule says, and then a case checks that rule.
fn every_historic_bug_has_its_cases(suite: &Arc<Suite>) -> Result<(), Failed> {
    let is_checked = |rule: &Requirement| {
        let mut checks = suite.cases.iter().flat_map(|case| &case.checks);
        checks.any(|checked| checked.id == rule.id)
    };
    let unchecked: Vec<String> = historic_bug::all()
        .filter_map(|bug| match bug.expression {
            Expression::Rule(rule, _) if !is_checked(rule) => Some(format!("{}: {}", bug.number, rule.id)),
            Expression::Defects([]) => Some(format!("{}: no defects", bug.number)),
            _ => None,
        })
        .collect();
    if unchecked.is_empty() {
        Ok(())
    } else {
        Err(format!("no case is about these historic bugs: {}", unchecked.join(", ")).into())
    }
}

/// Defects whose effect the suite sees only if another one does not wipe it out: the second of each pair. QEMU's RF
/// that outlives an instruction shows at the OUT of a point, and only if KVM leaves RF there.
const SEEN_WITH: &[(Defect, Defect)] = &[(Defect::RfClearedByBranchesOnly, Defect::EmulatedOutKeepsRf)];

/// Some case shows something else with both than with the second alone.
fn is_noticed_with(defect: Defect, other: Defect, suite: &Arc<Suite>) -> Result<(), Failed> {
    let alone = DefectSet::NONE.with(other);
    let shows = |case: &&Case| {
        let profile = case.own_profile();
        let (_, without) = judge_own_uncited(case, profile, alone);
        let (_, with) = judge_own_uncited(case, profile, alone.with(defect));
        without.is_some() && with.is_some() && without != with
    };
    match suite.cases.iter().find(shows) {
        Some(case) => {
            println!("{defect}: with {other}, first: {}", case.name);
            Ok(())
        }
        None => Err(format!("no case shows `{defect}` beside `{other}`").into()),
    }
}

fn is_noticed(defect: Defect, suite: &Arc<Suite>) -> Result<(), Failed> {
    if let Some((_, other)) = SEEN_WITH.iter().find(|(hidden, _)| *hidden == defect) {
        return is_noticed_with(defect, *other, suite);
    }
    let verdicts = verdicts(suite, DefectSet::NONE.with(defect))?;
    let of_kind = |wanted: VerdictKind| -> Vec<&str> {
        let pairs = suite.cases.iter().zip(&verdicts);
        let wanted = pairs.filter(|(_, verdict)| **verdict == wanted);
        wanted.map(|(case, _)| case.name.as_str()).collect()
    };
    let noticed = of_kind(VerdictKind::Deviates);
    if let Some(first) = noticed.first() {
        println!("{defect}: {} cases, first: {first}", noticed.len());
        return Ok(());
    }
    let requirement = defect.requirement();
    let mut message = format!(
        "no case notices `{defect}`: {}\nIt breaks {}: {}\nAdd a case that checks this.",
        defect.sentence(),
        requirement.id,
        requirement.sentence,
    );
    // A model that fails is no finding: a target that did the same would go unnoticed.
    let broken = of_kind(VerdictKind::Broken);
    if !broken.is_empty() {
        message += &format!(
            "\nThe model with the defect cannot run these: {}",
            broken.join(", ")
        );
    }
    Err(message.into())
}

/// What the model with these defects gets for every case, in their order.
///
/// # Errors
/// If the model does not come to an end: a broken processor may well loop for ever, but then
/// the model has to say that the guest is stuck.
fn verdicts(suite: &Arc<Suite>, defects: DefectSet) -> Result<Vec<VerdictKind>, Failed> {
    let (sender, receiver) = channel();
    let judged = Arc::clone(suite);
    std::thread::spawn(move || {
        for case in &judged.cases {
            let (verdict, _) = judge_own_uncited(case, case.own_profile(), defects);
            // A receiver that is gone has given up; so does this thread.
            if sender.send(verdict.kind()).is_err() {
                return;
            }
        }
    });
    let verdict = |case: &Case| {
        let ended = receiver.recv_timeout(PATIENCE);
        ended.map_err(|error| format!("the model never ends with {}: {error}", case.name).into())
    };
    suite.cases.iter().map(verdict).collect()
}
