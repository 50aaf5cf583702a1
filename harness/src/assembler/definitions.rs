//! Collects the labels and the points that statements define.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::scenario::SYNC_POINTS;

use super::error::Mistake;
use super::statement::{Statement, StatementKind, is_label};
use super::{AssemblyError, Section};

/// Where a label is defined.
#[derive(Clone, Copy, Debug)]
pub(super) enum Definition {
    /// At the start of a section.
    Section(usize),
    /// By the statement of that index.
    Statement(usize),
}

/// Finds where each label is defined; second definitions are mistakes.
pub(super) fn define_labels(
    sections: &[Section<'_>],
    constants: &BTreeMap<String, u64>,
    statements: &[Statement],
    errors: &mut Vec<AssemblyError>,
) -> BTreeMap<String, Definition> {
    let mut definitions: BTreeMap<String, Definition> = BTreeMap::new();
    let describe = |definition: &Definition| match definition {
        Definition::Section(index) => {
            format!(
                "it is the start of section `{}`",
                sections.get(*index).map_or("", |section| section.name)
            )
        }
        Definition::Statement(index) => statements.get(*index).map_or_else(String::new, |statement| {
            let section = sections.get(statement.section).map_or("", |section| section.name);
            format!("line {} of section `{section}`", statement.line)
        }),
    };
    let named = sections
        .iter()
        .enumerate()
        .filter(|(_, section)| is_label(section.name));
    let starts = named.map(|(index, section)| (section.name, Definition::Section(index), (index, 1, 1)));
    let lines = statements
        .iter()
        .enumerate()
        .filter_map(|(index, statement)| match &statement.kind {
            StatementKind::Label(name) => {
                let place = (statement.section, statement.line, statement.column);
                Some((name.as_str(), Definition::Statement(index), place))
            }
            _ => None,
        });
    for (name, definition, (section, line, column)) in starts.chain(lines) {
        let first = match definitions.get(name) {
            Some(first) => describe(first),
            None if constants.contains_key(name) => "it is a constant".to_owned(),
            None => {
                definitions.insert(name.to_owned(), definition);
                continue;
            }
        };
        let name = name.to_owned();
        let mistake = Mistake::DuplicateLabel { name, first };
        errors.push(AssemblyError {
            section,
            line,
            column,
            mistake,
        });
    }
    definitions
}

/// Numbers the sync points in the order in which they appear, and checks the names of
/// halts against them.
pub(super) fn number_points(
    statements: &[Statement],
    errors: &mut Vec<AssemblyError>,
) -> BTreeMap<String, u8> {
    let mut numbers: BTreeMap<String, u8> = BTreeMap::new();
    for statement in statements {
        let StatementKind::Sync(name) = &statement.kind else {
            continue;
        };
        if numbers.contains_key(name) {
            continue;
        }
        let next = numbers.len();
        match u8::try_from(next) {
            Ok(number) if next < SYNC_POINTS => {
                numbers.insert(name.clone(), number);
            }
            _ => errors.push(statement.error(Mistake::TooManyPoints(SYNC_POINTS))),
        }
    }
    let mut halts = BTreeSet::new();
    for statement in statements {
        let StatementKind::Halt(name) = &statement.kind else {
            continue;
        };
        if numbers.contains_key(name) || !halts.insert(name) {
            errors.push(statement.error(Mistake::DuplicatePoint(name.clone())));
        }
    }
    numbers
}
