//! The root file system of a booted kernel: this program as its init, the shared objects
//! it needs, the kernel modules, and the job (Linux
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cpio::newc;

use super::frame::Job;
use crate::provision::elf::Elf;
use crate::provision::{Kernel, ProvisionError, module};

/// Where the agent finds its job.
pub(super) const JOB: &str = "/job";
/// Where the agent finds the modules; their names sort in the order in which they load.
pub(super) const MODULES: &str = "/modules";

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub(super) enum InitramfsError {
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} cannot be the init program: {problem}")]
    Executable { path: PathBuf, problem: String },
    #[error(transparent)]
    Module(#[from] ProvisionError),
    #[error("cannot write the archive: {0}")]
    Archive(#[from] io::Error),
    #[error("cannot encode the scenarios: {0}")]
    Job(#[from] postcard::Error),
}

/// An archive without the job and the trailer, which [`Base::with_job`] adds: the same
/// one serves several boots.
pub(super) struct Base {
    archive: Archive,
    library_folders: String,
}

impl Base {
    /// Packs everything but the job.
    pub fn new(executable: &Path, kernel: &Kernel) -> Result<Self, InitramfsError> {
        let mut archive = Archive::default();
        // The kernel opens /dev/console for init before init could mount anything, and
        // Rust's runtime opens /dev/null for every standard stream that is closed.
        archive.folder("dev")?;
        archive.device("dev/console", 5, 1)?;
        archive.device("dev/null", 1, 3)?;
        for folder in ["proc", "sys", "tmp"] {
            archive.folder(folder)?;
        }
        let (init, objects) = executable_and_objects(executable)?;
        archive.file("init", &init)?;
        let mut folders = BTreeSet::new();
        for object in &objects {
            let contents = read(object)?;
            archive.file_at(object, &contents)?;
            folders.extend(
                object
                    .parent()
                    .map(|folder| folder.to_string_lossy().into_owned()),
            );
        }
        for (index, path) in kernel.modules.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.split(".ko").next().unwrap_or_default();
            let path_inside = format!("{MODULES}/{index:03}-{stem}.ko");
            archive.file_at(Path::new(&path_inside), &module::read(path)?)?;
        }
        Ok(Self {
            archive,
            library_folders: folders.into_iter().collect::<Vec<_>>().join(":"),
        })
    }

    /// Folders of shared objects, separated by colons; empty for a static executable.
    ///
    /// The dynamic linker of the guest has no cache file, and which folders it looks
    /// into by itself differs between distributions.
    pub fn library_folders(&self) -> &str {
        &self.library_folders
    }

    /// The complete archive.
    pub fn with_job(&self, job: &Job) -> Result<Vec<u8>, InitramfsError> {
        let mut archive = self.archive.clone();
        archive.file_at(Path::new(JOB), &postcard::to_stdvec(job)?)?;
        Ok(newc::trailer(archive.bytes)?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    fs::read(path).map_err(|source| InitramfsError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// The part of an executable that is loaded, and the paths of the interpreter and the
/// shared objects that it is linked to.
fn executable_and_objects(path: &Path) -> Result<(Vec<u8>, Vec<PathBuf>), InitramfsError> {
    let bad = |problem: String| InitramfsError::Executable {
        path: path.to_owned(),
        problem,
    };
    let contents = read(path)?;
    let elf = Elf::parse(&contents).map_err(|error| bad(error.to_string()))?;
    let part = elf.loadable_part().map_err(|error| bad(error.to_string()))?;
    let Some(interpreter) = elf.interpreter().map_err(|error| bad(error.to_string()))? else {
        return Ok((part, Vec::new()));
    };
    // The dynamic linker itself says what it would load; so do glibc's and musl's.
    let output = Command::new(&interpreter).arg("--list").arg(path).output();
    let output = output.map_err(|source| InitramfsError::Io {
        action: "start",
        path: PathBuf::from(&interpreter),
        source,
    })?;
    let listing = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || listing.contains("=> not found") {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(bad(format!(
            "its shared objects cannot be found:\n{listing}{errors}"
        )));
    }
    let mut objects = vec![PathBuf::from(interpreter)];
    for object in listed_objects(&listing) {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    Ok((part, objects))
}

/// Paths in lines such as `libc.so.6 => /lib/libc.so.6 (0x7f...)`. Lines without an arrow
/// are the interpreter, which is known, and the vDSO, which is no file.
fn listed_objects(listing: &str) -> impl Iterator<Item = PathBuf> {
    listing.lines().filter_map(|line| {
        let (_, target) = line.split_once("=> ")?;
        let (path, _) = target.rsplit_once(" (")?;
        path.starts_with('/').then(|| PathBuf::from(path))
    })
}

/// A cpio archive being written, in the only format that the kernel reads (`newc`).
#[derive(Clone, Default)]
struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    fn entry(&mut self, entry: newc::Builder, contents: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let length = u32::try_from(contents.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut writer = entry.ino(self.entries).write(&mut self.bytes, length);
        writer.write_all(contents)?;
        writer.finish().map(drop)
    }

    fn folder(&mut self, name: &str) -> io::Result<()> {
        if !self.folders.insert(PathBuf::from(name)) {
            return Ok(());
        }
        let entry = newc::Builder::new(name).mode(0o755);
        self.entry(entry.set_mode_file_type(newc::ModeFileType::Directory), &[])
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        let entry = newc::Builder::new(name)
            .mode(0o600)
            .rdev_major(major)
            .rdev_minor(minor);
        self.entry(entry.set_mode_file_type(newc::ModeFileType::Char), &[])
    }

    fn file(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        let entry = newc::Builder::new(name).mode(0o755);
        self.entry(entry.set_mode_file_type(newc::ModeFileType::Regular), contents)
    }

    /// A file at an absolute path, with the folders above it.
    fn file_at(&mut self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let name = |path: &Path| {
            let bytes = path.as_os_str().as_bytes();
            let relative = bytes.strip_prefix(b"/").unwrap_or(bytes);
            String::from_utf8(relative.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
        };
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let folder = name(folder)?;
            if !folder.is_empty() {
                self.folder(&folder)?;
            }
        }
        self.file(&name(path)?, contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::KernelName;
    use crate::target::RunOptions;

    fn names(mut archive: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let reader = newc::Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                return names;
            }
            names.push(reader.entry().name().to_owned());
            archive = reader.finish().unwrap();
        }
    }

    #[test]
    fn everything_the_agent_needs_is_there_and_folders_come_first() {
        let executable = std::env::current_exe().unwrap();
        let kernel = Kernel {
            name: KernelName::Path("x".into()),
            release: String::new(),
            package: None,
            image: PathBuf::new(),
            modules: Vec::new(),
        };
        let base = Base::new(&executable, &kernel).unwrap();
        let job = Job {
            options: RunOptions::default(),
            scenarios: Vec::new(),
        };
        let names = names(&base.with_job(&job).unwrap());
        for wanted in ["dev/console", "dev/null", "init", "job"] {
            assert!(
                names.iter().any(|name| name == wanted),
                "{wanted} is missing: {names:?}"
            );
        }
        let (_, objects) = executable_and_objects(&executable).unwrap();
        for object in objects {
            let inside = object.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
            let at = names.iter().position(|name| *name == inside).unwrap();
            let folder = inside.rsplit_once('/').unwrap().0;
            assert!(names[..at].iter().any(|name| name == folder), "{folder}");
        }
    }

    #[test]
    fn listings_of_the_dynamic_linker() {
        let listing =
            "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f1)\n\t/lib64/ld.so (0x7f2)\n";
        let objects: Vec<_> = listed_objects(listing).collect();
        assert_eq!(objects, [PathBuf::from("/lib/x/libc.so.6")]);
    }

    #[test]
    fn what_is_no_executable_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let error = executable_and_objects(file.path()).unwrap_err().to_string();
        assert!(error.contains("init program"), "{error}");
    }
}
