//! From logical to linear addresses, and loading segment registers.

use super::control::is_canonical;
use super::exception::{Exception, GP, NP, SS, Step};
use super::execute::OffsetBeforeBase;
use super::paging::{Privilege, Purpose};
use super::processor::{Mode, Processor};
use super::segment::{Segment, SegmentAttributes, SegmentName};
use crate::defect::Defect;
use crate::requirement::EXC_SEG_005;

/// The accessed bit in the eight bytes of a code or data descriptor.
const ACCESSED: u64 = 1 << 40;

/// A segment descriptor as it lies in the GDT or an LDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The eight bytes, little-endian.
    pub raw: u64,
    /// Linear address of the first byte.
    pub address: u64,
}

impl Descriptor {
    /// Access rights.
    #[must_use]
    pub const fn attributes(self) -> SegmentAttributes {
        SegmentAttributes((self.raw >> 40) as u32 & SegmentAttributes::DESCRIPTOR_BITS)
    }

    /// Base, 32 bits.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.raw >> 16 & 0xff_ffff | self.raw >> 56 << 24
    }

    /// Limit in bytes, expanded by the granularity bit.
    #[must_use]
    pub const fn limit(self) -> u32 {
        let limit = (self.raw & 0xffff | self.raw >> 32 & 0xf_0000) as u32;
        if self.attributes().granularity() {
            limit << 12 | 0xfff
        } else {
            limit
        }
    }

    /// The segment register that this descriptor gives with that selector.
    #[must_use]
    pub const fn load(self, selector: u16) -> Segment {
        Segment {
            selector,
            base: self.base(),
            limit: self.limit(),
            attributes: self.attributes(),
        }
    }
}

/// Selector without its RPL, as error codes hold it.
#[must_use]
pub fn selector_error(selector: u16) -> u32 {
    u32::from(selector & !3)
}

impl Processor<'_, '_> {
    /// Linear address of an access through a segment register, with all checks
    /// (EXC-SEG-001, EXC-SEG-004).
    ///
    /// # Errors
    /// #GP(0), or #SS(0) through SS.
    pub fn linear(&mut self, name: SegmentName, offset: u64, width: usize, write: bool) -> Step<u64> {
        let fault = if name == SegmentName::Ss {
            Exception::SS0
        } else {
            Exception::GP0
        };
        let segment = *self.segment(name);
        let mode = self.mode();
        if mode == Mode::Long64 {
            let has_base = matches!(name, SegmentName::Fs | SegmentName::Gs);
            let linear = if has_base {
                segment.base.wrapping_add(offset)
            } else {
                offset
            };
            let last = linear.wrapping_add(width as u64 - 1);
            if !is_canonical(linear) || !is_canonical(last) {
                return Err(self.non_canonical(fault, linear).into());
            }
            if has_base && !is_canonical(offset) && self.checks_offset() {
                return Err(fault.into());
            }
            return Ok(linear);
        }
        if self.rules.broken(Defect::DataAccessUnchecked) {
            return Ok(segment.base.wrapping_add(offset) & 0xffff_ffff);
        }
        if mode == Mode::Protected && !rights_allow(segment.attributes, write) {
            return Err(fault.into());
        }
        if !within_limit(&segment, offset, width) {
            return Err(fault.into());
        }
        Ok(segment.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// EXC-SEG-005.
    fn checks_offset(&mut self) -> bool {
        let choice = self.rules.profile.instructions.offset_before_base;
        self.rules.choices.settle_for_good(choice, &EXC_SEG_005) == OffsetBeforeBase::Canonical
    }

    /// The fault of an access to a non-canonical address in 64-bit mode.
    fn non_canonical(&self, fault: Exception, linear: u64) -> Exception {
        if !self.rules.broken(Defect::NonCanonicalAccessIsGp) {
            return fault;
        }
        let address = if is_canonical(linear) {
            // The access crosses into the hole: its second page is the first that is none.
            (linear | 0xfff).wrapping_add(1)
        } else {
            linear
        };
        Exception {
            address: Some(address),
            ..Exception::GP0
        }
    }

    /// Reads 1 to 8 bytes through a segment register.
    ///
    /// # Errors
    /// #GP(0), #SS(0) or #PF.
    pub fn read_segment(&mut self, name: SegmentName, offset: u64, width: usize) -> Step<u64> {
        let linear = self.linear(name, offset, width, false)?;
        self.read_linear(linear, width, Privilege::Program)
    }

    /// Writes 1 to 8 bytes through a segment register.
    ///
    /// # Errors
    /// #GP(0), #SS(0) or #PF.
    pub fn write_segment(&mut self, name: SegmentName, offset: u64, width: usize, value: u64) -> Step {
        let linear = self.linear(name, offset, width, true)?;
        self.write_linear(linear, width, value, Privilege::Program)
    }

    /// Fetches a descriptor. `fault` is the vector raised if it lies beyond its table.
    ///
    /// # Errors
    /// The fault with the selector as error code, or #PF.
    pub fn descriptor(&mut self, selector: u16, fault: u8) -> Step<Descriptor> {
        self.descriptor_of(selector, fault, 8)
    }

    /// The same for a descriptor of `size` bytes, all of which must lie within the table.
    ///
    /// # Errors
    /// The fault with the selector as error code, or #PF.
    pub(super) fn descriptor_of(&mut self, selector: u16, fault: u8, size: u32) -> Step<Descriptor> {
        let outside = Exception::with_code(fault, selector_error(selector));
        let (base, limit) = if selector & 4 == 0 {
            let table = self.state().gdtr;
            (table.base, u32::from(table.limit))
        } else {
            let table = self.segment(SegmentName::Ldtr);
            if table.attributes.unusable() {
                return Err(outside.into());
            }
            (table.base, table.limit)
        };
        let offset = u32::from(selector & !7);
        if offset + size - 1 > limit {
            return Err(outside.into());
        }
        let address = self.wrap(base.wrapping_add(u64::from(offset)));
        let raw = self.read_linear(address, 8, Privilege::System)?;
        Ok(Descriptor { raw, address })
    }

    /// A linear address as wide as the mode has them.
    #[must_use]
    pub fn wrap(&self, linear: u64) -> u64 {
        if self.long_mode_active() {
            linear
        } else {
            linear & 0xffff_ffff
        }
    }

    /// Linear address of the byte with type, S, DPL and P of a descriptor.
    #[must_use]
    pub fn access_byte(&self, descriptor: Descriptor) -> u64 {
        self.wrap(descriptor.address.wrapping_add(5))
    }

    /// Checks that [`Self::mark_accessed`] will not fault.
    ///
    /// # Errors
    /// #PF.
    pub(super) fn check_markable(&mut self, descriptor: Descriptor) -> Step {
        if descriptor.raw & ACCESSED != 0 {
            return Ok(());
        }
        let byte = self.access_byte(descriptor);
        self.translate_all_as(byte, 1, Purpose::Write, Privilege::System)
    }

    /// Sets the accessed bit of a code or data descriptor in memory (EXC-SEG-003) and
    /// returns the descriptor as it is then.
    ///
    /// # Errors
    /// #PF.
    pub fn mark_accessed(&mut self, descriptor: Descriptor) -> Step<Descriptor> {
        if descriptor.raw & ACCESSED != 0 {
            return Ok(descriptor);
        }
        let byte = (descriptor.raw | ACCESSED) >> 40 & 0xff;
        self.write_linear(self.access_byte(descriptor), 1, byte, Privilege::System)?;
        Ok(Descriptor {
            raw: descriptor.raw | ACCESSED,
            ..descriptor
        })
    }

    /// Loads ES, SS, DS, FS or GS as MOV and POP do (EXC-SEG-002).
    ///
    /// # Errors
    /// #GP, #NP or #SS with the selector as error code, or #PF.
    pub fn load_data_segment(&mut self, name: SegmentName, selector: u16) -> Step {
        if self.mode() == Mode::Real {
            let segment = self.state_mut().segment_mut(name);
            segment.selector = selector;
            segment.base = u64::from(selector) << 4;
            return Ok(());
        }
        let loaded = if name == SegmentName::Ss {
            let cpl = self.cpl();
            self.stack_segment(selector, cpl, GP)?
        } else {
            self.data_segment(selector)?
        };
        *self.state_mut().segment_mut(name) = loaded;
        Ok(())
    }

    fn data_segment(&mut self, selector: u16) -> Step<Segment> {
        if selector & !3 == 0 {
            return Ok(Segment {
                selector,
                attributes: SegmentAttributes::UNUSABLE,
                ..Segment::default()
            });
        }
        let descriptor = self.descriptor(selector, GP)?;
        let attributes = descriptor.attributes();
        let fault = Exception::with_code(GP, selector_error(selector));
        let readable = !attributes.is_code() || attributes.kind() & 2 != 0;
        if !attributes.is_code_or_data() || !readable {
            return Err(fault.into());
        }
        let conforming = attributes.is_code() && attributes.kind() & 4 != 0;
        let privilege = self.cpl().max((selector & 3) as u8);
        if !conforming && privilege > attributes.dpl() {
            return Err(fault.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(NP, selector_error(selector)).into());
        }
        Ok(self.mark_accessed(descriptor)?.load(selector))
    }

    /// A stack segment for privilege level `cpl`. `fault` is #GP for MOV, POP and IRET, and
    /// #TS for a selector from a TSS.
    ///
    /// # Errors
    /// `fault`, or #SS if it is not present, with the selector as error code.
    pub fn stack_segment(&mut self, selector: u16, cpl: u8, fault: u8) -> Step<Segment> {
        if self.mode() == Mode::Long64 && selector & !3 == 0 && cpl != 3 && selector as u8 == cpl {
            return Ok(null_stack_segment(selector, cpl));
        }
        let descriptor = self.stack_descriptor(selector, cpl, fault)?;
        Ok(self.mark_accessed(descriptor)?.load(selector))
    }

    /// The descriptor of a stack segment for privilege level `cpl`, after all checks.
    ///
    /// # Errors
    /// As [`Self::stack_segment`].
    pub(super) fn stack_descriptor(&mut self, selector: u16, cpl: u8, fault: u8) -> Step<Descriptor> {
        let wrong = Exception::with_code(fault, selector_error(selector));
        if selector & !3 == 0 {
            return Err(wrong.into());
        }
        let descriptor = self.descriptor(selector, fault)?;
        let attributes = descriptor.attributes();
        let writable_data =
            attributes.is_code_or_data() && !attributes.is_code() && attributes.kind() & 2 != 0;
        if (selector & 3) as u8 != cpl || attributes.dpl() != cpl || !writable_data {
            return Err(wrong.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(SS, selector_error(selector)).into());
        }
        Ok(descriptor)
    }
}

/// SS with a null selector, as 64-bit code may have it. The privilege level stays with it.
#[must_use]
pub fn null_stack_segment(selector: u16, cpl: u8) -> Segment {
    let attributes = SegmentAttributes::UNUSABLE.with_dpl(cpl);
    Segment {
        selector,
        base: 0,
        limit: 0,
        attributes,
    }
}

fn rights_allow(attributes: SegmentAttributes, write: bool) -> bool {
    if attributes.unusable() {
        return false;
    }
    let second_bit = attributes.kind() & 2 != 0;
    match (attributes.is_code(), write) {
        (true, true) => false,
        (true, false) | (false, true) => second_bit,
        (false, false) => true,
    }
}

fn within_limit(segment: &Segment, offset: u64, width: usize) -> bool {
    let last = offset.wrapping_add(width as u64 - 1);
    let limit = u64::from(segment.limit);
    let attributes = segment.attributes;
    let expand_down = attributes.is_code_or_data() && !attributes.is_code() && attributes.kind() & 4 != 0;
    if expand_down {
        let top = if attributes.big() { 0xffff_ffff } else { 0xffff };
        offset > limit && last <= top && last >= offset
    } else {
        last <= limit && last >= offset
    }
}
