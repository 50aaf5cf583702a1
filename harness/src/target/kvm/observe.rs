//! What is observed of a virtual machine at a stop, and at the end of a run.

use spec_model::scenario::{Observe, Point, PointId, PointKind};
use spec_model::transcript::{Observation, Remains, STACK_SLOTS, Stop};
use spec_model::x86::save_area::{SAVE_AREA_OFFSET, SAVE_AREA_SIZE};
use spec_model::x86::segment::SegmentName;
use spec_model::x86::state::VcpuState;

use super::super::Lack;
use super::failure::Failure;
use super::lacks;
use super::session::{Session, Stopped, little_endian};

impl Session<'_> {
    /// The point that a stop is, as far as the host has to know before it looks at the state: a
    /// HLT is one by its address, for which the registers are read and nothing else.
    pub(super) fn point_of(&mut self, vcpu: u8, stopped: &Stopped) -> Result<Option<PointId>, Failure> {
        let is_halt = |point: &Point| matches!(point.kind, PointKind::Halt { .. });
        match stopped {
            Stopped::Sync(point) => Ok(Some(*point)),
            Stopped::Halted if self.observe == Observe::Ends && self.scenario.points.iter().any(is_halt) => {
                let registers = self.machine.vcpu(vcpu)?.registers()?;
                Ok(self.halt_point(&registers))
            }
            _ => Ok(None),
        }
    }

    /// Whether the host does not look at the state at a point that `vcpu` has just reached.
    pub(super) fn is_unobserved(&self, point: PointId, vcpu: u8) -> bool {
        let reached = self.reached.get(usize::from(point.0)).copied();
        let occurrence = reached.unwrap_or(0).saturating_add(1);
        let before_completion = self.scenario.raises_before_completion(point, occurrence, vcpu);
        let is_last = self.observations.len() as u64 + 1 >= u64::from(self.scenario.limits.observations);
        !is_last && (self.observe == Observe::Ends || before_completion)
    }

    /// At the end of the run: the state of every processor whose last stop was a point at which
    /// the host did not look.
    pub(super) fn observe_ends(&mut self) -> Result<(), Failure> {
        for vcpu in (0..=u8::MAX).take(self.parts.len()) {
            let last = self.observations.iter().rposition(|seen| seen.vcpu == vcpu);
            let Some(last) = last.filter(|last| self.observations[*last].is_unobserved()) else {
                continue;
            };
            let completed = self.complete(vcpu);
            let state = match completed.and_then(|()| self.machine.vcpu(vcpu)?.state()) {
                Ok(state) => state,
                // Another processor was its end: KVM refuses every ioctl.
                Err(_) if self.given_up => continue,
                Err(failure) => return Err(failure),
            };
            let (stack, save_area, watches) = (self.stack(&state), self.save_area(&state), self.watches());
            let seen = &mut self.observations[last];
            (seen.stack, seen.save_area, seen.watches) = (stack, save_area, watches);
            seen.state = Some(Box::new(state.observable()));
        }
        Ok(())
    }

    /// Records everything about a stop and says which one it is.
    pub(super) fn observe(&mut self, vcpu: u8, stopped: Stopped) -> Result<Stop, Failure> {
        let point = self.point_of(vcpu, &stopped)?;
        let unobserved = point.is_some_and(|point| self.is_unobserved(point, vcpu));
        if !unobserved {
            self.complete(vcpu)?;
        }
        let state = match &stopped {
            _ if unobserved => None,
            Stopped::Sync(_) | Stopped::Halted | Stopped::WaitsForSipi => {
                Some(self.machine.vcpu(vcpu)?.state()?)
            }
            // A virtual machine that KVM has given up refuses its getters too.
            Stopped::InternalError(_)
            | Stopped::EntryFailed
            | Stopped::RunFailed(_)
            | Stopped::Shutdown
            | Stopped::Stuck => self.machine.vcpu(vcpu)?.state().ok(),
        };
        self.reusable &= matches!(
            stopped,
            Stopped::Sync(_) | Stopped::Halted | Stopped::WaitsForSipi
        );
        self.given_up |= matches!(
            stopped,
            Stopped::InternalError(_) | Stopped::EntryFailed | Stopped::RunFailed(_)
        );
        self.lack = self.lack_behind(&stopped, state.as_ref());
        let stop = match stopped {
            Stopped::Sync(point) => Stop::Sync(point),
            Stopped::Halted => Stop::Halted(match &state {
                Some(state) => self.halt_point(state),
                None => point,
            }),
            Stopped::WaitsForSipi => Stop::WaitsForSipi,
            Stopped::Shutdown => Stop::Shutdown,
            Stopped::InternalError(error) => Stop::InternalError(error.suberror),
            Stopped::EntryFailed => Stop::EntryFailed,
            Stopped::RunFailed(errno) => Stop::RunFailed(errno),
            Stopped::Stuck => Stop::Stuck,
        };
        // What is left of a processor that is lost is specified nowhere: the hardware leaves the
        // VMCB undefined at a shutdown, so that SVM resets the processor (Linux
        // arch/x86/kvm/svm/svm.c, shutdown_interception), a hypervisor that gave up was half done,
        // and a stuck one is anywhere. It is told all the same.
        let (state, left) = if stop.is_crash() {
            (None, state)
        } else {
            (state, None)
        };
        if let Some(left) = left {
            self.remains.push(Remains {
                observation: self.observations.len(),
                state: Box::new(left.observable()),
            });
        }
        let observation = Observation {
            vcpu,
            stop,
            stack: state.as_ref().map_or_else(Vec::new, |state| self.stack(state)),
            save_area: state.as_ref().and_then(|state| self.save_area(state)),
            watches: self.watches(),
            accesses: std::mem::take(&mut self.accesses),
            state: state.map(|state| Box::new(state.observable())),
        };
        self.observations.push(observation);
        Ok(stop)
    }

    /// The HLT that a processor stands behind.
    fn halt_point(&self, state: &VcpuState) -> Option<PointId> {
        let linear = state.segment(SegmentName::Cs).base.wrapping_add(state.rip);
        let number = self
            .scenario
            .points
            .iter()
            .position(|point| point.kind == PointKind::Halt { resume: linear })?;
        u16::try_from(number).ok().map(PointId)
    }

    fn stack(&self, state: &VcpuState) -> Vec<u64> {
        let width = state.stack_width();
        let mut bytes = [0; STACK_SLOTS * 8];
        let bytes = &mut bytes[..STACK_SLOTS * width];
        if !self
            .machine
            .memory
            .read(state.stack_top(), state.events.in_smm, bytes)
        {
            return Vec::new();
        }
        bytes.chunks(width).map(little_endian).collect()
    }

    fn save_area(&self, state: &VcpuState) -> Option<Vec<u8>> {
        let mut area = vec![0; SAVE_AREA_SIZE];
        let address = state.smbase.wrapping_add(SAVE_AREA_OFFSET);
        (state.events.in_smm && self.machine.memory.read(address, true, &mut area)).then_some(area)
    }

    fn watches(&self) -> Vec<Vec<u8>> {
        let watches = self.scenario.watches.iter();
        watches
            .map(|watch| {
                let memory = &self.machine.memory;
                memory
                    .read_vec(watch.address, watch.smm, watch.length)
                    .unwrap_or_default()
            })
            .collect()
    }

    /// What KVM gave up on, if its backend is listed to lack that.
    fn lack_behind(&self, stopped: &Stopped, state: Option<&VcpuState>) -> Option<Lack> {
        let (Stopped::InternalError(error), Some(state)) = (stopped, state) else {
            return None;
        };
        let bytes = match error.instruction.as_slice() {
            [] => self.instruction_bytes(state),
            known => known.to_vec(),
        };
        let backend = self.device.identity.backend;
        lacks::of_internal_error(backend, error.suberror, state, &bytes)
    }

    /// The bytes at CS:RIP, with linear taken for guest-physical addresses.
    fn instruction_bytes(&self, state: &VcpuState) -> Vec<u8> {
        const LONGEST: u32 = 15;
        let linear = state.segment(SegmentName::Cs).base.wrapping_add(state.rip);
        let memory = &self.machine.memory;
        memory
            .read_vec(linear, state.events.in_smm, LONGEST)
            .unwrap_or_default()
    }
}
