//! The conformance test: one trial per case and target, named `<target>::<area>/<case>`.
//!
//! Targets are the model, the local KVM device and every provisioned kernel, or those that
//! the environment variable CONFORM_TARGETS lists, where `baseline` stands for all that golden/baseline.yaml
//! has. A case that ran by that file and cannot run now fails, as does one that is gone. What else cannot run is an ignored trial with
//! the reason in its name. Since cargo-nextest counts a trial that ignores itself while
//! running as passed, this is decided before the list of trials is built, and so every
//! scenario that is wanted has run by then: on the local device that takes milliseconds each,
//! and a kernel is booted once, whatever the number of cases.

#[path = "conformance/results.rs"]
mod results;
#[path = "conformance/shared.rs"]
mod shared;
#[path = "conformance/wanted.rs"]
mod wanted;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use harness::baseline::{Baseline, Command, How};
use harness::case::Case;
use harness::cli::default_set::DefaultSet;
use harness::cli::session::{Kind, Prepared};
use harness::cli::suite::Suite;
use harness::cli::target_name::TargetName;
use harness::deviation::Deviation;
use harness::judge::case::{judge_own, judge_run, not_about};
use harness::judge::{Verdict, VerdictKind};
use harness::provision::Cache;
use harness::report::{Judgement, text};
use harness::target::{Identity, Mode, Ran, Run};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;

use results::Results;
use shared::SharedRun;
use wanted::Wanted;

/// Names targets, separated by commas. A target that is named and cannot be used fails.
const TARGETS: &str = "CONFORM_TARGETS";
/// The name for all targets of the baseline.
const BASELINE: &str = "baseline";
/// What the trials are held against.
const HOW: How = How::plain(Command::Run);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&Wanted::new(&arguments)) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn trials(wanted: &Wanted) -> Result<Vec<Trial>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suite =
        Suite::load_folders(&[root.with_file_name("cases")]).map_err(|failure| failure.to_string())?;
    let suite = Arc::new(suite);
    let cache = Cache::open(None).map_err(|error| error.to_string())?;
    let baseline = Baseline::load(&root.with_file_name("golden").join("baseline.yaml"))
        .map_err(|error| error.to_string())?;
    let baseline = Arc::new(baseline);
    let Chosen {
        targets,
        named,
        left_out,
    } = targets(&cache, &baseline)?;
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_conform"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let run = match wanted.run_id() {
        Some(id) => SharedRun::new(&folder, &id).map_err(|error| format!("{}: {error}", folder.display()))?,
        None => None,
    };
    let mut trials = Vec::new();
    for name in targets {
        let prepared = Prepared::new(&name, &cache, &executable);
        trials.extend(match &prepared.kind {
            Kind::Model => model(&suite),
            Kind::Unusable(reason) => {
                // What was provisioned must be usable. The local device is as the machine has it, and what
                // runs in arm64 kernels is as old as the last `conform provision`.
                let arm64 = matches!(name, TargetName::Arm64(_) | TargetName::Arm64Vhe(_));
                unusable(&suite, &name, reason, named || !arm64 && name != TargetName::Kvm)
            }
            Kind::Kvm(identity) | Kind::Booted { identity, .. } | Kind::XenPv { identity, .. } => {
                let names: Vec<String> = suite
                    .cases
                    .iter()
                    .map(|case| format!("{name}::{}", case.name))
                    .collect();
                let results = if wanted.target(&name.to_string(), &names) {
                    Results::get(&prepared, &suite.cases, run.as_ref())
                } else {
                    Results::none()
                };
                kvm(&suite, identity, &results, &baseline)
            }
        });
    }
    for (target, reason) in left_out {
        trials.push(ignorable(target.clone(), target, Some(reason), || Ok(())));
    }
    Ok(trials)
}

/// What is tested.
struct Chosen {
    targets: Vec<TargetName>,
    /// Whether somebody named them.
    named: bool,
    /// Targets that somebody might expect, and why they are not among them.
    left_out: Vec<(String, String)>,
}

fn targets(cache: &Cache, baseline: &Baseline) -> Result<Chosen, String> {
    let Ok(named) = std::env::var(TARGETS) else {
        let set = DefaultSet::of(cache).map_err(|error| error.to_string())?;
        let mut left_out: Vec<(String, String)> = set
            .left_out
            .into_iter()
            .map(|left| (left.target, left.reason))
            .collect();
        let is_there = |name: &&str| set.targets.iter().any(|target| target.to_string() == **name);
        let gone = baseline.targets(&HOW).into_iter().filter(|name| !is_there(name));
        let reason = "golden/baseline.yaml has it, and it is not here or only where it is named";
        let gone: Vec<&str> = gone
            .filter(|name| left_out.iter().all(|(left, _)| left != name))
            .collect();
        left_out.extend(gone.into_iter().map(|name| (name.to_owned(), reason.to_owned())));
        return Ok(Chosen {
            targets: set.targets,
            named: false,
            left_out,
        });
    };
    let names = named.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names = names.flat_map(|name| match name {
        BASELINE => baseline.targets(&HOW),
        name => vec![name],
    });
    let parse = |name: &str| name.parse().map_err(|error| format!("{TARGETS}: {error}"));
    Ok(Chosen {
        targets: names.map(parse).collect::<Result<_, String>>()?,
        named: true,
        left_out: Vec::new(),
    })
}

fn model(suite: &Arc<Suite>) -> Vec<Trial> {
    let trial = |(index, case): (usize, &Case)| {
        // Nothing of it can be seen in one run: tests/explore.rs follows all schedules.
        let ignored = match judge_own(case, case.own_profile(), DefectSet::NONE).0 {
            Verdict::Unsupported(lack) if case.expectations.is_empty() => Some(lack.to_string()),
            _ => None,
        };
        let suite = Arc::clone(suite);
        let run = move || {
            let case = &suite.cases[index];
            let own = [case.own_profile()];
            for profile in if case.profiles.is_empty() {
                &own[..]
            } else {
                &case.profiles
            } {
                let (verdict, _) = judge_own(case, profile, DefectSet::NONE);
                finish(case, &format!("model as {}", profile.name), verdict)?;
            }
            Ok(())
        };
        ignorable(format!("model::{}", case.name), "model".to_owned(), ignored, run)
    };
    suite.cases.iter().enumerate().map(trial).collect()
}

fn kvm(suite: &Arc<Suite>, identity: &Identity, results: &Results, baseline: &Arc<Baseline>) -> Vec<Trial> {
    let presumed = identity;
    let identity = results.identity().unwrap_or(presumed);
    let trial = |(index, case): (usize, &Case)| {
        let ran = results.of(index);
        let name = format!("{}::{}", identity.name, case.name);
        let ignored = match &ran.run {
            _ if not_about(case, identity).is_some() => {
                not_about(case, identity).map(|lack| lack.to_string())
            }
            Run::Unsupported(lack) => Some(lack.to_string()),
            Run::GaveUp(..) => match judge_run(
                case,
                identity,
                Mode::Normal,
                &suite.deviations,
                DefectSet::NONE,
                &ran,
            ) {
                Verdict::Unsupported(lack) => Some(lack.to_string()),
                _ => None,
            },
            Run::Done(_) | Run::Died(_) | Run::Broken(_) => None,
        };
        if let Some(reason) = &ignored
            && baseline.ran(&HOW, &identity.name, &case.name)
        {
            let message = format!("it ran by golden/baseline.yaml, and is unsupported now: {reason}");
            let lost = move || Err(Failed::from(message));
            return ignorable(name, identity.name.clone(), None, lost);
        }
        let (suite, identity) = (Arc::clone(suite), identity.clone());
        let kind = identity.name.clone();
        let judge = move || judge(&suite.cases[index], &identity, &suite.deviations, &ran);
        ignorable(name, kind, ignored, judge)
    };
    let mut trials: Vec<Trial> = suite.cases.iter().enumerate().map(trial).collect();
    trials.push(troubles(&identity.name, results));
    trials.extend(gone(suite, &identity.name, baseline));
    trials
}

/// Cases that ran by the baseline and that there are no more.
fn gone(suite: &Suite, target: &str, baseline: &Baseline) -> Vec<Trial> {
    let known = baseline.cases(&HOW, target).into_iter();
    let gone = known.filter(|known| suite.cases.iter().all(|case| case.name != *known));
    let trial = |case: &str| {
        let fail = || {
            Err(Failed::from(
                "it ran by golden/baseline.yaml, and there is no such case any more",
            ))
        };
        Trial::test(format!("{target}::{case}"), fail).with_kind(target)
    };
    gone.map(trial).collect()
}

/// What no case accounts for.
fn troubles(target: &str, results: &Results) -> Trial {
    let troubles = results.troubles().join("\n\n");
    let run = move || match troubles.as_str() {
        "" => Ok(()),
        troubles => Err(Failed::from(troubles)),
    };
    Trial::test(format!("{target}::[between cases]"), run).with_kind(target)
}

fn unusable(suite: &Arc<Suite>, name: &TargetName, reason: &str, fails: bool) -> Vec<Trial> {
    let trial = |case: &Case| {
        let message = format!("{name} cannot be used: {reason}");
        let ignored = (!fails).then(|| reason.to_owned());
        let fail = move || Err(Failed::from(message));
        ignorable(format!("{name}::{}", case.name), name.to_string(), ignored, fail)
    };
    suite.cases.iter().map(trial).collect()
}

fn ignorable(
    name: String,
    kind: String,
    ignored: Option<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let is_ignored = ignored.is_some();
    let name = match ignored {
        Some(reason) => format!("{name} [ignored: {}]", in_a_name(&reason)),
        None => name,
    };
    Trial::test(name, run)
        .with_kind(kind)
        .with_ignored_flag(is_ignored)
}

/// The beginning of a reason: a name is one line and not too long.
fn in_a_name(reason: &str) -> String {
    const LONGEST: usize = 90;
    let first = reason.split(['\n', ';']).next().unwrap_or_default();
    first.chars().take(LONGEST).collect()
}

fn judge(case: &Case, identity: &Identity, deviations: &[Deviation], ran: &Ran) -> Result<(), Failed> {
    let verdict = judge_run(case, identity, Mode::Normal, deviations, DefectSet::NONE, ran);
    finish(case, &identity.name, verdict)
}

fn finish(case: &Case, target: &str, verdict: Verdict<'_>) -> Result<(), Failed> {
    if matches!(
        verdict.kind(),
        VerdictKind::Conforms | VerdictKind::KnownDeviation
    ) {
        return Ok(());
    }
    let judgement = Judgement {
        case: &case.name,
        target,
        verdict,
        transcript: None,
    };
    let mut message = String::new();
    text::write(&mut message, &judgement).map_err(Failed::from)?;
    message += &format!("{}\n", case.file.display());
    Err(message.into())
}
