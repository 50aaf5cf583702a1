//! Which processor deviates, and in which of its versions: `qemu-tcg =10.0`.

use std::fmt;
use std::str::FromStr;

use super::kernel_range::{BadKernelRange, KernelRange};
use super::kernel_version::{Answer, KernelVersion};
use crate::target::{Identity, Processor};

/// Name of QEMU's TCG in deviation files.
const QEMU_TCG: &str = "qemu-tcg";

/// A processor with faults of its own, in some of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorRange {
    processor: Processor,
    versions: KernelRange,
}

/// A processor that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProcessorRange {
    /// No such processor.
    #[error("no processor is called `{0}`; there is {QEMU_TCG}")]
    Unknown(String),
    /// Nothing is said about versions.
    #[error(
        "`{0}` needs the versions that do it, such as `{QEMU_TCG} =10.0`: what was seen with one says nothing about \
         the others"
    )]
    Unbounded(String),
    /// The versions cannot be read.
    #[error(transparent)]
    Versions(#[from] BadKernelRange),
}

impl ProcessorRange {
    /// Whether it is that processor, in whatever version.
    #[must_use]
    pub fn is_about(&self, processor: Processor) -> bool {
        self.processor == processor
    }

    /// Whether a target runs on it. Where nobody says which version that is, it may.
    #[must_use]
    pub fn holds_for(&self, target: &Identity) -> Answer {
        if target.processor != self.processor {
            return Answer::No;
        }
        match version(target.system.emulator.as_deref()) {
            Some(version) => self.versions.contains(version),
            None => Answer::Perhaps,
        }
    }
}

/// The version in what a target says about its emulator, `QEMU 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn version(emulator: Option<&str>) -> Option<KernelVersion> {
    KernelVersion::of_release(emulator?.split_whitespace().nth(1)?)
}

impl FromStr for ProcessorRange {
    type Err = BadProcessorRange;

    fn from_str(text: &str) -> Result<Self, BadProcessorRange> {
        let (name, versions) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if name != QEMU_TCG {
            return Err(BadProcessorRange::Unknown(name.to_owned()));
        }
        if versions.trim().is_empty() {
            return Err(BadProcessorRange::Unbounded(name.to_owned()));
        }
        Ok(Self {
            processor: Processor::QemuTcg,
            versions: versions.parse()?,
        })
    }
}

impl fmt::Display for ProcessorRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{QEMU_TCG} {}", self.versions)
    }
}
