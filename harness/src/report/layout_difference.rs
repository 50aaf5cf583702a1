//! Two layouts of the state-save area side by side: what firmware that takes one for the other
//! reads and writes in its place.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use spec_model::x86::save_area::{Content, Layout, Row};

/// Writes what two layouts have in the same place, elsewhere, in only one of them, and which
/// bytes mean different things.
///
/// # Errors
/// Those of the writer.
pub fn write_difference(out: &mut impl Write, one: &Layout, other: &Layout) -> fmt::Result {
    for layout in [one, other] {
        let (size, revision) = (layout.size(), layout.revision);
        writeln!(
            out,
            "{:8}  {}: {size} bytes, revision identifier {revision:#x}",
            layout.name, layout.title
        )?;
    }
    let things: Vec<&str> = things(one);
    let elsewhere_has = |thing: &&str| !rows_of(other, thing).is_empty();
    let (both, alone): (Vec<&str>, Vec<&str>) = things.into_iter().partition(elsewhere_has);
    let same = |thing: &str| signature(one, thing) == signature(other, thing);
    let (same, moved): (Vec<&str>, Vec<&str>) = both.into_iter().partition(|thing| same(thing));
    list(out, "the same in both", &same)?;
    writeln!(out, "\nin another place, of another width or in another encoding")?;
    if moved.is_empty() {
        writeln!(out, "  nothing")?;
    }
    for thing in moved {
        let (here, there) = (places(one, thing), places(other, thing));
        writeln!(out, "  {thing:20}  {here:24}  {there}")?;
    }
    list(out, &format!("only in {}", one.name), &alone)?;
    let only_there: Vec<&str> = self::things(other)
        .into_iter()
        .filter(|thing| rows_of(one, thing).is_empty())
        .collect();
    list(out, &format!("only in {}", other.name), &only_there)?;
    write_conflicts(out, one, other)
}

fn list(out: &mut impl Write, title: &str, things: &[&str]) -> fmt::Result {
    writeln!(out, "\n{title}")?;
    let mut line = String::new();
    for thing in things {
        if line.len() + thing.len() > 90 {
            writeln!(out, "  {line},")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(thing);
    }
    writeln!(out, "  {}", if things.is_empty() { "nothing" } else { &line })
}

/// What a row is about: the state field that it holds, whole or in part, else its name.
fn thing(row: &Row) -> &'static str {
    match row.content {
        Content::Copy(_) => row.name,
        _ => row.field().unwrap_or(row.name),
    }
}

fn things(layout: &Layout) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let rows = layout.rows.iter().filter(|row| !row.is_reserved());
    rows.map(thing).filter(|thing| seen.insert(*thing)).collect()
}

fn rows_of(layout: &Layout, wanted: &str) -> Vec<&'static Row> {
    layout
        .rows
        .iter()
        .filter(|row| !row.is_reserved() && thing(row) == wanted)
        .collect()
}

fn signature(layout: &Layout, thing: &str) -> Vec<(u16, u16, String)> {
    let rows = rows_of(layout, thing);
    rows.iter()
        .map(|row| (row.offset, row.width, encoding(row)))
        .collect()
}

fn encoding(row: &Row) -> String {
    match row.content {
        Content::Attributes { encoding, .. } => format!(" {encoding:?}"),
        Content::Part { shift, .. } => format!(" from bit {shift}"),
        _ => String::new(),
    }
}

fn places(layout: &Layout, thing: &str) -> String {
    let rows = rows_of(layout, thing);
    let place = |row: &&Row| format!("{:04X}h/{}{}", row.offset, row.width, encoding(row));
    rows.iter().map(place).collect::<Vec<_>>().join(" ")
}

/// Bytes that hold one thing in one layout and another thing in the other.
fn write_conflicts(out: &mut impl Write, one: &Layout, other: &Layout) -> fmt::Result {
    writeln!(out, "\nthe same bytes with another meaning")?;
    let end = |row: &Row| u32::from(row.offset) + u32::from(row.width);
    let mut any = false;
    for row in one.rows.iter().filter(|row| !row.is_reserved()) {
        let overlapping: Vec<String> = other
            .rows
            .iter()
            .filter(|there| !there.is_reserved() && thing(there) != thing(row))
            .filter(|there| u32::from(there.offset) < end(row) && u32::from(row.offset) < end(there))
            .map(|there| format!("{} ({:04X}h/{})", there.name, there.offset, there.width))
            .collect();
        if !overlapping.is_empty() {
            any = true;
            let place = format!("{:04X}h/{}", row.offset, row.width);
            writeln!(out, "  {place:8}  {:20}  {}", row.name, overlapping.join(", "))?;
        }
    }
    if any { Ok(()) } else { writeln!(out, "  none") }
}
