//! Xen: the hypervisor of the machine's own Debian release.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::apt::{self, Apt, Installed, Package};
use super::contents::{self, Read};
use super::sources::Archives;
use super::{Architecture, BadKernelName, Cache, KernelName, Provision, ProvisionError, command, space};

/// File in the folder that says which Xen it is.
const MANIFEST: &str = "xen.json";
/// Extended regular expression for the packages that hold a hypervisor.
const PACKAGES: &str = r"^xen-hypervisor-[0-9.]+-amd64$";
/// Name of the image in the cache.
const IMAGE: &str = "xen";

/// A Xen that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xen {
    /// Version of the package, for instance `4.17.5+72-g01140da4e8-1`.
    pub version: String,
    /// The image, an ELF file that is loaded as multiboot says.
    pub image: PathBuf,
}

/// What can be provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootable {
    /// A kernel whose KVM is tested.
    Kernel(KernelName),
    /// Xen.
    Xen,
}

impl FromStr for Bootable {
    type Err = BadKernelName;
    fn from_str(text: &str) -> Result<Self, BadKernelName> {
        match text {
            "xen" => Ok(Self::Xen),
            _ => text.parse().map(Self::Kernel),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: String,
}

impl Xen {
    /// Reads a folder that [`fetch`] wrote.
    pub(super) fn from_manifest(folder: &Path) -> Result<Self, ProvisionError> {
        Provision::Xen.verify(folder, Read::Everything, ProvisionError::XenMissing)?;
        let manifest: Manifest = Provision::Xen.manifest(folder, MANIFEST)?;
        Ok(Self {
            version: manifest.version,
            image: folder.join(IMAGE),
        })
    }
}

/// Finds or fetches Xen, of the release that the machine runs, and QEMU. What is there already is not
/// fetched again.
///
/// `progress` is called with one line before each step that takes long.
///
/// # Errors
/// If something can neither be found nor fetched.
pub fn provision_xen(cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Xen, ProvisionError> {
    super::provision(cache, &[], progress)?;
    match cache.xen() {
        Ok(found) => return Ok(found),
        Err(why) => super::tell_damage(&why, progress),
    }
    let _lock = cache.lock()?;
    space::check(cache.folder(), space::NEEDED)?;
    let archives = Archives::of_machine(Path::new("/")).ok_or(ProvisionError::NoArchive)?;
    fetch(cache, &archives, progress)
}

fn fetch(cache: &Cache, archives: &Archives, progress: &mut dyn FnMut(&str)) -> Result<Xen, ProvisionError> {
    let suite = &archives.release;
    progress(&format!("{suite}: reading package lists"));
    let folder = cache.folder().join("apt").join(suite);
    let apt = Apt::open(
        folder,
        &archives.main.line_for(suite),
        Installed::Nothing,
        Architecture::X86,
    )?;
    apt.update()?;
    let mut newest: Option<Package> = None;
    for package in apt.matching(PACKAGES)? {
        let newer = match &newest {
            Some(best) => apt::later(&package.version, &best.version)?,
            None => true,
        };
        if newer {
            newest = Some(package);
        }
    }
    let package = newest.ok_or_else(|| ProvisionError::NoXen { suite: suite.clone() })?;
    progress(&format!("xen: downloading {}", package.version));
    let part = cache.part()?;
    let finished = part.path().join("xen");
    let root = part.path().join("root");
    fs::create_dir(&finished).map_err(|source| ProvisionError::io("create", &finished, source))?;
    apt.download(std::slice::from_ref(&package), part.path())?;
    progress("xen: unpacking");
    apt::unpack_all(part.path(), &root)?;
    unpack_image(&root.join("boot"), &finished.join(IMAGE))?;
    let manifest = Manifest {
        version: package.version,
    };
    let path = finished.join(MANIFEST);
    let text = serde_json::to_string(&manifest)
        .map_err(|source| ProvisionError::io("write", &path, source.into()))?;
    fs::write(&path, text).map_err(|source| ProvisionError::io("write", &path, source))?;
    contents::record(&finished)?;
    super::replace(&finished, &cache.xen_folder())?;
    let xen = cache.xen()?;
    progress(&format!("xen: {}", xen.version));
    Ok(xen)
}

/// Unpacks the one `xen-*.gz` of a folder: QEMU loads no packed image. Debian has gzip wherever it
/// has dpkg.
fn unpack_image(boot: &Path, image: &Path) -> Result<(), ProvisionError> {
    let entries = fs::read_dir(boot).map_err(|source| ProvisionError::io("list", boot, source))?;
    let packed = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"));
    let packed = packed.ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::NotFound, "no packed image");
        ProvisionError::io("find Xen in", boot, source)
    })?;
    command::output(Command::new("gzip").arg("-d").arg(&packed))?;
    let unpacked = packed.with_extension("");
    fs::rename(&unpacked, image).map_err(|source| ProvisionError::io("move", &unpacked, source))
}
