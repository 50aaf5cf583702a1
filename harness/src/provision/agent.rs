//! This program, built for kernels of another architecture than its own.
//!
//! Only the part that runs inside a kernel is built (the harness without its feature `suite`),
//! from the sources that this executable itself was built from: both ends of the serial port
//! have to agree on what goes over it, which a fingerprint of all sources makes sure of. The
//! target is musl's, since Rust brings its C library and a linker along: with them no C
//! toolchain for arm64 is needed, and the result is static.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::contents::{self, Read};
use super::{Cache, KernelName, Provision, ProvisionError, command};

/// Folder of the cache with the executable and its [`MANIFEST`].
pub(super) const FOLDER: &str = "agent-arm64";
/// File that says what the executable was built from.
const MANIFEST: &str = "agent.json";
/// Rust's name of what the executable is for.
const TARGET: &str = "aarch64-unknown-linux-musl";
/// The same in the names of cargo's variables.
const TARGET_VARIABLE: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL";
/// Package and executable.
const PACKAGE: &str = "harness";
const EXECUTABLE: &str = "conform";
/// What the executable is built from, below the folder of the workspace.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "harness/Cargo.toml",
    "harness/build.rs",
    "harness/src",
    "spec-model/Cargo.toml",
    "spec-model/src",
];
/// Variables that are about the machine's own architecture, such as `-C target-cpu=native`.
const NOT_INHERITED: [&str; 4] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
];

/// An executable of this program for arm64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The executable, static.
    pub executable: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    target: String,
    sources: String,
    executable: String,
}

impl Agent {
    /// The one in a folder, if it was built from the sources as they are now.
    pub(super) fn in_folder(folder: &Path, kernel: &KernelName) -> Result<Self, ProvisionError> {
        let missing = |problem: &str| ProvisionError::AgentMissing {
            problem: problem.to_owned(),
            kernel: kernel.clone(),
        };
        let none = missing("this program was not built for arm64 yet");
        Provision::Agent.verify(folder, Read::Everything, none)?;
        let manifest: Manifest = Provision::Agent.manifest(folder, MANIFEST)?;
        if manifest.target != TARGET || manifest.sources != fingerprint(&workspace()?)? {
            return Err(missing(
                "this program was built for arm64 from other sources than those that are here now",
            ));
        }
        Ok(Self {
            executable: folder.join(manifest.executable),
        })
    }
}

/// Builds it with cargo, into the target folder of the workspace, and copies it to the cache.
pub(super) fn build(cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Agent, ProvisionError> {
    let workspace = workspace()?;
    // What is changed while cargo runs is not in the executable.
    let sources = fingerprint(&workspace)?;
    add_standard_library(&workspace, progress)?;
    progress("agent for arm64: building, which takes minutes the first time");
    let mut cargo = Command::new("cargo");
    for variable in NOT_INHERITED {
        cargo.env_remove(variable);
    }
    cargo
        .env(format!("{TARGET_VARIABLE}_LINKER"), "rust-lld")
        .env(
            format!("{TARGET_VARIABLE}_RUSTFLAGS"),
            "-C target-feature=+crt-static -C link-self-contained=yes",
        )
        // It looks for an instruction here and there; the emulator is what takes time.
        .args(["--config", "profile.dev.package.spec-model.opt-level=1"])
        .args(["--config", "profile.dev.package.\"*\".opt-level=1"])
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(["--package", PACKAGE, "--bin", EXECUTABLE])
        .args(["--no-default-features", "--target", TARGET])
        .current_dir(&workspace);
    let messages = command::output_into(&mut cargo, Some(cache.folder()), command::PATIENCE)?;
    let built = executable(&messages).ok_or_else(|| {
        let path = workspace.join("Cargo.toml");
        ProvisionError::io(
            "find the executable that cargo built from",
            &path,
            io::ErrorKind::NotFound.into(),
        )
    })?;
    let part = cache.part()?;
    let folder = part.path().join(FOLDER);
    fs::create_dir(&folder).map_err(|source| ProvisionError::io("create", &folder, source))?;
    fs::copy(&built, folder.join(EXECUTABLE)).map_err(|source| ProvisionError::io("copy", &built, source))?;
    let manifest = Manifest {
        target: TARGET.to_owned(),
        sources,
        executable: EXECUTABLE.to_owned(),
    };
    let path = folder.join(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|source| ProvisionError::io("write", &path, source.into()))?;
    fs::write(&path, text + "\n").map_err(|source| ProvisionError::io("write", &path, source))?;
    contents::record(&folder)?;
    let home = cache.folder().join(FOLDER);
    super::replace(&folder, &home)?;
    progress("agent for arm64: ready");
    Ok(Agent {
        executable: home.join(EXECUTABLE),
    })
}

/// The path of the executable in cargo's messages (The Cargo Book, "External tools").
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
}

/// Makes sure that rustc has a standard library for the target. rustup is the only program
/// that adds one to an existing toolchain.
fn add_standard_library(workspace: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), ProvisionError> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(workspace);
    let sysroot = command::output(&mut rustc)?;
    let library = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib");
    if library.is_dir() {
        return Ok(());
    }
    progress(&format!("agent for arm64: rustup target add {TARGET}"));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(workspace);
    let added = command::output(&mut rustup);
    added.map(drop).map_err(|error| match error {
        ProvisionError::Interrupted => error,
        error => ProvisionError::NoCrossStandardLibrary {
            target: TARGET,
            problem: error.to_string(),
        },
    })
}

/// The folder of the workspace that this executable was built from.
fn workspace() -> Result<PathBuf, ProvisionError> {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = harness.parent().unwrap_or(harness);
    if SOURCES.iter().all(|source| folder.join(source).exists()) {
        Ok(folder.to_owned())
    } else {
        Err(ProvisionError::NoSources {
            folder: folder.to_owned(),
        })
    }
}

/// A fingerprint of everything that the executable is built from: names and contents.
fn fingerprint(workspace: &Path) -> Result<String, ProvisionError> {
    let mut hash = Xxh3::new();
    for source in SOURCES {
        digest(&workspace.join(source), &mut hash)?;
    }
    Ok(format!("{:032x}", hash.digest128()))
}

fn digest(path: &Path, hash: &mut Xxh3) -> Result<(), ProvisionError> {
    let io = |source| ProvisionError::io("read", path, source);
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(io)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(io)?;
        paths.sort();
        return paths.iter().try_for_each(|path| digest(path, hash));
    }
    let contents = fs::read(path).map_err(io)?;
    hash.update(&(contents.len() as u64).to_le_bytes());
    hash.update(&contents);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> KernelName {
        "arm64:debian:6.12".parse().unwrap()
    }

    #[test]
    fn a_fingerprint_knows_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        for source in SOURCES {
            let path = folder.path().join(source);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if source.ends_with("src") {
                fs::create_dir(&path).unwrap();
            } else {
                fs::write(&path, "").unwrap();
            }
        }
        let file = folder.path().join("harness/src/lib.rs");
        fs::write(&file, "a").unwrap();
        let first = fingerprint(folder.path()).unwrap();
        assert_eq!(first, fingerprint(folder.path()).unwrap());
        fs::write(&file, "b").unwrap();
        let second = fingerprint(folder.path()).unwrap();
        fs::rename(&file, file.with_file_name("main.rs")).unwrap();
        let third = fingerprint(folder.path()).unwrap();
        assert!(first != second && second != third && first != third);
    }

    #[test]
    fn an_agent_of_other_sources_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let error = Agent::in_folder(&folder.path().join("none"), &kernel())
            .unwrap_err()
            .to_string();
        assert!(error.contains("conform provision arm64:debian:6.12"), "{error}");
        let write = |sources: String| {
            let manifest = Manifest {
                target: TARGET.to_owned(),
                sources,
                executable: EXECUTABLE.to_owned(),
            };
            let text = serde_json::to_string(&manifest).unwrap();
            let _ = fs::remove_file(folder.path().join("contents.json"));
            fs::write(folder.path().join(MANIFEST), text).unwrap();
            contents::record(folder.path()).unwrap();
        };
        write("0".to_owned());
        let error = Agent::in_folder(folder.path(), &kernel())
            .unwrap_err()
            .to_string();
        assert!(error.contains("other sources"), "{error}");
        write(fingerprint(&workspace().unwrap()).unwrap());
        let agent = Agent::in_folder(folder.path(), &kernel()).unwrap();
        assert_eq!(agent.executable, folder.path().join(EXECUTABLE));
    }

    #[test]
    fn the_executable_is_the_one_that_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/conform\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/conform")));
        assert_eq!(executable("cargo\n"), None);
    }
}
