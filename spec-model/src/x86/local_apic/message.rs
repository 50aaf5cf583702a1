//! Messages between local APICs: who gets one, and what becomes of it there.

use super::{Command, DeliveryMode, FLAT_MODEL, LocalApic, Mode, Shorthand};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::machine::Machine;
use crate::x86::processor::{Processor, Vcpu};

/// A command on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// What was written to the interrupt command register.
    pub command: Command,
    /// Only the sender gets it, whatever the command says: the self-IPI register.
    pub to_self: bool,
}

impl Machine<'_> {
    /// Delivers what a processor has sent since the last instruction, in order.
    ///
    /// # Errors
    /// If a receiver cannot take it.
    pub(in crate::x86) fn deliver_messages(&mut self, sender: usize) -> Result<(), ModelError> {
        for message in self.take_messages(sender) {
            let receivers = 0..self.state().vcpus.len();
            let mut receivers: Vec<usize> = receivers
                .filter(|receiver| self.gets(message, sender, *receiver))
                .collect();
            if self.stops_at_the_first(message.command) {
                receivers.truncate(1);
            }
            self.note_event(sender, || {
                let receivers: Vec<String> = receivers.iter().map(usize::to_string).collect();
                format!("ICR: {} to vCPU {}", message.command.mode, receivers.join(", "))
            });
            for receiver in receivers {
                self.processor(receiver).accept(message.command)?;
            }
        }
        Ok(())
    }

    /// APIC-ICR-002 to APIC-ICR-006, and for a software-disabled sender APIC-DIS-003. A local APIC that is off in
    /// IA32_APIC_BASE gets nothing (APIC-BASE-003).
    fn gets(&self, message: Message, sender: usize, receiver: usize) -> bool {
        let command = message.command;
        let Some(apic) = self.apic(receiver) else {
            return false;
        };
        let is_off = apic.mode() == Mode::Disabled && !self.rules.broken(Defect::ApicOffGetsMessages);
        if is_off {
            return false;
        }
        let is_self = sender == receiver;
        let enabled = self.apic(sender).is_some_and(LocalApic::accepts_interrupts);
        if !enabled && self.rules.broken(Defect::SoftwareDisabledApicSendsNothing) {
            return false;
        }
        if message.to_self {
            return is_self;
        }
        match command.shorthand {
            Shorthand::None => {
                let ignored = if command.logical {
                    Defect::LogicalDestinationIgnored
                } else {
                    Defect::PhysicalDestinationIgnored
                };
                let excluded = is_self && self.rules.broken(Defect::BroadcastExcludesSender);
                let is_broadcast = command.destination == if command.wide { u32::MAX } else { 0xff };
                let shadowed = command.logical
                    && self.rules.broken(Defect::SharedLogicalIdentifierReachesLast)
                    && self.has_namesake_behind(receiver);
                (command.names(apic) || self.rules.broken(ignored))
                    && !(excluded && is_broadcast)
                    && !shadowed
            }
            Shorthand::OneSelf => is_self,
            Shorthand::AllIncludingSelf => true,
            Shorthand::AllExcludingSelf => !is_self || self.rules.broken(Defect::AllButSelfIncludesSelf),
        }
    }

    /// Whether a processor with a higher index has the same logical identifier in xAPIC mode.
    fn has_namesake_behind(&self, index: usize) -> bool {
        let identifier = |index| {
            let apic = self.apic(index)?;
            (apic.mode() == Mode::XApic && apic.dfr == FLAT_MODEL).then_some(apic.ldr >> 24)
        };
        let own = identifier(index);
        let behind = index + 1..self.state().vcpus.len();
        own.is_some_and(|own| own != 0) && behind.into_iter().any(|other| identifier(other) == own)
    }

    fn stops_at_the_first(&self, command: Command) -> bool {
        command.mode == DeliveryMode::Smi
            && command.shorthand == Shorthand::AllExcludingSelf
            && self.rules.broken(Defect::BroadcastSmiReachesOne)
    }

    fn apic(&self, index: usize) -> Option<&LocalApic> {
        let vcpu: &Vcpu = self.state().vcpus.get(index)?;
        vcpu.state.apic.as_deref()
    }
}

impl Processor<'_, '_> {
    /// A message arrives. A local APIC that software has disabled takes no fixed interrupts
    /// (APIC-DIS-001), but NMI, SMI, INIT and startup (APIC-DIS-002).
    fn accept(&mut self, command: Command) -> Result<(), ModelError> {
        let takes_all = self.rules.broken(Defect::SoftwareDisabledApicAcceptsFixed);
        let refuses = self.rules.broken(Defect::SoftwareDisabledApicRefusesNmi);
        let Some(apic) = self.state_mut().apic.as_deref_mut() else {
            return Ok(());
        };
        let enabled = apic.accepts_interrupts();
        match command.mode {
            DeliveryMode::Fixed if enabled || takes_all => apic.request(command.vector),
            DeliveryMode::Fixed | DeliveryMode::InitDeassert => {}
            _ if refuses && !enabled => {}
            DeliveryMode::Smi => self.latch_smi()?,
            DeliveryMode::Nmi => self.latch_nmi(),
            DeliveryMode::Init => self.latch_init(),
            DeliveryMode::Startup => self.latch_startup(command.vector),
        }
        Ok(())
    }
}
