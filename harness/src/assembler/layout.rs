//! Gives every statement its place, and grows branches until they reach.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::scenario::{Blob, Point, PointKind, SYNC_PORT};

use super::definitions::{Definition, define_labels, number_points};
use super::encoding::encode;
use super::error::Mistake;
use super::expression::{Expression, Position, Scope};
use super::statement::{Datum, Statement, StatementKind};
use super::values::fit;
use super::{AssemblyError, Bits, Label, ListingLine, Program, Section};

/// Rounds, besides one per statement, after which sizes that still change are called
/// circular. Each round before the last lengthens a branch, unless something is circular.
const ROUNDS: usize = 100;
/// Most bytes of one `.space`.
const MOST_SPACE: i128 = 1 << 24;
/// Largest alignment.
const MOST_ALIGNMENT: i128 = 1 << 16;
/// Multiple at which sections without an origin begin.
const SECTION_ALIGNMENT: u64 = 16;
/// NOP, which fills gaps so that code runs through them.
const NOP: u8 = 0x90;

/// A statement's place and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Placed {
    position: Position,
    bytes: Vec<u8>,
}

/// Assembles the statements. `None` if nothing sensible came out; `errors` says why.
pub(super) fn lay_out(
    sections: &[Section<'_>],
    constants: &BTreeMap<String, u64>,
    statements: &[Statement],
    errors: &mut Vec<AssemblyError>,
) -> Option<Program> {
    let definitions = define_labels(sections, constants, statements, errors);
    let sync_numbers = number_points(statements, errors);
    let mut layout = Layout {
        sections,
        constants,
        statements,
        sync_numbers,
        labels: definitions
            .keys()
            .map(|name| (name.clone(), Position::default()))
            .collect(),
        placed: vec![Placed::default(); statements.len()],
        starts: vec![Position::default(); sections.len()],
    };
    layout.check_symbols(errors);
    let mut mistakes = BTreeSet::new();
    for _ in 0..ROUNDS + statements.len() {
        let before = (layout.placed.clone(), layout.labels.clone());
        mistakes = layout.place(&definitions);
        mistakes.extend(layout.encode());
        // Those are known already, with the column of the symbol itself.
        mistakes.retain(|error| !matches!(error.mistake, Mistake::UndefinedLabel { .. }));
        if before == (layout.placed.clone(), layout.labels.clone()) {
            errors.extend(mistakes);
            if errors.is_empty() {
                layout.check_overlap(errors);
            }
            return errors.is_empty().then(|| layout.finish(&definitions));
        }
    }
    errors.extend(mistakes);
    let circular = statements.iter().find(|statement| {
        matches!(
            statement.kind,
            StatementKind::Align(_) | StatementKind::Space(_) | StatementKind::At(_)
        )
    });
    errors.extend(
        circular
            .or(statements.first())
            .map(|statement| statement.error(Mistake::DoesNotSettle)),
    );
    None
}

struct Layout<'a> {
    sections: &'a [Section<'a>],
    constants: &'a BTreeMap<String, u64>,
    statements: &'a [Statement],
    sync_numbers: BTreeMap<String, u8>,
    labels: BTreeMap<String, Position>,
    placed: Vec<Placed>,
    /// Where the sections begin.
    starts: Vec<Position>,
}

impl Layout<'_> {
    fn scope(&self, here: u64, branch_segment: Option<u64>) -> Scope<'_> {
        Scope {
            constants: self.constants,
            labels: &self.labels,
            here,
            branch_segment,
        }
    }

    /// Reports symbols that nobody defines.
    fn check_symbols(&self, errors: &mut Vec<AssemblyError>) {
        let scope = self.scope(0, None);
        for statement in self.statements {
            let mut check = |name: &str, column: usize| {
                errors.extend(
                    scope
                        .check(name)
                        .map(|mistake| statement.error_at(column, mistake)),
                );
            };
            match &statement.kind {
                StatementKind::Instruction(selection) => selection.symbols(&mut check),
                StatementKind::Data { items, .. } => {
                    for (_, item) in items {
                        if let Datum::Number(expression) = item {
                            expression.symbols(&mut check);
                        }
                    }
                }
                StatementKind::Align(value) | StatementKind::Space(value) | StatementKind::At(value) => {
                    value.symbols(&mut check);
                }
                StatementKind::Label(_) | StatementKind::Sync(_) | StatementKind::Halt(_) => {}
            }
        }
    }

    /// Gives every statement its position by the lengths of the last round.
    fn place(&mut self, definitions: &BTreeMap<String, Definition>) -> BTreeSet<AssemblyError> {
        let mut mistakes = BTreeSet::new();
        // Where the last section without an origin in each segment ended.
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut first = 0;
        for (index, section) in self.sections.iter().enumerate() {
            let start = section.origin.unwrap_or_else(|| {
                let end = ends.get(&section.segment_base).copied().unwrap_or(0);
                end.checked_next_multiple_of(SECTION_ALIGNMENT).unwrap_or(end)
            });
            let own = self
                .statements
                .iter()
                .skip(first)
                .take_while(|statement| statement.section == index)
                .count();
            let (mut offset, mut end) = (start, start);
            if let Some(position) = self.starts.get_mut(index) {
                *position = section.position(start);
            }
            for number in first..first + own {
                let Some(statement) = self.statements.get(number) else {
                    break;
                };
                let next = self.place_one(number, statement, section, offset);
                match next.and_then(|next| check_offset(next, statement.bits)) {
                    Ok(next) => offset = next,
                    Err(mistake) => {
                        mistakes.insert(statement.error(mistake));
                    }
                }
                end = end.max(offset);
            }
            first += own;
            if section.origin.is_none() {
                ends.insert(section.segment_base, end);
            }
        }
        for (name, definition) in definitions {
            let position = match definition {
                Definition::Section(index) => self.starts.get(*index).copied(),
                Definition::Statement(index) => self.placed.get(*index).map(|placed| placed.position),
            };
            self.labels.insert(name.clone(), position.unwrap_or_default());
        }
        mistakes
    }

    /// Puts one statement at `offset`, and says at which offset the next one goes.
    fn place_one(
        &mut self,
        number: usize,
        statement: &Statement,
        section: &Section<'_>,
        offset: u64,
    ) -> Result<u64, Mistake> {
        let scope = self.scope(offset, None);
        let gap = match &statement.kind {
            StatementKind::Align(value) => Some(vec![NOP; alignment_gap(value, &scope)?]),
            StatementKind::Space(value) => {
                let size = value.evaluate(&scope)?.number;
                let length = usize::try_from(size).ok().filter(|_| size <= MOST_SPACE);
                Some(vec![0; length.ok_or(Mistake::Space(size))?])
            }
            StatementKind::At(value) => {
                let target = value.evaluate(&scope)?.number;
                let outside = Mistake::Offset {
                    offset: target,
                    bits: statement.bits,
                    limit: limit(statement.bits),
                };
                let target = u64::try_from(target).map_err(|_| outside)?;
                self.set_position(number, section.position(target));
                return Ok(target);
            }
            _ => None,
        };
        self.set_position(number, section.position(offset));
        let Some(placed) = self.placed.get_mut(number) else {
            return Ok(offset);
        };
        if let Some(bytes) = gap {
            placed.bytes = bytes;
        }
        Ok(offset.saturating_add(placed.bytes.len() as u64))
    }

    fn set_position(&mut self, number: usize, position: Position) {
        if let Some(placed) = self.placed.get_mut(number) {
            placed.position = position;
        }
    }

    /// Encodes every statement at its position.
    fn encode(&mut self) -> BTreeSet<AssemblyError> {
        let mut mistakes = BTreeSet::new();
        let mut all = Vec::with_capacity(self.placed.len());
        for (statement, placed) in self.statements.iter().zip(&self.placed) {
            let here = placed.position.offset;
            let segment = placed.position.linear.wrapping_sub(here);
            let bytes = match &statement.kind {
                StatementKind::Instruction(selection) => {
                    let scope = self.scope(here, Some(segment));
                    encode(selection, &scope, placed.bytes.len()).map_err(|(column, mistake)| {
                        statement.error_at(column.unwrap_or(statement.column), mistake)
                    })
                }
                StatementKind::Sync(name) => {
                    let number = self.sync_numbers.get(name).copied().unwrap_or_default();
                    // OUT imm8, AL
                    Ok(vec![0xe6, SYNC_PORT.wrapping_add(number)])
                }
                // HLT
                StatementKind::Halt(_) => Ok(vec![0xf4]),
                StatementKind::Data { size, items } => self.data(statement, *size, items, here),
                StatementKind::Align(_) | StatementKind::Space(_) => Ok(placed.bytes.clone()),
                StatementKind::Label(_) | StatementKind::At(_) => Ok(Vec::new()),
            };
            // After a mistake the last length stays, so that the rest settles.
            all.push(bytes.unwrap_or_else(|mistake| {
                mistakes.insert(mistake);
                placed.bytes.clone()
            }));
        }
        for (placed, bytes) in self.placed.iter_mut().zip(all) {
            placed.bytes = bytes;
        }
        mistakes
    }

    fn data(
        &self,
        statement: &Statement,
        size: usize,
        items: &[(usize, Datum)],
        here: u64,
    ) -> Result<Vec<u8>, AssemblyError> {
        let mut bytes = Vec::new();
        for (column, item) in items {
            match item {
                Datum::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Datum::Number(expression) => {
                    let value = expression.evaluate(&self.scope(here, None));
                    let value = value.and_then(|value| fit(value.number, size as u32 * 8, "the number"));
                    let value = value.map_err(|mistake| statement.error_at(*column, mistake))?;
                    bytes.extend(value.to_le_bytes().into_iter().take(size));
                }
            }
        }
        Ok(bytes)
    }

    /// Statements with bytes, ordered by linear address.
    fn ordered(&self) -> Vec<(&Placed, &Statement)> {
        let mut all: Vec<_> = self.placed.iter().zip(self.statements).collect();
        all.retain(|(placed, _)| !placed.bytes.is_empty());
        all.sort_by_key(|(placed, _)| placed.position.linear);
        all
    }

    fn check_overlap(&self, errors: &mut Vec<AssemblyError>) {
        let mut reported = BTreeSet::new();
        let mut before: Option<(u64, &Statement)> = None;
        for (placed, statement) in self.ordered() {
            let address = placed.position.linear;
            let end = address.saturating_add(placed.bytes.len() as u64);
            if let Some((_, other)) = before.filter(|(end, _)| *end > address) {
                // The one that comes later in the text is told about the earlier one.
                let earlier = (statement.section, statement.line) < (other.section, other.line);
                let (told, kept) = if earlier {
                    (other, statement)
                } else {
                    (statement, other)
                };
                if reported.insert((told.section, kept.section)) {
                    let section = self
                        .sections
                        .get(kept.section)
                        .map_or("", |section| section.name)
                        .to_owned();
                    let line = kept.line;
                    errors.push(told.error(Mistake::Overlap {
                        address,
                        section,
                        line,
                    }));
                }
            }
            if before.is_none_or(|(last, _)| last < end) {
                before = Some((end, statement));
            }
        }
    }

    fn finish(self, definitions: &BTreeMap<String, Definition>) -> Program {
        let mut blobs: Vec<Blob> = Vec::new();
        for (placed, _) in self.ordered() {
            let address = placed.position.linear;
            match blobs.last_mut() {
                Some(last) if last.address.wrapping_add(last.bytes.len() as u64) == address => {
                    last.bytes.extend_from_slice(&placed.bytes);
                }
                _ => blobs.push(Blob {
                    address,
                    bytes: placed.bytes.clone(),
                }),
            }
        }
        let labels = definitions.iter().map(|(name, definition)| {
            let bits = match definition {
                Definition::Section(index) => self.sections.get(*index).map(|section| section.bits),
                Definition::Statement(index) => self.statements.get(*index).map(|statement| statement.bits),
            };
            let position = self.labels.get(name).copied().unwrap_or_default();
            let label = Label {
                offset: position.offset,
                linear: position.linear,
                bits: bits.unwrap_or(Bits::Bits16),
            };
            (name.clone(), label)
        });
        let statements = || self.placed.iter().zip(self.statements);
        let listing = statements().filter(|(placed, _)| !placed.bytes.is_empty());
        let listing = listing.map(|(placed, statement)| ListingLine {
            section: statement.section,
            line: statement.line,
            address: placed.position.linear,
            bits: statement.bits,
            bytes: placed.bytes.clone(),
        });
        let mut by_number: Vec<(&String, &u8)> = self.sync_numbers.iter().collect();
        by_number.sort_by_key(|(_, number)| **number);
        let syncs = by_number.into_iter().map(|(name, _)| Point {
            name: name.clone(),
            kind: PointKind::Sync,
        });
        let halts = statements().filter_map(|(placed, statement)| match &statement.kind {
            StatementKind::Halt(name) => Some(Point {
                name: name.clone(),
                kind: PointKind::Halt {
                    resume: placed.position.linear.wrapping_add(placed.bytes.len() as u64),
                },
            }),
            _ => None,
        });
        Program {
            blobs,
            labels: labels.collect(),
            points: syncs.chain(halts).collect(),
            listing: listing.collect(),
        }
    }
}

impl Section<'_> {
    fn position(&self, offset: u64) -> Position {
        Position {
            offset,
            linear: self.segment_base.wrapping_add(offset),
        }
    }
}

/// Greatest offset that code of this size can have.
fn limit(bits: Bits) -> u64 {
    match bits {
        // Also 16-bit code: EIP counts on above FFFFh where the segment limit allows it.
        Bits::Bits16 | Bits::Bits32 => u64::from(u32::MAX),
        Bits::Bits64 => u64::MAX - 1,
    }
}

/// Checks the offset after a statement.
fn check_offset(end: u64, bits: Bits) -> Result<u64, Mistake> {
    let limit = limit(bits);
    if end <= limit.saturating_add(1) && end != u64::MAX {
        return Ok(end);
    }
    Err(Mistake::Offset {
        offset: i128::from(end),
        bits,
        limit,
    })
}

/// Bytes from here to the next multiple.
fn alignment_gap(value: &Expression, scope: &Scope<'_>) -> Result<usize, Mistake> {
    let number = value.evaluate(scope)?.number;
    let alignment = u64::try_from(number)
        .ok()
        .filter(|alignment| alignment.is_power_of_two());
    let alignment = alignment
        .filter(|_| number <= MOST_ALIGNMENT)
        .ok_or(Mistake::Alignment(number))?;
    let misaligned = scope.here & (alignment - 1);
    Ok(usize::try_from((alignment - misaligned) & (alignment - 1)).unwrap_or_default())
}
