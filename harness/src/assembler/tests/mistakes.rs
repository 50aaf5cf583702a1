//! What is wrong is named where it is, with what would be right.

use std::collections::BTreeMap;

use super::super::{Bits, Mistake, Section, assemble};
use super::{mistakes, section};

/// The only mistake in a text, as the user reads it.
fn message(text: &str, bits: Bits) -> String {
    let all = mistakes(text, bits);
    match all.as_slice() {
        [(_, _, mistake)] => mistake.to_string(),
        _ => panic!("{text}: {all:?}"),
    }
}

#[test]
fn all_mistakes_of_a_text_are_found() {
    let text = "mvo ax, 1\n  mov ax, 0x12345\njmp nowhere\nsync\n mov ax, [bx+cx] ; no\nnop\nlabel: db 256";
    let found: Vec<(usize, usize)> = mistakes(text, Bits::Bits16)
        .into_iter()
        .map(|(line, column, _)| (line, column))
        .collect();
    assert_eq!(found, [(1, 1), (2, 11), (3, 5), (4, 5), (5, 10), (7, 11)]);
}

#[test]
fn messages_say_what_would_be_right() {
    for (text, bits, expected) in [
        (
            "mvo ax, 1",
            Bits::Bits16,
            "unknown instruction or directive `mvo`; did you mean `mov`",
        ),
        (
            "rdtsc",
            Bits::Bits16,
            "`rdtsc` is an instruction that the model does not have",
        ),
        (
            "jmp staart",
            Bits::Bits16,
            "label `staart` is not defined; labels here are start",
        ),
        (
            "mov ax, ebx",
            Bits::Bits16,
            "`mov` does not take these operands in 16-bit code; it takes: MOV r/m8, r8",
        ),
        (
            "mov rax, 1",
            Bits::Bits32,
            "register `rax` exists in 64-bit code only",
        ),
        (
            "inc [bx]",
            Bits::Bits16,
            "the size of the memory operand is open; write `byte ptr` or `word ptr`",
        ),
        (
            "mov [bx], 1",
            Bits::Bits16,
            "the size of the memory operand is open",
        ),
        ("movs", Bits::Bits16, "write movsb or movsw or movsd"),
        (
            "iret",
            Bits::Bits64,
            "`iret` would be 32 bits wide in 64-bit code; write `iretd`",
        ),
        ("pusha", Bits::Bits64, "`pusha` does not exist in 64-bit code"),
        (
            "mov ax, start",
            Bits::Bits16,
            "write `offset start` for the label's offset",
        ),
        (
            "mov al, 0x100",
            Bits::Bits16,
            "0x100 does not fit in 8 bits: the number must lie between -0x80 and 0xff",
        ),
        (
            "add rax, 0xffffffff",
            Bits::Bits64,
            "0xffffffff does not fit in 32 bits",
        ),
        ("push 0x12345", Bits::Bits16, "0x12345 does not fit in 16 bits"),
        (
            "jmp 8:0x12345",
            Bits::Bits16,
            "0x12345 does not fit in 16 bits: the offset of a 16-bit far branch",
        ),
        (
            "loop start + 0x200",
            Bits::Bits32,
            "`loop` does not reach its target 512 bytes away",
        ),
        (
            "jmp 0x10000",
            Bits::Bits16,
            "target 0x10000 is not in the 16-bit segment of this branch",
        ),
        (
            "lock mov [bx], ax",
            Bits::Bits16,
            "prefix `lock` does not go with `mov`",
        ),
        (
            "lock add ax, [bx]",
            Bits::Bits16,
            "prefix `lock` does not go with `add`",
        ),
        (
            "rep nop",
            Bits::Bits16,
            "prefix `rep` does not go with `nop`: it repeats string instructions only",
        ),
        ("mov cs, ax", Bits::Bits16, "`mov` cannot be encoded this way"),
        ("mov ah, r8b", Bits::Bits64, "`mov` cannot be encoded this way"),
        ("mov al, [si+bx", Bits::Bits16, "expected `+`, `-` or `]`"),
        (
            "mov ax,",
            Bits::Bits16,
            "expected a number, a constant or a label, found the end of the line",
        ),
        (
            "mov ax, 1 2",
            Bits::Bits16,
            "expected `,` or the end of the line, found `0x2`",
        ),
        ("mov ax, 12q", Bits::Bits16, "`12q` is not a number"),
        (
            "db 'abc",
            Bits::Bits16,
            "the quotation mark ' is not closed on this line",
        ),
        ("dw 'abc'", Bits::Bits16, "a single ASCII character"),
        (
            "ax: nop",
            Bits::Bits16,
            "`ax` cannot be a label: it is a register",
        ),
        (
            "start: nop",
            Bits::Bits16,
            "label `start` is already defined: it is the start of section `start`",
        ),
        (
            "a: nop\nA: nop\na: nop",
            Bits::Bits16,
            "label `a` is already defined: line 1 of section `start`",
        ),
        (
            "sync two words",
            Bits::Bits16,
            "`sync` needs a name of letters, digits",
        ),
        ("halt a\nhalt a", Bits::Bits16, "point `a` exists already"),
        ("sync a\nhalt a", Bits::Bits16, "point `a` exists already"),
        (".align 3", Bits::Bits16, "3 is not an alignment"),
        (".align 3", Bits::Bits16, "a power of two"),
        (".space -1", Bits::Bits16, "bytes of space"),
        (".at -1", Bits::Bits16, "offset -0x1 is outside 16-bit code"),
        (".at 0x100000000\nnop", Bits::Bits32, "is outside 32-bit code"),
        (
            "nop\n.at 0\nhlt",
            Bits::Bits16,
            "linear address 0x0 already holds line 1 of section `start`",
        ),
        (
            "a: .space 8 - (b - a)\nb:",
            Bits::Bits16,
            "the length of this depends on itself",
        ),
        ("mov eax, 1 << 200", Bits::Bits32, "overflows 128 bits"),
        (
            "!",
            Bits::Bits16,
            "expected an operand, an operator or a comment, found `!`",
        ),
        (
            "1: nop",
            Bits::Bits16,
            "expected a label, an instruction or a directive",
        ),
        ("lock", Bits::Bits16, "expected an instruction after the prefix"),
        ("push byte 1", Bits::Bits16, "`push` does not take these operands"),
        (
            "mov rax, [0x123456789a + rbx]",
            Bits::Bits64,
            "0x123456789a does not fit in 32 bits",
        ),
        (
            "mov ax, [0x12345]",
            Bits::Bits16,
            "0x12345 does not fit in 16 bits: the displacement",
        ),
        (
            "jmp far dword ptr [bx]",
            Bits::Bits16,
            "`jmp` does not take these operands in 16-bit code",
        ),
        (
            "mov eax, [bx]",
            Bits::Bits64,
            "64-bit code has no 16-bit addresses",
        ),
    ] {
        let message = message(text, bits);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn there_are_as_many_sync_points_as_ports() {
    let text: String = (0..66).map(|number| format!("sync point-{number}\n")).collect();
    let found = mistakes(&text, Bits::Bits32);
    assert_eq!(
        found,
        [
            (65, 1, Mistake::TooManyPoints(64)),
            (66, 1, Mistake::TooManyPoints(64))
        ]
    );
}

#[test]
fn overlapping_sections_name_each_other() {
    let low = section(".space 32", Bits::Bits16);
    let high = Section {
        name: "handler",
        text: "nop\nhlt",
        segment_base: 0x10,
        ..low
    };
    let errors = assemble(&[low, high], &BTreeMap::new()).expect_err("they overlap");
    let overlap = Mistake::Overlap {
        address: 0x10,
        section: "start".to_owned(),
        line: 1,
    };
    assert_eq!(errors.len(), 1);
    let error = errors.first().expect("one mistake");
    assert_eq!((error.section, error.line, &error.mistake), (1, 1, &overlap));
}

#[test]
fn constants_and_labels_share_their_names() {
    let constants = BTreeMap::from([("start".to_owned(), 1)]);
    let errors = assemble(&[section("nop", Bits::Bits16)], &constants).expect_err("start is a constant");
    assert!(
        errors
            .iter()
            .any(|error| error.to_string().contains("it is a constant"))
    );
}
