//! The emulator that kernels are booted under.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::{self, Apt, Installed};
use super::contents::{self, Read};
use super::sources::Archives;
use super::{Architecture, Cache, Provision, ProvisionError, command};

/// Folders below the root of an unpacked package that hold its shared libraries.
const LIBRARY_FOLDERS: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
];
/// Folders that hold firmware.
const DATA_FOLDERS: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// The release with which the suite was tested; what its processors do wrong is listed for it
/// (`processor: qemu-tcg =10.0` in deviation files).
pub const TESTED: &str = "10.0";

/// A QEMU that was seen to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    architecture: Architecture,
    program: PathBuf,
    /// Root of the unpacked packages, if it is not installed.
    root: Option<PathBuf>,
    version: String,
}

impl Qemu {
    /// The one that is installed.
    pub(super) fn installed(architecture: Architecture) -> Result<Self, ProvisionError> {
        Self::checked(architecture, PathBuf::from(architecture.qemu_program()), None)
    }

    /// The one that was unpacked below `root`.
    pub(super) fn unpacked(architecture: Architecture, root: &Path) -> Result<Self, ProvisionError> {
        let missing = ProvisionError::QemuMissing(architecture);
        Provision::Qemu(architecture).verify(root, Read::WhatChanged, missing)?;
        let program = root.join("usr/bin").join(architecture.qemu_program());
        Self::checked(architecture, program, Some(root.to_owned()))
    }

    fn checked(
        architecture: Architecture,
        program: PathBuf,
        root: Option<PathBuf>,
    ) -> Result<Self, ProvisionError> {
        let mut qemu = Self {
            architecture,
            program,
            root,
            version: String::new(),
        };
        let output = command::output(qemu.command(&[]).arg("--version"))?;
        let first = output.lines().next().unwrap_or_default();
        first
            .trim_start_matches("QEMU emulator version ")
            .clone_into(&mut qemu.version);
        Ok(qemu)
    }

    /// What it emulates.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Version, for instance `10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that starts it through `launcher` (a program and its arguments; may be
    /// empty), with the options that make it find its libraries and firmware.
    #[must_use]
    pub fn command(&self, launcher: &[&str]) -> Command {
        let mut command = match launcher {
            [] => Command::new(&self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        if let Some(root) = &self.root {
            let mut folders: Vec<PathBuf> = LIBRARY_FOLDERS.iter().map(|folder| root.join(folder)).collect();
            let inherited = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            folders.extend(std::env::split_paths(&inherited).filter(|path| !path.as_os_str().is_empty()));
            let joined = std::env::join_paths(folders).unwrap_or_else(|_| OsString::new());
            command.env("LD_LIBRARY_PATH", joined);
            for folder in DATA_FOLDERS {
                command.arg("-L").arg(root.join(folder));
            }
        }
        command
    }
}

/// Downloads and unpacks QEMU unless it is there already.
pub(super) fn fetch(
    cache: &Cache,
    archives: &Archives,
    architecture: Architecture,
    progress: &mut dyn FnMut(&str),
) -> Result<Qemu, ProvisionError> {
    let release = &archives.release;
    let backports = format!("{release}-backports");
    let suites = [release.clone(), format!("{release}-updates"), backports.clone()];
    let sources: String = suites.iter().map(|suite| archives.main.line_for(suite)).collect();
    // Its own packages are for this machine, whatever it emulates.
    let folder = cache.folder().join("apt/qemu");
    let apt = Apt::open(folder, &sources, Installed::AsOnMachine, Architecture::X86)?;
    let package = architecture.qemu_package();
    // What an interrupted call downloaded may be of another version by now.
    remove_packages(&apt.archives())?;
    progress("qemu: reading package lists");
    apt.update()?;
    progress(&format!("qemu: downloading {package}"));
    if apt.download_with_dependencies(package, None).is_err() {
        // A machine that carries parts of QEMU from backports cannot take the rest from
        // the release. If this fails, too, it is the error that matters.
        progress("qemu: the release's version does not fit this machine; trying backports");
        apt.download_with_dependencies(package, Some(&backports))?;
    }
    progress("qemu: unpacking");
    let part = cache.part()?;
    let root = part.path().join("root");
    apt::unpack_all(&apt.archives(), &root)?;
    contents::record(&root)?;
    let before = Qemu::unpacked(architecture, &root)?;
    let home = cache.qemu_folder(architecture);
    super::replace(&root, &home)?;
    progress(&format!("qemu for {architecture}: {}", before.version));
    // The packages are as large as what came out of them, and never needed again.
    remove_packages(&apt.archives())?;
    Qemu::unpacked(architecture, &home)
}

fn remove_packages(folder: &Path) -> Result<(), ProvisionError> {
    let io = |source| ProvisionError::io("clear", folder, source);
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}
