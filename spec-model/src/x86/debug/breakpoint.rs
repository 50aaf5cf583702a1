//! The breakpoints that DR0 to DR3 and DR7 describe, and what meets them.

use super::dr7;
use crate::defect::Defect;
use crate::x86::control::cr4;
use crate::x86::paging::Privilege;
use crate::x86::processor::{Mode, Processor, Vcpu};
use crate::x86::segment::SegmentName;

/// What a breakpoint waits for: the field RW of DR7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Execution of the instruction there.
    Execution,
    /// A data write.
    Write,
    /// A port access; needs CR4.DE.
    Port,
    /// A data read or write.
    Access,
}

/// One enabled breakpoint.
#[derive(Clone, Copy, Debug)]
struct Breakpoint {
    /// Its number.
    index: usize,
    condition: Condition,
    /// First linear address, or port.
    first: u64,
    /// Bytes, or ports.
    length: u64,
}

impl Breakpoint {
    /// Its bit in DR6.
    const fn bit(&self) -> u64 {
        1 << self.index
    }

    /// Whether a range of bytes or ports has one in common with it.
    fn touches(&self, address: u64, width: usize) -> bool {
        let last = address.wrapping_add(width as u64 - 1);
        address <= self.first.wrapping_add(self.length - 1) && self.first <= last
    }
}

/// The breakpoints that a state has enabled (DBG-ENABLE-001, DBG-DATA-002, DBG-IO-001). What DR7
/// must not say, a port without CR4.DE or a length other than 1 for an instruction, matches
/// nothing.
fn enabled(vcpu: &Vcpu) -> impl Iterator<Item = Breakpoint> {
    let state = &vcpu.state;
    let hidden = if vcpu.debug.hidden_local { dr7::LOCAL } else { 0 };
    let (addresses, control) = (state.debug_address, state.dr7 & !hidden);
    let extensions = state.cr4 & cr4::DE != 0;
    (0..4usize).filter_map(move |index| {
        if control >> (2 * index) & 3 == 0 {
            return None;
        }
        let condition = match control >> (16 + 4 * index) & 3 {
            0 => Condition::Execution,
            1 => Condition::Write,
            2 if extensions => Condition::Port,
            2 => return None,
            _ => Condition::Access,
        };
        let length = match control >> (18 + 4 * index) & 3 {
            0 => 1,
            1 => 2,
            2 => 8,
            _ => 4,
        };
        if condition == Condition::Execution && length != 1 {
            return None;
        }
        Some(Breakpoint {
            index,
            condition,
            first: addresses[index] & !(length - 1),
            length,
        })
    })
}

impl Processor<'_, '_> {
    fn has_breakpoints(&self) -> bool {
        self.state().dr7 & dr7::ENABLED != 0
    }

    /// The bits of DR6 for the instruction breakpoints at the next instruction (DBG-BP-001).
    pub(super) fn instruction_breakpoints_here(&self) -> u64 {
        if !self.has_breakpoints() {
            return 0;
        }
        let state = self.state();
        let linear = match self.mode() {
            Mode::Long64 => state.rip,
            _ => self.segment(SegmentName::Cs).base.wrapping_add(state.rip) & 0xffff_ffff,
        };
        let here = |breakpoint: &Breakpoint| {
            breakpoint.condition == Condition::Execution && breakpoint.first == linear
        };
        enabled(self.vcpu)
            .filter(here)
            .map(|breakpoint| breakpoint.bit())
            .sum()
    }

    /// The bits of DR6 for the data breakpoints that are enabled.
    pub(in crate::x86) fn data_breakpoints_enabled(&self) -> u64 {
        let is_data =
            |breakpoint: &Breakpoint| matches!(breakpoint.condition, Condition::Write | Condition::Access);
        enabled(self.vcpu)
            .filter(is_data)
            .map(|breakpoint| breakpoint.bit())
            .sum()
    }

    /// Notes a data access of the program that has been made (DBG-DATA-001). Whether those
    /// count that deliver an event, nothing says; they do not here.
    pub(in crate::x86) fn note_data_access(
        &mut self,
        linear: u64,
        width: usize,
        write: bool,
        privilege: Privilege,
    ) {
        if !self.has_breakpoints() || privilege == Privilege::System {
            return;
        }
        if self.rules.broken(Defect::DataBreakpointsMissing) {
            return;
        }
        let unaligned = self.rules.broken(Defect::DataBreakpointNotAligned);
        let addresses = self.state().debug_address;
        let one_byte = self.rules.broken(Defect::DataBreakpointLengthIgnored);
        let met = |breakpoint: &Breakpoint| {
            let wanted = match breakpoint.condition {
                Condition::Write => write,
                Condition::Access => true,
                Condition::Execution | Condition::Port => false,
            };
            let length = if one_byte { 1 } else { breakpoint.length };
            let first = if unaligned {
                addresses[breakpoint.index]
            } else {
                breakpoint.first
            };
            let range = Breakpoint {
                first,
                length,
                ..*breakpoint
            };
            wanted && range.touches(linear, width)
        };
        let bits: u64 = enabled(self.vcpu)
            .filter(met)
            .map(|breakpoint| breakpoint.bit())
            .sum();
        if self.rules.broken(Defect::OneDataBreakpointReported) {
            if self.vcpu.debug.met == 0 {
                self.vcpu.debug.met = bits & bits.wrapping_neg();
            }
            return;
        }
        self.vcpu.debug.met |= bits;
    }

    /// Notes a port access (DBG-IO-001).
    pub(in crate::x86) fn note_port_access(&mut self, port: u16, width: usize) {
        if !self.has_breakpoints() || self.rules.broken(Defect::PortBreakpointsMissing) {
            return;
        }
        let met = |breakpoint: &Breakpoint| {
            breakpoint.condition == Condition::Port && breakpoint.touches(u64::from(port), width)
        };
        let bits: u64 = enabled(self.vcpu)
            .filter(met)
            .map(|breakpoint| breakpoint.bit())
            .sum();
        self.vcpu.debug.met |= bits;
    }
}
