//! The machine's own apt sources, from which those of other Debian suites are derived
//! (sources.list(5)).

use std::fs;
use std::path::Path;

/// One place that packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Base URI of the archive.
    pub uri: String,
    /// Suite or codename, for instance `trixie-backports`.
    pub suite: String,
    /// Components, for instance `main`.
    pub components: Vec<String>,
    /// Path of the keyring that the archive's signature is checked with, if one is given.
    pub signed_by: Option<String>,
}

impl Source {
    /// The same archive with another suite, as a line of a sources.list that takes
    /// binary packages from `main` only.
    #[must_use]
    pub fn line_for(&self, suite: &str) -> String {
        let Self { uri, signed_by, .. } = self;
        match signed_by {
            Some(keyring) => format!("deb [signed-by={keyring}] {uri} {suite} main\n"),
            None => format!("deb {uri} {suite} main\n"),
        }
    }
}

/// The archives that suites can be derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archives {
    /// Codename of the release that the machine runs, for instance `bookworm`.
    pub release: String,
    /// The main archive.
    pub main: Source,
    /// The security archive, if the machine uses one.
    pub security: Option<Source>,
}

impl Archives {
    /// Reads `etc/os-release` and `etc/apt` below `root`. None if this is not Debian or
    /// no source of its main archive is configured.
    #[must_use]
    pub fn of_machine(root: &Path) -> Option<Self> {
        let os_release = fs::read_to_string(root.join("etc/os-release")).ok()?;
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if value("ID=")? != "debian" {
            return None;
        }
        let release = value("VERSION_CODENAME=")?;
        let sources = read_all(&root.join("etc/apt"));
        let names_release = |suite: &str| {
            const ALIASES: [&str; 6] = [
                "stable",
                "oldstable",
                "oldoldstable",
                "testing",
                "unstable",
                "sid",
            ];
            suite == release || ALIASES.contains(&suite)
        };
        let of_release = |source: &&Source| {
            names_release(&source.suite) && source.components.iter().any(|name| name == "main")
        };
        // Third parties name their suites after releases, too, but their URIs rarely
        // end like a Debian mirror's; without such a URI the first match has to do.
        let is_mirror = |source: &&Source| source.uri.trim_end_matches('/').ends_with("/debian");
        let main = sources
            .iter()
            .filter(of_release)
            .find(is_mirror)
            .or_else(|| sources.iter().find(of_release))?
            .clone();
        let security = sources
            .iter()
            .find(|source| {
                let suite = source.suite.strip_suffix("-security");
                suite.is_some_and(names_release)
            })
            .cloned();
        Some(Self {
            release,
            main,
            security,
        })
    }
}

fn read_all(etc_apt: &Path) -> Vec<Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(stanzas(&text)),
            _ => {}
        }
    }
    sources
}

/// `deb [ option=value ... ] uri suite component ...`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .and_then(keyring_path);
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
        signed_by,
    })
}

/// Keys may also be fingerprints or stand in the file itself; only a path can go into a
/// derived source, and apt falls back to its trusted keys without one.
fn keyring_path(value: &str) -> Option<String> {
    let first = value.split([',', ' ']).next()?;
    first.starts_with('/').then(|| first.to_owned())
}

/// Paragraphs of `Field: value` lines. Every URI with every suite is a source.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let value = |wanted: &str| {
            let mut value = String::new();
            let mut inside = false;
            for line in stanza {
                if line.starts_with([' ', '\t']) {
                    if inside {
                        value.push(' ');
                        value.push_str(line.trim());
                    }
                } else if let Some((field, first)) = line.split_once(':') {
                    inside = field.trim().eq_ignore_ascii_case(wanted);
                    if inside {
                        value.push_str(first.trim());
                    }
                }
            }
            value
        };
        let has_binaries = value("Types").split_whitespace().any(|kind| kind == "deb");
        if !has_binaries || matches!(value("Enabled").as_str(), "no" | "false" | "0") {
            continue;
        }
        let components: Vec<String> = value("Components")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        for uri in value("URIs").split_whitespace() {
            for suite in value("Suites").split_whitespace() {
                sources.push(Source {
                    uri: uri.to_owned(),
                    suite: suite.to_owned(),
                    components: components.clone(),
                    signed_by: keyring_path(&value("Signed-By")),
                });
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(os_release: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let apt = root.path().join("etc/apt");
        fs::create_dir_all(apt.join("sources.list.d")).unwrap();
        fs::write(root.path().join("etc/os-release"), os_release).unwrap();
        for (name, text) in files {
            fs::write(apt.join(name), text).unwrap();
        }
        root
    }
    const BOOKWORM: &str = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";

    #[test]
    fn stanza_sources() {
        let root = machine(
            BOOKWORM,
            &[
                (
                    "sources.list.d/debian.sources",
                    "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
                     Suites: bookworm\n bookworm-updates\nComponents: main contrib\n\
                     Signed-By: /usr/share/keyrings/a.gpg\n\n\
                     Types: deb\nURIs: http://sec.example/debian-security\nSuites: bookworm-security\n\
                     Components: main\n",
                ),
                (
                    "sources.list.d/a-third-party.list",
                    "deb https://party.example/apt bookworm main\n",
                ),
            ],
        );
        let archives = Archives::of_machine(root.path()).unwrap();
        assert_eq!(archives.release, "bookworm");
        assert_eq!(
            archives.main.line_for("trixie"),
            "deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian trixie main\n"
        );
        let security = archives.security.unwrap();
        assert_eq!(
            security.line_for("trixie-security"),
            "deb http://sec.example/debian-security trixie-security main\n"
        );
    }

    #[test]
    fn one_line_sources() {
        let root = machine(
            BOOKWORM,
            &[(
                "sources.list",
                "# deb http://no.example/debian bookworm main\ndeb-src http://no.example/debian bookworm main\n\
                 deb [ arch=amd64 signed-by=/k.gpg ] http://yes.example/debian/ stable main # why\n",
            )],
        );
        let archives = Archives::of_machine(root.path()).unwrap();
        assert_eq!(archives.main.uri, "http://yes.example/debian/");
        assert_eq!(archives.main.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(archives.security, None);
    }

    #[test]
    fn disabled_sources_and_other_systems_do_not_count() {
        let disabled =
            "Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\n";
        let root = machine(BOOKWORM, &[("sources.list.d/x.sources", disabled)]);
        assert_eq!(Archives::of_machine(root.path()), None);
        let ubuntu = machine(
            "ID=ubuntu\nVERSION_CODENAME=noble\n",
            &[("sources.list", "deb http://a.example/ubuntu noble main\n")],
        );
        assert_eq!(Archives::of_machine(ubuntu.path()), None);
    }
}
