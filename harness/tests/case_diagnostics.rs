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

macro_rules! table {
    ($($name:ident: $from:literal => $to:literal, $said:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(broken($from, $to), $said);
        })*
    };
}

table! {
    unknown_key: "checks:" => "cheks:", "";
}
