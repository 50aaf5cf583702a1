//! `conform layout`: prints a layout of the state-save area, decodes a dump of one, or compares
//! two layouts.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use clap::Args;
use spec_model::x86::save_area::{LAYOUTS, Layout};

use super::console::print;
use super::exit::{Failure, Status};
use crate::report;
use crate::report::layout_difference::write_difference;
use crate::report::layout_dump::write_dump;

/// What `conform layout` takes.
#[derive(Debug, Args)]
pub(super) struct LayoutArguments {
    /// Its name; all names if absent.
    name: Option<String>,
    /// Decode a dump by this layout; `-` is standard input. It has the size of the area, or it
    /// is the 32 KiB or 64 KiB up to the area's end.
    #[arg(long, value_name = "FILE", requires = "name")]
    bytes: Option<std::path::PathBuf>,
    /// SMBASE of the dumped processor, to print addresses.
    #[arg(long, value_name = "ADDRESS", requires = "bytes", value_parser = address)]
    smbase: Option<u64>,
    /// Show what two layouts have in the same place, elsewhere, and only one of them.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["name", "bytes", "smbase"])]
    diff: Option<Vec<String>>,
}

/// SMBASE+8000h to SMBASE+FFFFh, and the whole segment.
const SEGMENT_SIZES: [usize; 2] = [0x8000, 0x1_0000];

pub(super) fn layout(arguments: &LayoutArguments) -> Result<Status, Failure> {
    let mut out = String::new();
    // Writing to a string does not fail.
    if let Some([one, other]) = arguments.diff.as_deref() {
        let _ = write_difference(&mut out, find(one)?, find(other)?);
    } else if let Some(name) = &arguments.name {
        let layout = find(name)?;
        match &arguments.bytes {
            Some(file) => {
                let area = area(layout, file)?;
                let _ = write_dump(&mut out, layout, &area, arguments.smbase);
            }
            None => {
                let _ = report::layout::write(&mut out, layout);
            }
        }
    } else {
        for layout in LAYOUTS {
            let _ = writeln!(out, "{:8}  {}", layout.name, layout.title);
        }
    }
    print(&out)?;
    Ok(Status::Conforms)
}

fn find(name: &str) -> Result<&'static Layout, Failure> {
    Layout::named(name).ok_or_else(|| {
        let known: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
        Failure::wrong(format_args!(
            "no layout is called `{name}`; there are {}",
            known.join(", ")
        ))
    })
}

/// The area in a dump: all of it, or its end.
fn area(layout: &Layout, file: &Path) -> Result<Vec<u8>, Failure> {
    let name = file.display();
    let wrong = |error| Failure::wrong(format_args!("{name}: cannot be read: {error}"));
    let most = SEGMENT_SIZES[1] as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        let mut input = std::io::stdin().lock().take(most);
        input.read_to_end(&mut bytes).map_err(wrong)?;
    } else {
        let mut input = std::fs::File::open(file).map_err(wrong)?.take(most);
        input.read_to_end(&mut bytes).map_err(wrong)?;
    }
    let size = layout.size();
    if bytes.len() == size || SEGMENT_SIZES.contains(&bytes.len()) {
        return Ok(bytes.split_off(bytes.len() - size));
    }
    let found = if bytes.len() > SEGMENT_SIZES[1] {
        "more than 65536 bytes".to_owned()
    } else {
        format!("{} bytes", bytes.len())
    };
    let start = layout.offset();
    Err(Failure::wrong(format_args!(
        "{name}: a dump of {} has {size} bytes (SMBASE+{start:X}h to SMBASE+FFFFh), or 32768 (from \
         SMBASE+8000h), or 65536 (from SMBASE); this one has {found}",
        layout.name
    )))
}

fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let parsed = match digits {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no address; write one such as 0x30000"))
}
