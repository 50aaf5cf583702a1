//! Every short sequence of events: on the model with its invariants, on the local device and on
//! provisioned kernels. Full length is for `conform sequences`.

mod command;

use harness::batch::digest::{Behaviour, fingerprint};
use harness::batch::expected::Allowed;
use harness::cli::session::cached_kernels;
use harness::provision::{Architecture, Cache};
use harness::sequences::alone::{self, Alone};
use harness::sequences::expected;
use harness::sequences::symbol::{Symbol, count, words};
use harness::sequences::{LONGEST, Payload};
use harness::target::kvm::Kvm;
use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::{AMD, INTEL, KVM_SVM, PROFILES, Profile};
use spec_model::run::outcomes;
use spec_model::scenario::Observe;

fn walk(profile: &'static Profile, defects: DefectSet, length: usize) -> Alone<'static> {
    let payload = Payload::new().unwrap();
    alone::walk(&payload, profile, defects, &Symbol::ALL, length, &mut |_| {}).unwrap()
}

#[test]
fn the_invariants_hold_on_the_model() {
    for profile in PROFILES.iter().filter(|profile| profile.smm) {
        let Alone { tally, broken } = walk(profile, DefectSet::NONE, 4);
        assert_eq!(broken, [], "{}", profile.name);
        assert_eq!(tally.judged(), count(8, 4));
        assert!(tally.is_complete());
        // Different sequences show the same, but by no means all of them do.
        assert!(
            (100..count(8, 4)).contains(&tally.behaviours()),
            "{}",
            tally.behaviours()
        );
    }
}

/// Each defect and the requirement that the first broken invariant cites.
const CAUGHT: [(Defect, &str); 11] = [
    (Defect::RsmClearsNmiMask, "NMI-SMM-002"),
    (Defect::RsmKeepsNmiMask, "NMI-SMM-005"),
    (Defect::SmiKeepsNmiMask, "SMM-ENTRY-011"),
    (Defect::IretKeepsNmiMask, "NMI-MASK-002"),
    (Defect::NmiDroppedWhileMasked, "NMI-MASK-005"),
    (Defect::NmiAtEntryOnly, "NMI-MASK-004"),
    (Defect::SmiDroppedInSmm, "SMM-LATCH-001"),
    (Defect::NmiBeforeSmi, "SMM-LATCH-002"),
    (Defect::MovSsShadowMissing, "NMI-MASK-007"),
    (Defect::RsmOutsideSmmIgnored, "SMM-RSM-001"),
    (Defect::RsmReloadsAttributes, "SMM-RSM-009"),
];

#[test]
fn a_defect_breaks_an_invariant() {
    for (defect, requirement) in CAUGHT {
        let Alone { broken, .. } = walk(&KVM_SVM, DefectSet::NONE.with(defect), 4);
        let cited: Vec<&str> = broken.iter().map(|(_, broken)| broken.requirement.id).collect();
        assert!(cited.contains(&requirement), "{defect}: {cited:?}");
    }
}

/// The walk with these defects gives what each sequence as a scenario of its own gives, whatever
/// the host looks at.
fn compare_walk_with_scenarios(
    profile: &'static Profile,
    defects: DefectSet,
    symbols: &[Symbol],
    length: usize,
) {
    for observe in Observe::ALL {
        compare_observed(observe, profile, defects, symbols, length);
    }
}

fn compare_observed(
    observe: Observe,
    profile: &'static Profile,
    defects: DefectSet,
    symbols: &[Symbol],
    length: usize,
) {
    let payload = Payload::new().unwrap().observed_at(observe);
    let walked = expected::outcomes(&payload, profile, defects, symbols, length).unwrap();
    let mut scenario = payload.template();
    for (sequence, walked) in walked {
        payload.set(&mut scenario, &sequence);
        let single = outcomes(&scenario, profile, defects).unwrap();
        let mut single: Vec<Allowed> = single
            .iter()
            .map(|outcome| Allowed {
                fingerprint: fingerprint(&outcome.transcript),
                behaviour: Behaviour::of(&outcome.transcript),
            })
            .collect();
        single.sort_unstable();
        single.dedup();
        assert_eq!(walked, single, "{}: {}", profile.name, words(&sequence));
    }
}

#[test]
fn a_walk_gives_what_single_scenarios_give() {
    let deviating = DefectSet::NONE
        .with(Defect::ShadowLostAcrossSmm)
        .with(Defect::PendingNmisReportedAsOne);
    for defects in [DefectSet::NONE, deviating] {
        compare_walk_with_scenarios(&KVM_SVM, defects, &Symbol::ALL, 3);
    }
}

/// Long enough for a choice to be met twice, as in `NMI SMI RSM SMI RSM`.
#[test]
fn what_is_settled_for_good_stays_settled_along_a_walk() {
    for profile in [&INTEL, &AMD] {
        compare_walk_with_scenarios(
            profile,
            DefectSet::NONE,
            &[Symbol::Nmi, Symbol::Smi, Symbol::Rsm],
            5,
        );
        compare_walk_with_scenarios(
            profile,
            DefectSet::NONE,
            &[Symbol::Sti, Symbol::MovSs, Symbol::Iret],
            4,
        );
    }
}

fn conform(arguments: &[&str]) -> (Option<i32>, String) {
    command::conform("sequences", arguments)
}

#[test]
fn short_sequences_conform_on_the_local_device() {
    if let Err(error) = Kvm::open() {
        eprintln!("not run: {error}");
        return;
    }
    for observe in Observe::ALL {
        let (status, text) = conform(&["kvm", "--length", "3", "--observe", observe.name()]);
        assert_eq!(status, Some(0), "{}: {text}", observe.name());
    }
}

/// A run of which only the ends are observed can still fail.
#[test]
fn a_model_with_a_defect_is_told_at_the_ends() {
    if let Err(error) = Kvm::open() {
        eprintln!("not run: {error}");
        return;
    }
    let (status, text) = conform(&[
        "kvm",
        "--length",
        "2",
        "--observe",
        "ends",
        "--defect",
        "iret-keeps-nmi-mask",
    ]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("\nobserve: ends"), "{text}");
}

/// The comparison of a KVM with the model is worth nothing if it cannot fail.
#[test]
fn a_model_with_a_defect_is_told_from_the_local_device() {
    if let Err(error) = Kvm::open() {
        eprintln!("not run: {error}");
        return;
    }
    let (status, text) = conform(&["kvm", "--length", "2", "--defect", "iret-keeps-nmi-mask"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("DEVIATES     sequences/nmi-iret on kvm"), "{text}");
    assert!(text.contains("# sequences/nmi-iret as a case file:"), "{text}");
}

#[test]
fn short_sequences_conform_on_provisioned_kernels() {
    let cache = Cache::open(None).unwrap();
    if cache.qemu().is_err() {
        eprintln!("not run: there is no QEMU");
        return;
    }
    for kernel in cached_kernels(&cache, Architecture::X86) {
        for observe in Observe::ALL {
            let target = format!("svm@{kernel}");
            let (status, text) = conform(&[&target, "--length", "3", "--observe", observe.name()]);
            assert_eq!(status, Some(0), "{kernel}, {}: {text}", observe.name());
        }
    }
}

#[test]
fn a_sequence_prints_as_a_case_file_that_runs() {
    let (status, text) = conform(&["--print", "movss,nmi,smi,rsm,iret"]);
    assert_eq!(status, Some(0), "{text}");
    command::runs_on_the_model(&text);
}

#[test]
fn wrong_commands_say_what_is_possible() {
    for (arguments, wanted) in [
        (vec!["model", "--length", "0"], format!("1 to {LONGEST}")),
        (vec!["model", "--length", "8"], format!("1 to {LONGEST}")),
        (vec!["model", "--symbols", "nmi,init"], "MOVSS".to_owned()),
        (vec!["--print", "reset"], "`reset`".to_owned()),
        (vec!["--print", ""], "1 to".to_owned()),
    ] {
        let (status, text) = conform(&arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(&wanted), "{text}");
    }
}
