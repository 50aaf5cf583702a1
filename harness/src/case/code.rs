//! The code of a case: sections, where they lie, and their assembly.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::scenario::{Blob, Point};

use super::declared::{self, Known, Labels};
use super::document::{Entries, Located};
use super::mistake::{Mistakes, Position};
use super::preset::UNEXPECTED;
use super::syntax::Mode;
use super::tree;
use crate::assembler::{self, AssemblyError, Bits, Section};
use crate::judge::stop;

/// Name of the point that real-mode vectors without a handler lead to.
pub(super) const UNEXPECTED_POINT: &str = "unexpected";
/// SMBASE after RESET, and the offset of the SMI handler from SMBASE.
const SMBASE: u64 = 0x3_0000;
const SMI_HANDLER: u64 = 0x8000;
/// Distance between the sections `smi`, `smi.x`, `smi.y`, ..., in bytes.
const SMI_STEP: u64 = 0x400;

/// Text of the section before all others.
const ANCHOR: &str = ".at 0x1000";

/// Name of the section that a guest of Xen enters for system calls.
const SYSTEM_CALL: &str = "syscall";

/// Names of the exceptions that are section names.
const EXCEPTIONS: [(&str, u8); 16] = [
    ("de", 0),
    ("db", 1),
    ("nmi", 2),
    ("bp", 3),
    ("of", 4),
    ("br", 5),
    ("ud", 6),
    ("nm", 7),
    ("df", 8),
    ("ts", 10),
    ("np", 11),
    ("ss", 12),
    ("gp", 13),
    ("pf", 14),
    ("mf", 16),
    ("ac", 17),
];

/// The vector that a section or gate is named for.
pub(super) fn vector(name: &str) -> Option<u8> {
    if let Some((_, vector)) = EXCEPTIONS.iter().find(|(exception, _)| *exception == name) {
        return Some(*vector);
    }
    if name == "mc" {
        return Some(18);
    }
    let number = tree::integer(name.strip_prefix("vector-")?)?;
    u8::try_from(number).ok()
}

/// Bytes of code without a gap.
pub(super) struct Piece {
    /// The bytes at their linear address.
    pub(super) blob: Blob,
    /// Whether they belong to an SMI handler.
    pub(super) in_smm: bool,
    /// Where the text of the first one stands.
    pub(super) at: Position,
}

impl Piece {
    /// Linear address after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.blob.address.saturating_add(self.blob.bytes.len() as u64)
    }
}

/// What the code of a case came to.
pub(super) struct Code {
    /// Bytes without a gap.
    pub(super) blobs: Vec<Piece>,
    /// If the text has mistakes, those that can be read, without the address of a HLT.
    pub(super) points: Vec<Point>,
    pub(super) labels: Labels,
    /// Names of all sections.
    pub(super) sections: BTreeSet<String>,
    /// Names of all points, also if the text has mistakes.
    pub(super) point_names: Known,
    /// Vectors that have a handler, with its offset.
    pub(super) handlers: Vec<(u8, u64)>,
    /// Offset of the section that each processor starts at.
    pub(super) entries: Vec<u64>,
    /// Offset of the section `syscall`, which a guest of Xen enters for system calls.
    pub(super) system_call: Option<u64>,
}

/// The mode in which the code has the fewest mistakes: what stands in for one that cannot
/// be read. `guess` wins where several are equal.
pub(super) fn likely_mode(sections: &Entries<Located<String>>, guess: Mode) -> Mode {
    let errors = |mode: &Mode| {
        let program = assembler::assemble(&place(&sections.0, *mode), &BTreeMap::new());
        program.err().map_or(0, |errors| errors.len())
    };
    let modes = [guess, Mode::Real, Mode::Protected, Mode::Long];
    modes.into_iter().min_by_key(errors).unwrap_or(guess)
}

/// Assembles the sections of a case. `lost` says that the file has code that cannot be read.
pub(super) fn assemble(
    sections: &Entries<Located<String>>,
    mode: Mode,
    vcpus: u8,
    source: &str,
    lost: bool,
    mistakes: &mut Mistakes,
) -> Code {
    let sections = &sections.0;
    let mut code = Code {
        blobs: Vec::new(),
        points: Vec::new(),
        labels: Labels::Named(Known::default()),
        sections: sections.iter().map(|(name, _)| name.value.clone()).collect(),
        point_names: Known::default(),
        handlers: Vec::new(),
        entries: Vec::new(),
        system_call: None,
    };
    let mut folded = BTreeSet::new();
    let mut labels = Known {
        names: code.sections.clone(),
        more: lost,
    };
    code.point_names.more = lost;
    for (name, text) in sections {
        if text.at == Position::NOWHERE {
            labels.more = true;
            code.point_names.more = true;
            continue;
        }
        check_name(name, mode, vcpus, mistakes);
        if tree::is_folded(source, &name.at, &name.value) {
            folded.insert(text.at);
            mistakes.add(
                name.at,
                format!("the text of `{}` is several lines without `|`", name.value),
                "write `NAME: |` for a section; labels are indented like the code of their section",
            );
        }
        for (number, line) in text.value.lines().enumerate() {
            labels.names.extend(declared::labels_of(line).map(str::to_owned));
            if let Some(point) = declared::point_of(line) {
                let name = point.name.as_str();
                if stop::end(name).is_some() {
                    mistakes.add(
                        tree::in_text(source, text.at, number + 1, 1),
                        format!("`{name}` is not free as the name of a point"),
                        "choose another name: this one says how a run ends",
                    );
                }
                if code.point_names.names.insert(name.to_owned()) {
                    code.points.push(point);
                }
            }
        }
    }
    let mut placed = place(sections, mode);
    if mode == Mode::Real && !code.sections.contains(UNEXPECTED_POINT) {
        code.point_names.names.insert(UNEXPECTED_POINT.to_owned());
        labels.names.insert(UNEXPECTED_POINT.to_owned());
        placed.push(Section {
            name: UNEXPECTED_POINT,
            text: "halt unexpected",
            bits: Bits::Bits16,
            segment_base: 0,
            origin: Some(UNEXPECTED),
        });
    }
    let program = match assembler::assemble(&placed, &BTreeMap::new()) {
        Ok(program) => program,
        Err(errors) => {
            for error in errors {
                let section = error.section.checked_sub(1).and_then(|index| sections.get(index));
                let line = error.line.checked_sub(1);
                let line = section.and_then(|(_, text)| text.value.lines().nth(line?));
                declared::note_broken_point(line.unwrap_or_default(), &mut code.point_names);
                report(sections, source, &folded, &error, mistakes);
            }
            // A text that is one line by mistake hides what it declares.
            labels.more |= !folded.is_empty();
            code.point_names.more |= !folded.is_empty();
            code.labels = Labels::Named(labels);
            return code;
        }
    };
    for line in &program.listing {
        let in_smm = placed
            .get(line.section)
            .is_some_and(|section| smbase_of(section.name).is_some());
        match code.blobs.last_mut() {
            Some(piece) if piece.in_smm == in_smm && piece.end() == line.address => {
                piece.blob.bytes.extend(&line.bytes);
            }
            _ => {
                let blob = Blob {
                    address: line.address,
                    bytes: line.bytes.clone(),
                };
                // The section before all others is not the case's own.
                let text = line.section.checked_sub(1).and_then(|index| sections.get(index));
                let at = text.map_or(Position::START, |(_, text)| {
                    tree::in_text(source, text.at, line.line, 1)
                });
                code.blobs.push(Piece { blob, in_smm, at });
            }
        }
    }
    code.points.clone_from(&program.points);
    let start_of = |index: usize| {
        let name = placed.get(index).map_or("", |section| section.name);
        let first = program.listing.iter().find(|line| line.section == index);
        let offset = first.map(|line| {
            line.address
                .wrapping_sub(placed.get(index).map_or(0, |s| s.segment_base))
        });
        program.labels.get(name).map(|label| label.offset).or(offset)
    };
    for (index, section) in placed.iter().enumerate() {
        if let (Some(vector), Some(offset)) = (vector(section.name), start_of(index)) {
            code.handlers.push((vector, offset));
        }
    }
    let system_call = placed.iter().position(|section| section.name == SYSTEM_CALL);
    code.system_call = system_call.and_then(start_of);
    for number in 0..vcpus {
        let name = entry_name(number);
        let index = placed.iter().position(|section| section.name == name);
        code.entries.push(index.and_then(start_of).unwrap_or_default());
    }
    code.labels = if labels.more {
        labels.names.extend(program.labels.into_keys());
        Labels::Named(labels)
    } else {
        Labels::Placed(program.labels)
    };
    code
}

/// Name of the section at which a processor starts.
fn entry_name(number: u8) -> String {
    match number {
        0 => "start".to_owned(),
        _ => format!("start.{number}"),
    }
}

/// SMBASE of the SMI handler that a section belongs to: `smi` and `smi.x` for the one at
/// RESET, `smi@0x40000` for another.
fn smbase_of(name: &str) -> Option<u64> {
    if name == "smi" || name.starts_with("smi.") {
        return Some(SMBASE);
    }
    let base = tree::integer(name.strip_prefix("smi@")?)?;
    u64::try_from(base).ok()
}

fn check_name(name: &Located<String>, mode: Mode, vcpus: u8, mistakes: &mut Mistakes) {
    let text = name.value.as_str();
    if text.starts_with("smi@") && smbase_of(text).is_none() {
        mistakes.add(
            name.at,
            format!("`{text}` does not name an SMI handler"),
            "write SMBASE after the @, such as `smi@0x40000`",
        );
    } else if text.starts_with("vector-") && vector(text).is_none() {
        mistakes.add(
            name.at,
            format!("`{text}` does not name a vector"),
            "write a number from 0 to 255, such as `vector-0x80`",
        );
    } else if text == UNEXPECTED_POINT && mode == Mode::Real {
        mistakes.add(
            name.at,
            "`unexpected` is not free as the name of a section",
            "choose another name: this one is the HLT that vectors without a handler lead to",
        );
    }
    let processor = text
        .strip_prefix("start.")
        .and_then(|number| number.parse::<u8>().ok());
    if let Some(number) = processor.filter(|number| *number >= vcpus) {
        mistakes.add(
            name.at,
            format!("there is no processor {number} to start here"),
            format!(
                "add `vcpus: {}` to `machine`, or rename the section",
                u16::from(number) + 1
            ),
        );
    }
}

/// Reports sections that processors need and that are not there.
pub(super) fn check_entries(code: &Code, vcpus: u8, at: Position, mistakes: &mut Mistakes) {
    for number in 0..vcpus {
        let name = entry_name(number);
        if !code.sections.contains(&name) {
            mistakes.add(
                at,
                format!("section `{name}` is missing"),
                format!("add it to `code`: processor {number} starts there"),
            );
        }
    }
}

/// Where each section lies. The first one is an addition: it has no code.
fn place(sections: &[(Located<String>, Located<String>)], mode: Mode) -> Vec<Section<'_>> {
    let mut next_smi_origin = BTreeMap::new();
    // Sections without an origin follow each other; this one says where they begin.
    let mut placed = vec![Section {
        name: "",
        text: ANCHOR,
        bits: Bits::Bits64,
        segment_base: 0,
        origin: None,
    }];
    for (name, text) in sections {
        let section = if let Some(base) = smbase_of(&name.value) {
            let origin = next_smi_origin.entry(base).or_insert(SMI_HANDLER);
            let section = Section {
                name: &name.value,
                text: &text.value,
                bits: Bits::Bits16,
                segment_base: base,
                origin: Some(*origin),
            };
            *origin += SMI_STEP;
            section
        } else {
            Section {
                name: &name.value,
                text: &text.value,
                bits: bits(mode, &name.value),
                segment_base: 0,
                origin: None,
            }
        };
        placed.push(section);
    }
    placed
}

fn bits(mode: Mode, section: &str) -> Bits {
    match mode {
        Mode::Real | Mode::Bare => Bits::Bits16,
        Mode::Protected | Mode::Paged | Mode::Pae => Bits::Bits32,
        Mode::Compatibility if vector(section).is_none() => Bits::Bits32,
        Mode::Compatibility | Mode::Long | Mode::XenPv => Bits::Bits64,
    }
}

fn report(
    sections: &[(Located<String>, Located<String>)],
    source: &str,
    folded: &BTreeSet<Position>,
    error: &AssemblyError,
    mistakes: &mut Mistakes,
) {
    // The sections added here have no mistakes of their own, but another may lie on them.
    let index = error.section.checked_sub(1);
    let section = index.and_then(|index| sections.get(index));
    let Some((_, text)) = section.or_else(|| sections.last()) else {
        return;
    };
    // What the assembler says of a text that is one line by mistake would only confuse.
    if folded.contains(&text.at) {
        return;
    }
    let at = tree::in_text(source, text.at, error.line, error.column);
    let message = error.mistake.to_string();
    let (what, remedy) = message.split_once("; ").unwrap_or((message.as_str(), ""));
    mistakes.add(at, what, remedy);
}
