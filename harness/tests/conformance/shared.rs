//! What one process of a test run has found out, for the other processes of the same run.
//!
//! cargo-nextest runs every trial in a process of its own, and tells them all the identifier of the run
//! (NEXTEST_RUN_ID). Nothing of one run is ever seen by another: what was true of a kernel, a module or a device
//! then need not be now, and no key can say so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Folders of other runs that were not touched for so long are removed. A run that is still going on keeps its own.
const KEPT: Duration = Duration::from_hours(1);

/// A test run of several processes, with its folder.
pub struct SharedRun {
    folder: PathBuf,
}

impl SharedRun {
    /// The run with that identifier, which is a part of the name of its folder below `parent`. None if it is no
    /// identifier: then nothing is shared.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(parent: &Path, id: &str) -> io::Result<Option<Self>> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || !id.bytes().all(plain) {
            return Ok(None);
        }
        let folder = parent.join(id);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(parent)?.flatten() {
            let touched = entry.metadata().and_then(|metadata| metadata.modified());
            let age = touched
                .ok()
                .and_then(|time| time.elapsed().ok())
                .unwrap_or_default();
            let path = entry.path();
            if path != folder && age > KEPT {
                // Another process may be doing the same.
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        Ok(Some(Self { folder }))
    }

    /// What `find_out` gives, which only the first process of the run calls. The others wait for it.
    ///
    /// # Errors
    /// If the result cannot be read or written.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        key: u64,
        find_out: impl FnOnce() -> T,
    ) -> io::Result<T> {
        let path = self.folder.join(format!("{key:016x}"));
        let lock = File::create(path.with_extension("lock"))?;
        lock.lock()?;
        if let Ok(bytes) = fs::read(&path) {
            return postcard::from_bytes(&bytes).map_err(io::Error::other);
        }
        let found = find_out();
        let bytes = postcard::to_stdvec(&found).map_err(io::Error::other)?;
        let part = path.with_extension("part");
        fs::write(&part, bytes)?;
        fs::rename(&part, &path)?;
        Ok(found)
    }
}
