//! What the host sees when a processor stops.

use super::{Machine, Stretch};
use crate::defect::Defect;
use crate::outcome::{Allowance, Facility};
use crate::profile::ShadowKinds;
use crate::requirement::{DBG_DR6_004, EXC_FLAGS_001, INS_CPUID_001, SMM_DR6_001};
use crate::transcript::{Observation, STACK_SLOTS, Stop};
use crate::x86::control::{cr0, cr4, efer};
use crate::x86::exception::DB;
use crate::x86::execute::TOLD_BY_CPUID;
use crate::x86::processor::Vcpu;
use crate::x86::smm;
use crate::x86::state::{PendingException, Shadow};

/// A debug trap as the host reads it.
const DEBUG_TRAP: PendingException = PendingException {
    vector: DB,
    error_code: None,
};

impl Machine<'_> {
    /// Records a stop, with the number of pending NMIs and the shadow as the host reads them
    /// (NMI-API-001, SHADOW-KIND-001, EXC-STEP-004).
    pub(super) fn observe(&mut self, index: usize, stop: Stop) -> Stretch {
        let unobserved = self.is_unobserved(index, stop);
        self.notice_at_exit(index, !unobserved);
        self.note_facilities(index);
        let visible = !unobserved && !stop.is_crash();
        let mut stretch = self.look(index, stop, visible);
        stretch.observation.accesses = std::mem::take(&mut self.state.accesses[index]);
        stretch
    }

    /// At the end of the run: the state of every processor whose last stop was a point at which
    /// the host did not look. So it is that behind the host's events there.
    pub fn observe_ends(&mut self, observations: &mut [Observation]) -> Vec<Allowance> {
        let mut allowances = Vec::new();
        for index in 0..self.state.vcpus.len() {
            let of_processor = |seen: &&mut Observation| usize::from(seen.vcpu) == index;
            let numbered = observations
                .iter()
                .rposition(|seen| usize::from(seen.vcpu) == index);
            let last = observations.iter_mut().rfind(of_processor);
            let (Some(number), Some(last)) = (numbered, last.filter(|last| last.is_unobserved())) else {
                continue;
            };
            self.notice_at_exit(index, true);
            let mut seen = self.look(index, last.stop, true);
            seen.observation.accesses = std::mem::take(&mut last.accesses);
            *last = seen.observation;
            for allowance in &mut seen.allowances {
                allowance.observation = number;
            }
            allowances.extend(seen.allowances);
        }
        allowances
    }

    /// What is seen of a processor that has stopped, but for its accesses.
    fn look(&self, index: usize, stop: Stop, visible: bool) -> Stretch {
        let mut allowances = Vec::new();
        let observation = self.state.observed;
        let vcpu = &self.state.vcpus[index];
        let state = visible.then(|| {
            let mut state = Box::new(vcpu.state.clone().observable());
            for segment in &mut state.segments {
                *segment = self.rules.cached(*segment);
            }
            if self.rules.profile.shadow_kinds == ShadowKinds::One && state.events.shadow == Shadow::Sti {
                state.events.shadow = Shadow::MovSs;
            }
            if vcpu.debug.trap != 0 {
                state.events.exception = Some(DEBUG_TRAP);
                state.dr6 |= vcpu.debug.trap;
            }
            if self.rules.broken(Defect::PendingNmisReportedAsOne) {
                state.events.nmi_pending = state.events.nmi_pending.min(1);
            }
            state
        });
        if visible && vcpu.undefined_flags != 0 {
            allowances.push(Allowance {
                observation,
                field: "rflags".to_owned(),
                address: None,
                any_bits: vcpu.undefined_flags,
                requirement: &EXC_FLAGS_001,
            });
        }
        if visible {
            allowances.extend(told_by_cpuid(observation, vcpu));
        }
        let undefined = vcpu.debug.undefined_with_trap();
        if visible && undefined != 0 {
            allowances.push(Allowance {
                observation,
                field: "dr6".to_owned(),
                address: None,
                any_bits: undefined,
                requirement: &DBG_DR6_004,
            });
        }
        let in_smm = vcpu.state.events.in_smm;
        if !stop.is_crash() && in_smm {
            let layout = smm::layout(&self.rules);
            let address = |row| Some(vcpu.state.smbase.wrapping_add(layout.row(row)?.from_smbase()));
            let leftovers = vcpu
                .save_area_leftovers
                .iter()
                .map(|(row, bits, requirement)| Allowance {
                    observation,
                    field: format!("save.{row}"),
                    address: address(*row),
                    any_bits: *bits,
                    requirement,
                });
            allowances.extend(leftovers);
            if visible && vcpu.dr6_undefined {
                allowances.push(Allowance {
                    observation,
                    field: "dr6".to_owned(),
                    address: None,
                    any_bits: u64::MAX,
                    requirement: &SMM_DR6_001,
                });
            }
        }
        let stack = if visible { self.stack(vcpu) } else { Vec::new() };
        let save_area = if visible && in_smm {
            smm::save_area(&self.rules, &vcpu.state, &self.state.memory)
        } else {
            None
        };
        let watch = |watch: &crate::scenario::Watch| {
            let bytes = self
                .state
                .memory
                .read_bytes(watch.address, watch.length as usize, watch.smm);
            bytes.unwrap_or_default()
        };
        let watches = self.scenario.watches.iter().map(watch).collect();
        let observation = Observation {
            vcpu: index as u8,
            stop,
            state,
            stack,
            save_area,
            watches,
            accesses: Vec::new(),
        };
        Stretch {
            observation,
            allowances,
        }
    }

    /// Notes what an incomplete processor may not survive when it leaves the guest.
    fn note_facilities(&mut self, index: usize) {
        let state = &self.state.vcpus[index].state;
        let enabled = state.efer & efer::LME != 0 && state.cr0 & cr0::PG == 0 && state.cr4 & cr4::PAE == 0;
        let facility = Facility::LongModeEnabledWithoutPae;
        if enabled && !self.rules.facilities.contains(&facility) {
            self.rules.facilities.push(facility);
        }
    }

    /// What an exit to the host and, if it does so, its reading of the event state change by
    /// themselves: nothing, by rights (NMI-API-002).
    pub(in crate::x86) fn notice_at_exit(&mut self, index: usize, reads_events: bool) {
        let drops_nmi = reads_events && self.rules.broken(Defect::ReadingEventsDropsNmi);
        let vcpu = &mut self.state.vcpus[index];
        vcpu.event_just_delivered = false;
        if std::mem::take(&mut vcpu.nmi_unblocks_at_exit) {
            vcpu.state.events.nmi_masked = false;
        }
        vcpu.nmi_awaits_step &= !reads_events;
        let events = &mut vcpu.state.events;
        if drops_nmi && events.nmi_masked {
            events.nmi_pending = events.nmi_pending.min(1);
        }
    }

    fn stack(&self, vcpu: &Vcpu) -> Vec<u64> {
        let width = vcpu.state.stack_width();
        let in_smm = vcpu.state.events.in_smm;
        let bytes = self
            .state
            .memory
            .read_bytes(vcpu.state.stack_top(), STACK_SLOTS * width, in_smm);
        let slot = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        bytes.map_or_else(Vec::new, |bytes| bytes.chunks(width).map(slot).collect())
    }
}

/// What CPUID has told, which no scenario decides (INS-CPUID-001).
fn told_by_cpuid(observation: usize, vcpu: &Vcpu) -> impl Iterator<Item = Allowance> {
    let told = TOLD_BY_CPUID.iter().zip(vcpu.told_by_cpuid);
    told.filter(|(_, bits)| *bits != 0)
        .map(move |(field, bits)| Allowance {
            observation,
            field: (*field).to_owned(),
            address: None,
            any_bits: bits,
            requirement: &INS_CPUID_001,
        })
}
