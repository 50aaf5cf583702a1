//! NMI, SMI, IRET, RSM and faults in any order, against a few sentences.
//!
//! The reference state is not the model again: it remembers only what the sentences need,
//! and each of them is checked after every step.
//!
//! 1. Entering SMM blocks NMIs and clears the pending SMI.
//! 2. Delivering an NMI blocks NMIs; nothing but IRET and RSM unblocks them.
//! 3. IRET unblocks NMIs when it completes; when it faults, as the profile chooses (NMI-MASK-003).
//! 4. RSM outside SMM is #UD and changes neither the NMI mask nor SMM.
//! 5. RSM leaves SMM; NMIs are blocked after it only if the SMI interrupted an NMI handler
//!    and no IRET was executed in SMM.
//! 6. At most one NMI is ever pending (two in a hypervisor that keeps one behind the next) and one SMI, and
//!    none is lost below that.
//! 7. A fault or plain instruction changes neither the NMI mask nor SMM.
//! 8. An SMI is taken before an NMI that is pending at the same boundary.

mod support;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use spec_model::choice::Choices;
use spec_model::defect::DefectSet;
use spec_model::profile::{AMD, FaultingIret, INTEL, KVM_VMX, NmiLatch, Profile};
use spec_model::scenario::Scenario;
use spec_model::x86::decode_cache::DecodeCache;
use spec_model::x86::exception::Exception;
use spec_model::x86::memory::{Image, PhysicalMemory};
use spec_model::x86::processor::{Processor, Rules, Vcpu};
use spec_model::x86::segment::{DescriptorTable, SegmentName};
use spec_model::x86::state::{EventState, RSP};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transition {
    RaiseNmi,
    RaiseSmi,
    Iret,
    FaultingIret,
    Rsm,
    Fault,
    Plain,
}

/// Profiles that say at once whether an IRET that faults unblocks; KVM on SVM may do it later.
static PROFILES: [&Profile; 3] = [&INTEL, &AMD, &KVM_VMX];

/// What the sentences need to know of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    /// Of [`PROFILES`].
    profile: usize,
    in_smm: bool,
    nmi_masked: bool,
    /// The mask when the SMI was taken, and whether IRET has been executed in SMM since.
    masked_at_smi: bool,
    nmis: u8,
    smi: bool,
}

impl Expected {
    /// Sentences 1, 2 and 8: what happens at the boundary before an instruction.
    fn boundary(&mut self) {
        if self.smi && !self.in_smm {
            self.masked_at_smi = self.nmi_masked;
            (self.smi, self.in_smm, self.nmi_masked) = (false, true, true);
        }
        if self.nmis > 0 && !self.nmi_masked {
            self.nmis -= 1;
            self.nmi_masked = true;
        }
    }
}

impl ReferenceStateMachine for Expected {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        let of = |profile| Self {
            profile,
            ..Self::default()
        };
        (0..PROFILES.len()).prop_map(of).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Transition> {
        use Transition as T;
        let all = [
            T::RaiseNmi,
            T::RaiseSmi,
            T::Iret,
            T::FaultingIret,
            T::Rsm,
            T::Fault,
            T::Plain,
        ];
        prop::sample::select(all.to_vec()).boxed()
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        match transition {
            Transition::RaiseNmi => {
                let one_more = PROFILES[state.profile].nmi_latch == NmiLatch::OneBehindTheNext;
                let room = if one_more && !state.nmi_masked { 2 } else { 1 };
                state.nmis = (state.nmis + 1).min(room);
                return state;
            }
            Transition::RaiseSmi => {
                state.smi = true;
                return state;
            }
            _ => state.boundary(),
        }
        match transition {
            Transition::Iret => state.nmi_masked = false,
            Transition::FaultingIret => {
                state.nmi_masked &= PROFILES[state.profile].faulting_iret == FaultingIret::Keeps;
            }
            Transition::Rsm if state.in_smm => {
                state.nmi_masked = state.nmi_masked && state.masked_at_smi;
                state.in_smm = false;
            }
            _ => {}
        }
        state
    }
}

/// A processor whose next instruction is written under its feet before every step.
struct Guest {
    profile: usize,
    scenario: Scenario,
    vcpu: Vcpu,
    written: Vec<(u64, Vec<u8>)>,
    last: EventState,
}

impl Guest {
    /// Runs `act` on the processor; memory is the image plus everything written before.
    fn with<T>(&mut self, act: impl FnOnce(&mut Processor<'_, '_>) -> T) -> T {
        let image = Image::new(&self.scenario).expect("the image is legal");
        let mut memory = PhysicalMemory::new(&image);
        for (address, bytes) in &self.written {
            assert!(
                memory.write_bytes(*address, bytes, false),
                "the guest stays in RAM"
            );
        }
        let cpuid = self.scenario.cpuid;
        let mut rules = Rules {
            profile: PROFILES[self.profile],
            defects: DefectSet::NONE,
            cpuid,
            choices: Choices::default(),
            facilities: Vec::new(),
        };
        let (mut accesses, mut decoded) = (Vec::new(), DecodeCache::default());
        let mut processor = Processor {
            vcpu: &mut self.vcpu,
            memory: &mut memory,
            decoded: &mut decoded,
            rules: &mut rules,
            accesses: &mut accesses,
        };
        let result = act(&mut processor);
        let (changes, _) = memory.changes();
        self.written = changes
            .into_iter()
            .map(|blob| (blob.address, blob.bytes))
            .collect();
        result
    }

    fn instruction(&mut self, bytes: &[u8]) -> Option<Exception> {
        let bytes = bytes.to_vec();
        self.with(|processor| {
            while processor.take_event().expect("the model goes on").is_some() {
                // The SMI handler's and the payload's IDT are one, so that faults in SMM work.
                processor.state_mut().idtr = DescriptorTable {
                    base: 0,
                    limit: 0x3ff,
                };
                processor.state_mut().general[RSP] = 0x7000;
            }
            let state = processor.state();
            let here = state.segment(SegmentName::Cs).base + state.rip;
            assert!(processor.memory.write_bytes(here, &bytes, true));
            let instruction = match processor.fetch() {
                Ok(instruction) => instruction,
                Err(other) => panic!("cannot fetch: {other:?}"),
            };
            let outcome = processor.complete(&instruction, 0).expect("a known instruction");
            let exception = outcome.err();
            if let Some(exception) = exception {
                processor.raise(exception).expect("the model goes on");
            }
            exception
        })
    }

    /// IRET to where the program is anyway, or with SP at the end of the stack segment.
    fn iret(&mut self, faulting: bool) -> Option<Exception> {
        self.with(|processor| {
            while processor.take_event().expect("the model goes on").is_some() {
                processor.state_mut().idtr = DescriptorTable {
                    base: 0,
                    limit: 0x3ff,
                };
            }
            let state = processor.state_mut();
            let (rip, cs) = (state.rip, state.segment(SegmentName::Cs).selector);
            state.general[RSP] = 0x6000;
            let mut frame = Vec::new();
            frame.extend((rip as u16).to_le_bytes());
            frame.extend(cs.to_le_bytes());
            frame.extend([2, 0]);
            assert!(processor.memory.write_bytes(0x6000, &frame, true));
        });
        let limit = self.vcpu.state.segment(SegmentName::Ss).limit;
        if faulting {
            // The frame lies beyond the limit: #SS, delivered on a stack that is whole again.
            self.vcpu.state.segment_mut(SegmentName::Ss).limit = 0x5fff;
        }
        let exception = self.instruction(&[support::IRET]);
        self.vcpu.state.segment_mut(SegmentName::Ss).limit = limit;
        exception
    }
}

impl StateMachineTest for Guest {
    type SystemUnderTest = Self;
    type Reference = Expected;

    fn init_test(expected: &Expected) -> Self {
        let vectors: Vec<u8> = (0..32).flat_map(|_| [0x00, 0x12, 0, 0]).collect();
        let mut scenario = support::scenario(&[], 0, Vec::new());
        scenario.memory[0].contents = vec![spec_model::scenario::Blob {
            address: 0,
            bytes: vectors,
        }];
        let vcpu = Vcpu {
            state: support::real_mode(),
            ..Vcpu::default()
        };
        Self {
            profile: expected.profile,
            scenario,
            vcpu,
            written: Vec::new(),
            last: EventState::default(),
        }
    }

    fn apply(mut test: Self, expected: &Expected, transition: Transition) -> Self {
        let before = test.last;
        let exception = match transition {
            Transition::RaiseNmi => {
                test.with(|processor| processor.latch_nmi());
                None
            }
            Transition::RaiseSmi => {
                test.with(|processor| processor.latch_smi().expect("there is SMM"));
                None
            }
            Transition::Iret => test.iret(false),
            Transition::FaultingIret => {
                let exception = test.iret(true);
                assert!(exception.is_some(), "the IRET was meant to fault");
                exception
            }
            Transition::Rsm => test.instruction(&support::RSM),
            Transition::Fault => test.instruction(&support::UD2),
            Transition::Plain => test.instruction(&[support::NOP]),
        };
        let events = test.vcpu.state.events;
        let seen = Expected {
            profile: test.profile,
            in_smm: events.in_smm,
            nmi_masked: events.nmi_masked,
            masked_at_smi: expected.masked_at_smi,
            nmis: events.nmi_pending,
            smi: events.smi_pending,
        };
        assert_eq!(&seen, expected, "after {transition:?} in {before:?}");
        if transition == Transition::Rsm {
            let was_in_smm = exception.is_none();
            assert!(
                was_in_smm || exception == Some(Exception::UNDEFINED),
                "sentence 4"
            );
        }
        test.last = events;
        test
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_sentences_hold(sequential 1..25 => Guest);
}
