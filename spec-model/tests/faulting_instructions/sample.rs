//! An encoding with operands, as bytes.

use iced_x86::{Code, Encoder, Instruction, OpCodeOperandKind as K, OpKind, Register};

use crate::guest::CODE;

/// What an instruction works on.
#[derive(Clone, Debug, Default)]
pub struct Operands {
    /// Operands that can be in memory are.
    pub in_memory: bool,
    /// Offset of memory operands and of the stack in their pages.
    pub offset: u64,
    /// RAX, RCX, RDX and R8.
    pub values: [u64; 4],
    /// The immediate, as far as it fits.
    pub immediate: u64,
    /// Which registers are taken.
    pub registers: [u8; 3],
    /// 0 and 1: none, 2: REP or LOCK where allowed, 3: REPNE where allowed.
    pub prefix: u8,
    /// The arithmetic flags and DF.
    pub flags: u64,
}

/// Whether an operand is, or can be, in memory.
pub fn has_memory_operand(code: Code) -> bool {
    code.op_code().op_kinds().iter().any(|kind| {
        matches!(
            kind,
            K::mem
                | K::mem_offs
                | K::r8_or_mem
                | K::r16_or_mem
                | K::r32_or_mem
                | K::r64_or_mem
                | K::seg_rSI
                | K::es_rDI
        )
    }) && !matches!(
        code.mnemonic(),
        iced_x86::Mnemonic::Lea
            | iced_x86::Mnemonic::Nop
            | iced_x86::Mnemonic::Invlpg
            | iced_x86::Mnemonic::Ud0
            | iced_x86::Mnemonic::Ud1
    )
}

/// The bytes, or nothing if the encoding does not exist in such code or with such operands.
pub fn sample(code: Code, bits: u32, operands: &Operands) -> Option<Vec<u8>> {
    let info = code.op_code();
    if !info.is_available_in_mode(bits) {
        return None;
    }
    let mut instruction = Instruction::new();
    instruction.set_code(code);
    for (number, kind) in (0..).zip(info.op_kinds()) {
        set_operand(&mut instruction, number, *kind, bits, operands)?;
    }
    if operands.prefix >= 2 && instruction.is_string_instruction() {
        instruction.set_has_rep_prefix(operands.prefix == 2);
        instruction.set_has_repne_prefix(operands.prefix == 3 && info.can_use_repne_prefix());
    }
    let locked = operands.prefix == 2 && info.can_use_lock_prefix();
    instruction.set_has_lock_prefix(locked && instruction.op0_kind() == OpKind::Memory);
    let mut encoder = Encoder::new(bits);
    encoder.encode(&instruction, CODE).ok()?;
    Some(encoder.take_buffer())
}

fn set_operand(
    instruction: &mut Instruction,
    number: u32,
    kind: K,
    bits: u32,
    operands: &Operands,
) -> Option<()> {
    let pick = usize::from(operands.registers[number as usize % 3]);
    let wide = if bits == 64 { 16 } else { 8 };
    let general = |first: Register, count: usize| first + (pick % count) as u32;
    let mut register = |register: Register| {
        instruction.set_op_kind(number, OpKind::Register);
        instruction.set_op_register(number, register);
    };
    match kind {
        K::r8_or_mem | K::r16_or_mem | K::r32_or_mem | K::r64_or_mem | K::mem
            if operands.in_memory || kind == K::mem =>
        {
            instruction.set_op_kind(number, OpKind::Memory);
            instruction.set_memory_base(match bits {
                64 => Register::RBX,
                32 => Register::EBX,
                _ => Register::BX,
            });
        }
        K::mem_offs => {
            instruction.set_op_kind(number, OpKind::Memory);
            instruction.set_memory_displ_size(bits / 8);
            instruction.set_memory_displacement64(crate::guest::DATA + operands.offset);
        }
        // Four byte registers are the same in all code.
        K::r8_or_mem | K::r8_reg | K::r8_opcode => register(general(Register::AL, 4)),
        K::r16_or_mem | K::r16_reg | K::r16_rm | K::r16_opcode => register(general(Register::AX, wide)),
        K::r32_or_mem | K::r32_reg | K::r32_rm | K::r32_opcode => register(general(Register::EAX, wide)),
        K::r64_or_mem | K::r64_reg | K::r64_rm | K::r64_opcode => register(general(Register::RAX, wide)),
        K::seg_reg => register(
            [
                Register::ES,
                Register::DS,
                Register::SS,
                Register::FS,
                Register::GS,
                Register::CS,
            ][pick % 6],
        ),
        K::cr_reg => register([Register::CR0, Register::CR2, Register::CR3, Register::CR4][pick % 4]),
        K::dr_reg => register([Register::DR0, Register::DR1, Register::DR6, Register::DR7][pick % 4]),
        K::es => register(Register::ES),
        K::cs => register(Register::CS),
        K::ss => register(Register::SS),
        K::ds => register(Register::DS),
        K::fs => register(Register::FS),
        K::gs => register(Register::GS),
        K::al => register(Register::AL),
        K::cl => register(Register::CL),
        K::ax => register(Register::AX),
        K::dx => register(Register::DX),
        K::eax => register(Register::EAX),
        K::rax => register(Register::RAX),
        K::imm8 => immediate(instruction, number, OpKind::Immediate8, operands.immediate & 0xff),
        K::imm8_const_1 => immediate(instruction, number, OpKind::Immediate8, 1),
        K::imm8sex16 => immediate(
            instruction,
            number,
            OpKind::Immediate8to16,
            operands.immediate & 0x7f,
        ),
        K::imm8sex32 => immediate(
            instruction,
            number,
            OpKind::Immediate8to32,
            operands.immediate & 0x7f,
        ),
        K::imm8sex64 => immediate(
            instruction,
            number,
            OpKind::Immediate8to64,
            operands.immediate & 0x7f,
        ),
        K::imm16 => immediate(
            instruction,
            number,
            OpKind::Immediate16,
            operands.immediate & 0xffff,
        ),
        K::imm32 => immediate(
            instruction,
            number,
            OpKind::Immediate32,
            operands.immediate & 0xffff_ffff,
        ),
        K::imm32sex64 => immediate(
            instruction,
            number,
            OpKind::Immediate32to64,
            operands.immediate & 0x7fff_ffff,
        ),
        K::imm64 => immediate(instruction, number, OpKind::Immediate64, operands.immediate),
        K::seg_rSI => instruction.set_op_kind(
            number,
            match bits {
                64 => OpKind::MemorySegRSI,
                32 => OpKind::MemorySegESI,
                _ => OpKind::MemorySegSI,
            },
        ),
        K::es_rDI => instruction.set_op_kind(
            number,
            match bits {
                64 => OpKind::MemoryESRDI,
                32 => OpKind::MemoryESEDI,
                _ => OpKind::MemoryESDI,
            },
        ),
        K::br16_1 | K::br16_2 => {
            instruction.set_op_kind(number, OpKind::NearBranch16);
            instruction.set_near_branch16(CODE as u16 + 8);
        }
        K::br32_1 | K::br32_4 => {
            instruction.set_op_kind(number, OpKind::NearBranch32);
            instruction.set_near_branch32(CODE as u32 + 8);
        }
        K::br64_1 | K::br64_4 => {
            instruction.set_op_kind(number, OpKind::NearBranch64);
            instruction.set_near_branch64(CODE + 8);
        }
        K::farbr2_2 => {
            instruction.set_op_kind(number, OpKind::FarBranch16);
            instruction.set_far_branch_selector(crate::guest::OTHER_CODE);
            instruction.set_far_branch16(CODE as u16);
        }
        K::farbr4_2 => {
            instruction.set_op_kind(number, OpKind::FarBranch32);
            instruction.set_far_branch_selector(crate::guest::OTHER_CODE);
            instruction.set_far_branch32(CODE as u32);
        }
        _ => return None,
    }
    Some(())
}

fn immediate(instruction: &mut Instruction, number: u32, kind: OpKind, value: u64) {
    instruction.set_op_kind(number, kind);
    match kind {
        OpKind::Immediate8 => instruction.set_immediate8(value as u8),
        OpKind::Immediate8to16 => instruction.set_immediate8to16(value as i16),
        OpKind::Immediate8to32 => instruction.set_immediate8to32(value as i32),
        OpKind::Immediate8to64 => instruction.set_immediate8to64(value as i64),
        OpKind::Immediate16 => instruction.set_immediate16(value as u16),
        OpKind::Immediate32 => instruction.set_immediate32(value as u32),
        OpKind::Immediate32to64 => instruction.set_immediate32to64(value as i64),
        _ => instruction.set_immediate64(value),
    }
}
