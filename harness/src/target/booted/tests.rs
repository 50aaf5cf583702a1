//! Real boots. The init program is this test program itself, which the kernel's command
//! line makes run [`as_init`] only; a fake stands in for KVM so that every way in which a
//! guest can die is at hand.
//!
//! They need QEMU and Debian's 6.12 (`conform provision debian:6.12`) and take seconds
//! each: `cargo test -p harness --lib booted -- --ignored --test-threads=1`.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use spec_model::scenario::{Cpuid, PointId};
use spec_model::transcript::{Observation, Stop, Transcript};
use spec_model::x86::state::VcpuState;

use super::agent::{Executor, init};
use super::*;
use crate::batch::item::{Item, Seen};
use crate::provision::{Cache, KernelName};
use crate::sequences::{Payload, Symbol};
use crate::target::complaint::ComplaintKind;
use crate::target::event::{Again, HowDied};
use crate::target::kernel_log::Watched;
use crate::target::system::System;
use crate::target::{Backend, Death, LostBoot, Processor};

struct Fake;

/// Scenarios that ran in this boot.
static RAN: AtomicU32 = AtomicU32::new(0);
/// What happens when all of them have run.
static WARNS_AT_END: AtomicBool = AtomicBool::new(false);
static RESTARTS_AT_END: AtomicBool = AtomicBool::new(false);

impl Drop for Fake {
    fn drop(&mut self) {
        if WARNS_AT_END.load(Ordering::Relaxed) {
            warn("at the end");
        }
        if RESTARTS_AT_END.load(Ordering::Relaxed) {
            sysrq("b");
        }
    }
}

fn warn(what: &str) {
    std::fs::write("/dev/kmsg", format!("<4>WARNING: CPU: 0 PID: 1 {what}\n")).unwrap();
}

fn sysrq(letter: &str) {
    std::fs::write("/proc/sysrq-trigger", letter).unwrap();
}

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
            system: System::own(),
        }
    }

    fn run_one(&mut self, scenario: &Scenario, _: RunOptions) -> Run {
        let before = RAN.fetch_add(1, Ordering::Relaxed);
        match scenario.name.as_str() {
            "panic" | "sequences/rsm" => sysrq("c"),
            "panic in company" if before > 0 => sysrq("c"),
            "restart" => sysrq("b"),
            "hang" | "sequences/smi" => std::thread::sleep(Duration::from_secs(3600)),
            "exit" => std::process::exit(0),
            "unwind" => panic!("on purpose"),
            "damage" => std::fs::write("/dev/ttyS1", "no frame at all").unwrap(),
            "warn" | "sequences/iret" => warn("at test"),
            "warn at end" => WARNS_AT_END.store(true, Ordering::Relaxed),
            "restart at end" => RESTARTS_AT_END.store(true, Ordering::Relaxed),
            "large" => return Run::Broken(numbers()),
            "transcript" => return Run::Done(transcript_of_fake()),
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
fn transcript_of_fake() -> Transcript {
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
        remains: Vec::new(),
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

/// What a run told.
#[derive(Default)]
struct Told {
    ran: Vec<Option<Ran>>,
    complaints: Vec<Complaint>,
    lost: Vec<LostBoot>,
    unusable: Option<String>,
}

impl Told {
    fn of(booted: &mut Booted, names: &[&str]) -> Self {
        let scenarios: Vec<Scenario> = names.iter().map(|name| scenario(name)).collect();
        let mut told = Self {
            ran: vec![None; names.len()],
            ..Self::default()
        };
        let mut identified = false;
        booted.run(&scenarios, RunOptions::default(), &mut |event| match event {
            Event::Identified(_) => identified = true,
            Event::Ran(index, ran) => {
                assert!(identified, "a result came first");
                assert_eq!(told.ran[index].replace(ran), None, "second result for {index}");
            }
            Event::Complained(complaints) => told.complaints.extend(complaints),
            Event::BootLost(lost) => told.lost.push(lost),
            Event::Note(note) => panic!("{note}"),
            Event::Unusable(reason) => told.unusable = Some(reason),
        });
        told
    }

    fn ran(&self, index: usize) -> &Ran {
        self.ran[index].as_ref().expect("no result")
    }

    /// Every scenario got a result; in words.
    fn texts(&self) -> Vec<String> {
        assert_eq!(self.unusable, None);
        let text = |index| match &self.ran(index).run {
            Run::Broken(text) => text.clone(),
            Run::Done(transcript) if *transcript == transcript_of_fake() => "transcript".to_owned(),
            Run::Died(death) => format!("{:?} {:?}\n{}", death.how, death.again, death.console),
            other => panic!("{other:?}"),
        };
        (0..self.ran.len()).map(text).collect()
    }
}

/// Runs and checks that every scenario got exactly one result.
fn run(booted: &mut Booted, names: &[&str]) -> Vec<String> {
    Told::of(booted, names).texts()
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
    assert_eq!(identity.system.complaints, Watched::Every);
    let module = |name: &str| identity.system.modules.iter().find(|module| module.name == name);
    let (kvm, amd) = (module("kvm").unwrap(), module("kvm_amd").unwrap());
    assert!(kvm.build_id.is_some() && amd.build_id.is_some(), "{identity:?}");
    assert!(amd.parameters.contains_key("npt"), "{identity:?}");
    assert!(identity.system.emulator.as_ref().unwrap().starts_with("QEMU "));
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
    let error = booted.probe().unwrap_err().to_string();
    assert!(error.contains("there is no KVM"), "{error}");
    let told = Told::of(&mut booted, &["a", "b"]);
    assert!(told.unusable.unwrap().contains("there is no KVM"));
    assert_eq!(told.ran, [None, None]);
}

#[test]
#[ignore = "boots a kernel"]
fn a_complaint_of_the_kernel_belongs_to_the_scenario_that_it_came_in() {
    let logs = tempfile::tempdir().unwrap();
    let mut booted = Booted::new(config("debian:6.12", &logs));
    let told = Told::of(&mut booted, &["a", "warn", "b", "warn", "warn at end"]);
    let counts: Vec<usize> = (0..5).map(|index| told.ran(index).complaints.len()).collect();
    assert_eq!(counts, [0, 1, 0, 1, 0]);
    let complaint = &told.ran(1).complaints[0];
    assert_eq!(complaint.kind, ComplaintKind::Warning);
    assert!(complaint.headline.ends_with("PID: 1 at test"), "{complaint:?}");
    assert!(
        matches!(&told.complaints[..], [end] if end.headline.ends_with("at the end")),
        "{:?}",
        told.complaints
    );
    assert_eq!(told.lost, []);
}

#[test]
#[ignore = "boots kernels"]
fn a_kernel_that_dies_of_a_scenario_is_asked_once_more() {
    let logs = tempfile::tempdir().unwrap();
    let mut booted = Booted::new(config("debian:6.12", &logs));
    let names = ["a", "panic in company", "panic", "restart", "b"];
    let told = Told::of(&mut booted, &names);
    let death = |index: usize| match &told.ran(index).run {
        Run::Died(Death { how, again, .. }) => (*how, *again),
        other => panic!("{other:?}"),
    };
    assert_eq!(death(1), (HowDied::Panicked, Again::Survived));
    assert_eq!(death(2), (HowDied::Panicked, Again::Died));
    assert_eq!(told.ran(2).complaints[0].kind, ComplaintKind::Panic);
    assert_eq!(death(3), (HowDied::Restarted, Again::Died));
    assert_eq!(told.ran(3).complaints[0].kind, ComplaintKind::Restart);
    let during: Vec<Option<u32>> = told.lost.iter().map(|lost| lost.during).collect();
    assert_eq!(during, [1, 2, 2, 3, 3].map(Some));
}

#[test]
#[ignore = "boots a kernel"]
fn a_boot_that_is_lost_when_all_have_run_is_told() {
    let logs = tempfile::tempdir().unwrap();
    let mut booted = Booted::new(config("debian:6.12", &logs));
    let told = Told::of(&mut booted, &["a", "restart at end"]);
    assert_eq!(told.texts(), ["fake a", "fake restart at end"]);
    assert!(
        matches!(&told.lost[..], [LostBoot { during: None, .. }]),
        "{:?}",
        told.lost
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
        ("panic", "Panicked Died"),
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
        5,
        "one log per lost guest, and two for the kernel that died twice"
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
    let (mut results, mut boots, mut lost) = (std::collections::BTreeMap::new(), 0, Vec::new());
    let mut sink = |report| match report {
        Report::Identified(_) => boots += 1,
        Report::Ran(number, Seen::Other(run), complaints) => {
            let text = match *run {
                Run::Broken(text) => text,
                Run::Died(death) => format!("{:?} {:?}", death.how, death.again),
                run => panic!("{run:?}"),
            };
            let text = (text, complaints.len());
            assert_eq!(results.insert(number, text), None, "second result for {number}");
        }
        Report::BootLost(boot) => lost.push(boot.during),
        other => panic!("{other:?}"),
    };
    Booted::new(config).run_items::<Payload>(&items, RunOptions::default(), &mut sink);
    let wanted = [
        ("fake sequences/nmi", 0),
        ("Panicked Died", 1),
        ("fake sequences/iret", 1),
        ("said nothing for 5 s", 0),
        ("fake sequences/int3", 0),
    ];
    assert_eq!(results.len(), wanted.len());
    for ((result, complaints), (wanted, count)) in results.values().zip(wanted) {
        assert!(result.contains(wanted), "{wanted}: {result}");
        assert_eq!(*complaints, count, "{wanted}");
    }
    // Lost and not known where, lost in RSM, once more alone (which is not told), lost in SMI, to
    // the end.
    assert_eq!(boots, 4);
    assert_eq!(lost, [Some(11), Some(11), Some(11), Some(13)]);
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
    booted.run(&scenarios, RunOptions::default(), &mut |event| {
        // The result of the first one comes when the second one begins.
        if let Event::Ran(index, _) = event {
            results.push(index);
            stop.store(true, Ordering::Relaxed);
            stopped = Some(Instant::now());
        }
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
    let told = Told::of(&mut Booted::new(config), &["a", "b"]);
    assert!(told.unusable.unwrap().contains("given up after 3 boots"));
    assert_eq!(told.ran, [None, None]);
    assert_eq!(told.lost.len(), 3);
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
        let identity = booted.probe().unwrap().identity;
        println!("{kernel}: {:?} {identity:?}", booted.boot_time().unwrap());
        let start = Instant::now();
        run(&mut booted, &["transcript"; 300]);
        let sending = start.elapsed().saturating_sub(booted.boot_time().unwrap());
        println!("  300 transcripts: {sending:?}");
    }
}
