//! The lines that are assembled: instructions times shapes of operands.

use std::collections::BTreeSet;

use harness::assembler::Bits;

use super::shapes::{Shapes, keyword, shapes};
use super::tables::{ALONE, ALONE_64, ALONE_BELOW_64, CONDITIONS};

/// One line for both assemblers.
pub struct Line {
    /// For this suite's assembler.
    pub ours: String,
    /// For GNU `as`; `$` is the start of the line in both.
    pub gas: String,
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
                    if register == "dh" && (address.contains("r9") || *address == "[r13]") {
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
            for name in ["bt", "bts", "btr", "btc", "ud0", "ud1"] {
                self.same(format!("{name} {left}, {right}"));
            }
        }
        for (_, register) in self.registers(2) {
            self.same(format!("imul {register}, 5"));
            for name in ["bt", "bts", "btr", "btc"] {
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
                        format!("data16 {name} far {address}"),
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
        for name in ["add", "and", "or", "xor", "sub", "bts", "btr", "btc"] {
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

/// All lines for one code size.
pub fn lines(bits: Bits) -> Vec<Line> {
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
