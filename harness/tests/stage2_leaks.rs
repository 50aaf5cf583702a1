//! After many scenarios about stage-2 mappings the process holds no more than after a few.
//! This test has a process to itself: others would open files while it counts.

use std::fs;

use harness::target::kvm::Kvm;
use harness::target::{Mode, Run, RunOptions};
use spec_model::scenario::{Observe, Scenario};
use spec_model::stage2::trace::trace;

const OPTIONS: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: false,
    mode: Mode::Normal,
    observe: Observe::Points,
};
/// Scenarios before the first count.
const FEW: u64 = 100;
/// Scenarios before the second one.
const MANY: u64 = 10_000;
/// Every so many scenarios one runs in a machine of its own.
const FRESH: u64 = 50;
/// Kilobytes of memory that an allocator may keep for itself: far less than one page for each scenario.
const SLACK: u64 = 4096;

#[derive(Debug)]
struct Held {
    descriptors: usize,
    mappings: usize,
    kilobytes: u64,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.trim().strip_suffix(" kB"));
    Held {
        descriptors: fs::read_dir("/proc/self/fd").expect("there is a /proc").count(),
        mappings: fs::read_to_string("/proc/self/maps")
            .expect("there is a /proc")
            .lines()
            .count(),
        kilobytes: resident
            .and_then(|number| number.trim().parse().ok())
            .expect("a number"),
    }
}

#[test]
fn scenarios_leave_nothing_behind() {
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => return println!("not run: {error}"),
    };
    let mut few = None;
    for seed in 0..MANY {
        if seed == FEW {
            few = Some(held());
        }
        let scenario = Scenario {
            stage2: Some(Box::new(trace(seed, 8))),
            ..Scenario::default()
        };
        let options = RunOptions {
            fresh_vm: seed % FRESH == 0,
            ..OPTIONS
        };
        let run = kvm.run_one(&scenario, options);
        assert!(matches!(run, Run::Done(_)), "seed {seed}: {run:?}");
    }
    let (few, many) = (few.expect("it ran that many"), held());
    println!("after {FEW}: {few:?}; after {MANY}: {many:?}");
    assert!(many.descriptors <= few.descriptors, "{few:?} {many:?}");
    assert!(many.mappings <= few.mappings, "{few:?} {many:?}");
    assert!(many.kilobytes <= few.kilobytes + SLACK, "{few:?} {many:?}");
}
