//! What the code of a case declares, read line by line without assembling it.
//!
//! Code with mistakes cannot be assembled, but the rest of the file refers to its points
//! and labels. They are read here, so that one file shows mistakes of both kinds.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::scenario::{Point, PointKind};

use super::mistake::{nearest, suggest};
use crate::assembler::Label;

/// The names of one kind that a file declares.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Those that can be read.
    pub(super) names: BTreeSet<String>,
    /// Whether a mistake hides others.
    pub(super) more: bool,
}

impl Known {
    /// Whether a name is one of these, or may be one that a mistake hides: then it
    /// resembles none that can be read.
    pub(super) fn admits(&self, name: &str) -> bool {
        self.names.contains(name)
            || (self.more && nearest(name, self.names.iter().map(String::as_str)).is_none())
    }
}

/// The labels of the code.
#[derive(Clone, Debug)]
pub(super) enum Labels {
    /// Of assembled code.
    Placed(BTreeMap<String, Label>),
    /// Of code with mistakes: their values are not known.
    Named(Known),
}

/// The point that a line of assembly declares.
pub(super) fn point_of(line: &str) -> Option<Point> {
    let mut words = statement(line).split_whitespace();
    let kind = match words.next()? {
        "sync" => PointKind::Sync,
        "halt" => PointKind::Halt { resume: 0 },
        _ => return None,
    };
    let name = words.next()?.trim_end_matches([':', ',']).to_owned();
    Some(Point { name, kind })
}

/// Takes up the point that a line with a mistake was probably meant to declare.
pub(super) fn note_broken_point(line: &str, points: &mut Known) {
    let mut words = statement(line).split_whitespace();
    let meant = words.next().and_then(|word| nearest(word, ["sync", "halt"]));
    match (meant, words.next()) {
        (Some(_), Some(name)) => {
            points.names.insert(name.trim_end_matches([':', ',']).to_owned());
        }
        (Some("sync"), None) => points.more = true,
        _ => {}
    }
}

/// The labels that a line of assembly defines.
pub(super) fn labels_of(line: &str) -> impl Iterator<Item = &str> {
    let mut parts: Vec<&str> = without_comment(line).split(':').collect();
    parts.pop();
    parts.into_iter().map(str::trim).filter(|name| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
        !name.is_empty() && name.chars().all(is_part)
    })
}

fn without_comment(line: &str) -> &str {
    line.split([';', '#']).next().unwrap_or_default()
}

/// A line without its comment and its first label.
fn statement(line: &str) -> &str {
    let statement = without_comment(line);
    match statement.split_once(':') {
        Some((label, rest)) if label.split_whitespace().count() == 1 => rest,
        _ => statement,
    }
}

/// What is wrong with the name of a point that no code declares.
pub(super) fn unknown_point(name: &str, known: &BTreeSet<String>, what_they_are: &str) -> (String, String) {
    (
        format!("no `sync` or `halt` in the code names `{name}`"),
        suggest(name, known.iter().map(String::as_str), what_they_are),
    )
}
