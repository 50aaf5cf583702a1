//! Exceptions and interrupts as events: vectors, error codes and classes.

use crate::error::ModelError;

/// Divide error.
pub const DE: u8 = 0;
/// Debug.
pub const DB: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint.
pub const BP: u8 = 3;
/// Overflow.
pub const OF: u8 = 4;
/// Undefined opcode.
pub const UD: u8 = 6;
/// Device not available.
pub const NM: u8 = 7;
/// Double fault.
pub const DF: u8 = 8;
/// Invalid TSS.
pub const TS: u8 = 10;
/// Segment not present.
pub const NP: u8 = 11;
/// Stack fault.
pub const SS: u8 = 12;
/// General protection.
pub const GP: u8 = 13;
/// Page fault.
pub const PF: u8 = 14;
/// Alignment check.
pub const AC: u8 = 17;
/// Machine check.
pub const MC: u8 = 18;
/// Control protection.
pub const CP: u8 = 21;
/// VMM communication (AMD).
pub const VC: u8 = 29;
/// Security (AMD).
pub const SX: u8 = 30;

/// An exception that an instruction or a delivery raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code, without the EXT bit.
    pub error_code: Option<u32>,
    /// For a page fault, the linear address that goes into CR2.
    pub address: Option<u64>,
    /// For a debug exception, the bits that DR6 gets.
    pub debug_status: u64,
}

impl Exception {
    /// An exception without an error code.
    #[must_use]
    pub const fn plain(vector: u8) -> Self {
        Self {
            vector,
            error_code: None,
            address: None,
            debug_status: 0,
        }
    }

    /// #DB with its causes, as bits of DR6.
    #[must_use]
    pub const fn debug(causes: u64) -> Self {
        Self {
            debug_status: causes,
            ..Self::plain(DB)
        }
    }

    /// An exception with an error code.
    #[must_use]
    pub const fn with_code(vector: u8, error_code: u32) -> Self {
        Self {
            vector,
            error_code: Some(error_code),
            address: None,
            debug_status: 0,
        }
    }

    /// #GP(0).
    pub const GP0: Self = Self::with_code(GP, 0);
    /// #SS(0).
    pub const SS0: Self = Self::with_code(SS, 0);
    /// #UD.
    pub const UNDEFINED: Self = Self::plain(UD);
}

/// What kind of event is delivered: it decides the DPL check and the EXT bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A fault or trap that the processor found, or an external event such as NMI.
    Hardware,
    /// INT n, INT3 or INTO: the gate's DPL is checked, EXT is clear.
    Software,
}

/// An event on its way through the IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Vector.
    pub vector: u8,
    /// Error code to push.
    pub error_code: Option<u32>,
    /// Where it comes from.
    pub source: Source,
}

impl Event {
    /// #DF, whose error code is always 0 (EXC-DF-001).
    pub const DOUBLE_FAULT: Self = Self {
        vector: DF,
        error_code: Some(0),
        source: Source::Hardware,
    };
}

/// Whether an event pushes an error code in protected and long mode (EXC-FRAME-002).
#[must_use]
pub const fn has_error_code(vector: u8) -> bool {
    matches!(vector, DF | TS | NP | SS | GP | PF | AC | CP | VC | SX)
}

/// Class of an exception for the double-fault rule (SDM vol. 3A, "Interrupt 8: Double
/// Fault Exception").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Handled one after the other.
    Benign,
    /// Two of them make a double fault.
    Contributory,
    /// Followed by a contributory one or another page fault it makes a double fault.
    PageFault,
    /// Followed by anything but a benign one it shuts the processor down.
    DoubleFault,
}

impl Class {
    /// The class of a hardware exception.
    #[must_use]
    pub const fn of(vector: u8) -> Self {
        match vector {
            DE | TS | NP | SS | GP | 21 => Self::Contributory,
            PF | 20 => Self::PageFault,
            DF => Self::DoubleFault,
            _ => Self::Benign,
        }
    }
}

/// What becomes of an exception raised while another is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nested {
    /// The second is delivered in place of the first.
    Serial,
    /// #DF is delivered.
    DoubleFault,
    /// Shutdown.
    Shutdown,
}

/// The double-fault rule (EXC-DF-001, EXC-DF-002, EXC-DF-003).
#[must_use]
pub const fn nested(first: Class, second: Class) -> Nested {
    match (first, second) {
        (Class::DoubleFault, Class::Contributory | Class::PageFault | Class::DoubleFault) => Nested::Shutdown,
        (Class::Contributory, Class::Contributory)
        | (Class::PageFault, Class::Contributory | Class::PageFault) => Nested::DoubleFault,
        _ => Nested::Serial,
    }
}

/// Why an instruction did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// It raised an exception.
    Exception(Exception),
    /// The model cannot go on.
    Model(ModelError),
}

impl From<Exception> for Interruption {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl From<ModelError> for Interruption {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

/// Result of a step that may raise an exception.
pub type Step<T = ()> = Result<T, Interruption>;
