//! What the process that tries out mutants says, in lines of JSON.

use serde::{Deserialize, Serialize};

/// The first line of such a process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Mutants that some case comes to.
    pub reached: Vec<u32>,
    /// Cases that run.
    pub cases: usize,
    /// Cases that do not hold without any mutant.
    pub broken: Vec<String>,
}

/// What came of a mutant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tried {
    /// The mutant.
    pub mutant: u32,
    /// What has noticed it first.
    pub caught: Option<Caught>,
}

/// What has noticed a mutant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Caught {
    /// The case.
    pub case: String,
    /// What was seen.
    pub how: String,
}
