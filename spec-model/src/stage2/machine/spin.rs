//! A guest that reads the same place again and again while the host changes what is there.

use super::{Machine, Stop};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::stage2::scenario::HostStep;
use crate::stage2::transcript::{End, MemoryExit, StepSeen};

/// What one read comes to: a value or why there is none, and the accesses that reach the host.
type Outcome = (Result<u64, Stop>, Vec<MemoryExit>);

impl Machine<'_> {
    /// S2-HOST-012: the guest goes on as if each change had been made at once, and from the moment
    /// in which the host's call returns it sees nothing of what was before.
    ///
    /// When the guest notices a change is open, and what it notices must not be: once the host has changed
    /// what `read` gives, no later change may change that again.
    pub(super) fn spin(
        &mut self,
        meanwhile: &[HostStep],
        mut read: impl FnMut(&mut Self) -> Result<u64, Stop>,
    ) -> Result<Result<(), Stop>, ModelError> {
        let bad = |what: &str| Err(ModelError::BadScenario(what.to_owned()));
        let mut outcome = |machine: &mut Self| -> Outcome {
            let value = read(machine);
            (value, std::mem::take(&mut machine.seen).exits)
        };
        let before = outcome(self);
        if before.0.is_err() || !before.1.is_empty() {
            return bad("a guest cannot spin on what is not in memory");
        }
        let mut noticed: Option<Outcome> = None;
        for step in meanwhile {
            self.host_step(step)?;
            if self.seen != StepSeen::default() {
                return bad("what the host does while the guest spins must succeed and read nothing");
            }
            let now = outcome(self);
            match &noticed {
                None if now == before => {}
                None => noticed = Some(now),
                Some(noticed) if *noticed == now => {}
                Some(_) => return bad("the host changes twice what a guest that spins reads"),
            }
        }
        let unseen = self.defects.has(Defect::RunningGuestKeepsMappings);
        let Some((value, exits)) = noticed.filter(|_| !unseen) else {
            return Ok(Err(End::Stuck));
        };
        if value == before.0 {
            return bad("what the host answers is what a guest that spins has read before");
        }
        self.seen.exits = exits;
        Ok(value.map(|value| self.seen.value = Some(value)))
    }
}
