//! What the model finds wrong with a case before any target has run it.

use std::path::Path;

use crate::case::Case;
use crate::judge::check::{Checked, check};

fn parse(expect: &str, code: &str) -> Result<Case, Vec<String>> {
    let text = format!(
        "title: t\nchecks: [SMM-ENTRY-006]\nmachine: {{ mode: real }}\ncode:\n  start: |\n    sync a\n    {code}\n    hlt\n  smi: |\n    sync in-smi\n    ud2\nhost:\n  - {{ at: a, do: smi }}\nwatch: {{ low: {{ address: 0x6000, length: 1 }}, beyond: {{ address: 0x900000, length: 1 }} }}\npath: [a, in-smi, shutdown]\nexpect:\n  - {{ {expect} }}\n"
    );
    Case::parse("smm/example".to_owned(), Path::new("case.yaml"), text.as_bytes())
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn checked(expect: &str) -> Checked {
    check(&parse(expect, "nop").expect("can be read"))
}

fn mistakes(expect: &str) -> Vec<String> {
    checked(expect).mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_state_that_is_lost_is_refused_when_the_case_is_read() {
    for expect in [
        "at: shutdown, smm: true",
        "at: shutdown, stack.0: 1",
        "at: stuck, save.rip: 1",
    ] {
        let refused = parse(expect, "nop").expect_err("cannot be observed");
        assert!(
            refused.iter().any(|mistake| mistake.starts_with("case.yaml:17:")
                && mistake.contains("the processor is lost there")
                && mistake.contains("expect it at the point before")),
            "{refused:?}"
        );
    }
    assert_eq!(checked("at: shutdown, watch.low: 0"), Checked::default());
}

#[test]
fn what_the_model_shows_nothing_of_is_refused_with_its_place() {
    assert_eq!(checked("at: in-smi, save.rip: 0x1002"), Checked::default());
    let found = mistakes("at: a, save.rip: 0");
    assert_eq!(
        found,
        [
            "case.yaml:17:14: `save.rip` cannot be observed at `a`: the processor is not in SMM there, and the save area is observed in SMM only; expect it at a point of the SMI handler"
        ]
    );
    let found = mistakes("at: a, watch.beyond: 0");
    assert!(
        found[0].contains("the watch is not all in memory there"),
        "{found:?}"
    );
}

#[test]
fn a_case_that_the_model_disagrees_with_is_refused_with_its_place() {
    let found = mistakes("at: in-smi, smm: false");
    assert_eq!(found.len(), 1, "the same for every KVM: {found:?}");
    assert!(
        found[0]
            .starts_with("case.yaml:17:19: the case and the model, as kvm-svm, disagree: smm at `in-smi`"),
        "{found:?}"
    );
}

#[test]
fn a_case_that_the_model_cannot_run_is_no_mistake_but_is_told() {
    let case = parse("at: in-smi, smm: true", "mov ecx, 0x277\n    rdmsr").expect("can be read");
    let Checked { mistakes, notes } = check(&case);
    // The SMI comes before the RDMSR, and the handler ends in shutdown.
    assert_eq!((mistakes, notes), (Vec::new(), Vec::new()));
    let text = "title: t\nchecks: [SMM-ENTRY-006]\nmachine: { mode: real }\ncode:\n  start: |\n    mov ecx, 0x277\n    rdmsr\n    hlt\npath: [halted]\n";
    let case = Case::parse("smm/example".to_owned(), Path::new("case.yaml"), text.as_bytes()).expect("right");
    let Checked { mistakes, notes } = check(&case);
    assert_eq!(mistakes, []);
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].contains("judged by what is written by hand alone"),
        "{notes:?}"
    );
}

#[test]
fn what_a_program_of_a_guest_of_xen_cannot_read_is_refused() {
    let mistakes = |at: &str| -> Vec<String> {
        let text = format!(
            "title: t\nchecks: [XENPV-DEBUG-001]\nmachine: {{ mode: xen-pv, registers: {{ dr7: 0x700 }} }}\ncode:\n  start: |\n    push 0xe02b\n    push 0x6f00\n    push 0x202\n    push 0xe033\n    mov rbx, offset program\n    push rbx\n    push 0\n    push 0\n    push 0\n    push 0\n    mov eax, 23\n    syscall\n  program: |\n    sync program\n    int3\n  bp: |\n    sync in-bp\n    hlt\npath: [program, in-bp, halted]\nexpect:\n  - {{ at: {at}, dr7: 0x700 }}\n"
        );
        let case = Case::parse(
            "xen-pv/example".to_owned(),
            Path::new("case.yaml"),
            text.as_bytes(),
        );
        let checked = check(&case.expect("can be read"));
        checked.mistakes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(mistakes("in-bp"), Vec::<String>::new());
    let found = mistakes("program");
    assert!(
        found.len() == 1 && found[0].contains("only the kernel of a guest of Xen can read debug registers"),
        "{found:?}"
    );
}
