//! A save-area layout as a table.

use std::fmt::{self, Write};

use spec_model::x86::save_area::{Content, Layout, Row};

/// Writes one layout, a line per row.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, layout: &Layout) -> fmt::Result {
    let Layout {
        name,
        title,
        revision,
        rows,
        ..
    } = layout;
    writeln!(out, "{name}: {title}; SMM revision identifier {revision:#x}")?;
    writeln!(
        out,
        "offset counts from SMBASE+8000h; width in bytes; w: a handler may change it; r: RSM restores it"
    )?;
    writeln!(out)?;
    writeln!(out, "offset  width  w r  {:28}  requirement", "row")?;
    for row in *rows {
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        writeln!(
            out,
            "{:04X}h   {:>5}  {} {}  {:28}  {}",
            row.offset,
            row.width,
            flag(row.writable, 'w'),
            flag(row.restored, 'r'),
            describe(row),
            layout.requirement(row).id
        )?;
    }
    Ok(())
}

fn describe(row: &Row) -> String {
    match row.content {
        Content::Zero if !row.is_reserved() => format!("{} (zero)", row.name),
        _ => row.name.to_owned(),
    }
}
