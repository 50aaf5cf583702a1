//! Kernels to boot: a Debian version, or an image anywhere with its modules.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::contents::Read;
use super::module::{self, Reach};
use super::version::DebianVersion;
use super::{Architecture, Provision, ProvisionError};

/// File in a provisioned kernel's folder that says which kernel it is.
pub(super) const MANIFEST: &str = "kernel.json";

/// How a kernel is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KernelName {
    /// `debian:X.Y`, or `arm64:debian:X.Y`: the newest build of that series in any Debian
    /// release. `debian:X.Y.Z`: the build of that release of the stable branch.
    Debian {
        /// What it runs on.
        architecture: Architecture,
        /// For instance `6.12`, or `6.12.113`.
        version: DebianVersion,
    },
    /// A kernel image, or a folder that holds one.
    Path(PathBuf),
}

/// This is not the name of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no kernel: give `debian:X.Y`, for instance `debian:6.12`, a single build `debian:X.Y.Z`, \
     `arm64:debian:X.Y`, or the path of a kernel image for x86-64"
)]
pub struct BadKernelName(String);

impl FromStr for KernelName {
    type Err = BadKernelName;
    fn from_str(text: &str) -> Result<Self, BadKernelName> {
        let bad = || BadKernelName(text.to_owned());
        let (architecture, name) = match text.strip_prefix(Architecture::Arm64.prefix()) {
            Some(name) => (Architecture::Arm64, name),
            None => (Architecture::X86, text),
        };
        let Some(version) = name.strip_prefix("debian:") else {
            return if text.is_empty() || architecture != Architecture::X86 {
                Err(bad())
            } else {
                Ok(Self::Path(PathBuf::from(text)))
            };
        };
        Ok(Self::Debian {
            architecture,
            version: DebianVersion::parse(version).ok_or_else(bad)?,
        })
    }
}

impl KernelName {
    /// What the kernel runs on. An image that is named by its path is for x86-64.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        match self {
            Self::Debian { architecture, .. } => *architecture,
            Self::Path(_) => Architecture::X86,
        }
    }

    /// The version of one of Debian's.
    #[must_use]
    pub const fn version(&self) -> Option<DebianVersion> {
        match self {
            Self::Debian { version, .. } => Some(*version),
            Self::Path(_) => None,
        }
    }

    /// Whether it is a single build of Debian's. What runs on all that is there does not run on those: they are
    /// fetched to find out where something changed.
    #[must_use]
    pub fn is_single_build(&self) -> bool {
        self.version().is_some_and(DebianVersion::is_build)
    }
}

impl fmt::Display for KernelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian {
                architecture,
                version,
            } => {
                write!(formatter, "{}debian:{version}", architecture.prefix())
            }
            Self::Path(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// How it was asked for.
    pub name: KernelName,
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// Version of the package that it comes from.
    pub package: Option<String>,
    /// The image: a bzImage on x86-64, an Image on arm64.
    pub image: PathBuf,
    /// The modules that KVM needs, in the order in which they load; [`module::read`]
    /// opens them. Empty if KVM is built in.
    pub modules: Vec<PathBuf>,
}

/// [`MANIFEST`]: paths are relative to its folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub release: String,
    pub package: String,
    pub image: String,
    pub modules: Vec<String>,
}

impl Kernel {
    /// Reads a folder that [`super::provision`] wrote.
    pub(super) fn from_manifest(name: &KernelName, folder: &Path) -> Result<Self, ProvisionError> {
        let what = Provision::Kernel(name.clone());
        let missing = ProvisionError::KernelMissing { name: name.clone() };
        what.clone().verify(folder, Read::Everything, missing)?;
        let manifest: Manifest = what.manifest(folder, MANIFEST)?;
        Ok(Self {
            name: name.clone(),
            release: manifest.release,
            package: Some(manifest.package),
            image: folder.join(manifest.image),
            modules: manifest.modules.iter().map(|file| folder.join(file)).collect(),
        })
    }

    /// Looks at a kernel image, or at a folder that holds one.
    ///
    /// The folder may be one with `vmlinuz*` or `bzImage` in it, a root file system with
    /// a `boot` folder, or a kernel tree that was built. Modules are taken from the first
    /// of these places that has any: `lib/modules/RELEASE` or `usr/lib/modules/RELEASE`
    /// below the image's folder or its parent, the built tree, beside the image, a folder
    /// `modules` beside the image.
    ///
    /// # Errors
    /// If there is no kernel image, or its modules cannot be read or are incomplete.
    pub fn from_path(path: &Path) -> Result<Self, ProvisionError> {
        let metadata = fs::metadata(path).map_err(|source| ProvisionError::io("read", path, source))?;
        let image = if metadata.is_dir() {
            image_in(path)?
        } else {
            fs::canonicalize(path).map_err(|source| ProvisionError::io("read", path, source))?
        };
        let release = release_of(&image)?;
        let mut modules = Vec::new();
        for (place, reach) in module_places(&image, &release) {
            if place.is_dir() {
                modules = module::load_order(&place, reach)?;
            }
            if !modules.is_empty() {
                break;
            }
        }
        Ok(Self {
            name: KernelName::Path(path.to_owned()),
            release,
            package: None,
            image,
            modules,
        })
    }
}

/// Folders in which the modules of an image may be, most likely first.
fn module_places(image: &Path, release: &str) -> Vec<(PathBuf, Reach)> {
    let mut places = Vec::new();
    for root in image.ancestors().skip(1).take(2) {
        for modules in ["lib/modules", "usr/lib/modules"] {
            places.push((root.join(modules).join(release), Reach::Tree));
        }
    }
    if let Some(folder) = image.parent() {
        if folder.ends_with("arch/x86/boot")
            && let Some(tree) = folder.ancestors().nth(3)
        {
            places.push((tree.to_owned(), Reach::Tree));
        }
        // Who knows what else is below the folder of an image.
        places.push((folder.to_owned(), Reach::Folder));
        places.push((folder.join("modules"), Reach::Folder));
    }
    places
}

/// The newest kernel image in a folder.
fn image_in(folder: &Path) -> Result<PathBuf, ProvisionError> {
    for place in ["", "arch/x86/boot", "boot"] {
        let place = folder.join(place);
        let Ok(entries) = fs::read_dir(&place) else {
            continue;
        };
        let is_image = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            (name.starts_with("vmlinuz") || name == "bzImage") && path.is_file()
        };
        let changed = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
        let images = entries.flatten().map(|entry| entry.path()).filter(is_image);
        if let Some(image) = images.max_by_key(changed) {
            return fs::canonicalize(&image).map_err(|source| ProvisionError::io("read", &image, source));
        }
    }
    Err(ProvisionError::NotAKernel {
        path: folder.to_owned(),
        problem: "there is no vmlinuz* or bzImage in it".to_owned(),
    })
}

/// The release in the header of a bzImage (Linux `Documentation/arch/x86/boot.rst`:
/// `HdrS` at 202h; 20Eh points to the version text, less 200h).
fn release_of(image: &Path) -> Result<String, ProvisionError> {
    let io = |source| ProvisionError::io("read", image, source);
    let not = |problem: &str| ProvisionError::NotAKernel {
        path: image.to_owned(),
        problem: problem.to_owned(),
    };
    let mut file = File::open(image).map_err(io)?;
    let mut header = Vec::new();
    file.by_ref().take(0x210).read_to_end(&mut header).map_err(io)?;
    if header.get(0x202..0x206) != Some(b"HdrS") {
        return Err(not("it is not a bzImage for x86"));
    }
    let Some(&[low, high]) = header.get(0x20e..0x210) else {
        return Err(not("it is cut short"));
    };
    let at = u64::from(u16::from_le_bytes([low, high])) + 0x200;
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    let mut text = Vec::new();
    file.take(256).read_to_end(&mut text).map_err(io)?;
    let text = String::from_utf8_lossy(&text);
    let release = text.split([' ', '\0']).next().unwrap_or_default();
    if release.is_empty() {
        return Err(not("its header does not say which release it is"));
    }
    Ok(release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let debian = |architecture, version| KernelName::Debian {
            architecture,
            version: DebianVersion::parse(version).unwrap(),
        };
        assert_eq!("debian:6.12".parse(), Ok(debian(Architecture::X86, "6.12")));
        assert_eq!(
            "debian:6.12.113".parse(),
            Ok(debian(Architecture::X86, "6.12.113"))
        );
        assert_eq!(
            "arm64:debian:6.12".parse(),
            Ok(debian(Architecture::Arm64, "6.12"))
        );
        assert_eq!("./vmlinuz".parse(), Ok(KernelName::Path("./vmlinuz".into())));
        for bad in [
            "",
            "debian:",
            "debian:6",
            "debian:6.x",
            "debian:6.12.3-1",
            "debian:6.12.3.4",
            "debian:/../x",
            "arm64:",
            "arm64:debian:6",
            "arm64:/boot/vmlinuz",
        ] {
            assert!(bad.parse::<KernelName>().is_err(), "{bad}");
        }
        for (text, is_single_build) in [
            ("debian:6.12", false),
            ("debian:6.12.113", true),
            ("arm64:debian:6.12", false),
            ("arm64:debian:6.12.113", true),
            ("/boot/vmlinuz", false),
        ] {
            let name: KernelName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.is_single_build(), is_single_build, "{text}");
        }
    }

    fn bz_image(version: &str) -> Vec<u8> {
        let mut image = vec![0; 0x600];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        image[0x500..0x500 + version.len()].copy_from_slice(version.as_bytes());
        image
    }

    #[test]
    fn an_image_by_path_or_by_folder() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        fs::create_dir(&boot).unwrap();
        let image = boot.join("vmlinuz-1");
        fs::write(&image, bz_image("6.12.9-test (someone@somewhere) #1")).unwrap();
        let by_path = Kernel::from_path(&image).unwrap();
        let by_folder = Kernel::from_path(root.path()).unwrap();
        assert_eq!(by_path.release, "6.12.9-test");
        assert_eq!(by_path.image, by_folder.image);
        assert_eq!(by_path.modules, Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_no_kernel_says_so() {
        let root = tempfile::tempdir().unwrap();
        let error = Kernel::from_path(root.path()).unwrap_err().to_string();
        assert!(error.contains("vmlinuz"), "{error}");
        let file = root.path().join("vmlinuz");
        for contents in [&b"short"[..], &[0; 0x300]] {
            fs::write(&file, contents).unwrap();
            let error = Kernel::from_path(&file).unwrap_err().to_string();
            assert!(error.contains("bzImage"), "{error}");
        }
        assert!(Kernel::from_path(&root.path().join("none")).is_err());
    }
}
