//! The same for system-management mode, where the device has it.

use harness::target::Run;
use harness::target::kvm::Kvm;
use spec_model::scenario::{Action, AddressSpace, HostEvent, MemoryRegion, PointId, PointKind, Scenario};
use spec_model::transcript::Stop;
use spec_model::x86::save_area::{KVM_32, KVM_64};
use spec_model::x86::segment::SegmentName;
use spec_model::x86::state::{RBX, RESET_SMBASE};

use crate::scenarios::{CODE, FRESH, REUSED, at, blob, done, open, real_mode, scenario, state, stops};

/// Where the SMI handler starts.
const HANDLER: u64 = RESET_SMBASE + 0x8000;

fn open_with_smm() -> Option<Kvm> {
    let kvm = open()?;
    if !kvm.identity().smm {
        eprintln!("not run: KVM_CAP_X86_SMM is 0");
    }
    kvm.identity().smm.then_some(kvm)
}

const SMI: Action = Action::Smi { vcpu: 0 };

/// Point 0 raises an SMI, point 1 is in the SMI handler, 2 in the NMI handler, 3 after all.
fn round_trip() -> Scenario {
    let ivt = blob(2 * 4, &[0x00, 0x20, 0x00, 0x00]);
    // out C0h, al; nop; out C3h, al; hlt
    let code = blob(CODE, &[0xe6, 0xc0, 0x90, 0xe6, 0xc3, 0xf4]);
    // out C2h, al; iret
    let nmi = blob(0x2000, &[0xe6, 0xc2, 0xcf]);
    // out C1h, al; rsm
    let smi = blob(HANDLER, &[0xe6, 0xc1, 0x0f, 0xaa]);
    let mut scenario = scenario(vec![ivt, code, nmi, smi], &[PointKind::Sync; 4]);
    scenario.events = vec![at(0, vec![SMI])];
    scenario
}

fn with(events: Vec<HostEvent>) -> Scenario {
    let mut scenario = round_trip();
    scenario.events.extend(events);
    scenario
}

fn sync(points: &[u16]) -> Vec<Stop> {
    let syncs = points.iter().map(|point| Stop::Sync(PointId(*point)));
    syncs.chain([Stop::Halted(None)]).collect()
}

#[test]
fn an_smi_saves_the_state_and_rsm_restores_it() {
    let Some(mut kvm) = open_with_smm() else { return };
    for (long_mode, layout) in [(true, &KVM_64), (false, &KVM_32)] {
        let mut scenario = round_trip();
        scenario.cpuid.long_mode = long_mode;
        let transcript = done(kvm.run_one(&scenario, REUSED));
        assert_eq!(stops(&transcript), sync(&[0, 1, 3]));
        let inside = state(&transcript, 1);
        assert!(inside.events.in_smm && inside.events.nmi_masked);
        assert_eq!(inside.segment(SegmentName::Cs).base, RESET_SMBASE);
        let area = transcript.observations[1]
            .save_area
            .as_deref()
            .expect("a save area");
        for (field, expected) in [
            ("rip", CODE + 2),
            ("revision-id", layout.revision.into()),
            ("rsp", 0x8000),
        ] {
            let row = layout.row(field).expect("a row");
            assert_eq!(row.read(area), expected, "{field} in {}", layout.name);
        }
        let mut after = state(&transcript, 2).clone();
        after.rip = CODE + 2;
        assert_eq!(&after, state(&transcript, 0));
        assert_eq!(transcript.observations[2].save_area, None);
    }
}

#[test]
fn an_nmi_in_smm_waits_for_rsm() {
    let Some(mut kvm) = open_with_smm() else { return };
    let transcript = done(kvm.run_one(&with(vec![at(1, vec![Action::Nmi { vcpu: 0 }])]), REUSED));
    assert_eq!(stops(&transcript), sync(&[0, 1, 2, 3]));
    assert!(!state(&transcript, 2).events.in_smm);
    assert_eq!(transcript.observations[2].stack[0], CODE + 2);
}

#[test]
fn an_smi_wakes_a_halted_processor() {
    let Some(mut kvm) = open_with_smm() else { return };
    // hlt; out C1h, al; hlt
    let code = blob(CODE, &[0xf4, 0xe6, 0xc1, 0xf4]);
    let handler = blob(HANDLER, &[0x0f, 0xaa]);
    let points = [PointKind::Halt { resume: CODE + 1 }, PointKind::Sync];
    let mut scenario = scenario(vec![code, handler], &points);
    scenario.events = vec![HostEvent {
        occurrence: Some(1),
        ..at(0, vec![SMI])
    }];
    let transcript = done(kvm.run_one(&scenario, REUSED));
    // Where it goes on is a matter of auto-HALT restart; that it went on is what counts.
    assert!(transcript.observations.len() > 1);
}

#[test]
fn the_host_changes_the_save_area() {
    let Some(mut kvm) = open_with_smm() else { return };
    let write = |field: &str, value| Action::WriteSaveArea {
        vcpu: 0,
        field: field.to_owned(),
        value,
    };
    let scenario = with(vec![at(1, vec![write("rbx", 0x1234), write("smbase", 0x4_0000)])]);
    let transcript = done(kvm.run_one(&scenario, REUSED));
    assert_eq!(state(&transcript, 2).general[RBX], 0x1234);
    assert_eq!(state(&transcript, 2).smbase, 0x4_0000);
    let unknown = with(vec![at(1, vec![write("rbxx", 1)])]);
    assert!(matches!(kvm.run_one(&unknown, REUSED), Run::Broken(_)));
}

#[test]
fn memory_of_smm_is_apart() {
    let Some(mut kvm) = open_with_smm() else { return };
    let mut scenario = round_trip();
    scenario.memory[0].size = RESET_SMBASE;
    let handler = scenario.memory[0].contents.pop().expect("the handler");
    scenario.memory.push(MemoryRegion {
        address: RESET_SMBASE,
        size: 0x1_0000,
        space: AddressSpace::Smm,
        contents: vec![handler],
    });
    let transcript = done(kvm.run_one(&scenario, REUSED));
    assert_eq!(stops(&transcript), sync(&[0, 1, 3]));
    assert_eq!(transcript.memory_changes, []);
    assert!(!transcript.smm_memory_changes.is_empty());
}

/// The SMI finds no memory for its save area, and KVM gives the machine up.
fn no_save_area() -> Scenario {
    let mut scenario = round_trip();
    scenario.memory[0].space = AddressSpace::Normal;
    scenario
}

/// Processor 1 halts for good, then gets an SMI that it never takes.
fn smi_too_late() -> Scenario {
    let code = blob(CODE, &[0xe6, 0xc0, 0xf4]);
    let mut scenario = scenario(vec![code], &[PointKind::Sync]);
    scenario.vcpus.push(real_mode());
    scenario.schedule = vec![1, 1, 0];
    scenario.events = vec![HostEvent {
        by: Some(0),
        ..at(0, vec![Action::Smi { vcpu: 1 }])
    }];
    scenario
}

/// The run ends inside SMM, with an SMI and an NMI pending.
fn ends_in_smm() -> Scenario {
    let mut scenario = with(vec![at(1, vec![SMI, Action::Nmi { vcpu: 0 }])]);
    // out C1h, al; hlt
    scenario.memory[0].contents[3].bytes = vec![0xe6, 0xc1, 0xf4];
    scenario
}

#[test]
fn a_reused_machine_and_a_new_one_give_the_same_transcripts() {
    let Some(mut kvm) = open_with_smm() else { return };
    let scenarios = [
        round_trip(),
        ends_in_smm(),
        round_trip(),
        smi_too_late(),
        smi_too_late(),
        no_save_area(),
        round_trip(),
        no_save_area(),
        ends_in_smm(),
    ];
    let mut all = |options| {
        scenarios
            .each_ref()
            .map(|scenario| done(kvm.run_one(scenario, options)))
    };
    let fresh = all(FRESH);
    let last = *stops(&fresh[5]).last().expect("a stop");
    assert!(
        matches!(last, Stop::RunFailed(_) | Stop::InternalError(_)),
        "{last:?}"
    );
    assert_eq!(all(REUSED), fresh);
    assert_eq!(all(REUSED), fresh);
}
