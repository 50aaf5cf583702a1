//! One small change of the model.

use std::collections::HashMap;
use std::fmt;

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// A function does nothing but return a default value.
    Body,
    /// Another binary operator.
    Binary,
    /// A unary operator is gone.
    Unary,
    /// An arm of a `match` that has a wildcard is gone.
    Arm,
    /// The guard of an arm is always true, or never.
    Guard,
    /// A field of a structure is that of its base.
    Field,
    /// A statement is gone.
    Statement,
    /// A number or truth value is another one.
    Literal,
    /// A condition is negated.
    Condition,
}

impl Operator {
    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Binary => "binary",
            Self::Unary => "unary",
            Self::Arm => "arm",
            Self::Guard => "guard",
            Self::Field => "field",
            Self::Statement => "statement",
            Self::Literal => "literal",
            Self::Condition => "condition",
        }
    }

    /// Whether cargo-mutants has it.
    #[must_use]
    pub fn is_standard(self) -> bool {
        !matches!(self, Self::Statement | Self::Literal | Self::Condition)
    }
}

/// A change, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Path below `spec-model/src`.
    pub file: String,
    /// Line of what is changed, from 1.
    pub line: usize,
    /// The function, with the type that it belongs to.
    pub function: String,
    /// What kind of change it is.
    pub operator: Operator,
    /// What is changed into what.
    pub change: String,
    /// Which of the mutants of the function that are called the same, from 1.
    pub occurrence: usize,
}

impl Mutant {
    /// The name by which a list of people's judgements knows it: it has no line, so that it stays
    /// the same when other code changes.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = format!(
            "{} {}: {} {}",
            self.file,
            self.function,
            self.operator.name(),
            self.change
        );
        if self.occurrence > 1 {
            name += &format!(" #{}", self.occurrence);
        }
        name
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.name())
    }
}

/// Numbers the mutants of one file that are called the same.
pub(crate) fn number(mutants: &mut [Mutant]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for mutant in mutants {
        mutant.occurrence = 1;
        let count = seen.entry(mutant.name()).or_default();
        *count += 1;
        mutant.occurrence = *count;
    }
}
