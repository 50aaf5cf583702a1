//! The conformance test: one trial per case and target, named `<target>::<area>/<case>`.
//!
//! Targets are the model, the local KVM device and every provisioned kernel, or those that
//! the environment variable CONFORM_TARGETS lists. What cannot run is an ignored trial with
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

use harness::case::Case;
use harness::cli::session::{Kind, Prepared, default_arm64_targets, default_targets};
use harness::cli::suite::Suite;
use harness::cli::target_name::TargetName;
use harness::deviation::Deviation;
use harness::judge::Verdict;
use harness::judge::case::{judge_own, judge_run, not_about};
use harness::provision::Cache;
use harness::report::{Judgement, text};
use harness::target::{Identity, Mode, Run};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;

use results::Results;
use shared::SharedRun;
use wanted::Wanted;

/// Names targets, separated by commas. A target that is named and cannot be used fails.
const TARGETS: &str = "CONFORM_TARGETS";

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
    let (targets, named) = targets(&cache)?;
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
            Kind::Unusable(reason) => unusable(&suite, &name, reason, named),
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
                kvm(&suite, identity, &results)
            }
        });
    }
    if !named && let Some(reason) = why_no_arm64(&cache) {
        let trial = ignorable("arm64".to_owned(), "arm64".to_owned(), Some(reason), || Ok(()));
        trials.push(trial);
    }
    Ok(trials)
}

/// Why no case runs on arm64, if so.
fn why_no_arm64(cache: &Cache) -> Option<String> {
    match default_arm64_targets(cache) {
        Ok(targets) if targets.is_empty() => Some(
            "no kernel for arm64 is provisioned: `conform provision arm64:debian:6.12` does that".to_owned(),
        ),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The targets, and whether somebody named them.
fn targets(cache: &Cache) -> Result<(Vec<TargetName>, bool), String> {
    let Ok(named) = std::env::var(TARGETS) else {
        let mut targets = default_targets(cache);
        targets.extend(default_arm64_targets(cache).unwrap_or_default());
        // Without a device the trials are still listed, ignored and with the reason.
        if !targets.contains(&TargetName::Kvm) {
            targets.insert(1, TargetName::Kvm);
        }
        return Ok((targets, false));
    };
    let names = named.split(',').map(str::trim).filter(|name| !name.is_empty());
    let parse = |name: &str| name.parse().map_err(|error| format!("{TARGETS}: {error}"));
    Ok((names.map(parse).collect::<Result<_, String>>()?, true))
}

fn model(suite: &Arc<Suite>) -> Vec<Trial> {
    let trial = |(index, case): (usize, &Case)| {
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
        Trial::test(format!("model::{}", case.name), run).with_kind("model")
    };
    suite.cases.iter().enumerate().map(trial).collect()
}

fn kvm(suite: &Arc<Suite>, identity: &Identity, results: &Results) -> Vec<Trial> {
    let trial = |(index, case): (usize, &Case)| {
        let run = results.of(index);
        let name = format!("{}::{}", identity.name, case.name);
        let ignored = match &run {
            _ if not_about(case, identity).is_some() => not_about(case, identity),
            Run::Unsupported(reason) => Some(reason.clone()),
            Run::Done(_) | Run::Broken(_) => None,
        };
        let (suite, identity) = (Arc::clone(suite), identity.clone());
        let kind = identity.name.clone();
        let judge = move || judge(&suite.cases[index], &identity, &suite.deviations, &run);
        ignorable(name, kind, ignored, judge)
    };
    suite.cases.iter().enumerate().map(trial).collect()
}

fn unusable(suite: &Arc<Suite>, name: &TargetName, reason: &str, named: bool) -> Vec<Trial> {
    let trial = |case: &Case| {
        let message = format!("{name} cannot be used: {reason}");
        let ignored = (!named).then(|| reason.to_owned());
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

fn judge(case: &Case, identity: &Identity, deviations: &[Deviation], run: &Run) -> Result<(), Failed> {
    let verdict = judge_run(case, identity, Mode::Normal, deviations, DefectSet::NONE, run);
    finish(case, &identity.name, verdict)
}

fn finish(case: &Case, target: &str, verdict: Verdict<'_>) -> Result<(), Failed> {
    if matches!(verdict, Verdict::Conforms | Verdict::KnownDeviation(_)) {
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
