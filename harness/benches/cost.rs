//! What the suite costs, as ratios of measurements in one run.
//!
//! * A scenario with one sync point on the local `/dev/kvm`, in a reused virtual machine,
//!   against the bare ioctls that it needs: at most 2 times as long is the goal.
//! * Scenarios per second of the model against the local `/dev/kvm` with a fresh virtual
//!   machine each, over all cases that the device can run: at least 50 times is the goal.
//!
//! * Event sequences per second of the model in a tree that shares prefixes, against single
//!   scenarios: at least 200,000 per second is the goal.
//!
//! * Random scenarios about stage-2 mappings per second on the local `/dev/kvm`: at least 1,000 is the
//!   goal.
//!
//! Nothing is asserted: a machine that is busy must not fail a build.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::Criterion;
use harness::case::Case;
use harness::cli::suite::Suite;
use harness::judge::case::profile;
use harness::sequences::symbol::count;
use harness::sequences::{Payload, Symbol, alone, expected};
use harness::target::kvm::Kvm;
use harness::target::kvm::bare::BareSequence;
use harness::target::{Mode, Run, RunOptions};
use spec_model::defect::DefectSet;
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::scenario::{Observe, Scenario};
use spec_model::stage2::trace::trace;
use spec_model::transcript::Stop;

/// Works on every backend, PVM's emulator included.
const ONE_SYNC_POINT: &str = "
title: One sync point
checks: [EXC-REAL-001]
machine: { mode: real }
code:
  start: |
    sync here
    hlt
path: [here, halted]
";

const REUSED: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: false,
    mode: Mode::Normal,
    observe: Observe::Points,
};
const FRESH: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: true,
    mode: Mode::Normal,
    observe: Observe::Points,
};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let ratios = match measure(&mut criterion) {
        Ok(ratios) => ratios,
        Err(reason) => {
            // Not a failure: there is no KVM on many a build machine.
            println!("not measured: {reason}");
            return;
        }
    };
    criterion.final_summary();
    println!();
    for ratio in ratios {
        println!("{ratio}");
    }
}

fn measure(criterion: &mut Criterion) -> Result<Vec<String>, String> {
    let mut ratios = Vec::new();
    ratios.extend(sequences(criterion)?);
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => {
            ratios.push(format!("the rest was not measured: {error}"));
            return Ok(ratios);
        }
    };
    ratios.extend(sync_point(criterion, &mut kvm)?);
    ratios.extend(throughput(criterion, &mut kvm)?);
    ratios.extend(traces(criterion, &mut kvm)?);
    Ok(ratios)
}

/// Random scenarios about stage-2 mappings.
fn traces(criterion: &mut Criterion, kvm: &mut Kvm) -> Result<Option<String>, String> {
    const STEPS: usize = 8;
    let mut seed = 0;
    let mut failed = None;
    let time = median(criterion, "stage2/random trace", || {
        let scenario = Scenario {
            stage2: Some(Box::new(trace(seed, STEPS))),
            ..Scenario::default()
        };
        seed += 1;
        match kvm.run_one(&scenario, REUSED) {
            Run::Done(transcript) => drop(black_box(transcript)),
            other => failed = Some(format!("a trace did not run: {other:?}")),
        }
    });
    match failed {
        Some(reason) => Err(reason),
        None => Ok(time.map(|time| {
            let rate = 1.0 / time.as_secs_f64();
            format!("stage-2 traces of {STEPS} steps: {rate:.0} per second (goal: at least 1,000)")
        })),
    }
}

/// Measures and also keeps the median time of one iteration; none if the filter on the
/// command line leaves the benchmark out.
fn median(criterion: &mut Criterion, name: &str, mut routine: impl FnMut()) -> Option<Duration> {
    let mut samples: Vec<Duration> = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                routine();
            }
            let elapsed = start.elapsed();
            let iterations = u32::try_from(iterations).unwrap_or(u32::MAX).max(1);
            samples.push(elapsed / iterations);
            elapsed
        });
    });
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}

fn sync_point(criterion: &mut Criterion, kvm: &mut Kvm) -> Result<Option<String>, String> {
    let parsed = Case::parse(
        "cost/one-sync-point".to_owned(),
        &PathBuf::from("cost.yaml"),
        ONE_SYNC_POINT.as_bytes(),
    );
    let scenario = parsed
        .map_err(|mistakes| format!("the case of the benchmark is wrong: {mistakes:?}"))?
        .scenario;
    let run = kvm.run_one(&scenario, REUSED);
    if !matches!(run, Run::Done(_)) {
        return Err(format!("the device does not run one sync point: {run:?}"));
    }
    let mut bare = BareSequence::new(&scenario).map_err(|error| error.to_string())?;
    bare.run().map_err(|error| error.to_string())?;
    let ioctls = median(criterion, "one sync point/bare ioctls", || {
        let _ = black_box(bare.run());
    });
    let target = median(criterion, "one sync point/target, reused machine", || {
        black_box(kvm.run_one(&scenario, REUSED));
    });
    Ok(ioctls.zip(target).map(|(ioctls, target)| {
        format!(
            "one sync point: {target:.1?} on the target, {ioctls:.1?} for the bare ioctls: ratio {:.2} (goal: at most 2)",
            target.as_secs_f64() / ioctls.as_secs_f64()
        )
    }))
}

/// Event sequences of the model: in a tree that shares prefixes, against each one by itself.
fn sequences(criterion: &mut Criterion) -> Result<Option<String>, String> {
    const LENGTH: usize = 3;
    let payload = Payload::new().map_err(|error| error.to_string())?;
    let walk = || {
        alone::walk(
            &payload,
            &KVM_SVM,
            DefectSet::NONE,
            &Symbol::ALL,
            LENGTH + 1,
            &mut |_| {},
        )
    };
    let shared = median(criterion, "event sequences/model, tree with invariants", || {
        let _ = black_box(walk());
    });
    let mut scenario = payload.template();
    let all = expected::outcomes(&payload, &KVM_SVM, DefectSet::NONE, &Symbol::ALL, LENGTH);
    let all = all.map_err(|error| error.to_string())?;
    let single = median(criterion, "event sequences/model, one by one", || {
        for (sequence, _) in &all {
            payload.set(&mut scenario, sequence);
            let _ = black_box(outcomes(&scenario, &KVM_SVM, DefectSet::NONE));
        }
    });
    let per_second = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
    Ok(shared.zip(single).map(|(shared, single)| {
        let shared = per_second(count(Symbol::ALL.len(), LENGTH + 1), shared);
        let single = per_second(all.len(), single);
        format!(
            "event sequences: {shared:.0} per second in the model's tree (goal: at least 200000), {single:.0} one by \
             one: ratio {:.1}",
            shared / single
        )
    }))
}

fn throughput(criterion: &mut Criterion, kvm: &mut Kvm) -> Result<Option<String>, String> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = Suite::load_folders(&[cases]).map_err(|failure| failure.to_string())?;
    let profile = profile(kvm.identity().backend).unwrap_or(&KVM_SVM);
    let mut scenarios: Vec<Scenario> = suite.cases.into_iter().map(|case| case.scenario).collect();
    scenarios.retain(|scenario| {
        outcomes(scenario, profile, DefectSet::NONE).is_ok() && is_quick(&kvm.run_one(scenario, FRESH))
    });
    let count = u32::try_from(scenarios.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Err("the device runs none of the cases".to_owned());
    }
    let model = median(criterion, "all cases/model", || {
        for scenario in &scenarios {
            let _ = black_box(outcomes(scenario, profile, DefectSet::NONE));
        }
    });
    let fresh = median(criterion, "all cases/local KVM, fresh machines", || {
        for scenario in &scenarios {
            black_box(kvm.run_one(scenario, FRESH));
        }
    });
    let per_second = |time: Duration| f64::from(count) / time.as_secs_f64();
    Ok(model.zip(fresh).map(|(model, fresh)| {
        format!(
            "{count} cases: model {:.0} scenarios per second, local KVM with fresh machines {:.0}: ratio {:.1} \
             (goal: at least 50)",
            per_second(model),
            per_second(fresh),
            fresh.as_secs_f64() / model.as_secs_f64()
        )
    }))
}

/// It ran, and not into the time limit, which says nothing about speed.
fn is_quick(run: &Run) -> bool {
    let Run::Done(transcript) = run else { return false };
    let last = transcript.observations.last();
    last.is_some_and(|last| last.stop != Stop::Stuck)
}
