//! Each invariant can fail.

use spec_model::profile::{INTEL, KVM_SVM};
use spec_model::scenario::{PointId, Scenario};
use spec_model::transcript::Stop;
use spec_model::x86::memory::Image;

use super::*;

/// A turn that breaks nothing, to be changed.
struct Made {
    before: EventState,
    at: At,
    state: VcpuState,
    after: VcpuState,
    chain: Vec<Symbol>,
    history: History,
    profile: &'static Profile,
    settled: Settled,
}

impl Made {
    fn new(at: At, symbol: Symbol) -> Self {
        Self {
            before: EventState::default(),
            at,
            state: VcpuState::default(),
            after: VcpuState::default(),
            chain: vec![symbol],
            history: History::default(),
            profile: &KVM_SVM,
            settled: Settled::new(),
        }
    }

    /// RSM out of an SMM that interrupted the default state.
    fn rsm() -> Self {
        let mut made = Self::new(At::Resumed, Symbol::Rsm);
        made.before.in_smm = true;
        made.before.nmi_masked = true;
        made.history.interrupted = Some(Rc::new(VcpuState::default()));
        made
    }

    fn check(mut self) -> Option<&'static str> {
        let scenario = Scenario::default();
        let image = Image::new(&scenario).unwrap();
        let memory = PhysicalMemory::new(&image);
        let observation = Observation {
            vcpu: 0,
            stop: Stop::Sync(PointId(0)),
            state: Some(Box::new(self.state)),
            stack: Vec::new(),
            save_area: None,
            watches: Vec::new(),
            accesses: Vec::new(),
        };
        let turn = Turn {
            before: self.before,
            at: Some(self.at),
            observation: &observation,
            after: &self.after,
            memory: &memory,
            chain: &self.chain,
            profile: self.profile,
            settled: &self.settled,
        };
        check(&turn, &mut self.history)
            .err()
            .map(|broken| broken.requirement.id)
    }
}

#[test]
fn what_breaks_nothing_passes() {
    assert_eq!(Made::new(At::InBp, Symbol::Int3).check(), None);
    assert_eq!(Made::rsm().check(), None);
}

/// One of Intel's processors leaves NMIs blocked, another does not; each does it every time.
#[test]
fn the_mask_after_rsm_is_what_the_implementation_settled_on() {
    let Choice::AnyOf(options) = INTEL.nmi_mask_after_rsm else {
        panic!("{:?}", INTEL.nmi_mask_after_rsm);
    };
    for (index, option) in options.iter().enumerate() {
        for masked in [false, true] {
            let mut made = Made::rsm();
            made.profile = &INTEL;
            made.settled = vec![("NMI-SMM-002", index)];
            let mut interrupted = VcpuState::default();
            interrupted.events.nmi_masked = true;
            made.history.interrupted = Some(Rc::new(interrupted));
            made.state.events.nmi_masked = masked;
            let fits = masked == (*option != NmiMaskAfterRsm::Cleared);
            let wanted = (!fits).then_some("NMI-SMM-002");
            assert_eq!(made.check(), wanted, "{option:?}, masked {masked}");
        }
    }
}

/// One change to a turn that breaks nothing.
fn broken_by(mut made: Made, change: impl FnOnce(&mut Made)) -> Option<&'static str> {
    change(&mut made);
    made.check()
}

#[test]
fn each_invariant_that_no_defect_breaks_can_fail() {
    let int3 = || Made::new(At::InBp, Symbol::Int3);
    let nmi = || {
        let mut made = Made::new(At::InNmi, Symbol::Nmi);
        made.state.events.nmi_masked = true;
        made.history.nmis_accepted = 1;
        made
    };
    assert_eq!(nmi().check(), None);
    for (found, wanted) in [
        (
            broken_by(nmi(), |made| made.history.nmis_accepted = 0),
            "NMI-MASK-004",
        ),
        (
            broken_by(nmi(), |made| made.history.nmis_accepted = 2),
            "NMI-MASK-004",
        ),
        (
            broken_by(nmi(), |made| made.state.events.nmi_masked = false),
            "NMI-MASK-001",
        ),
        (
            broken_by(nmi(), |made| made.before.nmi_masked = true),
            "NMI-MASK-001",
        ),
        (
            broken_by(int3(), |made| made.history.smis_accepted = 1),
            "SMM-LATCH-001",
        ),
        (
            broken_by(int3(), |made| made.state.events.shadow = Shadow::Sti),
            "EXC-SHADOW-001",
        ),
        (
            broken_by(int3(), |made| made.state.events.smm_inside_nmi = true),
            "NMI-SMM-002",
        ),
        (
            broken_by(int3(), |made| made.state.events.nmi_masked = true),
            "NMI-MASK-010",
        ),
        (
            broken_by(Made::rsm(), |made| made.state.events.in_smm = true),
            "SMM-RSM-002",
        ),
        (
            broken_by(Made::rsm(), |made| made.state.general[RSP] = 1),
            "SMM-SAVE-008",
        ),
        (broken_by(Made::rsm(), |made| made.state.cr4 = 1), "SMM-SAVE-009"),
        (
            broken_by(Made::rsm(), |made| made.state.events.nmi_masked = true),
            "NMI-SMM-005",
        ),
        (
            broken_by(Made::rsm(), |made| {
                made.at = At::InSmi;
                made.history.smis_accepted = 1;
                made.state.events.in_smm = true;
                made.state.events.nmi_masked = true;
                made.state.events.smm_inside_nmi = true;
            }),
            "NMI-SMM-005",
        ),
        (
            broken_by(Made::rsm(), |made| {
                made.at = At::InSmi;
                made.before.smi_pending = true;
                made.before.nmi_pending = 1;
            }),
            "SMM-LATCH-002",
        ),
    ] {
        assert_eq!(found, Some(wanted));
    }
}
