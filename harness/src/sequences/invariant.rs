//! What holds whatever the sequence.
//!
//! Each invariant is a function of one turn: what was in force when the processor started,
//! where it stopped and what is in force there. It cites the requirement that it follows from.

use std::rc::Rc;

use spec_model::profile::{Choice, NmiMaskAfterRsm, Profile};
use spec_model::requirement::{self, Requirement};
use spec_model::transcript::Observation;
use spec_model::x86::memory::PhysicalMemory;
use spec_model::x86::state::{EventState, RSP, Shadow, VcpuState};

use super::history::History;
use super::payload::{At, SLOTS};
use super::symbol::Symbol;

/// One turn: from one stop to the next.
pub struct Turn<'a> {
    /// The events when the processor started, with what the host raised.
    pub before: EventState,
    /// Where it stopped, if at a point.
    pub at: Option<At>,
    /// What was observed there.
    pub observation: &'a Observation,
    /// The processor after the host did what it does there.
    pub after: &'a VcpuState,
    /// Memory there.
    pub memory: &'a PhysicalMemory<'a>,
    /// The events that ran, shadows first.
    pub chain: &'a [Symbol],
    /// The implementation that is modelled.
    pub profile: &'static Profile,
}

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{}]", .requirement.id)]
pub struct Broken {
    /// What is the case although it never may be.
    pub what: &'static str,
    /// The requirement that says so.
    pub requirement: &'static Requirement,
}

/// An error if `wrong`.
fn never(wrong: bool, what: &'static str, requirement: &'static Requirement) -> Result<(), Broken> {
    if wrong {
        Err(Broken { what, requirement })
    } else {
        Ok(())
    }
}

/// Checks a turn against all invariants and takes it into the history.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check(turn: &Turn<'_>, history: &mut History) -> Result<(), Broken> {
    let Some(at) = turn.at else {
        return Err(Broken {
            what: "a sequence ends before its last event",
            requirement: &requirement::SMM_RUN_002,
        });
    };
    let Some(state) = turn.observation.state.as_deref() else {
        return Ok(());
    };
    let delivered = count(at, state, history);
    let result = delivered
        .and_then(|()| priority(turn, at))
        .and_then(|()| nothing_deliverable_waits(state))
        .and_then(|()| shadow_is_over(state))
        .and_then(|()| smm_flags(at, state))
        .and_then(|()| mask(turn, at, state))
        .and_then(|()| shadow_holds_nmi(turn, at, state))
        .and_then(|()| resumed_from_smm(turn, at, state, history));
    remember(turn, at, history);
    result.and_then(|()| raised(turn, at, state, history))
}

/// The last event of the chain, if it is no shadow.
fn event(turn: &Turn<'_>) -> Option<Symbol> {
    turn.chain.last().copied().filter(|symbol| !symbol.is_shadow())
}

/// No event is delivered that was not accepted, and none is lost: what was accepted has been
/// delivered or is pending (NMI-MASK-004, NMI-SMM-001, SMM-LATCH-001).
fn count(at: At, state: &VcpuState, history: &mut History) -> Result<(), Broken> {
    history.nmis_delivered += u8::from(at == At::InNmi);
    history.smis_taken += u8::from(at == At::InSmi);
    let nmis = history.nmis_delivered + state.events.nmi_pending;
    let smis = history.smis_taken + u8::from(state.events.smi_pending);
    never(
        nmis != history.nmis_accepted,
        "an accepted NMI is neither delivered nor pending, or an NMI is delivered twice",
        &requirement::NMI_MASK_004,
    )?;
    never(
        smis != history.smis_accepted,
        "an accepted SMI is neither taken nor pending, or an SMI is taken twice",
        &requirement::SMM_LATCH_001,
    )
}

/// An SMI that is pending outside SMM comes before an NMI (SMM-LATCH-002).
fn priority(turn: &Turn<'_>, at: At) -> Result<(), Broken> {
    let leaves = turn.before.in_smm && event(turn) == Some(Symbol::Rsm);
    let due = turn.before.smi_pending && (!turn.before.in_smm || leaves);
    never(
        due && at == At::InNmi,
        "an NMI is delivered while an SMI is due",
        &requirement::SMM_LATCH_002,
    )
}

/// No event that is not blocked is still pending at the next stop (NMI-MASK-004,
/// SMM-LATCH-001).
fn nothing_deliverable_waits(state: &VcpuState) -> Result<(), Broken> {
    let events = &state.events;
    never(
        events.nmi_pending > 0 && !events.nmi_masked,
        "an NMI is pending and not blocked, and is not delivered",
        &requirement::NMI_MASK_004,
    )?;
    never(
        events.smi_pending && !events.in_smm,
        "an SMI is pending outside SMM and is not taken",
        &requirement::SMM_LATCH_001,
    )
}

/// A shadow lasts for one instruction: the OUT of the stop is behind it (EXC-SHADOW-001).
fn shadow_is_over(state: &VcpuState) -> Result<(), Broken> {
    never(
        state.events.shadow != Shadow::None,
        "an interrupt shadow outlives an instruction",
        &requirement::EXC_SHADOW_001,
    )
}

/// The SMI handler runs in SMM with NMIs blocked, and nobody is inside an NMI there who is not
/// in SMM (SMM-ENTRY-011, NMI-SMM-002).
fn smm_flags(at: At, state: &VcpuState) -> Result<(), Broken> {
    let events = &state.events;
    never(
        at == At::InSmi && !(events.in_smm && events.nmi_masked),
        "the SMI handler starts outside SMM or with NMIs not blocked",
        &requirement::SMM_ENTRY_011,
    )?;
    never(
        events.smm_inside_nmi && !events.in_smm,
        "an SMM inside an NMI goes on after SMM",
        &requirement::NMI_SMM_002,
    )
}

/// NMIs become blocked by an NMI or SMI and unblocked by IRET or RSM, and by nothing else
/// (NMI-MASK-001, NMI-MASK-002, NMI-MASK-010).
fn mask(turn: &Turn<'_>, at: At, state: &VcpuState) -> Result<(), Broken> {
    let events = &state.events;
    never(
        at == At::InNmi && !events.nmi_masked,
        "the NMI handler starts with NMIs not blocked",
        &requirement::NMI_MASK_001,
    )?;
    if matches!(at, At::InNmi | At::InSmi) {
        let unblocks = matches!(event(turn), Some(Symbol::Iret | Symbol::Rsm));
        return never(
            at == At::InNmi && turn.before.nmi_masked && !unblocks,
            "an NMI is delivered while NMIs are blocked",
            &requirement::NMI_MASK_001,
        );
    }
    match event(turn) {
        Some(Symbol::Iret) => never(
            at == At::Resumed && events.nmi_masked,
            "NMIs are blocked after IRET",
            &requirement::NMI_MASK_002,
        ),
        Some(Symbol::Rsm) if turn.before.in_smm => Ok(()),
        _ => never(
            events.nmi_masked != turn.before.nmi_masked,
            "something other than NMI, SMI, IRET and RSM changes the NMI mask",
            &requirement::NMI_MASK_010,
        ),
    }
}

/// An NMI that arrives in the shadow of MOV SS is delivered one instruction later: with the
/// address of the jump behind that of the instruction in the frame, which is `resumed`, below
/// the code of events (NMI-MASK-007).
fn shadow_holds_nmi(turn: &Turn<'_>, at: At, state: &VcpuState) -> Result<(), Broken> {
    let in_shadow = turn.before.shadow == Shadow::MovSs;
    if !in_shadow || at != At::InNmi || event(turn) != Some(Symbol::Nmi) {
        return Ok(());
    }
    let top = turn
        .memory
        .read(state.general[RSP] & 0xffff, 2, state.events.in_smm);
    never(
        top.is_none_or(|address| address >= SLOTS),
        "an NMI is delivered in the shadow of MOV SS",
        &requirement::NMI_MASK_007,
    )
}

/// RSM outside SMM is an invalid opcode; inside it restores what the SMI interrupted, and the
/// NMI mask as it was unless IRET was executed in SMM (SMM-RSM-001, SMM-RSM-002, SMM-SAVE-008,
/// SMM-RSM-009, NMI-SMM-002, NMI-SMM-005).
fn resumed_from_smm(turn: &Turn<'_>, at: At, state: &VcpuState, history: &History) -> Result<(), Broken> {
    if event(turn) != Some(Symbol::Rsm) || at == At::InNmi {
        return Ok(());
    }
    if !turn.before.in_smm {
        return never(
            at != At::InUd,
            "RSM outside SMM raises no invalid-opcode exception",
            &requirement::SMM_RSM_001,
        );
    }
    let Some(interrupted) = history.interrupted.as_deref().filter(|_| at == At::Resumed) else {
        return Ok(());
    };
    never(
        state.events.in_smm,
        "RSM does not leave SMM",
        &requirement::SMM_RSM_002,
    )?;
    never(
        state.general != interrupted.general || state.rflags != interrupted.rflags,
        "RSM does not restore the general registers or RFLAGS",
        &requirement::SMM_SAVE_008,
    )?;
    never(
        state.segments != interrupted.segments,
        "RSM does not restore the segment registers",
        &requirement::SMM_RSM_009,
    )?;
    never(
        state.cr0 != interrupted.cr0 || state.cr4 != interrupted.cr4 || state.dr7 != interrupted.dr7,
        "RSM does not restore CR0, CR4 or DR7",
        &requirement::SMM_SAVE_009,
    )?;
    let was_masked = interrupted.events.nmi_masked;
    never(
        state.events.nmi_masked && !was_masked,
        "NMIs are blocked after RSM although they were not before the SMI",
        &requirement::NMI_SMM_005,
    )?;
    let cleared = turn.profile.nmi_mask_after_rsm == Choice::Always(NmiMaskAfterRsm::Cleared);
    never(
        !state.events.nmi_masked && was_masked && !history.iret_in_smm && !cleared,
        "NMIs are not blocked after RSM although the SMI interrupted an NMI handler",
        &requirement::NMI_SMM_002,
    )
}

/// Takes the turn into the history.
fn remember(turn: &Turn<'_>, at: At, history: &mut History) {
    if turn.before.in_smm && event(turn) == Some(Symbol::Iret) {
        history.iret_in_smm = true;
    }
    match at {
        At::InSmi => {
            history.iret_in_smm = false;
            // With an SMI pending, RSM goes back to what was interrupted and leaves it again.
            if turn.before.in_smm
                && let Some(interrupted) = &mut history.interrupted
            {
                Rc::make_mut(interrupted).events.nmi_masked = turn.after.events.smm_inside_nmi;
            }
        }
        _ if !turn.after.events.in_smm => {
            // What an SMI that the host raises here would interrupt.
            history.interrupted = None;
        }
        _ => {}
    }
    if matches!(at, At::Smi | At::StiSmi | At::MovSsSmi)
        && !turn.after.events.in_smm
        && let Some(state) = turn.observation.state.as_ref()
    {
        history.interrupted = Some(Rc::new((**state).clone()));
    }
}

/// An event that the host raises is pending from then on, unless it merges with one that is
/// pending already (NMI-MASK-005, SMM-LATCH-001).
fn raised(turn: &Turn<'_>, at: At, state: &VcpuState, history: &mut History) -> Result<(), Broken> {
    let (before, after) = (&state.events, &turn.after.events);
    match at {
        At::Nmi | At::StiNmi | At::MovSsNmi => {
            history.nmis_accepted += after.nmi_pending - before.nmi_pending.min(after.nmi_pending);
            never(
                after.nmi_pending == 0 || after.nmi_pending > 2 || after.nmi_pending < before.nmi_pending,
                "an NMI that arrives is not pending, or too many are",
                &requirement::NMI_MASK_005,
            )
        }
        At::Smi | At::StiSmi | At::MovSsSmi => {
            history.smis_accepted += u8::from(after.smi_pending && !before.smi_pending);
            never(
                !after.smi_pending,
                "an SMI that arrives is not pending",
                &requirement::SMM_LATCH_001,
            )
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use spec_model::profile::KVM_SVM;
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
                profile: &KVM_SVM,
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
        ] {
            assert_eq!(found, Some(wanted));
        }
    }
}
