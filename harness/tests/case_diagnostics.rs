//! Broken case files and exactly what is said about them.

use std::path::Path;

use harness::case::Case;

/// Reads a file that has mistakes and returns what is said, one line per mistake.
fn mistakes(text: impl AsRef<[u8]>) -> String {
    match Case::parse("area/broken".to_owned(), Path::new("broken.yaml"), text.as_ref()) {
        Ok(_) => "no mistakes".to_owned(),
        Err(mistakes) => mistakes.iter().map(|mistake| format!("{mistake}\n")).collect(),
    }
}

/// A case without mistakes, for the tests to break.
const SOUND: &str = "\
title: Delivery of an NMI blocks NMIs
checks: [NMI-MASK-001]
machine:
  mode: real
code:
  start: |
    sync before
    after:
    nop
    hlt
  nmi: |
    sync in-nmi
    iret
host:
  - { at: before, do: nmi }
path: [before, in-nmi, halted]
expect:
  - { at: in-nmi, nmi.masked: true }
";

/// The sound case with one text replaced.
fn broken(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "the sound case does not contain {from:?}");
    mistakes(SOUND.replacen(from, to, 1))
}

#[test]
fn the_sound_case_is_sound() {
    assert_eq!(mistakes(SOUND), "no mistakes");
}

#[test]
fn an_empty_file() {
    assert_eq!(
        mistakes(""),
        said(&[
            "1:1: the file is empty; write a case with at least `title`, `checks`, `machine`, `code` and `path`"
        ])
    );
    assert_eq!(
        mistakes("# only a comment\n"),
        said(&[
            "1:1: the file is empty; write a case with at least `title`, `checks`, `machine`, `code` and `path`"
        ])
    );
}

#[test]
fn not_utf_8() {
    assert_eq!(
        mistakes(b"title: caf\xe9\n"),
        said(&["1:11: the byte 0xe9 is not UTF-8; save the file in UTF-8"])
    );
}

#[test]
fn not_a_map() {
    assert_eq!(
        mistakes("just text\n"),
        said(&["1:1: the text `just text` stands here; write a conformance case"])
    );
}

#[test]
fn rows_of_the_save_area_in_force_only() {
    let text = SOUND
        .replace("mode: real", "mode: real\n  long-mode-cpuid: false")
        .replace("nmi.masked: true", "save.r15: 1");
    assert_eq!(
        mistakes(text),
        said(&["19:19: the save area `kvm-32` has no `r15`; did you mean `rax`?"])
    );
}

#[test]
fn host_actions_that_never_happen() {
    let text = SOUND.replace("path: [before, in-nmi, halted]", "path: [in-nmi, halted]");
    assert_eq!(
        mistakes(text),
        said(&[
            "15:11: the path never comes to `before`, so the host does nothing there; correct the name, or add it to `path`",
        ])
    );
}

#[test]
fn watches_have_a_length() {
    let text = SOUND
        .replace("host:", "watch: { top: { address: 0x6ffa, length: 6 } }\nhost:")
        .replace("nmi.masked: true", "watch.top: [1, 2, 3], watch.tip: 1");
    assert_eq!(
        mistakes(text),
        said(&[
            "19:30: 3 bytes are expected of `watch.top`, which has 6; write one number per byte, or change the length of the watch",
            "19:41: `watch` has no `tip`; did you mean `top`?"
        ])
    );
}

#[test]
fn mistakes_of_all_phases_are_shown_at_once() {
    let text = "\
titel: Delivery of an NMI blocks NMIs
machine:
  mode: reel
  vcpus: 300
  registers: { rxx: 1, rbx: offset nowhere }
  memory: [{ address: 0x100001, size: 0x1000 }]
code:
  start: |
    snyc before
    after:
    nopp
    jmp afte
    sync last
  nmi: |
    sync in-nmi
    iret
host:
  - { at: befor, do: nmi }
  - { at: in-nmi, doo: nmi, nth: 0 }
  - { at: last }
watch: { top: { adress: 0x6ffa, length: 6 } }
expect:
  - { at: in-nmy, nmi.masked: 2, stack.0: offset aftr }
  - { at: in-nmi, because: NMI-MSAK-001, cs.selector: 0x1_0000, nmi.maskd: 1 }
  - { nmi.masked: true, watch.top: [1, 2] }
";
    assert_eq!(
        mistakes(text),
        said(&[
            "1:1: `titel` is not a key here; did you mean `title`?",
            "1:1: no requirement is checked; add `checks: [..]` with the ids of the requirements that the case checks",
            "1:1: `path` is missing; add the points in their order and the end, such as `path: [before, halted]`",
            "3:9: `reel` is unknown; did you mean `real`?",
            "4:10: 300 is out of range; it must be 0 to 0x10",
            "5:16: `rxx` is not a key here; did you mean `rax`?",
            "5:29: label `nowhere` is not defined; the labels are `after`, `nmi`, `start`, `unexpected`",
            "6:23: 0x100001 is not the address of a page; write a multiple of 0x1000",
            "9:5: unknown instruction or directive `snyc`; did you mean `sync` or `inc` or `jnc`?",
            "11:5: unknown instruction or directive `nopp`; did you mean `nop` or `loop` or `not`?",
            "12:9: label `afte` is not defined; labels here are after, nmi, start, unexpected",
            "18:11: no `sync` or `halt` in the code names `befor`; did you mean `before`?",
            "19:19: `doo` is not a key here; did you mean `do`?",
            "19:34: 0 is not an occurrence; count from 1",
            "20:5: the host does nothing here; add `do: nmi`, `do: smi`, `set`, `save`, `write`, `smram` or `shadow`",
            "21:17: `adress` is not a key here; did you mean `address`?",
            "23:11: no `sync` or `halt` in the code names `in-nmy`; did you mean `in-nmi`?",
            "23:31: 0x2 does not fit the 1 bits of nmi.masked; write true or false",
            "23:43: label `aftr` is not defined; did you mean `after`?",
            "24:28: `NMI-MSAK-001` is unknown; did you mean `NMI-MASK-001`?",
            "24:55: 0x10000 does not fit the 16 bits of cs.selector; write 0 to 0xffff",
            "24:65: `nmi.maskd` is not a key here; did you mean `nmi.masked`?",
            "25:5: `at` is missing; add `at: ..` (Name of the point, or how the run ends: halted, shutdown, stuck)",
            "25:36: 2 bytes are expected of `watch.top`, which has 6; write one number per byte, or change the length of the watch",
        ])
    );
}

#[test]
fn any_damaged_line_is_reported_in_order_and_once() {
    let lines: Vec<&str> = SOUND.lines().collect();
    let damages: [fn(&str) -> String; 5] = [
        |_| String::new(),
        |line| line.replacen(':', "x:", 1),
        |line| format!("{}: 5", line.split(':').next().unwrap_or_default()),
        |line| format!("{}: []", line.split(':').next().unwrap_or_default()),
        |line| line.replacen("n", "mm", 1),
    ];
    for damaged in 0..lines.len() {
        for damage in damages {
            let mut text = String::new();
            for (index, line) in lines.iter().enumerate() {
                let line = if index == damaged {
                    damage(line)
                } else {
                    (*line).to_owned()
                };
                text.push_str(&line);
                text.push('\n');
            }
            let case = Case::parse(
                "area/broken".to_owned(),
                Path::new("broken.yaml"),
                text.as_bytes(),
            );
            let said = case.err().unwrap_or_default();
            for (one, next) in said.iter().zip(said.iter().skip(1)) {
                assert!(
                    one.at <= next.at && one != next,
                    "{one} and then {next} in\n{text}"
                );
            }
            assert!(said.iter().all(|mistake| mistake.at.line > 0), "{said:?}");
            assert!(said.len() <= 4, "one damaged line in\n{text}is called {said:#?}");
        }
    }
}

#[test]
fn a_wrong_mode_hides_nothing_and_adds_nothing() {
    let text = SOUND
        .replace("mode: real", "mod: 5")
        .replace("    nop\n", "    mov rax, cr0\n    nopp\n")
        .replace("    iret\n", "    iretq\n")
        .replace("at: before, do", "at: befor, do")
        .replace("path: [before, in-nmi, halted]\n", "");
    assert_eq!(
        mistakes(text),
        said(&[
            "1:1: `path` is missing; add the points in their order and the end, such as `path: [before, halted]`",
            "4:3: `mod` is not a key here; did you mean `mode`?",
            "10:5: unknown instruction or directive `nopp`; did you mean `nop` or `loop` or `not`?",
            "16:11: no `sync` or `halt` in the code names `befor`; did you mean `before`?",
        ])
    );
}

#[test]
fn sections_that_cannot_be_read_are_not_called_missing() {
    let text = SOUND.replace("  nmi: |\n    sync in-nmi\n    iret\n", "  nmi: [iret]\n");
    assert_eq!(
        mistakes(text.replace("at: before, do", "at: befor, do")),
        said(&[
            "11:8: a list stands here; write a text",
            "13:11: no `sync` or `halt` in the code names `befor`; did you mean `before`?",
        ])
    );
}

#[test]
fn what_is_not_looked_at_cannot_be_expected() {
    assert_eq!(
        broken("mode: real\n", "mode: real\nobserve: ends\n"),
        said(&[
            "19:19: `nmi.masked` is not seen at `in-nmi`: with `observe: ends` the host looks at the state at the \
             end of the run only; expect it at the end or at another point, or watch memory"
        ])
    );
    let early = SOUND.replacen("do: nmi }", "do: nmi, raise: before-completion }", 1);
    assert_eq!(mistakes(&early), "no mistakes");
    assert_eq!(
        mistakes(early.replacen("at: in-nmi, nmi", "at: before, nmi", 1)),
        said(&[
            "18:19: `nmi.masked` is not seen at `before`: the host raises an event there before the OUT is \
             complete, so that there is no state to look at yet; expect it at the end or at another point, or \
             watch memory"
        ])
    );
}

#[test]
fn while_an_out_is_outstanding_the_host_raises_events_only() {
    let only = "before an OUT is complete the host raises events for the processor that stopped, and nothing \
                else; write `do: nmi`, `smi`, `mc` or a list of them beside it, and other actions in another entry";
    assert_eq!(
        broken("do: nmi }", "set: { rax: 1 }, raise: before-completion }"),
        said(&[&format!("15:43: {only}")])
    );
    let at_halt = SOUND.replacen("sync before", "halt before", 1);
    assert_eq!(
        mistakes(at_halt.replacen("do: nmi }", "do: nmi, raise: before-completion }", 1)),
        said(&[
            "15:35: `before` is a HLT, and the host sees it when it is complete; raise the event at a sync point, \
             or remove `raise`"
        ])
    );
}

/// What is said, without the file's name.
fn said(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("broken.yaml:{line}\n")).collect()
}

/// Name of the test: what to replace in the sound case, by what, and what is said.
macro_rules! table {
    ($($name:ident: $from:literal => $to:literal, [$($said:literal),+];)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(broken($from, $to), said(&[$($said),+]));
        })*
    };
}

table! {
    unknown_key: "checks:"
        => "cheks:",
        ["2:1: `cheks` is not a key here; did you mean `checks`?"];
    unknown_key_of_machine: "mode: real"
        => "mode: real\n  regsters: { rax: 1 }",
        ["5:3: `regsters` is not a key here; did you mean `registers`?"];
    unknown_mode: "mode: real"
        => "mode: reel",
        ["4:9: `reel` is unknown; did you mean `real`?"];
    missing_title: "title: Delivery of an NMI blocks NMIs\n"
        => "",
        ["1:1: `title` is missing; add `title: ..` (The fact in one sentence)"];
    missing_path: "path: [before, in-nmi, halted]\n"
        => "",
        ["1:1: `path` is missing; add the points in their order and the end, such as `path: [before, halted]`"];
    empty_title: "title: Delivery of an NMI blocks NMIs"
        => "title: ''",
        ["1:8: the title is empty; say the fact in one sentence"];
    title_of_wrong_type: "title: Delivery of an NMI blocks NMIs"
        => "title: [a, b]",
        ["1:8: a list stands here; write a text"];
    duplicate_key: "host:"
        => "checks: [NMI-MASK-002]\nhost:",
        ["14:1: `checks` is given twice; keep one of them, the first is in line 2"];
    unknown_requirement: "[NMI-MASK-001]"
        => "[NMI-MSAK-001, NMI-MASK-099]",
        ["2:10: `NMI-MSAK-001` is unknown; did you mean `NMI-MASK-001`?",
         "2:24: `NMI-MASK-099` is unknown; did you mean `NMI-MASK-009`?"];
    requirement_given_twice: "[NMI-MASK-001]"
        => "[NMI-MASK-001, NMI-MASK-001]",
        ["2:24: `NMI-MASK-001` is given twice; keep one of them"];
    no_requirement: "checks: [NMI-MASK-001]\n"
        => "",
        ["1:1: no requirement is checked; add `checks: [..]` with the ids of the requirements that the case checks"];
    unknown_instruction: "    nop"
        => "    nopp",
        ["9:5: unknown instruction or directive `nopp`; did you mean `nop` or `loop` or `not`?"];
    wrong_operands: "    nop"
        => "    mov ax, cr9",
        ["9:13: label `cr9` is not defined; labels here are nmi, start, after, unexpected"];
    undefined_label_in_code: "    nop"
        => "    jmp afte",
        ["9:9: label `afte` is not defined; labels here are after, nmi, start, unexpected"];
    two_mistakes_in_code: "    nop\n    hlt"
        => "    nopp\n    hlt 3",
        ["9:5: unknown instruction or directive `nopp`; did you mean `nop` or `loop` or `not`?",
         "10:5: `hlt` does not take these operands in 16-bit code; it takes: HLT"];
    code_without_bar: "  nmi: |"
        => "  nmi:",
        ["11:3: the text of `nmi` is several lines without `|`; write `NAME: |` for a section; labels are indented like the code of their section"];
    host_at_unknown_point: "at: before, do"
        => "at: befor, do",
        ["15:11: no `sync` or `halt` in the code names `befor`; did you mean `before`?"];
    path_through_unknown_point: "path: [before, in-nmi"
        => "path: [before, in-nmy",
        ["16:16: no `sync` or `halt` in the code names `in-nmy`; did you mean `in-nmi`?"];
    expectation_at_unknown_point: "at: in-nmi, nmi"
        => "at: in-smi, nmi",
        ["18:11: no `sync` or `halt` in the code names `in-smi`; did you mean `in-nmi`?"];
    path_ends_at_a_sync_point: "in-nmi, halted]"
        => "in-nmi]",
        ["16:16: a run does not end at the sync point `in-nmi`; go on to `halted`, `shutdown` or another end (halted, shutdown, internal-error, stuck, limit, wait-for-sipi)"];
    expectation_that_is_never_reached: "path: [before, in-nmi, halted]"
        => "path: [before, halted]",
        ["18:11: the path never comes to `in-nmi`; correct the name, or add it to `path`"];
    expectation_beyond_the_last_time: "at: in-nmi, nmi"
        => "at: in-nmi, nth: 2, nmi",
        ["18:24: the path does not come to `in-nmi` so often; the times are counted from 1, and the last one is 1"];
    unknown_field: "nmi.masked: true"
        => "nmi.maskd: true",
        ["18:19: `nmi.maskd` is not a key here; did you mean `nmi.masked`?"];
    unknown_save_area_row: "nmi.masked: true"
        => "save.r1p: 5",
        ["18:19: `save.r1p` is not a key here; did you mean `save.r10`?"];
    code_without_a_name: "    sync in-nmi"
        => "    sync",
        ["12:9: `sync` needs a name of letters, digits, `_`, `.` and `-`, for instance `sync in-handler`"];
    misspelled_sync: "    sync in-nmi"
        => "    snyc in-nmi",
        ["12:5: unknown instruction or directive `snyc`; did you mean `sync` or `inc` or `jnc`?"];
    unknown_watch: "nmi.masked: true"
        => "watch.frame: [1]",
        ["18:19: `watch` has no `frame`; add `watch: { frame: { address: .., length: .. } }`"];
    value_out_of_range: "nmi.masked: true"
        => "cs.selector: 0x1_0000",
        ["18:32: 0x10000 does not fit the 16 bits of cs.selector; write 0 to 0xffff"];
    truth_value_out_of_range: "nmi.masked: true"
        => "nmi.masked: 2",
        ["18:31: 0x2 does not fit the 1 bits of nmi.masked; write true or false"];
    negative_value: "nmi.masked: true"
        => "rip: -1",
        ["18:24: -1 is out of range; it must be 0 to 0xffffffffffffffff"];
    undefined_label_in_a_value: "nmi.masked: true"
        => "stack.0: offset afer",
        ["18:28: label `afer` is not defined; did you mean `after`?"];
    value_of_wrong_type: "nmi.masked: true"
        => "rip: { min: 5 }",
        ["18:24: a map stands here; write a number, true or false, an expression over labels, a list of bytes, { any-of: [..] } or { mask: .., value: .. }"];
    value_outside_its_mask: "nmi.masked: true"
        => "rflags: { mask: 0x200, value: 0x300 }",
        ["18:27: value 0x300 has bits outside mask 0x200; the value says what the bits of the mask must be; clear the others"];
    empty_set: "nmi.masked: true"
        => "nmi.masked: { any-of: [] }",
        ["18:41: this list is empty; write at least 1 entry"];
    bytes_for_a_number: "nmi.masked: true"
        => "rip: [1, 2]",
        ["18:24: `rip` is a number, not bytes; write a number; bytes go with `watch.` names"];
    expects_nothing: "at: in-nmi, nmi.masked: true"
        => "at: in-nmi",
        ["18:5: this expects nothing; add the name of a field and its value, such as `nmi.masked: true`"];
    unknown_register: "mode: real"
        => "mode: real\n  registers: { rxx: 1, rbx: 0x1_0000_0000_0000_0000 }",
        ["5:16: `rxx` is not a key here; did you mean `rax`?",
         "5:29: 0x10000000000000000 is out of range; it must be 0 to 0xffffffffffffffff"];
    ist_in_real_mode: "mode: real"
        => "mode: real\n  idt: { nmi: { ist: 1 } }",
        ["5:22: a gate has no `ist` in this mode; remove it, or use another mode"];
    unknown_vector: "mode: real"
        => "mode: real\n  idt: { nmy: { handler: start } }",
        ["5:10: `nmy` is not a vector; did you mean `nmi`?; numbers from 0 to 255 are allowed too"];
    pages_in_real_mode: "mode: real"
        => "mode: real\n  pages: { 0x9000: { present: false } }",
        ["5:12: `pages` means nothing in this mode; remove it, or use mode paged, pae, compatibility or long"];
    page_in_the_middle: "mode: real"
        => "mode: paged\n  pages: { 0x9001: { present: false } }",
        ["5:12: 0x9001 is not the address of a page; write a multiple of 0x1000 below 0x200000"];
    selector_in_use: "mode: real"
        => "mode: protected\n  gdt: { 0x08: 0 }",
        ["5:10: selector 0x8 is not free; use a multiple of 8 from 0x60 to 0xf8"];
    long_mode_without_cpuid: "mode: real"
        => "mode: long\n  long-mode-cpuid: false",
        ["5:20: long mode needs CPUID to report it; remove `long-mode-cpuid: false`, or use mode real, protected, paged or pae",
         "14:5: `iret` would be 32 bits wide in 64-bit code; write `iretd` if that is meant, else `iretq`"];
    region_without_size: "mode: real"
        => "mode: real\n  memory: [{ address: 0x100000, size: 0 }]",
        ["5:39: 0x0 is not the size of a region; write a multiple of 0x1000 above 0"];
    regions_that_overlap: "mode: real"
        => "mode: real\n  memory: [{ address: 0x100000, size: 0x2000 }, { address: 0x101000, size: 0x1000 }]",
        ["5:49: this region overlaps another one of `memory`; give them different addresses, or the spaces `normal` and `smm`"];
    no_such_processor: "do: nmi }"
        => "do: nmi, vcpu: 1 }",
        ["15:34: there is no processor 1; the machine has processor 0 only; `machine.vcpus` adds others"];
    processor_without_start: "mode: real"
        => "mode: real\n  vcpus: 2",
        ["6:1: section `start.1` is missing; add it to `code`: processor 1 starts there"];
    section_of_no_processor: "  nmi: |"
        => "  start.1: |",
        ["11:3: there is no processor 1 to start here; add `vcpus: 2` to `machine`, or rename the section"];
    host_does_nothing: "at: before, do: nmi"
        => "at: before",
        ["15:5: the host does nothing here; add `do: nmi`, `do: smi`, `set`, `save`, `write`, `smram` or `shadow`"];
    unknown_event: "do: nmi"
        => "do: nni",
        ["15:23: `nni` is unknown; did you mean `nmi`?"];
    zeroth_time: "do: nmi"
        => "do: nmi, nth: 0",
        ["15:33: 0 is not an occurrence; count from 1"];
    reserved_point_name: "sync before\n"
        => "sync halted\n",
        ["7:5: `halted` is not free as the name of a point; choose another name: this one says how a run ends",
         "15:11: no `sync` or `halt` in the code names `before`; its points are `halted`, `in-nmi`, `unexpected`",
         "16:8: no `sync` or `halt` in the code names `before`; the stops are `halted`, `in-nmi`, `internal-error`, `limit`, `shutdown`, `stuck`, `unexpected`, `wait-for-sipi`"];
    reserved_section_name: "  nmi: |"
        => "  unexpected: |",
        ["11:3: `unexpected` is not free as the name of a section; choose another name: this one is the HLT that vectors without a handler lead to"];
    vector_out_of_range: "  nmi: |"
        => "  vector-256: |",
        ["11:3: `vector-256` does not name a vector; write a number from 0 to 255, such as `vector-0x80`"];
    code_on_a_table: "mode: real\ncode:\n  start: |\n    sync before"
        => "mode: real\ncode:\n  start: |\n    sync before\n    .at 0x3ff",
        ["10:5: the code at 0x3ff to 0x401 lies outside RAM or on something else; move it with `.at`, or add RAM in `machine.memory`; cases/README.md says where the tables lie"];
    code_on_code: "  nmi: |\n    sync"
        => "  nmi: |\n    .at 0x1000\n    sync",
        ["13:5: linear address 0x1000 already holds line 1 of section `start`; move one of them with an origin or `.at`"];
    an_alias: "do: nmi"
        => "do: *nmi",
        ["15:23: while parsing node, found unknown anchor; correct the YAML; code needs `|` after its name, and texts with `: `, ` #` or a leading `*`, `&`, `[` or `{` need quotes"];
    an_anchor: "do: nmi"
        => "do: &raised nmi",
        ["15:31: a YAML anchor (`&name`) stands here; remove it"];
    a_second_document: "host:"
        => "---\nhost:",
        ["14:1: a second document starts here; one file holds one case; put it into a file of its own"];
    not_yaml: "checks: [NMI-MASK-001]"
        => "checks: [NMI-MASK-001",
        ["3:8: illegal placement of ':' indicator; correct the YAML; code needs `|` after its name, and texts with `: `, ` #` or a leading `*`, `&`, `[` or `{` need quotes"];
    no_start: "  start: |"
        => "  begin: |",
        ["5:1: section `start` is missing; add it to `code`: processor 0 starts there"];
    points_outside_bare: "host:"
        => "points: { x: {} }\nhost:",
        ["14:11: `points` means nothing in this mode; declare points in the code, with `sync` and `halt`"];
    many_mistakes: "title: Delivery of an NMI blocks NMIs\nchecks: [NMI-MASK-001]\nmachine:\n  mode: real\ncode:\n  start: |\n    sync before"
        => "title: ''\nchecks: [NMI]\nmachine:\n  mode: real\n  idt: { 999: { ist: 1 } }\ncode:\n  start: |\n    sink before",
        ["1:8: the title is empty; say the fact in one sentence",
         "2:10: `NMI` is unknown; known ones are `NMI-MASK-001`, `NMI-MASK-002`, `NMI-MASK-003`, `NMI-MASK-004`, `NMI-MASK-005`, `NMI-MASK-006`, `NMI-MASK-007`, `NMI-MASK-008`, `NMI-MASK-009`, `NMI-MASK-010`, `NMI-MASK-011`, `NMI-API-001`, `NMI-API-002`, `NMI-SMM-001`, `NMI-SMM-002`, `NMI-SMM-003` and others",
         "5:10: `999` is not a vector; vectors are `de`, `db`, `nmi`, `bp`, `of`, `br`, `ud`, `nm`, `df`, `ts`, `np`, `ss`, `gp`, `pf`, `mf`, `ac` and others; numbers from 0 to 255 are allowed too",
         "8:5: unknown instruction or directive `sink`; did you mean `in` or `inc` or `ins`?"];
}
