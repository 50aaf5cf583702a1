//! The parts of what a step shows, and how each is compared.

use std::fmt::Debug;

use spec_model::stage2::transcript::StepSeen;

use super::words;
use crate::judge::value::Value;

/// One part of [`StepSeen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepPart {
    /// How it ended.
    End,
    /// What was read.
    Value,
    /// Accesses that reached the host.
    Exits,
    /// Pages of a dirty log.
    Dirty,
    /// What was seen with `immediate_exit` set.
    Interrupted,
}

/// The parts in which two steps differ.
pub(super) fn differing(allowed: &StepSeen, seen: &StepSeen) -> Vec<StepPart> {
    // Taken apart, so that a new member is not forgotten.
    let StepSeen {
        value,
        exits,
        end,
        dirty,
        interrupted,
    } = allowed;
    let parts = [
        (StepPart::End, *end != seen.end),
        (StepPart::Value, *value != seen.value),
        (StepPart::Exits, *exits != seen.exits),
        (StepPart::Dirty, *dirty != seen.dirty),
        (StepPart::Interrupted, *interrupted != seen.interrupted),
    ];
    let differing = parts.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(part, _)| part).collect()
}

impl StepPart {
    /// Its name in reports.
    pub(in crate::judge) const fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Value => "value",
            Self::Exits => "exits",
            Self::Dirty => "dirty log",
            Self::Interrupted => "after immediate_exit",
        }
    }

    /// What a step shows of it, in words.
    pub(super) fn value(self, seen: &StepSeen) -> Value {
        self.around(seen, 0)
    }

    /// What two steps that differ show of it; the words differ, too.
    pub(super) fn values(self, allowed: &StepSeen, seen: &StepSeen) -> (Value, Value) {
        let pairs = allowed.exits.iter().zip(&seen.exits);
        let first = pairs.take_while(|(one, two)| one == two).count();
        let values = (self.around(allowed, first), self.around(seen, first));
        match self {
            Self::End => told_apart(values, &allowed.end, &seen.end),
            Self::Value => told_apart(values, &allowed.value, &seen.value),
            Self::Exits => told_apart(values, &allowed.exits, &seen.exits),
            Self::Dirty => told_apart(values, &allowed.dirty, &seen.dirty),
            Self::Interrupted => told_apart(values, &allowed.interrupted, &seen.interrupted),
        }
    }

    /// The same, of exits those around the one of index `first`.
    fn around(self, seen: &StepSeen, first: usize) -> Value {
        let text = |text: Option<String>| text.map_or(Value::Absent, Value::Text);
        match self {
            Self::End => Value::Text(words::end(seen.end)),
            Self::Value => seen.value.map_or(Value::Absent, |value| Value::number(value, 64)),
            Self::Exits => Value::Text(words::exits(&seen.exits, first)),
            Self::Dirty => text(seen.dirty.as_deref().map(words::dirty)),
            Self::Interrupted => text(seen.interrupted.map(words::interrupted)),
        }
    }
}

/// Words for two values that differ. Where the words are the same, the values themselves.
pub(super) fn told_apart<T: Debug>(words: (Value, Value), allowed: &T, seen: &T) -> (Value, Value) {
    if words.0 == words.1 {
        let whole = |value: &T| Value::Text(format!("{value:?}"));
        (whole(allowed), whole(seen))
    } else {
        words
    }
}
