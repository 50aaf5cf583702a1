//! One combination: what each axis can be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! axis {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every value, the plainest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As the user writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

axis! {
    /// What happens.
    Event {
        /// INT 20h.
        Int "int",
        /// INT3.
        Int3 "int3",
        /// UD2.
        Ud "ud",
        /// DIV by zero.
        De "de",
        /// MOV to ES of a selector beyond the GDT.
        Gp "gp",
        /// MOV to ES of a segment that is not present.
        Np "np",
        /// MOV to SS of a segment that is not present.
        Ss "ss",
        /// A write to a page that is not present.
        Pf "pf",
        /// An NMI from the host.
        Nmi "nmi",
    }
}

axis! {
    /// The selector in the gate.
    Selector {
        /// 64-bit code, DPL 0.
        Code0 "code0",
        /// The same with RPL 3, which does not matter.
        Rpl3 "rpl3",
        /// 64-bit code, DPL 1.
        Code1 "code1",
        /// 64-bit code, DPL 2.
        Code2 "code2",
        /// 64-bit code, DPL 3.
        Code3 "code3",
        /// 64-bit conforming code, DPL 0.
        Conforming0 "conforming0",
        /// 64-bit conforming code, DPL 3.
        Conforming3 "conforming3",
        /// 64-bit code that cannot be read.
        ExecuteOnly "execute-only",
        /// 64-bit code whose accessed bit is clear.
        NotAccessed "not-accessed",
        /// 64-bit code, DPL 0, in the LDT.
        Ldt "ldt",
        /// Selector 0.
        Null "null",
        /// Selector 3.
        NullRpl3 "null-rpl3",
        /// 32-bit code.
        Code32 "code32",
        /// Code with both L and D.
        LongAndBig "long-and-big",
        /// 64-bit code that is not present.
        Absent "absent",
        /// Data.
        Data "data",
        /// The descriptor of a TSS.
        System "system",
        /// Beyond the limit of the GDT.
        BeyondGdt "beyond-gdt",
        /// The last byte of the descriptor is beyond the limit of the GDT.
        CutByGdt "cut-by-gdt",
        /// Beyond the limit of the LDT.
        BeyondLdt "beyond-ldt",
    }
}

axis! {
    /// The address in the gate.
    Offset {
        /// That of the handler.
        Handler "handler",
        /// Not canonical: bit 47 set alone.
        Bit47 "bit47",
        /// Not canonical: bit 63 set alone.
        Bit63 "bit63",
        /// Canonical, in the upper half, where nothing is mapped.
        UpperHalf "upper-half",
        /// On a page that is not present.
        AbsentPage "absent-page",
    }
}

axis! {
    /// RFLAGS before the event.
    Flags {
        /// IF.
        If "if",
        /// Neither IF nor any other.
        None "none",
        /// IF and NT.
        Nt "nt",
        /// IF and AC.
        Ac "ac",
    }
}

axis! {
    /// The gates of #TS, #NP, #SS, #GP and #PF, unless one of them is the event's own.
    Faults {
        /// With a good stack of their own, IST 7.
        Good "good",
        /// With IST 0.
        Same "same",
        /// To conforming code with IST 0, which needs nothing of the TSS.
        Conforming "conforming",
        /// Not present.
        Absent "absent",
        /// Call gates.
        WrongType "wrong-type",
        /// With a null selector.
        Null "null",
        /// To a code segment that is not present.
        AbsentCode "absent-code",
        /// With a stack that is not mapped, IST 5.
        BadStack "bad-stack",
    }
}

axis! {
    /// The gate of #DF.
    DoubleFault {
        /// With a good stack of its own, IST 6.
        Good "good",
        /// With IST 0.
        Same "same",
        /// To conforming code with IST 0, which needs nothing of the TSS.
        Conforming "conforming",
        /// Not present.
        Absent "absent",
        /// A call gate.
        WrongType "wrong-type",
        /// With a stack that is not mapped, IST 5.
        BadStack "bad-stack",
    }
}

/// The stack that the event's gate leads to: that of the interrupted program, RSP0 to RSP2 or an
/// entry of the IST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stack {
    /// Aligned and mapped.
    Good,
    /// So many bytes above a multiple of 16, 1 to 15.
    Off(u8),
    /// Not canonical.
    NonCanonical,
    /// The lowest address that is not canonical. What is pushed would lie below it.
    Beyond,
    /// The lowest canonical address of the upper half. What is pushed would lie below it.
    Lowest,
    /// On a page that is not present.
    Absent,
    /// So many times 16 bytes above a page that is not present, 0 to 3.
    Partial(u8),
    /// On a page that cannot be written.
    ReadOnly,
    /// On a page that level 3 may not touch.
    Supervisor,
}

impl Stack {
    /// Every value, the plainest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Good,
            Self::NonCanonical,
            Self::Beyond,
            Self::Lowest,
            Self::Absent,
            Self::ReadOnly,
            Self::Supervisor,
        ];
        let off = (1..16).map(Self::Off);
        plain.into_iter().chain((0..4).map(Self::Partial)).chain(off)
    }

    /// As the user writes it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Good => "good".to_owned(),
            Self::Off(bytes) => format!("off-{bytes}"),
            Self::NonCanonical => "non-canonical".to_owned(),
            Self::Beyond => "beyond".to_owned(),
            Self::Lowest => "lowest".to_owned(),
            Self::Absent => "absent".to_owned(),
            Self::Partial(room) => format!("partial-{room}"),
            Self::ReadOnly => "read-only".to_owned(),
            Self::Supervisor => "supervisor".to_owned(),
        }
    }
}

/// Limit of a whole 64-bit TSS.
pub const WHOLE_TSS: u8 = 0x67;

/// The bits of a gate that have no meaning in long mode: 35 to 39, and 96 to 127.
pub fn spare_bits() -> impl Iterator<Item = u8> {
    (35..40).chain(96..128)
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// What happens.
    pub event: Event,
    /// Privilege level at which it happens.
    pub cpl: u8,
    /// S and type of the gate, 0 to 1Fh.
    pub kind: u8,
    /// DPL of the gate.
    pub dpl: u8,
    /// P of the gate.
    pub present: bool,
    /// IST of the gate.
    pub ist: u8,
    /// The selector in the gate.
    pub selector: Selector,
    /// The address in the gate.
    pub offset: Offset,
    /// A bit of the gate that has no meaning and is set all the same; 0 for none.
    pub bit: u8,
    /// The stack that the gate leads to.
    pub stack: Stack,
    /// Limit of the TSS, in bytes.
    pub tss: u8,
    /// How many bytes of the gate lie beyond the limit of the IDT, 0 to 16.
    pub cut: u8,
    /// RFLAGS before the event.
    pub flags: Flags,
    /// The gates of faults.
    pub faults: Faults,
    /// The gate of #DF.
    pub double: DoubleFault,
}

impl Default for Row {
    /// INT n through a gate in which all is well.
    fn default() -> Self {
        Self {
            event: Event::Int,
            cpl: 0,
            kind: 0xe,
            dpl: 3,
            present: true,
            ist: 0,
            selector: Selector::Code0,
            offset: Offset::Handler,
            bit: 0,
            stack: Stack::Good,
            tss: WHOLE_TSS,
            cut: 0,
            flags: Flags::If,
            faults: Faults::Good,
            double: DoubleFault::Good,
        }
    }
}

impl Row {
    /// Every axis with its value, as the user writes them.
    fn words(&self) -> [(&'static str, String); 15] {
        [
            ("event", self.event.name().to_owned()),
            ("cpl", self.cpl.to_string()),
            ("kind", self.kind.to_string()),
            ("dpl", self.dpl.to_string()),
            ("present", u8::from(self.present).to_string()),
            ("ist", self.ist.to_string()),
            ("selector", self.selector.name().to_owned()),
            ("offset", self.offset.name().to_owned()),
            ("bit", self.bit.to_string()),
            ("stack", self.stack.name()),
            ("tss", self.tss.to_string()),
            ("cut", self.cut.to_string()),
            ("flags", self.flags.name().to_owned()),
            ("faults", self.faults.name().to_owned()),
            ("double", self.double.name().to_owned()),
        ]
    }

    /// Whether its fault could meet its own handler again and again, for ever.
    #[must_use]
    pub fn may_loop(&self) -> bool {
        match self.event {
            Event::Pf => matches!(self.offset, Offset::UpperHalf | Offset::AbsentPage),
            Event::Gp => matches!(self.offset, Offset::Bit47 | Offset::Bit63),
            _ => false,
        }
    }
}

/// What differs from the combination in which all is well; `plain` if nothing does.
impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for ((key, value), (_, plain)) in self.words().iter().zip(Self::default().words()) {
            if *value != plain {
                let comma = if any { "," } else { "" };
                write!(formatter, "{comma}{key}={value}")?;
                any = true;
            }
        }
        if any { Ok(()) } else { formatter.write_str("plain") }
    }
}

/// Some text is no combination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// No axis is called so.
    #[error("no axis is called `{0}`; there are {axes}", axes = axes())]
    Axis(String),
    /// The axis has no such value.
    #[error("`{axis}` cannot be `{value}`; it can be {possible}")]
    Value {
        /// The axis.
        axis: String,
        /// What was given.
        value: String,
        /// What is possible.
        possible: String,
    },
}

fn axes() -> String {
    let axes = Row::default().words().map(|(key, _)| key);
    axes.join(", ")
}

impl FromStr for Row {
    type Err = BadRow;

    fn from_str(text: &str) -> Result<Self, BadRow> {
        let mut row = Self::default();
        let words = text.split([',', ' ']);
        for word in words.filter(|word| !word.is_empty() && *word != "plain") {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "event" => row.event = named(key, value, Event::ALL, |event| event.name().to_owned())?,
                "cpl" => row.cpl = number(key, value, 0..=3)?,
                "kind" => row.kind = number(key, value, 0..=0x1f)?,
                "dpl" => row.dpl = number(key, value, 0..=3)?,
                "present" => row.present = number(key, value, 0..=1)? != 0,
                "ist" => row.ist = number(key, value, 0..=7)?,
                "selector" => row.selector = named(key, value, Selector::ALL, |it| it.name().to_owned())?,
                "offset" => row.offset = named(key, value, Offset::ALL, |it| it.name().to_owned())?,
                "bit" => row.bit = number(key, value, std::iter::once(0).chain(spare_bits()))?,
                "stack" => {
                    let all: Vec<Stack> = Stack::all().collect();
                    row.stack = named(key, value, &all, |stack| stack.name())?;
                }
                "tss" => row.tss = number(key, value, 0..=WHOLE_TSS)?,
                "cut" => row.cut = number(key, value, 0..=16)?,
                "flags" => row.flags = named(key, value, Flags::ALL, |it| it.name().to_owned())?,
                "faults" => row.faults = named(key, value, Faults::ALL, |it| it.name().to_owned())?,
                "double" => row.double = named(key, value, DoubleFault::ALL, |it| it.name().to_owned())?,
                _ => return Err(BadRow::Axis(key.to_owned())),
            }
        }
        Ok(row)
    }
}

fn named<T: Copy>(axis: &str, value: &str, all: &[T], name: impl Fn(T) -> String) -> Result<T, BadRow> {
    let found = all.iter().find(|one| name(**one) == value);
    found.copied().ok_or_else(|| BadRow::Value {
        axis: axis.to_owned(),
        value: value.to_owned(),
        possible: all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "),
    })
}

fn number(axis: &str, value: &str, all: impl Iterator<Item = u8>) -> Result<u8, BadRow> {
    let all: Vec<u8> = all.collect();
    named(axis, value, &all, |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_is_printed() {
        let row = Row {
            event: Event::Nmi,
            stack: Stack::Partial(2),
            bit: 104,
            present: false,
            double: DoubleFault::BadStack,
            ..Row::default()
        };
        let text = "event=nmi,present=0,bit=104,stack=partial-2,double=bad-stack";
        assert_eq!(row.to_string(), text);
        assert_eq!(text.parse(), Ok(row));
        assert_eq!("plain".parse(), Ok(Row::default()));
        assert_eq!(Row::default().to_string(), "plain");
    }

    #[test]
    fn a_wrong_row_says_what_is_possible() {
        let wrong = |text: &str| text.parse::<Row>().unwrap_err().to_string();
        assert!(wrong("level=3").contains("event, cpl, kind"));
        assert!(wrong("cpl=4").contains("0, 1, 2, 3"));
        assert!(wrong("stack=bad").contains("non-canonical"));
        assert!(wrong("cpl").contains("`cpl` cannot be ``"));
    }
}
