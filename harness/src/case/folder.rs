//! A folder of cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Case;
use super::mistake::{Mistake, Position};

/// Folder under the cases that holds the known deviations of targets, not cases.
const DEVIATIONS: &str = "deviations";

/// What came of reading a folder of cases.
#[derive(Clone, Debug, Default)]
pub struct CaseFolder {
    /// The cases of the files without mistakes, sorted by name.
    pub cases: Vec<Case>,
    /// The files with mistakes, sorted by name.
    pub bad: Vec<BadFile>,
    /// Folders that cannot be read, so that nobody knows which cases are in them.
    pub unreadable: Vec<Mistake>,
}

/// A file that should be a case and has mistakes.
#[derive(Clone, Debug)]
pub struct BadFile {
    /// Name that the case would have.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its mistakes, in their order; never empty.
    pub mistakes: Vec<Mistake>,
}

impl CaseFolder {
    /// Reads every case file (`*.yaml`) of a folder and its folders.
    ///
    /// A case is named after its path in the folder, without the ending. Folders and files
    /// whose name starts with a dot are skipped, and so is `deviations`. A name or a title that
    /// two files share is a mistake of the second, and an ending that is almost `.yaml` is one.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut read = Self::default();
        let mut files = Vec::new();
        collect(folder, true, &mut files, &mut read.unreadable);
        files.sort();
        let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut titles: BTreeMap<String, PathBuf> = BTreeMap::new();
        for file in files {
            let name = name_in(folder, &file);
            let mut mistakes = Vec::new();
            mistakes.extend(wrong_ending(&file));
            // Names that differ in case only are one file on some systems.
            if let Some(first) = names.insert(name.to_lowercase(), file.clone()) {
                mistakes.push(duplicate(&file, &first, &format!("the case name `{name}`")));
            }
            match Case::load_as(name.clone(), &file) {
                Ok(case) => {
                    if let Some(first) = titles.insert(case.title.clone(), file.clone()) {
                        mistakes.push(duplicate(&file, &first, &format!("the title `{}`", case.title)));
                    }
                    if mistakes.is_empty() {
                        read.cases.push(case);
                    }
                }
                Err(found) => mistakes.extend(found),
            }
            if !mistakes.is_empty() {
                read.bad.push(BadFile { name, file, mistakes });
            }
        }
        read.cases.sort_by(|one, two| one.name.cmp(&two.name));
        read.bad.sort_by(|one, two| one.name.cmp(&two.name));
        read
    }
}

impl BadFile {
    /// A case that shares with another file what only one may have.
    #[must_use]
    pub fn shared(case: &Case, what: &str, first: &Path) -> Self {
        Self {
            name: case.name.clone(),
            file: case.file.clone(),
            mistakes: vec![duplicate(&case.file, first, what)],
        }
    }
}

/// Reads every case file of a folder and its folders; all of them must be right.
///
/// # Errors
/// All mistakes of all files.
pub fn load_folder(folder: &Path) -> Result<Vec<Case>, Vec<Mistake>> {
    let read = CaseFolder::read(folder);
    let bad = read.bad.into_iter().flat_map(|bad| bad.mistakes);
    let mistakes: Vec<Mistake> = read.unreadable.into_iter().chain(bad).collect();
    if mistakes.is_empty() {
        Ok(read.cases)
    } else {
        Err(mistakes)
    }
}

/// What is wrong with the ending of a file that holds YAML, if it is not the one that is read.
#[must_use]
pub fn wrong_ending(file: &Path) -> Option<Mistake> {
    let ending = file.extension()?.to_string_lossy().into_owned();
    let is_yaml = ["yaml", "yml"]
        .iter()
        .any(|yaml| ending.eq_ignore_ascii_case(yaml));
    (is_yaml && ending != "yaml").then(|| Mistake {
        file: file.to_owned(),
        at: Position::START,
        what: format!("files that end in `.{ending}` are not read"),
        remedy: "let its name end in `.yaml`".to_owned(),
    })
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
        } else if path.extension().is_some_and(|ending| ending == "yaml") || wrong_ending(&path).is_some() {
            files.push(path);
        }
    }
}
