//! Fetching and decoding instructions.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};

use super::control::is_canonical;
use super::decode_cache::LONGEST;
use super::exception::{Exception, Interruption, Step};
use super::paging::{Privilege, Purpose};
use super::processor::{Activity, Mode, Processor};
use super::segment::SegmentName;
use super::vendor_decoding::{is_read_in_two_ways, is_too_long};
use crate::defect::Defect;
use crate::profile::FetchWithoutMemory;

impl Processor<'_, '_> {
    /// Fetches and decodes the instruction at CS:RIP. What is none in the current mode, such as INTO in
    /// 64-bit mode (EXC-OF-001), raises #UD (INS-SET-001).
    ///
    /// # Errors
    /// #GP(0) beyond the limit of CS or at a non-canonical address, #PF, and #UD for bytes
    /// that are no instruction.
    pub fn fetch(&mut self) -> Step<Instruction> {
        let rip = self.state().rip;
        let bits = self.code_bits();
        let linear = self.code_address(rip, 1)?;
        let physical = self.translate(linear, Purpose::Fetch, Privilege::Program)?;
        let in_smm = self.state().events.in_smm;
        let Some(memory) = self.memory.rest_of_code_page(physical, in_smm) else {
            return Err(self.fetch_without_memory());
        };
        if let Some(instruction) = self.decoded.find(rip, bits, memory) {
            self.code_address(rip, instruction.len())?;
            return Ok(instruction);
        }
        let (bytes, length, stopped) = self.fetch_bytes(linear, physical)?;
        let bytes_there = &bytes[..length];
        let mut decoder = Decoder::with_ip(bits, bytes_there, rip, DecoderOptions::NONE);
        let mut instruction = decoder.decode();
        const INTO: u8 = 0xce;
        if bits == 64 && bytes[0] == INTO && self.rules.broken(Defect::IntoIn64BitMode) {
            instruction = Decoder::with_ip(32, &bytes[..1], rip, DecoderOptions::NONE).decode();
        }
        if instruction.is_invalid() && !decoder_ran_out(&decoder) {
            // Hints that processors without them take for NOP: they exist, and the model has none.
            let options = DecoderOptions::FORCE_RESERVED_NOP;
            instruction = Decoder::with_ip(bits, bytes_there, rip, options).decode();
        }
        if let Some(other) = self.read_otherwise(&instruction, bytes_there) {
            // Which of the two it is depends on the run, so it is not kept.
            self.code_address(rip, other.len())?;
            return Ok(other);
        }
        if instruction.is_invalid() {
            let ran_out = decoder_ran_out(&decoder);
            return Err(match stopped {
                Some(fault) if ran_out => self.fetch_fault(fault, bytes_there),
                _ if is_too_long(bytes_there, bits)
                    && !self.rules.broken(Defect::LongInstructionIsUndefined) =>
                {
                    self.fetch_fault(Exception::GP0.into(), bytes_there)
                }
                _ => Exception::UNDEFINED.into(),
            });
        }
        self.code_address(rip, instruction.len())?;
        if !is_read_in_two_ways(&instruction, bytes_there) {
            self.decoded.keep(rip, bits, bytes, instruction);
        }
        Ok(instruction)
    }

    /// Linear address of `width` bytes of code at `rip` (EXC-SEG-001).
    fn code_address(&self, rip: u64, width: usize) -> Step<u64> {
        let segment = self.segment(SegmentName::Cs);
        let last = rip.wrapping_add(width as u64 - 1);
        if self.mode() == Mode::Long64 {
            let legal = is_canonical(rip) && is_canonical(last);
            let shows = self.rules.broken(Defect::IretAcceptsNonCanonical)
                || self.rules.broken(Defect::GateTargetUnchecked);
            let address = shows.then_some(rip);
            let fault = Exception {
                address,
                ..Exception::GP0
            };
            return if legal { Ok(rip) } else { Err(fault.into()) };
        }
        if last > u64::from(segment.limit) && !self.rules.broken(Defect::CodeLimitUnchecked) {
            return Err(Exception::GP0.into());
        }
        Ok(segment.base.wrapping_add(rip) & 0xffff_ffff)
    }

    /// How many bytes from RIP on code may have.
    fn code_within_limit(&self) -> usize {
        let rip = self.state().rip;
        let last = if self.mode() == Mode::Long64 {
            // The end of the canonical half.
            rip | 0x7fff_ffff_ffff
        } else if self.rules.broken(Defect::CodeLimitUnchecked) {
            u64::MAX
        } else {
            u64::from(self.segment(SegmentName::Cs).limit)
        };
        last.saturating_sub(rip).saturating_add(1).min(LONGEST as u64) as usize
    }

    /// What comes of a fetch that nothing answers. The bus gives all ones, and FF FF is no
    /// instruction (CHIPSET-FETCH-001); a hypervisor that cannot execute from where it has no
    /// memory gives up at CPL 0 (CHIPSET-FETCH-002).
    fn fetch_without_memory(&mut self) -> Interruption {
        let gives_up = self.rules.profile.fetch_without_memory == FetchWithoutMemory::GivesUp;
        if gives_up && self.cpl() == 0 {
            self.vcpu.activity = Activity::GivenUp;
        }
        Exception::UNDEFINED.into()
    }

    /// Up to 15 bytes of code, and the fault that stopped the fetch if one did.
    fn fetch_bytes(
        &mut self,
        linear: u64,
        physical: u64,
    ) -> Step<([u8; LONGEST], usize, Option<Interruption>)> {
        let in_smm = self.state().events.in_smm;
        let mut bytes = [0; LONGEST];
        let Some(first) = self.memory.rest_of_code_page(physical, in_smm) else {
            return Err(self.fetch_without_memory());
        };
        let within = self.code_within_limit();
        let mut length = first.len().min(LONGEST).min(within);
        bytes[..length].copy_from_slice(&first[..length]);
        if length == LONGEST || decodes(&bytes[..length], self.code_bits()) {
            return Ok((bytes, length, None));
        }
        if length == within {
            // The limit of the segment comes before the page (EXC-SEG-001).
            return Ok((bytes, length, Some(Exception::GP0.into())));
        }
        let next = self.next_page(linear, Privilege::Program);
        match self.translate(next, Purpose::Fetch, Privilege::Program) {
            Ok(physical) => {
                let Some(second) = self.memory.rest_of_code_page(physical, in_smm) else {
                    return Err(self.fetch_without_memory());
                };
                let count = (LONGEST - length).min(within - length);
                bytes[length..length + count].copy_from_slice(&second[..count]);
                length += count;
                let cut = (length < LONGEST).then(|| Exception::GP0.into());
                Ok((bytes, length, cut))
            }
            Err(fault) => Ok((bytes, length, Some(fault))),
        }
    }
}

pub(super) fn decoder_ran_out(decoder: &Decoder<'_>) -> bool {
    decoder.last_error() == DecoderError::NoMoreBytes
}

fn decodes(bytes: &[u8], bits: u32) -> bool {
    !Decoder::new(bits, bytes, DecoderOptions::NONE)
        .decode()
        .is_invalid()
}
