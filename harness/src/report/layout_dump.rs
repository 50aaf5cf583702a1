//! A state-save area decoded field by field.

use std::fmt::{self, Write};

use spec_model::x86::save_area::{Content, LAYOUTS, Layout, Row};

/// Writes the rows of an area with their values. `area` has the size of the layout.
///
/// # Errors
/// Those of the writer.
pub fn write_dump(out: &mut impl Write, layout: &Layout, area: &[u8], smbase: Option<u64>) -> fmt::Result {
    writeln!(out, "{}: {}", layout.name, layout.title)?;
    write_doubt(out, layout, area)?;
    let address = if smbase.is_some() {
        "address             "
    } else {
        ""
    };
    writeln!(out, "\noffset  {address}{:24}  value", "row")?;
    for row in layout.rows {
        write!(out, "{:04X}h   ", row.offset)?;
        if let Some(smbase) = smbase {
            write!(out, "{:#018x}  ", smbase.wrapping_add(row.from_smbase()))?;
        }
        writeln!(out, "{:24}  {}", row.name, value(layout, row, area))?;
    }
    Ok(())
}

fn value(layout: &Layout, row: &Row, area: &[u8]) -> String {
    let bytes = &area[row.range(area.len())];
    if row.is_reserved() {
        let used = bytes.iter().filter(|byte| **byte != 0).count();
        return match used {
            0 => format!("{} bytes, all zero", bytes.len()),
            _ => format!("{} bytes, {used} of them not zero", bytes.len()),
        };
    }
    let digits = usize::from(row.width.min(8)) * 2;
    let shown = format!("0x{:0digits$x}", row.read(area));
    match row.content {
        _ if layout.leaves_open(row) => format!("{shown} (not described)"),
        Content::Copy(_) => format!("{shown} (RSM does not read it)"),
        _ => shown,
    }
}

/// Says so if the revision identifier is not one of this layout, and whose it is.
fn write_doubt(out: &mut impl Write, layout: &Layout, area: &[u8]) -> fmt::Result {
    let Some(row) = layout.row("revision-id") else {
        return Ok(());
    };
    let found = row.read(area);
    let fits =
        |layout: &Layout| (found ^ u64::from(layout.revision)) & !u64::from(layout.revision_varies) == 0;
    if fits(layout) {
        return Ok(());
    }
    write!(
        out,
        "the revision identifier {found:#x} is not that of this layout, {:#x}",
        layout.revision
    )?;
    let others: Vec<&str> = LAYOUTS
        .iter()
        .filter(|other| fits(other))
        .map(|other| other.name)
        .collect();
    if others.is_empty() {
        writeln!(out, ", nor of any other")
    } else {
        writeln!(out, "; it is that of {}", others.join(", "))
    }
}
