//! Finding or fetching what booted targets need: QEMU and kernels.
//!
//! Everything is kept in one cache folder and nothing else on the machine changes: no
//! package is installed and apt's own lists and configuration stay as they are.

mod agent;
mod apt;
mod architecture;
mod builds;
mod command;
mod contents;
mod debian;
pub(crate) mod elf;
mod error;
mod kernel;
pub mod module;
mod provisioned;
mod qemu;
mod sources;
mod space;
mod version;
mod xen;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use agent::Agent;
pub use architecture::Architecture;
pub use builds::Build;
pub use command::last_lines;
pub use contents::Damage;
pub use debian::{Listing, Reachable};
pub use error::ProvisionError;
pub use kernel::{BadKernelName, Kernel, KernelName};
pub use provisioned::Provision;
pub use qemu::{Qemu, TESTED};
pub use version::DebianVersion;
pub use xen::{BadBootable, BadXenSeries, Bootable, Xen, XenName, XenSeries, provision_xen};

/// Prefix of unfinished folders in the cache.
const PART: &str = "part-";

/// The environment variable that names the cache.
const VARIABLE: &str = "CONFORM_CACHE";

/// The folder in which QEMU and kernels are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The given folder; else `$CONFORM_CACHE`; else `.cache/conform` beside the
    /// workspace's Cargo.toml, at or above the current folder; else `conform` in the
    /// user's cache folder. Nothing is created yet.
    ///
    /// # Errors
    /// If the current folder cannot be found out, or if `$CONFORM_CACHE` names no folder: whoever
    /// sets it means one that was filled.
    pub fn open(folder: Option<PathBuf>) -> Result<Self, ProvisionError> {
        let named = folder.is_none() && variable(VARIABLE).is_some();
        let cache = Self::to_fill(folder)?;
        match fs::metadata(&cache.folder) {
            Err(source) if named && source.kind() == io::ErrorKind::NotFound => {
                Err(ProvisionError::NoSuchCache {
                    folder: cache.folder,
                    source,
                })
            }
            // One that may not be read is told where it is looked into.
            _ => Ok(cache),
        }
    }

    /// The same for a command that fills it, and so creates it where it is not there.
    ///
    /// # Errors
    /// If the current folder cannot be found out, or if something else is where the cache was named.
    pub fn to_fill(folder: Option<PathBuf>) -> Result<Self, ProvisionError> {
        let named = folder.or_else(|| variable(VARIABLE));
        let is_named = named.is_some();
        let chosen = named
            .or_else(|| workspace().map(|root| root.join(".cache/conform")))
            .or_else(|| variable("XDG_CACHE_HOME").map(|caches| caches.join("conform")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/conform")))
            .unwrap_or_else(|| PathBuf::from(".cache/conform"));
        // Commands run in other folders, so the path must not depend on the current one.
        let folder =
            std::path::absolute(&chosen).map_err(|source| ProvisionError::io("find", &chosen, source))?;
        let is_something_else = match fs::metadata(&folder) {
            Ok(metadata) => !metadata.is_dir(),
            Err(error) => error.kind() == io::ErrorKind::NotADirectory,
        };
        if is_named && is_something_else {
            let source = io::ErrorKind::NotADirectory.into();
            return Err(ProvisionError::NoSuchCache { folder, source });
        }
        Ok(Self { folder })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn qemu_folder(&self, architecture: Architecture) -> PathBuf {
        self.folder.join(match architecture {
            Architecture::X86 => "qemu",
            Architecture::Arm64 => "qemu-arm64",
        })
    }

    fn xen_folder(&self, name: XenName) -> PathBuf {
        self.folder.join(name.folder())
    }

    /// Whether the cache can be looked into. One that is not there yet can.
    ///
    /// # Errors
    /// If its folders cannot be listed: then nothing can be said about what was provisioned.
    pub fn is_readable(&self) -> Result<(), ProvisionError> {
        for folder in [self.folder.clone(), self.folder.join("kernels")] {
            match fs::read_dir(&folder) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ProvisionError::io("list", &folder, error)),
            }
        }
        Ok(())
    }

    /// Each Xen that was provisioned, that of the machine's release first; they may be damaged.
    #[must_use]
    pub fn xens(&self) -> Vec<XenName> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let name = |entry: fs::DirEntry| XenName::of_folder(&entry.file_name().into_string().ok()?);
        let mut names: Vec<XenName> = folders.filter_map(name).collect();
        names.sort_unstable();
        names
    }

    /// A Xen in the cache. Nothing is fetched.
    ///
    /// # Errors
    /// If it is not there or not usable.
    pub fn xen(&self, name: XenName) -> Result<Xen, ProvisionError> {
        Xen::from_manifest(name, &self.xen_folder(name))
    }

    fn kernel_folder(&self, name: &KernelName) -> PathBuf {
        self.folder
            .join("kernels")
            .join(name.to_string().replace(':', "-"))
    }

    /// The QEMU for x86-64 that is installed, else the one in the cache. Nothing is fetched.
    ///
    /// # Errors
    /// If there is none that runs.
    pub fn qemu(&self) -> Result<Qemu, ProvisionError> {
        self.qemu_for(Architecture::X86)
    }

    /// The same for any architecture.
    ///
    /// # Errors
    /// If there is none that runs.
    pub fn qemu_for(&self, architecture: Architecture) -> Result<Qemu, ProvisionError> {
        let installed = Qemu::installed(architecture);
        installed.or_else(|_| Qemu::unpacked(architecture, &self.qemu_folder(architecture)))
    }

    /// This program for arm64, as it was built for `kernel`. Nothing is built.
    ///
    /// # Errors
    /// If it was not built yet, or from other sources.
    pub fn agent(&self, kernel: &KernelName) -> Result<Agent, ProvisionError> {
        Agent::in_folder(&self.folder.join(agent::FOLDER), kernel)
    }

    /// Everything that was provisioned, and why what cannot be used cannot be. What was never
    /// provisioned is not in it; an emulator is if it is installed, or a kernel needs it.
    #[must_use]
    pub fn inventory(&self) -> Vec<(Provision, Result<(), ProvisionError>)> {
        let mut inventory = Vec::new();
        for architecture in [Architecture::X86, Architecture::Arm64] {
            let kernels = self.kernels(architecture);
            let qemu = self.qemu_for(architecture).map(drop);
            let needed = !kernels.is_empty() || !self.xens().is_empty() && architecture == Architecture::X86;
            if needed || !matches!(qemu, Err(ProvisionError::QemuMissing(_))) {
                inventory.push((Provision::Qemu(architecture), qemu));
            }
            for name in kernels {
                if architecture == Architecture::Arm64
                    && !inventory.iter().any(|(what, _)| *what == Provision::Agent)
                {
                    inventory.push((Provision::Agent, self.agent(&name).map(drop)));
                }
                let state = self.kernel(&name).map(drop);
                inventory.push((Provision::Kernel(name), state));
            }
        }
        for name in self.xens() {
            inventory.push((Provision::Xen(name), self.xen(name).map(drop)));
        }
        inventory
    }

    /// Debian kernels of an architecture that were provisioned, oldest first, a series before single
    /// builds of it. Those that are damaged since are among them: [`Self::kernel`] says how.
    #[must_use]
    pub fn kernels(&self, architecture: Architecture) -> Vec<KernelName> {
        let start = format!("{}debian:", architecture.prefix());
        let entries = fs::read_dir(self.folder.join("kernels"));
        let entries = entries.into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let version = file.strip_prefix(&start.replace(':', "-"))?;
            format!("{start}{version}").parse::<KernelName>().ok()
        });
        let mut names: Vec<KernelName> = names.collect();
        names.sort_by_key(KernelName::version);
        names
    }

    /// A kernel by path, or one in the cache. Nothing is fetched.
    ///
    /// # Errors
    /// If it is not there or not usable.
    pub fn kernel(&self, name: &KernelName) -> Result<Kernel, ProvisionError> {
        match name {
            KernelName::Path(path) => Kernel::from_path(path),
            KernelName::Debian { .. } => Kernel::from_manifest(name, &self.kernel_folder(name)),
        }
    }

    /// A new folder for unfinished things; it vanishes unless it is renamed.
    fn part(&self) -> Result<tempfile::TempDir, ProvisionError> {
        let folder = tempfile::Builder::new().prefix(PART).tempdir_in(&self.folder);
        folder.map_err(|source| ProvisionError::io("create a folder in", &self.folder, source))
    }

    /// Waits until no other process is provisioning into this cache, and removes what an
    /// interrupted one left.
    fn lock(&self) -> Result<File, ProvisionError> {
        let folder = &self.folder;
        fs::create_dir_all(folder.join("kernels"))
            .map_err(|source| ProvisionError::io("create", folder, source))?;
        let path = folder.join("lock");
        let file = File::create(&path).map_err(|source| ProvisionError::io("create", &path, source))?;
        file.lock()
            .map_err(|source| ProvisionError::io("lock", &path, source))?;
        let entries = fs::read_dir(folder).map_err(|source| ProvisionError::io("list", folder, source))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PART) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|source| ProvisionError::io("remove", &path, source))?;
            }
        }
        Ok(file)
    }
}

/// An environment variable that says something.
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Moves a finished folder to its place, over whatever is there.
fn replace(finished: &Path, home: &Path) -> Result<(), ProvisionError> {
    if home.exists() {
        fs::remove_dir_all(home).map_err(|source| ProvisionError::io("remove", home, source))?;
    }
    fs::rename(finished, home).map_err(|source| ProvisionError::io("move something to", home, source))
}

/// The folder of the workspace at or above the current folder.
fn workspace() -> Option<PathBuf> {
    let current = std::env::current_dir().ok()?;
    let is_workspace = |folder: &&Path| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
    };
    current.ancestors().find(is_workspace).map(Path::to_owned)
}

/// Everything that booting needs.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// An emulator for each architecture that a kernel is for; that for x86-64 if none was
    /// asked for.
    pub qemus: Vec<Qemu>,
    /// The kernels, in the order in which they were asked for.
    pub kernels: Vec<Kernel>,
    /// This program for arm64, if there is a kernel for it.
    pub agent: Option<Agent>,
}

/// The architectures of kernels, each once.
fn architectures(kernels: &[KernelName]) -> Vec<Architecture> {
    let mut architectures: Vec<Architecture> = kernels.iter().map(KernelName::architecture).collect();
    if architectures.is_empty() {
        architectures.push(Architecture::X86);
    }
    architectures.sort_unstable();
    architectures.dedup();
    architectures
}

/// Finds or fetches QEMU and the kernels. What is there already is not fetched again, so
/// that a second call is quick and needs no network.
///
/// `progress` is called with one line before each step that takes long.
///
/// # Errors
/// If something can neither be found nor fetched.
pub fn provision(
    cache: &Cache,
    kernels: &[KernelName],
    progress: &mut dyn FnMut(&str),
) -> Result<Provisioned, ProvisionError> {
    if let Ok(found) = find(cache, kernels) {
        return Ok(found);
    }
    // A path that leads nowhere is not to be found out after a long download.
    for name in kernels.iter().filter(|name| matches!(name, KernelName::Path(_))) {
        cache.kernel(name)?;
    }
    let _lock = cache.lock()?;
    space::check(cache.folder(), space::NEEDED)?;
    let archives = sources::Archives::of_machine(Path::new("/")).ok_or(ProvisionError::NoArchive);
    let mut qemus = Vec::new();
    for architecture in architectures(kernels) {
        qemus.push(match (cache.qemu_for(architecture), &archives) {
            (Ok(qemu), _) => qemu,
            (Err(why), Ok(archives)) => {
                tell_damage(&why, progress);
                qemu::fetch(cache, archives, architecture, progress)?
            }
            (Err(_), Err(_)) => return Err(ProvisionError::NoArchive),
        });
    }
    let mut suites = archives
        .as_ref()
        .ok()
        .map(|archives| debian::Suites::new(cache, archives));
    let mut found = Vec::new();
    for name in kernels {
        let kernel = match (cache.kernel(name), name, &mut suites) {
            (Ok(kernel), _, _) => kernel,
            (Err(error), KernelName::Path(_), _) => return Err(error),
            (
                Err(why),
                KernelName::Debian {
                    architecture,
                    version,
                },
                Some(suites),
            ) => {
                tell_damage(&why, progress);
                suites.fetch(*architecture, *version, progress)?
            }
            (Err(_), KernelName::Debian { .. }, None) => return Err(ProvisionError::NoArchive),
        };
        found.push(kernel);
    }
    let agent = match kernels.iter().find(|name| needs_agent(name)) {
        Some(name) => Some(cache.agent(name).or_else(|_| agent::build(cache, progress))?),
        None => None,
    };
    Ok(Provisioned {
        qemus,
        kernels: found,
        agent,
    })
}

/// What can be fetched of Debian's kernels: all builds of an architecture, and whether they have modules. Only
/// package lists are downloaded.
///
/// # Errors
/// If there is no archive, or the lists cannot be kept.
pub fn list_builds(
    cache: &Cache,
    architecture: Architecture,
    progress: &mut dyn FnMut(&str),
) -> Result<Listing, ProvisionError> {
    let _lock = cache.lock()?;
    space::check(cache.folder(), space::NEEDED)?;
    let archives = sources::Archives::of_machine(Path::new("/")).ok_or(ProvisionError::NoArchive)?;
    debian::Suites::new(cache, &archives).list(architecture, progress)
}

/// Says why something that is in the cache is fetched again.
fn tell_damage(why: &ProvisionError, progress: &mut dyn FnMut(&str)) {
    if matches!(why, ProvisionError::Damaged { .. }) {
        progress(&why.to_string());
    }
}

/// Whether this executable is none for the kernel.
fn needs_agent(name: &KernelName) -> bool {
    name.architecture() != Architecture::X86
}

fn find(cache: &Cache, kernels: &[KernelName]) -> Result<Provisioned, ProvisionError> {
    Ok(Provisioned {
        qemus: architectures(kernels)
            .into_iter()
            .map(|architecture| cache.qemu_for(architecture))
            .collect::<Result<_, _>>()?,
        agent: kernels
            .iter()
            .find(|name| needs_agent(name))
            .map(|name| cache.agent(name))
            .transpose()?,
        kernels: kernels
            .iter()
            .map(|name| cache.kernel(name))
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let name: KernelName = "debian:6.12".parse().unwrap();
        let error = cache.kernel(&name).unwrap_err().to_string();
        assert!(error.contains("conform provision debian:6.12"), "{error}");
        assert!(
            cache
                .inventory()
                .iter()
                .all(|(what, _)| *what != Provision::Kernel(name.clone()))
        );
    }

    /// A cache with a kernel of a few bytes.
    fn with_kernel() -> (tempfile::TempDir, Cache, KernelName) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let name: KernelName = "debian:6.12".parse().unwrap();
        let home = cache.kernel_folder(&name);
        fs::create_dir_all(&home).unwrap();
        let manifest =
            r#"{ "release": "6.12.1", "package": "1", "image": "vmlinuz", "modules": ["kvm.ko"] }"#;
        for (file, text) in [
            ("vmlinuz", "image"),
            ("kvm.ko", "module"),
            ("kernel.json", manifest),
        ] {
            fs::write(home.join(file), text).unwrap();
        }
        contents::record(&home).unwrap();
        (folder, cache, name)
    }

    #[test]
    fn a_damaged_kernel_is_listed_and_says_which_file_and_what_to_do() {
        for (file, text) in [
            ("vmlinuz", &b"ima"[..]),
            ("vmlinuz", b""),
            ("vmlinuz", b"imagf"),
            ("kvm.ko", b"mod"),
            ("kernel.json", b"{"),
            ("contents.json", b"{"),
        ] {
            let (_folder, cache, name) = with_kernel();
            cache.kernel(&name).unwrap();
            fs::write(cache.kernel_folder(&name).join(file), text).unwrap();
            let error = cache.kernel(&name).unwrap_err();
            assert!(matches!(error, ProvisionError::Damaged { .. }), "{error}");
            let error = error.to_string();
            assert!(error.contains(file), "{error}");
            assert!(error.contains("`conform provision debian:6.12`"), "{error}");
            assert_eq!(cache.kernels(Architecture::X86), std::slice::from_ref(&name));
            let listed = cache
                .inventory()
                .into_iter()
                .find(|(what, _)| *what == Provision::Kernel(name.clone()));
            assert!(matches!(listed, Some((_, Err(ProvisionError::Damaged { .. })))));
        }
    }

    #[test]
    fn a_damaged_xen_is_told_from_one_that_never_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        for name in [XenName(None), XenName(Some("4.20".parse().unwrap()))] {
            let missing = cache.xen(name);
            assert!(matches!(missing, Err(ProvisionError::XenMissing { name: told }) if told == name));
            let home = cache.xen_folder(name);
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join("xen.json"), r#"{ "version": "4" }"#).unwrap();
            fs::write(home.join("xen"), "image").unwrap();
            contents::record(&home).unwrap();
            cache.xen(name).unwrap();
            fs::write(home.join("xen"), "ima").unwrap();
            let error = cache.xen(name).unwrap_err();
            assert!(matches!(error, ProvisionError::Damaged { .. }));
            assert!(
                error.to_string().contains(&format!("`conform provision {name}`")),
                "{error}"
            );
            assert!(cache.xens().contains(&name));
        }
    }

    #[test]
    fn a_damaged_emulator_is_told_from_one_that_never_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Qemu::unpacked(Architecture::X86, &folder.path().join("qemu"));
        assert!(matches!(missing, Err(ProvisionError::QemuMissing(_))));
        fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        fs::write(folder.path().join("usr/bin/qemu-system-x86_64"), "program").unwrap();
        contents::record(folder.path()).unwrap();
        fs::remove_file(folder.path().join("usr/bin/qemu-system-x86_64")).unwrap();
        let damaged = Qemu::unpacked(Architecture::X86, folder.path())
            .unwrap_err()
            .to_string();
        assert!(damaged.contains("lacks usr/bin/qemu-system-x86_64"), "{damaged}");
    }

    #[test]
    fn the_lock_removes_what_an_interrupted_run_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().join("cache"))).unwrap();
        drop(cache.lock().unwrap());
        let (left, kept) = (
            cache.folder().join("part-x/y"),
            cache.folder().join("kernels/debian-1.0"),
        );
        fs::create_dir_all(&left).unwrap();
        fs::create_dir_all(&kept).unwrap();
        drop(cache.lock().unwrap());
        assert!(!left.exists() && kept.exists());
    }

    #[test]
    fn a_series_and_its_builds_have_places_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let names = [
            "debian:5.10",
            "debian:6.12",
            "debian:6.12.9",
            "debian:6.12.113",
            "debian:7.2",
        ];
        for name in names.iter().rev() {
            fs::create_dir_all(cache.kernel_folder(&name.parse().unwrap())).unwrap();
        }
        // Neither of another architecture nor anything else.
        for other in ["arm64-debian-6.12.1", "debian-6.12.x"] {
            fs::create_dir_all(folder.path().join("kernels").join(other)).unwrap();
        }
        let kernels = cache.kernels(Architecture::X86);
        assert_eq!(kernels.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
        let arm64 = cache.kernels(Architecture::Arm64);
        assert_eq!(arm64, ["arm64:debian:6.12.1".parse().unwrap()]);
    }

    #[test]
    fn replacing_a_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (new, home) = (folder.path().join("new"), folder.path().join("home"));
        fs::create_dir(&new).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(home.join("old"), "").unwrap();
        fs::write(new.join("file"), "").unwrap();
        replace(&new, &home).unwrap();
        assert!(home.join("file").exists() && !home.join("old").exists() && !new.exists());
    }
}
