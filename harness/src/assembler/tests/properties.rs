//! Whatever assembles decodes to what was written, and nothing panics.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter, OpCodeOperandKind as K};
use proptest::prelude::*;

use super::super::{Bits, Section, assemble, directives, instruction_set, mnemonics, prefixes, register};

const REGISTERS: [&str; 24] = [
    "al", "bh", "cl", "ax", "bx", "dx", "si", "bp", "eax", "ecx", "esp", "edi", "rax", "rbp", "r8", "r9d",
    "r10w", "r11b", "es", "ss", "fs", "cr0", "cr4", "dr7",
];

fn bits() -> impl Strategy<Value = Bits> {
    prop_oneof![Just(Bits::Bits16), Just(Bits::Bits32), Just(Bits::Bits64)]
}

fn any_register() -> impl Strategy<Value = String> {
    prop::sample::select(REGISTERS.to_vec()).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i8>().prop_map(|number| number.to_string()),
        any::<u16>().prop_map(|number| format!("{number:#x}")),
        any::<i32>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| format!("{number:#x}")),
    ]
}

fn memory() -> impl Strategy<Value = String> {
    let size = prop::sample::select(vec![
        "",
        "byte ptr ",
        "word ptr ",
        "dword ptr ",
        "qword ptr ",
        "far ",
    ]);
    let segment = prop::sample::select(vec!["", "", "es:", "cs:", "gs:"]);
    let scale = prop::sample::select(vec!["", "*1", "*2", "*4", "*8"]);
    let inside = prop_oneof![
        any_register(),
        number(),
        (any_register(), number()).prop_map(|(base, displacement)| format!("{base} + {displacement}")),
        (any_register(), any_register(), scale)
            .prop_map(|(base, index, scale)| format!("{base} + {index}{scale}")),
        number().prop_map(|displacement| format!("rip + {displacement}")),
    ];
    (size, segment, inside).prop_map(|(size, segment, inside)| format!("{size}{segment}[{inside}]"))
}

fn operand() -> impl Strategy<Value = String> {
    prop_oneof![4 => any_register(), 3 => memory(), 2 => number(), 1 => Just("offset start".to_owned())]
}

/// An instruction with operands at random.
fn any_instruction() -> impl Strategy<Value = String> {
    let name = prop::sample::select(mnemonics().collect::<Vec<_>>());
    (name, prop::collection::vec(operand(), 0..4))
        .prop_map(|(name, operands)| format!("{name} {}", operands.join(", ")))
}

/// An instruction with operands of the kinds that one of its encodings takes.
fn shaped_instruction() -> impl Strategy<Value = String> {
    let entries = mnemonics().filter_map(instruction_set::named);
    let pairs: Vec<_> = entries
        .flat_map(|entry| entry.codes.iter().map(|code| (entry.name.as_str(), *code)))
        .collect();
    let prefix = prop::sample::select(vec![
        "", "", "", "", "lock ", "rep ", "repne ", "data16 ", "data32 ",
    ]);
    (prefix, prop::sample::select(pairs)).prop_flat_map(|(prefix, (name, code))| {
        let operands: Vec<_> = code
            .op_code()
            .op_kinds()
            .iter()
            .map(|kind| operand_of_kind(*kind))
            .collect();
        operands.prop_map(move |operands| format!("{prefix}{name} {}", operands.join(", ")))
    })
}

fn operand_of_kind(kind: K) -> BoxedStrategy<String> {
    let one_of = |names: &[&'static str]| prop::sample::select(names.to_vec()).prop_map(str::to_owned);
    let small = || any::<i8>().prop_map(|number| number.to_string());
    let near = || (0u64..0x200).prop_map(|number| format!("{number:#x}"));
    match kind {
        K::r8_or_mem => prop_oneof![one_of(&["al", "bh", "r11b"]), memory()].boxed(),
        K::r16_or_mem => prop_oneof![one_of(&["ax", "si", "r10w"]), memory()].boxed(),
        K::r32_or_mem => prop_oneof![one_of(&["eax", "esp", "r9d"]), memory()].boxed(),
        K::r64_or_mem => prop_oneof![one_of(&["rax", "rbp", "r8"]), memory()].boxed(),
        K::r8_reg | K::r8_opcode => one_of(&["al", "bh", "cl", "r11b"]).boxed(),
        K::r16_reg | K::r16_rm | K::r16_opcode => one_of(&["ax", "bx", "dx", "r10w"]).boxed(),
        K::r32_reg | K::r32_rm | K::r32_opcode => one_of(&["eax", "ecx", "esp", "r9d"]).boxed(),
        K::r64_reg | K::r64_rm | K::r64_opcode => one_of(&["rax", "rbp", "r8"]).boxed(),
        K::seg_reg => one_of(&["es", "ss", "fs"]).boxed(),
        K::cr_reg => one_of(&["cr0", "cr4"]).boxed(),
        K::dr_reg => one_of(&["dr7"]).boxed(),
        K::mem | K::mem_offs => memory().boxed(),
        K::seg_rSI => one_of(&["[si]", "[esi]", "fs:[rsi]"]).boxed(),
        K::es_rDI => one_of(&["[di]", "es:[edi]", "[rdi]"]).boxed(),
        K::farbr2_2 | K::farbr4_2 => (any::<u16>(), any::<u16>())
            .prop_map(|(a, b)| format!("{a}:{b}"))
            .boxed(),
        K::imm8 | K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => small().boxed(),
        K::imm8_const_1 => Just("1".to_owned()).boxed(),
        K::imm16 | K::imm32 | K::imm32sex64 | K::imm64 => number().boxed(),
        K::br16_1 | K::br32_1 | K::br64_1 | K::br16_2 | K::br32_4 | K::br64_4 => near().boxed(),
        fixed => Just(format!("{fixed:?}")).boxed(),
    }
}

fn instruction() -> impl Strategy<Value = String> {
    prop_oneof![4 => shaped_instruction(), 1 => any_instruction()]
}

fn assembled(text: &str, bits: Bits) -> Option<Vec<u8>> {
    let section = Section {
        name: "start",
        text,
        bits,
        segment_base: 0,
        origin: Some(0x40),
    };
    let program = assemble(&[section], &BTreeMap::new()).ok()?;
    program.blobs.into_iter().next().map(|blob| blob.bytes)
}

/// The instruction at the start of `bytes` in NASM's syntax, with sizes everywhere.
fn disassembled(bytes: &[u8], bits: Bits) -> (String, usize) {
    let mut decoder = Decoder::with_ip(bits.width(), bytes, 0x40, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_rip_relative_addresses(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(true);
    options.set_always_show_segment_register(false);
    let mut text = String::new();
    formatter.format(&instruction, &mut text);
    (text, instruction.len())
}

/// Every register that `text` names, at its full width: the width can change where only
/// the low 16 bits are read.
fn registers(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_ascii_alphanumeric())
        .filter_map(register::named)
        .map(|register| register::name_of(register.full_register()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// One instruction is one instruction to a decoder, and it names the registers that
    /// were written.
    #[test]
    fn what_assembles_decodes_to_the_same_registers(text in instruction(), bits in bits()) {
        if let Some(bytes) = assembled(&text, bits) {
            let (decoded, length) = disassembled(&bytes, bits);
            prop_assert_eq!(length, bytes.len(), "{} is {}", text, decoded);
            prop_assert!(!decoded.contains("(bad)"), "{} is {}", text, decoded);
            for register in registers(&decoded) {
                // The formatter calls a NOP of unusual size `xchg eax,eax`.
                let written = registers(&text).contains(&register) || text.contains("nop");
                prop_assert!(written, "{} is {}, which names {}", text, decoded, register);
            }
        }
    }

    /// A decoder's text assembles to an encoding with the same text.
    #[test]
    fn what_is_disassembled_assembles_to_the_same(text in instruction(), bits in bits()) {
        if let Some(bytes) = assembled(&text, bits) {
            let (decoded, _) = disassembled(&bytes, bits);
            // The formatter swaps the operands of XCHG, and calls a NOP of unusual size
            // `xchg eax,eax`. It does not always show an operand size that was asked for.
            let ambiguous = decoded.starts_with("xchg") || text.starts_with("data");
            if let Some(again) = assembled(&decoded, bits).filter(|_| !ambiguous) {
                let (decoded_again, _) = disassembled(&again, bits);
                prop_assert_eq!(&decoded_again, &decoded, "from {}", text);
                prop_assert!(again.len() <= bytes.len(), "{} is longer than {}", decoded, text);
            }
        }
    }

    /// No text makes the assembler panic, and every mistake lies inside the text.
    #[test]
    fn mistakes_lie_in_the_text(lines in prop::collection::vec(line(), 0..8), bits in bits()) {
        let text = lines.join("\n");
        let section = Section { name: "start", text: &text, bits, segment_base: u64::MAX, origin: None };
        if let Err(errors) = assemble(&[section, section], &BTreeMap::new()) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let line = text.lines().nth(error.line - 1).unwrap_or_default();
                prop_assert!((1..=line.chars().count() + 1).contains(&error.column), "{error} in {text}");
            }
        }
    }
}

/// A line that may or may not make sense.
fn line() -> impl Strategy<Value = String> {
    let words: Vec<&str> = mnemonics()
        .chain(prefixes())
        .chain(directives().map(|(word, _)| word))
        .collect();
    let pieces = vec![
        "[",
        "]",
        "(",
        ")",
        "+",
        "-",
        "*",
        "<<",
        ",",
        ":",
        "'",
        "\"",
        ";",
        "$",
        "ptr",
        "far",
        "short",
        "offset",
        "start",
        "0x",
        "64",
        "0xffffffffffffffff",
        "label",
        "é",
        "@",
    ];
    let piece = prop_oneof![
        2 => prop::sample::select(pieces).prop_map(str::to_owned),
        2 => operand(),
        1 => prop::sample::select(words).prop_map(str::to_owned),
    ];
    let junk = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.join(" "));
    prop_oneof![2 => instruction(), 1 => junk, 1 => any::<String>()]
}
