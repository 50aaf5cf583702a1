//! `conform layout`, as a user runs it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use spec_model::x86::save_area::{Extras, LAYOUTS, Layout};
use spec_model::x86::state::VcpuState;

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_conform"))
        .arg("layout")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that refuses its arguments may be gone before it has read anything.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn printed(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sample(layout: &Layout) -> Vec<u8> {
    let mut state = VcpuState {
        cr3: 0x1234_5000,
        ..VcpuState::default()
    };
    state.gdtr.base = 0xffff_8000_1122_3344;
    layout.encode(&state, Extras::default())
}

fn has_line(text: &str, words: &[&str]) -> bool {
    let fits = |line: &str| line.split_whitespace().collect::<Vec<_>>() == words;
    text.lines().any(fits)
}

#[test]
fn every_layout_is_listed_and_printed() {
    let list = printed(&[], b"");
    for layout in LAYOUTS {
        assert!(list.contains(layout.name), "{list}");
        let table = printed(&[layout.name], b"");
        for row in layout.rows {
            assert!(table.contains(&format!("{:04X}h", row.offset)), "{}", row.name);
        }
    }
    let table = printed(&["kvm-64"], b"");
    assert!(
        table.contains("int-shadow (Linux 6.2)") && table.contains("ssp (Linux 6.18)"),
        "{table}"
    );
}

#[test]
fn a_dump_is_decoded_whatever_part_of_smram_it_is() {
    for layout in LAYOUTS {
        let area = sample(layout);
        let exact = printed(&[layout.name, "--bytes", "-"], &area);
        let digits = if layout.row("cr3").expect("a row").width == 8 {
            16
        } else {
            8
        };
        let (offset, value) = (
            format!("{:04X}h", layout.row("cr3").expect("a row").offset),
            format!("0x{:0digits$x}", 0x1234_5000),
        );
        assert!(has_line(&exact, &[&offset, "cr3", &value]), "{exact}");
        for size in [0x8000, 0x1_0000] {
            let mut segment = vec![0xcc; size - area.len()];
            segment.extend(&area);
            assert_eq!(printed(&[layout.name, "--bytes", "-"], &segment), exact);
        }
    }
    let intel = printed(
        &["intel-64", "--bytes", "-"],
        &sample(Layout::named("intel-64").expect("listed")),
    );
    assert!(
        has_line(&intel, &["7DD0h", "gdtr.base-high", "0xffff8000"]),
        "{intel}"
    );
    assert!(
        has_line(&intel, &["7E8Ch", "gdtr.base-low", "0x11223344"]),
        "{intel}"
    );
}

#[test]
fn addresses_are_printed_for_an_smbase() {
    let area = sample(Layout::named("kvm-64").expect("listed"));
    let text = printed(&["kvm-64", "--bytes", "-", "--smbase", "0x7f000000"], &area);
    assert!(
        has_line(&text, &["7F00h", "0x000000007f00ff00", "smbase", "0x00030000"]),
        "{text}"
    );
}

#[test]
fn a_foreign_revision_identifier_is_pointed_out() {
    let area = sample(Layout::named("amd-64").expect("listed"));
    let text = printed(&["kvm-64", "--bytes", "-"], &area);
    assert!(
        text.contains(
            "the revision identifier 0x30064 is not that of this layout, 0x20064; it is that of amd-64"
        ),
        "{text}"
    );
    assert!(!printed(&["amd-64", "--bytes", "-"], &area).contains("is not that"));
}

#[test]
fn two_layouts_are_compared() {
    let text = printed(&["--diff", "amd-64", "intel-64"], b"");
    assert!(has_line(&text, &["rax", "7FF8h/8", "7F5Ch/8"]), "{text}");
    assert!(
        has_line(
            &text,
            &[
                "7F00h/4",
                "smbase",
                "io-restart",
                "(7F00h/2),",
                "auto-halt-restart",
                "(7F02h/2)"
            ]
        ),
        "{text}"
    );
    assert!(text.contains("only in intel-64"), "{text}");
    let text = printed(&["--diff", "kvm-32", "qemu-32"], b"");
    assert!(
        has_line(
            &text,
            &["ds.attributes", "7F2Ch/4", "Descriptor", "7F2Ch/4", "Shifted"]
        ),
        "{text}"
    );
    let text = printed(&["--diff", "kvm-64", "kvm-64"], b"");
    assert!(
        text.ends_with("the same bytes with another meaning\n  none\n"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    for unknown in [["em64t"].as_slice(), ["--diff", "kvm-64", "em64t"].as_slice()] {
        let message = refused(unknown, b"");
        assert!(message.contains("no layout is called `em64t`"), "{message}");
        assert!(message.contains("kvm-32, kvm-64, amd-64, intel-32"), "{message}");
    }
    for (size, found) in [
        (0, "0 bytes"),
        (511, "511 bytes"),
        (1024, "1024 bytes"),
        (70_000, "more than 65536 bytes"),
    ] {
        let message = refused(&["kvm-64", "--bytes", "-"], &vec![0; size]);
        assert!(message.contains("has 512 bytes"), "{message}");
        assert!(message.contains(&format!("this one has {found}")), "{message}");
    }
    let message = refused(&["intel-64", "--bytes", "-"], &[0; 512]);
    assert!(message.contains("has 1024 bytes (SMBASE+FC00h"), "{message}");
    let message = refused(&["kvm-64", "--bytes", "/nonexistent/dump"], b"");
    assert!(message.contains("/nonexistent/dump: cannot be read"), "{message}");
    let message = refused(&["kvm-64", "--bytes", "-", "--smbase", "abc"], &[0; 512]);
    assert!(message.contains("`abc` is no address"), "{message}");
    refused(&["--bytes", "-"], b"");
    refused(&["kvm-64", "--diff", "kvm-32", "kvm-64"], b"");
}
