//! SMI followed by RSM restores everything that the layout holds.

mod support;

use proptest::prelude::*;
use spec_model::defect::DefectSet;
use spec_model::profile::PROFILES;
use spec_model::run::outcomes;
use spec_model::scenario::{Action, Scenario};
use spec_model::x86::field::{FIELDS, Field};
use spec_model::x86::save_area::{Content, KVM_32, KVM_64, Layout};
use spec_model::x86::segment::{SegmentAttributes, SegmentName};
use support::{HLT, NOP, RSM, SMI_HANDLER, START, at, only_outcome, scenario, sync};

/// `sync 0` (the host raises an SMI); `nop`; `sync 1`; `hlt`. The handler is `sync 2; rsm`.
fn interrupted_by_smi(long_mode: bool, seed: &[u64; 40]) -> Scenario {
    let mut code = Vec::new();
    code.extend(sync(0));
    code.push(NOP);
    code.extend(sync(1));
    code.push(HLT);
    let mut handler = sync(2).to_vec();
    handler.extend(RSM);
    let events = vec![at(0, vec![Action::Smi { vcpu: 0 }])];
    let mut scenario = scenario(&[(START, &code), (SMI_HANDLER, &handler)], 3, events);
    scenario.cpuid.long_mode = long_mode;
    let state = &mut scenario.vcpus[0];
    let mut values = seed.iter().copied();
    let mut next = || values.next().unwrap_or(0);
    for slot in &mut state.general {
        *slot = if long_mode { next() } else { next() & 0xffff_ffff };
    }
    state.rflags = next() & 0xcd5 | 2;
    for name in [
        SegmentName::Es,
        SegmentName::Ds,
        SegmentName::Fs,
        SegmentName::Gs,
        SegmentName::Ldtr,
    ] {
        let segment = state.segment_mut(name);
        segment.selector = next() as u16;
        segment.base = next() & 0xffff_ffff;
        segment.limit = next() as u32;
        segment.attributes = SegmentAttributes(next() as u32 & 0xf0ff | 0x80);
    }
    state.gdtr.base = next() & 0xffff_ffff;
    state.gdtr.limit = next() as u16;
    state.cr3 = next() & 0xffff_f000;
    state.dr6 = next() & 0xe00f | 0xffff_0ff0;
    scenario
}

fn held(layout: &Layout) -> Vec<&'static Field> {
    let in_layout = |field: &&Field| {
        layout
            .row(field.name)
            .is_some_and(|row| row.restored && !matches!(row.content, Content::Shadow | Content::ShadowStack))
    };
    FIELDS.iter().filter(in_layout).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn smi_and_rsm_are_transparent(long_mode: bool, seed in prop::array::uniform(any::<u64>())) {
        let scenario = interrupted_by_smi(long_mode, &seed);
        let transcript = only_outcome(&scenario, DefectSet::NONE);
        prop_assert_eq!(support::path(&transcript), ["p0", "p2", "p1", "halted"]);
        let state = |index: usize| transcript.observations[index].state.as_deref().expect("observed");
        let (before, after) = (state(0), state(2));
        let layout = if long_mode { &KVM_64 } else { &KVM_32 };
        for field in held(layout) {
            // Between the two points the guest executes NOP and OUT: five bytes less one sync.
            let moved = if field.name == "rip" { 3 } else { 0 };
            prop_assert_eq!(field.read(after), field.read(before) + moved, "{}", field.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever the format has no row for is kept elsewhere or never touched, so that SMI and RSM
    /// change nothing at all.
    #[test]
    fn smi_and_rsm_change_nothing_in_any_profile(long_mode: bool, seed in prop::array::uniform(any::<u64>())) {
        let mut scenario = interrupted_by_smi(long_mode, &seed);
        scenario.cpuid.shadow_stack = long_mode;
        scenario.vcpus[0].ssp = 0;
        for profile in PROFILES.iter().filter(|profile| profile.smm) {
            let has_ssp = profile.layout(scenario.cpuid).missing().all(|field| field.name != "ssp");
            scenario.vcpus[0].ssp = if has_ssp { seed[0] } else { 0 };
            let outcomes = outcomes(&scenario, profile, DefectSet::NONE).expect("the model runs this");
            prop_assert_eq!(outcomes.len(), 1);
            let transcript = &outcomes[0].transcript;
            let state = |index: usize| transcript.observations[index].state.as_deref().expect("observed");
            for field in FIELDS {
                let moved = if field.name == "rip" { 3 } else { 0 };
                let (before, after) = (field.read(state(0)), field.read(state(2)));
                prop_assert_eq!(after, before + moved, "{} in {}", field.name, profile.name);
            }
        }
    }
}

#[test]
fn every_row_that_holds_state_is_checked() {
    for layout in [&KVM_32, &KVM_64] {
        let rows = layout
            .rows
            .iter()
            .filter(|row| row.content == Content::State || row.name.ends_with("attributes"));
        assert_eq!(held(layout).len(), rows.count(), "{}", layout.name);
    }
}
