//! The machine's own processor against the model: a fixed seed of 20,000 steps, and that they notice
//! each bug of the model that such steps can show. Where the machine does not allow them, the trials are
//! ignored with the reason in their name.

use harness::native::machine::Processor;
use harness::native::run::{Plan, Tally, disassemble, run};
use harness::native::tracee::Tracee;
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::{Defect, DefectSet};

const STEPS: u64 = 20_000;

/// Bugs that the model has had, and others that a step at CPL 3 can show.
const DEFECTS: &[Defect] = &[
    Defect::RexByteRegisterIsHighByte,
    Defect::ReadModifyWriteFaultsAsRead,
    Defect::XaddAddressAfterwards,
    Defect::PopSsMovesByNewStack,
    Defect::ShiftByZeroWritesNothing,
    Defect::FailedCmpxchgWritesRegister,
    Defect::FarPointerIsOneAccess,
    Defect::NearBranchSizeIgnored,
    Defect::OverridesCountIn64BitCode,
    Defect::PrivilegeUnchecked,
    Defect::DivideOverflowWraps,
    Defect::MovSsShadowMissing,
    Defect::CodeLimitUnchecked,
    Defect::DataAccessUnchecked,
];

fn main() {
    let arguments = Arguments::from_args();
    let reason = match (Processor::here().profile(), Tracee::start()) {
        (None, _) => Some(format!("no profile for {}", Processor::here().vendor)),
        (_, Err(error)) => Some(error.to_string()),
        _ => None,
    };
    let name = |name: String| match &reason {
        Some(reason) => format!("{name} ({reason})"),
        None => name,
    };
    let mut trials = vec![Trial::test(name("steps_agree".to_owned()), steps_agree)];
    for &defect in DEFECTS {
        // What AMD's processors alone do shows on one of them only.
        let of_amd = defect == Defect::NearBranchSizeIgnored;
        if of_amd
            && Processor::here()
                .profile()
                .is_none_or(|profile| profile.name != "amd")
        {
            continue;
        }
        let title = name(format!("notices::{}", defect.name()));
        trials.push(Trial::test(title, move || notices(defect)));
    }
    if reason.is_some() {
        trials = trials
            .into_iter()
            .map(|trial| trial.with_ignored_flag(true))
            .collect();
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn plan(defects: DefectSet) -> Result<Plan, Failed> {
    let processor = Processor::here();
    Ok(Plan {
        seed: 1,
        first: 0,
        steps: STEPS,
        widths: vec![64, 32, 16],
        profile: processor.profile().ok_or("no profile")?,
        defects,
    })
}

fn steps_agree() -> Result<(), Failed> {
    let tally = run(&plan(DefectSet::NONE)?, |_| true)?;
    if let Some((name, kind)) = tally.kinds.iter().next() {
        let instruction = disassemble(&kind.before);
        let differences: Vec<String> = kind.differences.iter().map(ToString::to_string).collect();
        let what = differences.join("; ");
        return Err(format!("step {}, {instruction}: {name}: {what}", kind.number).into());
    }
    // What cannot be compared, and what is explained, is the exception.
    let made = tally.agree + tally.explained() + tally.not_comparable();
    if made != STEPS || tally.agree < STEPS * 95 / 100 {
        return Err(format!("only {} of {made} steps agree", tally.agree).into());
    }
    Ok(())
}

fn notices(defect: Defect) -> Result<(), Failed> {
    let unnoticed = |tally: &Tally| tally.differ() == 0;
    let tally = run(&plan(DefectSet::NONE.with(defect))?, unnoticed)?;
    if tally.differ() == 0 {
        return Err(format!("{STEPS} steps agree with a model in which: {}", defect.sentence()).into());
    }
    Ok(())
}
