//! Scenarios that are compared with themselves, with and without saving.

use std::path::Path;

use harness::case::Case;
use harness::target::Run;
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use spec_model::scenario::{Action, HostEvent, PointId, Scenario};
use spec_model::x86::segment::SegmentName;

/// SSE, the FPU, and MSRs; each register is filled before the point and stored behind it.
const FPU_AND_MSRS: &str = "
title: The FPU, an SSE register, SYSENTER's MSRs and the PAT
checks: [STATE-001]
machine: { mode: real, registers: { cr4: 0x600 } }
code:
  start: |
    db 0xd9, 0xe8                        # fld1
    db 0xd9, 0xeb                        # fldpi
    db 0xd9, 0x2e, 0x10, 0x05            # fldcw [0x510]
    db 0x0f, 0x10, 0x1e, 0x00, 0x05      # movups xmm3, [0x500]
    mov ecx, 0x174
    mov eax, 0x28
    xor edx, edx
    wrmsr
    mov ecx, 0x175
    mov eax, 0x12345678
    wrmsr
    mov ecx, 0x277
    mov eax, 0x00040605
    mov edx, 0x00010406
    wrmsr
    sync saved
    db 0xdf, 0x1e, 0x00, 0x06            # fistp word [0x600]: pi, rounded up by the control word
    db 0xdf, 0x1e, 0x02, 0x06            # fistp word [0x602]: one
    db 0x0f, 0x11, 0x1e, 0x10, 0x06      # movups [0x610], xmm3
    mov ecx, 0x174
    rdmsr
    mov [0x620], eax
    mov ecx, 0x175
    rdmsr
    mov [0x624], eax
    mov ecx, 0x277
    rdmsr
    mov [0x628], eax
    mov [0x62c], edx
    sync stored
    hlt
  data: |
    .at 0x500
    db 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8
    dw 0x0b7f
watch: { results: { address: 0x600, length: 48 } }
path: [saved, stored, halted]
";

/// What [`FPU_AND_MSRS`] leaves at 0x600.
const FPU_AND_MSRS_RESULTS: [u8; 48] = [
    4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // pi rounded up, one
    0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8, // xmm3
    0x28, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, // SYSENTER_CS, SYSENTER_ESP
    0x05, 0x06, 0x04, 0x00, 0x06, 0x04, 0x01, 0x00, // PAT
];

/// XCR0. Its value and the order of two readings of the TSC go to memory.
const XCR0_AND_TSC: &str = "
title: XCR0 and a TSC that goes on
checks: [STATE-001]
machine: { mode: real, registers: { cr4: 0x40600 } }
code:
  start: |
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    db 0x0f, 0x01, 0xd1                  # xsetbv: x87 and SSE
    mov ecx, 0x10
    xor eax, eax
    mov edx, 0x100
    wrmsr                                # the TSC far ahead of that of a new machine
    sync saved
    db 0x0f, 0x31                        # rdtsc
    shr edx, 8
    mov [0x600], edx
    xor ecx, ecx
    db 0x0f, 0x01, 0xd0                  # xgetbv
    mov [0x604], eax
    xor eax, eax
    xor edx, edx
    sync stored
    hlt
watch: { results: { address: 0x600, length: 8 } }
path: [saved, stored, halted]
";

const XCR0_AND_TSC_RESULTS: [u8; 8] = [1, 0, 0, 0, 3, 0, 0, 0];

/// State that the model does not have: hand-written, with what must come of it.
pub fn beyond_the_model() -> Vec<Scenario> {
    [FPU_AND_MSRS, XCR0_AND_TSC]
        .iter()
        .map(|text| parse(text))
        .collect()
}

/// Whether a run without saving brought about what the scenario is about, so that comparing
/// with it means something.
pub fn check_results(scenario: &Scenario, run: &Run) -> Result<(), Failed> {
    let expected: &[u8] = match scenario.watches.first().map(|watch| watch.length) {
        Some(48) => &FPU_AND_MSRS_RESULTS,
        _ => &XCR0_AND_TSC_RESULTS,
    };
    match run {
        Run::Done(transcript) => {
            let results = transcript
                .observations
                .get(1)
                .and_then(|stored| stored.watches.first());
            if results.map(Vec::as_slice) == Some(expected) {
                Ok(())
            } else {
                Err(format!("expected {expected:x?}, stored {results:x?}: {transcript:#x?}").into())
            }
        }
        Run::Unsupported(_) | Run::GaveUp(..) => Ok(()),
        Run::Broken(reason) => Err(reason.into()),
        Run::Died(death) => Err(death.console.as_str().into()),
    }
}

fn parse(text: &str) -> Scenario {
    let case = Case::parse("state/test".to_owned(), Path::new("test.yaml"), text.as_bytes());
    case.expect("the cases of this test are right").scenario
}

/// A real-mode payload that uses stack and data segments between its points.
const PAYLOAD: &str = "
title: The payload of generated scenarios
checks: [STATE-001]
machine: { mode: real }
code:
  start: |
    sync first
    pushf
    inc eax
    sync second
    pop cx
    push ds
    push gs
    halt third
    add bx, cx
    sync fourth
    hlt
  nmi: |
    sync in-nmi
    iret
path: [first, second, third, in-nmi, fourth, halted]
";

/// The same every time: random registers, and an NMI at a random point.
pub fn generated(count: usize) -> Vec<Scenario> {
    let payload = parse(PAYLOAD);
    let mut runner = TestRunner::deterministic();
    let mut scenarios = Vec::new();
    while scenarios.len() < count {
        let tree = variant(payload.clone())
            .new_tree(&mut runner)
            .expect("nothing is filtered out");
        let mut scenario = tree.current();
        scenario.name = format!("generated-{}", scenarios.len());
        scenarios.push(scenario);
    }
    scenarios
}

fn variant(payload: Scenario) -> impl Strategy<Value = Scenario> {
    let segments = prop::collection::vec((any::<u16>(), any::<u32>(), any::<u32>()), 4);
    let tables = (any::<u32>(), any::<u16>());
    let low = 0..0x0000_8000_0000_0000_u64;
    let system = (low.clone(), prop::collection::vec(low, 4), 0..16_u64, 0..16_u64);
    let flags = (any::<bool>(), prop::collection::vec(any::<bool>(), 6));
    let named = |name: &str| {
        let number = payload.points.iter().position(|point| point.name == name);
        let number = number.expect("the payload has the point");
        PointId(u16::try_from(number).expect("it has few points"))
    };
    let halt = named("third");
    // One at a time: how long a second one is held is not the same every time on PVM.
    let nmi_at = prop::sample::select(vec![named("first"), named("second"), named("fourth")]);
    (any::<[u64; 8]>(), segments, tables, system, flags, nmi_at).prop_map(
        move |(general, segments, gdtr, system, flags, nmi_at)| {
            let mut scenario = payload.clone();
            let state = &mut scenario.vcpus[0];
            for (register, value) in [0, 1, 2, 3, 5, 6, 7].into_iter().zip(general) {
                state.general[register] = value & 0xffff_ffff;
            }
            let names = [SegmentName::Ds, SegmentName::Es, SegmentName::Fs, SegmentName::Gs];
            for (name, (selector, base, limit)) in names.into_iter().zip(segments) {
                let segment = state.segment_mut(name);
                segment.selector = selector;
                segment.base = u64::from(base);
                segment.limit = limit | 0xfff;
                segment.attributes.0 = if limit > 0xf_ffff { 0x8093 } else { 0x93 };
            }
            state.gdtr.base = u64::from(gdtr.0);
            state.gdtr.limit = gdtr.1;
            let (cr2, addresses, dr6, cr8) = system;
            state.cr2 = cr2;
            state.debug_address.copy_from_slice(&addresses);
            state.dr6 |= dr6;
            state.cr8 = cr8;
            let (interrupts, arithmetic) = flags;
            state.rflags |= u64::from(interrupts) << 9;
            for (bit, on) in [0, 2, 4, 6, 7, 11].into_iter().zip(arithmetic) {
                state.rflags |= u64::from(on) << bit;
            }
            // At the HLT always, else it would end there.
            for at in [nmi_at, halt] {
                scenario.events.push(HostEvent {
                    at,
                    occurrence: Some(1),
                    by: None,
                    before_completion: false,
                    actions: vec![Action::Nmi { vcpu: 0 }],
                });
            }
            scenario
        },
    )
}
