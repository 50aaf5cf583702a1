//! Runs a scenario step by step.

mod access;
mod arm64;
mod host_steps;
mod spin;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use super::arm64::Arm64;
use super::host::Host;
use super::scenario::{GuestAddress, GuestStep, Operation, SPIN_SIZE, Stage2, Step};
use super::slots::{SlotName, Slots};
use super::transcript::{End, Stage2Seen, StepSeen};
use crate::architecture::Architecture;
use crate::choice::Choices;
use crate::defect::DefectSet;
use crate::error::ModelError;
use crate::profile::Profile;

/// KVM_INTERNAL_ERROR_EMULATION.
const EMULATION: u32 = 1;

/// Runs a scenario.
///
/// # Errors
/// If the scenario contradicts itself.
pub(crate) fn run(
    scenario: &Stage2,
    profile: &'static Profile,
    defects: DefectSet,
    choices: &mut Choices,
) -> Result<Stage2Seen, ModelError> {
    scenario.check()?;
    if let Some((architecture, what)) = scenario.only_on()
        && architecture != profile.architecture
    {
        return Err(ModelError::BadScenario(format!(
            "it {what}, and {} has none of that",
            profile.name
        )));
    }
    let arm64 = (profile.architecture == Architecture::Arm64).then(|| scenario.arm64.unwrap_or_default());
    // KVM has a second address space where it has SMM.
    let spaces = if profile.smm { 2 } else { 1 };
    let mut machine = Machine {
        host: Host::new(&scenario.backings, defects),
        slots: Slots::new(spaces, scenario.dirty_log, arm64.as_ref(), defects),
        arm64,
        abort: false,
        tables: None,
        pending: None,
        seen: StepSeen::default(),
        step: None,
        error: None,
        history: History::default(),
        defects,
        choices,
    };
    for slot in &scenario.slots {
        machine.slots.set(slot).map_err(|errno| {
            ModelError::BadScenario(format!("slot {} cannot be created: errno {errno}", slot.id))
        })?;
    }
    let mut steps = Vec::with_capacity(scenario.steps.len());
    for step in &scenario.steps {
        steps.push(machine.step(step)?);
        if steps
            .last()
            .is_some_and(|seen| matches!(seen.end, End::Shutdown | End::Stuck))
        {
            break;
        }
    }
    Ok(Stage2Seen {
        steps,
        changes: machine.host.changes(&scenario.backings),
        canary: machine.host.canary(),
    })
}

/// What earlier accesses did, which only defects look at.
#[derive(Clone, Debug, Default)]
struct History {
    /// Guest pages in memory that were accessed, with what was under them.
    accessed: BTreeMap<u64, (u16, u32)>,
    /// Guest pages that a hypervisor has mapped since the last change of what lies there.
    mapped: BTreeSet<u64>,
    /// Guest pages through which untouched memory was read.
    zero_page: BTreeSet<u64>,
    /// Guest pages without a slot that were accessed.
    holes: BTreeSet<u64>,
    /// Guest pages of read-only slots that were written.
    written: BTreeSet<u64>,
    /// Guest pages whose slot is gone, with what was under them.
    gone: BTreeMap<u64, (u16, u32)>,
    /// Host memory before the host changed what is mapped.
    before: Option<Box<Host>>,
}

/// What lies at a guest page.
#[derive(Clone, Copy, Debug)]
enum There {
    Nothing,
    Memory {
        slot: SlotName,
        backing: u16,
        page: u32,
        read_only: bool,
    },
}

/// Why an operation does not go on.
type Stop = End;

struct Machine<'a> {
    host: Host,
    slots: Slots,
    /// What the guest is like, on arm64.
    arm64: Option<Arm64>,
    /// The host answers an access with an abort.
    abort: bool,
    /// Where the page tables of the guest are, if it uses any.
    tables: Option<GuestAddress>,
    /// The operation that KVM_RUN failed in.
    pending: Option<GuestStep>,
    /// What the current step has shown so far.
    seen: StepSeen,
    /// The current step, if it is the guest's.
    step: Option<GuestStep>,
    /// The scenario is wrong in what the host does at an access, or the model does not know what comes of it.
    error: Option<ModelError>,
    history: History,
    defects: DefectSet,
    choices: &'a mut Choices,
}

impl Machine<'_> {
    fn step(&mut self, step: &Step) -> Result<StepSeen, ModelError> {
        self.seen = StepSeen::default();
        match step {
            Step::Guest(guest) => self.guest(guest)?,
            Step::Host(host) => self.host_step(host)?,
        }
        Ok(std::mem::take(&mut self.seen))
    }

    fn guest(&mut self, step: &GuestStep) -> Result<(), ModelError> {
        let mut step = step.clone();
        if step.operation == Operation::Retry {
            let Some(pending) = self.pending.take() else {
                // Only a broken hypervisor has done what should have failed.
                return if self.defects == DefectSet::NONE {
                    let what = "a retry without an operation that failed before it and can be tried again";
                    Err(ModelError::BadScenario(what.to_owned()))
                } else {
                    Ok(())
                };
            };
            step.operation = pending.operation;
        }
        self.pending = None;
        self.step = Some(step.clone());
        let ended = self.operation(&mut step)?;
        self.step = None;
        if let Err(end) = ended {
            self.seen.end = end;
            // S2-HOST-005: the instruction has not been executed and can be tried again.
            // A guest that spins would go on with what it read before, and so must not be tried again.
            let over =
                matches!(end, End::Exception { .. }) || matches!(step.operation, Operation::Spin { .. });
            self.pending = (!over).then_some(step);
        }
        Ok(())
    }

    /// One operation. A copy that stops has the rest of it left in `step`.
    fn operation(&mut self, step: &mut GuestStep) -> Result<Result<(), Stop>, ModelError> {
        if let Some(setup) = self.arm64 {
            return self.arm64_operation(setup, step);
        }
        let ended = match step.operation {
            Operation::Read { at, size } => self.read(at, size).map(|value| self.seen.value = Some(value)),
            Operation::Write { at, size, value } => self.write(at, size, value),
            Operation::Add { at, size, value } => {
                self.exchange(at, size, |old| Some(old.wrapping_add(value)))
            }
            Operation::CompareExchange {
                at,
                size,
                expected,
                value,
            } => self.exchange(at, size, |old| (old == expected & mask(size)).then_some(value)),
            Operation::Copy { .. } => self.copy(&mut step.operation),
            Operation::Fetch { at } => return self.fetch(at),
            Operation::Spin { at } => {
                let meanwhile = std::mem::take(&mut step.meanwhile);
                return self.spin(&meanwhile, |machine| machine.read(at, SPIN_SIZE));
            }
            Operation::UseTables { at } => {
                self.tables = Some(at);
                Ok(())
            }
            Operation::Retry | Operation::Arm64(_) => Ok(()),
        };
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(ended),
        }
    }
}

/// The bits of an access of that many bytes.
fn mask(bytes: u8) -> u64 {
    u64::MAX
        .checked_shr(64 - u32::from(bytes.min(8)) * 8)
        .unwrap_or(0)
}
