//! What the formats record of the I/O instruction that an SMI followed (SMM-IO-001).

use super::row::IoField;

/// An I/O instruction that has just completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoInstruction {
    /// First port.
    pub port: u16,
    /// Width of one access in bytes: 1, 2 or 4.
    pub width: u8,
    /// IN or INS.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// It has a REP prefix.
    pub repeated: bool,
    /// The port is part of the instruction.
    pub immediate: bool,
    /// RIP of the instruction.
    pub rip: u64,
    /// RCX before it.
    pub rcx: u64,
    /// RSI before it.
    pub rsi: u64,
    /// RDI before it.
    pub rdi: u64,
}

impl IoInstruction {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, field: IoField) -> u64 {
        match field {
            IoField::State => self.state(),
            IoField::Trap => self.trap(),
            IoField::Rip => self.rip,
            IoField::Rcx => self.rcx,
            IoField::Rsi => self.rsi,
            IoField::Rdi => self.rdi,
        }
    }

    /// Types: OUT DX 0, IN DX 1, OUTS 2, INS 3, REP OUTS 6, REP INS 7, OUT imm8 8, IN imm8 9
    /// (SDM vol. 3C, table "I/O Instruction Type Encodings").
    fn state(&self) -> u64 {
        let kind = u64::from(self.input)
            | u64::from(self.string) << 1
            | u64::from(self.string && self.repeated) << 2
            | u64::from(self.immediate) << 3;
        1 | u64::from(self.width) << 1 | kind << 4 | u64::from(self.port) << 16
    }

    fn trap(&self) -> u64 {
        const VALID: u64 = 1 << 1;
        u64::from(self.input)
            | VALID
            | u64::from(self.string) << 2
            | u64::from(self.string && self.repeated) << 3
            | u64::from(self.width) << 4
            | u64::from(self.port) << 16
    }
}

impl IoField {
    /// The bits that mean nothing, or that the model does not have: all but the flag that says
    /// so when there was no I/O instruction; for AMD's word also the breakpoints in bits 15:11.
    #[must_use]
    pub const fn open_bits(self, followed_io: bool) -> u64 {
        match (self, followed_io) {
            (Self::State, true) => 0xff00,
            (Self::State, false) => !1,
            (Self::Trap, true) => 0xff80,
            (Self::Trap, false) => !2,
            (_, true) => 0,
            (_, false) => u64::MAX,
        }
    }
}
