//! A guest that reads the same place again and again, while another thread of the host changes what is
//! there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use spec_model::stage2::scenario::{GuestStep, HostStep};
use spec_model::stage2::transcript::{End, StepSeen};

use super::host_side::HostSide;
use super::{Entered, Failure, MOST_EXITS, Session, Stage2Machine, guest, own_memory};

/// How often the other thread looks whether the guest spins.
const POLL: Duration = Duration::from_micros(50);

impl Session<'_> {
    /// Lets the guest spin, and once it does makes the changes.
    ///
    /// # Errors
    /// If KVM or the host refuses what a scenario may not be about.
    pub(super) fn spin(&mut self, step: &GuestStep, seen: &mut StepSeen) -> Result<End, Failure> {
        let watchdog = self.watchdog;
        let Stage2Machine {
            guest, vm, server, ..
        } = &mut *self.machine;
        let mut host = HostSide {
            vm,
            areas: &self.areas,
            slots: &mut self.slots,
        };
        let spins = server.host_address() + guest::SPINS;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let changes = scope.spawn(|| {
                if wait(spins, &over)? {
                    change(&mut host, &step.meanwhile)?;
                }
                Ok::<(), Failure>(())
            });
            watchdog.arm();
            let end = loop {
                match guest.enter(step.answer) {
                    Ok(Entered::Access(exit)) => seen.exits.push(exit),
                    Ok(Entered::Ended(end)) => break Ok(end),
                    Ok(Entered::Again) => {}
                    Err(failure) => break Err(failure),
                }
                if seen.exits.len() > MOST_EXITS || watchdog.expired() {
                    break Ok(End::Stuck);
                }
            };
            watchdog.disarm();
            over.store(true, Ordering::Release);
            let panicked =
                |_| Failure::BadScenario("the thread that makes the changes has panicked".to_owned());
            changes.join().map_err(panicked)??;
            end
        })
    }
}

/// Waits until the guest spins; false if its operation was over before.
fn wait(spins: usize, over: &AtomicBool) -> Result<bool, Failure> {
    let mut flag = [0];
    while !over.load(Ordering::Acquire) {
        own_memory::read(spins, &mut flag).map_err(super::call("process_vm_readv"))?;
        if flag != [0] {
            return Ok(true);
        }
        thread::sleep(POLL);
    }
    Ok(false)
}

fn change(host: &mut HostSide<'_>, steps: &[HostStep]) -> Result<(), Failure> {
    for step in steps {
        let seen = host.step(step)?;
        if seen != Some(StepSeen::default()) {
            return Err(Failure::BadScenario(format!(
                "what the host does while the guest spins must succeed, read nothing, and change slots or memory; \
                 {step:?} gives {seen:?}"
            )));
        }
    }
    Ok(())
}
