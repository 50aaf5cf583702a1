//! How much of the reference model the cases hold: mutation.
//!
//! A *mutant* is one small change of a source of `spec-model`: another operator, a deleted
//! statement, an arm of a `match` that is gone. If all cases conform with the change as they do
//! without it, nothing that a person has written says that the change is wrong: it survives.
//!
//! All mutants are built into one copy of the model, below `target/mutation`, and one of them at a
//! time is switched on. Of the model that ships nothing is changed.
//!
//! * [`find`]: the mutants of a source, by the operators of [`operator`] and [`default`];
//! * [`rewrite`]: a source with all of them in it, each behind its switch;
//! * [`model`]: all sources; [`workspace`] and [`copy`]: where they are built; [`unviable`]: what does not compile;
//! * [`pool`]: processes that run the cases with one mutant each, the package `mutation-trial`; [`protocol`]: what they say;
//! * [`sample`], [`irrelevant`] and [`report`]: which mutants count, and what came of them.

pub mod copy;
pub mod default;
pub mod defect_code;
pub mod find;
pub mod irrelevant;
pub mod model;
pub mod module;
pub mod mutant;
pub mod operator;
pub mod pool;
pub mod protocol;
pub mod report;
pub mod rewrite;
pub mod sample;
pub mod unviable;
pub mod workspace;
