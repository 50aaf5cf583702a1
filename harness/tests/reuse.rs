//! What a scenario shows must not depend on what ran before it.
//!
//! All cases run in order with a fresh virtual machine each, and then in shuffled orders with
//! machines that are reused and reset. The transcripts must be identical. A guest that is
//! stuck was stopped at an arbitrary instruction, so of such a run only that it is stuck again
//! is demanded, and a scenario in which a known deviation of the target is a matter of timing
//! is left out. Bits that the model leaves open are not compared. A target that fails alike both times is a matter of the conformance test.

mod provisioned;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use harness::cli::suite::Suite;
use harness::deviation::Applicable;
use harness::judge::case::profile;
use harness::target::kvm::Kvm;
use harness::target::{Event, Identity, Mode, Run, RunOptions, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;
use spec_model::outcome::Allowance;
use spec_model::run::outcomes;
use spec_model::scenario::{Observe, Scenario};
use spec_model::transcript::{Observation, Stop};
use spec_model::x86::field::{FIELDS, Field};
use spec_model::x86::state::VcpuState;

use provisioned::Kernel;

/// Here RF of a frame depends on whether KVM had to inject the event anew, which depends on the pages that are mapped;
/// both values are allowed.
const BY_MAPPING: [&str; 1] = ["exceptions/software-interrupt-with-rf"];

/// Seeds of the orders on the local device.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

const FRESH: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: true,
    mode: Mode::Normal,
    observe: Observe::Points,
};
const REUSED: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: false,
    mode: Mode::Normal,
    observe: Observe::Points,
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = match Suite::load_folders(&[cases]) {
        Ok(suite) => suite,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let suite = Arc::new(suite);
    let trials = vec![
        match Kvm::open() {
            Ok(_) => {
                let suite = Arc::clone(&suite);
                Trial::test("kvm", move || local(&suite))
            }
            Err(error) => ignored("kvm", &error.to_string()),
        },
        on_kernel("svm", Kernel::find(), &suite),
        // KVM makes page tables of its own there, which must not outlive the guest's.
        on_kernel("svm-npt0", Kernel::find_without_nested_paging(), &suite),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial on a kernel, if there is one.
fn on_kernel(target: &str, kernel: Result<Kernel, String>, suite: &Arc<Suite>) -> Trial {
    let suite = Arc::clone(suite);
    match kernel {
        Ok(kernel) => Trial::test(kernel.identity.name.clone(), move || booted(&kernel, &suite)),
        Err(reason) => ignored(target, &reason),
    }
}

/// A trial that does not run; the reason is in its name, since nothing else is printed.
fn ignored(name: &str, reason: &str) -> Trial {
    let reason = reason.split(['\n', ';']).next().unwrap_or_default();
    Trial::test(format!("{name} [ignored: {reason}]"), || Ok(())).with_ignored_flag(true)
}

/// What is run in several orders.
#[derive(Default)]
struct Subjects {
    scenarios: Vec<Scenario>,
    /// For each of them the places at which the model allows any value, for instance B0 to B3 of DR6
    /// after a single step: these show breakpoints that another guest has left in the registers.
    open: Vec<Vec<Allowance>>,
}

/// All cases but those in which it depends on timing what the target does:
/// where its known deviations make the model allow more than it allows without them.
fn timeless(suite: &Suite, target: &Identity) -> Result<Subjects, Failed> {
    let known = Applicable::to(&suite.deviations, target, Mode::Normal).certain;
    let defects: DefectSet = known
        .iter()
        .flat_map(|deviation| deviation.defects.iter().copied())
        .collect();
    let Some(profile) = profile(target.backend) else {
        return Err(format!("no profile for {:?}", target.backend).into());
    };
    let allowed = |scenario: &Scenario, defects| outcomes(scenario, profile, defects).unwrap_or_default();
    let mut subjects = Subjects::default();
    let mut timed = 0;
    for case in &suite.cases {
        // What a target does in a case about other processors, no one claims anything of.
        if !case.is_about(profile) {
            continue;
        }
        let (pure, deviating) = (
            allowed(&case.scenario, DefectSet::NONE),
            allowed(&case.scenario, defects),
        );
        if deviating.len() > pure.len() || BY_MAPPING.contains(&case.name.as_str()) {
            timed += 1;
            continue;
        }
        let both = pure.into_iter().chain(deviating);
        subjects
            .open
            .push(both.flat_map(|outcome| outcome.allowances).collect());
        subjects.scenarios.push(case.scenario.clone());
    }
    println!("{}: {timed} scenarios depend on timing", target.name);
    Ok(subjects)
}

/// The run with the open bits of processor registers clear.
fn without(open: &[Allowance], run: &Run) -> Run {
    let Run::Done(transcript) = run else {
        return run.clone();
    };
    let mut transcript = transcript.clone();
    for allowance in open {
        let observation = transcript.observations.get_mut(allowance.observation);
        let state = observation.and_then(|observation| observation.state.as_deref_mut());
        if let (Some(state), Some(field)) = (state, Field::named(&allowance.field)) {
            field.write(state, field.read(state) & !allowance.any_bits);
        }
    }
    Run::Done(transcript)
}

fn local(suite: &Suite) -> Result<(), Failed> {
    let run_all = |kvm: &mut Kvm, scenarios: &[Scenario], options| {
        let mut runs = Vec::new();
        kvm.run(scenarios, options, &mut |event| {
            if let Event::Ran(_, ran) = event {
                runs.push(ran.run);
            }
        });
        runs
    };
    let mut kvm = Kvm::open()?;
    let subjects = timeless(suite, kvm.identity())?;
    let scenarios = &subjects.scenarios[..];
    let fresh = run_all(&mut kvm, scenarios, FRESH);
    // One device for all orders: machines stay from one order to the next.
    for seed in SEEDS {
        let order = shuffled(scenarios.len(), seed);
        let reused = run_all(&mut kvm, &in_order(scenarios, &order), REUSED);
        agree("kvm", seed, &subjects, &fresh, &order, &reused)?;
    }
    Ok(())
}

fn booted(kernel: &Kernel, suite: &Suite) -> Result<(), Failed> {
    const SEED: u64 = 5;
    let subjects = timeless(suite, &kernel.identity)?;
    let scenarios = &subjects.scenarios[..];
    let fresh = kernel.run(scenarios, FRESH)?;
    let order = shuffled(scenarios.len(), SEED);
    let reused = kernel.run(&in_order(scenarios, &order), REUSED)?;
    agree(&kernel.identity.name, SEED, &subjects, &fresh, &order, &reused)
}

/// An order of `0..length` that depends on the seed and nothing else.
fn shuffled(length: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..length).collect();
    order.sort_by_key(|index| {
        let mut hasher = DefaultHasher::new();
        (seed, index).hash(&mut hasher);
        hasher.finish()
    });
    order
}

fn in_order(scenarios: &[Scenario], order: &[usize]) -> Vec<Scenario> {
    let chosen = order.iter().filter_map(|index| scenarios.get(*index));
    chosen.cloned().collect()
}

/// Compares the runs in a shuffled order with those in order.
fn agree(
    target: &str,
    seed: u64,
    subjects: &Subjects,
    fresh: &[Run],
    order: &[usize],
    reused: &[Run],
) -> Result<(), Failed> {
    let (mut identical, mut stuck, mut unsupported, mut broken) = (0, 0, 0, 0);
    let mut failures = String::new();
    let mut before = "nothing";
    for (index, reused) in order.iter().zip(reused) {
        let subject = (subjects.scenarios.get(*index), subjects.open.get(*index));
        let ((Some(scenario), Some(open)), Some(fresh)) = (subject, fresh.get(*index)) else {
            return Err("a run is missing".into());
        };
        let (fresh, reused) = (&without(open, fresh), &without(open, reused));
        match (fresh, reused) {
            (Run::Done(_), Run::Done(_)) if is_stuck(fresh) && is_stuck(reused) => stuck += 1,
            (Run::Done(one), Run::Done(two)) if one == two => identical += 1,
            (Run::Unsupported(one), Run::Unsupported(two)) if one == two => unsupported += 1,
            (Run::GaveUp(..), Run::GaveUp(..)) if fresh == reused => unsupported += 1,
            (Run::Broken(_), Run::Broken(_)) => broken += 1,
            _ => {
                let difference = describe(fresh, reused);
                failures += &format!("{}, after {before}: {difference}\n", scenario.name);
            }
        }
        before = &scenario.name;
    }
    println!(
        "{target}, seed {seed}: {identical} identical, {stuck} stuck, {unsupported} unsupported, \
         {broken} broken both times"
    );
    if !failures.is_empty() {
        return Err(failures.into());
    }
    if identical == 0 || order.len() != reused.len() {
        return Err("nothing was compared".into());
    }
    Ok(())
}

fn is_stuck(run: &Run) -> bool {
    let Run::Done(transcript) = run else { return false };
    let last = transcript.observations.last();
    last.is_some_and(|last| last.stop == Stop::Stuck)
}

/// What is different, in a line.
fn describe(fresh: &Run, reused: &Run) -> String {
    let (one, two) = match (fresh, reused) {
        (Run::Done(one), Run::Done(two)) => (one, two),
        _ => return format!("fresh {}, reused {}", kind(fresh), kind(reused)),
    };
    let pairs = one.observations.iter().zip(&two.observations);
    let first = pairs.enumerate().find(|(_, (one, two))| one != two);
    match first {
        Some((stop, (one, two))) => format!("stop {stop} differs{}", fields(one, two)),
        None if one.observations.len() != two.observations.len() => format!(
            "{} stops with a fresh machine, {} with a reused one",
            one.observations.len(),
            two.observations.len()
        ),
        None => "memory differs at the end".to_owned(),
    }
}

/// The fields in which two observations differ, a line each.
fn fields(fresh: &Observation, reused: &Observation) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, fresh: String, reused: String| {
        if fresh != reused {
            lines += &format!("\n  {name}: fresh {fresh}, reused {reused}");
        }
    };
    line("stop", format!("{:?}", fresh.stop), format!("{:?}", reused.stop));
    line("vcpu", fresh.vcpu.to_string(), reused.vcpu.to_string());
    let hex = |state: &Option<Box<VcpuState>>, field: &Field| match state {
        Some(state) => format!("{:#x}", field.read(state)),
        None => "unknown".to_owned(),
    };
    for field in FIELDS {
        line(field.name, hex(&fresh.state, field), hex(&reused.state, field));
    }
    line(
        "stack",
        format!("{:x?}", fresh.stack),
        format!("{:x?}", reused.stack),
    );
    let area = |area: &Option<Vec<u8>>| format!("{area:x?}");
    line("save area", area(&fresh.save_area), area(&reused.save_area));
    line(
        "watches",
        format!("{:x?}", fresh.watches),
        format!("{:x?}", reused.watches),
    );
    line(
        "accesses",
        format!("{:x?}", fresh.accesses),
        format!("{:x?}", reused.accesses),
    );
    lines
}

fn kind(run: &Run) -> String {
    match run {
        Run::Done(_) => "ran".to_owned(),
        Run::Unsupported(reason) => format!("is unsupported ({reason})"),
        Run::GaveUp(reason, _) => format!("gave up ({reason})"),
        Run::Died(death) => format!("ended the kernel ({})", death.console),
        Run::Broken(reason) => format!("is broken ({reason})"),
    }
}
