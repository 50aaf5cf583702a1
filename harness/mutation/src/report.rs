//! What came of the mutants, as tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use crate::irrelevant::{Irrelevant, Kind};
use crate::module;
use crate::mutant::Mutant;
use crate::protocol::Tried;
use crate::sample::interval;

/// Parts of the model in which every rule has to be reached by a case.
pub const REACHED_WHOLLY: [&str; 4] = ["execute", "segmentation", "paging+memory", "local_apic"];

/// Everything that a report is made of.
pub struct Results<'a> {
    /// All mutants that compile, by number.
    pub mutants: &'a BTreeMap<usize, &'a Mutant>,
    /// Those that some case comes to.
    pub reached: &'a HashSet<usize>,
    /// The numbers of the sample.
    pub sample: &'a [usize],
    /// What came of those of the sample that are reached.
    pub tried: &'a HashMap<usize, Tried>,
    /// What people say.
    pub irrelevant: &'a Irrelevant,
}

/// Counts of one part of the model, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Mutants.
    pub all: usize,
    /// Of them, in the sample.
    pub sample: usize,
    /// In the sample and reached.
    pub reached: usize,
    /// In the sample and caught.
    pub caught: usize,
    /// In the sample and relevant: not listed as irrelevant, or caught all the same.
    pub relevant: usize,
}

impl Row {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.sample += other.sample;
        self.reached += other.reached;
        self.caught += other.caught;
        self.relevant += other.relevant;
    }

    /// How much of what is relevant is caught, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.caught as f64 / self.relevant.max(1) as f64
    }
}

impl Results<'_> {
    fn is_caught(&self, number: usize) -> bool {
        self.tried
            .get(&number)
            .is_some_and(|tried| tried.caught.is_some())
    }

    /// One mutant as a row. The list has no say over one that is caught.
    fn row(&self, number: usize, mutant: &Mutant, sampled: &HashSet<usize>) -> Row {
        let sample = sampled.contains(&number);
        let caught = sample && self.is_caught(number);
        Row {
            all: 1,
            sample: sample.into(),
            reached: (sample && self.reached.contains(&number)).into(),
            caught: caught.into(),
            relevant: (caught || sample && self.irrelevant.kind(mutant).is_none()).into(),
        }
    }

    /// The counts of each part, and of all.
    #[must_use]
    pub fn rows(&self) -> (Vec<(&'static str, Row)>, Row) {
        let sampled: HashSet<usize> = self.sample.iter().copied().collect();
        let mut of: HashMap<&str, Row> = HashMap::new();
        let mut total = Row::default();
        for (number, mutant) in self.mutants {
            let row = self.row(*number, mutant, &sampled);
            of.entry(module::of(&mutant.file)).or_default().add(row);
            total.add(row);
        }
        let rows = module::all().map(|part| (part, of.get(part).copied().unwrap_or_default()));
        (rows.collect(), total)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let (rows, total) = self.rows();
        let mut table = format!(
            "{:<14} {:>8} {:>7} {:>8} {:>7} {:>9} {:>21}\n",
            "part", "mutants", "sample", "reached", "caught", "relevant", "caught of relevant"
        );
        for (part, row) in rows.iter().copied().chain([("all", total)]) {
            let (low, high) = interval(row.caught, row.relevant);
            let _ = writeln!(
                table,
                "{part:<14} {:>8} {:>7} {:>8} {:>7} {:>9} {:>12.1} % [{:.0}, {:.0}]",
                row.all,
                row.sample,
                row.reached,
                row.caught,
                row.relevant,
                100.0 * row.share(),
                100.0 * low,
                100.0 * high
            );
        }
        table
    }

    /// Mutants of the sample that count and that no case comes to.
    pub fn unreached_of_sample(&self) -> impl Iterator<Item = &Mutant> {
        let unreached = self.sample.iter().filter(|number| !self.reached.contains(number));
        let mutants = unreached.filter_map(|number| self.mutants.get(number).copied());
        mutants.filter(|mutant| self.irrelevant.kind(mutant).is_none())
    }

    /// Mutants that count, that no case comes to, and that are where every rule has to be reached.
    pub fn unreached(&self) -> impl Iterator<Item = &Mutant> {
        let unreached = self
            .mutants
            .iter()
            .filter(|(number, _)| !self.reached.contains(number));
        unreached.map(|(_, mutant)| *mutant).filter(|mutant| {
            REACHED_WHOLLY.contains(&module::of(&mutant.file)) && self.irrelevant.kind(mutant).is_none()
        })
    }

    /// How many of the sample are listed, by reason.
    #[must_use]
    pub fn listed(&self) -> HashMap<Kind, usize> {
        let mut listed = HashMap::new();
        for number in self.sample {
            let kind = self
                .mutants
                .get(number)
                .and_then(|mutant| self.irrelevant.kind(mutant));
            if let Some(kind) = kind.filter(|_| !self.is_caught(*number)) {
                *listed.entry(kind).or_default() += 1;
            }
        }
        listed
    }
}
