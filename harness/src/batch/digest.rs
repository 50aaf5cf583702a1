//! Digests: of what happened in a run, and of all that was observed.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use spec_model::transcript::{Observation, Stop, Transcript};
use spec_model::x86::state::Shadow;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// What happened in a run, so that two that show the same are known to: the stops in their
/// order (which handler was entered, or that none was), and at each what is masked, pending and
/// in force. Registers, memory and the number of the event are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Behaviour(pub u64);

impl Behaviour {
    /// That of a whole run. The HLT at its end is not part of what happened.
    #[must_use]
    pub fn of(transcript: &Transcript) -> Self {
        let mut behaviour = Self::default();
        for observation in &transcript.observations {
            if observation.stop != Stop::Halted(None) {
                behaviour.add(observation);
            }
        }
        behaviour
    }

    /// One more stop.
    pub fn add(&mut self, observation: &Observation) {
        let [high, low] = stop(observation.stop);
        let mut bytes = [high, low, 0xff, 0xff, 0xff];
        if let Some(state) = &observation.state {
            let events = &state.events;
            let flags = [
                events.nmi_masked,
                events.nmi_injected,
                events.in_smm,
                events.smm_inside_nmi,
                events.smi_pending,
                events.init_latched,
                events.exception.is_some(),
            ];
            bytes[2] = flags.iter().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
            bytes[3] = events.nmi_pending;
            bytes[4] = match events.shadow {
                Shadow::None => 0,
                Shadow::Sti => 1,
                Shadow::MovSs => 2,
            };
        }
        self.0 = xxh3_64_with_seed(&bytes, self.0);
    }
}

fn stop(stop: Stop) -> [u8; 2] {
    match stop {
        Stop::Sync(point) => [0, point.0 as u8],
        Stop::Halted(None) => [1, 0],
        Stop::Halted(Some(point)) => [2, point.0 as u8],
        Stop::Shutdown => [3, 0],
        Stop::InternalError(suberror) => [4, suberror as u8],
        Stop::EntryFailed => [5, 0],
        Stop::RunFailed(errno) => [6, errno as u8],
        Stop::Stuck => [7, 0],
        Stop::LimitReached => [8, 0],
        Stop::WaitsForSipi => [9, 0],
    }
}

/// Everything that is judged of a run, in 128 bits: two runs with the same fingerprint are
/// the same to the last field, for all that a fault of the memory is not likelier.
#[must_use]
pub fn fingerprint(transcript: &Transcript) -> u128 {
    let mut hasher = Whole(Xxh3::new());
    let Transcript {
        observations,
        memory_changes,
        smm_memory_changes,
        // What is left of a lost processor is told and not judged.
        remains: _,
        stage2,
        state_faults,
    } = transcript;
    let judged = (
        observations,
        memory_changes,
        smm_memory_changes,
        stage2,
        state_faults,
    );
    judged.hash(&mut hasher);
    hasher.0.digest128()
}

/// Numbers in little-endian order whatever the machine.
struct Whole(Xxh3);

impl Hasher for Whole {
    fn finish(&self) -> u64 {
        self.0.digest()
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
