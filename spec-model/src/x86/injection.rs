//! Events that a hypervisor has to inject anew, because their delivery left the guest.

use super::exception::{Event, Interruption, Nested};
use super::processor::Processor;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::Choice;
use crate::requirement::{EXC_DF_001, Requirement};

/// How a processor under a hypervisor comes to deliver an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Undisturbed,
    /// It left the guest, for instance at a page that is not mapped in the nested tables, and the
    /// hypervisor injected the event anew.
    InjectedAnew,
}

const DELIVERY: Choice<Delivery> = Choice::AnyOf(&[Delivery::Undisturbed, Delivery::InjectedAnew]);

/// Which delivery left the guest when an exception has been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftAt {
    /// That of the exception itself, before it faulted.
    Exception,
    /// That of the double fault, at the TSS.
    DoubleFaultsTables,
    /// That of the double fault, at its stack.
    DoubleFaultsStack,
}

const LEFT_AT: Choice<LeftAt> = Choice::AnyOf(&[
    LeftAt::Exception,
    LeftAt::DoubleFaultsTables,
    LeftAt::DoubleFaultsStack,
]);

/// Choices of this kind in one run. A delivery that leaves the guest reads few pages, tables and
/// a stack, and they are mapped from then on.
const MOST: usize = 4;

impl Processor<'_, '_> {
    /// Whether the event whose delivery has faulted had been injected anew. Only defects ask: an
    /// injected event is to behave as any other, as `requirement` demands.
    pub(super) fn injected_anew(&mut self, requirement: &'static Requirement) -> bool {
        self.rules.choices.times_settled(requirement) < MOST
            && self.rules.choices.settle(DELIVERY, requirement) == Delivery::InjectedAnew
    }

    /// Whether a fault in the delivery of an exception counts as the first one, because the exception had
    /// been injected anew (the defect). When the delivery of the double fault leaves the guest it is
    /// the exception that is injected anew, and no double fault comes of it the second time.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub(super) fn exception_is_forgotten(&mut self, outcome: Nested) -> Result<bool, ModelError> {
        let forgets = outcome != Nested::Serial && self.rules.broken(Defect::InjectedExceptionForgotten);
        if !forgets || !self.injected_anew(&EXC_DF_001) {
            return Ok(false);
        }
        if outcome == Nested::DoubleFault && self.long_mode_active() {
            let at_stack = match self.rules.choices.settle(LEFT_AT, &EXC_DF_001) {
                LeftAt::Exception => return Ok(true),
                LeftAt::DoubleFaultsTables => false,
                LeftAt::DoubleFaultsStack => true,
            };
            if let Err(Interruption::Model(error)) = self.break_off_delivery(Event::DOUBLE_FAULT, at_stack) {
                return Err(error);
            }
        }
        Ok(true)
    }
}
