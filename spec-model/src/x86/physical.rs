//! Accesses to guest-physical addresses: memory, the page of the local APIC, or nothing.

use super::debug::Emulated;
use super::exception::Step;
use super::paging::PAGE_FRAME;
use super::processor::Processor;
use crate::defect::Defect;
use crate::transcript::{Access, AccessSpace};

impl Processor<'_, '_> {
    /// The page of the local APIC lies over whatever else is there (APIC-ICR-001).
    pub(super) fn read_physical(&mut self, address: u64, width: usize) -> Step<u64> {
        if self.is_apic_page(address) {
            self.vcpu.debug.emulated = Emulated::Within;
            return self.read_apic_page(address, width);
        }
        let in_smm = self.state().events.in_smm;
        if !self.takes_for_hole(address)
            && let Some(value) = self.memory.read(address, width, in_smm)
        {
            return Ok(value);
        }
        self.remember_hole(address);
        self.vcpu.debug.emulated = Emulated::Within;
        self.accesses.push(access(address, width, false, 0));
        Ok(u64::MAX >> (64 - 8 * width))
    }

    pub(super) fn write_physical(&mut self, address: u64, width: usize, value: u64) -> Step {
        if self.is_apic_page(address) {
            self.vcpu.debug.emulated = Emulated::Within;
            return self.write_apic_page(address, width, value);
        }
        let in_smm = self.state().events.in_smm;
        if self.takes_for_hole(address) || !self.memory.write(address, width, value, in_smm) {
            self.remember_hole(address);
            self.vcpu.debug.emulated = Emulated::HostWrites;
            self.accesses
                .push(access(address, width, true, value & u64::MAX >> (64 - 8 * width)));
        }
        Ok(())
    }

    /// Whether the hypervisor still holds a page for one without memory.
    fn takes_for_hole(&self, address: u64) -> bool {
        self.vcpu.hole_in_smm.is_some()
            && self.state().events.in_smm
            && self.vcpu.hole_in_smm == self.hole(address)
    }

    /// An access that leaves the guest makes the hypervisor remember the page; further ones of the instruction,
    /// which it emulates, do not.
    fn remember_hole(&mut self, address: u64) {
        if self.rules.broken(Defect::SmmHoleRemembered) && self.vcpu.debug.emulated == Emulated::Not {
            let in_smm = self.state().events.in_smm;
            self.vcpu.hole_in_smm = self.hole(address).filter(|_| in_smm);
        }
    }

    fn hole(&self, address: u64) -> Option<(u64, u32)> {
        let bridge = self.memory.bridge()?;
        Some((address & PAGE_FRAME, bridge.outside_changes()))
    }

    pub(super) fn is_apic_page(&self, address: u64) -> bool {
        let apic = self.state().apic.as_deref();
        apic.is_some_and(|apic| apic.decodes(address))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 8 bytes")]
fn access(address: u64, width: usize, write: bool, data: u64) -> Access {
    Access {
        space: AccessSpace::Memory,
        write,
        address,
        length: width as u8,
        data,
    }
}
