//! Saving and restoring all state at every point, in place or in a new virtual machine, must
//! change nothing that a run shows.
//!
//! Cases are judged in both modes like in any run. What the model does not have (the FPU,
//! vector registers, XCR0, SYSENTER's MSRs, the PAT, the TSC) and generated register values
//! are compared with what a run without saving shows.

#[path = "../provisioned/mod.rs"]
mod provisioned;
mod scenarios;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use harness::case::Case;
use harness::cli::suite::Suite;
use harness::judge::VerdictKind;
use harness::judge::case::judge_run;
use harness::report::{Judgement, text};
use harness::target::kvm::Kvm;
use harness::target::{Event, Identity, Mode, Run, RunOptions, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;
use spec_model::scenario::Scenario;
use spec_model::transcript::Stop;

use provisioned::Kernel;

/// Generated scenarios on the local device and on a booted kernel, where a migration takes
/// tens of milliseconds.
const GENERATED_LOCAL: usize = 64;
const GENERATED_BOOTED: usize = 12;

/// Areas that run on a booted kernel with a new virtual machine at every point.
const MIGRATED_AREAS: [&str; 2] = ["nmi/", "state/"];

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
    let of_kernel = Arc::clone(&suite);
    let trials = vec![
        match Kvm::open() {
            Ok(_) => Trial::test("kvm", move || local(&suite)),
            Err(error) => ignored("kvm", &error.to_string()),
        },
        match Kernel::find() {
            Ok(kernel) => {
                let name = kernel.identity.name.clone();
                Trial::test(name, move || booted(&kernel, &of_kernel))
            }
            Err(reason) => ignored("svm", &reason),
        },
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial that does not run; the reason is in its name, since nothing else is printed.
fn ignored(name: &str, reason: &str) -> Trial {
    let reason = reason.split(['\n', ';']).next().unwrap_or_default();
    Trial::test(format!("{name} [ignored: {reason}]"), || Ok(())).with_ignored_flag(true)
}

fn options(mode: Mode) -> RunOptions {
    RunOptions {
        allow_host_risk: false,
        fresh_vm: false,
        mode,
    }
}

fn local(suite: &Suite) -> Result<(), Failed> {
    let mut kvm = Kvm::open()?;
    let identity = kvm.identity().clone();
    let generated = scenarios::generated(GENERATED_LOCAL);
    check(&identity, suite, &generated, |scenarios, mode| {
        let mut runs = Vec::new();
        let mut complaints = Vec::new();
        kvm.run(scenarios, options(mode), &mut |event| match event {
            Event::Ran(_, ran) => {
                complaints.extend(ran.complaints);
                runs.push(ran.run);
            }
            Event::Complained(more) => complaints.extend(more),
            _ => {}
        });
        if !complaints.is_empty() {
            return Err(format!("the kernel complained: {complaints:#?}").into());
        }
        Ok(runs)
    })
}

fn booted(kernel: &Kernel, suite: &Suite) -> Result<(), Failed> {
    let generated = scenarios::generated(GENERATED_BOOTED);
    check(&kernel.identity, suite, &generated, |scenarios, mode| {
        Ok(kernel.run(scenarios, options(mode))?)
    })
}

fn check(
    target: &Identity,
    suite: &Suite,
    generated: &[Scenario],
    mut run: impl FnMut(&[Scenario], Mode) -> Result<Vec<Run>, Failed>,
) -> Result<(), Failed> {
    let beyond = scenarios::beyond_the_model();
    let compared: Vec<Scenario> = beyond.iter().chain(generated).cloned().collect();
    let plain = run(&compared, Mode::Normal)?;
    for (scenario, run) in beyond.iter().zip(&plain) {
        scenarios::check_results(scenario, run)?;
    }
    for mode in [Mode::UserspaceRewrite, Mode::Migrate] {
        let chosen = |case: &&Case| {
            let in_area = MIGRATED_AREAS.iter().any(|area| case.name.starts_with(area));
            mode != Mode::Migrate || target.name == "kvm" || in_area
        };
        let cases: Vec<&Case> = suite.cases.iter().filter(chosen).collect();
        let mut all: Vec<Scenario> = cases.iter().map(|case| case.scenario.clone()).collect();
        all.extend_from_slice(&compared);
        let mut runs = run(&all, mode)?;
        let of_compared = runs.split_off(cases.len().min(runs.len()));
        judge(target, mode, suite, &cases, &runs)?;
        same(target, mode, &compared, &plain, &of_compared)?;
    }
    Ok(())
}

/// Every case conforms or shows a known deviation.
fn judge(target: &Identity, mode: Mode, suite: &Suite, cases: &[&Case], runs: &[Run]) -> Result<(), Failed> {
    let (mut judged, mut failures) = (0, String::new());
    for (case, run) in cases.iter().zip(runs) {
        let verdict = judge_run(
            case,
            target,
            mode,
            &suite.deviations,
            DefectSet::NONE,
            &run.clone().into(),
        );
        match verdict.kind() {
            VerdictKind::Conforms | VerdictKind::KnownDeviation => judged += 1,
            VerdictKind::Unsupported => {}
            VerdictKind::Deviates | VerdictKind::UnexpectedlyConforms | VerdictKind::Broken => {
                let judgement = Judgement {
                    case: &case.name,
                    target: &target.name,
                    verdict,
                    transcript: None,
                };
                text::write(&mut failures, &judgement)?;
            }
        }
    }
    println!(
        "{}, {}: {judged} of {} cases judged",
        target.name,
        mode.name(),
        cases.len()
    );
    if judged == 0 {
        return Err("nothing was judged".into());
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.into())
    }
}

/// Every scenario shows what it shows without saving.
fn same(
    target: &Identity,
    mode: Mode,
    scenarios: &[Scenario],
    plain: &[Run],
    saved: &[Run],
) -> Result<(), Failed> {
    let mut identical = 0;
    for (scenario, (plain, saved)) in scenarios.iter().zip(plain.iter().zip(saved)) {
        match (plain, saved) {
            (Run::Done(one), Run::Done(two)) if one == two => {
                let last = one.observations.last().map(|last| last.stop);
                identical += usize::from(matches!(last, Some(Stop::Halted(_))));
            }
            (Run::Unsupported(one), Run::Unsupported(two)) if one == two => {}
            _ => {
                let name = mode.name();
                return Err(
                    format!("{}: without {plain:#x?}\nwith {name} {saved:#x?}", scenario.name).into(),
                );
            }
        }
    }
    println!(
        "{}, {}: {identical} of {} scenarios identical",
        target.name,
        mode.name(),
        scenarios.len()
    );
    if identical == 0 || saved.len() != scenarios.len() {
        return Err("nothing was compared".into());
    }
    Ok(())
}
