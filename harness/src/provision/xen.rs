//! Xen: the hypervisor of the machine's own Debian release, or of a series that some release has.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::apt::{self, Apt, Installed, Package};
use super::contents::{self, Read};
use super::sources::Archives;
use super::{
    Architecture, BadKernelName, Cache, KernelName, Provision, ProvisionError, command, debian, space,
};

/// File in the folder that says which Xen it is.
const MANIFEST: &str = "xen.json";
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

/// A series of Xen, for instance 4.20, of which the newest build is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XenSeries {
    major: u16,
    minor: u16,
}

impl fmt::Display for XenSeries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// This names no series of Xen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no series of Xen, which is two numbers, for instance 4.20")]
pub struct BadXenSeries(String);

impl FromStr for XenSeries {
    type Err = BadXenSeries;

    fn from_str(text: &str) -> Result<Self, BadXenSeries> {
        let bad = || BadXenSeries(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        let number = |text: &str| text.parse().map_err(|_| bad());
        let series = Self {
            major: number(major)?,
            minor: number(minor)?,
        };
        // One series has one name, since that is a place in the cache.
        if series.to_string() == text {
            Ok(series)
        } else {
            Err(bad())
        }
    }
}

/// Which Xen: that of the machine's own release, or the newest of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XenName(pub Option<XenSeries>);

impl XenName {
    /// The start of the names of all folders in the cache.
    const FOLDER: &str = "xen";

    /// Name of its folder in the cache.
    pub(super) fn folder(self) -> String {
        match self.0 {
            None => Self::FOLDER.to_owned(),
            Some(series) => format!("{}-{series}", Self::FOLDER),
        }
    }

    /// Which Xen a folder of the cache is for.
    pub(super) fn of_folder(folder: &str) -> Option<Self> {
        match folder.strip_prefix(Self::FOLDER)? {
            "" => Some(Self(None)),
            rest => rest
                .strip_prefix('-')?
                .parse()
                .ok()
                .map(|series| Self(Some(series))),
        }
    }

    /// Extended regular expression for the packages that hold it.
    fn packages(self) -> String {
        match self.0 {
            None => r"^xen-hypervisor-[0-9.]+-amd64$".to_owned(),
            Some(XenSeries { major, minor }) => format!(r"^xen-hypervisor-{major}\.{minor}-amd64$"),
        }
    }

    /// Releases that may hold it, the most likely first.
    fn releases(self, archives: &Archives) -> Vec<String> {
        match self.0 {
            None => vec![archives.release.clone()],
            Some(_) => debian::releases(archives),
        }
    }
}

/// As `conform provision` takes it.
impl fmt::Display for XenName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("xen"),
            Some(series) => write!(formatter, "xen:{series}"),
        }
    }
}

/// What can be provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootable {
    /// A kernel whose KVM is tested.
    Kernel(KernelName),
    /// Xen.
    Xen(XenName),
}

/// This names nothing that can be provisioned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBootable {
    /// Not a kernel either.
    #[error(transparent)]
    Kernel(#[from] BadKernelName),
    /// No Xen.
    #[error(transparent)]
    Xen(#[from] BadXenSeries),
}

impl FromStr for Bootable {
    type Err = BadBootable;

    fn from_str(text: &str) -> Result<Self, BadBootable> {
        match text.split_once(':') {
            None if text == "xen" => Ok(Self::Xen(XenName(None))),
            Some(("xen", series)) => Ok(Self::Xen(XenName(Some(series.parse()?)))),
            _ => Ok(Self::Kernel(text.parse()?)),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: String,
}

impl Xen {
    /// Reads a folder that [`fetch`] wrote.
    pub(super) fn from_manifest(name: XenName, folder: &Path) -> Result<Self, ProvisionError> {
        let what = Provision::Xen(name);
        let missing = ProvisionError::XenMissing { name };
        what.clone().verify(folder, Read::Everything, missing)?;
        let manifest: Manifest = what.manifest(folder, MANIFEST)?;
        Ok(Self {
            version: manifest.version,
            image: folder.join(IMAGE),
        })
    }
}

/// Finds or fetches Xen, and QEMU. What is there already is not fetched again.
///
/// `progress` is called with one line before each step that takes long.
///
/// # Errors
/// If something can neither be found nor fetched.
pub fn provision_xen(
    cache: &Cache,
    name: XenName,
    progress: &mut dyn FnMut(&str),
) -> Result<Xen, ProvisionError> {
    super::provision(cache, &[], progress)?;
    match cache.xen(name) {
        Ok(found) => return Ok(found),
        Err(why) => super::tell_damage(&why, progress),
    }
    let _lock = cache.lock()?;
    space::check(cache.folder(), space::NEEDED)?;
    let archives = Archives::of_machine(Path::new("/")).ok_or(ProvisionError::NoArchive)?;
    fetch(cache, name, &archives, progress)
}

fn fetch(
    cache: &Cache,
    name: XenName,
    archives: &Archives,
    progress: &mut dyn FnMut(&str),
) -> Result<Xen, ProvisionError> {
    let (apt, package) = find(cache, name, archives, progress)?;
    progress(&format!("{name}: downloading {}", package.version));
    let part = cache.part()?;
    let finished = part.path().join("xen");
    let root = part.path().join("root");
    fs::create_dir(&finished).map_err(|source| ProvisionError::io("create", &finished, source))?;
    apt.download(std::slice::from_ref(&package), part.path())?;
    progress(&format!("{name}: unpacking"));
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
    super::replace(&finished, &cache.xen_folder(name))?;
    let xen = cache.xen(name)?;
    progress(&format!("{name}: {}", xen.version));
    Ok(xen)
}

/// The newest package, of the first release that has any, what was added to that for security included. A suite
/// that cannot be read must not keep the others from being used.
fn find(
    cache: &Cache,
    name: XenName,
    archives: &Archives,
    progress: &mut dyn FnMut(&str),
) -> Result<(Apt, Package), ProvisionError> {
    let (mut searched, mut failures) = (Vec::new(), Vec::new());
    for release in name.releases(archives) {
        let mut newest: Option<(Apt, Package)> = None;
        let mut suites = vec![(&archives.main, release.clone())];
        suites.extend(
            archives
                .security
                .as_ref()
                .map(|source| (source, format!("{release}-security"))),
        );
        for (source, suite) in suites {
            progress(&format!("{suite}: reading package lists"));
            let folder = cache.folder().join("apt").join(&suite);
            let line = source.line_for(&suite);
            let found = Apt::open(folder, &line, Installed::Nothing, Architecture::X86).and_then(|apt| {
                apt.update()?;
                let packages = apt.matching(&name.packages())?;
                Ok((apt, packages))
            });
            let (apt, packages) = match found {
                Ok(found) => found,
                Err(error @ (ProvisionError::NoSpace { .. } | ProvisionError::Interrupted)) => {
                    return Err(error);
                }
                Err(error) => {
                    failures.push(format!("\n{suite}: {error}"));
                    continue;
                }
            };
            searched.push(suite);
            let mut best: Option<Package> = None;
            for package in packages {
                let known = best.as_ref().or(newest.as_ref().map(|(_, package)| package));
                let newer = match known {
                    Some(known) => apt::later(&package.version, &known.version)?,
                    None => true,
                };
                if newer {
                    best = Some(package);
                }
            }
            if let Some(best) = best {
                newest = Some((apt, best));
            }
        }
        if let Some(newest) = newest {
            return Ok(newest);
        }
    }
    Err(ProvisionError::NoXen {
        name,
        searched: searched.join(", "),
        failures: failures.concat(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_xen_has_one_name_and_one_folder() {
        for (text, folder) in [("xen", "xen"), ("xen:4.20", "xen-4.20")] {
            let Ok(Bootable::Xen(name)) = text.parse() else {
                panic!("{text} is Xen");
            };
            assert_eq!(
                (name.to_string(), name.folder()),
                (text.to_owned(), folder.to_owned())
            );
            assert_eq!(XenName::of_folder(folder), Some(name));
        }
        for other in ["xen-", "xen-4", "xenon", "qemu"] {
            assert_eq!(XenName::of_folder(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for text in ["xen:", "xen:4", "xen:04.20", "xen:4.20.1", "xen:4.x"] {
            let error = text.parse::<Bootable>().expect_err(text).to_string();
            assert!(error.contains("is no series of Xen"), "{error}");
        }
    }

    #[test]
    fn a_series_is_looked_for_by_its_own_package() {
        let name = XenName(Some("4.20".parse().expect("a series")));
        assert_eq!(name.packages(), r"^xen-hypervisor-4\.20-amd64$");
    }
}
