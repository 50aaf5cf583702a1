//! Differences that are known and are no matter of the model: each with the reason, and a test that is no
//! broader than what happens.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};

use super::compare::Difference;
use super::debug_exceptions::DebugExceptions;
use super::encoding::LONGEST;
use super::layout::{self, PAGE};
use super::state::{After, Before, CS};
use spec_model::x86::control::flag;
use spec_model::x86::exception::{DB, GP, PF, SS as SS_FAULT, UD};

/// A difference, with everything that tells it from others.
pub struct Case<'a> {
    /// The step.
    pub before: &'a Before,
    /// What the processor did.
    pub native: &'a After,
    /// What the model does, nearest to it.
    pub model: &'a After,
    /// What differs.
    pub differences: &'a [Difference],
    /// What the machine does with debug exceptions.
    pub debug: &'a DebugExceptions,
}

impl Case<'_> {
    fn instruction(&self) -> Instruction {
        instruction(self.before)
    }

    fn only(&self, names: &[&str]) -> bool {
        self.differences
            .iter()
            .all(|difference| names.contains(&difference.what.as_str()))
    }

    /// Whether RFLAGS differ in nothing but RF.
    fn only_resume_flag(&self) -> bool {
        let flags = self
            .differences
            .iter()
            .filter(|difference| difference.what == "rflags");
        flags
            .into_iter()
            .all(|flags| flags.native ^ flags.model == flag::RF)
    }
}

/// Why a step that differs is explained.
pub struct Explanation {
    /// In one sentence, with the source.
    pub reason: &'static str,
    explains: fn(&Case<'_>) -> bool,
}

/// Everything that is explained.
static EXPLANATIONS: &[Explanation] = &[
    Explanation {
        reason: "debug exceptions are a hypervisor's here: the frame of #DB has the address of INT1 itself and RF clear",
        explains: |case| {
            let of_debug = case.native.event.vector == DB && case.model.event.vector == DB;
            let before = case.before.registers.rip;
            let at_itself =
                case.instruction().mnemonic() == Mnemonic::Int1 && case.native.registers.rip == before;
            let address = case.only(&["rflags"]) || at_itself && case.only(&["rip", "rflags"]);
            case.debug.are_a_hypervisors() && of_debug && address && case.only_resume_flag()
        },
    },
    Explanation {
        reason: "F2 and F3 before LOOPE and LOOPNE are reserved (Intel SDM vol. 2, 2.1.1)",
        explains: |case| {
            let instruction = case.instruction();
            let loops = matches!(instruction.mnemonic(), Mnemonic::Loope | Mnemonic::Loopne);
            let repeated = case.before.code.iter().any(|byte| matches!(byte, 0xf2 | 0xf3));
            // One of the two branches may lead out of the segment.
            let vectors = [case.native.event.vector, case.model.event.vector];
            let branches = matches!(vectors, [DB, GP] | [GP, DB]);
            loops && repeated && (case.only(&["rip"]) || branches)
        },
    },
    Explanation {
        reason: "LOCK before MOV of CR0 is CR8 on AMD's processors (AMD APM vol. 3, MOV CRn, \"AltMovCr8\"), which the model lacks",
        explains: |case| {
            let control = case
                .before
                .code
                .windows(2)
                .any(|pair| matches!(pair, [0x0f, 0x20 | 0x22]));
            let locked = case.before.code.contains(&0xf0);
            let vectors = (case.native.event.vector, case.model.event.vector) == (GP, UD);
            vectors && control && locked && case.instruction().is_invalid()
        },
    },
    Explanation {
        reason: "no manual says how many bytes of an undefined opcode are fetched before #UD",
        explains: |case| {
            let (native, model) = (case.native.event, case.model.event);
            let is_fetch = |event: super::state::Event| {
                event.vector == GP && event.error_code == Some(0)
                    || event.vector == PF && event.error_code.is_some_and(|code| code & 0x10 != 0)
            };
            let vectors = is_fetch(native) && model.vector == UD || is_fetch(model) && native.vector == UD;
            vectors && case.instruction().is_invalid() && is_cut(case.before)
        },
    },
    Explanation {
        reason: "MOVSXD with a 16-bit operand reads 32 bits on AMD's processors (GNU as, \"AMD64 ISA vs. Intel64 ISA\"), and 16 in the model",
        explains: |case| {
            let faults =
                matches!(case.native.event.vector, SS_FAULT | GP | PF) && case.model.event.vector == DB;
            faults && case.instruction().code() == Code::Movsxd_r16_rm16
        },
    },
    Explanation {
        reason: "0F 0F is 3DNow!, which the model takes for undefined",
        explains: |case| {
            let (native, model) = (case.native.event.vector, case.model.event.vector);
            let faults = matches!(native, GP | PF) && model == UD;
            faults && case.before.code.windows(2).any(|pair| pair == [0x0f, 0x0f])
        },
    },
    Explanation {
        reason: "no manual says what IRET with a 16-bit frame leaves in RF, which is not in the frame",
        explains: |case| {
            let had = case.before.registers.rflags & flag::RF != 0;
            had && case.instruction().code() == Code::Iretw
                && case.only(&["rflags"])
                && case.only_resume_flag()
        },
    },
];

/// Why a difference is no matter of the model, if that is known.
#[must_use]
pub fn explain(case: &Case<'_>) -> Option<&'static str> {
    let found = EXPLANATIONS
        .iter()
        .find(|explanation| (explanation.explains)(case));
    found.map(|explanation| explanation.reason)
}

/// Why the processor gets nowhere with a step, if that is known.
#[must_use]
pub fn explain_endless(before: &Before) -> Option<&'static str> {
    let calls = matches!(
        instruction(before).code(),
        Code::Call_m1616 | Code::Call_m1632 | Code::Call_ptr1616 | Code::Call_ptr1632
    );
    (calls && before.registers.bits() != 64).then_some(
        "Linux ignores a page fault of compatibility code above 4 GiB (arch/x86/mm/fault.c, is_errata100): a far CALL to 64-bit code that pushes there gets nowhere",
    )
}

fn instruction(before: &Before) -> Instruction {
    Decoder::with_ip(
        before.registers.bits(),
        &before.code,
        before.registers.rip,
        DecoderOptions::NONE,
    )
    .decode()
}

/// Whether the bytes of a step's code cross the end of a page or of the code segment, or are as many as
/// an instruction can have.
fn is_cut(before: &Before) -> bool {
    let start = before.registers.linear_ip();
    let crosses = start % PAGE as u64 + before.code.len() as u64 > PAGE as u64;
    let last = before.registers.rip + before.code.len() as u64 - 1;
    let limit = layout::segment(before.registers.selectors[CS]).map_or(u64::MAX, |code| code.limit.into());
    let is_longest = before.code.len() == LONGEST;
    crosses || is_longest || before.registers.bits() != 64 && last > limit
}
