//! One disagreement between what was seen and what is allowed.

use serde::Serialize;

use super::bits;
use super::cited::Cited;
use super::stop::Place;
use super::value::Value;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Name of the case.
    pub case: String,
    /// Where in the run.
    pub place: Place,
    /// What differs.
    pub subject: Subject,
    /// What is allowed; the value of the nearest outcome first.
    pub allowed: Vec<Value>,
    /// What was seen.
    pub seen: Value,
    /// The rules that decide what differs.
    #[serde(rename = "requirements")]
    pub cited: Cited,
    /// Who said what is allowed.
    pub source: Source,
}

/// Who said what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The reference model.
    Model,
    /// An expectation in the case file; its number among the field expectations.
    Expectation {
        /// Index into [`crate::case::Expectations::fields`], and after them into
        /// [`crate::case::Expectations::refusals`].
        index: usize,
        /// Line in the case file.
        line: usize,
        /// Column in the case file.
        column: usize,
    },
    /// The path in the case file.
    ExpectedPath,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Control flow: the paths part at this stop.
    Path {
        /// Number of stops on which both agree.
        agree: usize,
        /// The allowed path, by names of stops.
        allowed: Vec<String>,
        /// The path taken.
        seen: Vec<String>,
    },
    /// A field of the processor state, a stack slot, or whether the state is observable.
    Field {
        /// Its name.
        name: String,
    },
    /// A row of the state-save area.
    SaveRow {
        /// The layout.
        layout: &'static str,
        /// The row.
        name: &'static str,
        /// Offset as the manuals count it, from SMBASE+8000h.
        offset: u16,
    },
    /// Bytes of a watch.
    Watch {
        /// The watch.
        name: String,
        /// Guest-physical address of the first differing byte.
        address: u64,
    },
    /// The n-th access since the observation before.
    Access {
        /// Counted from 0.
        index: usize,
    },
    /// A call of the KVM API by which the host sets or reads a processor's state.
    HostCall {
        /// Its name.
        name: String,
        /// The processor.
        vcpu: u8,
    },
    /// A field as the host reads it after it has set it.
    ReadBack {
        /// The field.
        name: String,
        /// The processor.
        vcpu: u8,
    },
    /// Guest-physical memory at the end of the run.
    Memory {
        /// Guest-physical address of the first differing byte.
        address: u64,
        /// Memory that only a processor in SMM sees.
        smm: bool,
        /// The row of a state-save area in which it lies.
        row: Option<SavedRow>,
    },
}

/// A row of a state-save area found by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavedRow {
    /// The row.
    pub name: &'static str,
    /// Offset as the manuals count it, from SMBASE+8000h.
    pub offset: u16,
    /// The SMBASE of that area, guest-physical bytes.
    pub smbase: u64,
}

impl Subject {
    /// How a report calls it.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Path { .. } => "path".to_owned(),
            Self::Field { name } => name.clone(),
            Self::SaveRow { name, offset, .. } => format!("save.{name} ({offset:04X}h)"),
            Self::Watch { name, address } => format!("watch.{name} at {address:#x}"),
            Self::HostCall { name, vcpu } => format!("{name} (vCPU {vcpu})"),
            Self::ReadBack { name, vcpu } => format!("{name} as set and read back (vCPU {vcpu})"),
            Self::Access { index } => format!("access {}", index + 1),
            Self::Memory { address, smm, row } => {
                let space = if *smm { "SMRAM" } else { "memory" };
                match row {
                    Some(row) => format!("{space} {address:#x}, save.{} ({:04X}h)", row.name, row.offset),
                    None => format!("{space} {address:#x}"),
                }
            }
        }
    }
}

impl Difference {
    /// Names of the bits in which a register differs from the nearest allowed value, where
    /// its bits have names.
    #[must_use]
    pub fn differing_bits(&self) -> Vec<&'static str> {
        let name = match &self.subject {
            Subject::Field { name } | Subject::ReadBack { name, .. } => name.clone(),
            Subject::SaveRow { name, .. } => format!("save.{name}"),
            _ => return Vec::new(),
        };
        match (self.allowed.first(), &self.seen) {
            (Some(Value::Number { value: allowed, .. }), Value::Number { value: seen, .. }) => {
                bits::named(&name, allowed ^ seen)
            }
            _ => Vec::new(),
        }
    }
}

/// A path with the step at which it parts in brackets; long stretches of agreement are cut.
#[must_use]
pub fn path_around(names: &[String], agree: usize) -> String {
    const BEFORE: usize = 6;
    const AFTER: usize = 4;
    let first = agree.saturating_sub(BEFORE);
    let mut steps = Vec::new();
    if first > 0 {
        steps.push("...".to_owned());
    }
    for (index, name) in names.iter().enumerate().skip(first) {
        if index > agree + AFTER {
            steps.push("...".to_owned());
            break;
        }
        steps.push(if index == agree {
            format!("[{name}]")
        } else {
            name.clone()
        });
    }
    if agree >= names.len() {
        steps.push("[end]".to_owned());
    }
    steps.join(" -> ")
}
