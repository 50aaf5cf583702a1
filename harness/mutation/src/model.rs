//! The sources of the model with their mutants.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::default::Aliases;
use crate::find::{Source, find};
use crate::module;
use crate::mutant::Mutant;
use crate::rewrite::{Rendered, Switches, render};
use crate::unviable::Unviable;

/// Sources of the model, from the root of the repository.
pub const SOURCES: &str = "spec-model/src";

/// What goes wrong before any mutant is tried.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read or written, or cargo not started.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A source is no Rust.
    #[error("{file}: {error}")]
    Syntax {
        /// The source.
        file: String,
        /// Why.
        error: syn::Error,
    },
    /// The copy does not compile for a reason that has nothing to do with a mutant.
    #[error("the copy in {} does not compile: {what}", folder.display())]
    Compiler {
        /// The copy.
        folder: PathBuf,
        /// The first error.
        what: String,
    },
}

pub(crate) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, BuildError> {
    result.map_err(|error| BuildError::File {
        path: path.to_owned(),
        error,
    })
}

/// The sources of the model with all mutants, numbered from 1 in their order.
pub struct Model {
    pub(crate) sources: Vec<Source>,
    /// The number of the first mutant of each source.
    pub(crate) first: Vec<usize>,
    pub(crate) fingerprint: u64,
}

impl Model {
    /// Reads the sources below `root`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(root: &Path) -> Result<Self, BuildError> {
        let folder = root.join(SOURCES);
        let mut files = Vec::new();
        at(&folder, files_below(&folder, &mut files))?;
        files.sort();
        let mut texts = Vec::new();
        let mut aliases = Aliases::default();
        let mut hasher = DefaultHasher::new();
        for path in files {
            let name = path
                .strip_prefix(&folder)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            let text = at(&path, fs::read_to_string(&path))?;
            let syntax = |error| BuildError::Syntax {
                file: name.clone(),
                error,
            };
            aliases.add(&syn::parse_file(&text).map_err(syntax)?);
            (&name, &text).hash(&mut hasher);
            texts.push((name, text));
        }
        let (mut sources, mut first, mut next) = (Vec::new(), Vec::new(), 1);
        for (file, text) in texts.into_iter().filter(|(file, _)| module::has_rules(file)) {
            let source = find(&file, &text, &aliases).map_err(|error| BuildError::Syntax { file, error })?;
            first.push(next);
            next += source.mutants.len();
            sources.push(source);
        }
        Ok(Self {
            sources,
            first,
            fingerprint: hasher.finish(),
        })
    }

    /// All mutants with their numbers.
    pub fn mutants(&self) -> impl Iterator<Item = (usize, &Mutant)> {
        let of = |(source, first): (&'_ Source, &usize)| (source.mutants.len(), *first);
        let numbers = self.sources.iter().zip(&self.first).flat_map(move |pair| {
            let (count, first) = of(pair);
            first..first + count
        });
        numbers.zip(self.sources.iter().flat_map(|source| &source.mutants))
    }

    /// A source with its mutants.
    pub(crate) fn render(&self, index: usize, unviable: &Unviable) -> Rendered {
        let (source, first) = (&self.sources[index], self.first[index]);
        let number = |mutant: usize| {
            let constant = source.constant[mutant].as_ref();
            let left_out = unviable.mutants.contains(&(first + mutant))
                || constant.is_some_and(|name| unviable.constant.contains(name));
            (!left_out).then_some(first + mutant)
        };
        let stays_const = |name: &str| unviable.constant.contains(name);
        let switches = Switches {
            number: &number,
            stays_const: &stays_const,
        };
        render(&source.text, &source.edits, &switches)
    }

    /// Whether the compiler refuses a mutant.
    pub(crate) fn is_left_out(&self, number: usize, unviable: &Unviable) -> bool {
        let index = self.first.partition_point(|first| *first <= number) - 1;
        let constant = self.sources[index].constant[number - self.first[index]].as_ref();
        unviable.mutants.contains(&number) || constant.is_some_and(|name| unviable.constant.contains(name))
    }
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
