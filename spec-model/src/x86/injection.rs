//! Events that a hypervisor has to inject anew, because their delivery left the guest.

use super::processor::Processor;
use crate::profile::Choice;
use crate::requirement::Requirement;

/// How a processor under a hypervisor comes to deliver an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Undisturbed,
    /// It left the guest, for instance at a page that is not mapped in the nested tables, and the
    /// hypervisor injected the event anew.
    InjectedAnew,
}

const DELIVERY: Choice<Delivery> = Choice::AnyOf(&[Delivery::Undisturbed, Delivery::InjectedAnew]);

/// Deliveries of one processor that may leave the guest. A delivery reads few pages, tables and
/// a stack, and they are mapped after the first that needs them.
const MOST: u8 = 3;

impl Processor<'_, '_> {
    /// Whether the event whose delivery has faulted had been injected anew. Only defects ask: an
    /// injected event is to behave as any other, as `requirement` demands.
    pub(super) fn injected_anew(&mut self, requirement: &'static Requirement) -> bool {
        if self.vcpu.perhaps_injected == MOST {
            return false;
        }
        self.vcpu.perhaps_injected += 1;
        self.rules.choices.settle(DELIVERY, requirement) == Delivery::InjectedAnew
    }
}
