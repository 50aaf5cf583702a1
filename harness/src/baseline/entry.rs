//! One entry of a baseline, and how it is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::cli::glob;

/// What is known of one target that was run on in one way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    /// The cases that ran.
    Cases(BTreeSet<String>),
    /// In a run with options: everything ran that runs without them, but this.
    Except(Exceptions),
    /// The groups of a family of scenarios.
    Groups(BTreeMap<String, Group>),
}

/// What did not run although it does without the options.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exceptions {
    pub(super) unsupported: Unsupported,
}

/// A group of a family: how many scenarios it has, and which of them did not run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenGroup")]
pub(super) struct Group {
    pub(super) members: usize,
    pub(super) unsupported: Unsupported,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenGroup {
    All(usize),
    Some(SomeOfGroup),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SomeOfGroup {
    members: usize,
    unsupported: Unsupported,
}

impl From<WrittenGroup> for Group {
    fn from(written: WrittenGroup) -> Self {
        match written {
            WrittenGroup::All(members) => Self {
                members,
                unsupported: Unsupported::default(),
            },
            WrittenGroup::Some(SomeOfGroup { members, unsupported }) => Self { members, unsupported },
        }
    }
}

/// What did not run, by reason. A name may be a pattern that stands for several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Unsupported {
    by_reason: BTreeMap<String, BTreeSet<String>>,
}

impl Unsupported {
    pub(super) fn is_empty(&self) -> bool {
        self.by_reason.is_empty()
    }

    pub(super) fn add(&mut self, reason: &str, name: &str) {
        let names = self.by_reason.entry(reason.to_owned()).or_default();
        names.insert(name.to_owned());
    }

    /// The reason for that very name.
    pub(super) fn reason(&self, name: &str) -> Option<&str> {
        let mut all = self.by_reason.iter();
        all.find(|(_, names)| names.contains(name))
            .map(|(reason, _)| reason.as_str())
    }

    /// Whether it has that name, or a pattern for it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.reason(name).is_some() || self.patterns().any(|pattern| glob::matches(pattern, name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_reason.values().flatten().map(String::as_str)
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| is_pattern(name))
    }

    fn write(&self, out: &mut String, indent: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{indent}unsupported:");
        for (reason, names) in &self.by_reason {
            let _ = writeln!(out, "{indent}  {}:", quoted(reason));
            for name in names {
                let _ = writeln!(out, "{indent}    - {}", scalar(name));
            }
        }
    }
}

/// Whether a name stands for several. Names of scenarios have no asterisk.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

impl Entry {
    pub(super) fn write(&self, out: &mut String, key: &str) {
        // Writing to a string does not fail.
        let _ = match self {
            Self::Cases(cases) if cases.is_empty() => writeln!(out, "\"{key}\": []"),
            Self::Groups(groups) if groups.is_empty() => writeln!(out, "\"{key}\": {{}}"),
            _ => writeln!(out, "\"{key}\":"),
        };
        match self {
            Self::Cases(cases) => {
                for case in cases {
                    let _ = writeln!(out, "  - {case}");
                }
            }
            Self::Except(exceptions) => exceptions.unsupported.write(out, "  "),
            Self::Groups(groups) => {
                for (name, group) in groups {
                    group.write(out, name);
                }
            }
        }
    }
}

impl Group {
    fn write(&self, out: &mut String, name: &str) {
        let (name, members) = (scalar(name), self.members);
        // Writing to a string does not fail.
        if self.unsupported.is_empty() {
            let _ = writeln!(out, "  {name}: {members}");
        } else {
            let _ = writeln!(out, "  {name}:\n    members: {members}");
            self.unsupported.write(out, "    ");
        }
    }
}

/// A text as YAML has it, in quotes where it could be taken for something else.
fn scalar(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/-_".contains(character);
    if text.chars().all(is_plain) && text.contains(|character: char| character.is_ascii_alphabetic()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text in double quotes, which mean the same in YAML and in JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
