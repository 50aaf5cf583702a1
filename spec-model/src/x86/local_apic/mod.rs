//! The local APIC: its registers, interprocessor interrupts and the interrupts it delivers
//! (SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)"; APM vol. 2, chapter 16).
//!
//! A processor without one has [`super::state::VcpuState::apic`] empty. That is a KVM whose
//! userspace brings its own interrupt controller: there HLT comes back to the host.
//!
//! What is left out: timer, thermal, performance and error interrupts (their local vector table
//! entries are registers and no more), level-triggered interrupts, and the I/O APIC.

mod choices;
mod icr;
mod interrupt;
mod message;
mod registers;

use serde::{Deserialize, Serialize};

pub use choices::{ApicChoices, PendingAtInit, RegistersWhenOff, SegmentsAfterInit, SelfShorthand};
pub use icr::{Command, DeliveryMode, Shorthand};
pub use message::Message;
pub(in crate::x86) use registers::IA32_APIC_BASE;

/// IA32_APIC_BASE bits (SDM vol. 3A, "Local APIC Status and Location").
pub mod base {
    /// This processor is the bootstrap processor.
    pub const BSP: u64 = 1 << 8;
    /// x2APIC mode.
    pub const X2APIC: u64 = 1 << 10;
    /// The local APIC is enabled.
    pub const ENABLE: u64 = 1 << 11;
    /// Guest-physical address of the registers in xAPIC mode.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Guest-physical address of the registers after RESET, in bytes.
pub const DEFAULT_ADDRESS: u64 = 0xfee0_0000;
/// Size of the page of registers, in bytes.
pub const PAGE_SIZE: u64 = 0x1000;
/// SVR bit 8: the local APIC is enabled by software.
pub const SOFTWARE_ENABLED: u32 = 1 << 8;
/// A local vector table entry that is masked.
pub const LVT_MASKED: u32 = 1 << 16;
/// DFR for the flat model of logical destinations.
pub const FLAT_MODEL: u32 = 0xffff_ffff;
/// SVR after RESET and INIT: disabled by software, vector FFh.
const RESET_SVR: u32 = 0xff;

/// How a local APIC is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: it is off in IA32_APIC_BASE.
    Disabled,
    /// Through a page of memory; identifiers have 8 bits.
    XApic,
    /// Through MSRs 800h to 8FFh; identifiers have 32 bits.
    X2Apic,
}

/// The registers of a local APIC, as `KVM_GET_LAPIC` and IA32_APIC_BASE give them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalApic {
    /// IA32_APIC_BASE, MSR 1Bh.
    pub base: u64,
    /// Physical identifier, the number itself (the xAPIC register holds it in bits 31:24).
    pub id: u32,
    /// Task priority, 80h. CR8 is bits 7:4 of it.
    pub tpr: u8,
    /// Logical destination, D0h.
    pub ldr: u32,
    /// Destination format, E0h; xAPIC mode only.
    pub dfr: u32,
    /// Spurious interrupt vector, F0h, with the software enable in bit 8.
    pub svr: u32,
    /// Error status, 280h.
    pub esr: u32,
    /// Interrupt command, bits 31:0, 300h.
    pub icr: u32,
    /// Interrupt command, bits 63:32, 310h.
    pub icr2: u32,
    /// Interrupts in service, 100h: bit n of the 256 is vector n.
    pub isr: [u32; 8],
    /// Trigger mode, 180h.
    pub tmr: [u32; 8],
    /// Interrupts requested, 200h.
    pub irr: [u32; 8],
    /// Local vector table, 320h to 370h: timer, thermal, performance, LINT0, LINT1, error.
    pub lvt: [u32; 6],
    /// The processor waits for a startup IPI, as application processors do after INIT. It is
    /// here because nothing else can end that state.
    pub waiting_for_sipi: bool,
}

impl LocalApic {
    /// The local APIC of processor `number` after RESET, in xAPIC mode and disabled by
    /// software. Processor 0 is the bootstrap processor.
    #[must_use]
    pub fn after_reset(number: u8) -> Self {
        let bsp = if number == 0 { base::BSP } else { 0 };
        Self {
            base: DEFAULT_ADDRESS | base::ENABLE | bsp,
            id: u32::from(number),
            tpr: 0,
            ldr: 0,
            dfr: FLAT_MODEL,
            svr: RESET_SVR,
            esr: 0,
            icr: 0,
            icr2: 0,
            isr: [0; 8],
            tmr: [0; 8],
            irr: [0; 8],
            lvt: [LVT_MASKED; 6],
            waiting_for_sipi: false,
        }
    }

    /// What INIT makes of it (INIT-APIC-001): IA32_APIC_BASE and the identifier stay.
    #[must_use]
    pub fn after_init(&self) -> Self {
        let mut fresh = Self {
            base: self.base,
            id: self.id,
            ..Self::after_reset(0)
        };
        if self.mode() == Mode::X2Apic {
            fresh.ldr = x2apic_logical_id(self.id);
        }
        fresh
    }

    /// The registers after RESET, with IA32_APIC_BASE and the identifier as they are.
    fn after_being_off(&self) -> Self {
        Self {
            base: self.base,
            id: self.id,
            ..Self::after_reset(0)
        }
    }

    /// How it is accessed.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match (self.base & base::ENABLE != 0, self.base & base::X2APIC != 0) {
            (false, _) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
        }
    }

    /// Whether it is the bootstrap processor's.
    #[must_use]
    pub fn is_bootstrap(&self) -> bool {
        self.base & base::BSP != 0
    }

    /// Whether it is enabled in IA32_APIC_BASE and in SVR.
    #[must_use]
    pub fn accepts_interrupts(&self) -> bool {
        self.mode() != Mode::Disabled && self.svr & SOFTWARE_ENABLED != 0
    }

    /// Whether a guest-physical address belongs to its page of registers.
    #[must_use]
    pub fn decodes(&self, address: u64) -> bool {
        self.mode() == Mode::XApic && address & !(PAGE_SIZE - 1) == self.base & base::ADDRESS
    }
}

/// The logical identifier in x2APIC mode: 16 processors to a cluster (SDM vol. 3A, "Deriving
/// Logical x2APIC ID from the Local x2APIC ID").
#[must_use]
pub const fn x2apic_logical_id(id: u32) -> u32 {
    (id >> 4) << 16 | 1 << (id & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_in_xapic_mode_is_decoded() {
        let mut apic = LocalApic::after_reset(0);
        assert!(apic.decodes(0xfee0_0300) && apic.decodes(0xfee0_0fff));
        assert!(!apic.decodes(0xfee0_1000) && !apic.decodes(0xfedf_ffff));
        apic.base |= base::X2APIC;
        assert!(!apic.decodes(0xfee0_0300));
        apic.base &= !(base::X2APIC | base::ENABLE);
        assert!(!apic.decodes(0xfee0_0300));
    }

    #[test]
    fn init_keeps_mode_and_identifier() {
        let mut apic = LocalApic::after_reset(0x13);
        apic.base |= base::X2APIC;
        apic.svr = 0x1ff;
        apic.irr[2] = 1;
        let after = apic.after_init();
        assert_eq!((after.base, after.id), (apic.base, 0x13));
        assert_eq!((after.svr, after.ldr, after.irr), (0xff, 0x1_0008, [0; 8]));
    }
}
