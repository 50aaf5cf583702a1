//! Reads one deviation file, strictly.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;
use spec_model::defect::Defect;
use spec_model::requirement;

use super::{Deviation, KernelRange};
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
    /// `nested`: only where the processor walks the guest's page tables itself, so not on svm-npt0.
    paging: Option<PagingName>,
    /// The only modes of a run in which it shows; every mode if absent.
    #[schemars(with = "Option<Vec<ModeName>>", length(min = 1))]
    modes: Option<Spanned<Vec<Spanned<String>>>>,
    /// The kernels that do it, for instance `>=5.10, <6.2`; all of them if absent.
    #[schemars(with = "Option<String>")]
    kernels: Option<Spanned<String>>,
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

/// Who walks the guest's page tables.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum PagingName {
    /// The processor.
    Nested,
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
        let kernels = match &written.kernels {
            None => KernelRange::default(),
            Some(range) => range
                .value
                .parse()
                .unwrap_or_else(|error: super::BadKernelRange| {
                    self.mistake(range, error.to_string());
                    KernelRange::default()
                }),
        };
        let requirement = requirement::find(&written.requirement.value);
        if requirement.is_none() {
            let id = &written.requirement.value;
            let message = format!("no requirement has the id `{id}`; `conform explain` lists them");
            self.mistake(&written.requirement, message);
        }
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
            nested_paging: written.paging.is_some(),
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
