//! What holds whatever the sequence.
//!
//! Each invariant is a function of one turn: what was in force when the processor started,
//! where it stopped and what is in force there. It cites the requirement that it follows from.

use std::rc::Rc;

use spec_model::choice::Settled;
use spec_model::profile::{Choice, NmiMaskAfterRsm, Profile};
use spec_model::requirement::{self, Requirement};
use spec_model::transcript::Observation;
use spec_model::x86::memory::PhysicalMemory;
use spec_model::x86::state::{EventState, RSP, Shadow, VcpuState};

use super::history::History;
use super::place::{At, SLOTS};
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
    /// What it has settled for good so far, this turn included.
    pub settled: &'a Settled,
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
    // The count goes on whatever else is wrong; what it misses is named by its cause.
    let counted = count(at, state, history);
    let result = priority(turn, at, state)
        .and(counted)
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

/// An SMI that is pending outside SMM comes before an NMI (SMM-LATCH-002). If the NMI comes
/// first, the SMI interrupts its handler before the first instruction (EXC-STEP-003): the stop is
/// in the SMI handler, with an NMI fewer pending.
fn priority(turn: &Turn<'_>, at: At, state: &VcpuState) -> Result<(), Broken> {
    let leaves = turn.before.in_smm && event(turn) == Some(Symbol::Rsm);
    let due = turn.before.smi_pending && (!turn.before.in_smm || leaves);
    let overtaken = at == At::InSmi && state.events.nmi_pending < turn.before.nmi_pending;
    never(
        due && (at == At::InNmi || overtaken),
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

/// How the implementation sets the NMI mask at RSM: as its profile says, or as it has settled
/// it for good. Until it has, all its options have come to the same.
fn mask_rule(turn: &Turn<'_>) -> NmiMaskAfterRsm {
    match turn.profile.nmi_mask_after_rsm {
        Choice::Always(rule) => rule,
        Choice::AnyOf(rules) => {
            let id = requirement::NMI_SMM_002.id;
            let settled = turn.settled.iter().find(|(settled, _)| *settled == id);
            rules[settled.map_or(0, |(_, index)| *index)]
        }
    }
}

/// RSM leaves NMIs blocked as the implementation has it, and never if they were not before the
/// SMI. An SMI that waits is taken at once and shows it as the mask that it interrupted
/// (NMI-SMM-002, NMI-SMM-004, NMI-SMM-005).
fn mask_after_rsm(turn: &Turn<'_>, at: At, state: &VcpuState, was_masked: bool) -> Result<(), Broken> {
    let masked = match at {
        At::InSmi => state.events.smm_inside_nmi,
        _ => state.events.nmi_masked,
    };
    never(
        masked && !was_masked,
        "NMIs are blocked after RSM although they were not before the SMI",
        &requirement::NMI_SMM_005,
    )?;
    let wanted = match mask_rule(turn) {
        NmiMaskAfterRsm::Restored => was_masked,
        NmiMaskAfterRsm::KeptInsideNmi => was_masked && turn.before.nmi_masked,
        NmiMaskAfterRsm::Cleared => false,
    };
    never(
        masked && !wanted,
        "NMIs are blocked after RSM although the implementation unblocks them",
        &requirement::NMI_SMM_002,
    )?;
    never(
        !masked && wanted,
        "NMIs are not blocked after RSM although the SMI interrupted an NMI handler",
        &requirement::NMI_SMM_002,
    )
}

/// RSM outside SMM is an invalid opcode; inside it restores what the SMI interrupted
/// (SMM-RSM-001, SMM-RSM-002, SMM-SAVE-008, SMM-RSM-009).
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
    let Some(interrupted) = history.interrupted.as_deref() else {
        return Ok(());
    };
    if matches!(at, At::Resumed | At::InSmi) {
        mask_after_rsm(turn, at, state, interrupted.events.nmi_masked)?;
    }
    if at != At::Resumed {
        return Ok(());
    }
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
    )
}

/// Takes the turn into the history.
fn remember(turn: &Turn<'_>, at: At, history: &mut History) {
    match at {
        At::InSmi => {
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
mod tests;
