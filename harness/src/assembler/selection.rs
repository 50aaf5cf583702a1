//! Finds the encodings that an instruction with its operands can have.
//!
//! Only shapes decide here: kinds of operands, their sizes and the code size. Which of
//! the encodings found is the shortest that holds the values is [`super::encoding`]'s part.

use iced_x86::{Code, OpCodeInfo, OpCodeOperandKind as K, Register};

use super::Bits;
use super::error::Mistake;
use super::expression::Expression;
use super::instruction_set::{Entry, Rule};
use super::lexer::Located;
use super::operand::{Distance, Memory, Operand, OperandKind, size_keyword};
use super::register;

/// Prefixes as written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefixes {
    /// `lock`
    pub lock: bool,
    /// `rep`, `repe` or `repne`
    pub repeat: Option<Repeat>,
    /// `data16` or `data32`: the operand size in bits.
    pub operand_size: Option<u32>,
}

/// A repeat prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// F3h: `rep`, `repe`.
    Equal,
    /// F2h: `repne`.
    NotEqual,
}

/// An encoding and the operands in its order.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The encoding.
    pub code: Code,
    /// One operand per operand of the encoding.
    pub operands: Vec<Operand>,
}

/// An instruction with every encoding that its operands allow.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// Name as written, in lower case.
    pub name: String,
    /// Prefixes.
    pub prefixes: Prefixes,
    /// Code size.
    pub bits: Bits,
    /// Never empty.
    pub candidates: Vec<Candidate>,
}

/// Finds all encodings of `entry` with `operands` in code of size `bits`. Mistakes without
/// an operand of their own are put at `column`.
pub(super) fn select(
    entry: &'static Entry,
    prefixes: Prefixes,
    operands: Vec<Operand>,
    bits: Bits,
    column: usize,
) -> Located<Selection> {
    check_registers(&operands, bits)?;
    let there: Vec<Code> = entry
        .codes
        .iter()
        .copied()
        .filter(|code| exists(code.op_code(), bits))
        .collect();
    if there.is_empty() {
        let name = entry.name.clone();
        return Err((column, Mistake::NotInThisMode { name, bits }));
    }
    let readings = readings(entry, operands, bits);
    let mut candidates = Vec::new();
    for &code in &there {
        for reading in &readings {
            let operands = match reading {
                Reading::Given(operands) => operands.clone(),
                Reading::Implied => implied_operands(code, bits, column),
            };
            if matches_shape(code, &operands) {
                candidates.push(Candidate { code, operands });
            }
        }
    }
    if candidates.is_empty() {
        let name = entry.name.clone();
        let shapes = shapes(&there);
        return Err((column, Mistake::OperandShapes { name, bits, shapes }));
    }
    keep_prefixed(entry, prefixes, &mut candidates).map_err(|mistake| (column, mistake))?;
    keep_size(entry, prefixes, bits, &mut candidates).map_err(|mistake| (column, mistake))?;
    check_memory_size(entry, &candidates)?;
    Ok(Selection {
        name: entry.name.clone(),
        prefixes,
        bits,
        candidates,
    })
}

fn exists(info: &OpCodeInfo, bits: Bits) -> bool {
    match bits {
        Bits::Bits16 => info.mode16(),
        Bits::Bits32 => info.mode32(),
        Bits::Bits64 => info.mode64(),
    }
}

fn check_registers(operands: &[Operand], bits: Bits) -> Located<()> {
    for operand in operands {
        let registers = match &operand.kind {
            OperandKind::Register(register) => [*register, Register::None],
            OperandKind::Memory(memory) => [memory.base, memory.index],
            OperandKind::Immediate { .. } | OperandKind::FarPointer { .. } => continue,
        };
        for register in registers {
            if bits != Bits::Bits64 && register::needs_64_bits(register) {
                return Err((
                    operand.column,
                    Mistake::RegisterNeeds64(register::name_of(register)),
                ));
            }
            if bits == Bits::Bits64 && matches!(operand.kind, OperandKind::Memory(_)) && register.is_gpr16() {
                return Err((
                    operand.column,
                    Mistake::Address("64-bit code has no 16-bit addresses"),
                ));
            }
        }
    }
    Ok(())
}

/// The operands in one order in which they may be meant.
enum Reading {
    Given(Vec<Operand>),
    Implied,
}

fn readings(entry: &Entry, mut operands: Vec<Operand>, bits: Bits) -> Vec<Reading> {
    match entry.rule {
        Rule::String if operands.is_empty() => return vec![Reading::Implied],
        Rule::Commutes => {
            let swapped = operands.iter().rev().cloned().collect();
            return vec![Reading::Given(operands), Reading::Given(swapped)];
        }
        Rule::Multiply => {
            if let [
                first,
                Operand {
                    kind: OperandKind::Immediate { .. },
                    ..
                },
            ] = operands.as_slice()
            {
                operands.insert(0, first.clone());
            }
        }
        Rule::Reads16 => read_16_bits(&mut operands, bits),
        Rule::Plain | Rule::Natural | Rule::NaturalBelow64 | Rule::String => {}
    }
    vec![Reading::Given(operands)]
}

/// Takes the register that is read at the width that needs no prefix: only its low 16
/// bits count.
fn read_16_bits(operands: &mut [Operand], bits: Bits) {
    let source = match operands {
        [
            Operand {
                kind: OperandKind::Register(first),
                ..
            },
            source,
        ] if first.is_segment_register() => source,
        [source] => source,
        _ => return,
    };
    if let OperandKind::Register(register) = &mut source.kind {
        let wide = register.is_gpr16() || register.is_gpr32() || register.is_gpr64();
        if wide {
            let full = register.full_register32();
            *register = if bits == Bits::Bits16 {
                low_word(full)
            } else {
                full
            };
        }
    }
}

/// The 16-bit register that is the low half of one of the first eight 32-bit registers.
fn low_word(full: Register) -> Register {
    let same = |register: &Register| register.is_gpr16() && register.full_register32() == full;
    Register::values().find(same).unwrap_or(full)
}

/// The operands that a string instruction without written ones has.
fn implied_operands(code: Code, bits: Bits, column: usize) -> Vec<Operand> {
    let (source, destination) = match bits {
        Bits::Bits16 => (Register::SI, Register::DI),
        Bits::Bits32 => (Register::ESI, Register::EDI),
        Bits::Bits64 => (Register::RSI, Register::RDI),
    };
    let memory = |base| {
        OperandKind::Memory(Memory {
            segment: Register::None,
            base,
            index: Register::None,
            scale: 1,
            displacement: None,
            size: None,
            far: false,
        })
    };
    let kinds = code.op_code().op_kinds().iter().map(|kind| match kind {
        K::seg_rSI => memory(source),
        K::es_rDI => memory(destination),
        K::al => OperandKind::Register(Register::AL),
        K::ax => OperandKind::Register(Register::AX),
        K::eax => OperandKind::Register(Register::EAX),
        K::rax => OperandKind::Register(Register::RAX),
        _ => OperandKind::Register(Register::DX),
    });
    kinds.map(|kind| Operand { column, kind }).collect()
}

fn matches_shape(code: Code, operands: &[Operand]) -> bool {
    let info = code.op_code();
    let kinds = info.op_kinds();
    kinds.len() == operands.len()
        && kinds
            .iter()
            .zip(operands)
            .all(|(&kind, operand)| match &operand.kind {
                OperandKind::Register(register) => takes_register(kind, *register),
                OperandKind::Memory(memory) => takes_memory(info, kind, memory),
                OperandKind::Immediate { size, distance, .. } => match branch_width(kind) {
                    Some((_, Distance::Short)) => size.is_none() && *distance != Some(Distance::Near),
                    Some((_, Distance::Near)) => size.is_none() && *distance != Some(Distance::Short),
                    None => {
                        distance.is_none()
                            && immediate_size(kind).is_some_and(|own| size.is_none_or(|size| size == own))
                    }
                },
                OperandKind::FarPointer { size, .. } => match kind {
                    K::farbr2_2 => size.is_none_or(|size| size == 2),
                    K::farbr4_2 => size.is_none_or(|size| size == 4),
                    _ => false,
                },
            })
}

fn takes_register(kind: K, register: Register) -> bool {
    match kind {
        K::r8_or_mem | K::r8_reg | K::r8_opcode => register.is_gpr8(),
        K::r16_or_mem | K::r16_reg | K::r16_rm | K::r16_opcode => register.is_gpr16(),
        K::r32_or_mem | K::r32_reg | K::r32_rm | K::r32_opcode => register.is_gpr32(),
        K::r64_or_mem | K::r64_reg | K::r64_rm | K::r64_opcode => register.is_gpr64(),
        K::seg_reg => register.is_segment_register(),
        K::cr_reg => register.is_cr(),
        K::dr_reg => register.is_dr(),
        K::es => register == Register::ES,
        K::cs => register == Register::CS,
        K::ss => register == Register::SS,
        K::ds => register == Register::DS,
        K::fs => register == Register::FS,
        K::gs => register == Register::GS,
        K::al => register == Register::AL,
        K::cl => register == Register::CL,
        K::ax => register == Register::AX,
        K::dx => register == Register::DX,
        K::eax => register == Register::EAX,
        K::rax => register == Register::RAX,
        _ => false,
    }
}

fn takes_memory(info: &OpCodeInfo, kind: K, memory: &Memory) -> bool {
    use iced_x86::MemorySize::{SegPtr16, SegPtr32, SegPtr64};
    let size = info.memory_size().size();
    if memory.size.is_some_and(|own| size != 0 && own != size) {
        return false;
    }
    let pointer = [SegPtr16, SegPtr32, SegPtr64].contains(&info.memory_size());
    // 6 or 10 bytes can only be a far pointer. `far` with another size is refused, because
    // some assemblers mean the whole pointer by it and some the offset alone.
    let far_size = matches!(memory.size, Some(6 | 10));
    let means_pointer = far_size || memory.far && memory.size.is_none();
    let clash = memory.far && !means_pointer;
    let descriptor = !pointer && far_size && !memory.far;
    if clash || pointer != means_pointer && !descriptor {
        return false;
    }
    let plain = memory.index == Register::None && memory.displacement.is_none();
    match kind {
        K::mem | K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem => true,
        K::mem_offs => memory.base == Register::None && memory.index == Register::None,
        K::seg_rSI => plain && [Register::SI, Register::ESI, Register::RSI].contains(&memory.base),
        K::es_rDI => {
            plain
                && [Register::None, Register::ES].contains(&memory.segment)
                && [Register::DI, Register::EDI, Register::RDI].contains(&memory.base)
        }
        _ => false,
    }
}

/// Width in bits of the target of a near branch, and its distance.
pub(super) fn branch_width(kind: K) -> Option<(u32, Distance)> {
    match kind {
        K::br16_1 => Some((16, Distance::Short)),
        K::br32_1 => Some((32, Distance::Short)),
        K::br64_1 => Some((64, Distance::Short)),
        K::br16_2 => Some((16, Distance::Near)),
        K::br32_4 => Some((32, Distance::Near)),
        K::br64_4 => Some((64, Distance::Near)),
        _ => None,
    }
}

/// Size in bytes of an immediate after sign extension.
fn immediate_size(kind: K) -> Option<usize> {
    match kind {
        K::imm8 | K::imm8_const_1 => Some(1),
        K::imm8sex16 | K::imm16 => Some(2),
        K::imm8sex32 | K::imm32 => Some(4),
        K::imm8sex64 | K::imm32sex64 | K::imm64 => Some(8),
        _ => None,
    }
}

/// Drops the encodings that do not take the prefixes.
fn keep_prefixed(entry: &Entry, prefixes: Prefixes, candidates: &mut Vec<Candidate>) -> Result<(), Mistake> {
    let refuse = |prefix, hint| Mistake::Prefix {
        prefix,
        name: entry.name.clone(),
        hint,
    };
    if prefixes.lock {
        let in_memory = |candidate: &Candidate| {
            matches!(
                candidate.operands.first().map(|first| &first.kind),
                Some(OperandKind::Memory(_))
            )
        };
        candidates.retain(|candidate| candidate.code.op_code().can_use_lock_prefix() && in_memory(candidate));
        if candidates.is_empty() {
            return Err(refuse(
                "lock",
                ": it needs an instruction that changes its first operand, in memory",
            ));
        }
    }
    if let Some(repeat) = prefixes.repeat {
        let (prefix, takes): (_, fn(&OpCodeInfo) -> bool) = match repeat {
            Repeat::Equal => ("rep", OpCodeInfo::can_use_rep_prefix),
            Repeat::NotEqual => ("repne", OpCodeInfo::can_use_repne_prefix),
        };
        candidates.retain(|candidate| takes(candidate.code.op_code()) && entry.rule == Rule::String);
        if candidates.is_empty() {
            return Err(refuse(prefix, ": it repeats string instructions only"));
        }
    }
    Ok(())
}

/// Drops the encodings of another operand size than the one that is written or usual.
fn keep_size(
    entry: &Entry,
    prefixes: Prefixes,
    bits: Bits,
    candidates: &mut Vec<Candidate>,
) -> Result<(), Mistake> {
    if let Some(size) = prefixes.operand_size {
        candidates.retain(|candidate| candidate.code.op_code().operand_size() == size);
        if candidates.is_empty() {
            return Err(Mistake::Prefix {
                prefix: if size == 16 { "data16" } else { "data32" },
                name: entry.name.clone(),
                hint: ": no form with these operands has that operand size",
            });
        }
        if matches!(entry.rule, Rule::Natural | Rule::NaturalBelow64) {
            keep_own_address_size(bits, candidates);
        }
        return Ok(());
    }
    let sized = candidates
        .iter()
        .flat_map(|candidate| &candidate.operands)
        .any(|operand| match &operand.kind {
            OperandKind::Register(register) => register.is_gpr(),
            OperandKind::Memory(memory) => memory.size.is_some(),
            OperandKind::Immediate { size, .. } | OperandKind::FarPointer { size, .. } => size.is_some(),
        });
    match entry.rule {
        Rule::NaturalBelow64 if bits == Bits::Bits64 => Err(Mistake::SayTheWidth {
            name: entry.name.clone(),
        }),
        Rule::Natural | Rule::NaturalBelow64 if !sized => {
            candidates.retain(|candidate| is_natural(candidate.code.op_code(), bits));
            keep_own_address_size(bits, candidates);
            if candidates.is_empty() {
                let name = entry.name.clone();
                return Err(Mistake::NotInThisMode { name, bits });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// LOOP counts in the register of the address size, which is the usual one; JCXZ, JECXZ and JRCXZ name
/// theirs.
fn keep_own_address_size(bits: Bits, candidates: &mut Vec<Candidate>) {
    let own_address = |candidate: &Candidate| {
        let size = candidate.code.op_code().address_size();
        size == 0 || size == bits.width()
    };
    if candidates.iter().any(own_address) {
        candidates.retain(own_address);
    }
}

/// Whether the encoding needs neither the prefix 66h nor REX.W.
fn is_natural(info: &OpCodeInfo, bits: Bits) -> bool {
    match (info.operand_size(), bits) {
        (0, _) | (16, Bits::Bits16) | (32, Bits::Bits32 | Bits::Bits64) => true,
        (64, Bits::Bits64) => info.default_op_size64(),
        _ => false,
    }
}

/// Refuses a memory operand whose size nothing tells.
fn check_memory_size(entry: &Entry, candidates: &[Candidate]) -> Located<()> {
    let open = candidates
        .iter()
        .flat_map(|candidate| &candidate.operands)
        .find(|operand| matches!(&operand.kind, OperandKind::Memory(memory) if memory.size.is_none()));
    let Some(operand) = open else { return Ok(()) };
    let mut sizes: Vec<usize> = candidates
        .iter()
        .map(|candidate| candidate.code.op_code().memory_size().size())
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return Ok(());
    }
    let choices = if entry.rule == Rule::String {
        candidates
            .iter()
            .map(|candidate| format!("{:?}", candidate.code.mnemonic()).to_ascii_lowercase())
            .collect()
    } else {
        sizes
            .into_iter()
            .filter_map(size_keyword)
            .map(|keyword| format!("`{keyword} ptr`"))
            .collect()
    };
    Err((operand.column, Mistake::MemorySize(choices)))
}

/// The forms of an instruction as the manuals write them.
fn shapes(codes: &[Code]) -> Vec<String> {
    const MOST: usize = 12;
    let mut shapes: Vec<String> = Vec::new();
    for code in codes {
        let shape = code.op_code().instruction_string().to_owned();
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    if shapes.len() > MOST {
        shapes.truncate(MOST);
        shapes.push("and more".to_owned());
    }
    shapes
}

impl Selection {
    /// Calls `visit` for each symbol in the operands.
    pub(super) fn symbols(&self, visit: &mut dyn FnMut(&str, usize)) {
        let Some(candidate) = self.candidates.first() else {
            return;
        };
        for operand in &candidate.operands {
            let mut each = |expression: &Expression| expression.symbols(visit);
            match &operand.kind {
                OperandKind::Register(_) => {}
                OperandKind::Memory(memory) => memory.displacement.iter().for_each(&mut each),
                OperandKind::Immediate { value, .. } => each(value),
                OperandKind::FarPointer { selector, offset, .. } => {
                    each(selector);
                    each(offset);
                }
            }
        }
    }
}
