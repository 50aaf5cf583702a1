//! Mutants that do not compile, and functions that have to stay `const`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the compiler refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unviable {
    /// Numbers of mutants.
    pub mutants: BTreeSet<usize>,
    /// Names of functions that something constant calls.
    pub constant: BTreeSet<String>,
}

/// What is kept between two runs: it holds for the very sources.
#[derive(Serialize, Deserialize)]
struct Kept {
    sources: u64,
    unviable: Unviable,
}

impl Unviable {
    /// What was found for the same sources before.
    #[must_use]
    pub fn read(path: &Path, sources: u64) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (kept.sources == sources).then_some(kept.unviable)
    }

    /// Keeps it for the next run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, sources: u64) -> std::io::Result<()> {
        let kept = Kept {
            sources,
            unviable: self.clone(),
        };
        fs::write(path, serde_json::to_vec(&kept)?)
    }
}

/// What the compiler says of a place.
#[derive(Clone, Debug, Deserialize)]
pub struct Span {
    /// File, from the folder in which it was called.
    pub file_name: String,
    /// First byte.
    pub byte_start: usize,
    /// The byte behind the last.
    pub byte_end: usize,
    /// Whether the message is about this place.
    pub is_primary: bool,
}

/// The number of an error.
#[derive(Clone, Debug, Deserialize)]
pub struct Code {
    /// Such as E0015.
    pub code: String,
}

/// A message of the compiler.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// `error` or something milder.
    pub level: String,
    /// What it says.
    pub message: String,
    /// Its number.
    pub code: Option<Code>,
    /// Where.
    pub spans: Vec<Span>,
    /// Notes on it.
    #[serde(default)]
    pub children: Vec<Message>,
}

impl Message {
    /// The places that it is about, the nearest to the point first.
    #[must_use]
    pub fn places(&self) -> Vec<&Span> {
        let mut spans: Vec<&Span> = self.spans.iter().collect();
        spans.sort_by_key(|span| !span.is_primary);
        spans.extend(self.children.iter().flat_map(|note| &note.spans));
        spans
    }
}

/// A line of cargo's output.
#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Message>,
}

/// The errors among the lines that cargo has written.
#[must_use]
pub fn errors(output: &str) -> Vec<Message> {
    let lines = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines
        .filter(|line| line.reason == "compiler-message")
        .filter_map(|line| line.message)
        .filter(|message| message.level == "error" && !message.spans.is_empty())
        .collect()
}

/// A call of something that is not constant where everything has to be.
const NOT_CONSTANT: &str = "E0015";

/// The function that an error says is not constant.
#[must_use]
pub fn not_constant(message: &Message) -> Option<&str> {
    if message.code.as_ref()?.code != NOT_CONSTANT {
        return None;
    }
    let name = message.message.split('`').nth(1)?;
    let name = name.rsplit("::").next()?;
    Some(name)
}
