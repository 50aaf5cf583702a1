//! Expectations that a person wrote by hand, as a case file states them.

use spec_model::requirement::Requirement;
use spec_model::scenario::Watch;
use spec_model::stage2::transcript::{End, MemoryExit, StepSeen};
use spec_model::transcript::STACK_SLOTS;
use spec_model::x86::field::Field;
use spec_model::x86::save_area::{Layout, Row};

use crate::judge::stage2::StepPart;

/// All expectations of one case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations {
    /// The legal orders in which points are reached; a run takes one of them.
    pub paths: Vec<Vec<PathStep>>,
    /// What is observed there.
    pub fields: Vec<FieldExpectation>,
    /// What is seen at the steps of a scenario about stage-2 mappings.
    pub steps: Vec<StepExpectation>,
    /// What the host sets in vain.
    pub refusals: Vec<RefusalExpectation>,
}

/// State that the host sets and that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalExpectation {
    /// The point at which the host sets it, and the how-manieth time, from 1 (every time if absent);
    /// at the start if absent.
    pub at: Option<(String, Option<u32>)>,
    /// With which errno.
    pub errno: i32,
    /// Line in the case file, counted from 1.
    pub line: usize,
    /// Column in the case file, counted from 1.
    pub column: usize,
}

/// How an errno is called: by its name if cases can expect it, else by its text.
#[must_use]
pub fn errno_name(errno: i32) -> String {
    match errno {
        libc::EINVAL => "EINVAL".to_owned(),
        other => std::io::Error::from_raw_os_error(other).to_string(),
    }
}

/// One fact at one step of a scenario about stage-2 mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepExpectation {
    /// Number of the step, from 0.
    pub step: usize,
    /// What must be seen.
    pub expected: StepFact,
    /// Line in the case file, counted from 1.
    pub line: usize,
    /// Column in the case file, counted from 1.
    pub column: usize,
}

/// A part of what a step shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepFact {
    /// What is read.
    Value(u64),
    /// Every access that reaches the host, in order.
    Exits(Vec<MemoryExit>),
    /// How it ends.
    End(End),
    /// Every page in the dirty log.
    Dirty(Vec<u64>),
}

impl StepFact {
    /// Whether that is what was seen.
    #[must_use]
    pub fn holds(&self, seen: &StepSeen) -> bool {
        match self {
            Self::Value(value) => seen.value == Some(*value),
            Self::Exits(exits) => seen.exits == *exits,
            Self::End(end) => seen.end == *end,
            Self::Dirty(pages) => seen.dirty.as_ref() == Some(pages),
        }
    }

    /// Which part it is.
    pub(crate) const fn part(&self) -> StepPart {
        match self {
            Self::Value(_) => StepPart::Value,
            Self::Exits(_) => StepPart::Exits,
            Self::End(_) => StepPart::End,
            Self::Dirty(_) => StepPart::Dirty,
        }
    }

    /// A step that shows this and nothing else.
    pub(crate) fn as_seen(&self) -> StepSeen {
        let mut seen = StepSeen::default();
        match self {
            Self::Value(value) => seen.value = Some(*value),
            Self::Exits(exits) => seen.exits.clone_from(exits),
            Self::End(end) => seen.end = *end,
            Self::Dirty(pages) => seen.dirty = Some(pages.clone()),
        }
        seen
    }
}

/// One stop on a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathStep {
    /// The processor, or any.
    pub vcpu: Option<u8>,
    /// Name of a point, or one of [`ENDS`].
    pub at: String,
}

/// How a run ends when it does not end at a point: a HLT that is no point, shutdown, a
/// hypervisor that gives up, a guest that runs on without a point, the limit of observations. A
/// processor that waits for a startup IPI goes on when it gets one.
pub const ENDS: [&str; 6] = [
    "halted",
    "shutdown",
    "internal-error",
    "stuck",
    "limit",
    "wait-for-sipi",
];

/// One field at one point.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldExpectation {
    /// Name of a point, or one of [`ENDS`].
    pub at: String,
    /// Only the n-th time that the point is reached by any processor, counted from 1;
    /// every time if absent.
    pub nth: Option<u32>,
    /// Only if this processor reaches it.
    pub vcpu: Option<u8>,
    /// The field.
    pub field: ObservedField,
    /// Its values.
    pub allowed: AllowedValue,
    /// The requirement that says so, if it is not the case's own.
    pub because: Option<&'static Requirement>,
    /// Line in the case file, counted from 1.
    pub line: usize,
    /// Column in the case file, counted from 1.
    pub column: usize,
}

/// One thing that an observation records.
#[derive(Clone, Copy, Debug)]
pub enum ObservedField {
    /// A member of the processor state, by its name in [`spec_model::x86::field`].
    State(&'static Field),
    /// A stack slot, 0 being the top.
    Stack(usize),
    /// A row of the state-save area.
    Save(&'static Row),
    /// The bytes of the scenario's n-th watch.
    Watch(usize),
}

impl Expectations {
    /// Whether a person expects anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            paths,
            fields,
            steps,
            refusals,
        } = self;
        paths.is_empty() && fields.is_empty() && steps.is_empty() && refusals.is_empty()
    }
}

impl ObservedField {
    /// The field of that name: `rip`, `stack.0`, `save.rip` or `watch.frame`.
    ///
    /// `layout` is the state-save area layout in force for the scenario, `watches` are the
    /// scenario's own.
    #[must_use]
    pub fn named(name: &str, layout: &'static Layout, watches: &[Watch]) -> Option<Self> {
        if let Some(row) = name.strip_prefix("save.") {
            let row = layout.row(row)?;
            return (!row.is_reserved() && row.width <= 8).then_some(Self::Save(row));
        }
        if let Some(slot) = name.strip_prefix("stack.") {
            let slot = slot.parse().ok().filter(|slot| *slot < STACK_SLOTS)?;
            return Some(Self::Stack(slot));
        }
        if let Some(watch) = name.strip_prefix("watch.") {
            return watches
                .iter()
                .position(|other| other.name == watch)
                .map(Self::Watch);
        }
        Field::named(name).map(Self::State)
    }

    /// The name that [`Self::named`] understands.
    #[must_use]
    pub fn name(&self, watches: &[Watch]) -> String {
        match self {
            Self::State(field) => field.name.to_owned(),
            Self::Stack(slot) => format!("stack.{slot}"),
            Self::Save(row) => format!("save.{}", row.name),
            Self::Watch(index) => {
                let name = watches.get(*index).map_or("?", |watch| watch.name.as_str());
                format!("watch.{name}")
            }
        }
    }
}

impl PartialEq for ObservedField {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::State(one), Self::State(two)) => one.name == two.name,
            (Self::Save(one), Self::Save(two)) => one == two,
            (Self::Stack(one), Self::Stack(two)) | (Self::Watch(one), Self::Watch(two)) => one == two,
            _ => false,
        }
    }
}

/// The values that an expectation allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedValue {
    /// This one.
    Exactly(u64),
    /// Any of these.
    AnyOf(Vec<u64>),
    /// Any value whose bits under the mask are these.
    Masked {
        /// The bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// These bytes, in the order of their addresses.
    Bytes(Vec<u8>),
}
