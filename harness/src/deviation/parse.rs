//! Reads one deviation file, strictly.

use std::path::Path;

use serde_yaml::Spanned;
use spec_model::defect::Defect;
use spec_model::requirement::{self, Requirement};

use super::file::{ChangeEntry, File, UpstreamEntry};
use super::{
    BadTag, Change, Deviation, KernelRange, ListedReport, Mistake, ProcessorRange, Tag, Upstream,
    UpstreamStatus,
};
use crate::target::complaint::ComplaintKind;
use crate::target::{Backend, Mode};

/// Reads one file's contents. `file` is its name in messages.
///
/// # Errors
/// If it is not what a deviation file must be: every mistake in the values, or the first
/// one in the structure.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Deviation, Vec<Mistake>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let mut mistake = Mistake::in_file(file, "not UTF-8; save the file as UTF-8");
            mistake.line = line as u64;
            return Err(vec![mistake]);
        }
    };
    if text.trim().is_empty() {
        let message = "the file is empty; it needs title, targets, defects, requirement, reason, source, found and upstream";
        return Err(vec![Mistake::in_file(file, message)]);
    }
    let unread = crate::case::unread_yaml(file, text);
    if !unread.is_empty() {
        return Err(unread.into_iter().map(Mistake::from).collect());
    }
    let written: File = serde_yaml::from_str(text).map_err(|error| {
        // Without the snippet: file, line and column stand before it anyway.
        let message = error.without_snippet().to_string();
        let mut mistake = Mistake::in_file(file, &message);
        if let Some(location) = error.location() {
            (mistake.line, mistake.column) = (location.line(), location.column());
        }
        vec![mistake]
    })?;
    Reader {
        file,
        mistakes: Vec::new(),
    }
    .read(written)
}

struct Reader<'a> {
    file: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn read(mut self, written: File) -> Result<Deviation, Vec<Mistake>> {
        let targets = self.backends(written.targets.as_ref());
        let expected = self.backends(written.expected_on.as_ref());
        let processor = written.processor.as_ref().and_then(|range| self.processor(range));
        let upstream = self.upstream(&written.upstream);
        let modes = written.modes.as_ref().map(|modes| self.modes(modes));
        let defects = self.defects_unless_complaint(&written);
        let kernels = self.kernels(&written);
        self.check_backends(&written, &targets, &expected);
        let requirement = self.requirement(&written.requirement, &defects);
        for (name, text) in [
            ("title", &written.title),
            ("reason", &written.reason),
            ("source", &written.source),
            ("found", &written.found),
        ] {
            if text.value.trim().is_empty() {
                self.mistake(
                    text,
                    format!("`{name}` is empty; a deviation without it proves nothing"),
                );
            }
        }
        let Some(requirement) = requirement.filter(|_| self.mistakes.is_empty()) else {
            self.mistakes
                .sort_by_key(|mistake| (mistake.line, mistake.column));
            return Err(self.mistakes);
        };
        Ok(Deviation {
            title: written.title.value,
            targets,
            expected,
            processor,
            of_kvm: written.whose.is_some(),
            nested_paging: written.paging.is_some(),
            modes: modes.unwrap_or_default(),
            kernels,
            defects,
            complaint: written.complaint.map(|complaint| complaint.value),
            requirement,
            reason: written.reason.value,
            source: written.source.value,
            found: written.found.value,
            upstream,
            file: self.file.to_owned(),
            is_users_own: false,
        })
    }

    /// The requirement. Breaking it must be what a defect of the file does.
    fn requirement(&mut self, written: &Spanned<String>, defects: &[Defect]) -> Option<&'static Requirement> {
        let id = &written.value;
        let Some(requirement) = requirement::find(id) else {
            let message = format!("no requirement has the id `{id}`; `conform explain` lists them");
            self.mistake(written, message);
            return None;
        };
        let mut broken: Vec<&str> = defects.iter().map(|defect| defect.requirement().id).collect();
        broken.sort_unstable();
        broken.dedup();
        if !broken.is_empty() && !broken.contains(&requirement.id) {
            let message = format!(
                "no defect of this file breaks {id}; they break {}",
                broken.join(", ")
            );
            self.mistake(written, message);
        }
        Some(requirement)
    }

    /// The kernels, by their bounds and by the commits.
    fn kernels(&mut self, written: &File) -> KernelRange {
        let bounds = written.kernels.as_ref().and_then(|range| {
            let parsed = range.value.parse::<KernelRange>();
            parsed
                .map_err(|error| self.mistake(range, error.to_string()))
                .ok()
        });
        let introduced = written.introduced.as_ref().and_then(|entry| self.change(entry));
        let fixed = written.fixed.as_ref().and_then(|entry| self.change(entry));
        let at = written.fixed.as_ref().or(written.introduced.as_ref());
        match (bounds.unwrap_or_default().between(introduced, fixed), at) {
            (Ok(range), _) => range,
            (Err(error), Some(at)) => {
                self.mistake(at, error.to_string());
                KernelRange::default()
            }
            // Bounds alone were checked when they were read.
            (Err(_), None) => KernelRange::default(),
        }
    }

    fn change(&mut self, written: &Spanned<ChangeEntry>) -> Option<Change> {
        let entry = &written.value;
        let first_in = self.tag(&entry.first_in);
        let stable: Vec<Option<Tag>> = entry.stable.iter().map(|text| self.tag(text)).collect();
        let stable = stable.into_iter().collect::<Option<Vec<Tag>>>();
        Change::new(entry.commit.clone(), first_in?, stable?)
            .map_err(|error| self.mistake(written, error.to_string()))
            .ok()
    }

    fn tag(&mut self, written: &Spanned<String>) -> Option<Tag> {
        let text = &written.value;
        text.strip_prefix('v')
            .unwrap_or(text)
            .parse()
            .map_err(|error: BadTag| self.mistake(written, error.to_string()))
            .ok()
    }

    /// The processor and its versions. Without these nobody knows what was seen.
    fn processor(&mut self, written: &Spanned<String>) -> Option<ProcessorRange> {
        written
            .value
            .parse()
            .map_err(|error: super::BadProcessorRange| self.mistake(written, error.to_string()))
            .ok()
    }

    fn upstream(&mut self, written: &Spanned<UpstreamEntry>) -> Upstream {
        let place = written.value.place.clone().unwrap_or_default();
        let is_told = written.value.status != UpstreamStatus::Unreported;
        if is_told && place.trim().is_empty() {
            let message = "`where` is missing; say which commit, comment, thread or document that is";
            self.mistake(written, message.to_owned());
        }
        Upstream {
            status: written.value.status,
            place,
        }
    }

    /// Refuses backends that together name nothing.
    fn check_backends(&mut self, written: &File, targets: &[Backend], expected: &[Backend]) {
        let Some(at) = written.targets.as_ref().or(written.expected_on.as_ref()) else {
            let message = "name at least one backend in `targets`, or in `expected-on` if it was never seen: svm, vmx, \
                pvm or xen-pv";
            self.mistake(&written.title, message.to_owned());
            return;
        };
        let all: Vec<Backend> = targets.iter().chain(expected).copied().collect();
        if let (Some(expected_on), true) = (
            &written.expected_on,
            expected.iter().any(|backend| targets.contains(backend)),
        ) {
            let message = "what was seen on a backend is more than expected there; leave it out here";
            self.mistake(expected_on, message.to_owned());
        }
        let xen = all.contains(&Backend::XenPv);
        let mixed = xen && all.len() > 1;
        let bounded = [
            written.kernels.is_some(),
            written.introduced.is_some(),
            written.fixed.is_some(),
        ];
        if mixed && bounded.contains(&true) {
            let message =
                "xen-pv has Xen's versions and the other targets those of Linux; write a file for each";
            self.mistake(at, message.to_owned());
        }
        let only_saved = written
            .modes
            .as_ref()
            .is_some_and(|modes| modes.value.iter().all(|mode| mode.value != Mode::Normal.name()));
        if xen && !mixed && only_saved {
            let message = "xen-pv runs in mode normal only, so this file is about nothing";
            self.mistake(at, message.to_owned());
        }
        for own in [targets, expected] {
            if own.contains(&Backend::Svm) && own.contains(&Backend::SvmNpt0) {
                let message = "svm means svm-npt0 too; leave that out";
                self.mistake(at, message.to_owned());
            }
        }
        if written.whose.is_some() && written.processor.is_none() {
            let message = "without `processor` it is KVM's, or Xen's, anyway; leave `whose` out";
            self.mistake(at, message.to_owned());
        }
        if written.processor.is_some() && all.contains(&Backend::Vmx) {
            let message = "QEMU's processor has no VMX, so that is about nothing";
            self.mistake(at, message.to_owned());
        }
    }

    fn backends(&mut self, written: Option<&Spanned<Vec<Spanned<String>>>>) -> Vec<Backend> {
        let Some(written) = written else { return Vec::new() };
        if written.value.is_empty() {
            let message = "name at least one backend, or leave the key out: svm, vmx, pvm or xen-pv";
            self.mistake(written, message.to_owned());
        }
        let mut backends = Vec::new();
        for name in &written.value {
            let mut known = Backend::KNOWN.into_iter();
            match known.find(|backend| backend.to_string() == name.value) {
                Some(backend) if backends.contains(&backend) => {
                    self.mistake(name, format!("`{}` is named twice", name.value));
                }
                Some(backend) => backends.push(backend),
                None => {
                    let message = format!(
                        "no target is called `{}`; there are svm, vmx, pvm and xen-pv",
                        name.value
                    );
                    self.mistake(name, message);
                }
            }
        }
        backends
    }

    fn modes(&mut self, written: &Spanned<Vec<Spanned<String>>>) -> Vec<Mode> {
        if written.value.is_empty() {
            let message = "name at least one mode, or leave `modes` out for all of them";
            self.mistake(written, message.to_owned());
        }
        let mut modes = Vec::new();
        for name in &written.value {
            match Mode::ALL.into_iter().find(|mode| mode.name() == name.value) {
                Some(mode) if modes.contains(&mode) => {
                    self.mistake(name, format!("`{}` is named twice", name.value));
                }
                Some(mode) => modes.push(mode),
                None => {
                    let known = Mode::ALL.map(Mode::name).join(", ");
                    self.mistake(
                        name,
                        format!("no mode is called `{}`; there are {known}", name.value),
                    );
                }
            }
        }
        modes
    }

    /// The defects, or none where the kernel complains.
    fn defects_unless_complaint(&mut self, written: &File) -> Vec<Defect> {
        let host = requirement::HOST_001.id;
        let is_host = written.requirement.value == host;
        match (&written.defects, &written.complaint) {
            (Some(defects), None) => {
                if is_host {
                    let message =
                        format!("{host} is about the kernel's log; with it comes `complaint`, not `defects`");
                    self.mistake(&written.requirement, message);
                }
                return self.defects(defects);
            }
            (Some(_), Some(complaint)) => {
                let message = "a complaint of the kernel is nothing that a defect of the model does; leave out one of `defects` and `complaint`";
                self.mistake(complaint, message.to_owned());
            }
            (None, Some(complaint)) => {
                if complaint.value.cases.is_empty() {
                    self.mistake(
                        complaint,
                        "`cases` is empty; name the cases in which it comes".to_owned(),
                    );
                }
                if complaint.value.any_of.is_empty() {
                    let message = "`any-of` is empty; name what the kernel complains of";
                    self.mistake(complaint, message.to_owned());
                }
                let lost = |listed: &ListedReport| listed.kind == ComplaintKind::Overrun;
                if complaint.value.any_of.iter().any(lost) {
                    let message =
                        "that messages were lost is nothing to be listed: nobody knows what they said";
                    self.mistake(complaint, message.to_owned());
                }
                if !is_host {
                    let message = format!("with `complaint` it is {host} that is not met");
                    self.mistake(&written.requirement, message);
                }
            }
            (None, None) => {
                let message = "`defects` is missing; name those of the model that do the same, or, if it is the kernel that \
                    complains, `complaint`";
                self.mistake(&written.title, message.to_owned());
            }
        }
        Vec::new()
    }

    fn defects(&mut self, written: &Spanned<Vec<Spanned<String>>>) -> Vec<Defect> {
        if written.value.is_empty() {
            let message = "name at least one defect; `conform defects` lists them";
            self.mistake(written, message.to_owned());
        }
        let mut defects = Vec::new();
        for name in &written.value {
            match name.value.parse::<Defect>() {
                Ok(defect) if defects.contains(&defect) => {
                    self.mistake(name, format!("`{defect}` is named twice"));
                }
                Ok(defect) => defects.push(defect),
                Err(error) => self.mistake(name, error.to_string()),
            }
        }
        defects
    }

    fn mistake<T>(&mut self, at: &Spanned<T>, message: String) {
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            line: at.referenced.line(),
            column: at.referenced.column(),
            message,
        });
    }
}
