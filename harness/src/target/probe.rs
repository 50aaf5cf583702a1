//! What a target shows of itself when it is tried out, without any case.

use serde::{Deserialize, Serialize};

/// One thing that was tried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was done, in one line.
    pub what: String,
    /// What must come of it; none if that is what the probe is to find out.
    pub expected: Option<String>,
    /// What came of it.
    pub seen: String,
}

impl Probe {
    /// Whether nothing else was seen than must be.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.expected
            .as_ref()
            .is_none_or(|expected| *expected == self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_can_be_missed() {
        let probe = |expected: Option<&str>| Probe {
            what: "a load".to_owned(),
            expected: expected.map(str::to_owned),
            seen: "0".to_owned(),
        };
        assert!(probe(None).is_as_expected() && probe(Some("0")).is_as_expected());
        assert!(!probe(Some("1")).is_as_expected());
    }
}
