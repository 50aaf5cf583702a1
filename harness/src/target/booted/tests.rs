//! Real boots. The init program is this test program itself, which the kernel's command
//! line makes run [`as_init`] only; a fake stands in for KVM so that every way in which a
//! guest can die is at hand.
//!
//! They need QEMU and Debian's 6.12 (`conform provision debian:6.12`) and take seconds
//! each: `cargo test -p harness --lib booted -- --ignored --test-threads=1`.

use spec_model::scenario::{Cpuid, PointId};
use spec_model::transcript::{Observation, Stop, Transcript};
use spec_model::x86::state::VcpuState;

use super::agent::{Executor, init};
use super::*;
use crate::batch::item::{Item, Seen};
use crate::provision::{Cache, KernelName};
use crate::sequences::{Payload, Symbol};
use crate::target::{Backend, Processor};

struct Fake;

impl Executor for Fake {
    fn identity(&self) -> Identity {
        Identity {
            name: "fake".to_owned(),
            backend: Backend::Unknown,
            processor: Processor::Native,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap()
                .trim()
                .to_owned(),
            smm: std::path::Path::new("/dev/kvm").exists(),
        }
    }

    fn run_one(&mut self, scenario: &Scenario, _: RunOptions) -> Run {
        match scenario.name.as_str() {
            "panic" | "sequences/rsm" => {
                std::fs::write("/proc/sysrq-trigger", "c").unwrap();
            }
            "hang" | "sequences/smi" => std::thread::sleep(Duration::from_secs(3600)),
            "exit" => std::process::exit(0),
            "unwind" => panic!("on purpose"),
            "damage" => std::fs::write("/dev/ttyS1", "no frame at all").unwrap(),
            "warn" => std::fs::write("/dev/kmsg", "<4>WARNING: CPU: 0 PID: 1 at test\n").unwrap(),
            "large" => return Run::Broken(numbers()),
            "transcript" => return Run::Done(transcript()),
            _ => {}
        }
        Run::Broken(format!("fake {}", scenario.name))
    }
}

#[test]
fn as_init_without_kvm() {
    if std::process::id() == 1 {
        init(|| Err::<Fake, _>("there is no KVM"));
    }
}

/// A megabyte that does not compress to nothing.
fn numbers() -> String {
    let mut state = 1_u32;
    let mut text = String::new();
    while text.len() < 1 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!("{state:x} ");
    }
    text
}

/// As large as real ones: eight stops in SMM.
fn transcript() -> Transcript {
    let observations = (0..8_u16).map(|point| {
        let state = VcpuState {
            general: std::array::from_fn(|index| 0x0123_4567_89ab_cdef_u64.rotate_left(index as u32 * 7)),
            rip: 0x8000 + u64::from(point),
            ..VcpuState::default()
        };
        let state = Some(Box::new(state));
        let save_area = Some(
            (0..512_u32)
                .map(|at| if at % 16 < 6 { at as u8 } else { 0 })
                .collect(),
        );
        let stop = Stop::Sync(PointId(point));
        Observation {
            vcpu: 0,
            stop,
            state,
            stack: vec![1; 8],
            save_area,
            watches: Vec::new(),
            accesses: Vec::new(),
        }
    });
    Transcript {
        observations: observations.collect(),
        memory_changes: Vec::new(),
        smm_memory_changes: Vec::new(),
        stage2: None,
        state_faults: Vec::new(),
    }
}

#[test]
fn as_init() {
    if std::process::id() == 1 {
        init(|| Ok::<_, String>(Fake));
    }
}

fn scenario(name: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        cpuid: Cpuid {
            long_mode: true,
            ..Cpuid::default()
        },
        ..Scenario::default()
    }
}

fn config(kernel: &str, logs: &tempfile::TempDir) -> BootedConfig {
    let cache = Cache::open(None).unwrap();
    let name: KernelName = kernel.parse().unwrap();
    let kernel = cache.kernel(&name).unwrap();
    let executable = std::env::current_exe().unwrap();
    let logs = logs.path().to_owned();
    let mut config = BootedConfig::new(
        format!("svm@{name}"),
        cache.qemu().unwrap(),
        kernel,
        executable,
        logs,
    );
    config.arguments = ["--exact", "target::booted::tests::as_init", "--nocapture"]
        .map(str::to_owned)
        .to_vec();
    config
}

/// Runs and checks that every scenario got exactly one result.
fn run(booted: &mut Booted, names: &[&str]) -> Vec<String> {
    let scenarios: Vec<Scenario> = names.iter().map(|name| scenario(name)).collect();
    let mut results = vec![None; names.len()];
    booted.run(&scenarios, RunOptions::default(), &mut |index, run| {
        let text = match run {
            Run::Broken(text) => text,
            Run::Done(transcript) if transcript == self::transcript() => "transcript".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(results[index].replace(text), None, "second result for {index}");
    });
    results
        .into_iter()
        .map(|result| result.expect("no result"))
        .collect()
}

#[test]
#[ignore = "boots a kernel"]
fn results_come_back_and_the_target_knows_what_it_is() {
    let logs = tempfile::tempdir().unwrap();
    let mut booted = Booted::new(config("debian:6.12", &logs));
    assert_eq!(booted.identity(), None);
    assert_eq!(run(&mut booted, &["a", "b", "c"]), ["fake a", "fake b", "fake c"]);
    let identity = booted.identity().unwrap();
    assert_eq!(identity.name, "svm@debian:6.12");
    assert!(identity.kernel.starts_with("6.12."), "{identity:?}");
    assert!(identity.smm, "kvm-amd did not load: there is no /dev/kvm");
    println!("boot took {:?}", booted.boot_time());
    assert_eq!(booted.alarms(), &[] as &[String]);
    assert_eq!(
        std::fs::read_dir(logs.path()).unwrap().count(),
        0,
        "a good run leaves no log"
    );
}

#[test]
#[ignore = "boots a kernel"]
fn a_guest_without_kvm_says_so_and_is_not_tried_again() {
    let logs = tempfile::tempdir().unwrap();
    let mut config = config("debian:6.12", &logs);
    config.arguments[1] += "_without_kvm";
    let mut booted = Booted::new(config);
    let error = booted.identify().unwrap_err().to_string();
    assert!(error.contains("there is no KVM"), "{error}");
    for result in run(&mut booted, &["a", "b"]) {
        assert!(result.contains("there is no KVM"), "{result}");
    }
}

#[test]
#[ignore = "boots a kernel"]
fn a_warning_of_the_kernel_is_not_lost_in_a_good_run() {
    let logs = tempfile::tempdir().unwrap();
    let mut booted = Booted::new(config("debian:6.12", &logs));
    assert_eq!(run(&mut booted, &["a", "warn"]), ["fake a", "fake warn"]);
    assert!(
        matches!(booted.alarms(), [alarm] if alarm.contains("PID: 1 at test")),
        "{:?}",
        booted.alarms()
    );
}

#[test]
#[ignore = "boots a kernel"]
fn whatever_kills_the_guest_breaks_one_scenario_only() {
    let logs = tempfile::tempdir().unwrap();
    let mut config = config("debian:6.12", &logs);
    config.patience = Duration::from_secs(5);
    let names = [
        "a", "panic", "b", "hang", "exit", "unwind", "damage", "large", "c",
    ];
    let results = run(&mut Booted::new(config), &names);
    for (name, wanted) in [
        ("a", "fake a"),
        ("panic", "sysrq"),
        ("b", "fake b"),
        ("hang", "said nothing for 5 s"),
        ("exit", "Kernel panic - not syncing: Attempted to kill init"),
        ("unwind", "panicked: on purpose"),
        ("damage", "damaged frame"),
        ("c", "fake c"),
    ] {
        let index = names.iter().position(|candidate| *candidate == name).unwrap();
        assert!(results[index].contains(wanted), "{name}: {}", results[index]);
    }
    assert_eq!(results[7], numbers());
    assert_eq!(
        std::fs::read_dir(logs.path()).unwrap().count(),
        4,
        "one log per lost guest"
    );
}

/// The first boot is lost somewhere among its sequences, since results travel together; from
/// then on each is announced, and the one that does it is known.
#[test]
#[ignore = "boots a kernel"]
fn a_lost_boot_breaks_one_sequence_only() {
    let logs = tempfile::tempdir().unwrap();
    let mut config = config("debian:6.12", &logs);
    config.patience = Duration::from_secs(5);
    let symbols = [Symbol::Nmi, Symbol::Rsm, Symbol::Iret, Symbol::Smi, Symbol::Int3];
    let items: Vec<Item<Vec<Symbol>>> = (10..)
        .zip(symbols)
        .map(|(number, symbol)| Item {
            number,
            row: vec![symbol],
            known: Vec::new(),
        })
        .collect();
    let (mut results, mut boots) = (std::collections::BTreeMap::new(), 0);
    let mut sink = |number, seen| {
        let Seen::Other(run) = seen else {
            panic!("{seen:?}");
        };
        let Run::Broken(text) = *run else {
            panic!("{run:?}");
        };
        assert_eq!(results.insert(number, text), None, "second result for {number}");
    };
    Booted::new(config).run_items::<Payload>(&items, RunOptions::default(), &mut sink, &mut || boots += 1);
    let wanted = [
        "fake sequences/nmi",
        "sysrq",
        "fake sequences/iret",
        "said nothing for 5 s",
        "fake sequences/int3",
    ];
    assert_eq!(results.len(), wanted.len());
    for (result, wanted) in results.values().zip(wanted) {
        assert!(result.contains(wanted), "{wanted}: {result}");
    }
    // Lost and not known where, lost in RSM, lost in SMI, to the end.
    assert_eq!(boots, 4);
}

#[test]
#[ignore = "boots a kernel"]
fn a_stop_ends_the_emulator_and_leaves_the_rest_without_results() {
    let logs = tempfile::tempdir().unwrap();
    let config = config("debian:6.12", &logs);
    let stop = Arc::clone(&config.stop);
    let mut booted = Booted::new(config);
    let (mut results, mut stopped) = (Vec::new(), None);
    let scenarios = ["a", "hang", "b"].map(scenario);
    booted.run(&scenarios, RunOptions::default(), &mut |index, _| {
        results.push(index);
        stop.store(true, Ordering::Relaxed);
        stopped = Some(Instant::now());
    });
    assert_eq!(results, [0]);
    assert!(stopped.unwrap().elapsed() < Duration::from_secs(5), "it waited");
}

#[test]
#[ignore = "boots a kernel"]
fn a_kernel_that_never_boots_is_given_up() {
    let logs = tempfile::tempdir().unwrap();
    let mut config = config("debian:6.12", &logs);
    config.boot_patience = Duration::from_millis(100);
    let results = run(&mut Booted::new(config), &["a", "b"]);
    for result in results {
        assert!(result.contains("given up after 3 boots"), "{result}");
    }
}

#[test]
#[ignore = "boots kernels"]
fn boot_times() {
    for kernel in [
        "debian:5.10",
        "debian:6.1",
        "debian:6.12",
        "debian:6.18",
        "debian:7.2",
    ] {
        let logs = tempfile::tempdir().unwrap();
        let mut booted = Booted::new(config(kernel, &logs));
        let identity = booted.identify().unwrap().clone();
        println!("{kernel}: {:?} {identity:?}", booted.boot_time().unwrap());
        let start = Instant::now();
        run(&mut booted, &["transcript"; 300]);
        let sending = start.elapsed().saturating_sub(booted.boot_time().unwrap());
        println!("  300 transcripts: {sending:?}");
    }
}
