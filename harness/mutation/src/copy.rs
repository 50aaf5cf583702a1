//! A copy of files in which only what has changed is written: the rest is not built again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{BuildError, at};

/// What a folder is to hold, by paths below it.
#[derive(Default)]
pub struct Copy {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Copy {
    /// Adds a file or folder of `root` as it is.
    ///
    /// # Errors
    /// If something cannot be read.
    pub fn add(&mut self, root: &Path, name: &Path) -> Result<(), BuildError> {
        let path = root.join(name);
        if !path.is_dir() {
            self.files.insert(name.to_owned(), at(&path, fs::read(&path))?);
            return Ok(());
        }
        for entry in at(&path, fs::read_dir(&path))? {
            let entry = at(&path, entry)?;
            self.add(root, &name.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Puts a text in a place.
    pub fn put(&mut self, name: impl Into<PathBuf>, text: impl Into<String>) {
        self.files.insert(name.into(), text.into().into_bytes());
    }

    /// Changes a text that is there.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&str) -> String) {
        if let Some(bytes) = self.files.get_mut(Path::new(name)) {
            *bytes = change(&String::from_utf8_lossy(bytes)).into_bytes();
        }
    }

    /// Makes a folder hold that, and nothing else in the folders that it has.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), BuildError> {
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            if fs::read(&path).is_ok_and(|known| known == *bytes) {
                continue;
            }
            if let Some(above) = path.parent() {
                at(above, fs::create_dir_all(above))?;
            }
            at(&path, fs::write(&path, bytes))?;
        }
        at(folder, self.remove_others(folder, Path::new("")))
    }

    fn remove_others(&self, folder: &Path, below: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder.join(below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            let path = entry.path();
            if path.is_dir() {
                self.remove_others(folder, &name)?;
            } else if !below.as_os_str().is_empty() && !self.files.contains_key(&name) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_copied_any_more_goes_and_what_stays_is_not_touched() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("a")).unwrap();
        fs::write(from.path().join("a/kept"), "kept").unwrap();
        fs::write(from.path().join("a/gone"), "gone").unwrap();
        let copied = || {
            let mut copy = Copy::default();
            copy.add(from.path(), Path::new("a")).unwrap();
            copy.put("a/put", "put");
            copy.change("a/kept", |text| format!("{text} and changed"));
            copy.write(to.path()).unwrap();
        };
        copied();
        let kept = to.path().join("a/kept");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept and changed");
        assert!(to.path().join("a/gone").exists());
        let touched = fs::metadata(&kept).unwrap().modified().unwrap();
        fs::remove_file(from.path().join("a/gone")).unwrap();
        copied();
        assert!(!to.path().join("a/gone").exists());
        assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), touched);
    }
}
