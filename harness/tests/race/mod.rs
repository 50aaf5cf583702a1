//! A case with a race, for tests of exploring.

/// Processor 1 shuts down if it looks before processor 0 has written. `crash` is what the case claims of that.
pub fn claiming(crash: &str) -> String {
    format!("{RACE}explore: {{ crash: {crash} }}\n")
}

const RACE: &str = "\
title: A processor that looks too early shuts down
checks: [EXC-DF-001]
machine:
  mode: real
  vcpus: 2
  registers: { idtr.limit: 0 }
  processors: { 1: { idtr.limit: 0 } }
code:
  start: |
    sync before
    mov byte ptr [0x5000], 1
    sync written
    hlt
  start.1: |
    sync looks
    cmp byte ptr [0x5000], 1
    je fine
    ud2
    fine:
    hlt
";
