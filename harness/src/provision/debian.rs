//! Debian's kernels: which suite holds which series, and what of a package is needed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use super::apt::{self, Apt, Installed, Package};
use super::kernel::{Kernel, KernelName, MANIFEST, Manifest};
use super::module::{self, Reach};
use super::sources::Archives;
use super::{Architecture, Cache, ProvisionError, contents};

/// Releases and the kernel series that each came with, newest first.
const RELEASES: [(&str, &str); 3] = [("trixie", "6.12"), ("bookworm", "6.1"), ("bullseye", "5.10")];

/// Packages that a kernel's files are spread over. From 7.x on the image package is
/// empty and the other two hold the files; before, only the image package exists.
const PARTS: [&str; 3] = ["linux-image", "linux-binary", "linux-modules"];

/// Flavour, before the architecture: the smallest one, with few drivers built in and so quick
/// to boot.
const FLAVOUR: &str = "cloud";

/// Looks into suites; each suite's lists are brought up to date once at most.
pub(super) struct Suites<'a> {
    cache: &'a Cache,
    archives: &'a Archives,
    open: BTreeMap<(Architecture, String), Result<Apt, String>>,
}

impl<'a> Suites<'a> {
    pub(super) fn new(cache: &'a Cache, archives: &'a Archives) -> Self {
        Self {
            cache,
            archives,
            open: BTreeMap::new(),
        }
    }

    /// The suite's client, or why there is none. A release that was archived or a mirror
    /// that is partial must not keep the other suites from being used; a full file system
    /// or an interruption ends it all.
    fn suite(
        &mut self,
        architecture: Architecture,
        suite: &str,
        progress: &mut dyn FnMut(&str),
    ) -> Result<&Result<Apt, String>, ProvisionError> {
        let Self {
            cache,
            archives,
            open,
        } = self;
        let vacant = match open.entry((architecture, suite.to_owned())) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        progress(&format!("{suite} ({architecture}): reading package lists"));
        let source = match (&archives.security, suite.ends_with("-security")) {
            (Some(security), true) => security,
            _ => &archives.main,
        };
        let folder = match architecture {
            Architecture::X86 => cache.folder().join("apt").join(suite),
            Architecture::Arm64 => cache.folder().join("apt/arm64").join(suite),
        };
        let apt = Apt::open(folder, &source.line_for(suite), Installed::Nothing, architecture);
        let updated = apt.and_then(|apt| apt.update().map(|()| apt));
        let known = match updated {
            Ok(apt) => Ok(apt),
            Err(error @ (ProvisionError::NoSpace { .. } | ProvisionError::Interrupted)) => return Err(error),
            // The whole command is too much to say about a suite that may not matter.
            Err(ProvisionError::Command { stderr, .. }) => Err(format!("{suite}: {stderr}")),
            Err(error) => Err(error.to_string()),
        };
        Ok(vacant.insert(known))
    }

    /// Downloads and unpacks the newest build of a series.
    pub(super) fn fetch(
        &mut self,
        architecture: Architecture,
        series: &str,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Kernel, ProvisionError> {
        let cache = self.cache;
        let name = KernelName::Debian {
            architecture,
            series: series.to_owned(),
        };
        let mut failures = Vec::new();
        let mut searched = Vec::new();
        for group in self.groups(series) {
            let mut best: Option<(String, Build)> = None;
            for suite in group {
                let apt = match self.suite(architecture, &suite, progress)? {
                    Ok(apt) => apt,
                    Err(error) => {
                        failures.push(format!("\n{error}"));
                        continue;
                    }
                };
                searched.push(suite.clone());
                for build in builds(&apt.matching(&pattern(architecture, series))?) {
                    let newer = match &best {
                        Some((_, best)) => apt::later(&build.version, &best.version)?,
                        None => true,
                    };
                    if newer {
                        best = Some((suite.clone(), build));
                    }
                }
            }
            if let Some((suite, build)) = best
                && let Ok(apt) = self.suite(architecture, &suite, progress)?
            {
                return install(cache, apt, &name, &build, progress);
            }
        }
        Err(ProvisionError::NotInArchive {
            name,
            searched: searched.join(", "),
            failures: failures.concat(),
        })
    }

    /// Suites that may hold a series, in groups: a later group is looked at only if the
    /// earlier ones have nothing.
    fn groups(&self, series: &str) -> Vec<Vec<String>> {
        let with_security = |release: &str| {
            let mut group = vec![release.to_owned()];
            if self.archives.security.is_some() {
                group.push(format!("{release}-security"));
            }
            group
        };
        let mut releases: Vec<&str> = RELEASES.iter().map(|(release, _)| *release).collect();
        if !releases.contains(&self.archives.release.as_str()) {
            // The machine runs a release that is newer than this program.
            releases.insert(0, &self.archives.release);
        }
        let own = RELEASES.iter().filter(|(_, own)| *own == series);
        let mut groups: Vec<_> = own.map(|(release, _)| with_security(release)).collect();
        groups.extend(
            releases
                .iter()
                .map(|release| vec![format!("{release}-backports")]),
        );
        for release in releases {
            let group = with_security(release);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }
}

/// One build of a kernel: its packages, all of one version.
struct Build {
    /// As in the packages' names and `uname -r`.
    release: String,
    version: String,
    packages: Vec<Package>,
}

/// Extended regular expression for the packages of a series.
fn pattern(architecture: Architecture, series: &str) -> String {
    let (series, parts) = (series.replace('.', r"\."), PARTS.join("|"));
    format!("^({parts})-{series}\\..*-{FLAVOUR}-{}$", architecture.debian())
}

/// Groups packages into builds; only those with an image package count.
fn builds(packages: &[Package]) -> Vec<Build> {
    let release_of = |package: &Package| {
        let part = PARTS.iter().find_map(|part| package.name.strip_prefix(part));
        part.and_then(|rest| rest.strip_prefix('-')).map(str::to_owned)
    };
    let mut builds: BTreeMap<(String, String), Vec<Package>> = BTreeMap::new();
    for package in packages {
        if let Some(release) = release_of(package) {
            let build = builds.entry((release, package.version.clone())).or_default();
            if !build.contains(package) {
                build.push(package.clone());
            }
        }
    }
    let builds = builds.into_iter().map(|((release, version), packages)| Build {
        release,
        version,
        packages,
    });
    let has_image = |build: &Build| {
        build
            .packages
            .iter()
            .any(|package| package.name.starts_with(PARTS[0]))
    };
    builds.filter(has_image).collect()
}

fn install(
    cache: &Cache,
    apt: &Apt,
    name: &KernelName,
    build: &Build,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, ProvisionError> {
    let part = cache.part()?;
    let (debs, root, kernel) = (
        part.path().join("debs"),
        part.path().join("root"),
        part.path().join("kernel"),
    );
    for folder in [&debs, &root, &kernel.join("modules")] {
        fs::create_dir_all(folder).map_err(|source| ProvisionError::io("create", folder, source))?;
    }
    progress(&format!(
        "{name}: downloading {} ({})",
        build.release, build.version
    ));
    apt.download(&build.packages, &debs)?;
    progress(&format!("{name}: unpacking"));
    apt::unpack_all(&debs, &root)?;
    let (image, tree) = locate(&root, &build.release)?;
    copy(&image, &kernel.join("vmlinuz"))?;
    let mut modules = Vec::new();
    for module in module::load_order(&tree, Reach::Tree)? {
        // Stored as they load: decompressing costs more than reading.
        let Some(stem) = module
            .file_name()
            .and_then(|file| file.to_str()?.split(".ko").next())
        else {
            continue;
        };
        let file = format!("modules/{stem}.ko");
        let path = kernel.join(&file);
        fs::write(&path, module::read(&module)?)
            .map_err(|source| ProvisionError::io("write", &path, source))?;
        modules.push(file);
    }
    let manifest = Manifest {
        release: build.release.clone(),
        package: build.version.clone(),
        image: "vmlinuz".to_owned(),
        modules,
    };
    let path = kernel.join(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|source| ProvisionError::io("write", &path, source.into()))?;
    fs::write(&path, text + "\n").map_err(|source| ProvisionError::io("write", &path, source))?;
    contents::record(&kernel)?;
    let home = cache.kernel_folder(name);
    super::replace(&kernel, &home)?;
    progress(&format!("{name}: ready"));
    Kernel::from_manifest(name, &home)
}

/// The image and the folder of modules in an unpacked kernel package: `boot` and
/// `lib/modules` once, everything below `usr/lib/modules` from 7.x on.
fn locate(root: &Path, release: &str) -> Result<(PathBuf, PathBuf), ProvisionError> {
    let trees = ["usr/lib/modules", "lib/modules"].map(|folder| root.join(folder).join(release));
    let images = [
        root.join("boot").join(format!("vmlinuz-{release}")),
        trees[0].join("vmlinuz"),
    ];
    let image = images.into_iter().find(|path| path.is_file());
    let tree = trees.into_iter().find(|path| path.is_dir());
    image.zip(tree).ok_or_else(|| ProvisionError::NotAKernel {
        path: root.to_owned(),
        problem: format!("the packages of {release} hold no image and modules where Debian keeps them"),
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), ProvisionError> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|source| ProvisionError::io("copy", from, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn builds_are_packages_of_one_release() {
        let builds = builds(&[
            package("linux-image-7.2.1+deb13-cloud-amd64", "7.2.1-1"),
            package("linux-modules-7.2.1+deb13-cloud-amd64", "7.2.1-1"),
            package("linux-image-7.2.2+deb13-cloud-amd64", "7.2.2-1"),
            package("linux-modules-7.2.3+deb13-cloud-amd64", "7.2.3-1"),
        ]);
        let seen: Vec<_> = builds
            .iter()
            .map(|build| (build.release.as_str(), build.packages.len()))
            .collect();
        assert_eq!(
            seen,
            [("7.2.1+deb13-cloud-amd64", 2), ("7.2.2+deb13-cloud-amd64", 1)]
        );
    }
}
