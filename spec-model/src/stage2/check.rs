//! Scenarios that no target can run, or targets of one architecture only.

use super::scenario::{GuestStep, HostStep, Operation, SERVER_PAGE, SERVER_PAGES, SERVER_SLOT, Stage2, Step};
use crate::architecture::Architecture;
use crate::error::ModelError;

impl Stage2 {
    /// Refuses what no target could run: slots over memory that is not the scenario's, or where the
    /// target has its own code.
    ///
    /// # Errors
    /// Which slot that is.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |what: String| Err(ModelError::BadScenario(what));
        let host_steps = self.steps.iter().flat_map(|step| match step {
            Step::Host(host) => vec![host],
            Step::Guest(guest) => guest.at_exit.iter().chain(&guest.meanwhile).collect(),
        });
        let in_steps = host_steps.filter_map(|step| match step {
            HostStep::SetSlot(slot) => Some(slot),
            _ => None,
        });
        for slot in self.slots.iter().chain(in_steps) {
            let Some(backing) = self.backings.get(usize::from(slot.backing)) else {
                return bad(format!("slot {} has no backing", slot.id));
            };
            // KVM refuses these itself.
            let refused = slot.pages > 1 << 31 || slot.page > 1 << 51;
            let end = u64::from(slot.offset).saturating_add(slot.pages);
            if !refused && end > u64::from(backing.pages) {
                return bad(format!(
                    "slot {} is longer than its backing `{}`",
                    slot.id, backing.name
                ));
            }
            let first = slot.page < SERVER_PAGE + SERVER_PAGES;
            if first && !refused && slot.page + slot.pages > SERVER_PAGE || slot.id == SERVER_SLOT {
                return bad(format!("slot {} is where the target has its own code", slot.id));
            }
        }
        Ok(())
    }

    /// The only architecture on which the scenario means something, and what of it the others
    /// lack, if there is one.
    #[must_use]
    pub fn only_on(&self) -> Option<(Architecture, String)> {
        if self.arm64.is_some() {
            return Some((
                Architecture::Arm64,
                "says how an arm64 guest is set up".to_owned(),
            ));
        }
        self.steps.iter().find_map(|step| match step {
            Step::Guest(GuestStep {
                operation: Operation::Arm64(operation),
                ..
            }) => {
                let what = format!(
                    "has the guest execute the A64 instruction `{}`",
                    operation.instruction.name()
                );
                Some((Architecture::Arm64, what))
            }
            Step::Guest(GuestStep {
                operation: Operation::UseTables { .. },
                ..
            })
            | Step::Host(HostStep::WriteTables(..)) => {
                Some((Architecture::X86, "uses page tables of x86".to_owned()))
            }
            Step::Guest(guest) if guest.at_exit.contains(&HostStep::InjectAbort) => {
                let what = "injects an external abort, which is an exception of arm64";
                Some((Architecture::Arm64, what.to_owned()))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage2::scenario::{
        Backing, BackingKind, DirtyLogMode, Fill, GuestAddress, Protection, SlotRequest,
    };

    fn guest(at_exit: Vec<HostStep>, meanwhile: Vec<HostStep>) -> Step {
        let at = GuestAddress::of_bytes(0);
        Step::Guest(GuestStep {
            operation: Operation::Spin { at },
            answer: 0,
            at_exit,
            meanwhile,
            interrupted: false,
        })
    }

    #[test]
    fn a_slot_beyond_its_memory_is_refused_wherever_it_is_set() {
        let slot = |pages| SlotRequest {
            id: 1,
            space: 0,
            page: 0x40,
            pages,
            backing: 0,
            offset: 1,
            read_only: false,
            log_dirty: false,
            other_flags: 0,
            misaligned: None,
        };
        let scenario = |slots, steps| Stage2 {
            backings: vec![Backing {
                name: "ram".to_owned(),
                kind: BackingKind::Anonymous,
                pages: 2,
                fill: Fill::Untouched,
                protection: Protection::ReadWrite,
                huge: false,
            }],
            slots,
            steps,
            dirty_log: DirtyLogMode::ReadClears,
            host_risk: false,
            arm64: None,
        };
        for (pages, is_right) in [(1, true), (2, false)] {
            let set = HostStep::SetSlot(slot(pages));
            for steps in [
                vec![Step::Host(set)],
                vec![guest(vec![set], vec![])],
                vec![guest(vec![], vec![set])],
            ] {
                assert_eq!(scenario(vec![], steps).check().is_ok(), is_right);
            }
            assert_eq!(scenario(vec![slot(pages)], vec![]).check().is_ok(), is_right);
        }
    }
}
