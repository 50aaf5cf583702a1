//! The interrupt command register, and which processors a command is for.

use super::{FLAT_MODEL, LocalApic, Mode};

/// Delivery status, which reads as idle: messages take no time here.
pub(super) const DELIVERY_STATUS: u32 = 1 << 12;
const LOGICAL: u32 = 1 << 11;
const LEVEL_ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;

/// What a message does (SDM vol. 3A, "Interrupt Command Register (ICR)").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// An interrupt of the command's vector.
    Fixed,
    /// System-management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// INIT level de-assert, which does nothing.
    InitDeassert,
    /// Startup: execution at the vector times 4096.
    Startup,
}

impl std::fmt::Display for DeliveryMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Fixed => "interrupt",
            Self::Smi => "SMI",
            Self::Nmi => "NMI",
            Self::Init => "INIT",
            Self::InitDeassert => "INIT de-assert",
            Self::Startup => "SIPI",
        })
    }
}

/// A destination that needs no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shorthand {
    /// The destination field counts.
    None,
    /// The sender.
    OneSelf,
    /// All processors.
    AllIncludingSelf,
    /// All others.
    AllExcludingSelf,
}

/// A decoded command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// What is sent.
    pub mode: DeliveryMode,
    /// Vector, for fixed interrupts and startup.
    pub vector: u8,
    /// To whom, if not by the destination field.
    pub shorthand: Shorthand,
    /// The destination is a logical one.
    pub logical: bool,
    /// The destination field: 8 bits in xAPIC mode, 32 in x2APIC mode.
    pub destination: u32,
    /// The destination field is that of x2APIC mode.
    pub wide: bool,
}

impl Command {
    /// What the register says; `None` for delivery modes that are reserved or not modelled
    /// (lowest priority, ExtINT).
    #[must_use]
    pub fn decode(low: u32, high: u32, mode: Mode) -> Option<Self> {
        let wide = mode == Mode::X2Apic;
        let deassert = low & LEVEL_TRIGGERED != 0 && low & LEVEL_ASSERT == 0;
        Some(Self {
            mode: match low >> 8 & 7 {
                0 => DeliveryMode::Fixed,
                2 => DeliveryMode::Smi,
                4 => DeliveryMode::Nmi,
                5 if deassert => DeliveryMode::InitDeassert,
                5 => DeliveryMode::Init,
                6 => DeliveryMode::Startup,
                _ => return None,
            },
            vector: low as u8,
            shorthand: match low >> 18 & 3 {
                0 => Shorthand::None,
                1 => Shorthand::OneSelf,
                2 => Shorthand::AllIncludingSelf,
                _ => Shorthand::AllExcludingSelf,
            },
            logical: low & LOGICAL != 0,
            destination: if wide { high } else { high >> 24 },
            wide,
        })
    }

    /// Whether the destination field names this local APIC (APIC-ICR-002, APIC-ICR-003,
    /// APIC-ICR-005). The shorthand is not looked at.
    #[must_use]
    pub fn names(&self, apic: &LocalApic) -> bool {
        let broadcast = if self.wide { 0xffff_ffff } else { 0xff };
        if apic.mode() == Mode::Disabled {
            return false;
        }
        if self.destination == broadcast {
            return true;
        }
        if !self.logical {
            return self.destination == apic.id;
        }
        if apic.mode() == Mode::X2Apic {
            let same_cluster = self.destination >> 16 == apic.ldr >> 16;
            return same_cluster && self.destination & apic.ldr & 0xffff != 0;
        }
        let own = apic.ldr >> 24;
        if apic.dfr == FLAT_MODEL {
            self.destination & own != 0
        } else {
            self.destination >> 4 == own >> 4 && self.destination & own & 0xf != 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::base;
    use super::*;

    fn apic(id: u8, ldr: u8) -> LocalApic {
        LocalApic {
            ldr: u32::from(ldr) << 24,
            ..LocalApic::after_reset(id)
        }
    }

    #[test]
    fn the_two_forms_of_the_register_say_the_same() {
        let xapic = Command::decode(0x4400, 0x0300_0000, Mode::XApic).expect("NMI");
        let x2apic = Command::decode(0x4400, 3, Mode::X2Apic).expect("NMI");
        assert_eq!((xapic.mode, xapic.destination), (DeliveryMode::Nmi, 3));
        assert_eq!((x2apic.mode, x2apic.destination), (DeliveryMode::Nmi, 3));
    }

    #[test]
    fn reserved_delivery_modes_are_not_decoded() {
        for low in [0x100, 0x300, 0x700] {
            assert_eq!(Command::decode(low, 0, Mode::XApic), None);
        }
    }

    #[test]
    fn a_logical_destination_is_a_set() {
        let to = |destination: u32| Command::decode(0x0800, destination << 24, Mode::XApic).expect("fixed");
        assert!(to(6).names(&apic(0, 2)) && to(6).names(&apic(0, 4)) && !to(6).names(&apic(6, 1)));
        let mut clustered = apic(0, 0x12);
        clustered.dfr = 0x0fff_ffff;
        assert!(to(0x13).names(&clustered) && !to(0x23).names(&clustered));
        let mut wide = LocalApic::after_reset(3);
        wide.base |= base::X2APIC;
        wide.ldr = super::super::x2apic_logical_id(3);
        let wide_to = |destination| Command::decode(0x0800, destination, Mode::X2Apic).expect("fixed");
        assert!(wide_to(0xa).names(&wide) && !wide_to(0x1_000a).names(&wide));
    }
}
