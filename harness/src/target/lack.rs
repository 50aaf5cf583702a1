//! What a target lacks, so that it cannot run a scenario.
//!
//! Nothing is unsupported but by one of these: a scenario that a target cannot run has to say what
//! the target lacks and how that is known. All else that goes wrong is a difference, or broken.

use serde::{Deserialize, Serialize};

/// Why a target cannot run a scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// KVM says by KVM_CHECK_EXTENSION that it has not what the scenario needs.
    #[error("{text}")]
    Capability {
        /// What is missing and what would have it.
        text: String,
    },
    /// The processor says by CPUID, or by an identification register of arm64, that it has not.
    #[error("{text}")]
    Cpuid {
        /// What is missing and what would have it.
        text: String,
    },
    /// A row of the table of what this backend lacks names it.
    #[error("{text}{seen}")]
    Row {
        /// Name of the row.
        row: String,
        /// What the backend lacks.
        text: String,
        /// What was seen of it in this run; empty or with a blank first.
        seen: String,
    },
    /// The scenario is of another nature: of another architecture, for another hypervisor, or about
    /// what others may choose.
    #[error("{text}")]
    Nature {
        /// What it is, and what this target is.
        text: String,
    },
    /// It may harm this host, or changes all of it.
    #[error("{text}")]
    HostRisk {
        /// How, and where else it can run.
        text: String,
    },
    /// The host, not its KVM, has not what the scenario needs.
    #[error("{text}")]
    Host {
        /// What.
        text: String,
    },
    /// The emulator that the target runs on does not survive it.
    #[error("{text}")]
    Emulator {
        /// Why.
        text: String,
    },
    /// What the host does at every point in this mode means nothing to the scenario, on whatever target of
    /// this kind.
    #[error("{text}")]
    Mode {
        /// Why.
        text: String,
    },
    /// This suite cannot do it there.
    #[error("{text}")]
    Suite {
        /// What it cannot do.
        text: String,
    },
}

impl Lack {
    /// The scenario is of another nature.
    #[must_use]
    pub fn nature(text: impl Into<String>) -> Self {
        Self::Nature { text: text.into() }
    }

    /// The emulator does not survive it.
    #[must_use]
    pub fn emulator(text: impl Into<String>) -> Self {
        Self::Emulator { text: text.into() }
    }

    /// The mode means nothing to the scenario.
    #[must_use]
    pub fn mode(text: impl Into<String>) -> Self {
        Self::Mode { text: text.into() }
    }

    /// This suite cannot do it there.
    #[must_use]
    pub fn suite(text: impl Into<String>) -> Self {
        Self::Suite { text: text.into() }
    }

    /// The row of a table that names it, if one does.
    #[must_use]
    pub fn row(&self) -> Option<&str> {
        match self {
            Self::Row { row, .. } => Some(row),
            _ => None,
        }
    }

    /// Which kind it is, as reports name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Capability { .. } => "capability",
            Self::Cpuid { .. } => "cpuid",
            Self::Row { .. } => "row",
            Self::Nature { .. } => "nature",
            Self::HostRisk { .. } => "host-risk",
            Self::Host { .. } => "host",
            Self::Emulator { .. } => "emulator",
            Self::Mode { .. } => "mode",
            Self::Suite { .. } => "suite",
        }
    }

    /// Kind and text, without what is peculiar to one run: what reports count by.
    #[must_use]
    pub fn group(&self) -> String {
        let kind = self.kind();
        match self {
            Self::Row { row, text, .. } => format!("{kind} `{row}`: {text}"),
            Self::Capability { text }
            | Self::Cpuid { text }
            | Self::Nature { text }
            | Self::HostRisk { text }
            | Self::Host { text }
            | Self::Emulator { text }
            | Self::Mode { text }
            | Self::Suite { text } => format!("{kind}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_names_the_row_and_not_the_run() {
        let row = Lack::Row {
            row: "pvm-iret".to_owned(),
            text: "IRET is not emulated".to_owned(),
            seen: " (at rip 0x1000)".to_owned(),
        };
        assert_eq!(row.group(), "row `pvm-iret`: IRET is not emulated");
        assert_eq!(row.to_string(), "IRET is not emulated (at rip 0x1000)");
        assert_eq!(Lack::nature("it is of arm64").group(), "nature: it is of arm64");
        assert_eq!(
            (row.row(), Lack::nature("it is of arm64").row()),
            (Some("pvm-iret"), None)
        );
    }

    #[test]
    fn a_lack_survives_the_way_to_the_host() {
        for lack in [Lack::nature("it is of arm64"), Lack::emulator("it aborts")] {
            let bytes = postcard::to_allocvec(&lack).expect("it can be written");
            assert_eq!(postcard::from_bytes::<Lack>(&bytes).as_ref(), Ok(&lack));
        }
    }
}
