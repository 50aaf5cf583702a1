//! Gives the program the fingerprint of its own sources, by which an agent in a booted kernel and
//! the judge outside of it know that they were built from the same ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the program is built from, from the folder of this package.
const SOURCES: [&str; 6] = [
    "Cargo.toml",
    "build.rs",
    "src",
    "../Cargo.lock",
    "../spec-model/Cargo.toml",
    "../spec-model/src",
];

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        collect(Path::new(source), &mut files)?;
    }
    files.sort();
    let mut fingerprint = Fnv::new();
    for file in files {
        fingerprint.add(file.to_string_lossy().as_bytes());
        fingerprint.add(&fs::read(&file)?);
    }
    println!("cargo::rustc-env=CONFORM_BUILD={:016x}", fingerprint.0);
    Ok(())
}

/// The files at or below a path.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

/// FNV-1a, 64 bits. It is the same whatever compiles it.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
