//! Debian's kernels: which suite holds which builds, and what of a package is needed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::apt::{self, Apt, Installed};
use super::builds::{self, Build};
use super::kernel::{Kernel, KernelName, MANIFEST, Manifest};
use super::module::{self, Reach};
use super::sources::Archives;
use super::version::DebianVersion;
use super::{Architecture, Cache, ProvisionError, contents};

/// Releases and the kernel series that each came with, newest first.
const RELEASES: [(&str, &str); 3] = [("trixie", "6.12"), ("bookworm", "6.1"), ("bullseye", "5.10")];

/// A suite, and the builds that it holds.
struct Suite {
    apt: Apt,
    builds: Vec<Build>,
}

/// Looks into suites; each suite's lists are brought up to date once at most.
pub(super) struct Suites<'a> {
    cache: &'a Cache,
    archives: &'a Archives,
    open: BTreeMap<(Architecture, String), Result<Suite, String>>,
}

/// A build that can be fetched, or whose image is left without its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The name that fetches it.
    pub name: KernelName,
    /// Where it is.
    pub suite: String,
    /// What it is.
    pub build: Build,
}

/// What can be fetched of Debian's kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Builds, oldest first.
    pub builds: Vec<Reachable>,
    /// Why further suites could not be looked into, on a line each.
    pub failures: Vec<String>,
}

/// What a search has found so far.
#[derive(Default)]
struct Search {
    /// With their suites.
    found: Vec<(String, Build)>,
    searched: Vec<String>,
    failures: Vec<String>,
}

/// The releases whose archives are searched, newest first.
pub(super) fn releases(archives: &Archives) -> Vec<String> {
    let mut releases: Vec<String> = RELEASES
        .iter()
        .map(|(release, _)| (*release).to_owned())
        .collect();
    if !releases.contains(&archives.release) {
        // The machine runs a release that is newer than this program.
        releases.insert(0, archives.release.clone());
    }
    releases
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
    ) -> Result<&Result<Suite, String>, ProvisionError> {
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
        let looked_into = apt.and_then(|apt| {
            apt.update()?;
            let builds = builds::builds(&apt.matching(&builds::pattern(architecture))?);
            Ok(Suite { apt, builds })
        });
        let known = match looked_into {
            Ok(suite) => Ok(suite),
            Err(error @ (ProvisionError::NoSpace { .. } | ProvisionError::Interrupted)) => return Err(error),
            // The whole command is too much to say about a suite that may not matter.
            Err(ProvisionError::Command { stderr, .. }) => Err(format!("{suite}: {stderr}")),
            Err(error) => Err(error.to_string()),
        };
        Ok(vacant.insert(known))
    }

    /// Downloads and unpacks a build: the newest one if `version` is a series.
    pub(super) fn fetch(
        &mut self,
        architecture: Architecture,
        version: DebianVersion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Kernel, ProvisionError> {
        let cache = self.cache;
        let Reachable { name, suite, build } = self.find(architecture, version, progress)?;
        match self.suite(architecture, &suite, progress)? {
            Ok(suite) => install(cache, &suite.apt, &name, &build, progress),
            Err(failure) => Err(ProvisionError::NotInArchive {
                name,
                searched: String::new(),
                nearest: Vec::new(),
                failures: format!("\n{failure}"),
            }),
        }
    }

    /// Which build is meant, and where it is. One without its modules is none.
    fn find(
        &mut self,
        architecture: Architecture,
        version: DebianVersion,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Reachable, ProvisionError> {
        let mut search = Search::default();
        for group in self.groups(version) {
            for suite in group {
                self.look_into(architecture, &suite, &mut search, progress)?;
            }
            if let Some((suite, build)) = search.best(version)?
                && build.is_whole()
            {
                let name = KernelName::Debian {
                    architecture,
                    version,
                };
                return Ok(Reachable { name, suite, build });
            }
        }
        Err(search.failed(architecture, version)?)
    }

    /// Every build of an architecture: what [`Self::fetch`] would fetch by its version, or why it cannot.
    pub(super) fn list(
        &mut self,
        architecture: Architecture,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Listing, ProvisionError> {
        let mut search = Search::default();
        let suites: Vec<String> = self.everywhere().into_iter().flatten().collect();
        for suite in suites {
            self.look_into(architecture, &suite, &mut search, progress)?;
        }
        let versions: BTreeSet<DebianVersion> = search.found.iter().map(|(_, build)| build.version).collect();
        let mut listing = Listing {
            failures: search.failures.clone(),
            ..Listing::default()
        };
        for version in versions {
            let name = KernelName::Debian {
                architecture,
                version,
            };
            let reachable = match self.find(architecture, version, progress) {
                Ok(reachable) => Some(reachable),
                Err(ProvisionError::NoModules { .. }) => search
                    .best(version)?
                    .map(|(suite, build)| Reachable { name, suite, build }),
                Err(error) => return Err(error),
            };
            listing.builds.extend(reachable);
        }
        Ok(listing)
    }

    /// Adds the builds of a suite to those of a search.
    fn look_into(
        &mut self,
        architecture: Architecture,
        suite: &str,
        search: &mut Search,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), ProvisionError> {
        match self.suite(architecture, suite, progress)? {
            Ok(known) => {
                search.searched.push(suite.to_owned());
                let found = known.builds.iter().map(|build| (suite.to_owned(), build.clone()));
                search.found.extend(found);
            }
            Err(failure) => search.failures.push(failure.clone()),
        }
        Ok(())
    }

    /// A release and what was added to it for security.
    fn with_security(&self, release: &str) -> Vec<String> {
        let mut group = vec![release.to_owned()];
        if self.archives.security.is_some() {
            group.push(format!("{release}-security"));
        }
        group
    }

    /// All suites in groups: backports of each release, newest first, and then the releases themselves.
    fn everywhere(&self) -> Vec<Vec<String>> {
        let releases = releases(self.archives);
        let backports = releases
            .iter()
            .map(|release| vec![format!("{release}-backports")]);
        let own = releases.iter().map(|release| self.with_security(release));
        backports.chain(own).collect()
    }

    /// Suites that may hold a version, in groups: a later group is looked at only if the
    /// earlier ones have nothing. First comes the release that the series came with.
    fn groups(&self, version: DebianVersion) -> Vec<Vec<String>> {
        let series = version.series().to_string();
        let own = RELEASES.iter().find(|(_, own)| *own == series);
        let mut groups: Vec<Vec<String>> = own
            .map(|(release, _)| self.with_security(release))
            .into_iter()
            .collect();
        for group in self.everywhere() {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }
}

impl Search {
    /// The build that is meant, with its suite.
    fn best(&self, version: DebianVersion) -> Result<Option<(String, Build)>, ProvisionError> {
        let all = self.found.iter().map(|(_, build)| build.clone());
        let best = builds::newest(all, version)?;
        Ok(best.and_then(|best| self.found.iter().find(|(_, build)| *build == best).cloned()))
    }

    /// Why nothing can be fetched.
    fn failed(
        self,
        architecture: Architecture,
        version: DebianVersion,
    ) -> Result<ProvisionError, ProvisionError> {
        let named = |version| KernelName::Debian {
            architecture,
            version,
        };
        let best = self.best(version)?;
        let all: Vec<Build> = self.found.into_iter().map(|(_, build)| build).collect();
        let nearest = builds::nearest(&all, version).into_iter().map(named).collect();
        Ok(match best {
            Some((_, build)) => ProvisionError::NoModules {
                name: named(version),
                release: build.release,
                missing: build.missing,
                nearest,
            },
            None => ProvisionError::NotInArchive {
                name: named(version),
                searched: self.searched.join(", "),
                nearest,
                failures: self
                    .failures
                    .iter()
                    .map(|failure| format!("\n{failure}"))
                    .collect(),
            },
        })
    }
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
        build.release, build.package
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
        package: build.package.clone(),
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

    fn version(text: &str) -> DebianVersion {
        DebianVersion::parse(text).unwrap()
    }

    fn build(package: &str, missing: &[&str]) -> Build {
        Build {
            release: format!("{package}-cloud-amd64"),
            version: DebianVersion::of_package(package).unwrap(),
            package: package.to_owned(),
            packages: Vec::new(),
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Suites that were looked into already, so that no network is asked.
    fn suites<'a>(cache: &'a Cache, archives: &'a Archives, held: &[(&str, &[Build])]) -> Suites<'a> {
        let mut suites = Suites::new(cache, archives);
        let everywhere: Vec<String> = suites.everywhere().into_iter().flatten().collect();
        for name in everywhere {
            let known = match held.iter().find(|(suite, _)| *suite == name) {
                Some((_, builds)) => Ok(Suite {
                    apt: Apt::open(
                        cache.folder().join(&name),
                        "",
                        Installed::Nothing,
                        Architecture::X86,
                    )
                    .unwrap(),
                    builds: builds.to_vec(),
                }),
                None => Err(format!("{name}: it is not there")),
            };
            suites.open.insert((Architecture::X86, name), known);
        }
        suites
    }

    fn with(held: &[(&str, &[Build])], look: impl FnOnce(&mut Suites<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(folder.path().to_owned())).unwrap();
        let source = super::super::sources::Source {
            uri: "http://mirror.example/debian".to_owned(),
            suite: "bookworm".to_owned(),
            components: Vec::new(),
            signed_by: None,
        };
        let archives = Archives {
            release: "bookworm".to_owned(),
            main: source.clone(),
            security: Some(source),
        };
        look(&mut suites(&cache, &archives, held));
    }

    fn archive(look: impl FnOnce(&mut Suites<'_>)) {
        let modules = &["linux-modules-7.1.3+deb13-cloud-amd64"];
        with(
            &[
                ("trixie", &[build("6.12.117-1", &[])]),
                (
                    "trixie-security",
                    &[build("6.12.113-1", &[]), build("6.12.118-1", &[])],
                ),
                (
                    "trixie-backports",
                    &[build("7.1.3-1", modules), build("7.2.12-1", &[])],
                ),
                (
                    "bookworm-security",
                    &[build("6.12.113-1~deb12u1", &[]), build("6.12.102-1~deb12u1", &[])],
                ),
            ],
            look,
        );
    }

    #[test]
    fn a_series_is_its_newest_build_and_a_version_is_that_build_wherever_it_is() {
        archive(|suites| {
            for (wanted, package, suite) in [
                ("6.12", "6.12.118-1", "trixie-security"),
                ("6.12.117", "6.12.117-1", "trixie"),
                // The release that the series came with is looked into first.
                ("6.12.113", "6.12.113-1", "trixie-security"),
                ("6.12.102", "6.12.102-1~deb12u1", "bookworm-security"),
                ("7.2", "7.2.12-1", "trixie-backports"),
            ] {
                let found = suites
                    .find(Architecture::X86, version(wanted), &mut |_| {})
                    .unwrap();
                let seen = (found.build.package.as_str(), found.suite.as_str());
                assert_eq!(seen, (package, suite), "{wanted}");
                assert_eq!(found.name.to_string(), format!("debian:{wanted}"));
            }
        });
    }

    #[test]
    fn what_is_not_there_names_what_is_near() {
        archive(|suites| {
            let mut fails = |wanted| {
                suites
                    .find(Architecture::X86, version(wanted), &mut |_| {})
                    .unwrap_err()
            };
            let error = fails("6.12.112");
            assert!(matches!(error, ProvisionError::NotInArchive { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("debian:6.12.102 and debian:6.12.113,"), "{text}");
            assert!(text.contains("provision --list"), "{text}");
            assert!(text.contains("bullseye: it is not there"), "{text}");
            for wanted in ["7.1.3", "7.1"] {
                let error = fails(wanted);
                assert!(matches!(error, ProvisionError::NoModules { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains("linux-modules-7.1.3+deb13-cloud-amd64"), "{text}");
                assert!(text.contains("debian:6.12.118 and debian:7.2.12,"), "{text}");
            }
        });
    }

    #[test]
    fn a_listing_has_each_version_once_and_those_without_modules() {
        archive(|suites| {
            let listing = suites.list(Architecture::X86, &mut |_| {}).unwrap();
            let seen: Vec<_> = listing
                .builds
                .iter()
                .map(|one| {
                    (
                        one.name.to_string(),
                        one.build.package.as_str(),
                        one.build.is_whole(),
                    )
                })
                .collect();
            let expected = [
                ("debian:6.12.102", "6.12.102-1~deb12u1", true),
                ("debian:6.12.113", "6.12.113-1", true),
                ("debian:6.12.117", "6.12.117-1", true),
                ("debian:6.12.118", "6.12.118-1", true),
                ("debian:7.1.3", "7.1.3-1", false),
                ("debian:7.2.12", "7.2.12-1", true),
            ];
            assert_eq!(
                seen,
                expected.map(|(name, package, whole)| (name.to_owned(), package, whole))
            );
            // bookworm, bullseye, its security, and the backports of both.
            assert_eq!(listing.failures.len(), 5, "{:?}", listing.failures);
        });
    }
}
