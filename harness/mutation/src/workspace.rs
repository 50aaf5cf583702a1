//! The copy of the workspace in which the mutants are built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::copy::Copy;
use crate::model::{BuildError, Model, SOURCES, at};
use crate::rewrite::Place;
use crate::unviable::{Message, Unviable, errors, not_constant};

/// What of the repository the copy has.
const COPIED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "spec-model", "harness"];
/// Builds after which what does not compile is given up on. A few are enough.
const MOST_BUILDS: usize = 30;

/// A model that is built.
pub struct Built {
    /// The program that runs cases on it.
    pub runner: PathBuf,
    /// Numbers of the mutants that are in it.
    pub viable: Vec<usize>,
}

/// Builds a copy of the repository at `root` with all mutants, in `folder`. `cargo` writes into `target`.
///
/// # Errors
/// If something cannot be read or written, or does not compile.
pub fn build(model: &Model, root: &Path, folder: &Path, target: &Path) -> Result<Built, BuildError> {
    let mut copy = Copy::default();
    for name in COPIED {
        copy.add(root, Path::new(name))?;
    }
    copy.change("Cargo.toml", |text| {
        text.replacen("members = [", "members = [\"runner\", ", 1)
    });
    copy.put("runner/Cargo.toml", include_str!("../template/Cargo.toml"));
    copy.put("runner/src/main.rs", include_str!("../template/runner.rs"));
    copy.put(
        format!("{SOURCES}/mutation.rs"),
        include_str!("../template/switch.rs"),
    );
    copy.change(&format!("{SOURCES}/lib.rs"), |text| {
        let forbids = "#![forbid(unsafe_code)]";
        // A mutant may do what always panics.
        let allows = "#![allow(warnings, arithmetic_overflow, overflowing_literals, unconditional_panic)]";
        let allowing = text.replacen(forbids, &format!("{forbids}\n{allows}"), 1);
        format!("{allowing}\npub mod mutation;\n")
    });
    at(folder, fs::create_dir_all(folder))?;
    let list = folder.join("unviable.json");
    let mut unviable = Unviable::read(&list, model.fingerprint).unwrap_or_default();
    for _ in 0..MOST_BUILDS {
        let mut places = Vec::new();
        for (index, source) in model.sources.iter().enumerate() {
            let rendered = model.render(index, &unviable);
            copy.put(format!("{SOURCES}/{}", source.file), rendered.text);
            places.push(rendered.places);
        }
        copy.write(folder)?;
        let found = cargo(folder, target, &["check", "--package", "spec-model"])?;
        if found.is_empty() {
            at(&list, unviable.write(&list, model.fingerprint))?;
            // Optimizing thousands of switches takes longer than they take.
            let option = "profile.dev.package.spec-model.opt-level=1";
            let refused = cargo(
                folder,
                target,
                &["build", "--package", "mutation-runner", "--config", option],
            )?;
            if let Some(error) = refused.into_iter().next() {
                return Err(BuildError::Compiler {
                    folder: folder.to_owned(),
                    what: error.message,
                });
            }
            let viable = model.mutants().map(|(number, _)| number);
            return Ok(Built {
                runner: target.join("debug/mutation-runner"),
                viable: viable
                    .filter(|number| !model.is_left_out(*number, &unviable))
                    .collect(),
            });
        }
        let before = unviable.clone();
        for error in &found {
            leave_out(model, &places, error, &mut unviable);
        }
        if unviable == before {
            return Err(BuildError::Compiler {
                folder: folder.to_owned(),
                what: found
                    .into_iter()
                    .next()
                    .map_or_else(String::new, |error| error.message),
            });
        }
        println!("{} mutants do not compile", unviable.mutants.len());
    }
    Err(BuildError::Compiler {
        folder: folder.to_owned(),
        what: format!("{MOST_BUILDS} builds were not enough to find what does not"),
    })
}

/// Notes what an error is about.
fn leave_out(model: &Model, places: &[Vec<Place>], error: &Message, unviable: &mut Unviable) {
    if let Some(name) = not_constant(error) {
        unviable.constant.insert(name.to_owned());
        return;
    }
    for span in error.places() {
        let source = model.sources.iter().position(|source| {
            let path = Path::new(SOURCES).join(&source.file);
            Path::new(&span.file_name).ends_with(path)
        });
        let Some(source) = source else { continue };
        let around = |place: &&Place| {
            place.range.start <= span.byte_start
                && span.byte_end <= place.range.end
                && !place.mutants.is_empty()
        };
        let innermost = places[source]
            .iter()
            .filter(around)
            .min_by_key(|place| place.range.len());
        if let Some(place) = innermost {
            let first = model.first[source];
            unviable
                .mutants
                .extend(place.mutants.iter().map(|mutant| first + mutant));
            return;
        }
    }
}

/// Calls cargo in the copy. Gives the errors of the compiler.
fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> Result<Vec<Message>, BuildError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--message-format", "json", "--target-dir"])
        .arg(target)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = at(folder, output)?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let found = errors(&String::from_utf8_lossy(&output.stdout));
    if found.is_empty() {
        return Err(BuildError::Compiler {
            folder: folder.to_owned(),
            what: "cargo says why above".to_owned(),
        });
    }
    Ok(found)
}
