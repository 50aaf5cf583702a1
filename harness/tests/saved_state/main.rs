//! Saving and restoring all state at every point, in place or in a new virtual machine, must
//! change nothing that a run shows, and nor must looking at the state there.
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

use harness::baseline::{Baseline, Command, How};
use harness::case::Case;
use harness::cli::suite::Suite;
use harness::judge::case::judge_run;
use harness::judge::{Verdict, VerdictKind};
use harness::report::{Judgement, text};
use harness::target::kvm::Kvm;
use harness::target::{Event, Identity, Lack, Mode, Run, RunOptions, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;
use spec_model::scenario::{Observe, Scenario};
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
        Ok(mut suite) => {
            for case in &mut suite.cases {
                case.observe_at_most(Observe::Points, Mode::Migrate);
            }
            Arc::new(suite)
        }
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

/// How a run is made: what the host does with the state at every point, and what it looks at.
type Saving = (Mode, Observe);

fn options((mode, observe): Saving) -> RunOptions {
    RunOptions {
        allow_host_risk: false,
        fresh_vm: false,
        mode,
        observe,
    }
}

fn local(suite: &Suite) -> Result<(), Failed> {
    let mut kvm = Kvm::open()?;
    let identity = kvm.identity().clone();
    let generated = scenarios::generated(GENERATED_LOCAL);
    check(&identity, suite, &generated, |scenarios, how| {
        let mut runs = Vec::new();
        let mut complaints = Vec::new();
        kvm.run(scenarios, options(how), &mut |event| match event {
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
    check(&kernel.identity, suite, &generated, |scenarios, how| {
        Ok(kernel.run(scenarios, options(how))?)
    })
}

fn check(
    target: &Identity,
    suite: &Suite,
    generated: &[Scenario],
    mut run: impl FnMut(&[Scenario], Saving) -> Result<Vec<Run>, Failed>,
) -> Result<(), Failed> {
    let beyond = scenarios::beyond_the_model();
    let compared: Vec<Scenario> = beyond.iter().chain(generated).cloned().collect();
    let plain = run(&compared, (Mode::Normal, Observe::Points))?;
    for (scenario, run) in beyond.iter().zip(&plain) {
        scenarios::check_results(scenario, run)?;
    }
    let at_ends = run(&compared, (Mode::Normal, Observe::Ends))?;
    let wanted: Vec<Run> = plain.iter().map(seen_at_ends).collect();
    same(target, "observed at the ends", &compared, &wanted, &at_ends)?;
    for mode in [Mode::UserspaceRewrite, Mode::Migrate] {
        let chosen = |case: &&Case| {
            let in_area = MIGRATED_AREAS.iter().any(|area| case.name.starts_with(area));
            mode != Mode::Migrate || target.name == "kvm" || in_area
        };
        let cases: Vec<&Case> = suite.cases.iter().filter(chosen).collect();
        let mut all: Vec<Scenario> = cases.iter().map(|case| case.scenario.clone()).collect();
        all.extend_from_slice(&compared);
        let mut runs = run(&all, (mode, Observe::Points))?;
        let of_compared = runs.split_off(cases.len().min(runs.len()));
        judge(target, mode, suite, &cases, &runs)?;
        same(target, mode.name(), &compared, &plain, &of_compared)?;
    }
    Ok(())
}

/// Every case conforms or shows a known deviation.
fn judge(target: &Identity, mode: Mode, suite: &Suite, cases: &[&Case], runs: &[Run]) -> Result<(), Failed> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/baseline.yaml");
    let baseline = &Baseline::load(&golden)?;
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
            VerdictKind::Unsupported => {
                if let Some(lost) = lost(target, mode, case, &verdict, baseline) {
                    failures += &lost;
                }
            }
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

/// That a case is unsupported which ran by the baseline, unless its mode means nothing to it.
fn lost(
    target: &Identity,
    mode: Mode,
    case: &Case,
    verdict: &Verdict<'_>,
    baseline: &Baseline,
) -> Option<String> {
    let Verdict::Unsupported(lack) = verdict else {
        return None;
    };
    let how = How::with(Command::Run, options((mode, Observe::Points)));
    let ran = !matches!(lack, Lack::Mode { .. }) && baseline.ran(&how, &target.name, &case.name);
    ran.then(|| {
        format!(
            "{} ran by golden/baseline.yaml, and is unsupported now: {lack}\n",
            case.name
        )
    })
}

/// What the run would have shown with nobody looking at the state before its end.
fn seen_at_ends(run: &Run) -> Run {
    match run {
        Run::Done(transcript) => match transcript.seen_at_ends() {
            Some(seen) => Run::Done(seen),
            None => Run::Broken("a processor came to no end".to_owned()),
        },
        other => other.clone(),
    }
}

/// Every scenario shows what it shows without saving, and with the host looking at every point.
fn same(
    target: &Identity,
    name: &str,
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
            (Run::Unsupported(one), Run::Unsupported(two)) | (Run::GaveUp(one, _), Run::GaveUp(two, _))
                if one == two => {}
            _ => {
                return Err(
                    format!("{}: without {plain:#x?}\nwith {name} {saved:#x?}", scenario.name).into(),
                );
            }
        }
    }
    println!(
        "{}, {name}: {identical} of {} scenarios identical",
        target.name,
        scenarios.len()
    );
    if identical == 0 || saved.len() != scenarios.len() {
        return Err("nothing was compared".into());
    }
    Ok(())
}
