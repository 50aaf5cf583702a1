//! Builds of Debian's kernels: which packages they are spread over, and which of several is meant.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::apt::{self, Package};
use super::version::DebianVersion;
use super::{Architecture, ProvisionError};

/// Packages that a kernel's files are spread over. Up to 6.18 the image package holds everything and stands alone;
/// from 6.19 on it is empty and depends on the other two.
const PARTS: [&str; 3] = ["linux-image", "linux-binary", "linux-modules"];

/// Flavour, before the architecture: the smallest one, with few drivers built in and so quick
/// to boot.
const FLAVOUR: &str = "cloud";

/// One build of a kernel: its packages, all of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// As in the packages' names and `uname -r`.
    pub release: String,
    /// The release of the stable branch, which `release` may not tell: that of `5.10.0-46-cloud-amd64` is
    /// 5.10.262.
    pub version: DebianVersion,
    /// Version of the packages.
    pub package: String,
    /// What there is of it.
    pub packages: Vec<Package>,
    /// Names of packages that its image needs and that are not there. Archives keep old images without their
    /// modules.
    pub missing: Vec<String>,
}

impl Build {
    /// Whether image and modules can both be had.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Size of the packages in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}

/// Extended regular expression for the packages of all builds. Those whose names end in `-unsigned` hold the same
/// image without the signature for Secure Boot.
pub(super) fn pattern(architecture: Architecture) -> String {
    let parts = PARTS.join("|");
    let architecture = architecture.debian();
    format!(r"^({parts})-[0-9]+\.[0-9]+\..*-{FLAVOUR}-{architecture}$")
}

/// The name of a build in that of a package, if it is one of its parts.
fn release_of(name: &str) -> Option<&str> {
    let part = PARTS.iter().find_map(|part| name.strip_prefix(part));
    part.and_then(|rest| rest.strip_prefix('-'))
}

/// Groups packages into builds; only those with an image package count.
pub(super) fn builds(packages: &[Package]) -> Vec<Build> {
    let mut groups: BTreeMap<(String, String), Vec<Package>> = BTreeMap::new();
    for package in packages {
        if let Some(release) = release_of(&package.name) {
            let key = (release.to_owned(), package.version.clone());
            let group = groups.entry(key).or_default();
            if !group.contains(package) {
                group.push(package.clone());
            }
        }
    }
    let build = |((release, package), packages): ((String, String), Vec<Package>)| {
        let version = DebianVersion::of_package(&package)?;
        let image = packages
            .iter()
            .find(|package| package.name.starts_with(PARTS[0]))?;
        let is_there = |name: &String| packages.iter().any(|package| package.name == *name);
        let missing = image
            .needs
            .iter()
            .filter(|name| release_of(name) == Some(release.as_str()) && !is_there(name));
        Some(Build {
            version,
            missing: missing.cloned().collect(),
            release,
            package,
            packages,
        })
    };
    groups.into_iter().filter_map(build).collect()
}

/// The newest of the builds that are meant: of those that are whole, if any is.
pub(super) fn newest(
    builds: impl IntoIterator<Item = Build>,
    wanted: DebianVersion,
) -> Result<Option<Build>, ProvisionError> {
    let mut best: Option<Build> = None;
    for build in builds.into_iter().filter(|build| wanted.means(build.version)) {
        let is_better = match &best {
            None => true,
            Some(best) => {
                let of = |build: &Build| (build.is_whole(), build.version);
                match of(&build).cmp(&of(best)) {
                    // Debian builds some releases twice.
                    Ordering::Equal => apt::later(&build.package, &best.package)?,
                    order => order == Ordering::Greater,
                }
            }
        };
        if is_better {
            best = Some(build);
        }
    }
    Ok(best)
}

/// The next older and the next newer one that is whole.
pub(super) fn nearest(builds: &[Build], wanted: DebianVersion) -> Vec<DebianVersion> {
    let whole = || {
        builds
            .iter()
            .filter(|build| build.is_whole())
            .map(|build| build.version)
    };
    let below = whole().filter(|version| *version < wanted).max();
    let above = whole().filter(|version| *version > wanted).min();
    below.into_iter().chain(above).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, needs: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            size: 10,
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// What archives hold: an image that stands alone, one in three packages, one whose modules are gone, and
    /// modules whose image is.
    fn archive() -> Vec<Build> {
        builds(&[
            package(
                "linux-image-5.10.0-46-cloud-amd64",
                "5.10.262-1",
                &["kmod", "linux-base"],
            ),
            package("linux-image-6.18.9+deb13-cloud-amd64", "6.18.9-1", &[]),
            package(
                "linux-image-7.1.3+deb13-cloud-amd64",
                "7.1.3-1",
                &[
                    "linux-base-7.1.3+deb13-cloud-amd64",
                    "linux-binary-7.1.3+deb13-cloud-amd64",
                    "linux-modules-7.1.3+deb13-cloud-amd64",
                ],
            ),
            package("linux-binary-7.1.3+deb13-cloud-amd64", "7.1.3-1", &[]),
            package(
                "linux-image-7.2.1+deb13-cloud-amd64",
                "7.2.1-1",
                &["linux-modules-7.2.1+deb13-cloud-amd64"],
            ),
            package("linux-modules-7.2.1+deb13-cloud-amd64", "7.2.1-1", &[]),
            package("linux-modules-7.2.3+deb13-cloud-amd64", "7.2.3-1", &[]),
        ])
    }

    fn version(text: &str) -> DebianVersion {
        DebianVersion::parse(text).unwrap()
    }

    #[test]
    fn builds_are_packages_of_one_release_and_know_what_they_lack() {
        let archive = archive();
        let seen: Vec<_> = archive
            .iter()
            .map(|build| (build.version.to_string(), build.size(), build.missing.join(" ")))
            .collect();
        let expected = [
            ("5.10.262", 10, ""),
            ("6.18.9", 10, ""),
            ("7.1.3", 20, "linux-modules-7.1.3+deb13-cloud-amd64"),
            ("7.2.1", 20, ""),
        ];
        assert_eq!(
            seen,
            expected.map(|(version, size, missing)| (version.to_owned(), size, missing.to_owned()))
        );
    }

    #[test]
    fn the_newest_of_a_series_and_exactly_the_build_that_is_named() {
        let archive = builds(&[
            package("linux-image-6.12.9+deb13-cloud-amd64", "6.12.9-1", &[]),
            package("linux-image-6.12.11+deb13-cloud-amd64", "6.12.11-1", &[]),
            package("linux-image-6.12.11+deb13.1-cloud-amd64", "6.12.11-2", &[]),
            package(
                "linux-image-6.12.12+deb13-cloud-amd64",
                "6.12.12-1",
                &["linux-modules-6.12.12+deb13-cloud-amd64"],
            ),
        ]);
        let choose = |wanted| {
            let best = newest(archive.clone(), version(wanted)).unwrap();
            best.map(|build| build.package)
        };
        assert_eq!(choose("6.12").as_deref(), Some("6.12.11-2"));
        assert_eq!(choose("6.12.9").as_deref(), Some("6.12.9-1"));
        // What cannot be booted is found all the same, so that it can be said why.
        assert_eq!(choose("6.12.12").as_deref(), Some("6.12.12-1"));
        assert_eq!(choose("6.12.10"), None);
    }

    #[test]
    fn the_nearest_are_one_on_each_side_and_can_be_booted() {
        let near = |wanted| {
            let versions = nearest(&archive(), version(wanted));
            versions.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(near("6.12.1"), ["5.10.262", "6.18.9"]);
        assert_eq!(near("7.1.3"), ["6.18.9", "7.2.1"]);
        assert_eq!(near("7.2"), ["6.18.9", "7.2.1"]);
        assert_eq!(near("7.3"), ["7.2.1"]);
        assert_eq!(near("5.4"), ["5.10.262"]);
    }
}
