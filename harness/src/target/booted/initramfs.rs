//! The root file system of a booted kernel: this program as its init, the shared objects
//! it needs, the kernel modules, and the job (Linux
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cpio::newc;

use super::frame::{JOB, Job, MODULES};
use crate::provision::elf::{EHDR_SIZE, Elf, NotElf};
use crate::provision::{Kernel, ProvisionError, module};

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

/// How much of an executable is read at first, in bytes: linkers put all headers there.
const HEADERS: u64 = 64 << 10;

/// What goes into the archive besides the job. The files are read when the archive is
/// written, the executable from the file that was opened first: it is far too large to be kept in memory beside the emulator.
pub(super) struct Contents {
    executable: Executable,
    modules: Vec<PathBuf>,
}

/// An executable that can run alone.
struct Executable {
    path: PathBuf,
    /// Open since it was looked at, so that every boot gets the same, whatever becomes of the path.
    file: File,
    /// Its file header, for a file without sections.
    header: [u8; EHDR_SIZE],
    /// Where the part that is loaded ends, in bytes.
    end: u64,
    /// Paths of the interpreter and of the shared objects that it is linked to.
    objects: Vec<PathBuf>,
}

impl Contents {
    /// Finds out what the archive has to hold.
    pub fn new(executable: &Path, kernel: &Kernel) -> Result<Self, InitramfsError> {
        Ok(Self {
            executable: Executable::new(executable)?,
            modules: kernel.modules.clone(),
        })
    }

    /// Folders of shared objects, separated by colons; empty for a static executable.
    ///
    /// The dynamic linker of the guest has no cache file, and which folders it looks
    /// into by itself differs between distributions.
    pub fn library_folders(&self) -> String {
        let parents = self
            .executable
            .objects
            .iter()
            .filter_map(|object| object.parent());
        let folders: BTreeSet<_> = parents.map(|folder| folder.to_string_lossy()).collect();
        folders.into_iter().collect::<Vec<_>>().join(":")
    }

    /// Writes the complete archive.
    pub fn write(&self, job: &Job, out: impl Write) -> Result<(), InitramfsError> {
        let mut archive = Archive::new(out);
        // The kernel opens /dev/console for init before init could mount anything, and
        // Rust's runtime opens /dev/null for every standard stream that is closed.
        archive.folder("dev")?;
        archive.device("dev/console", 5, 1)?;
        archive.device("dev/null", 1, 3)?;
        for folder in ["proc", "sys", "tmp"] {
            archive.folder(folder)?;
        }
        let (mut part, length) = self.executable.open()?;
        archive.file_at(Path::new("/init"), &mut part, length)?;
        for object in &self.executable.objects {
            let (mut file, length) = open(object)?;
            archive.file_at(object, &mut file, length)?;
        }
        for (index, path) in self.modules.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.split(".ko").next().unwrap_or_default();
            let path_inside = format!("{MODULES}/{index:03}-{stem}.ko");
            archive.bytes_at(Path::new(&path_inside), &module::read(path)?)?;
        }
        archive.bytes_at(Path::new(JOB), &job.encode()?)?;
        newc::trailer(archive.out)?.flush()?;
        Ok(())
    }
}

impl Executable {
    fn new(path: &Path) -> Result<Self, InitramfsError> {
        let (file, length) = open(path)?;
        let mut start = Vec::new();
        let part = (&file).take(HEADERS).read_to_end(&mut start);
        part.map_err(|source| cannot("read", path, source))?;
        let parsed = match parse(&start) {
            // Tools that rewrite executables move headers to the end.
            Err(_) if length > HEADERS => {
                parse(&fs::read(path).map_err(|source| cannot("read", path, source))?)
            }
            parsed => parsed,
        };
        let (header, end, interpreter) = parsed.map_err(|error| unfit(path, error.to_string()))?;
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        if end > length {
            return Err(unfit(path, "it is cut short".to_owned()));
        }
        let objects = match interpreter {
            Some(interpreter) => objects(path, &interpreter)?,
            None => Vec::new(),
        };
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            header,
            end,
            objects,
        })
    }

    /// The part that is loaded, and its length in bytes.
    fn open(&self) -> Result<(impl Read + '_, u64), InitramfsError> {
        let mut file = &self.file;
        let behind_header = self.header.len() as u64;
        file.seek(SeekFrom::Start(behind_header))
            .map_err(|source| cannot("read", &self.path, source))?;
        let rest = file.take(self.end.saturating_sub(behind_header));
        Ok((self.header.as_slice().chain(rest), self.end))
    }
}

/// The header of the part that is loaded, the end of that part, and the interpreter.
fn parse(start: &[u8]) -> Result<([u8; EHDR_SIZE], usize, Option<OsString>), NotElf> {
    let elf = Elf::parse(start)?;
    Ok((
        elf.header_without_sections()?,
        elf.loadable_end()?,
        elf.interpreter()?,
    ))
}

/// A file and its length in bytes.
fn open(path: &Path) -> Result<(File, u64), InitramfsError> {
    let file = File::open(path).map_err(|source| cannot("read", path, source))?;
    let metadata = file.metadata().map_err(|source| cannot("read", path, source))?;
    Ok((file, metadata.len()))
}

fn cannot(action: &'static str, path: &Path, source: io::Error) -> InitramfsError {
    let path = path.to_owned();
    InitramfsError::Io { action, path, source }
}

fn unfit(path: &Path, problem: String) -> InitramfsError {
    let path = path.to_owned();
    InitramfsError::Executable { path, problem }
}

/// The interpreter of an executable and the shared objects that it is linked to.
fn objects(path: &Path, interpreter: &OsStr) -> Result<Vec<PathBuf>, InitramfsError> {
    // The dynamic linker itself says what it would load; so do glibc's and musl's.
    let output = Command::new(interpreter).arg("--list").arg(path).output();
    let output = output.map_err(|source| cannot("start", Path::new(interpreter), source))?;
    let listing = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || listing.contains("=> not found") {
        let errors = String::from_utf8_lossy(&output.stderr);
        let problem = format!("its shared objects cannot be found:\n{listing}{errors}");
        return Err(unfit(path, problem));
    }
    let mut objects = vec![PathBuf::from(interpreter)];
    for object in listed_objects(&listing) {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    Ok(objects)
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
struct Archive<W> {
    out: W,
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            folders: BTreeSet::new(),
            entries: 0,
        }
    }

    fn entry(&mut self, entry: newc::Builder, contents: &mut dyn Read, length: u64) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut writer = entry.ino(self.entries).write(&mut self.out, size);
        if io::copy(contents, &mut writer)? != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        writer.finish().map(drop)
    }

    fn folder(&mut self, name: &str) -> io::Result<()> {
        if !self.folders.insert(PathBuf::from(name)) {
            return Ok(());
        }
        let entry = newc::Builder::new(name).mode(0o755);
        self.entry(
            entry.set_mode_file_type(newc::ModeFileType::Directory),
            &mut io::empty(),
            0,
        )
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        let entry = newc::Builder::new(name)
            .mode(0o600)
            .rdev_major(major)
            .rdev_minor(minor);
        self.entry(
            entry.set_mode_file_type(newc::ModeFileType::Char),
            &mut io::empty(),
            0,
        )
    }

    fn file(&mut self, name: &str, contents: &mut dyn Read, length: u64) -> io::Result<()> {
        let entry = newc::Builder::new(name).mode(0o755);
        self.entry(
            entry.set_mode_file_type(newc::ModeFileType::Regular),
            contents,
            length,
        )
    }

    fn bytes_at(&mut self, path: &Path, mut contents: &[u8]) -> io::Result<()> {
        let length = contents.len() as u64;
        self.file_at(path, &mut contents, length)
    }

    /// A file at an absolute path, with the folders above it.
    fn file_at(&mut self, path: &Path, contents: &mut dyn Read, length: u64) -> io::Result<()> {
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
        self.file(&name(path)?, contents, length)
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
        let contents = Contents::new(&executable, &kernel).unwrap();
        let job = Job {
            options: RunOptions::default(),
            probe: false,
            scenarios: Vec::new(),
            work: None,
            careful: false,
        };
        let mut archive = Vec::new();
        contents.write(&job, &mut archive).unwrap();
        let names = names(&archive);
        for wanted in ["dev/console", "dev/null", "init", "job"] {
            assert!(
                names.iter().any(|name| name == wanted),
                "{wanted} is missing: {names:?}"
            );
        }
        for object in &contents.executable.objects {
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
        let error = Executable::new(file.path()).err().unwrap().to_string();
        assert!(error.contains("init program"), "{error}");
    }
}
