//! From the reports of runs to what was seen in them.
//!
//! Every run is judged anew by the deviation files of today, so that a report need not be made again when they
//! change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use spec_model::defect::DefectSet;
use spec_model::scenario::Observe;

use super::record::{CaseRecord, Record};
use super::{SeenRun, Sightings, key};
use crate::case::Case;
use crate::confirmation::Found;
use crate::deviation::{Deviation, Owner};
use crate::judge::case::judge_run_uncited;
use crate::judge::{Verdict, VerdictKind};
use crate::report::json::FORMAT;
use crate::target::{Identity, Mode, Ran, Run};

/// What reports say.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What was seen.
    pub sightings: Sightings,
    /// What the runs confirm of the cases.
    pub confirmed: Found,
    /// Runs that are not what the cases and deviation files of today say, a line each.
    pub unexplained: Vec<String>,
}

/// A report cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The file system refused.
    #[error("{}: cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no report.
    #[error("{}:{line}: no report of `conform run --json`: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// It is one of another version of this program.
    #[error("{}: a report of format {format}, and this program reads format {FORMAT}; run the cases again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// The record of a case on a target, and how the run was made.
struct Entry {
    identity: Identity,
    mode: Mode,
    observe: Observe,
    record: CaseRecord,
}

/// Reads reports. Where several have the same case of the same run, the last one counts.
///
/// # Errors
/// If one cannot be read or is no report.
pub fn collect(
    reports: &[PathBuf],
    cases: &[Case],
    deviations: &[Deviation],
) -> Result<Collected, CollectError> {
    let mut entries: BTreeMap<(String, String), Entry> = BTreeMap::new();
    for report in reports {
        for entry in read(report)? {
            let run = key(&entry.record.target, entry.mode, entry.observe);
            entries.insert((run, entry.record.case.clone()), entry);
        }
    }
    let mut collected = Collected::default();
    for ((run, name), entry) in &entries {
        if let Some(case) = cases.iter().find(|case| case.name == *name) {
            collected.take(run, case, entry, deviations);
        }
    }
    Ok(collected)
}

fn read(path: &Path) -> Result<Vec<Entry>, CollectError> {
    let failed = |source| CollectError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut header = None;
    let mut identities: BTreeMap<String, Identity> = BTreeMap::new();
    let mut records = Vec::new();
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        let line = line.map_err(failed)?;
        let wrong = |problem: String| CollectError::Syntax {
            path: path.to_owned(),
            line: number,
            problem,
        };
        match (
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?,
            header,
        ) {
            (Record::Header { format, .. }, _) if format != FORMAT => {
                return Err(CollectError::Format {
                    path: path.to_owned(),
                    format,
                });
            }
            (Record::Header { mode, observe, .. }, _) => header = Some((mode, observe)),
            (_, None) => return Err(wrong("it does not begin with a header".to_owned())),
            (Record::Target { target, identity }, _) => {
                identities.insert(target, *identity);
            }
            (Record::Case(record), Some(how)) => records.push((how, *record)),
            (Record::Footer {}, _) => {}
        }
    }
    // A target says what it is when it has started, and what it can never run is known before.
    let entry = |((mode, observe), record): ((Mode, Observe), CaseRecord)| {
        let identity = identities.get(&record.target)?.clone();
        Some(Entry {
            identity,
            mode,
            observe,
            record,
        })
    };
    Ok(records.into_iter().filter_map(entry).collect())
}

impl CaseRecord {
    /// Whether the deviation is among those that explained it.
    fn names(&self, deviation: &Deviation) -> bool {
        let stem = deviation.file.file_stem();
        self.deviations.iter().any(|one| one.file.file_stem() == stem)
    }
}

impl Collected {
    fn take(&mut self, name: &str, case: &Case, entry: &Entry, deviations: &[Deviation]) {
        let Entry {
            identity,
            mode,
            observe,
            record,
        } = entry;
        let runs = &mut self.sightings.runs;
        let run = runs
            .entry(name.to_owned())
            .or_insert_with(|| SeenRun::of(identity, *mode, *observe));
        // What the target lacks ends a run early, and so its transcript says nothing.
        if record.verdict == VerdictKind::Unsupported {
            if let Some(lack) = &record.lack {
                self.confirmed.lacks(case, lack);
            }
            return;
        }
        // What the kernel said of itself is not judged anew: a report does not tell it of each case.
        let (of_log, of_guest): (Vec<Deviation>, Vec<Deviation>) = deviations
            .iter()
            .cloned()
            .partition(|deviation| deviation.complaint.is_some());
        let said: Vec<Deviation> = of_log.into_iter().filter(|one| record.names(one)).collect();
        for deviation in &said {
            let by_run = self.sightings.seen.entry(deviation.name()).or_default();
            *by_run.entry(name.to_owned()).or_insert(0) += 1;
        }
        let deviations = &of_guest;
        let Some(transcript) = &record.transcript else {
            if !said.is_empty() && record.verdict == VerdictKind::KnownDeviation {
                run.cases += 1;
                run.of_hypervisor += 1;
                return;
            }
            let verdict = record.verdict.name();
            self.unexplained
                .push(format!("{} on {name}: {verdict}", case.name));
            return;
        };
        let mut case = case.clone();
        case.observe_at_most(*observe, *mode);
        let ran = Ran {
            run: Run::Done(transcript.clone()),
            complaints: Vec::new(),
        };
        let judge = |deviations| judge_run_uncited(&case, identity, *mode, deviations, DefectSet::NONE, &ran);
        let verdict = judge(deviations);
        if !matches!(verdict, Verdict::Unsupported(_) | Verdict::Broken(_)) {
            run.cases += 1;
        }
        let listed = match &verdict {
            Verdict::KnownDeviation(listed) => listed.clone(),
            other => {
                self.confirmed.take(&case, identity, other, &[], transcript);
                if !matches!(other.kind(), VerdictKind::Conforms | VerdictKind::Unsupported) {
                    let verdict = other.kind().name();
                    self.unexplained
                        .push(format!("{} on {name}: {verdict}", case.name));
                }
                return;
            }
        };
        let is_explained_without = |one: &Deviation| {
            let others: Vec<Deviation> = deviations.iter().filter(|other| *other != one).cloned().collect();
            matches!(
                judge_run_uncited(&case, identity, *mode, &others, DefectSet::NONE, &ran),
                Verdict::KnownDeviation(_) | Verdict::Conforms
            )
        };
        let (dispensable, needed): (Vec<&Deviation>, Vec<&Deviation>) = listed
            .into_iter()
            .partition(|deviation| is_explained_without(deviation));
        for deviation in &needed {
            let by_run = self.sightings.seen.entry(deviation.name()).or_default();
            *by_run.entry(name.to_owned()).or_insert(0) += 1;
        }
        let shown = if needed.is_empty() { &dispensable } else { &needed };
        self.confirmed.take(&case, identity, &verdict, shown, transcript);
        let of_emulator = |deviation: &&Deviation| deviation.owner() == Owner::Emulator;
        if shown.iter().all(of_emulator) {
            run.of_emulator += 1;
        } else if shown.iter().any(of_emulator) {
            run.of_both += 1;
        } else {
            run.of_hypervisor += 1;
        }
    }
}
