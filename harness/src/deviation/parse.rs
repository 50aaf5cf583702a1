//! Reads one deviation file, strictly.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;
use spec_model::defect::Defect;
use spec_model::requirement::{self, Requirement};

use super::{BadTag, Change, Deviation, KernelRange, Tag};
use crate::target::{Backend, Mode, Processor};

/// A known deviation: what targets are known to do against the manuals.
// Field names are the keys, and the comments become the schema's descriptions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Known deviation")]
struct File {
    /// What happens, in one sentence.
    #[schemars(with = "String")]
    title: Spanned<String>,
    /// The KVM backends that do it.
    #[schemars(with = "Vec<BackendName>", length(min = 1))]
    targets: Spanned<Vec<Spanned<String>>>,
    /// The processor whose deviation it is rather than KVM's.
    processor: Option<ProcessorName>,
    /// The only modes of a run in which it shows; every mode if absent.
    #[schemars(with = "Option<Vec<ModeName>>", length(min = 1))]
    modes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The kernels that do it, for instance `>=5.10, <6.2-rc1`; all of them if absent.
    #[schemars(with = "Option<String>")]
    kernels: Option<Spanned<String>>,
    /// The commit that brought it. Only kernels with it do it.
    #[schemars(with = "Option<ChangeEntry>")]
    introduced: Option<Spanned<ChangeEntry>>,
    /// The commit that ended it. Only kernels without it do it.
    #[schemars(with = "Option<ChangeEntry>")]
    fixed: Option<Spanned<ChangeEntry>>,
    /// Defects of the model that do the same; `conform defects` lists them.
    #[schemars(with = "Vec<String>", length(min = 1))]
    defects: Spanned<Vec<Spanned<String>>>,
    /// Id of the requirement that is not met.
    #[schemars(with = "String")]
    requirement: Spanned<String>,
    /// Why it is so.
    #[schemars(with = "String")]
    reason: Spanned<String>,
    /// Where that is written: a commit, a thread, a file and function.
    #[schemars(with = "String")]
    source: Spanned<String>,
    /// How and on what it was seen.
    #[schemars(with = "String")]
    found: Spanned<String>,
}

/// A commit, and the releases that have it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Commit")]
struct ChangeEntry {
    /// 12 to 40 digits of its name.
    commit: String,
    /// The first tag of the mainline that has it, for instance `6.2-rc1`.
    #[schemars(with = "String")]
    first_in: Spanned<String>,
    /// The first release with it of each stable branch that it was put on, for instance
    /// `[6.1.20, 5.15.103]`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    stable: Vec<Spanned<String>>,
}

/// The names in [`BACKENDS`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum BackendName {
    Svm,
    SvmNpt0,
    Vmx,
    Pvm,
    #[serde(rename = "xen-pv")]
    XenPv,
    Arm64Nvhe,
    Arm64Vhe,
}

/// The names of [`Mode::ALL`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum ModeName {
    Normal,
    UserspaceRewrite,
    Migrate,
}

/// Processors that deviate by themselves.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ProcessorName {
    /// QEMU's TCG.
    QemuTcg,
}

/// The JSON Schema of deviation files, for editors.
#[must_use]
pub fn deviation_schema() -> schemars::Schema {
    schemars::schema_for!(File)
}

/// A mistake in a deviation file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: u64,
    /// Column, counted from 1.
    pub column: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
            ..
        } = self;
        write!(formatter, "{}:{line}:{column}: {message}", self.file.display())
    }
}

impl From<crate::case::Mistake> for Mistake {
    fn from(mistake: crate::case::Mistake) -> Self {
        Self {
            line: mistake.at.line as u64,
            column: mistake.at.column as u64,
            message: format!("{}; {}", mistake.what, mistake.remedy),
            file: mistake.file,
        }
    }
}

impl Mistake {
    pub(super) fn in_file(file: &Path, message: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: message.to_owned(),
        }
    }
}

const BACKENDS: [(&str, Backend); 7] = [
    ("svm", Backend::Svm),
    ("svm-npt0", Backend::SvmNpt0),
    ("vmx", Backend::Vmx),
    ("pvm", Backend::Pvm),
    ("xen-pv", Backend::XenPv),
    ("arm64-nvhe", Backend::Arm64Nvhe),
    ("arm64-vhe", Backend::Arm64Vhe),
];

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
        let message =
            "the file is empty; it needs title, targets, defects, requirement, reason, source and found";
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
        let targets = self.targets(&written.targets);
        let modes = written.modes.as_ref().map(|modes| self.modes(modes));
        let defects = self.defects(&written.defects);
        let kernels = self.kernels(&written);
        self.check_targets(&written, &targets);
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
            processor: written.processor.map(|ProcessorName::QemuTcg| Processor::QemuTcg),
            modes: modes.unwrap_or_default(),
            kernels,
            defects,
            requirement,
            reason: written.reason.value,
            source: written.source.value,
            found: written.found.value,
            file: self.file.to_owned(),
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

    /// Refuses targets that together name nothing.
    fn check_targets(&mut self, written: &File, targets: &[Backend]) {
        let xen = targets.contains(&Backend::XenPv);
        let mixed = xen && targets.len() > 1;
        let bounded = [
            written.kernels.is_some(),
            written.introduced.is_some(),
            written.fixed.is_some(),
        ];
        if mixed && bounded.contains(&true) {
            let message =
                "xen-pv has Xen's versions and the other targets those of Linux; write a file for each";
            self.mistake(&written.targets, message.to_owned());
        }
        let only_saved = written
            .modes
            .as_ref()
            .is_some_and(|modes| modes.value.iter().all(|mode| mode.value != Mode::Normal.name()));
        if xen && !mixed && only_saved {
            let message = "xen-pv runs in mode normal only, so this file is about nothing";
            self.mistake(&written.targets, message.to_owned());
        }
        if targets.contains(&Backend::Svm) && targets.contains(&Backend::SvmNpt0) {
            let message = "svm means svm-npt0 too; leave that out";
            self.mistake(&written.targets, message.to_owned());
        }
        if written.processor.is_some() && targets == [Backend::Vmx] {
            let message = "QEMU's processor has no VMX, so this file is about nothing";
            self.mistake(&written.targets, message.to_owned());
        }
    }

    fn targets(&mut self, written: &Spanned<Vec<Spanned<String>>>) -> Vec<Backend> {
        if written.value.is_empty() {
            self.mistake(
                written,
                "name at least one target: svm, vmx, pvm or xen-pv".to_owned(),
            );
        }
        let mut targets = Vec::new();
        for name in &written.value {
            match BACKENDS.iter().find(|(known, _)| *known == name.value) {
                Some((_, backend)) if targets.contains(backend) => {
                    self.mistake(name, format!("`{}` is named twice", name.value));
                }
                Some((_, backend)) => targets.push(*backend),
                None => {
                    let message = format!(
                        "no target is called `{}`; there are svm, vmx, pvm and xen-pv",
                        name.value
                    );
                    self.mistake(name, message);
                }
            }
        }
        targets
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
