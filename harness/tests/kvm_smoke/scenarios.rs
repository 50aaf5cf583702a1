//! Scenarios written by hand, and access to what came of them.

use harness::target::kvm::Kvm;
use harness::target::{Mode, Run, RunOptions};
use spec_model::scenario::{
    Action, AddressSpace, Blob, Cpuid, HostEvent, MemoryRegion, Observe, Point, PointId, PointKind, Scenario,
};
use spec_model::transcript::{Stop, Transcript};
use spec_model::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use spec_model::x86::state::{RSP, VcpuState};

/// Where code starts, guest-physical and linear.
pub const CODE: u64 = 0x1000;
/// On a machine that ran another scenario before.
pub const REUSED: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: false,
    mode: Mode::Normal,
    observe: Observe::Points,
};
/// On a new machine.
pub const FRESH: RunOptions = RunOptions {
    allow_host_risk: false,
    fresh_vm: true,
    mode: Mode::Normal,
    observe: Observe::Points,
};

/// The device, or a note on why the test did not run.
pub fn open() -> Option<Kvm> {
    match Kvm::open() {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            eprintln!("not run: {error}");
            None
        }
    }
}

/// A segment register.
pub fn segment(selector: u16, base: u64, limit: u32, attributes: u32) -> Segment {
    Segment {
        selector,
        base,
        limit,
        attributes: SegmentAttributes(attributes),
    }
}

/// A processor in real mode at [`CODE`], as RESET leaves its segments but for CS.
pub fn real_mode() -> VcpuState {
    let mut state = VcpuState {
        segments: [segment(0, 0, 0xffff, 0x93); 8],
        gdtr: DescriptorTable {
            base: 0,
            limit: 0xffff,
        },
        idtr: DescriptorTable {
            base: 0,
            limit: 0x3ff,
        },
        cr0: 0x6000_0010,
        rip: CODE,
        ..VcpuState::default()
    };
    *state.segment_mut(SegmentName::Cs) = segment(0, 0, 0xffff, 0x9b);
    *state.segment_mut(SegmentName::Ldtr) = segment(0, 0, 0xffff, 0x82);
    *state.segment_mut(SegmentName::Tr) = segment(0, 0, 0xffff, 0x8b);
    state.general[RSP] = 0x8000;
    state
}

/// Bytes at a guest-physical address.
pub fn blob(address: u64, bytes: &[u8]) -> Blob {
    Blob {
        address,
        bytes: bytes.to_vec(),
    }
}

/// One processor in real mode with 1 MiB of memory.
pub fn scenario(contents: Vec<Blob>, points: &[PointKind]) -> Scenario {
    let points = points.iter().enumerate().map(|(number, kind)| Point {
        name: format!("point-{number}"),
        kind: *kind,
    });
    Scenario {
        name: "smoke".to_owned(),
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
        points: points.collect(),
        ..Scenario::default()
    }
}

/// Actions whenever any processor reaches a point.
pub fn at(point: u16, actions: Vec<Action>) -> HostEvent {
    HostEvent {
        at: PointId(point),
        occurrence: None,
        by: None,
        before_completion: false,
        actions,
    }
}

/// Sets a field of processor 0.
pub fn set(field: &str, value: u64) -> Action {
    Action::SetField {
        vcpu: 0,
        field: field.to_owned(),
        value,
    }
}

/// The transcript of a run that must have worked.
pub fn done(run: Run) -> Transcript {
    match run {
        Run::Done(transcript) => transcript,
        other => panic!("{other:?}"),
    }
}

/// Why each observation was made.
pub fn stops(transcript: &Transcript) -> Vec<Stop> {
    let observations = transcript.observations.iter();
    observations.map(|observation| observation.stop).collect()
}

/// The state in one observation.
pub fn state(transcript: &Transcript, observation: usize) -> &VcpuState {
    transcript.observations[observation]
        .state
        .as_deref()
        .expect("a state")
}

/// One sync point in 64-bit code, with the first 2 MiB mapped to themselves.
pub fn sixty_four_bit(code: &[u8]) -> Scenario {
    let tables: [(u64, u64); 3] = [(0x9000, 0xa003), (0xa000, 0xb003), (0xb000, 0x83)];
    let tables = tables.map(|(address, entry)| blob(address, &entry.to_le_bytes()));
    let contents = [&[blob(CODE, code)][..], &tables].concat();
    let mut scenario = scenario(contents, &[PointKind::Sync]);
    let vcpu = &mut scenario.vcpus[0];
    vcpu.cr0 = 0x8000_0011;
    vcpu.cr3 = 0x9000;
    vcpu.cr4 = 0x20;
    vcpu.efer = 0x500;
    *vcpu.segment_mut(SegmentName::Cs) = segment(8, 0, 0xffff_ffff, 0xa09b);
    let data = [
        SegmentName::Ds,
        SegmentName::Es,
        SegmentName::Fs,
        SegmentName::Gs,
        SegmentName::Ss,
    ];
    for name in data {
        *vcpu.segment_mut(name) = segment(0x10, 0, 0xffff_ffff, 0xc093);
    }
    scenario
}
