//! Mutants that no case can or has to notice, as people have judged: `irrelevant.yaml`.

use std::collections::HashMap;

use serde::Deserialize;

use crate::mutant::Mutant;

/// The list, as it is in the repository.
pub const LIST: &str = include_str!("../irrelevant.yaml");

/// Why a mutant does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It does the same.
    Equivalent,
    /// It changes what only people read, or what only speed depends on.
    Diagnostic,
    /// It leaves more open than is: a run that conforms says nothing about that.
    Permissive,
    /// It changes only what the model does with a defect on.
    DefectOnly,
    /// It changes what the model does with scenarios that no case file can say, such as a region
    /// of memory that is no multiple of a page.
    Unsayable,
}

/// Judgements that have one reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    kind: Kind,
    why: String,
    /// Names, or the beginnings of names with `*` behind them.
    mutants: Vec<String>,
}

/// The judgements.
#[derive(Debug, Default)]
pub struct Irrelevant {
    groups: Vec<Group>,
}

impl Irrelevant {
    /// Reads a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let groups = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self { groups })
    }

    /// Why a mutant does not count, if it does not.
    #[must_use]
    pub fn kind(&self, mutant: &Mutant) -> Option<Kind> {
        let name = mutant.name();
        let fits = |listed: &String| is_called(&name, listed);
        let group = self.groups.iter().find(|group| group.mutants.iter().any(fits))?;
        Some(group.kind)
    }

    /// What is wrong with the list: entries that fit nothing, stand there twice, or have no reason.
    #[must_use]
    pub fn mistakes(&self, mutants: &[&Mutant]) -> Vec<String> {
        let names: Vec<String> = mutants.iter().map(|mutant| mutant.name()).collect();
        let mut mistakes = Vec::new();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for group in &self.groups {
            if group.why.trim().is_empty() {
                mistakes.push(format!("no reason: {}", group.mutants.join("; ")));
            }
            for listed in &group.mutants {
                if !names.iter().any(|name| is_called(name, listed)) {
                    mistakes.push(format!("there is no such mutant: {listed}"));
                }
                let count = seen.entry(listed).or_default();
                *count += 1;
                if *count == 2 {
                    mistakes.push(format!("listed twice: {listed}"));
                }
            }
        }
        mistakes
    }
}

fn is_called(name: &str, listed: &str) -> bool {
    match listed.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == listed,
    }
}
