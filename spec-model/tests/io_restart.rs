//! I/O instruction restart of a repeated string instruction.

mod support;

use spec_model::defect::DefectSet;
use spec_model::profile::{AMD, INTEL, KVM_SVM, Profile};
use spec_model::run::outcomes;
use spec_model::scenario::{Action, Scenario};
use spec_model::transcript::Transcript;
use spec_model::x86::save_area::Layout;
use spec_model::x86::state::{RCX, RDX, RSI, Shadow};
use support::{HLT, RSM, SMI_HANDLER, START, at, path, scenario, sync};

const REP_OUTSB: [u8; 2] = [0xf3, 0x6e];

/// `sync 0` (the host raises an SMI in an STI shadow); `rep outsb`; `sync 1`; `hlt`. The handler
/// is `sync 2` (the host asks for the restart, once); `rsm`.
fn interrupted_after_rep_outs(long_mode: bool) -> Scenario {
    let mut code = sync(0).to_vec();
    code.extend(REP_OUTSB);
    code.extend(sync(1));
    code.push(HLT);
    let mut handler = sync(2).to_vec();
    handler.extend(RSM);
    let raise = vec![
        Action::Shadow {
            vcpu: 0,
            shadow: Shadow::Sti,
        },
        Action::Smi { vcpu: 0 },
    ];
    let restart = vec![Action::WriteSaveArea {
        vcpu: 0,
        field: "io-restart".to_owned(),
        value: 0xff,
    }];
    let events = vec![at(0, raise), at(2, restart)];
    let mut scenario = scenario(&[(START, &code), (SMI_HANDLER, &handler)], 3, events);
    scenario.cpuid.long_mode = long_mode;
    let general = &mut scenario.vcpus[0].general;
    (general[RCX], general[RSI], general[RDX]) = (3, 0x2000, 0x80);
    scenario
}

/// The outcome with this path, which must be one of `count`.
fn taken(scenario: &Scenario, profile: &'static Profile, count: usize, wanted: &[&str]) -> Transcript {
    let all = outcomes(scenario, profile, DefectSet::NONE).expect("the model runs this");
    assert_eq!(all.len(), count, "{}", profile.name);
    let mut transcripts = all.into_iter().map(|outcome| outcome.transcript);
    transcripts
        .find(|transcript| path(transcript) == wanted)
        .unwrap_or_else(|| panic!("{} allows no {wanted:?}", profile.name))
}

#[test]
fn a_string_instruction_starts_over_with_its_registers() {
    for (profile, long_mode) in [(&INTEL, false), (&INTEL, true), (&AMD, true)] {
        let scenario = interrupted_after_rep_outs(long_mode);
        let transcript = taken(&scenario, profile, 2, &["p0", "p2", "p1", "halted"]);
        let [_, in_smi, after, _] = &transcript.observations[..] else {
            panic!("four stops");
        };
        assert_eq!(
            (in_smi.accesses.len(), after.accesses.len()),
            (3, 3),
            "{}",
            profile.name
        );
        let state = after.state.as_deref().expect("observed");
        assert_eq!((state.general[RCX], state.general[RSI]), (0, 0x2003));
        let layout: &Layout = profile.layout(scenario.cpuid);
        let area = in_smi.save_area.as_deref().expect("in SMM");
        let read = |row| layout.row(row).map(|row| row.read(area));
        assert_eq!(read("rcx"), Some(0), "the instruction had completed");
        match profile.name {
            "intel" => assert_eq!(read("io.state"), Some(0x0080_0063)),
            _ => assert_eq!(
                (read("io.trap"), read("io.rcx"), read("io.rsi")),
                (Some(0x0080_001e), Some(3), Some(0x2000))
            ),
        }
    }
}

#[test]
fn an_smi_before_it_restarts_the_port_write_of_the_sync_point() {
    for profile in [&INTEL, &AMD] {
        let scenario = interrupted_after_rep_outs(true);
        let transcript = taken(&scenario, profile, 2, &["p0", "p2", "p0", "p1", "halted"]);
        assert_eq!(transcript.observations[3].accesses.len(), 3);
    }
}

#[test]
fn kvm_does_not_look_at_the_field() {
    let scenario = interrupted_after_rep_outs(true);
    let transcript = taken(&scenario, &KVM_SVM, 1, &["p0", "p2", "p1", "halted"]);
    assert_eq!(transcript.observations[2].accesses.len(), 3);
}
