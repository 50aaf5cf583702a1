//! Open choices: what a manual leaves to the implementation and the profile leaves open.
//!
//! The model is run again for every way in which the open choices can go. A script says
//! how the first ones go; later ones take their first option and are recorded, so that
//! the next script can be made from the record.

use std::fmt::Debug;

use crate::outcome::ChoiceMade;
use crate::profile::Choice;
use crate::requirement::Requirement;

/// How the open choices of one run go.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    script: Vec<usize>,
    options: Vec<usize>,
    made: Vec<ChoiceMade>,
    settled: Settled,
}

/// The choices that are settled for the rest of a run: requirement and option.
pub type Settled = Vec<(&'static str, usize)>;

impl Choices {
    /// Choices that go as `script` says, then each to its first option.
    #[must_use]
    pub fn scripted(script: Vec<usize>) -> Self {
        Self {
            script,
            ..Self::default()
        }
    }

    /// The same for the rest of a run, in which some choices are settled already.
    #[must_use]
    pub fn continued(settled: Settled, script: Vec<usize>) -> Self {
        Self {
            script,
            settled,
            ..Self::default()
        }
    }

    /// What is settled for good so far.
    #[must_use]
    pub fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Settles a choice that one implementation makes the same way every time: the first time
    /// in a run decides for the rest of it.
    pub fn settle_for_good<T: Copy + Debug>(
        &mut self,
        choice: Choice<T>,
        requirement: &'static Requirement,
    ) -> T {
        let known = self.settled.iter().find(|(id, _)| *id == requirement.id);
        match (choice, known) {
            (Choice::AnyOf(options), Some((_, index))) => options[*index],
            (Choice::AnyOf(_), None) => {
                let index = self.script.get(self.options.len()).copied().unwrap_or(0);
                self.settled.push((requirement.id, index));
                self.settle(choice, requirement)
            }
            (Choice::Always(value), _) => value,
        }
    }

    /// Settles a choice that may go another way each time.
    pub fn settle<T: Copy + Debug>(&mut self, choice: Choice<T>, requirement: &'static Requirement) -> T {
        match choice {
            Choice::Always(value) => value,
            Choice::AnyOf(options) => {
                let index = self.script.get(self.options.len()).copied().unwrap_or(0);
                self.options.push(options.len());
                let value = options[index];
                self.made.push(ChoiceMade {
                    requirement,
                    chosen: format!("{value:?}"),
                });
                value
            }
        }
    }

    /// How often choices that a requirement leaves open have been settled.
    #[must_use]
    pub fn times_settled(&self, requirement: &'static Requirement) -> usize {
        let of_it = |made: &&ChoiceMade| made.requirement.id == requirement.id;
        self.made.iter().filter(of_it).count()
    }

    /// The script of the next run, or `None` if every combination has been tried.
    #[must_use]
    pub fn next_script(&self) -> Option<Vec<usize>> {
        let mut script = self.script.clone();
        script.resize(self.options.len(), 0);
        while let Some(last) = script.pop() {
            if last + 1 < self.options[script.len()] {
                script.push(last + 1);
                return Some(script);
            }
        }
        None
    }

    /// The whole script that this run has followed.
    #[must_use]
    pub fn script_taken(&self) -> Vec<usize> {
        let mut script = self.script.clone();
        script.resize(self.options.len(), 0);
        script
    }

    /// The choices that were made.
    #[must_use]
    pub fn into_made(self) -> Vec<ChoiceMade> {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::SMM_ENTRY_012;

    #[test]
    fn every_combination_is_tried_once() {
        let mut seen = Vec::new();
        let mut script = Some(Vec::new());
        while let Some(current) = script {
            let mut choices = Choices::scripted(current);
            let first = choices.settle(Choice::AnyOf(&[1, 2]), &SMM_ENTRY_012);
            let second = if first == 1 {
                choices.settle(Choice::AnyOf(&[3, 4, 5]), &SMM_ENTRY_012)
            } else {
                0
            };
            seen.push((first, second));
            script = choices.next_script();
        }
        assert_eq!(seen, [(1, 3), (1, 4), (1, 5), (2, 0)]);
    }
}
