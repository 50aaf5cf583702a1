//! The closed set of instructions that the model executes. The assembler takes its instructions
//! from here, so that whatever assembles runs.
//!
//! What exists and is not here is an error that names it; what no manual defines raises #UD.

use std::sync::LazyLock;

use iced_x86::{Code, EncodingKind, Mnemonic, OpCodeOperandKind};

/// Which chapter of [`super::execute`] an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Nothing but its length and its privilege.
    Idle,
    /// MOV in all forms, the stack, extensions.
    Movement,
    /// Arithmetic, logic and the flags.
    Arithmetic,
    /// Shifts, bit tests, SETcc and CMOVcc.
    Bits,
    /// String instructions.
    String,
    /// Jumps, calls, returns.
    Branch,
    /// IN and OUT.
    Port,
    /// Interrupts that the program raises, IRET and HLT.
    Event,
    /// System registers, tables, system calls, hypercalls and RSM.
    System,
    /// Undefined on purpose: #UD (INS-SET-001).
    Undefined,
}

macro_rules! instruction_set {
    ($($group:ident: $($mnemonic:ident)*;)*) => {
        /// The group of a mnemonic, if the model executes it.
        const fn group_of(mnemonic: Mnemonic) -> Option<Group> {
            match mnemonic {
                $($(Mnemonic::$mnemonic)|* => Some(Group::$group),)*
                _ => None,
            }
        }
    };
}

instruction_set! {
    Idle: Nop Pause Wbinvd Wait Endbr64 Endbr32;
    Movement: Mov Movzx Movsx Movsxd Lea Xchg Push Pop Pusha Pushad Popa Popad
        Pushf Pushfd Pushfq Popf Popfd Popfq Cbw Cwde Cdqe Cwd Cdq Cqo Lahf Sahf;
    Arithmetic: Add Adc Sub Sbb Cmp And Or Xor Test Inc Dec Neg Not Xadd Cmpxchg Cmpxchg8b
        Mul Imul Div Idiv Clc Stc Cmc Cld Std;
    Bits: Shl Sal Shr Sar Rol Ror Bt Bts Btr Btc
        Seto Setno Setb Setae Sete Setne Setbe Seta Sets Setns Setp Setnp Setl Setge Setle Setg
        Cmovo Cmovno Cmovb Cmovae Cmove Cmovne Cmovbe Cmova
        Cmovs Cmovns Cmovp Cmovnp Cmovl Cmovge Cmovle Cmovg;
    String: Movsb Movsw Movsd Movsq Stosb Stosw Stosd Stosq Lodsb Lodsw Lodsd Lodsq
        Cmpsb Cmpsw Cmpsd Cmpsq Scasb Scasw Scasd Scasq Insb Insw Insd Outsb Outsw Outsd;
    Branch: Jmp Call Ret Retf Loop Loope Loopne Jcxz Jecxz Jrcxz
        Jo Jno Jb Jae Je Jne Jbe Ja Js Jns Jp Jnp Jl Jge Jle Jg;
    Port: In Out;
    Event: Hlt Int Int1 Int3 Into Iret Iretd Iretq;
    System: Cli Sti Lgdt Lidt Sgdt Sidt Lldt Ltr Sldt Str Smsw Lmsw Clts Invlpg Rdmsr Wrmsr
        Swapgs Syscall Sysret Sysretq Sysenter Sysexit Sysexitq Rsm Vmcall Vmmcall Cpuid;
    Undefined: Ud0 Ud1 Ud2;
}

static GROUPS: LazyLock<Vec<Option<Group>>> = LazyLock::new(|| {
    let group = |code: Code| group_of(code.mnemonic()).filter(|_| is_integer_instruction(code));
    Code::values().map(group).collect()
});

/// The group of an encoding, or nothing if the model does not execute it.
pub(super) fn group(code: Code) -> Option<Group> {
    GROUPS.get(code as usize).copied().flatten()
}

/// Every encoding that the model executes, in the order of iced-x86's table.
pub fn encodings() -> impl Iterator<Item = Code> {
    Code::values().filter(|code| group(*code).is_some())
}

/// Whether an encoding belongs to the integer instruction set of every processor with
/// long mode. This leaves out, for instance, the SSE instruction that is also called
/// `movsd` and the test registers of the 80386.
fn is_integer_instruction(code: Code) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && info.encoding() == EncodingKind::Legacy
        && info.decoder_option() == 0
        && info.op_kinds().iter().all(is_integer_operand)
}

fn is_integer_operand(kind: &OpCodeOperandKind) -> bool {
    use OpCodeOperandKind as K;
    matches!(
        kind,
        K::farbr2_2
            | K::farbr4_2
            | K::mem_offs
            | K::mem
            | K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::r8_reg
            | K::r8_opcode
            | K::r16_reg
            | K::r16_rm
            | K::r16_opcode
            | K::r32_reg
            | K::r32_rm
            | K::r32_opcode
            | K::r64_reg
            | K::r64_rm
            | K::r64_opcode
            | K::seg_reg
            | K::cr_reg
            | K::dr_reg
            | K::es
            | K::cs
            | K::ss
            | K::ds
            | K::fs
            | K::gs
            | K::al
            | K::cl
            | K::ax
            | K::dx
            | K::eax
            | K::rax
            | K::imm8
            | K::imm8_const_1
            | K::imm8sex16
            | K::imm8sex32
            | K::imm8sex64
            | K::imm16
            | K::imm32
            | K::imm32sex64
            | K::imm64
            | K::seg_rSI
            | K::es_rDI
            | K::br16_1
            | K::br32_1
            | K::br64_1
            | K::br16_2
            | K::br32_4
            | K::br64_4
    )
}
