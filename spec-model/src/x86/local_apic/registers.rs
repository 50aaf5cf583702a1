//! Access to the registers: the page of memory in xAPIC mode, MSRs in x2APIC mode.

use super::icr::DELIVERY_STATUS;
use super::{Command, LVT_MASKED, Message, Mode, PAGE_SIZE, Shorthand, base, x2apic_logical_id};
use super::{DeliveryMode, RegistersWhenOff, SelfShorthand};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::requirement::{APIC_BASE_002, APIC_ICR_006};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::{Activity, Processor};

/// First MSR of x2APIC mode; register at offset n of the page is MSR 800h + n/16.
pub(in crate::x86) const FIRST_MSR: u32 = 0x800;
/// IA32_APIC_BASE.
pub(in crate::x86) const IA32_APIC_BASE: u32 = 0x1b;

/// Offsets in the page of registers (SDM vol. 3A, "The Local APIC Block Diagram").
mod offset {
    pub const ID: u64 = 0x20;
    pub const TPR: u64 = 0x80;
    pub const APR: u64 = 0x90;
    pub const PPR: u64 = 0xa0;
    pub const EOI: u64 = 0xb0;
    pub const RRD: u64 = 0xc0;
    pub const LDR: u64 = 0xd0;
    pub const DFR: u64 = 0xe0;
    pub const SVR: u64 = 0xf0;
    pub const ISR: u64 = 0x100;
    pub const TMR: u64 = 0x180;
    pub const IRR: u64 = 0x200;
    pub const ESR: u64 = 0x280;
    pub const ICR: u64 = 0x300;
    pub const ICR2: u64 = 0x310;
    pub const LVT: u64 = 0x320;
    pub const LVT_LAST: u64 = 0x370;
    pub const SELF_IPI: u64 = 0x3f0;
}

/// Bits of SVR that can be set: vector, software enable, focus check.
const SVR_WRITABLE: u32 = 0x3ff;
/// Bits of the local vector table entries that can be set, without the timer's mode.
const LVT_WRITABLE: [u32; 6] = [0x1_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

impl Processor<'_, '_> {
    /// With a defect the hypervisor takes a stale note of the last event for one that is being
    /// delivered, and does not carry out the access (APIC-PAGE-001).
    fn fails_after_event(&mut self) -> Step {
        if std::mem::take(&mut self.vcpu.event_just_delivered) {
            self.vcpu.activity = Activity::Undelivered;
            return Err(Exception::GP0.into());
        }
        Ok(())
    }

    /// A read from the page of registers.
    ///
    /// # Errors
    /// If it is one that the model does not know.
    pub(in crate::x86) fn read_apic_page(&mut self, address: u64, width: usize) -> Step<u64> {
        let offset = aligned(address, width)?;
        self.fails_after_event()?;
        match self.read_register(offset) {
            Some(value) => Ok(u64::from(value)),
            None => Err(unknown("reads", offset).into()),
        }
    }

    /// A write to the page of registers.
    ///
    /// # Errors
    /// If it is one that the model does not know.
    pub(in crate::x86) fn write_apic_page(&mut self, address: u64, width: usize, value: u64) -> Step {
        let offset = aligned(address, width)?;
        self.fails_after_event()?;
        let Some(apic) = self.state_mut().apic.as_deref_mut() else {
            return Ok(());
        };
        let value = value as u32;
        match offset {
            offset::LDR => apic.ldr = value & 0xff00_0000,
            offset::DFR => apic.dfr = value | 0x0fff_ffff,
            offset::ICR2 => apic.icr2 = value & 0xff00_0000,
            offset::ICR => {
                let high = apic.icr2;
                self.command(value, high)?;
            }
            _ => {
                if !self.write_register(offset, value) {
                    return Err(unknown("writes", offset).into());
                }
            }
        }
        Ok(())
    }

    /// RDMSR of an x2APIC register (APIC-X2-001, APIC-X2-002, APIC-X2-005).
    ///
    /// # Errors
    /// #GP where there is no such register in this mode.
    pub(in crate::x86) fn read_x2apic(&self, index: u32) -> Step<u64> {
        let offset = self.x2apic_offset(index)?;
        let Some(apic) = self.state().apic.as_deref() else {
            return Err(Exception::GP0.into());
        };
        match offset {
            offset::ICR => Ok(u64::from(apic.icr2) << 32 | u64::from(apic.icr)),
            offset::APR | offset::EOI | offset::RRD | offset::DFR | offset::ICR2 | offset::SELF_IPI
                if !self.rules.broken(Defect::X2apicReadsAnything) =>
            {
                Err(Exception::GP0.into())
            }
            offset::APR | offset::EOI | offset::RRD | offset::ICR2 | offset::SELF_IPI => Ok(0),
            _ => match self.read_register(offset) {
                Some(value) => Ok(u64::from(value)),
                None => Err(unknown("reads", offset).into()),
            },
        }
    }

    /// WRMSR to an x2APIC register (APIC-X2-001 to APIC-X2-003, APIC-X2-005).
    ///
    /// # Errors
    /// #GP where there is no such register in this mode, or it cannot be written so.
    pub(in crate::x86) fn write_x2apic(&mut self, index: u32, value: u64) -> Step {
        const RESERVED_IN_ICR: u64 = 0xfff3_2000;
        let offset = self.x2apic_offset(index)?;
        let low = value as u32;
        let ignores_reserved = self.rules.broken(Defect::X2apicIcrReservedIgnored);
        let ignores_upper_half = self.rules.broken(Defect::X2apicUpperHalfIgnored);
        let takes_any_eoi = self.rules.broken(Defect::X2apicEoiTakesAnything);
        match offset {
            offset::ICR if value & RESERVED_IN_ICR == 0 || ignores_reserved => {
                self.command(low, (value >> 32) as u32)
            }
            _ if value >> 32 != 0 && !ignores_upper_half => Err(Exception::GP0.into()),
            offset::SELF_IPI if low >> 8 == 0 => {
                let command = Command::decode(low, 0, Mode::X2Apic);
                self.send(command, true)
            }
            offset::EOI if low != 0 && !takes_any_eoi => Err(Exception::GP0.into()),
            offset::ESR if low != 0 => Err(Exception::GP0.into()),
            offset::TPR | offset::EOI | offset::SVR | offset::ESR | offset::LVT..=offset::LVT_LAST => {
                self.write_register(offset, low);
                Ok(())
            }
            offset::ID..offset::LVT | offset::SELF_IPI => Err(Exception::GP0.into()),
            _ => Err(unknown("writes", offset).into()),
        }
    }

    /// RDMSR of IA32_APIC_BASE.
    pub(in crate::x86) fn read_apic_base(&self) -> Step<u64> {
        match self.state().apic.as_deref() {
            Some(apic) => Ok(apic.base),
            None => Err(ModelError::NotModelled(
                "the guest reads IA32_APIC_BASE, but the machine has no local APIC".to_owned(),
            )
            .into()),
        }
    }

    /// WRMSR to IA32_APIC_BASE (APIC-X2-004, APIC-BASE-001). Whether the registers survive that it is
    /// turned off is open (APIC-BASE-002).
    ///
    /// # Errors
    /// #GP for a reserved bit, or a way from one mode to another that does not exist.
    pub(in crate::x86) fn write_apic_base(&mut self, value: u64) -> Step {
        const RESERVED: u64 = !(base::ADDRESS | base::BSP | base::ENABLE | base::X2APIC);
        let straight_on = self.rules.broken(Defect::ApicOffGoesStraightToX2apic);
        let Some(apic) = self.state().apic.as_deref() else {
            let message = "the guest writes IA32_APIC_BASE, but the machine has no local APIC";
            return Err(ModelError::NotModelled(message.to_owned()).into());
        };
        let before = apic.mode();
        let invalid = value & base::X2APIC != 0 && value & base::ENABLE == 0;
        let mut next = apic.clone();
        next.base = value;
        let impossible = match (before, next.mode()) {
            (Mode::X2Apic, Mode::XApic) => true,
            (Mode::Disabled, Mode::X2Apic) => !straight_on,
            _ => false,
        };
        if value & RESERVED != 0 || invalid || impossible {
            return Err(Exception::GP0.into());
        }
        if before != Mode::X2Apic && next.mode() == Mode::X2Apic {
            next.ldr = x2apic_logical_id(next.id);
        }
        if before != Mode::Disabled && next.mode() == Mode::Disabled {
            let choice = self.rules.profile.apic.registers_when_off;
            let kept = self.rules.choices.settle_for_good(choice, &APIC_BASE_002);
            if kept == RegistersWhenOff::Reset {
                next = next.after_being_off();
            }
        }
        if let Some(apic) = self.state_mut().apic.as_deref_mut() {
            *apic = next;
        }
        self.state_mut().cr8 = self
            .state()
            .apic
            .as_deref()
            .map_or(0, |apic| u64::from(apic.tpr >> 4));
        Ok(())
    }

    /// APIC-X2-001.
    fn x2apic_offset(&self, index: u32) -> Step<u64> {
        match self.state().apic.as_deref() {
            Some(apic) if apic.mode() == Mode::X2Apic || self.rules.broken(Defect::X2apicMsrsInXapicMode) => {
                Ok(u64::from(index - FIRST_MSR) << 4)
            }
            _ => Err(Exception::GP0.into()),
        }
    }

    /// A register that can be read in both modes.
    fn read_register(&self, offset: u64) -> Option<u32> {
        let apic = self.state().apic.as_deref()?;
        let word = |first: u64| ((offset - first) >> 4) as usize;
        Some(match offset {
            offset::ID if apic.mode() == Mode::X2Apic => apic.id,
            offset::ID => apic.id << 24,
            offset::TPR => u32::from(apic.tpr),
            offset::PPR => u32::from(apic.processor_priority()),
            offset::LDR => apic.ldr,
            offset::DFR => apic.dfr,
            offset::SVR => apic.svr,
            offset::ISR..offset::TMR => apic.isr[word(offset::ISR)],
            offset::TMR..offset::IRR => apic.tmr[word(offset::TMR)],
            offset::IRR..offset::ESR => apic.irr[word(offset::IRR)],
            offset::ESR => apic.esr,
            offset::ICR => apic.icr,
            offset::ICR2 => apic.icr2,
            offset::LVT..=offset::LVT_LAST => apic.lvt[word(offset::LVT)],
            _ => return None,
        })
    }

    /// A register that can be written in both modes (APIC-INT-003, APIC-INT-007, APIC-DIS-004).
    /// Says whether there is one.
    fn write_register(&mut self, offset: u64, value: u32) -> bool {
        let ignores_eoi = self.rules.broken(Defect::EndOfInterruptIgnored);
        let state = self.state_mut();
        let Some(apic) = state.apic.as_deref_mut() else {
            return false;
        };
        match offset {
            offset::TPR => {
                apic.tpr = value as u8;
                state.cr8 = u64::from(apic.tpr >> 4);
            }
            offset::EOI if ignores_eoi => {}
            offset::EOI => apic.end_of_interrupt(),
            offset::SVR => {
                apic.svr = value & SVR_WRITABLE;
                if apic.svr & super::SOFTWARE_ENABLED == 0 {
                    for entry in &mut apic.lvt {
                        *entry |= LVT_MASKED;
                    }
                }
            }
            offset::ESR => {}
            offset::LVT..=offset::LVT_LAST => {
                let number = ((offset - offset::LVT) >> 4) as usize;
                let masked = if apic.accepts_interrupts() { 0 } else { LVT_MASKED };
                apic.lvt[number] = (value | masked) & LVT_WRITABLE[number];
            }
            _ => return false,
        }
        true
    }

    /// A write to the low half of the interrupt command register (APIC-ICR-001).
    fn command(&mut self, low: u32, high: u32) -> Step {
        let ignores_high = self.rules.broken(Defect::IcrHighIgnored);
        if let Some(apic) = self.state_mut().apic.as_deref_mut() {
            apic.icr = low & !DELIVERY_STATUS;
            apic.icr2 = high;
            let high = if ignores_high { 0 } else { high };
            let command = Command::decode(low, high, apic.mode());
            return self.send(command, false);
        }
        Ok(())
    }

    /// Sends a command; with a shorthand that includes the sender, NMI and SMI are the
    /// implementation's choice (APIC-ICR-006).
    fn send(&mut self, command: Option<Command>, to_self: bool) -> Step {
        let unknown = |what: &str| Err(ModelError::NotModelled(what.to_owned()).into());
        let Some(command) = command else {
            return unknown("the guest sends an IPI of a delivery mode that the model does not know");
        };
        if command.mode == DeliveryMode::Fixed && command.vector < 16 {
            return unknown("the guest sends an interrupt with an illegal vector, below 16");
        }
        let includes_self = matches!(
            command.shorthand,
            Shorthand::OneSelf | Shorthand::AllIncludingSelf
        );
        match command.mode {
            DeliveryMode::Init | DeliveryMode::Startup if includes_self => {
                return unknown(
                    "the guest sends INIT or startup with a shorthand that the manuals do not allow",
                );
            }
            DeliveryMode::Nmi | DeliveryMode::Smi if includes_self => {
                let choice = self.rules.profile.apic.self_shorthand;
                if self.rules.choices.settle_for_good(choice, &APIC_ICR_006) == SelfShorthand::Ignored {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.vcpu.messages.push(Message { command, to_self });
        Ok(())
    }
}

/// The offset of a register; the manuals leave open what any other access does.
fn aligned(address: u64, width: usize) -> Result<u64, ModelError> {
    let offset = address & (PAGE_SIZE - 1);
    if width == 4 && offset.is_multiple_of(16) {
        Ok(offset)
    } else {
        Err(ModelError::NotModelled(format!(
            "the guest accesses {width} bytes at {offset:#x} of the local APIC; \
             registers are 32-bit and lie at multiples of 16"
        )))
    }
}

fn unknown(verb: &str, offset: u64) -> ModelError {
    ModelError::NotModelled(format!(
        "the guest {verb} register {offset:#x} of the local APIC, which the model does not know"
    ))
}
