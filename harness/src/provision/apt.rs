//! Debian's own package client with private state: it reads the machine's configuration
//! (proxies, trusted keys) and writes to the cache folder only (apt.conf(5)).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Architecture, ProvisionError, command};

/// Which packages count as installed when dependencies are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// None: packages are looked at one by one.
    Nothing,
    /// Those of this machine: what it has is not downloaded again.
    AsOnMachine,
}

/// A package in one of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Size in bytes.
    pub size: u64,
    /// Names of packages that it depends on, alternatives included, without their versions.
    pub needs: Vec<String>,
}

/// One set of sources with the lists downloaded for it.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    installed: Installed,
    architecture: Architecture,
}

/// The machine's hooks may delete caches or write logs, and its translations and icons
/// are of no use here. `#clear` works in a file only, not with `-o`.
const CONFIGURATION: &str = "\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Acquire::Languages \"none\";
Acquire::Retries \"3\";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled \"false\";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled \"false\";
Acquire::IndexTargets::deb::CNF::DefaultEnabled \"false\";
";

impl Apt {
    /// Prepares the state below `folder` for sources given as the text of a sources.list, and
    /// for packages of one architecture.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn open(
        folder: PathBuf,
        sources: &str,
        installed: Installed,
        architecture: Architecture,
    ) -> Result<Self, ProvisionError> {
        for part in ["lists/partial", "cache/archives/partial", "state", "log"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(|source| ProvisionError::io("create", &path, source))?;
        }
        for (name, text) in [("sources.list", sources), ("apt.conf", CONFIGURATION)] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|source| ProvisionError::io("write", &path, source))?;
        }
        Ok(Self {
            folder,
            installed,
            architecture,
        })
    }

    /// Where [`Self::download_with_dependencies`] puts packages.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.join("apt.conf"));
        let mut option = |name: &str, value: &Path| {
            let mut word = std::ffi::OsString::from(name);
            word.push("=");
            word.push(value);
            command.arg("-o").arg(word);
        };
        option("Dir::Etc::sourcelist", &self.folder.join("sources.list"));
        option("Dir::Etc::sourceparts", Path::new("/dev/null"));
        option("Dir::Etc::preferences", Path::new("/dev/null"));
        option("Dir::Etc::preferencesparts", Path::new("/dev/null"));
        option("Dir::State", &self.folder.join("state"));
        option("Dir::State::lists", &self.folder.join("lists"));
        option("Dir::Cache", &self.folder.join("cache"));
        option("Dir::Cache::archives", &self.archives());
        option("Dir::Log", &self.folder.join("log"));
        if self.installed == Installed::Nothing {
            option("Dir::State::status", Path::new("/dev/null"));
        }
        for option in ["APT::Architecture", "APT::Architectures"] {
            let value = format!("{option}={}", self.architecture.debian());
            command.arg("-o").arg(value);
        }
        // The user `_apt` may not reach into a home folder. The locks are those of the
        // package system, which is not changed; the cache folder has its own.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"]);
        command
    }

    /// Downloads the lists, or finds that they are current.
    ///
    /// # Errors
    /// If apt fails.
    pub fn update(&self) -> Result<(), ProvisionError> {
        // Without this, apt reports success when a server could not be reached.
        let strict = ["-o", "APT::Update::Error-Mode=any", "-q", "update"];
        self.fill(self.command("apt-get").args(strict))
    }

    /// Runs a command that fills the file system of the cache.
    fn fill(&self, command: &mut Command) -> Result<(), ProvisionError> {
        command::output_into(command, Some(&self.folder), command::PATIENCE).map(drop)
    }

    /// All packages whose name matches the regular expression, in all their versions.
    ///
    /// # Errors
    /// If apt fails.
    pub fn matching(&self, pattern: &str) -> Result<Vec<Package>, ProvisionError> {
        let found = command::output(
            self.command("apt-cache")
                .args(["search", "--names-only", pattern]),
        )?;
        let names: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let records = command::output(self.command("apt-cache").arg("show").args(names))?;
        Ok(parse_records(&records))
    }

    /// Downloads packages, without what they depend on, into a folder.
    ///
    /// # Errors
    /// If apt fails.
    pub fn download(&self, packages: &[Package], folder: &Path) -> Result<(), ProvisionError> {
        let words = packages
            .iter()
            .map(|package| format!("{}={}", package.name, package.version));
        let mut command = self.command("apt-get");
        command.args(["-q", "download"]).args(words).current_dir(folder);
        self.fill(&mut command)
    }

    /// Downloads a package and everything that it needs and the machine lacks into
    /// [`Self::archives`]. `suite`: the suite to prefer over all others.
    ///
    /// # Errors
    /// If apt fails; also if the package cannot be installed beside what is there.
    pub fn download_with_dependencies(
        &self,
        package: &str,
        suite: Option<&str>,
    ) -> Result<(), ProvisionError> {
        let mut command = self.command("apt-get");
        if let Some(suite) = suite {
            command.args(["-t", suite]);
        }
        command.args([
            "-q",
            "-y",
            "--no-install-recommends",
            "--download-only",
            "install",
            package,
        ]);
        self.fill(&mut command)
    }
}

/// Unpacks every package file in a folder, as if it were installed below `root`.
///
/// # Errors
/// If the folder cannot be read or `dpkg-deb` fails.
pub fn unpack_all(folder: &Path, root: &Path) -> Result<(), ProvisionError> {
    let io = |source| ProvisionError::io("list", folder, source);
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(root);
            command::output_into(&mut unpack, Some(folder), command::PATIENCE)?;
        }
    }
    Ok(())
}

/// Whether the first version is later than the second.
///
/// # Errors
/// If `dpkg` is not there.
pub fn later(version: &str, than: &str) -> Result<bool, ProvisionError> {
    match command::output(Command::new("dpkg").args(["--compare-versions", version, "gt", than])) {
        Ok(_) => Ok(true),
        Err(ProvisionError::Command { status, .. }) if status.code() == Some(1) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Paragraphs of `Field: value` lines (deb-control(5)), one for each version of each package.
fn parse_records(records: &str) -> Vec<Package> {
    let package = |record: &str| {
        let field = |name: &str| {
            let mut lines = record.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.trim())
        };
        let needs = field("Depends").unwrap_or_default().split([',', '|']);
        Some(Package {
            name: field("Package")?.to_owned(),
            version: field("Version")?.to_owned(),
            size: field("Size")?.parse().ok()?,
            needs: needs
                .filter_map(|need| need.split_whitespace().next())
                .map(str::to_owned)
                .collect(),
        })
    };
    records.split("\n\n").filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_packages() {
        let records = "Package: linux-image-a\nVersion: 7.1.3-1\nSize: 1924\n\
                       Depends: dracut | initramfs-tools (>= 0.120), linux-modules-a (= 7.1.3-1)\n\
                       Description: Linux\n for: things\n .\n and more\n\n\
                       Package: linux-modules-a\nSize: 2\nVersion: 7.1.3-1\n\n\
                       Package: broken\n";
        let package = |name: &str, size, needs: &[&str]| Package {
            name: name.to_owned(),
            version: "7.1.3-1".to_owned(),
            size,
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        };
        let expected = [
            package(
                "linux-image-a",
                1924,
                &["dracut", "initramfs-tools", "linux-modules-a"],
            ),
            package("linux-modules-a", 2, &[]),
        ];
        assert_eq!(parse_records(records), expected);
    }
}
