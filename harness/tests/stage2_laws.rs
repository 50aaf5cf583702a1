//! Laws that hold for every scenario about stage-2 mappings, on random ones: over the model, and over
//! the local `/dev/kvm` if it can be used. The numbers I1 to I10 are those of cases/README.md.

use std::path::Path;
use std::time::Instant;

use harness::cli::suite::Suite;
use harness::deviation::Applicable;
use harness::judge::case::profile;
use harness::target::kvm::Kvm;
use harness::target::{Mode, Run, RunOptions};
use proptest::prelude::*;
use spec_model::defect::DefectSet;
use spec_model::profile::{KVM_SVM, Profile};
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;
use spec_model::stage2::scenario::{GuestStep, HostStep, Operation, PAGE_SIZE, SlotRequest, Stage2, Step};
use spec_model::stage2::trace::trace;
use spec_model::stage2::transcript::{End, Stage2Seen};

const OPTIONS: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: false,
    mode: Mode::Normal,
};
/// Steps of a trace.
const STEPS: usize = 8;
/// Traces over the local device.
const LOCAL: u64 = 4000;

fn scenario(stage2: &Stage2) -> Scenario {
    Scenario {
        name: "random".to_owned(),
        stage2: Some(Box::new(stage2.clone())),
        ..Scenario::default()
    }
}

fn model(stage2: &Stage2, profile: &'static Profile, defects: DefectSet) -> Stage2Seen {
    let outcomes = outcomes(&scenario(stage2), profile, defects).expect("the model runs every trace");
    assert_eq!(outcomes.len(), 1, "nothing in a trace is open");
    *outcomes[0]
        .transcript
        .stage2
        .clone()
        .expect("it is about stage-2 mappings")
}

fn run_pure(stage2: &Stage2) -> Stage2Seen {
    model(stage2, &KVM_SVM, DefectSet::NONE)
}

/// The same with only the steps of the guest, and slots as `change` makes them.
fn guest_only(stage2: &Stage2, change: impl Fn(&mut SlotRequest)) -> Stage2 {
    let mut only = stage2.clone();
    only.steps.retain(|step| matches!(step, Step::Guest(_)));
    only.slots.iter_mut().for_each(change);
    only
}

fn written_pages(stage2: &Stage2) -> Vec<u64> {
    let of_step = |step: &Step| match step {
        Step::Guest(GuestStep {
            operation: Operation::Write { at, size, .. } | Operation::Add { at, size, .. },
            ..
        }) => {
            vec![at.page, at.plus(u64::from(*size) - 1).page]
        }
        _ => Vec::new(),
    };
    stage2.steps.iter().flat_map(of_step).collect()
}

/// All laws that one trace can show.
fn check_laws(seed: u64, run: &mut dyn FnMut(&Stage2) -> Stage2Seen) -> Result<(), TestCaseError> {
    let whole = trace(seed, STEPS);
    let seen = run(&whole);
    // I6: every step comes to an end, and the run to its last step.
    prop_assert_eq!(seen.steps.len(), whole.steps.len());
    // I1: if all slots are read-only, the guest changes nothing at all.
    let read_only = run(&guest_only(&whole, |slot| slot.read_only = true));
    prop_assert!(read_only.changes.is_empty(), "I1: {:?}", read_only.changes);
    prop_assert_eq!(read_only.canary, 0, "I1");
    prop_assert_eq!(seen.canary, 0, "I1");
    // I2: memory that is under no slot stays as it is.
    let one_backing = run(&guest_only(&whole, |slot| slot.backing = 1));
    prop_assert!(one_backing.changes.iter().all(|change| change.backing == 1), "I2");
    check_logged(&whole, run)?;
    check_exits(&whole, &seen)?;
    check_metamorphic(&whole, &seen, run)
}

/// I3, I4 and I5: slots over one backing that are written show what was written last through any of them,
/// and the dirty logs have every page that has changed and none that was not written.
fn check_logged(whole: &Stage2, run: &mut dyn FnMut(&Stage2) -> Stage2Seen) -> Result<(), TestCaseError> {
    let mut logged = guest_only(whole, |slot| {
        slot.backing = 0;
        slot.read_only = false;
        slot.log_dirty = true;
    });
    let guest_steps = logged.steps.len();
    let logs = logged.slots.iter().map(|slot| {
        Step::Host(HostStep::DirtyLog {
            id: slot.id,
            space: 0,
        })
    });
    logged.steps.extend(logs.collect::<Vec<Step>>());
    let seen = run(&logged);
    let mut dirty = Vec::new();
    for (slot, step) in logged.slots.iter().zip(&seen.steps[guest_steps..]) {
        let pages = step.dirty.as_ref().expect("every slot has a log");
        dirty.extend(
            pages
                .iter()
                .map(|page| (slot.page + page, slot.offset + *page as u32)),
        );
    }
    for change in seen.changes.iter().filter(|change| !change.file) {
        let marked = dirty.iter().any(|(_, page)| *page == change.page);
        prop_assert!(marked, "I4: {change:?} is in no dirty log");
    }
    // A read may mark a page where a known deviation says so; this is about what can never be written.
    let touched = accessed_pages(&logged);
    prop_assert!(
        dirty.iter().all(|(page, _)| touched.contains(page)),
        "I5: {dirty:?}"
    );
    check_last_write(&logged, &seen)
}

fn accessed_pages(stage2: &Stage2) -> Vec<u64> {
    let of_step = |step: &Step| match step {
        Step::Guest(GuestStep {
            operation: Operation::Read { at, size },
            ..
        }) => {
            vec![at.page, at.plus(u64::from(*size) - 1).page]
        }
        _ => Vec::new(),
    };
    let read = stage2.steps.iter().flat_map(of_step);
    read.chain(written_pages(stage2)).collect()
}

/// I3, with a plain array in place of the memory.
fn check_last_write(stage2: &Stage2, seen: &Stage2Seen) -> Result<(), TestCaseError> {
    let backing = &stage2.backings[0];
    let mut memory: Vec<u8> = (0..backing.pages)
        .flat_map(|page| vec![backing.fill.byte(page); PAGE_SIZE as usize])
        .collect();
    let place = |address: u64| {
        let page = address / PAGE_SIZE;
        let slot = stage2
            .slots
            .iter()
            .find(|slot| (slot.page..slot.page + slot.pages).contains(&page))?;
        Some(((page - slot.page) * PAGE_SIZE + address % PAGE_SIZE) as usize)
    };
    for (step, seen) in stage2.steps.iter().zip(&seen.steps) {
        let Step::Guest(step) = step else { continue };
        let (at, size) = match step.operation {
            Operation::Read { at, size }
            | Operation::Write { at, size, .. }
            | Operation::Add { at, size, .. } => (at.bytes(), u64::from(size)),
            _ => continue,
        };
        let places: Option<Vec<usize>> = (at..at + size).map(place).collect();
        let old = places.as_ref().map(|places| {
            places
                .iter()
                .rev()
                .fold(0_u64, |value, place| value << 8 | u64::from(memory[*place]))
        });
        if let (Some(old), Some(value)) = (old, seen.value) {
            prop_assert_eq!(value, old, "I3: {:?}", step);
        }
        let new = match (step.operation, old, seen.value) {
            (Operation::Write { value, .. }, ..) => value,
            (Operation::Add { value, .. }, Some(old), _) => old.wrapping_add(value),
            _ => continue,
        };
        for (byte, address) in new.to_le_bytes().into_iter().zip(at..at + size) {
            if let Some(place) = place(address) {
                memory[place] = byte;
            }
        }
    }
    Ok(())
}

/// I7: what reaches the host is what the guest accessed, no byte more, in order.
fn check_exits(stage2: &Stage2, seen: &Stage2Seen) -> Result<(), TestCaseError> {
    for (step, seen) in stage2.steps.iter().zip(&seen.steps) {
        let Step::Guest(GuestStep {
            operation: Operation::Write { at, size, value },
            ..
        }) = step
        else {
            continue;
        };
        let mut next = at.bytes();
        for exit in &seen.exits {
            prop_assert!(exit.write, "I7");
            let first = exit.at.bytes();
            prop_assert!(
                first >= next && first + u64::from(exit.length) <= at.bytes() + u64::from(*size),
                "I7"
            );
            let part = value >> ((first - at.bytes()) * 8) & (u64::MAX >> (64 - u32::from(exit.length) * 8));
            prop_assert_eq!(exit.data, part, "I7");
            next = first + u64::from(exit.length);
        }
    }
    Ok(())
}

/// Changes of a trace that must change nothing else.
fn check_metamorphic(
    whole: &Stage2,
    seen: &Stage2Seen,
    run: &mut dyn FnMut(&Stage2) -> Stage2Seen,
) -> Result<(), TestCaseError> {
    // Dirty logs are left out: a read may mark a page where a known deviation says so.
    let facts = |seen: &Stage2Seen, every: usize, first: usize| {
        let steps = seen.steps.iter().skip(first).step_by(every).cloned();
        let steps = steps.map(|mut step| {
            step.dirty = None;
            step
        });
        (steps.collect::<Vec<_>>(), seen.changes.clone(), seen.canary)
    };
    let expected = facts(seen, 1, 0);
    // I8: a read of every page beforehand.
    let mut with_reads = whole.clone();
    let pages = whole
        .slots
        .iter()
        .flat_map(|slot| slot.page..slot.page + slot.pages);
    let reads: Vec<Step> = pages.map(read_of).collect();
    with_reads.steps.splice(0..0, reads.iter().cloned());
    prop_assert_eq!(&facts(&run(&with_reads), 1, reads.len()), &expected, "I8");
    // I9: huge pages.
    let mut huge = whole.clone();
    huge.backings
        .iter_mut()
        .for_each(|backing| backing.huge = backing.fill == spec_model::stage2::scenario::Fill::Untouched);
    prop_assert_eq!(&facts(&run(&huge), 1, 0), &expected, "I9");
    // I10: the first slot goes and comes back.
    let mut again = whole.clone();
    if let Some(slot) = whole.slots.first() {
        let gone = SlotRequest { pages: 0, ..*slot };
        again.steps.splice(
            0..0,
            [gone, *slot].map(|slot| Step::Host(HostStep::SetSlot(slot))),
        );
        prop_assert_eq!(&facts(&run(&again), 1, 2), &expected, "I10");
    }
    Ok(())
}

fn read_of(page: u64) -> Step {
    Step::Guest(GuestStep {
        operation: Operation::Read {
            at: spec_model::stage2::scenario::GuestAddress { page, offset: 0 },
            size: 4,
        },
        answer: u64::MAX,
        at_exit: Vec::new(),
        meanwhile: Vec::new(),
        interrupted: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_in_the_model(seed in any::<u64>()) {
        check_laws(seed, &mut run_pure)?;
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..100 {
        assert_eq!(trace(seed, STEPS), trace(seed, STEPS));
    }
    assert_ne!(trace(1, STEPS), trace(2, STEPS));
}

/// Random traces, judged against the model with the deviations that are known of this device.
#[test]
fn traces_on_the_local_device_are_as_the_model_says() {
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => return println!("not run: {error}"),
    };
    let identity = kvm.identity().clone();
    let Some(profile) = profile(identity.backend) else {
        return println!("not run: no profile for {:?}", identity.backend);
    };
    let suite = Suite::load_folders(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases")]);
    let suite = suite.unwrap_or_else(|error| panic!("{error}"));
    let known = Applicable::to(&suite.deviations, &identity, Mode::Normal).certain;
    let defects: DefectSet = known
        .iter()
        .flat_map(|deviation| deviation.defects.iter().copied())
        .collect();
    let traces: Vec<Stage2> = (0..LOCAL).map(|seed| trace(seed, STEPS)).collect();
    let start = Instant::now();
    let runs: Vec<Stage2Seen> = traces.iter().map(|trace| run_local(&mut kvm, trace)).collect();
    let rate = LOCAL as f64 / start.elapsed().as_secs_f64();
    println!(
        "{rate:.0} traces of {STEPS} steps per second on {}",
        identity.name
    );
    for (seed, (trace, seen)) in traces.iter().zip(&runs).enumerate() {
        assert_eq!(&model(trace, profile, defects), seen, "seed {seed}: {trace:?}");
    }
}

#[test]
fn laws_hold_on_the_local_device() {
    let mut kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => return println!("not run: {error}"),
    };
    for seed in 0..LOCAL / 20 {
        check_laws(seed, &mut |stage2| run_local(&mut kvm, stage2))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

fn run_local(kvm: &mut Kvm, stage2: &Stage2) -> Stage2Seen {
    match kvm.run_one(&scenario(stage2), OPTIONS) {
        Run::Done(transcript) => {
            let seen = *transcript.stage2.expect("it is about stage-2 mappings");
            assert!(seen.steps.iter().all(|step| step.end != End::Stuck), "I6");
            seen
        }
        other => panic!("{other:?}"),
    }
}
