//! Mistakes in files that people write, with the place and the remedy.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };
    /// The place of stand-ins for what a file lacks. Nothing is said about it.
    pub(super) const NOWHERE: Self = Self { line: 0, column: 0 };
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Where in the file.
    pub at: Position,
    /// What is wrong.
    pub what: String,
    /// What would be right; empty where that goes without saying.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.at;
        write!(
            formatter,
            "{}:{line}:{column}: {}",
            self.file.display(),
            self.what
        )?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(formatter, "; {}", self.remedy)
    }
}

/// Collects the mistakes of one file.
pub(super) struct Mistakes {
    file: PathBuf,
    list: Vec<Mistake>,
    /// Where the reading goes on with a guess.
    doubted: BTreeSet<Position>,
    /// Whether the structure has been checked: then mistakes at doubted places are only
    /// consequences of what was said about them.
    structure_checked: bool,
}

impl Mistakes {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
            doubted: BTreeSet::new(),
            structure_checked: false,
        }
    }

    pub(super) fn add(&mut self, at: Position, what: impl Into<String>, remedy: impl Into<String>) {
        if at == Position::NOWHERE || (self.structure_checked && self.doubted.contains(&at)) {
            return;
        }
        self.list.push(Mistake {
            file: self.file.clone(),
            at,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// An empty collection for the same file.
    pub(super) fn fresh(&self) -> Self {
        Self::new(&self.file)
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.list.append(&mut other.list);
        self.doubted.append(&mut other.doubted);
    }

    /// Remembers that what stands here is wrong and read as what was probably meant.
    pub(super) fn doubt(&mut self, at: Position) {
        self.doubted.insert(at);
    }

    /// Ends the check of the structure: from now on nothing more is said of doubted places.
    pub(super) fn structure_is_checked(&mut self) {
        self.structure_checked = true;
    }

    /// Whether a value was written as it is read.
    pub(super) fn trusts(&self, at: Position) -> bool {
        at != Position::NOWHERE && !self.doubted.contains(&at)
    }

    /// All of them in the order of the file, each once.
    pub(super) fn into_list(mut self) -> Vec<Mistake> {
        self.list.sort_by_key(|mistake| mistake.at);
        self.list.dedup();
        self.list
    }
}

/// The known name nearest to what was written, if one is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near_enough = 1 + written.chars().count() / 3;
    known
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(distance, _)| *distance <= near_enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Says which names there are: the nearest one, or all if they are few.
pub(super) fn suggest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    what_they_are: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(name) = nearest(written, known.iter().copied()) {
        return format!("did you mean `{name}`?");
    }
    if known.is_empty() {
        return format!("{what_they_are} are none here");
    }
    let begun: Vec<&str> = known
        .iter()
        .copied()
        .filter(|name| name.starts_with(written))
        .collect();
    let known = if begun.is_empty() { known } else { begun };
    const FEW: usize = 16;
    let listed: Vec<String> = known.iter().take(FEW).map(|name| format!("`{name}`")).collect();
    let rest = if known.len() > FEW { " and others" } else { "" };
    format!("{what_they_are} are {}{rest}", listed.join(", "))
}

/// A number as people write it: large ones in hexadecimal.
pub(super) fn number(value: i128) -> String {
    if value < 0x1_0000 {
        value.to_string()
    } else {
        format!("{value:#x}")
    }
}

/// Number of single-character insertions, deletions and replacements, or exchanges of
/// neighbours, that turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            let exchanged = i > 0 && j > 0 && from[i - 1] == *b && to[j - 1] == *a;
            if exchanged {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("smi", "smi"), 0);
        assert_eq!(distance("sim", "smi"), 1);
        assert_eq!(distance("", "nmi"), 3);
        assert_eq!(distance("titel", "title"), 1);
    }

    #[test]
    fn only_what_could_be_meant_is_suggested() {
        assert_eq!(nearest("pth", ["title", "path"]), Some("path"));
        assert_eq!(nearest("colour", ["title", "path"]), None);
    }
}
