//! Assembles the whole closed set of instructions with this suite's assembler and with
//! GNU `as`, and compares.
//!
//! Each line stands at its own multiple of [`SLOT`] bytes in both programs. Where the
//! bytes differ, a row of [`DIFFERENCES`] must say why and whether a decoder reads both
//! as the same instruction. A row that nothing needs fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use harness::assembler::{Bits, Section, assemble, mnemonics};
use iced_x86::{Decoder, DecoderOptions, Instruction};

/// Distance between two lines, in bytes: more than the longest instruction.
const SLOT: usize = 32;

/// Offset of the label `target`, behind all lines.
fn target(bits: Bits) -> usize {
    match bits {
        // The last slot of a 64 KiB segment.
        Bits::Bits16 => 0xffe0,
        Bits::Bits32 | Bits::Bits64 => 0x4_0000,
    }
}

/// One line for both assemblers.
struct Line {
    ours: String,
    gas: String,
}

/// A difference that is meant.
struct Difference {
    /// Code sizes in which it occurs.
    bits: &'static [Bits],
    /// Where it occurs.
    place: Place,
    /// Whether a decoder reads the same from both.
    same_meaning: bool,
    /// Why.
    reason: &'static str,
}

/// Where a difference occurs.
enum Place {
    /// In lines that read like this; `?` is any character.
    Line(&'static str),
    /// Wherever the bytes are the same but for the order of the prefixes.
    PrefixOrder,
}

const ALL: &[Bits] = &[Bits::Bits16, Bits::Bits32, Bits::Bits64];

const DIFFERENCES: &[Difference] = &[
    Difference {
        bits: ALL,
        place: Place::PrefixOrder,
        same_meaning: true,
        reason: "the order of legacy prefixes has no meaning; iced-x86 writes segment, lock, 66, 67, rep",
    },
    Difference {
        bits: ALL,
        place: Place::Line("int 3"),
        same_meaning: false,
        reason: "as turns INT 3 into INT3, which differs in virtual-8086 mode and in its length",
    },
    Difference {
        bits: &[Bits::Bits16],
        place: Place::Line("xchg ax, ax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits32],
        place: Place::Line("xchg eax, eax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("xchg rax, rax"),
        same_meaning: false,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits16],
        place: Place::Line("xchg eax, eax"),
        same_meaning: true,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits32, Bits::Bits64],
        place: Place::Line("xchg ax, ax"),
        same_meaning: true,
        reason: "90h is NOP to a decoder; the form with a ModRM byte is an XCHG",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("mov rax, ?s"),
        same_meaning: false,
        reason: "as leaves out REX.W, because the 32-bit form zero-extends; the width stays as written here",
    },
    Difference {
        bits: &[Bits::Bits64],
        place: Place::Line("mov r12, ?s"),
        same_meaning: false,
        reason: "as leaves out REX.W, because the 32-bit form zero-extends; the width stays as written here",
    },
];

impl Difference {
    fn explains(&self, line: &str, ours: &[u8], gas: &[u8]) -> bool {
        match self.place {
            Place::Line(pattern) => {
                pattern.len() == line.len()
                    && pattern
                        .bytes()
                        .zip(line.bytes())
                        .all(|(expected, byte)| expected == b'?' || expected == byte)
            }
            Place::PrefixOrder => {
                let (mut our_prefixes, our_rest) = split_prefixes(ours);
                let (mut gas_prefixes, gas_rest) = split_prefixes(gas);
                our_prefixes.sort_unstable();
                gas_prefixes.sort_unstable();
                our_prefixes == gas_prefixes && gas_rest.starts_with(our_rest)
            }
        }
    }
}

/// The legacy prefixes of an instruction, and the rest of it.
fn split_prefixes(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let prefix =
        |byte: &u8| [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].contains(byte);
    let count = bytes.iter().take_while(|byte| prefix(byte)).count();
    let (prefixes, rest) = bytes.split_at(count);
    (prefixes.to_vec(), rest)
}

/// Operands of one code size.
struct Shapes {
    /// Registers by size in bytes.
    registers: [(usize, &'static [&'static str]); 4],
    /// Addresses.
    addresses: &'static [&'static str],
    /// The width of a pushed word.
    stack: &'static str,
}

fn shapes(bits: Bits) -> Shapes {
    match bits {
        Bits::Bits16 => Shapes {
            registers: [
                (1, &["al", "dh"]),
                (2, &["ax", "di"]),
                (4, &["eax", "ebp"]),
                (8, &[]),
            ],
            addresses: &[
                "[bx+si+4]",
                "[0x1234]",
                "[bp]",
                "es:[di-0x200]",
                "[eax+ecx*4+0x10]",
                "[target]",
            ],
            stack: "word",
        },
        Bits::Bits32 => Shapes {
            registers: [
                (1, &["al", "dh"]),
                (2, &["ax", "di"]),
                (4, &["eax", "ebp"]),
                (8, &[]),
            ],
            addresses: &[
                "[ebx]",
                "[esp+4]",
                "[0x12345678]",
                "fs:[ecx*8+0x100]",
                "[bx+di]",
                "[target]",
            ],
            stack: "dword",
        },
        Bits::Bits64 => Shapes {
            registers: [
                (1, &["al", "dh", "sil", "r9b"]),
                (2, &["ax", "r10w"]),
                (4, &["eax", "r14d"]),
                (8, &["rax", "r12"]),
            ],
            addresses: &[
                "[rax]",
                "[rsp+8]",
                "[r13]",
                "[rip+target]",
                "[0x1000]",
                "gs:[rbx+r9*2-0x81]",
                "[ecx+4]",
            ],
            stack: "qword",
        },
    }
}

const KEYWORDS: [(usize, &str); 4] = [(1, "byte"), (2, "word"), (4, "dword"), (8, "qword")];

fn keyword(size: usize) -> &'static str {
    KEYWORDS
        .iter()
        .find(|(bytes, _)| *bytes == size)
        .map_or("", |(_, keyword)| keyword)
}

/// Collects lines.
struct Lines {
    bits: Bits,
    shapes: Shapes,
    lines: Vec<Line>,
}

impl Lines {
    fn same(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.lines.push(Line {
            gas: text.clone(),
            ours: text,
        });
    }

    fn translated(&mut self, ours: impl Into<String>, gas: impl Into<String>) {
        self.lines.push(Line {
            ours: ours.into(),
            gas: gas.into(),
        });
    }

    /// Registers with their sizes.
    fn registers(&self, least: usize) -> Vec<(usize, &'static str)> {
        let sized = self.shapes.registers.iter().filter(|(size, _)| *size >= least);
        sized
            .flat_map(|(size, names)| names.iter().map(|name| (*size, *name)))
            .collect()
    }

    /// Memory operands of every size from `least` bytes.
    fn memories(&self, least: usize) -> Vec<(usize, String)> {
        let sizes = self
            .shapes
            .registers
            .iter()
            .filter(|(size, names)| *size >= least && !names.is_empty());
        let addresses = self.shapes.addresses;
        sizes
            .flat_map(|(size, _)| {
                addresses
                    .iter()
                    .map(|address| (*size, format!("{} ptr {address}", keyword(*size))))
            })
            .collect()
    }

    /// Whether a register can be used with a REX prefix, which r8 to r15 and 64 bits need.
    fn two_registers(&self, least: usize) -> Vec<(&'static str, &'static str)> {
        let all = self.registers(least);
        let mut pairs = Vec::new();
        for (size, left) in &all {
            for (other, right) in &all {
                let high = |name: &str| name == "dh";
                let rex = |name: &str| ["sil", "r9b"].contains(&name);
                if size == other && !(high(left) && rex(right) || rex(left) && high(right)) {
                    pairs.push((*left, *right));
                }
            }
        }
        pairs
    }

    fn arithmetic(&mut self) {
        for name in [
            "add", "adc", "sub", "sbb", "cmp", "and", "or", "xor", "mov", "test", "xchg",
        ] {
            for (left, right) in self.two_registers(1) {
                self.same(format!("{name} {left}, {right}"));
            }
            let immediates = name != "xchg";
            // One instruction stands for its family where the shapes multiply.
            let thorough = ["add", "mov", "test", "xchg"].contains(&name);
            for (size, register) in self.registers(1) {
                let addresses = if thorough {
                    self.shapes.addresses
                } else {
                    &self.shapes.addresses[..1]
                };
                for address in addresses {
                    if register == "dh" && address.contains("r9") || register == "dh" && *address == "[r13]" {
                        continue;
                    }
                    self.same(format!("{name} {register}, {address}"));
                    self.same(format!("{name} {address}, {register}"));
                }
                for number in numbers(size, thorough).into_iter().filter(|_| immediates) {
                    self.same(format!("{name} {register}, {number}"));
                }
            }
            for (size, memory) in self.memories(1).into_iter().filter(|_| immediates) {
                let first = memory.ends_with(self.shapes.addresses[0]);
                if thorough || first {
                    self.same(format!("{name} {memory}, 1"));
                }
                if first && size > 1 {
                    self.same(format!("{name} {memory}, 0x80"));
                }
            }
        }
        for name in ["not", "neg", "inc", "dec", "mul", "div", "idiv", "imul"] {
            for (_, register) in self.registers(1) {
                self.same(format!("{name} {register}"));
            }
            for (_, memory) in self.memories(1).into_iter().step_by(3) {
                self.same(format!("{name} {memory}"));
            }
        }
        for name in ["shl", "sal", "shr", "sar", "rol", "ror"] {
            let mut operands: Vec<String> = self
                .registers(1)
                .iter()
                .map(|(_, name)| (*name).to_owned())
                .collect();
            operands.extend(self.memories(1).into_iter().step_by(4).map(|(_, memory)| memory));
            for operand in operands {
                for count in ["1", "5", "cl"] {
                    self.same(format!("{name} {operand}, {count}"));
                }
            }
        }
        for (left, right) in self.two_registers(2) {
            self.same(format!("imul {left}, {right}"));
            self.same(format!("imul {left}, {right}, 3"));
            self.same(format!("imul {left}, {right}, 0x300"));
            for name in ["bt", "bts", "btr"] {
                self.same(format!("{name} {left}, {right}"));
            }
        }
        for (_, register) in self.registers(2) {
            self.same(format!("imul {register}, 5"));
            for name in ["bt", "bts", "btr"] {
                self.same(format!("{name} {register}, 7"));
                self.same(format!("{name} {}, {register}", self.shapes.addresses[0]));
            }
        }
    }

    fn moves(&mut self) {
        let small: Vec<(usize, &str)> = self
            .registers(1)
            .into_iter()
            .filter(|(size, _)| *size <= 2)
            .collect();
        for name in ["movzx", "movsx"] {
            for (wide, left) in self.registers(2) {
                for (size, right) in &small {
                    let rex = wide == 8 || left.starts_with("r1");
                    if *size < wide && !(*right == "dh" && rex) {
                        self.same(format!("{name} {left}, {right}"));
                    }
                }
                for size in [1, 2].into_iter().filter(|size| *size < wide) {
                    let address = self.shapes.addresses[0];
                    self.same(format!("{name} {left}, {} ptr {address}", keyword(size)));
                }
            }
        }
        for (_, register) in self.registers(2) {
            for address in self.shapes.addresses {
                self.same(format!("lea {register}, {address}"));
            }
            for suffix in CONDITIONS {
                self.same(format!("cmov{suffix} {register}, {}", self.shapes.addresses[0]));
            }
        }
        for suffix in CONDITIONS {
            self.same(format!("set{suffix} dh"));
            self.same(format!("set{suffix} byte ptr {}", self.shapes.addresses[1]));
        }
        for segment in ["es", "cs", "ss", "ds", "fs", "gs"] {
            for (_, register) in self.registers(2) {
                self.same(format!("mov {register}, {segment}"));
                if segment != "cs" {
                    self.same(format!("mov {segment}, {register}"));
                }
            }
            self.same(format!("mov word ptr {}, {segment}", self.shapes.addresses[0]));
            if segment != "cs" {
                self.same(format!("mov {segment}, word ptr {}", self.shapes.addresses[0]));
            }
            if self.bits != Bits::Bits64 || ["fs", "gs"].contains(&segment) {
                self.same(format!("push {segment}"));
                if segment != "cs" {
                    self.same(format!("pop {segment}"));
                }
            }
        }
        let wide = if self.bits == Bits::Bits64 { "rdx" } else { "edx" };
        for register in [
            "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
        ] {
            self.same(format!("mov {register}, {wide}"));
            self.same(format!("mov {wide}, {register}"));
        }
    }

    fn stack(&mut self) {
        let size = if self.bits == Bits::Bits64 { 8 } else { 2 };
        for (width, register) in self.registers(2) {
            if width == 2 || width >= size {
                self.same(format!("push {register}"));
                self.same(format!("pop {register}"));
            }
        }
        for address in self.shapes.addresses {
            self.same(format!("push {} ptr {address}", self.shapes.stack));
            self.same(format!("pop word ptr {address}"));
            self.same(format!("call {} ptr {address}", self.shapes.stack));
            self.same(format!("jmp {} ptr {address}", self.shapes.stack));
        }
        for number in ["1", "-1", "0x7f", "0x80", "0x1234"] {
            self.same(format!("push {number}"));
        }
        self.translated("push word 5", "pushw 5");
        self.translated("push word 0x1234", "pushw 0x1234");
        match self.bits {
            Bits::Bits64 => {
                self.translated("push qword 5", "push 5");
                self.translated("push qword -0x12345678", "push -0x12345678");
            }
            Bits::Bits16 | Bits::Bits32 => {
                self.translated("push dword 5", "pushd 5");
                self.translated("push dword 0x12345678", "pushd 0x12345678");
            }
        }
    }

    fn branches(&mut self) {
        for suffix in CONDITIONS {
            self.same(format!("j{suffix} $+4"));
            self.translated(format!("j{suffix} target"), format!("j{suffix} target"));
        }
        let counters: &[&str] = match self.bits {
            Bits::Bits64 => &["jecxz", "jrcxz"],
            Bits::Bits16 | Bits::Bits32 => &["jcxz", "jecxz"],
        };
        for name in ["loop", "loope", "loopz", "loopne", "loopnz"]
            .iter()
            .chain(counters)
        {
            self.same(format!("{name} $-3"));
        }
        for name in ["jmp", "call"] {
            self.same(format!("{name} target"));
            self.same(format!("{name} $"));
            let register = self.registers(2).last().map_or("ax", |(_, register)| register);
            let register = if self.bits == Bits::Bits16 { "bx" } else { register };
            self.same(format!("{name} {register}"));
            let address = self.shapes.addresses[0];
            self.translated(
                format!("{name} far {address}"),
                far_in_gas(self.bits, name, address),
            );
            match self.bits {
                Bits::Bits64 => {}
                Bits::Bits16 => {
                    self.same(format!("{name} 0x08:target"));
                    self.translated(
                        format!("{name} dword 0x10:0x12345678"),
                        format!("data32 {name} 0x10:0x12345678"),
                    );
                    self.same(format!("{name} fword ptr {address}"));
                    self.same("data32 retf");
                    self.same(format!("data32 lgdt {address}"));
                }
                Bits::Bits32 => {
                    self.same(format!("{name} 0x08:target"));
                    self.same("data16 retf");
                    self.translated(
                        format!("{name} far dword ptr {address}"),
                        format!("data16 {name} fword ptr {address}"),
                    );
                }
            }
        }
        self.translated("jmp short $+5", "jmp short $+5");
        self.translated(
            "jmp near $+5",
            if self.bits == Bits::Bits16 {
                "{disp16} jmp $+5"
            } else {
                "{disp32} jmp $+5"
            },
        );
    }

    fn rest(&mut self) {
        for name in ALONE {
            self.same(*name);
        }
        let alone = match self.bits {
            Bits::Bits64 => ALONE_64,
            Bits::Bits16 | Bits::Bits32 => ALONE_BELOW_64,
        };
        for (ours, gas) in alone {
            self.translated(*ours, *gas);
        }
        for text in [
            "ret 8",
            "int 0x80",
            "int 3",
            "in al, 0x60",
            "in ax, dx",
            "out dx, eax",
            "out 0xc0, al",
        ] {
            self.same(text);
        }
        for text in [
            "in al, dx",
            "in eax, 0x40",
            "out 0x80, ax",
            "out 0x80, eax",
            "in eax, dx",
            "out dx, al",
        ] {
            self.same(text);
        }
        let address = self.shapes.addresses[1];
        for name in ["lgdt", "lidt", "sgdt", "sidt", "invlpg"] {
            self.same(format!("{name} {address}"));
        }
        for name in ["lldt", "ltr", "sldt", "str", "smsw", "lmsw"] {
            self.same(format!("{name} word ptr {address}"));
            self.same(format!("{name} cx"));
        }
        for name in ["sldt", "str", "smsw"] {
            self.same(format!("{name} ecx"));
        }
        self.same(format!("cmpxchg8b qword ptr {address}"));
        self.same(format!("lock cmpxchg8b qword ptr {address}"));
        for (_, register) in self.registers(1) {
            for name in ["xadd", "cmpxchg"] {
                let address = self.shapes.addresses[0];
                self.same(format!("{name} {address}, {register}"));
                self.same(format!("lock {name} {address}, {register}"));
            }
        }
        for name in ["add", "and", "or", "xor", "sub", "bts", "btr"] {
            self.same(format!("lock {name} dword ptr {address}, 1"));
        }
        for name in ["inc", "dec", "not", "neg"] {
            self.same(format!("lock {name} byte ptr {address}"));
        }
        self.strings();
    }

    fn strings(&mut self) {
        let mut sizes = vec![("b", "byte", "al"), ("w", "word", "ax"), ("d", "dword", "eax")];
        if self.bits == Bits::Bits64 {
            sizes.push(("q", "qword", "rax"));
        }
        let (source, destination, other_source, other_destination) = match self.bits {
            Bits::Bits16 => ("si", "di", "esi", "edi"),
            Bits::Bits32 => ("esi", "edi", "si", "di"),
            Bits::Bits64 => ("rsi", "rdi", "esi", "edi"),
        };
        for (suffix, keyword, accumulator) in sizes {
            let ports = suffix != "q";
            for name in ["movs", "stos", "lods", "ins", "outs"]
                .into_iter()
                .take(if ports { 5 } else { 3 })
            {
                self.same(format!("{name}{suffix}"));
                self.same(format!("rep {name}{suffix}"));
            }
            for name in ["cmps", "scas"] {
                self.same(format!("{name}{suffix}"));
                for prefix in ["repe", "repz", "repne", "repnz"] {
                    self.same(format!("{prefix} {name}{suffix}"));
                }
            }
            for (from, to) in [(source, destination), (other_source, other_destination)] {
                self.same(format!("movs {keyword} ptr es:[{to}], {keyword} ptr fs:[{from}]"));
                self.same(format!(
                    "rep movs {keyword} ptr es:[{to}], {keyword} ptr [{from}]"
                ));
                self.same(format!("cmps {keyword} ptr [{from}], {keyword} ptr es:[{to}]"));
                self.translated(
                    format!("stos es:[{to}], {accumulator}"),
                    format!("stos {keyword} ptr es:[{to}]"),
                );
                self.translated(
                    format!("lods {accumulator}, gs:[{from}]"),
                    format!("lods {keyword} ptr gs:[{from}]"),
                );
                self.translated(
                    format!("scas {accumulator}, es:[{to}]"),
                    format!("scas {keyword} ptr es:[{to}]"),
                );
                if ports {
                    self.same(format!("ins {keyword} ptr es:[{to}], dx"));
                    self.same(format!("outs dx, {keyword} ptr [{from}]"));
                }
            }
        }
    }
}

fn far_in_gas(bits: Bits, name: &str, address: &str) -> String {
    match bits {
        Bits::Bits16 => format!("{name} far ptr {address}"),
        Bits::Bits32 | Bits::Bits64 => format!("{name} fword ptr {address}"),
    }
}

/// Numbers around the limits of an operand of that size.
fn numbers(size: usize, thorough: bool) -> Vec<&'static str> {
    let all: &[&str] = match size {
        1 => &["1", "0x7f", "-1", "0x80"],
        2 => &["1", "0x7f", "-1", "0x80", "0x1234", "0xffff"],
        4 => &["1", "0x7f", "-1", "0x80", "0x12345678", "0xffffffff", "'A'"],
        _ => &["1", "0x7f", "-1", "0x80", "0x12345678", "-0x80000000"],
    };
    all.iter()
        .copied()
        .take(if thorough { usize::MAX } else { 4 })
        .collect()
}

const CONDITIONS: [&str; 30] = [
    "o", "no", "b", "c", "nae", "ae", "nb", "nc", "e", "z", "ne", "nz", "be", "na", "a", "nbe", "s", "ns",
    "p", "pe", "np", "po", "l", "nge", "ge", "nl", "le", "ng", "g", "nle",
];

/// Instructions without operands in all code sizes.
const ALONE: &[&str] = &[
    "cbw", "cwde", "cwd", "cdq", "clc", "stc", "cmc", "cld", "std", "lahf", "sahf", "ret", "int3", "int1",
    "cli", "sti", "hlt", "nop", "pause", "clts", "rdmsr", "wrmsr", "rdtsc", "cpuid", "syscall", "sysenter",
    "ud2", "rsm", "wbinvd", "pushf", "popf", "iretd",
];

const ALONE_BELOW_64: &[(&str, &str)] = &[
    ("iret", "iret"),
    ("iretw", "iretw"),
    ("retf", "retf"),
    ("retf 4", "retf 4"),
    ("retfw", "retfw"),
    ("retfd", "retfd"),
    ("into", "into"),
    ("pusha", "pusha"),
    ("popa", "popa"),
    ("pushaw", "pushaw"),
    ("popaw", "popaw"),
    ("pushad", "pushad"),
    ("popad", "popad"),
    ("pushfw", "pushfw"),
    ("popfw", "popfw"),
    ("pushfd", "pushfd"),
    ("popfd", "popfd"),
    ("sysret", "sysret"),
    ("sysretd", "sysret"),
    ("sysexit", "sysexit"),
    ("sysexitd", "sysexit"),
];

const ALONE_64: &[(&str, &str)] = &[
    ("iretq", "iretq"),
    ("iretw", "iretw"),
    ("retfd", "retf"),
    ("retfd 4", "retf 4"),
    ("retfq", "rex.w retf"),
    ("retfw", "retfw"),
    ("cdqe", "cdqe"),
    ("cqo", "cqo"),
    ("swapgs", "swapgs"),
    // The Intel syntax of GNU as has no name for these two.
    ("sysretd", ".att_syntax; sysretl; .intel_syntax noprefix"),
    ("sysexitd", ".att_syntax; sysexitl; .intel_syntax noprefix"),
    ("sysretq", "sysretq"),
    ("sysexitq", "rex.w sysexit"),
    ("pushfq", "pushfq"),
    ("popfq", "popfq"),
    ("pushfw", "pushfw"),
    ("popfw", "popfw"),
    ("mov cr8, rax", "mov cr8, rax"),
    ("movsxd rax, ecx", "movsxd rax, ecx"),
    ("movsxd r9, dword ptr [rax]", "movsxd r9, dword ptr [rax]"),
    ("mov rax, 0x123456789abcdef0", "movabs rax, 0x123456789abcdef0"),
    (
        "mov rax, [0x123456789abcdef0]",
        "movabs rax, [0x123456789abcdef0]",
    ),
    ("mov [0x123456789abcdef0], al", "movabs [0x123456789abcdef0], al"),
    ("mov rcx, offset target", "mov rcx, offset target"),
    ("mov rcx, [rel target]", "mov rcx, [rip+target]"),
    ("lea r8, [rip+0x10]", "lea r8, [rip+0x10]"),
    ("lea eax, [eip+target]", "lea eax, [eip+target]"),
    ("xchg r8, rax", "xchg r8, rax"),
];

fn lines(bits: Bits) -> Vec<Line> {
    let mut lines = Lines {
        bits,
        shapes: shapes(bits),
        lines: Vec::new(),
    };
    lines.arithmetic();
    lines.moves();
    lines.stack();
    lines.branches();
    lines.rest();
    let mut seen = BTreeSet::new();
    lines.lines.retain(|line| seen.insert(line.ours.clone()));
    lines.lines
}

/// Bytes of each line from our assembler.
fn assemble_ours(bits: Bits, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        writeln!(text, ".at {}\n{}", index * SLOT, line.ours).expect("writing to a string");
    }
    writeln!(text, ".at {}\ntarget: nop", target(bits)).expect("writing to a string");
    let section = Section {
        name: "everything",
        text: &text,
        bits,
        segment_base: 0,
        origin: Some(0),
    };
    let program = assemble(&[section], &BTreeMap::new()).unwrap_or_else(|errors| {
        let text: Vec<&str> = text.lines().collect();
        let show = |line: usize| text.get(line - 1).copied().unwrap_or_default();
        let all: Vec<String> = errors
            .iter()
            .map(|error| format!("{bits}: {}\n  {error}", show(error.line)))
            .collect();
        panic!("{} lines do not assemble:\n{}", all.len(), all.join("\n"))
    });
    let by_line: BTreeMap<usize, Vec<u8>> = program
        .listing
        .into_iter()
        .map(|line| (line.line, line.bytes))
        .collect();
    (0..lines.len())
        .map(|index| by_line.get(&(index * 2 + 2)).cloned().unwrap_or_default())
        .collect()
}

/// The [`SLOT`] bytes of each line from GNU `as`, linked at address 0.
fn assemble_gas(folder: &Path, bits: Bits, lines: &[Line]) -> Vec<Vec<u8>> {
    let width = match bits {
        Bits::Bits16 => 16,
        Bits::Bits32 => 32,
        Bits::Bits64 => 64,
    };
    let mut text = format!(".intel_syntax noprefix\n.code{width}\n.text\n");
    for (index, line) in lines.iter().enumerate() {
        let spelled = line.gas.replace('$', ".");
        writeln!(text, ".org {}\n{spelled}", index * SLOT).expect("writing to a string");
    }
    writeln!(text, ".org {}\ntarget: nop", target(bits)).expect("writing to a string");
    let path = |extension: &str| folder.join(format!("everything{width}.{extension}"));
    std::fs::write(path("s"), &text).expect("the folder is writable");
    let (as_mode, ld_mode) = if bits == Bits::Bits64 {
        ("--64", "elf_x86_64")
    } else {
        ("--32", "elf_i386")
    };
    let assembled = Command::new("as")
        .args([as_mode, "-o"])
        .args([path("o"), path("s")])
        .output()
        .expect("as runs");
    let messages = String::from_utf8_lossy(&assembled.stderr).into_owned();
    let text: Vec<&str> = text.lines().collect();
    let explained: Vec<String> = messages
        .lines()
        .filter(|message| message.contains("Error"))
        .map(|message| {
            let line = message
                .split(':')
                .nth(1)
                .and_then(|number| number.parse::<usize>().ok());
            format!(
                "{message}\n  {}",
                line.and_then(|line| text.get(line - 1)).unwrap_or(&"")
            )
        })
        .collect();
    assert!(
        assembled.status.success(),
        "as refuses {} lines:\n{}",
        explained.len(),
        explained.join("\n")
    );
    let linked = Command::new("ld")
        .args(["-m", ld_mode, "-Ttext=0", "-e", "0", "--oformat", "binary", "-o"])
        .args([path("bin"), path("o")])
        .output()
        .expect("ld runs");
    assert!(
        linked.status.success(),
        "ld: {}",
        String::from_utf8_lossy(&linked.stderr)
    );
    let bytes = std::fs::read(path("bin")).expect("ld wrote the file");
    bytes.chunks(SLOT).take(lines.len()).map(<[u8]>::to_vec).collect()
}

fn decode(bits: Bits, bytes: &[u8], offset: usize) -> Instruction {
    let width = match bits {
        Bits::Bits16 => 16,
        Bits::Bits32 => 32,
        Bits::Bits64 => 64,
    };
    Decoder::with_ip(width, bytes, offset as u64, DecoderOptions::NONE).decode()
}

/// Whether GNU `as` and `ld` are there.
fn binutils() -> bool {
    ["as", "ld"].iter().all(|tool| {
        Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    })
}

#[test]
fn the_closed_set_encodes_as_gnu_as_does() {
    if !binutils() {
        println!("skipped: GNU `as` and `ld` are not installed (package binutils)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut complaints = Vec::new();
    let mut needed = BTreeSet::new();
    let mut compared = 0;
    for &bits in ALL {
        let lines = lines(bits);
        let ours = assemble_ours(bits, &lines);
        let gas = assemble_gas(folder.path(), bits, &lines);
        assert_eq!(ours.len(), gas.len(), "as assembled another number of lines");
        for (index, (line, (ours, gas))) in lines.iter().zip(ours.iter().zip(&gas)).enumerate() {
            compared += 1;
            let offset = index * SLOT;
            let same = gas.starts_with(ours) && gas.iter().skip(ours.len()).all(|byte| *byte == 0);
            if same && !ours.is_empty() {
                continue;
            }
            let (our_meaning, gas_meaning) = (decode(bits, ours, offset), decode(bits, gas, offset));
            let same_meaning = our_meaning.to_string() == gas_meaning.to_string();
            let row = DIFFERENCES.iter().position(|row| {
                row.bits.contains(&bits)
                    && row.same_meaning == same_meaning
                    && row.explains(&line.ours, ours, gas)
            });
            match row {
                Some(row) => {
                    needed.insert((row, bits));
                }
                None => complaints.push(format!(
                    "{bits} `{}`: {ours:02x?} is `{our_meaning}`, as has {:02x?} `{gas_meaning}`",
                    line.ours,
                    &gas[..gas_meaning.len().max(1)],
                )),
            }
        }
    }
    for (row, difference) in DIFFERENCES.iter().enumerate() {
        for &bits in difference.bits {
            if !needed.contains(&(row, bits)) {
                complaints.push(format!(
                    "{bits}: nothing needs the row that says: {}",
                    difference.reason
                ));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    println!("{compared} lines agree");
}

#[test]
fn every_mnemonic_is_compared() {
    let mut used = BTreeSet::new();
    for &bits in ALL {
        for line in lines(bits) {
            used.extend(line.ours.split_whitespace().map(str::to_owned));
        }
    }
    let missing: Vec<&str> = mnemonics().filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "no line uses {missing:?}");
}
