//! Assembles the whole closed set of instructions with this suite's assembler and with
//! GNU `as`, and compares.
//!
//! Each line stands at its own multiple of [`SLOT`] bytes in both programs. Where the
//! bytes differ, a row of [`DIFFERENCES`] must say why and whether a decoder reads both
//! as the same instruction. A row that nothing needs fails the test.

mod differences;
mod lines;
mod shapes;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use harness::assembler::{Bits, Section, assemble, mnemonics};
use iced_x86::{Decoder, DecoderOptions, Instruction};

use differences::DIFFERENCES;
use lines::{Line, lines};

/// Distance between two lines, in bytes: more than the longest instruction.
const SLOT: usize = 32;

/// Offset of the label `target`, behind all lines.
fn target(bits: Bits) -> usize {
    match bits {
        // The last slot of a 64 KiB segment.
        Bits::Bits16 => 0xffe0,
        Bits::Bits32 | Bits::Bits64 => 0x4_0000,
    }
}

const ALL: &[Bits] = &[Bits::Bits16, Bits::Bits32, Bits::Bits64];

/// Bytes of each line from our assembler.
fn assemble_ours(bits: Bits, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        writeln!(text, ".at {}\n{}", index * SLOT, line.ours).expect("writing to a string");
    }
    writeln!(text, ".at {}\ntarget: nop", target(bits)).expect("writing to a string");
    let section = Section {
        name: "everything",
        text: &text,
        bits,
        segment_base: 0,
        origin: Some(0),
    };
    let program = assemble(&[section], &BTreeMap::new()).unwrap_or_else(|errors| {
        let text: Vec<&str> = text.lines().collect();
        let show = |line: usize| text.get(line - 1).copied().unwrap_or_default();
        let all: Vec<String> = errors
            .iter()
            .map(|error| format!("{bits}: {}\n  {error}", show(error.line)))
            .collect();
        panic!("{} lines do not assemble:\n{}", all.len(), all.join("\n"))
    });
    let by_line: BTreeMap<usize, Vec<u8>> = program
        .listing
        .into_iter()
        .map(|line| (line.line, line.bytes))
        .collect();
    (0..lines.len())
        .map(|index| by_line.get(&(index * 2 + 2)).cloned().unwrap_or_default())
        .collect()
}

/// The [`SLOT`] bytes of each line from GNU `as`.
fn assemble_gas(folder: &Path, bits: Bits, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let spelled = line.gas.replace('$', ".");
        writeln!(text, ".org {}\n{spelled}", index * SLOT).expect("writing to a string");
    }
    writeln!(text, ".org {}\ntarget: nop", target(bits)).expect("writing to a string");
    let bytes = run_gas(folder, bits, &text);
    bytes.chunks(SLOT).take(lines.len()).map(<[u8]>::to_vec).collect()
}

/// Bytes of a program from GNU `as`, linked at address 0.
fn run_gas(folder: &Path, bits: Bits, program: &str) -> Vec<u8> {
    let width = bits.width();
    let text = format!(".intel_syntax noprefix\n.code{width}\n.text\n{program}");
    let path = |extension: &str| folder.join(format!("program{width}.{extension}"));
    std::fs::write(path("s"), &text).expect("the folder is writable");
    let (as_mode, ld_mode) = match bits {
        Bits::Bits16 | Bits::Bits32 => ("--32", "elf_i386"),
        Bits::Bits64 => ("--64", "elf_x86_64"),
    };
    let assembled = Command::new("as")
        .args([as_mode, "-o"])
        .args([path("o"), path("s")])
        .output()
        .expect("as runs");
    let messages = String::from_utf8_lossy(&assembled.stderr);
    let text: Vec<&str> = text.lines().collect();
    let refused: Vec<String> = messages
        .lines()
        .filter(|message| message.contains("Error"))
        .map(|message| {
            let line = message
                .split(':')
                .nth(1)
                .and_then(|number| number.parse::<usize>().ok());
            format!(
                "{message}\n  {}",
                line.and_then(|line| text.get(line - 1)).unwrap_or(&"")
            )
        })
        .collect();
    assert!(
        assembled.status.success(),
        "as refuses {} lines:\n{}",
        refused.len(),
        refused.join("\n")
    );
    let linked = Command::new("ld")
        .args(["-m", ld_mode, "-Ttext=0", "-e", "0", "--oformat", "binary", "-o"])
        .args([path("bin"), path("o")])
        .output()
        .expect("ld runs");
    assert!(
        linked.status.success(),
        "ld: {}",
        String::from_utf8_lossy(&linked.stderr)
    );
    std::fs::read(path("bin")).expect("ld wrote the file")
}

fn decode(bits: Bits, bytes: &[u8], offset: usize) -> Instruction {
    Decoder::with_ip(bits.width(), bytes, offset as u64, DecoderOptions::NONE).decode()
}

/// Whether GNU `as` and `ld` are there.
fn binutils() -> bool {
    ["as", "ld"].iter().all(|tool| {
        Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    })
}

#[test]
fn the_closed_set_encodes_as_gnu_as_does() {
    if !binutils() {
        println!("skipped: GNU `as` and `ld` are not installed (package binutils)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut complaints = Vec::new();
    let mut needed = BTreeSet::new();
    let mut compared = 0;
    for &bits in ALL {
        let lines = lines(bits);
        let ours = assemble_ours(bits, &lines);
        let gas = assemble_gas(folder.path(), bits, &lines);
        assert_eq!(ours.len(), gas.len(), "as assembled another number of lines");
        for (index, (line, (ours, gas))) in lines.iter().zip(ours.iter().zip(&gas)).enumerate() {
            compared += 1;
            let offset = index * SLOT;
            let same = gas.starts_with(ours) && gas.iter().skip(ours.len()).all(|byte| *byte == 0);
            if same && !ours.is_empty() {
                continue;
            }
            let (our_meaning, gas_meaning) = (decode(bits, ours, offset), decode(bits, gas, offset));
            let same_meaning = our_meaning.to_string() == gas_meaning.to_string();
            let row = DIFFERENCES.iter().position(|row| {
                row.bits.contains(&bits)
                    && row.same_meaning == same_meaning
                    && row.explains(&line.ours, ours, gas)
            });
            match row {
                Some(row) => {
                    needed.insert((row, bits));
                }
                None => complaints.push(format!(
                    "{bits} `{}`: {ours:02x?} is `{our_meaning}`, as has {:02x?} `{gas_meaning}`",
                    line.ours,
                    &gas[..gas_meaning.len().max(1)],
                )),
            }
        }
    }
    for (row, difference) in DIFFERENCES.iter().enumerate() {
        for &bits in difference.bits {
            if !needed.contains(&(row, bits)) {
                complaints.push(format!(
                    "{bits}: nothing needs the row that says: {}",
                    difference.reason
                ));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    println!("{compared} lines agree");
}

#[test]
fn every_mnemonic_is_compared() {
    let mut used = BTreeSet::new();
    for &bits in ALL {
        for line in lines(bits) {
            used.extend(line.ours.split_whitespace().map(str::to_owned));
        }
    }
    let missing: Vec<&str> = mnemonics().filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "no line uses {missing:?}");
}

/// Jumps between many labels, so that lengthening one moves others out of reach.
fn tangled_jumps(seed: u32) -> String {
    const LABELS: u32 = 120;
    let mut state = seed;
    let mut below = |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % limit
    };
    let mut text = String::new();
    for label in 0..LABELS {
        let near = (label + below(24)).saturating_sub(12).min(LABELS - 1);
        let name = ["jmp", "jz", "jnc", "jg"][below(4) as usize];
        writeln!(text, "l{label}: {name} l{near}\n.space {}", below(20)).expect("writing to a string");
    }
    text
}

#[test]
fn branches_relax_as_in_gnu_as() {
    if !binutils() {
        println!("skipped: GNU `as` and `ld` are not installed (package binutils)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    for &bits in ALL {
        for seed in 1..9 {
            let text = tangled_jumps(seed);
            let section = Section {
                name: "start",
                text: &text,
                bits,
                segment_base: 0,
                origin: Some(0),
            };
            let program = assemble(&[section], &BTreeMap::new()).expect("it assembles");
            let ours: Vec<u8> = program.blobs.into_iter().flat_map(|blob| blob.bytes).collect();
            assert_eq!(ours, run_gas(folder.path(), bits, &text), "{bits}, seed {seed}");
        }
    }
}
