//! A save-area layout as a table.

use std::fmt::{self, Write};

use spec_model::x86::save_area::{Content, Layout, Relocation, Rest, Row, Unwritten};

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
    writeln!(out, "{}", describe_layout(layout))?;
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

fn describe_layout(layout: &Layout) -> String {
    let unwritten = match layout.unwritten {
        Unwritten::Zero => "written as zero",
        Unwritten::Kept => "left as memory held them",
        Unwritten::Unspecified => "not described",
    };
    let mut text = format!(
        "the area is SMBASE+{:X}h to SMBASE+FFFFh; bytes without a value are {unwritten}",
        layout.offset()
    );
    let encoding = layout.rows.iter().find_map(|row| match row.content {
        Content::Attributes { encoding, .. } => Some(encoding.describe()),
        _ => None,
    });
    if let Some(encoding) = encoding {
        text += &format!("\naccess rights: {encoding}");
    }
    if layout.relocation == Relocation::IfRevisionSays {
        text += "\nRSM takes SMBASE only if bit 17 of the revision identifier in the area is set";
    }
    if layout.rest == Rest::Hidden {
        let missing: Vec<&str> = layout.missing().map(|field| field.name).collect();
        if !missing.is_empty() {
            text += &format!("\nwithout a documented place: {}", missing.join(", "));
        }
    }
    text
}

fn describe(row: &Row) -> String {
    let mut text = match row.content {
        Content::Zero if !row.is_reserved() => format!("{} (zero)", row.name),
        Content::Copy(field) => format!("{} (of {field})", row.name),
        _ => row.name.to_owned(),
    };
    if let Some((major, minor)) = row.since {
        text += &format!(" (Linux {major}.{minor})");
    }
    text
}
