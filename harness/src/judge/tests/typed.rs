//! Whatever of a run is another than allowed is noticed, whether it has a name or not.

use proptest::prelude::*;

use super::*;

/// A change of one thing in the observation at `in-smi`.
#[derive(Clone, Debug)]
enum Change {
    Field(usize, u64),
    Stop(Stop),
    Vcpu(u8),
    NoState,
    Stack(usize, u64),
    StackLength(usize),
    SaveArea(usize, u8),
    SaveAreaLength(Option<usize>),
    Watch(usize, u8),
    Watches(Vec<Vec<u8>>),
    Accesses(Vec<Access>),
    Exception(Option<PendingException>),
    LocalApic,
    XenPv,
    Memory(u64, u8),
    SmmMemory(u64, u8),
}

fn access() -> impl Strategy<Value = Access> {
    (any::<bool>(), any::<bool>(), 0..3_u64, 1..3_u8, 0..3_u64).prop_map(
        |(port, write, address, length, data)| Access {
            space: if port {
                AccessSpace::Port
            } else {
                AccessSpace::Memory
            },
            write,
            address,
            length,
            data,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let bit = (0..64_u32).prop_map(|bit| 1 << bit);
    let exception = (0..20_u8, prop::option::of(0..3_u32));
    let exception = exception.prop_map(|(vector, error_code)| PendingException { vector, error_code });
    prop_oneof![
        8 => (0..FIELDS.len(), bit.clone()).prop_map(|(field, bits)| Change::Field(field, bits)),
        1 => Just(Change::Stop(Stop::Shutdown)),
        1 => (0..3_u32).prop_map(|suberror| Change::Stop(Stop::InternalError(suberror))),
        1 => any::<u8>().prop_map(Change::Vcpu),
        1 => Just(Change::NoState),
        2 => (0..2_usize, bit).prop_map(|(slot, bits)| Change::Stack(slot, bits)),
        1 => (0..5_usize).prop_map(Change::StackLength),
        4 => (0..SAVE_AREA_SIZE, 1..=u8::MAX).prop_map(|(at, bits)| Change::SaveArea(at, bits)),
        1 => prop::option::of(0..600_usize).prop_map(Change::SaveAreaLength),
        2 => (0..4_usize, 1..=u8::MAX).prop_map(|(at, bits)| Change::Watch(at, bits)),
        1 => prop::collection::vec(prop::collection::vec(0..3_u8, 0..5), 0..3).prop_map(Change::Watches),
        2 => prop::collection::vec(access(), 0..3).prop_map(Change::Accesses),
        2 => prop::option::of(exception).prop_map(Change::Exception),
        1 => Just(Change::LocalApic),
        1 => Just(Change::XenPv),
        1 => (0..0x2000_u64, any::<u8>()).prop_map(|(at, byte)| Change::Memory(at, byte)),
        1 => (0..0x2000_u64, any::<u8>()).prop_map(|(at, byte)| Change::SmmMemory(at, byte)),
    ]
}

fn apply(change: Change, transcript: &mut Transcript) {
    let blob = |address, byte| Blob {
        address,
        bytes: vec![byte],
    };
    let observation = &mut transcript.observations[1];
    let state = observation.state.as_mut().expect("has a state");
    match change {
        Change::Field(index, bits) => {
            let field = &FIELDS[index];
            let value = field.read(state) ^ bits;
            field.write(state, value);
        }
        Change::Stop(stop) => observation.stop = stop,
        Change::Vcpu(vcpu) => observation.vcpu = vcpu,
        Change::NoState => observation.state = None,
        Change::Stack(slot, bits) => observation.stack[slot] ^= bits,
        Change::StackLength(slots) => observation.stack.resize(slots, 0),
        Change::SaveArea(at, bits) => observation.save_area.as_mut().expect("area")[at] ^= bits,
        Change::SaveAreaLength(length) => observation.save_area = length.map(|length| vec![0; length]),
        Change::Watch(at, bits) => observation.watches[0][at] ^= bits,
        Change::Watches(watches) => observation.watches = watches,
        Change::Accesses(accesses) => observation.accesses = accesses,
        Change::Exception(exception) => state.events.exception = exception,
        Change::LocalApic => state.apic = Some(Box::new(LocalApic::after_reset(0))),
        Change::XenPv => state.xen_pv = Some(Box::default()),
        Change::Memory(at, byte) => transcript.memory_changes = vec![blob(at, byte)],
        Change::SmmMemory(at, byte) => transcript.smm_memory_changes = vec![blob(at, byte)],
    }
}

/// Whether two transcripts say the same: memory that is said to have changed to what it was has not.
fn same(one: &Transcript, two: &Transcript) -> bool {
    let normal = |transcript: &Transcript| {
        let mut transcript = transcript.clone();
        transcript.memory_changes.retain(|blob| {
            let initial = match blob.address {
                0x1000 => 0x90,
                0x1001 => 0xf4,
                _ => 0,
            };
            blob.bytes != [initial]
        });
        transcript.smm_memory_changes.retain(|blob| blob.bytes != [0]);
        transcript
    };
    normal(one) == normal(two)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_change_of_a_run_is_a_difference(one in change(), two in change(), both_ways in any::<bool>()) {
        let mut seen = transcript();
        apply(one, &mut seen);
        if both_ways && seen.observations[1].state.is_some() && seen.observations[1].save_area.is_some() {
            let fits = seen.observations[1].watches.first().is_some_and(|watch| watch.len() == 4)
                && seen.observations[1].stack.len() == 2
                && seen.observations[1].save_area.as_ref().is_some_and(|area| area.len() == SAVE_AREA_SIZE);
            if fits {
                apply(two, &mut seen);
            }
        }
        let conforms = same(&seen, &transcript());
        let there = judged(&pure(vec![outcome(transcript())]), seen.clone());
        prop_assert_eq!(there == Verdict::Conforms, conforms);
        // What the model shows and the target does not is one, too.
        let back = judged(&pure(vec![outcome(seen)]), transcript());
        prop_assert_eq!(back == Verdict::Conforms, conforms);
    }
}

#[test]
fn a_run_of_steps_is_no_run_of_stops() {
    let steps = Transcript::of_stage2(spec_model::stage2::transcript::Stage2Seen::default());
    let found = differences(judged(&pure(vec![outcome(transcript())]), steps.clone()));
    assert_eq!(found[0].subject.label(), "kind of run");
    let mut both = transcript();
    both.stage2.clone_from(&steps.stage2);
    assert_eq!(
        differences(judged(&pure(vec![outcome(transcript())]), both.clone())).len(),
        1
    );
    let found = differences(judged(&pure(vec![outcome(steps)]), both));
    assert_eq!(found[0].subject.label(), "the rest");
}
