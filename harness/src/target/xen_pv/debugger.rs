//! QEMU's debugger port: registers, memory and breakpoints of the emulated processor.
//!
//! The protocol is GDB's remote serial protocol, of which a few packets are enough. Breakpoints are
//! QEMU's own: they change no memory, and they are at virtual addresses whatever the page tables.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long an answer may take to anything but continuing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of memory in one packet: QEMU takes packets of 4096 characters.
const READ_CHUNK: usize = 1024;
const WRITE_CHUNK: usize = 512;
/// Bytes of the registers that are looked at.
const REGISTERS_END: usize = 0xec;

/// Why the debugger is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum DebuggerError {
    #[error("QEMU does not take commands of its debugger: {0}")]
    Write(#[from] io::Error),
    #[error("QEMU ended")]
    Ended,
    #[error("QEMU's debugger did not answer `{0}`")]
    Silent(String),
    #[error("QEMU's debugger answered `{answer}` to `{question}`")]
    Refused { question: String, answer: String },
}

/// Registers of the processor, as far as a guest of Xen has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub general: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub selectors: [u16; 6],
    pub fs_base: u64,
    pub gs_base: u64,
    pub kernel_gs_base: u64,
    pub cr3: u64,
}

/// Where the debugger has each general register: it counts RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8 ..
const GENERAL: [usize; 16] = [0, 2, 3, 1, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RIP: usize = 16;
const RFLAGS: usize = 17;

impl Registers {
    /// From the bytes of the `g` packet (QEMU, gdb-xml/i386-64bit.xml).
    fn decode(bytes: &[u8]) -> Option<Self> {
        let quad = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let double = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let mut registers = Self::default();
        for (value, number) in registers.general.iter_mut().zip(GENERAL) {
            *value = quad(number * 8)?;
        }
        registers.rip = quad(RIP * 8)?;
        registers.rflags = u64::from(double(0x88)?);
        // CS, SS, DS, ES, FS, GS follow.
        for (selector, at) in registers
            .selectors
            .iter_mut()
            .zip([0x98, 0x8c, 0x90, 0x94, 0x9c, 0xa0])
        {
            *selector = double(at)? as u16;
        }
        registers.fs_base = quad(0xa4)?;
        registers.gs_base = quad(0xac)?;
        registers.kernel_gs_base = quad(0xb4)?;
        registers.cr3 = quad(0xcc)?;
        Some(registers)
    }
}

/// The debugger of one QEMU.
pub(super) struct Debugger<W> {
    input: W,
    output: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: io::Write> Debugger<W> {
    /// `input` takes commands, and what QEMU answers comes in pieces through `output`.
    pub fn new(input: W, output: Receiver<Vec<u8>>) -> Self {
        Self {
            input,
            output,
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, body: &str) -> Result<(), DebuggerError> {
        let sum = body.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.input, "${body}#{sum:02x}")?;
        Ok(self.input.flush()?)
    }

    /// The next packet, if it comes in time.
    fn packet(&mut self, patience: Duration) -> Result<Option<String>, DebuggerError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(body) = self.take_packet() {
                self.input.write_all(b"+")?;
                self.input.flush()?;
                return Ok(Some(body));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => self.buffer.extend(piece),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(DebuggerError::Ended),
            }
        }
    }

    /// The first whole packet of the buffer, and what stands before it is dropped.
    fn take_packet(&mut self) -> Option<String> {
        let start = self.buffer.iter().position(|byte| *byte == b'$')?;
        let length = self.buffer.get(start..)?.iter().position(|byte| *byte == b'#')?;
        let end = start + length + 3;
        if self.buffer.len() < end {
            return None;
        }
        let body = String::from_utf8_lossy(self.buffer.get(start + 1..start + length)?).into_owned();
        self.buffer.drain(..end);
        Some(body)
    }

    fn ask(&mut self, question: &str) -> Result<String, DebuggerError> {
        self.send(question)?;
        let answer = self.packet(PATIENCE)?;
        answer.ok_or_else(|| DebuggerError::Silent(shortened(question)))
    }

    fn command(&mut self, question: &str) -> Result<(), DebuggerError> {
        match self.ask(question)?.as_str() {
            "OK" => Ok(()),
            answer => Err(refused(question, answer)),
        }
    }

    /// Memory is addressed physically from here on.
    pub fn use_physical_addresses(&mut self) -> Result<(), DebuggerError> {
        self.command("Qqemu.PhyMemMode:1")
    }

    pub fn registers(&mut self) -> Result<Registers, DebuggerError> {
        let answer = self.ask("g")?;
        let bytes = from_hex(&answer).filter(|bytes| bytes.len() >= REGISTERS_END);
        let registers = bytes.and_then(|bytes| Registers::decode(&bytes));
        registers.ok_or_else(|| refused("g", &answer))
    }

    /// Sets the general registers, RIP and RFLAGS; nothing else.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), DebuggerError> {
        for (value, number) in registers.general.iter().zip(GENERAL) {
            self.command(&format!("P{number:x}={}", hex(&value.to_le_bytes())))?;
        }
        self.command(&format!("P{RIP:x}={}", hex(&registers.rip.to_le_bytes())))?;
        let flags = (registers.rflags as u32).to_le_bytes();
        self.command(&format!("P{RFLAGS:x}={}", hex(&flags)))
    }

    pub fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, DebuggerError> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let wanted = READ_CHUNK.min(length - bytes.len());
            let question = format!("m{:x},{wanted:x}", address + bytes.len() as u64);
            let answer = self.ask(&question)?;
            match from_hex(&answer) {
                Some(piece) if piece.len() == wanted => bytes.extend(piece),
                _ => return Err(refused(&question, &answer)),
            }
        }
        Ok(bytes)
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DebuggerError> {
        for (index, piece) in bytes.chunks(WRITE_CHUNK).enumerate() {
            let at = address + (index * WRITE_CHUNK) as u64;
            self.command(&format!("M{at:x},{:x}:{}", piece.len(), hex(piece)))?;
        }
        Ok(())
    }

    pub fn set_breakpoint(&mut self, address: u64) -> Result<(), DebuggerError> {
        self.command(&format!("Z0,{address:x},1"))
    }

    pub fn remove_breakpoint(&mut self, address: u64) -> Result<(), DebuggerError> {
        self.command(&format!("z0,{address:x},1"))
    }

    /// Lets the processor run.
    pub fn go_on(&mut self) -> Result<(), DebuggerError> {
        self.send("c")
    }

    /// Lets the processor execute one instruction, without interrupts.
    pub fn step(&mut self) -> Result<(), DebuggerError> {
        self.ask("s").map(drop)
    }

    /// Whether the processor has stopped within that time.
    pub fn has_stopped(&mut self, patience: Duration) -> Result<bool, DebuggerError> {
        Ok(self.packet(patience)?.is_some())
    }

    /// Stops a running processor, wherever it is.
    pub fn interrupt(&mut self) -> Result<(), DebuggerError> {
        self.input.write_all(b"\x03")?;
        self.input.flush()?;
        if self.has_stopped(PATIENCE)? {
            Ok(())
        } else {
            Err(DebuggerError::Silent("an interrupt".to_owned()))
        }
    }
}

fn shortened(question: &str) -> String {
    question.chars().take(24).collect()
}

fn refused(question: &str, answer: &str) -> DebuggerError {
    DebuggerError::Refused {
        question: shortened(question),
        answer: shortened(answer),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// A debugger whose QEMU says `answers`.
    fn conversation(answers: &str) -> Debugger<Vec<u8>> {
        let (sender, receiver) = channel();
        // In pieces, as a pipe may cut it.
        for piece in answers.as_bytes().chunks(3) {
            sender.send(piece.to_vec()).expect("the receiver is there");
        }
        Debugger::new(Vec::new(), receiver)
    }

    /// What QEMU was sent.
    fn said(debugger: &Debugger<Vec<u8>>) -> String {
        String::from_utf8_lossy(&debugger.input).into_owned()
    }

    #[test]
    fn memory_is_read_in_hexadecimal() {
        let mut debugger = conversation("+$90f4#fd");
        assert_eq!(debugger.read(0x1000, 2).expect("an answer"), [0x90, 0xf4]);
        assert_eq!(said(&debugger), "$m1000,2#8c+");
    }

    #[test]
    fn what_qemu_refuses_is_an_error_that_says_so() {
        let mut debugger = conversation("+$E14#aa");
        let error = debugger.write(0x1000, &[1]).expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "QEMU's debugger answered `E14` to `M1000,1:01`"
        );
    }

    #[test]
    fn registers_come_in_the_order_of_the_debugger() {
        let mut bytes = vec![0; REGISTERS_END];
        bytes[8] = 0xb;
        bytes[16] = 0xc;
        bytes[RIP * 8 + 1] = 0x10;
        bytes[0x8c..0x8e].copy_from_slice(&0xe033_u16.to_le_bytes());
        let registers = Registers::decode(&bytes).expect("enough bytes");
        assert_eq!((registers.general[3], registers.general[1]), (0xb, 0xc));
        assert_eq!((registers.rip, registers.selectors[1]), (0x1000, 0xe033));
        assert_eq!(Registers::decode(&bytes[..0x80]), None);
    }
}
