//! One run: the schedule and the stops. What is observed at each is in `observe`.

use spec_model::host_state::{Fault, StateFault};
use spec_model::scenario::{Observe, PointId, PointKind, SYNC_PORT, Scenario};
use spec_model::transcript::{Access, AccessSpace, Observation, Remains, Stop, Transcript};
use spec_model::x86::exception::DB;
use spec_model::x86::state::VcpuState;

use super::super::{Lack, Mode, Run, RunOptions};
use super::device::Device;
use super::exit::{Exit, InternalError};
use super::failure::Failure;
use super::local_apic::Activity;
use super::machine::Machine;
use super::tick::Tick;
use super::watchdog::{self, Watchdog};

/// Accesses kept between two observations. A guest that makes more of them without
/// reaching a point is stuck; keeping all would only fill memory until the time is up.
const ACCESSES_KEPT: usize = 4096;

/// A scenario on its way through a machine.
pub(super) struct Session<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) machine: &'a mut Machine,
    pub(super) device: &'a Device,
    pub(super) watchdog: &'a Watchdog,
    /// What the host does at each point beside observing and acting.
    pub(super) mode: Mode,
    /// What the host looks at.
    pub(super) observe: Observe,
    /// Processors that stand at a sync point whose OUT is outstanding.
    outstanding: Vec<bool>,
    /// KVM has given the machine up and refuses its ioctls.
    pub(super) given_up: bool,
    /// What each processor can still do.
    pub(super) parts: Vec<Part>,
    /// How often each point was reached.
    pub(super) reached: Vec<u32>,
    pub(super) accesses: Vec<Access>,
    pub(super) observations: Vec<Observation>,
    /// What the host set in vain.
    state_faults: Vec<StateFault>,
    pub(super) remains: Vec<Remains>,
    /// What KVM gave up on, if its backend is listed to lack that.
    pub(super) lack: Option<Lack>,
    pub(super) reusable: bool,
    /// Ends a KVM_RUN that sleeps; only with local APICs.
    tick: Option<Tick>,
}

/// What a processor can still do in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Go on.
    Running,
    /// Wait at a HLT for an event of the host.
    Halted {
        /// The host raised an NMI since.
        nmi: bool,
        /// The host raised an SMI since.
        smi: bool,
        /// The host raised a machine check since.
        machine_check: bool,
    },
    /// Wait for a startup IPI.
    WaitsForSipi,
    /// Nothing.
    Over,
}

/// What ended a stretch of execution, as KVM says it.
pub(super) enum Stopped {
    Sync(PointId),
    Halted,
    WaitsForSipi,
    Shutdown,
    InternalError(InternalError),
    EntryFailed,
    RunFailed(i32),
    Stuck,
}

/// What a run leaves.
pub(super) struct Ended {
    pub(super) run: Run,
    /// The machine ended in a state that the next scenario can start from.
    pub(super) reusable: bool,
}

/// Runs a scenario on a machine that holds it.
///
/// # Errors
/// If the scenario contradicts itself, the backend cannot run it, or KVM fails.
pub(super) fn run(
    scenario: &Scenario,
    machine: &mut Machine,
    device: &Device,
    watchdog: &Watchdog,
    options: RunOptions,
) -> Result<Ended, Failure> {
    let initial = |vcpu: &VcpuState| match vcpu.apic.as_deref() {
        Some(apic) if apic.waiting_for_sipi => Part::WaitsForSipi,
        _ => Part::Running,
    };
    let tick = machine.has_apics.then(|| Tick::new(watchdog::signal()));
    let mut session = Session {
        parts: scenario.vcpus.iter().map(initial).collect(),
        tick: tick.transpose().map_err(|source| Failure::Call {
            call: "timer_create",
            source,
        })?,
        reached: vec![0; scenario.points.len()],
        accesses: Vec::new(),
        observations: Vec::new(),
        state_faults: Vec::new(),
        remains: Vec::new(),
        lack: None,
        reusable: true,
        outstanding: vec![false; scenario.vcpus.len()],
        observe: match options.mode {
            Mode::Normal => scenario.observe.max(options.observe),
            // What is saved at every point is looked at there; a scenario that says otherwise is not run.
            Mode::UserspaceRewrite | Mode::Migrate => Observe::Points,
        },
        scenario,
        machine,
        device,
        watchdog,
        mode: options.mode,
        given_up: false,
    };
    let run = session.run().and_then(|()| session.observe_ends());
    // A machine in which a call failed is not used again, and the run is over.
    session.reusable &= run.is_ok();
    session.note_faults(run)?;
    let (memory_changes, smm_memory_changes) = session.machine.memory.changes();
    let transcript = Transcript {
        observations: session.observations,
        remains: session.remains,
        memory_changes,
        smm_memory_changes,
        stage2: None,
        state_faults: session.state_faults,
    };
    Ok(Ended {
        run: match session.lack {
            Some(lack) => Run::GaveUp(lack, transcript),
            None => Run::Done(transcript),
        },
        reusable: session.reusable,
    })
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut schedule = self.scenario.schedule.iter();
        loop {
            let (vcpu, stopped) = match self.next(&mut schedule) {
                Some(vcpu) => (vcpu, self.timed_stretch(vcpu)?),
                None => match self.enter_sleepers()? {
                    Some(woken) => woken,
                    None => return Ok(()),
                },
            };
            let stop = self.observe(vcpu, stopped)?;
            if self.lack.is_some() {
                return Ok(());
            }
            if self.observations.len() as u64 >= u64::from(self.scenario.limits.observations) {
                if let Some(last) = self.observations.last_mut() {
                    last.stop = Stop::LimitReached;
                }
                return Ok(());
            }
            self.go_on_after(vcpu, stop)?;
        }
    }

    /// Takes state that KVM did not take, or does not tell, for something that was seen in the run. On a
    /// virtual machine that KVM has given up every call fails with EIO, which is no news.
    ///
    /// # Errors
    /// If something else failed.
    pub(super) fn note_faults(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let Err(Failure::State(mut faults)) = outcome else {
            return outcome;
        };
        if self.given_up {
            let is_news = |fault: &StateFault| !matches!(fault.what, Fault::Refused { errno: libc::EIO, .. });
            faults.retain(is_news);
        }
        let after = self.observations.len().checked_sub(1);
        let after = after.and_then(|index| u32::try_from(index).ok());
        let faults = faults.into_iter().map(|fault| StateFault { after, ..fault });
        self.state_faults.extend(faults);
        Ok(())
    }

    /// What becomes of the processor that stopped, and what the host does there.
    fn go_on_after(&mut self, vcpu: u8, stop: Stop) -> Result<(), Failure> {
        let goes_on = match stop {
            Stop::Sync(_) => true,
            Stop::Halted(Some(_)) => self.exception_waits(vcpu)?,
            _ => false,
        };
        self.parts[usize::from(vcpu)] = match stop {
            _ if goes_on => Part::Running,
            Stop::Halted(Some(_)) => Part::Halted {
                nmi: false,
                smi: false,
                machine_check: false,
            },
            Stop::WaitsForSipi => Part::WaitsForSipi,
            _ => Part::Over,
        };
        let at_point = matches!(stop, Stop::Sync(_) | Stop::Halted(Some(_)));
        if let Stop::Sync(point) | Stop::Halted(Some(point)) = stop {
            self.host_events(point, vcpu)?;
        }
        if self.machine.has_apics {
            // The host is the scheduler and has to ask, which it may when no OUT is half done.
            self.complete_all()?;
            self.settle_messages()?;
        } else if at_point {
            self.wake_halted()?;
        }
        if at_point && self.mode != Mode::Normal {
            // What is outstanding has to be completed before the state is read to be saved (KVM
            // API 5, KVM_EXIT_IO).
            self.complete_all()?;
            self.save_and_restore()?;
        }
        Ok(())
    }

    /// Whether a processor that has just stopped at a HLT has a debug exception to take, as after a
    /// single step of it: then it goes on. Where the host does not look at the state, TF says so.
    fn exception_waits(&mut self, vcpu: u8) -> Result<bool, Failure> {
        const TRAP_FLAG: u64 = 1 << 8;
        let last = self.observations.last();
        match last.and_then(|seen| seen.state.as_ref()) {
            // A machine check that waits does not show that the processor goes on.
            Some(state) => Ok(state
                .events
                .exception
                .is_some_and(|exception| exception.vector == DB)),
            None => Ok(self.machine.vcpu(vcpu)?.registers()?.rflags & TRAP_FLAG != 0),
        }
    }

    /// Completes the OUT of the sync point at which a processor stands, unless it is complete.
    ///
    /// # Errors
    /// If something else comes of it.
    pub(super) fn complete(&mut self, vcpu: u8) -> Result<(), Failure> {
        let outstanding = self.outstanding.get_mut(usize::from(vcpu));
        if !outstanding.is_some_and(std::mem::take) {
            return Ok(());
        }
        match self.machine.vcpu(vcpu)?.complete() {
            None => Ok(()),
            Some(exit) => {
                let exit = match exit {
                    Exit::Failed(errno) => format!("failed: {}", std::io::Error::from_raw_os_error(errno)),
                    other => format!("{other:?}"),
                };
                Err(Failure::fault(usize::from(vcpu), Fault::NotCompleted { exit }))
            }
        }
    }

    fn complete_all(&mut self) -> Result<(), Failure> {
        (0..=u8::MAX)
            .take(self.outstanding.len())
            .try_for_each(|vcpu| self.complete(vcpu))
    }

    /// A machine check that shuts a processor down leaves a request in KVM that nothing but
    /// running takes away, so that no other scenario can use the machine.
    pub(super) fn note_machine_check(&mut self) {
        self.reusable = false;
    }

    /// With local APICs: enters once more every processor that sleeps with nothing to wake it.
    /// KVM must be of the same opinion; the first for which it is not is told, with its stop.
    fn enter_sleepers(&mut self) -> Result<Option<(u8, Stopped)>, Failure> {
        let asleep = |part: &Part| matches!(part, Part::Halted { .. } | Part::WaitsForSipi);
        let numbered = (0..=u8::MAX).zip(&self.parts);
        let sleepers: Vec<u8> = numbered
            .filter(|(_, part)| asleep(part))
            .map(|(number, _)| number)
            .collect();
        if !self.machine.has_apics {
            return Ok(None);
        }
        for vcpu in sleepers {
            let stopped = self.timed_stretch(vcpu)?;
            if !matches!(stopped, Stopped::Halted | Stopped::WaitsForSipi) {
                return Ok(Some((vcpu, stopped)));
            }
        }
        Ok(None)
    }

    /// A stretch that ends when the processor sleeps or takes too long.
    fn timed_stretch(&mut self, vcpu: u8) -> Result<Stopped, Failure> {
        self.watchdog.arm();
        if let Some(tick) = &self.tick {
            tick.start();
        }
        let stopped = self.stretch(vcpu);
        if let Some(tick) = &self.tick {
            tick.stop();
        }
        self.watchdog.disarm();
        stopped
    }

    /// With local APICs: every processor takes what it was sent, and those that sleep go on if
    /// something woke them. The events are read first, since an INIT also drops an SMI that
    /// `KVM_SMI` or a message requested and KVM has not looked at yet.
    fn settle_messages(&mut self) -> Result<(), Failure> {
        for (part, vcpu) in self.parts.iter_mut().zip(&mut self.machine.vcpus) {
            vcpu.events()?;
            let activity = vcpu.activity()?;
            *part = match (*part, activity) {
                (Part::Over, _) => Part::Over,
                (_, Activity::WaitsForSipi) => Part::WaitsForSipi,
                (
                    Part::Halted {
                        machine_check: false, ..
                    },
                    Activity::Halted,
                ) if !vcpu.state()?.is_woken_by_interrupt(false) => *part,
                _ => Part::Running,
            };
        }
        Ok(())
    }

    /// The processor that runs next.
    fn next(&self, schedule: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
        let can_run = |vcpu: &u8| self.parts.get(usize::from(*vcpu)) == Some(&Part::Running);
        let lowest = || (0..=u8::MAX).take(self.parts.len()).find(can_run);
        schedule.copied().find(can_run).or_else(lowest)
    }

    /// Lets the processor run until it reaches a point or cannot go on.
    fn stretch(&mut self, vcpu: u8) -> Result<Stopped, Failure> {
        let mut asleep = false;
        // KVM_RUN completes it first.
        if let Some(outstanding) = self.outstanding.get_mut(usize::from(vcpu)) {
            *outstanding = false;
        }
        loop {
            match self.machine.vcpu(vcpu)?.run() {
                Exit::PortWrite { port, size, data } => match self.sync_point(port, &data) {
                    Some(point) => {
                        if let Some(outstanding) = self.outstanding.get_mut(usize::from(vcpu)) {
                            *outstanding = true;
                        }
                        return Ok(Stopped::Sync(point));
                    }
                    None => {
                        for item in data.chunks(size) {
                            if !self.write_chipset(port, item)? {
                                self.record(AccessSpace::Port, true, u64::from(port), item);
                            }
                        }
                    }
                },
                Exit::PortRead { port, size, count } => {
                    let bridge = self.machine.memory.bridge();
                    if let Some(value) = bridge.and_then(|bridge| bridge.read_port(port, size)) {
                        let item = &value.to_le_bytes()[..size];
                        self.machine.vcpu(vcpu)?.answer_port_read(&item.repeat(count));
                        continue;
                    }
                    for _ in 0..count {
                        self.record(AccessSpace::Port, false, u64::from(port), &vec![0; size]);
                    }
                }
                Exit::MemoryWrite {
                    address,
                    data,
                    length,
                } => {
                    self.record(AccessSpace::Memory, true, address, &data[..length]);
                }
                Exit::MemoryRead { address, length } => {
                    self.record(AccessSpace::Memory, false, address, &[0; 8][..length.min(8)]);
                }
                Exit::Halted => return Ok(Stopped::Halted),
                Exit::Shutdown => return Ok(Stopped::Shutdown),
                Exit::InternalError(error) => return Ok(Stopped::InternalError(error)),
                Exit::EntryFailed => return Ok(Stopped::EntryFailed),
                Exit::Failed(errno) => return Ok(Stopped::RunFailed(errno)),
                // A signal that meets the exit of a HLT ends KVM_RUN before `vcpu_block` has seen
                // what wakes the processor, so it sleeps only if it still does the next time.
                Exit::Again if self.machine.has_apics => match self.machine.vcpu(vcpu)?.activity()? {
                    Activity::Runnable => asleep = false,
                    _ if !asleep => asleep = true,
                    Activity::Halted => return Ok(Stopped::Halted),
                    Activity::WaitsForSipi => return Ok(Stopped::WaitsForSipi),
                },
                Exit::Again => {}
                Exit::Unexpected(exit) => return Err(unexpected(vcpu, &exit)),
            }
            if self.watchdog.expired() {
                return Ok(Stopped::Stuck);
            }
        }
    }

    /// A write to a port of the chipset; false if it is not one. What the chipset does is no
    /// access that the host answers, so it is not recorded.
    fn write_chipset(&mut self, port: u16, item: &[u8]) -> Result<bool, Failure> {
        if self.machine.memory.bridge().is_none() {
            return Ok(false);
        }
        self.machine
            .change_chipset(|bridge| bridge.write_port(port, item.len(), little_endian(item)))
    }

    /// The sync point that a write to a port reports.
    fn sync_point(&self, port: u16, data: &[u8]) -> Option<PointId> {
        let number = port.checked_sub(u16::from(SYNC_PORT))?;
        let point = self.scenario.points.get(usize::from(number))?;
        (data.len() == 1 && point.kind == PointKind::Sync).then_some(PointId(number))
    }

    fn record(&mut self, space: AccessSpace, write: bool, address: u64, data: &[u8]) {
        if self.accesses.len() < ACCESSES_KEPT {
            self.accesses.push(Access {
                space,
                write,
                address,
                length: u8::try_from(data.len()).unwrap_or(u8::MAX),
                data: little_endian(data),
            });
        }
    }
}

fn unexpected(vcpu: u8, exit: &str) -> Failure {
    Failure::UnexpectedExit {
        vcpu: usize::from(vcpu),
        exit: exit.to_owned(),
    }
}

/// Up to 8 bytes as a number.
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
