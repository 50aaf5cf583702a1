//! A folder of cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Case;
use super::mistake::{Mistake, Position};

/// Folder under the cases that holds the known deviations of targets, not cases.
const DEVIATIONS: &str = "deviations";

/// Reads every case file (`*.yaml`, `*.yml`) of a folder and its folders, sorted by name.
///
/// A case is named after its path in the folder, without the ending. Folders and files
/// whose name starts with a dot are skipped, and so is `deviations`.
///
/// # Errors
/// All mistakes of all files: also names and titles that two files share.
pub fn load_folder(folder: &Path) -> Result<Vec<Case>, Vec<Mistake>> {
    let mut files = Vec::new();
    let mut mistakes = Vec::new();
    collect(folder, true, &mut files, &mut mistakes);
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut titles: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in files {
        let name = name_in(folder, &file);
        // Names that differ in case only are one file on some systems.
        if let Some(first) = names.insert(name.to_lowercase(), file.clone()) {
            mistakes.push(duplicate(&file, &first, &format!("the case name `{name}`")));
        }
        match Case::load_as(name, &file) {
            Ok(case) => {
                if let Some(first) = titles.insert(case.title.clone(), file.clone()) {
                    mistakes.push(duplicate(&file, &first, &format!("the title `{}`", case.title)));
                }
                cases.push(case);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    cases.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(cases)
}

fn duplicate(file: &Path, first: &Path, what: &str) -> Mistake {
    Mistake {
        file: file.to_owned(),
        at: Position::START,
        what: format!("{what} is also that of {}", first.display()),
        remedy: "give each case its own".to_owned(),
    }
}

/// The path of a file in the folder without its ending, with slashes.
fn name_in(folder: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    let parts = relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    parts.collect::<Vec<_>>().join("/")
}

fn collect(folder: &Path, top: bool, files: &mut Vec<PathBuf>, mistakes: &mut Vec<Mistake>) {
    let unreadable = |error: std::io::Error| Mistake {
        file: folder.to_owned(),
        at: Position::START,
        what: format!("cannot read the folder: {error}"),
        remedy: "check that it exists and that you may read it".to_owned(),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return mistakes.push(unreadable(error)),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return mistakes.push(unreadable(error)),
        };
        let name = entry.file_name();
        let path = entry.path();
        if name.to_string_lossy().starts_with('.') || (top && name == DEVIATIONS) {
            continue;
        }
        if path.is_dir() {
            collect(&path, false, files, mistakes);
        } else if path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
        {
            files.push(path);
        }
    }
}
