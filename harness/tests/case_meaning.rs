//! What the words of a case file mean in the scenario.

use std::path::Path;

use harness::case::{AllowedValue, Case};
use spec_model::scenario::{Action, AddressSpace, PointId, PointKind};
use spec_model::x86::state::RSP;

fn read(text: &str) -> Case {
    Case::parse("area/case".to_owned(), Path::new("case.yaml"), text.as_bytes()).unwrap_or_else(|mistakes| {
        panic!(
            "{}",
            mistakes
                .iter()
                .map(|mistake| format!("{mistake}\n"))
                .collect::<String>()
        )
    })
}

/// The byte that a processor in or out of SMM sees at an address.
fn byte(case: &Case, address: u64, in_smm: bool) -> u8 {
    let region = case.scenario.memory.iter().find(|region| {
        region.space.visible(in_smm) && (region.address..region.address + region.size).contains(&address)
    });
    let region = region.expect("there is RAM");
    let holds = region
        .contents
        .iter()
        .find(|blob| (blob.address..blob.address + blob.bytes.len() as u64).contains(&address));
    holds.map_or(0, |blob| {
        blob.bytes[usize::try_from(address - blob.address).expect("small")]
    })
}

#[test]
fn smram_hides_the_memory_behind_it() {
    let case = read(
        "title: t\nchecks: [SMM-SAVE-001]\nmachine:\n  mode: real\n  memory:\n    - { address: 0x30000, size: 0x10000, space: smm }\ncode:\n  start: |\n    sync a\n    hlt\n  smi: |\n    rsm\nhost:\n  - { at: a, do: smi }\npath: [a, halted]\n",
    );
    let layout: Vec<_> = case
        .scenario
        .memory
        .iter()
        .map(|region| (region.address, region.size, region.space))
        .collect();
    assert_eq!(
        layout,
        [
            (0, 0x3_0000, AddressSpace::Both),
            (0x3_0000, 0x1_0000, AddressSpace::Normal),
            (0x3_0000, 0x1_0000, AddressSpace::Smm),
            (0x4_0000, 0xc_0000, AddressSpace::Both),
        ]
    );
    assert_eq!(
        (byte(&case, 0x3_8000, true), byte(&case, 0x3_8001, true)),
        (0x0f, 0xaa)
    );
    assert_eq!(
        byte(&case, 0x3_8000, false),
        0,
        "the handler is visible in SMM only"
    );
    assert_eq!(byte(&case, 0x1000, false), 0xe6, "sync is a port write");
}

#[test]
fn real_mode_vectors_lead_to_their_handlers_or_to_a_point() {
    let case = read(
        "title: t\nchecks: [EXC-REAL-001]\nmachine:\n  mode: real\n  idt: { 0x21: { handler: 0x1234, selector: 0x5678 } }\ncode:\n  start: |\n    hlt\n  vector-0x20: |\n    iret\npath: [halted]\n",
    );
    let vector = |number: u64| {
        (0..4)
            .map(|offset| byte(&case, number * 4 + offset, false))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        vector(0x20),
        [0x10, 0x10, 0, 0],
        "the second section begins at the next multiple of 16"
    );
    assert_eq!(vector(0x21), [0x34, 0x12, 0x78, 0x56]);
    assert_eq!(vector(6), [0x00, 0x0f, 0, 0]);
    assert_eq!(byte(&case, 0xf00, false), 0xf4);
    let unexpected = case
        .scenario
        .points
        .iter()
        .find(|point| point.name == "unexpected");
    assert_eq!(
        unexpected.map(|point| point.kind),
        Some(PointKind::Halt { resume: 0xf01 })
    );
}

#[test]
fn actions_are_for_the_processor_that_stopped() {
    let case = read(
        "title: t\nchecks: [NMI-MASK-001]\nmachine:\n  mode: protected\n  vcpus: 2\n  processors: { 1: { rbx: 7 } }\ncode:\n  start: |\n    sync a\n    hlt\n  start.1: |\n    sync a\n    hlt\nhost:\n  - { at: a, do: nmi }\n  - { at: a, do: nmi, vcpu: 0 }\n  - { at: a, write: { 0x9000: \"90 f4\" } }\npath: [0:a, 1:a, halted, halted]\nexpect:\n  - { at: a, vcpu: 1, rsp: 0x6c00, rip: linear start.1 + 2 }\n",
    );
    let events: Vec<_> = case
        .scenario
        .events
        .iter()
        .map(|event| (event.by, event.actions.clone()))
        .collect();
    let bytes = vec![0x90, 0xf4];
    assert_eq!(
        events,
        [
            (Some(0), vec![Action::Nmi { vcpu: 0 }]),
            (Some(1), vec![Action::Nmi { vcpu: 1 }]),
            (None, vec![Action::Nmi { vcpu: 0 }]),
            (
                None,
                vec![Action::WriteMemory {
                    address: 0x9000,
                    bytes,
                    smm: false
                }]
            ),
        ]
    );
    let second = &case.scenario.vcpus[1];
    assert_eq!(
        (second.general[RSP], second.general[3], second.rip),
        (0x6c00, 7, 0x1010)
    );
    assert_eq!(case.expectations.fields[1].allowed, AllowedValue::Exactly(0x1012));
    assert_eq!(case.expectations.paths[0][1].vcpu, Some(1));
}

#[test]
fn actions_of_an_entry_have_a_fixed_order() {
    let case = read(
        "title: t\nchecks: [SMM-RSM-006]\nmachine:\n  mode: long\ncode:\n  start: |\n    sync a\n    hlt\n  smi: |\n    sync b\n    rsm\nhost:\n  - { at: a, do: smi }\n  - { at: b, nth: 1, do: [smi, nmi], shadow: sti, set: { rax: 5 }, save: { smbase: 0x40000 }, then: [{ set: { rax: 6 } }] }\npath: [a, b, b, halted]\n",
    );
    let event = &case.scenario.events[1];
    assert_eq!((event.at, event.occurrence), (PointId(1), Some(1)));
    let said: Vec<String> = event.actions.iter().map(|action| format!("{action:?}")).collect();
    let words: Vec<&str> = said
        .iter()
        .map(|action| action.split(' ').next().unwrap_or(""))
        .collect();
    assert_eq!(
        words,
        ["WriteSaveArea", "SetField", "Shadow", "Smi", "Nmi", "SetField"]
    );
}
