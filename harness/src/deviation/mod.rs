//! Known deviations: what a target is known to do against the manuals.
//!
//! One YAML file each, in `cases/deviations/`. A deviation is a set of defects of the model,
//! the targets and kernels that have them, and the evidence. How it counts is decided in
//! [`crate::judge`]: a run must be, to the last field, what the model does with all
//! applicable deviations on. A complaint of the kernel, or its death, has no defect: it is listed with
//! the cases in which it comes.

mod change;
mod complaint;
mod file;
mod kernel_range;
mod kernel_version;
mod mistake;
mod parse;
mod processor_range;
mod upstream;

use std::path::{Path, PathBuf};

use spec_model::defect::Defect;
use spec_model::requirement::Requirement;

pub use change::{BadChange, Change};
pub use complaint::{ListedComplaint, ListedReport};
pub use file::deviation_schema;
pub use kernel_range::{BadKernelRange, KernelRange};
pub use kernel_version::{Answer, BadTag, KernelVersion, Tag};
pub use mistake::Mistake;
pub use parse::parse;
pub use processor_range::{BadProcessorRange, ProcessorRange};
pub use upstream::{Upstream, UpstreamStatus};

use crate::case::wrong_ending;
use crate::target::{Backend, Identity, Mode};

/// One known deviation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What happens, in one sentence.
    pub title: String,
    /// The backends on which it was seen.
    pub targets: Vec<Backend>,
    /// Those that are expected to do it, by reading alone.
    pub expected: Vec<Backend>,
    /// Only where KVM runs on this processor: the deviation is the processor's. Any if absent.
    pub processor: Option<ProcessorRange>,
    /// KVM's fault, although it shows on that processor only.
    pub of_kvm: bool,
    /// Only where the processor walks the guest's page tables itself, not where KVM makes shadow page
    /// tables.
    pub nested_paging: bool,
    /// The modes of a run in which it shows; all of them if empty.
    pub modes: Vec<Mode>,
    /// The kernels that do it.
    pub kernels: KernelRange,
    /// The defects that make the model do the same; none if it is a complaint.
    pub defects: Vec<Defect>,
    /// What the kernel complains of, if it is that.
    pub complaint: Option<ListedComplaint>,
    /// The requirement that is not met.
    pub requirement: &'static Requirement,
    /// Why it is so.
    pub reason: String,
    /// Where that is written: a commit, a thread, a line of source.
    pub source: String,
    /// How it was seen.
    pub found: String,
    /// What those who maintain it say about it.
    pub upstream: Upstream,
    /// The file that lists it.
    pub file: PathBuf,
    /// Whether that is one of the user's own, in a folder beside the suite's.
    pub is_users_own: bool,
}

impl Deviation {
    /// Whether a target is known to do this in runs of that mode.
    ///
    /// The version of a kernel that was built between two tags does not tell which commits are in it: then it may
    /// do this. So may a backend on which it is expected and was never seen.
    #[must_use]
    pub fn applies_to(&self, target: &Identity, mode: Mode) -> Answer {
        // What SVM does it does with and without nested paging, unless the file says otherwise.
        let is_on = |backends: &[Backend]| {
            let svm = target.backend == Backend::SvmNpt0 && backends.contains(&Backend::Svm);
            svm || backends.contains(&target.backend)
        };
        let place = match (is_on(&self.targets), is_on(&self.expected)) {
            (true, _) => Answer::Yes,
            (false, true) => Answer::Perhaps,
            (false, false) => Answer::No,
        };
        let shadow_paging = self.nested_paging && target.backend.has_shadow_paging();
        let other_mode = !self.modes.is_empty() && !self.modes.contains(&mode);
        if shadow_paging || other_mode {
            return Answer::No;
        }
        let processor = self.processor.as_ref();
        place
            .min(processor.map_or(Answer::Yes, |processor| processor.holds_for(target)))
            .min(self.is_in_kernel_of(target))
    }

    fn is_in_kernel_of(&self, target: &Identity) -> Answer {
        // Debian's release hides the number within a stable branch, which `uname -v` has.
        let release = format!("{} {}", target.kernel, target.system.version);
        match KernelVersion::of_release(release.trim_end()) {
            Some(version) => self.kernels.contains(version),
            None if self.kernels.is_everything() => Answer::Yes,
            // A release without a number is in no range that has bounds.
            None => Answer::No,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let mut backends = self.targets.iter().chain(&self.expected);
        if self.processor.is_some() && !self.of_kvm {
            Owner::Emulator
        } else if backends.all(|backend| *backend == Backend::XenPv) {
            Owner::Xen
        } else {
            Owner::Kvm
        }
    }

    /// Name of its file without the ending.
    #[must_use]
    pub fn name(&self) -> String {
        let stem = self.file.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

/// Whose fault a deviation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// KVM's.
    Kvm,
    /// Xen's.
    Xen,
    /// That of the emulated processor that the hypervisor runs on.
    Emulator,
}

/// That nothing is known about the emulated processor of a target, if it has one in a version about which
/// no deviation of a processor is.
#[must_use]
pub fn untested_emulator(deviations: &[Deviation], target: &Identity) -> Option<String> {
    let emulator = target.system.emulator.as_ref()?;
    let mut ranges = deviations
        .iter()
        .filter_map(|deviation| deviation.processor.as_ref())
        .filter(|range| range.is_about(target.processor))
        .peekable();
    ranges.peek()?;
    ranges.all(|range| range.holds_for(target) == Answer::No).then(|| {
        format!(
            "{emulator} is a version about which no known deviation is: what its processor does wrong is not \
             excused here, and looks like the hypervisor's"
        )
    })
}

/// The deviations that a target has in runs of a mode, and those that it may have, as far as
/// the version of its kernel tells.
#[derive(Clone, Debug, Default)]
pub struct Applicable<'d> {
    /// It has these.
    pub certain: Vec<&'d Deviation>,
    /// It has some of these.
    pub possible: Vec<&'d Deviation>,
}

impl<'d> Applicable<'d> {
    /// Those of the deviations that are about a target.
    #[must_use]
    pub fn to(deviations: &'d [Deviation], target: &Identity, mode: Mode) -> Self {
        let mut applicable = Self::default();
        for deviation in deviations {
            match deviation.applies_to(target, mode) {
                Answer::Yes => applicable.certain.push(deviation),
                Answer::Perhaps => applicable.possible.push(deviation),
                Answer::No => {}
            }
        }
        applicable
    }

    /// Those that list what the kernel complains of, and those of what guests do.
    #[must_use]
    pub fn split(&self) -> (Vec<&'d Deviation>, Self) {
        let of_guest = |deviation: &&&'d Deviation| deviation.complaint.is_none();
        let all = self.certain.iter().chain(&self.possible);
        let complaints = all
            .filter(|deviation| deviation.complaint.is_some())
            .copied()
            .collect();
        let of_guests = Self {
            certain: self.certain.iter().filter(of_guest).copied().collect(),
            possible: self.possible.iter().filter(of_guest).copied().collect(),
        };
        (complaints, of_guests)
    }

    /// Why nothing is said about the possible ones where only the certain ones can be asked
    /// about, if there are any.
    #[must_use]
    pub fn remark(&self, target: &Identity) -> Option<String> {
        let count = self.possible.len();
        (count > 0).then(|| {
            format!(
                "the version {} does not tell whether the kernel has {count} of the known deviations: of what these do, only the runs that are shown in full count as known",
                target.kernel,
            )
        })
    }
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
    files.sort();
    let (mut deviations, mut mistakes) = (Vec::new(), Vec::new());
    mistakes.extend(
        files
            .iter()
            .filter_map(|file| wrong_ending(file))
            .map(Mistake::from),
    );
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
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
