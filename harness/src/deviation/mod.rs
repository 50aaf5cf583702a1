//! Known deviations: what a target is known to do against the manuals.
//!
//! One YAML file each, in `cases/deviations/`. A deviation is a set of defects of the model,
//! the targets and kernels that have them, and the evidence. How it counts is decided in
//! [`crate::judge`]: a run must be, to the last field, what the model does with all
//! applicable deviations on.

mod kernel_range;
mod parse;

use std::path::{Path, PathBuf};

use spec_model::defect::Defect;
use spec_model::requirement::Requirement;

pub use kernel_range::{BadKernelRange, KernelRange, KernelVersion};
pub use parse::{Mistake, deviation_schema, parse};

use crate::target::{Backend, Identity, Mode, Processor};

/// One known deviation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What happens, in one sentence.
    pub title: String,
    /// The backends that do it.
    pub targets: Vec<Backend>,
    /// Only where KVM runs on this processor: the deviation is the processor's. Any if absent.
    pub processor: Option<Processor>,
    /// Only where the processor walks the guest's page tables itself, not where KVM makes shadow page
    /// tables.
    pub nested_paging: bool,
    /// The modes of a run in which it shows; all of them if empty.
    pub modes: Vec<Mode>,
    /// The kernels that do it.
    pub kernels: KernelRange,
    /// The defects that make the model do the same.
    pub defects: Vec<Defect>,
    /// The requirement that is not met.
    pub requirement: &'static Requirement,
    /// Why it is so.
    pub reason: String,
    /// Where that is written: a commit, a thread, a line of source.
    pub source: String,
    /// How and on what it was seen.
    pub found: String,
    /// The file that lists it.
    pub file: PathBuf,
}

impl Deviation {
    /// Whether a target is known to do this in runs of that mode.
    #[must_use]
    pub fn applies_to(&self, target: &Identity, mode: Mode) -> bool {
        let version = KernelVersion::of_release(&target.kernel);
        // What SVM does it does with and without nested paging, unless the file says otherwise.
        let svm = target.backend == Backend::SvmNpt0 && self.targets.contains(&Backend::Svm);
        (svm || self.targets.contains(&target.backend))
            && !(self.nested_paging && target.backend.has_shadow_paging())
            && (self.modes.is_empty() || self.modes.contains(&mode))
            && self
                .processor
                .is_none_or(|processor| processor == target.processor)
            && match version {
                Some(version) => self.kernels.contains(version),
                // A release without a number is in no range that has bounds.
                None => self.kernels.is_everything(),
            }
    }
}

/// The deviations that apply to a target in runs of a mode.
#[must_use]
pub fn applicable<'d>(deviations: &'d [Deviation], target: &Identity, mode: Mode) -> Vec<&'d Deviation> {
    let applies = |deviation: &&Deviation| deviation.applies_to(target, mode);
    deviations.iter().filter(applies).collect()
}

/// Reads every `*.yaml` of a folder, in the order of their names. A folder that is not
/// there holds none.
///
/// # Errors
/// Every mistake of every file, with its place.
pub fn load_folder(folder: &Path) -> Result<Vec<Deviation>, Vec<Mistake>> {
    let unreadable =
        |path: &Path, error: &std::io::Error| Mistake::in_file(path, &format!("cannot be read: {error}"));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(vec![unreadable(folder, &error)]),
    };
    let mut files = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => files.push(entry.path()),
            Err(error) => return Err(vec![unreadable(folder, &error)]),
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let (mut deviations, mut mistakes) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::read(&file) {
            Ok(bytes) => match parse(&file, &bytes) {
                Ok(deviation) => deviations.push(deviation),
                Err(found) => mistakes.extend(found),
            },
            Err(error) => mistakes.push(unreadable(&file, &error)),
        }
    }
    if mistakes.is_empty() {
        Ok(deviations)
    } else {
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests;
