//! Invariants that do not hold.

use std::fmt::{self, Write};

use super::invariant::Broken;
use super::symbol::{Symbol, words};

/// Writes the invariants of the model that do not hold.
///
/// # Errors
/// Those of `out`.
pub fn broken(out: &mut impl Write, broken: &[(Vec<Symbol>, Broken)]) -> fmt::Result {
    for (sequence, broken) in broken {
        writeln!(out, "BROKEN INVARIANT  {}: {broken}", words(sequence))?;
    }
    Ok(())
}
