//! What stands behind `debian:`: a series of kernels, or one build.

use std::fmt;

/// `X.Y`, a series, of which the newest build is meant, or `X.Y.Z`, the build of that release of the stable
/// branch. A series comes before its builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebianVersion {
    major: u32,
    minor: u32,
    patch: Option<u32>,
}

impl DebianVersion {
    /// Reads a version as it is printed; `6.012` is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = match numbers.next() {
            Some(patch) => Some(patch?),
            None => None,
        };
        let version = Self { major, minor, patch };
        (numbers.next().is_none() && version.to_string() == text).then_some(version)
    }

    /// The release that a package of this version was built from: that of `6.12.113-1~deb12u1` is
    /// 6.12.113, and of `7.2-1` 7.2.0. Candidates (`7.2~rc1-1`) are none.
    pub(super) fn of_package(version: &str) -> Option<Self> {
        let (upstream, _) = version.split_once('-')?;
        let found = Self::parse(upstream)?;
        Some(Self {
            patch: found.patch.or(Some(0)),
            ..found
        })
    }

    /// Whether it is one build.
    #[must_use]
    pub const fn is_build(self) -> bool {
        self.patch.is_some()
    }

    /// The series that it is or belongs to.
    pub(super) const fn series(self) -> Self {
        Self { patch: None, ..self }
    }

    /// Whether it means this build: the same one, or any of the series.
    #[must_use]
    pub fn means(self, build: Self) -> bool {
        self == build || self == build.series()
    }
}

impl fmt::Display for DebianVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        match self.patch {
            Some(patch) => write!(formatter, ".{patch}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> DebianVersion {
        DebianVersion::parse(text).unwrap()
    }

    #[test]
    fn versions_are_read_as_they_are_printed() {
        for text in ["5.10", "6.12.113", "7.2.0"] {
            assert_eq!(version(text).to_string(), text);
            assert_eq!(version(text).is_build(), text.matches('.').count() == 2, "{text}");
        }
        for bad in [
            "",
            "6",
            "6.",
            "6.x",
            "6.12.",
            "6.12.3.4",
            "6.12.3-1",
            "6.012",
            "+6.12",
            "6.12.4294967296",
            "/../x",
        ] {
            assert_eq!(DebianVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_package_tells_what_it_was_built_from() {
        for (package, upstream) in [
            ("6.12.113-1~deb12u1", Some("6.12.113")),
            ("5.10.262-1", Some("5.10.262")),
            ("7.2.12-1~bpo13+1", Some("7.2.12")),
            ("7.2-1", Some("7.2.0")),
            ("7.2~rc1-1", None),
            ("6.12.113", None),
        ] {
            assert_eq!(
                DebianVersion::of_package(package),
                upstream.map(version),
                "{package}"
            );
        }
    }

    #[test]
    fn a_series_means_each_of_its_builds_and_comes_before_them() {
        let (series, build) = (version("6.12"), version("6.12.113"));
        assert!(series.means(build) && build.means(build) && build.series() == series);
        assert!(!build.means(version("6.12.11")) && !series.means(version("6.1.12")));
        let mut order = [build, version("6.12.9"), version("6.2.1"), series];
        order.sort_unstable();
        assert_eq!(
            order.map(|version| version.to_string()),
            ["6.2.1", "6.12", "6.12.9", "6.12.113"]
        );
    }
}
