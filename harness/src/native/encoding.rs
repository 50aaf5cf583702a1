//! Bytes of random instructions: an encoding of the model's instruction set, with random prefixes and
//! operands. Not every combination is an instruction; what is none has to raise #UD.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpCodeOperandKind, OpCodeTableKind};
use spec_model::x86::instruction_set;

use super::numbers::Numbers;

/// The longest instruction in bytes.
pub const LONGEST: usize = 15;

/// The encodings that are tried in code of each width.
pub struct Encodings {
    /// For 16, 32 and 64 bits.
    of_width: [Vec<Code>; 3],
    /// Those of them that are tried more often.
    intricate: [Vec<Code>; 3],
}

impl Encodings {
    /// Those of the model that a program can try.
    #[must_use]
    pub fn new() -> Self {
        let tried = |bits: u32| {
            let can_be = move |code: &Code| {
                let info = code.op_code();
                match bits {
                    16 => info.mode16(),
                    32 => info.mode32(),
                    _ => info.mode64(),
                }
            };
            instruction_set::encodings()
                .filter(can_be)
                .filter(|code| !is_the_systems(code.mnemonic()))
                .collect()
        };
        let of_width: [Vec<Code>; 3] = [16, 32, 64].map(tried);
        let intricate = of_width.each_ref().map(|all| {
            let found = all.iter().copied().filter(|code| is_intricate(*code));
            found.collect()
        });
        Self { of_width, intricate }
    }

    fn of(&self, bits: u32) -> &[Code] {
        &self.of_width[width_index(bits)]
    }

    /// An instruction of code of `bits` bits, and what the decoder takes it for. Bytes that no step may
    /// execute are never among them.
    pub fn draw(&self, numbers: &mut Numbers, bits: u32) -> (Vec<u8>, Instruction) {
        loop {
            let code = if numbers.one_in(6) {
                numbers.pick(&self.intricate[width_index(bits)])
            } else {
                numbers.pick(self.of(bits))
            };
            let bytes = bytes(numbers, bits, code);
            let instruction = decode(&bytes, bits);
            if !is_excluded(&instruction) {
                return (bytes, instruction);
            }
        }
    }
}

impl Default for Encodings {
    fn default() -> Self {
        Self::new()
    }
}

const fn width_index(bits: u32) -> usize {
    match bits {
        16 => 0,
        32 => 1,
        _ => 2,
    }
}

/// Encodings with so many ways to go that one in several hundred is too few.
fn is_intricate(code: Code) -> bool {
    use Mnemonic as M;
    let loads_segment = code.op_code().op_kinds().iter().any(|kind| {
        use OpCodeOperandKind as K;
        matches!(kind, K::seg_reg | K::es | K::ss | K::ds | K::fs | K::gs)
    });
    let is_far = matches!(
        code,
        Code::Jmp_m1616
            | Code::Jmp_m1632
            | Code::Jmp_m1664
            | Code::Call_m1616
            | Code::Call_m1632
            | Code::Call_m1664
    );
    loads_segment
        || is_far
        || matches!(
            code.mnemonic(),
            M::Cmpxchg | M::Xadd | M::Retf | M::Iret | M::Iretd | M::Iretq
        )
}

/// What the bytes are in code of `bits` bits.
#[must_use]
pub fn decode(bytes: &[u8], bits: u32) -> Instruction {
    Decoder::new(bits, bytes, DecoderOptions::NONE).decode()
}

/// Instructions whose outcome is the operating system's or the machine's: calls, what it emulates where
/// CR4.UMIP is set (Linux arch/x86/kernel/umip.c), what CPUID tells, and what a KVM under it executes where the
/// processor raises #UD (Linux arch/x86/kvm/emulate.c, EmulateOnUD).
#[must_use]
pub fn is_the_systems(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Syscall
            | M::Sysenter
            | M::Sysexit
            | M::Sysexitq
            | M::Cpuid
            | M::Vmcall
            | M::Vmmcall
            | M::Sgdt
            | M::Sidt
            | M::Sldt
            | M::Str
            | M::Smsw
    )
}

/// Whether an instruction is the system's; INT 80h is the third way to call it.
#[must_use]
pub fn is_excluded(instruction: &Instruction) -> bool {
    const CALL_OF_32_BIT_PROGRAMS: u8 = 0x80;
    let calls =
        instruction.mnemonic() == Mnemonic::Int && instruction.immediate8() == CALL_OF_32_BIT_PROGRAMS;
    calls || is_the_systems(instruction.mnemonic())
}

fn bytes(numbers: &mut Numbers, bits: u32, code: Code) -> Vec<u8> {
    let info = code.op_code();
    let mut bytes = prefixes(numbers, bits, code);
    match info.table() {
        OpCodeTableKind::T0F => bytes.push(0x0f),
        OpCodeTableKind::T0F38 => bytes.extend([0x0f, 0x38]),
        OpCodeTableKind::T0F3A => bytes.extend([0x0f, 0x3a]),
        _ => {}
    }
    let opcode = info.op_code();
    if info.op_code_len() == 2 {
        bytes.push((opcode >> 8) as u8);
    }
    let names_register = info.op_kinds().iter().any(|kind| {
        use OpCodeOperandKind as K;
        matches!(kind, K::r8_opcode | K::r16_opcode | K::r32_opcode | K::r64_opcode)
    });
    let register = if names_register { numbers.byte() & 7 } else { 0 };
    bytes.push(opcode as u8 | register);
    let has_modrm = info.is_group() || info.op_kinds().iter().any(is_in_modrm);
    if has_modrm {
        let middle = if info.is_group() {
            info.group_index() as u8
        } else {
            numbers.byte() & 7
        };
        let wants_memory = info.op_kinds().contains(&OpCodeOperandKind::mem) && !numbers.one_in(16);
        let form = match numbers.byte() & 3 {
            3 if wants_memory => 0,
            _ if !wants_memory && is_intricate(code) && numbers.one_in(3) => 3,
            form => form,
        };
        bytes.push(form << 6 | middle << 3 | numbers.byte() & 7);
    }
    // A SIB byte, displacement and immediate, as many of them as it has.
    let rest = numbers.number().to_le_bytes();
    let more = numbers.number().to_le_bytes();
    bytes.extend(rest);
    bytes.extend(more);
    if has_modrm && numbers.one_in(2) {
        // Immediates that are edges: counts of 0 and of the width, small numbers.
        let edge = numbers.pick(&[0u8, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff]);
        let length = decode(&bytes, bits).len();
        if (1..bytes.len()).contains(&length) {
            bytes[length - 1] = edge;
        }
    }
    bytes.truncate(LONGEST);
    let length = decode(&bytes, bits).len();
    let is_instruction = !decode(&bytes, bits).is_invalid();
    if is_instruction {
        // AMD's processors read some branches otherwise (INS-BRANCH-001), and never longer.
        bytes.truncate(length);
    }
    bytes
}

fn is_in_modrm(kind: &OpCodeOperandKind) -> bool {
    use OpCodeOperandKind as K;
    matches!(
        kind,
        K::mem
            | K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::r8_reg
            | K::r16_reg
            | K::r32_reg
            | K::r64_reg
            | K::r16_rm
            | K::r32_rm
            | K::r64_rm
            | K::seg_reg
            | K::cr_reg
            | K::dr_reg
    )
}

/// Legacy prefixes in any order, and in 64-bit code perhaps REX.
fn prefixes(numbers: &mut Numbers, bits: u32, code: Code) -> Vec<u8> {
    let info = code.op_code();
    let mut prefixes = Vec::new();
    match info.mandatory_prefix() {
        iced_x86::MandatoryPrefix::P66 => prefixes.push(0x66),
        iced_x86::MandatoryPrefix::PF3 => prefixes.push(0xf3),
        iced_x86::MandatoryPrefix::PF2 => prefixes.push(0xf2),
        _ => {}
    }
    let width = info.operand_size();
    let differs = width != 0 && width != bits && !(bits == 64 && width != 16);
    if differs || numbers.one_in(6) {
        prefixes.push(0x66);
    }
    if numbers.one_in(8) {
        prefixes.push(0x67);
    }
    if numbers.one_in(5) {
        prefixes.push(numbers.pick(&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
    }
    let chance = if info.can_use_lock_prefix() { 6 } else { 64 };
    if numbers.one_in(chance) {
        prefixes.push(0xf0);
    }
    let repeats = info.can_use_rep_prefix() || info.can_use_repne_prefix();
    if numbers.one_in(if repeats { 2 } else { 48 }) {
        prefixes.push(numbers.pick(&[0xf2, 0xf3]));
    }
    if numbers.one_in(512) {
        // So many that it is too long.
        prefixes.extend([0x3e; 13]);
    }
    for last in (1..prefixes.len()).rev() {
        prefixes.swap(last, numbers.below(last as u64 + 1) as usize);
    }
    let wide = width == 64 && !numbers.one_in(8);
    if bits == 64 && (wide || numbers.one_in(2)) {
        let rex = 0x40 | numbers.byte() & 0xf | if wide { 8 } else { 0 };
        prefixes.push(rex);
        if numbers.one_in(64) {
            // One that another prefix follows counts for nothing.
            prefixes.push(0x3e);
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_comes_out_as_itself() {
        let encodings = Encodings::new();
        for bits in [16, 32, 64] {
            let mut numbers = Numbers::new(1);
            // As one of the two vendors reads it.
            let is = |code: Code, bytes: &[u8]| {
                let amd = Decoder::new(bits, bytes, DecoderOptions::AMD).decode();
                decode(bytes, bits).code() == code || amd.code() == code
            };
            let comes =
                |code: Code, numbers: &mut Numbers| (0..4000).any(|_| is(code, &bytes(numbers, bits, code)));
            let all = encodings.of(bits).iter().copied();
            let missing: Vec<Code> = all.filter(|code| !comes(*code, &mut numbers)).collect();
            // 0Fh is POP CS on the 8086 alone.
            let known = [Code::Popw_CS];
            assert!(
                missing.iter().all(|code| known.contains(code)),
                "{bits} bits: {missing:?}"
            );
        }
    }

    #[test]
    fn no_step_calls_the_system() {
        let encodings = Encodings::new();
        for bits in [16, 32, 64] {
            let mut numbers = Numbers::new(2);
            for _ in 0..100_000 {
                let (bytes, _) = encodings.draw(&mut numbers, bits);
                assert!(!is_excluded(&decode(&bytes, bits)), "{bytes:02x?}");
            }
        }
    }
}
