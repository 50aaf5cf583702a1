//! What a running target tells, whatever it is.

use serde::{Deserialize, Serialize};

use super::complaint::Complaint;
use super::{Identity, Run};

/// What a running target tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What it is, from its own mouth. Comes before the first scenario runs, and again with every
    /// boot.
    Identified(Box<Identity>),
    /// The scenario of this index has run. At most once for each.
    Ran(usize, Ran),
    /// Its kernel complained while no scenario ran: when modules were loaded, or virtual machines
    /// closed at the end.
    Complained(Vec<Complaint>),
    /// A boot was lost. What had no result runs in another one.
    BootLost(LostBoot),
    /// Something that whoever reads the results has to know.
    Note(String),
    /// It cannot be used (any more), for this reason: scenarios without a result get none.
    Unusable(String),
}

/// What came of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// What the guest did.
    pub run: Run,
    /// What the kernel complained of meanwhile.
    pub complaints: Vec<Complaint>,
}

impl From<Run> for Ran {
    fn from(run: Run) -> Self {
        let complaints = Vec::new();
        Self { run, complaints }
    }
}

/// A boot that did not get to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostBoot {
    /// How it was lost, and the last words on its console.
    pub reason: String,
    /// The scenario that it was lost in, whose result says so. None if it was lost between two
    /// scenarios.
    pub during: Option<u32>,
}

/// How a kernel died of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// How it died.
    pub how: HowDied,
    /// What happened when the scenario ran once more, alone in a new boot.
    pub again: Again,
    /// The last words on the console, and where all of it was kept.
    pub console: String,
}

/// How a kernel died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HowDied {
    /// It says that it panicked.
    Panicked,
    /// It says that it hangs: a lockup or a stall.
    Hung,
    /// The machine restarted without a word, both times.
    Restarted,
}

impl HowDied {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Hung => "hung",
            Self::Restarted => "restarted without a word",
        }
    }
}

/// What a scenario did when it ran once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// The kernel died of it again.
    Died,
    /// It ran to its end.
    Survived,
    /// It could not be run again.
    Unknown,
}

impl Again {
    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Died => "and again when it ran alone in a new boot",
            Self::Survived => "but not when it ran alone in a new boot",
            Self::Unknown => "and it could not be run again",
        }
    }
}
