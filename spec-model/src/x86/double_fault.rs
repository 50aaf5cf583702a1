//! Exceptions and other events, and the faults that their delivery raises in turn: delivered one after the
//! other, or as a double fault, or ending in shutdown.

use super::control::flag;
use super::exception::{
    Class, DB, Event, Exception, GP, Interruption, NP, Nested, PF, SS, Source, TS, UD, nested,
};
use super::processor::{Activity, Processor};
use super::state::Shadow;
use crate::defect::Defect;
use crate::error::ModelError;

/// The EXT bit of an error code: the event did not come from the program itself.
const EXT: u32 = 1;
/// More faults than this while delivering one event, each in place of the last, are no
/// progress.
const MOST_NESTED: usize = 16;

impl Processor<'_, '_> {
    /// Delivers an exception that an instruction raised.
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn raise(&mut self, exception: Exception) -> Result<(), ModelError> {
        if self.state().xen_pv.is_some() {
            return self.bounce_exception(exception);
        }
        self.note_page_fault(exception);
        if exception.vector == DB {
            self.note_debug_exception(exception.debug_status);
        }
        if exception.vector == UD && self.rules.broken(Defect::UndefinedOpcodeLeavesRf) {
            self.state_mut().rflags |= flag::RF;
        }
        let event = Event {
            vector: exception.vector,
            error_code: exception.error_code,
            source: Source::Hardware,
        };
        self.interrupt(event, Class::of(exception.vector))
    }

    /// Delivers an event, and whatever its delivery raises in turn (EXC-DF-001 to
    /// EXC-DF-003). A software interrupt or NMI counts as benign. The NMI mask stays as it is
    /// (NMI-MASK-010).
    ///
    /// # Errors
    /// If the model cannot go on.
    pub fn interrupt(&mut self, event: Event, class: Class) -> Result<(), ModelError> {
        let (mut event, mut class) = (event, class);
        self.vcpu.activity = Activity::Running;
        self.state_mut().events.shadow = Shadow::None;
        // With a defect that skips double faults the faults may go on for ever.
        for _ in 0..MOST_NESTED {
            if event.vector == PF && self.rules.broken(Defect::PageFaultLeavesRf) {
                self.state_mut().rflags |= flag::RF;
            }
            let exception = match self.deliver(event) {
                Ok(()) => return Ok(()),
                Err(Interruption::Model(error)) => return Err(error),
                Err(Interruption::Exception(exception)) => self.with_ext(exception, event.source),
            };
            if std::mem::take(&mut self.vcpu.walk_met_nothing) {
                let gives_up = self.rules.broken(Defect::DeliveryWithoutTablesFails);
                self.vcpu.activity = if gives_up {
                    Activity::Undelivered
                } else {
                    Activity::Looping
                };
                self.note_page_fault(exception);
                return Ok(());
            }
            let second = Class::of(exception.vector);
            let escalates = class == Class::Benign && self.rules.broken(Defect::BenignNestedIsDoubleFault);
            let outcome = if escalates {
                Nested::DoubleFault
            } else {
                nested(class, second)
            };
            let skipped = outcome == Nested::DoubleFault && self.rules.broken(Defect::DoubleFaultSkipped);
            let forgotten = self.exception_is_forgotten(outcome)?;
            let delivered = outcome != Nested::DoubleFault || skipped || forgotten;
            if delivered || !self.rules.broken(Defect::DoubleFaultKeepsCr2) {
                self.note_page_fault(exception);
            }
            let repeats = self.rules.broken(Defect::TripleFaultRepeats);
            (event, class) = match outcome {
                Nested::Shutdown if !forgotten && !repeats => {
                    self.vcpu.activity = Activity::Shutdown;
                    return Ok(());
                }
                Nested::DoubleFault if !skipped && !forgotten => (Event::DOUBLE_FAULT, Class::DoubleFault),
                _ => {
                    let (vector, error_code) = (exception.vector, exception.error_code);
                    (
                        Event {
                            vector,
                            error_code,
                            source: Source::Hardware,
                        },
                        second,
                    )
                }
            };
        }
        self.vcpu.activity = Activity::Shutdown;
        Ok(())
    }

    fn note_page_fault(&mut self, exception: Exception) {
        if let Some(address) = exception.address
            && !self.rules.broken(Defect::PageFaultLeavesCr2)
        {
            self.state_mut().cr2 = address;
        }
    }

    /// Sets the EXT bit of an exception raised while an event from outside the program was
    /// delivered (EXC-GATE-001). A page fault's error code has no such bit.
    pub(super) fn with_ext(&self, exception: Exception, source: Source) -> Exception {
        let has_ext = matches!(exception.vector, TS | NP | SS | GP);
        if has_ext && source == Source::Hardware && !self.rules.broken(Defect::ErrorCodeWithoutExt) {
            return Exception {
                error_code: exception.error_code.map(|code| code | EXT),
                ..exception
            };
        }
        exception
    }
}
