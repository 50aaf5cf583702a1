//! A small real-mode guest for tests, written in machine code.

#![allow(dead_code, reason = "each test file uses a part")]

use spec_model::defect::DefectSet;
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::scenario::{
    Action, AddressSpace, Blob, Cpuid, HostEvent, Limits, MemoryRegion, Observe, Point, PointId, PointKind,
    SYNC_PORT, Scenario,
};
use spec_model::transcript::{Observation, Stop, Transcript};
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{RSP, VcpuState};

pub const START: u64 = 0x1000;
pub const NMI_HANDLER: u64 = 0x1100;
pub const UD_HANDLER: u64 = 0x1200;
pub const SMI_HANDLER: u64 = 0x38000;

pub const IRET: u8 = 0xcf;
pub const RSM: [u8; 2] = [0x0f, 0xaa];
pub const UD2: [u8; 2] = [0x0f, 0x0b];
pub const HLT: u8 = 0xf4;
pub const NOP: u8 = 0x90;

/// OUT to the port of a sync point.
pub fn sync(point: u8) -> [u8; 2] {
    [0xe6, SYNC_PORT + point]
}

pub fn real_mode() -> VcpuState {
    let mut state = VcpuState {
        rip: START,
        cr0: 0x10,
        ..VcpuState::default()
    };
    for name in &SegmentName::ALL[..6] {
        *state.segment_mut(*name) = Segment {
            selector: 0,
            base: 0,
            limit: 0xffff,
            attributes: SegmentAttributes(0x93),
        };
    }
    state.segment_mut(SegmentName::Cs).attributes = SegmentAttributes(0x9b);
    state.segment_mut(SegmentName::Ldtr).attributes = SegmentAttributes::UNUSABLE;
    state.segment_mut(SegmentName::Tr).attributes = SegmentAttributes(0x8b);
    state.idtr = DescriptorTable {
        base: 0,
        limit: 0x3ff,
    };
    state.general[RSP] = 0x7000;
    state
}

/// A scenario with code at the given addresses and `points` sync points.
pub fn scenario(code: &[(u64, &[u8])], points: usize, events: Vec<HostEvent>) -> Scenario {
    let mut contents: Vec<Blob> = vec![
        Blob {
            address: 2 * 4,
            bytes: vec![0x00, 0x11, 0, 0],
        },
        Blob {
            address: 6 * 4,
            bytes: vec![0x00, 0x12, 0, 0],
        },
    ];
    contents.extend(code.iter().map(|(address, bytes)| Blob {
        address: *address,
        bytes: bytes.to_vec(),
    }));
    Scenario {
        name: "test".to_owned(),
        cpuid: Cpuid {
            long_mode: true,
            ..Cpuid::default()
        },
        memory: vec![MemoryRegion {
            address: 0,
            size: 0x10_0000,
            space: AddressSpace::Both,
            contents,
        }],
        vcpus: vec![real_mode()],
        points: (0..points)
            .map(|n| Point {
                name: format!("p{n}"),
                kind: PointKind::Sync,
            })
            .collect(),
        events,
        schedule: Vec::new(),
        limits: Limits::default(),
        watches: Vec::new(),
        observe: Observe::Points,
        stage2: None,
        chipset: None,
    }
}

pub fn at(point: u16, actions: Vec<Action>) -> HostEvent {
    HostEvent {
        at: PointId(point),
        occurrence: Some(1),
        by: None,
        before_completion: false,
        actions,
    }
}

pub fn only_outcome(scenario: &Scenario, defects: DefectSet) -> Transcript {
    let mut all = outcomes(scenario, &KVM_SVM, defects).expect("the model runs this");
    assert_eq!(all.len(), 1, "one outcome is allowed");
    all.remove(0).transcript
}

pub fn path(transcript: &Transcript) -> Vec<String> {
    let name = |observation: &Observation| match observation.stop {
        Stop::Sync(point) => format!("p{}", point.0),
        Stop::Halted(_) => "halted".to_owned(),
        other => format!("{other:?}"),
    };
    transcript.observations.iter().map(name).collect()
}
