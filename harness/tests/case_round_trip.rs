//! Any scenario prints as a case file, and the text reads as an equal scenario.

use std::path::Path;

use harness::case::{Case, print};
use proptest::prelude::*;
use spec_model::chipset::register::Register;
use spec_model::chipset::{Chipset, HostBridge, Implementation, Kind};
use spec_model::defect::DefectSet;
use spec_model::scenario::{
    Action, AddressSpace, Blob, Cpuid, HostEvent, Limits, MemoryRegion, Observe, Point, PointId, PointKind,
    Scenario, Watch,
};
use spec_model::x86::field::FIELDS;
use spec_model::x86::save_area::{KVM_32, KVM_64};
use spec_model::x86::state::{PendingException, Shadow, VcpuState};

const PAGE: u64 = 0x1000;

fn blobs(address: u64, size: u64) -> impl Strategy<Value = Vec<Blob>> {
    let blob = (0..size, prop::collection::vec(any::<u8>(), 1..80));
    prop::collection::vec(blob, 0..4).prop_map(move |blobs| {
        let mut placed: Vec<Blob> = Vec::new();
        for (offset, mut bytes) in blobs {
            let end = placed
                .last()
                .map_or(address, |last| last.address + last.bytes.len() as u64);
            let start = end.max(address + offset);
            bytes.truncate(usize::try_from((address + size).saturating_sub(start)).unwrap_or(0));
            if !bytes.is_empty() {
                placed.push(Blob {
                    address: start,
                    bytes,
                });
            }
        }
        placed
    })
}

/// Regions one after the other with gaps, each seen by all or doubled for SMM.
fn memory() -> impl Strategy<Value = Vec<MemoryRegion>> {
    let region = (0..4_u64, 1..4_u64, any::<bool>());
    prop::collection::vec(region, 0..4).prop_flat_map(|layout| {
        let mut regions = Vec::new();
        let mut address = 0;
        for (gap, pages, doubled) in layout {
            address += gap * PAGE;
            let size = pages * PAGE;
            let spaces: &[AddressSpace] = if doubled {
                &[AddressSpace::Smm, AddressSpace::Normal]
            } else {
                &[AddressSpace::Both]
            };
            for space in spaces {
                let space = *space;
                regions.push(blobs(address, size).prop_map(move |contents| MemoryRegion {
                    address,
                    size,
                    space,
                    contents,
                }));
            }
            address += size;
        }
        regions
    })
}

fn vcpu() -> impl Strategy<Value = VcpuState> {
    let shadow = prop_oneof![Just(Shadow::None), Just(Shadow::Sti), Just(Shadow::MovSs)];
    let exception = prop::option::of((any::<u8>(), prop::option::of(any::<u32>())));
    let changes = prop::collection::vec((0..FIELDS.len(), any::<u64>()), 0..30);
    (changes, shadow, exception).prop_map(|(changes, shadow, exception)| {
        let mut state = VcpuState::default();
        for (index, value) in changes {
            let field = &FIELDS[index];
            if !field.name.starts_with("exception.") && !field.name.starts_with("shadow.") {
                field.write(&mut state, value & (u64::MAX >> (64 - field.bits)));
            }
        }
        state.events.shadow = shadow;
        state.events.exception =
            exception.map(|(vector, error_code)| PendingException { vector, error_code });
        state
    })
}

fn action(vcpus: u8, long_mode: bool) -> impl Strategy<Value = Action> {
    let layout = if long_mode { &KVM_64 } else { &KVM_32 };
    let rows: Vec<_> = layout.rows.iter().filter(|row| !row.is_reserved()).collect();
    let shadow = prop_oneof![Just(Shadow::None), Just(Shadow::Sti), Just(Shadow::MovSs)];
    let bytes = prop::collection::vec(any::<u8>(), 0..70);
    prop_oneof![
        (0..vcpus).prop_map(|vcpu| Action::Nmi { vcpu }),
        (0..vcpus).prop_map(|vcpu| Action::Smi { vcpu }),
        (0..vcpus, shadow).prop_map(|(vcpu, shadow)| Action::Shadow { vcpu, shadow }),
        (0..vcpus, 0..FIELDS.len(), any::<u64>()).prop_map(|(vcpu, index, value)| Action::SetField {
            vcpu,
            field: FIELDS[index].name.to_owned(),
            value: value & (u64::MAX >> (64 - FIELDS[index].bits)),
        }),
        (0..vcpus, prop::sample::select(rows), any::<u64>()).prop_map(|(vcpu, row, value)| {
            Action::WriteSaveArea {
                vcpu,
                field: row.name.to_owned(),
                value: value & (u64::MAX >> (64 - 8 * row.width.min(8))),
            }
        }),
        register_write().prop_map(|(register, value)| Action::WriteChipset { register, value }),
        Just(Action::ResetChipset),
        (any::<u64>(), bytes, any::<bool>()).prop_map(|(address, bytes, smm)| Action::WriteMemory {
            address,
            bytes,
            smm,
        }),
    ]
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let kind = prop_oneof![
        Just(PointKind::Sync),
        any::<u64>().prop_map(|resume| PointKind::Halt { resume }),
    ];
    let point = ("[a-z\"#: é-]{0,9}", kind);
    prop::collection::vec(point, 1..6).prop_map(|points| {
        let named = points.into_iter().enumerate();
        let named = named.map(|(index, (name, kind))| Point {
            name: format!("{name}{index}"),
            kind,
        });
        named.collect()
    })
}

fn event(points: u16, vcpus: u8, long_mode: bool) -> impl Strategy<Value = HostEvent> {
    (
        0..points,
        prop::option::of(1..5_u32),
        prop::option::of(0..vcpus),
        prop::collection::vec(action(vcpus, long_mode), 0..4),
    )
        .prop_map(|(at, occurrence, by, actions)| HostEvent {
            at: PointId(at),
            occurrence,
            by,
            before_completion: false,
            actions,
        })
}

/// Events that the host raises for the processor that stopped while its OUT is outstanding.
fn early_event(points: &[Point], vcpus: u8) -> BoxedStrategy<Vec<HostEvent>> {
    let numbered = (0_u16..).zip(points);
    let sync = numbered.filter(|(_, point)| point.kind == PointKind::Sync);
    let sync: Vec<PointId> = sync.map(|(number, _)| PointId(number)).collect();
    if sync.is_empty() {
        return Just(Vec::new()).boxed();
    }
    let action = |kind, vcpu| match kind {
        0 => Action::Nmi { vcpu },
        1 => Action::Smi { vcpu },
        _ => Action::MachineCheck { vcpu },
    };
    let kinds = prop::collection::vec(0..3_u8, 1..4);
    let event = (
        prop::sample::select(sync),
        prop::option::of(1..5_u32),
        0..vcpus,
        kinds,
    )
        .prop_map(move |(at, occurrence, by, kinds)| HostEvent {
            at,
            occurrence,
            by: Some(by),
            before_completion: true,
            actions: kinds.into_iter().map(|kind| action(kind, by)).collect(),
        });
    prop::collection::vec(event, 0..2).boxed()
}

fn watches() -> impl Strategy<Value = Vec<Watch>> {
    let watch = ("[a-z.]{0,6}", any::<u64>(), 0..0x1_0000_u32, any::<bool>());
    prop::collection::vec(watch, 0..3).prop_map(|watches| {
        let named = watches.into_iter().enumerate();
        let named = named.map(|(index, (name, address, length, smm))| Watch {
            name: format!("{name}{index}"),
            address,
            length,
            smm,
        });
        named.collect()
    })
}

/// A chipset that can exist, or none.
fn chipset() -> impl Strategy<Value = Option<Chipset>> {
    let kind = prop::sample::select(vec![Kind::I440fx, Kind::Q35]);
    let implementation = prop::sample::select(vec![
        Implementation::Datasheet,
        Implementation::Qemu,
        Implementation::Bochs,
    ]);
    let registers = prop::collection::vec(register_write(), 0..4);
    (kind, implementation, 2..64_u64, registers).prop_map(|(kind, implementation, mebibytes, registers)| {
        let chipset = Chipset {
            kind,
            implementation,
            top_of_memory: mebibytes << 20,
            registers,
        };
        let exists = HostBridge::new(&chipset, DefectSet::NONE).is_ok();
        exists.then_some(chipset)
    })
}

fn register_write() -> impl Strategy<Value = (Register, u16)> {
    (prop::sample::select(Register::ALL.to_vec()), any::<u16>())
        .prop_map(|(register, value)| (register, value & (u16::MAX >> (16 - 8 * register.width()))))
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (
        prop::collection::vec(vcpu(), 1..4),
        points(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_flat_map(|(vcpus, points, long_mode, shadow_stack, bus_lock)| {
            let count = u8::try_from(vcpus.len()).expect("there are at most three");
            let last = u16::try_from(points.len()).expect("there are at most five");
            (
                memory(),
                (
                    prop::collection::vec(event(last, count, long_mode), 0..4),
                    early_event(&points, count),
                    prop::sample::select(Observe::ALL.to_vec()),
                ),
                prop::collection::vec(0..count, 0..5),
                (any::<u32>(), any::<u32>()),
                watches(),
                chipset(),
            )
                .prop_map(
                    move |(memory, (events, early, observe), schedule, limits, watches, chipset)| Scenario {
                        name: "generated/scenario".to_owned(),
                        cpuid: Cpuid {
                            long_mode,
                            shadow_stack,
                            bus_lock,
                        },
                        memory,
                        vcpus: vcpus.clone(),
                        points: points.clone(),
                        events: events.into_iter().chain(early).collect(),
                        schedule,
                        observe,
                        limits: Limits {
                            observations: limits.0,
                            instructions: limits.1,
                        },
                        watches,
                        chipset,
                        stage2: None,
                    },
                )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_reading_gives_the_same(scenario in scenario()) {
        let text = print(&scenario);
        match Case::parse(scenario.name.clone(), Path::new("printed.yaml"), text.as_bytes()) {
            Ok(case) => prop_assert_eq!(case.scenario, scenario),
            Err(mistakes) => prop_assert!(false, "{}\n{}", mistakes[0], text),
        }
    }
}
