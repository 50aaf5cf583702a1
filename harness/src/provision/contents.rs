//! What a folder of the cache held when it was made: every file with its size and SHA-256.
//!
//! A disk that was full, a copy that was cut short or an edited file is to be found out before a kernel is
//! booted from it, since afterwards it looks like a fault of the kernel.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ProvisionError;

/// File in every folder that says what else is in it. It is written last.
const LIST: &str = "contents.json";

/// What is read of files whose size and time of change are those of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it: tens of MiB, in less than a tenth of a second.
    Everything,
    /// Nothing: hundreds of MiB would take longer than what they are needed for. Only files that were
    /// changed or copied since are read.
    WhatChanged,
}

/// Why a folder is not what it was.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There is a folder, but no list of what it holds.
    #[error("has no list of its files, {LIST}")]
    NoList,
    /// The list, or the description of what the folder holds, makes no sense.
    #[error("holds {file}, which cannot be understood ({source})")]
    NotUnderstood {
        /// The file, below the folder.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file is not there.
    #[error("lacks {file}")]
    Missing {
        /// The file, below the folder.
        file: PathBuf,
    },
    /// A file was cut short, or has grown.
    #[error("holds {size} bytes of {file}, which has {whole}")]
    Size {
        /// The file, below the folder.
        file: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size that it had in bytes.
        whole: u64,
    },
    /// A file has other contents.
    #[error("holds {file} with other contents than were put there")]
    Changed {
        /// The file, below the folder.
        file: PathBuf,
    },
    /// A symbolic link leads elsewhere.
    #[error("holds {file}, which leads elsewhere than it did")]
    Link {
        /// The link, below the folder.
        file: PathBuf,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    /// By path below the folder.
    files: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Link {
        leads_to: PathBuf,
    },
    File {
        size: u64,
        sha256: String,
        /// Time of the last change, in nanoseconds since 1970.
        changed: u64,
    },
}

/// Writes the list of a folder that is finished.
///
/// # Errors
/// If a file cannot be read or the list not be written.
pub(super) fn record(folder: &Path) -> Result<(), ProvisionError> {
    let mut files = BTreeMap::new();
    collect(folder, Path::new(""), &mut files)?;
    let path = folder.join(LIST);
    let text = serde_json::to_string_pretty(&List { files }).map_err(io::Error::from);
    text.and_then(|text| fs::write(&path, text + "\n"))
        .map_err(|source| ProvisionError::io("write", &path, source))
}

/// Compares a folder with its list. `None` if there is no such folder; otherwise the first damage found,
/// if any.
///
/// # Errors
/// If a file is there and cannot be read.
pub(super) fn verify(folder: &Path, read: Read) -> Result<Option<Result<(), Damage>>, ProvisionError> {
    let path = folder.join(LIST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::metadata(folder) {
                Ok(_) => Ok(Some(Err(Damage::NoList))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(ProvisionError::io("read", folder, source)),
            };
        }
        Err(source) => return Err(ProvisionError::io("read", &path, source)),
    };
    let list: List = match serde_json::from_slice(&text) {
        Ok(list) => list,
        Err(source) => {
            let file = PathBuf::from(LIST);
            return Ok(Some(Err(Damage::NotUnderstood { file, source })));
        }
    };
    for (file, entry) in &list.files {
        if let Some(damage) = compare(folder, file, entry, read)? {
            return Ok(Some(Err(damage)));
        }
    }
    Ok(Some(Ok(())))
}

fn compare(folder: &Path, file: &Path, entry: &Entry, read: Read) -> Result<Option<Damage>, ProvisionError> {
    let path = folder.join(file);
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            let file = file.to_owned();
            return Ok(Some(Damage::Missing { file }));
        }
        Err(source) => return Err(ProvisionError::io("read", &path, source)),
    };
    let file = file.to_owned();
    match entry {
        Entry::Link { leads_to } => {
            let same = fs::read_link(&path).is_ok_and(|target| target == *leads_to);
            Ok((!same).then_some(Damage::Link { file }))
        }
        Entry::File { .. } if !metadata.is_file() => Ok(Some(Damage::Changed { file })),
        Entry::File { size: whole, .. } if metadata.len() != *whole => Ok(Some(Damage::Size {
            file,
            size: metadata.len(),
            whole: *whole,
        })),
        Entry::File { changed, .. } if read == Read::WhatChanged && changed_at(&metadata) == *changed => {
            Ok(None)
        }
        Entry::File { sha256, .. } => Ok((digest(&path)? != *sha256).then_some(Damage::Changed { file })),
    }
}

fn collect(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Entry>) -> Result<(), ProvisionError> {
    let here = folder.join(below);
    let list = |source| ProvisionError::io("list", &here, source);
    for item in fs::read_dir(&here).map_err(list)? {
        let item = item.map_err(list)?;
        let file = below.join(item.file_name());
        let path = item.path();
        let metadata =
            fs::symlink_metadata(&path).map_err(|source| ProvisionError::io("read", &path, source))?;
        if metadata.is_dir() {
            collect(folder, &file, files)?;
            continue;
        }
        let entry = if metadata.is_symlink() {
            let leads_to =
                fs::read_link(&path).map_err(|source| ProvisionError::io("read", &path, source))?;
            Entry::Link { leads_to }
        } else {
            Entry::File {
                size: metadata.len(),
                sha256: digest(&path)?,
                changed: changed_at(&metadata),
            }
        };
        files.insert(file, entry);
    }
    Ok(())
}

fn changed_at(metadata: &fs::Metadata) -> u64 {
    let time = metadata.modified().ok();
    let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0))
}

fn digest(path: &Path) -> Result<String, ProvisionError> {
    let read = |source| ProvisionError::io("read", path, source);
    let mut file = File::open(path).map_err(read)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read(error)),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file, a link and a folder, and its list.
    fn recorded() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("modules")).unwrap();
        fs::write(folder.path().join("modules/kvm.ko"), "module").unwrap();
        fs::write(folder.path().join("vmlinuz"), [7; 1000]).unwrap();
        std::os::unix::fs::symlink("vmlinuz", folder.path().join("link")).unwrap();
        record(folder.path()).unwrap();
        folder
    }

    /// What both ways of reading say after `change`.
    fn after(change: impl Fn(&Path)) -> [String; 2] {
        [Read::Everything, Read::WhatChanged].map(|read| {
            let folder = recorded();
            assert!(
                matches!(verify(folder.path(), read), Ok(Some(Ok(())))),
                "{read:?}"
            );
            change(folder.path());
            match verify(folder.path(), read) {
                Ok(Some(Err(damage))) => damage.to_string(),
                other => panic!("{other:?} with {read:?}"),
            }
        })
    }

    #[test]
    fn every_damage_is_found_and_names_the_file() {
        let cut = after(|folder| fs::write(folder.join("vmlinuz"), [7; 500]).unwrap());
        assert_eq!(
            cut,
            ["holds 500 bytes of vmlinuz, which has 1000"; 2].map(str::to_owned)
        );
        let empty = after(|folder| fs::write(folder.join("vmlinuz"), "").unwrap());
        assert_eq!(
            empty,
            ["holds 0 bytes of vmlinuz, which has 1000"; 2].map(str::to_owned)
        );
        let flipped = after(|folder| {
            let mut bytes = [7; 1000];
            bytes[600] = 6;
            fs::write(folder.join("vmlinuz"), bytes).unwrap();
        });
        let text = "holds vmlinuz with other contents than were put there";
        assert_eq!(flipped, [text; 2].map(str::to_owned));
        let gone = after(|folder| fs::remove_dir_all(folder.join("modules")).unwrap());
        assert_eq!(gone, ["lacks modules/kvm.ko"; 2].map(str::to_owned));
        let led_away = after(|folder| {
            fs::remove_file(folder.join("link")).unwrap();
            std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
        });
        assert!(
            led_away[0].contains("link, which leads elsewhere"),
            "{led_away:?}"
        );
        let unlisted = after(|folder| fs::remove_file(folder.join(LIST)).unwrap());
        assert!(unlisted[0].contains("no list"), "{unlisted:?}");
        let torn = after(|folder| fs::write(folder.join(LIST), "{ \"files\"").unwrap());
        assert!(torn[0].contains("cannot be understood"), "{torn:?}");
    }

    #[test]
    fn a_byte_that_changed_without_a_trace_is_found_by_reading_everything() {
        let folder = recorded();
        let path = folder.path().join("vmlinuz");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, [8; 1000]).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        assert!(matches!(
            verify(folder.path(), Read::Everything),
            Ok(Some(Err(Damage::Changed { .. })))
        ));
        assert!(matches!(
            verify(folder.path(), Read::WhatChanged),
            Ok(Some(Ok(())))
        ));
    }

    #[test]
    fn a_copy_with_other_times_is_whole() {
        let folder = recorded();
        File::options()
            .append(true)
            .open(folder.path().join("vmlinuz"))
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        assert!(matches!(
            verify(folder.path(), Read::WhatChanged),
            Ok(Some(Ok(())))
        ));
    }

    #[test]
    fn what_never_was_there_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            verify(&folder.path().join("none"), Read::Everything),
            Ok(None)
        ));
    }
}
