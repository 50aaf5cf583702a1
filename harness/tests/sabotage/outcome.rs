//! A row of the table, and what came of it.

use super::conform::{Finished, Record};

/// One sabotage.
pub struct Row {
    /// Where, and what is broken.
    pub name: String,
    /// What must come of it, for the table.
    pub wanted: String,
    /// Does it.
    pub run: Box<dyn Fn() -> Outcome + Send + Sync>,
    /// Why it cannot be done here.
    pub not_run: Option<String>,
}

/// What came of a row.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In a few words.
    pub seen: String,
    /// Why this is not what must come of it.
    pub problem: Option<String>,
    /// What `conform` printed.
    pub output: String,
}

/// What must come of a sabotage.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// One of these exit statuses.
    pub statuses: &'static [i32],
    /// Each of these is said, in the text or in the report.
    pub says: &'static [&'static str],
    /// A capability is hidden, so that cases can only be unsupported: they must fail the run
    /// because it was told that they have to run.
    pub lost: bool,
}

/// Nothing is wrong: for control rows only.
pub const GREEN: &[i32] = &[0];
/// Something deviates.
pub const RED: &[i32] = &[1];
/// Something has no verdict.
pub const INCOMPLETE: &[i32] = &[3];
/// A deviation or no verdict: a call that fails may be told either way.
pub const NOT_GREEN: &[i32] = &[1, 3];

/// Words that blame the case or show that the suite itself broke.
const NEVER: [&str; 4] = [
    "the scenario is wrong",
    "the case is wrong",
    "panicked at",
    "the agent panicked",
];

impl Expected {
    pub fn to_text(self) -> String {
        let statuses: Vec<String> = self.statuses.iter().map(ToString::to_string).collect();
        let mut text = format!("exit {}", statuses.join(" or "));
        if !self.says.is_empty() {
            text += &format!(", says {}", self.says.join(", "));
        }
        text
    }

    /// Judges a run against this and against the control.
    pub fn judge(self, finished: &Finished, control: &[Record]) -> Outcome {
        let mut problems = Vec::new();
        if !finished
            .status
            .is_some_and(|status| self.statuses.contains(&status))
        {
            problems.push(format!("wanted {}", self.to_text()));
        }
        problems.extend(says(self.says, &finished.everything()));
        if !self.lost {
            problems.extend(turned_grey(&finished.records, control));
            let between = finished.everything().contains("complained while no case ran");
            if finished.status == Some(1) && !between && !finished.records.iter().any(Record::is_red) {
                problems.push("exit 1, and no case deviates".to_owned());
            }
        }
        Outcome {
            seen: finished.in_short(),
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
            output: finished.text.clone(),
        }
    }
}

/// What is missing from a text, or must not be in it.
pub fn says(wanted: &[&str], text: &str) -> Vec<String> {
    let missing = wanted.iter().filter(|wanted| !text.contains(**wanted));
    let missing = missing.map(|wanted| format!("does not say `{wanted}`"));
    let bad = NEVER.iter().filter(|never| text.contains(**never));
    missing
        .chain(bad.map(|never| format!("says `{never}`")))
        .collect()
}

/// Cases that have a verdict in the control and are unsupported now, which would be silent.
pub fn turned_grey(records: &[Record], control: &[Record]) -> Option<String> {
    let was_judged = |record: &&Record| {
        record.verdict == "unsupported"
            && control
                .iter()
                .any(|before| before.case == record.case && before.verdict != "unsupported")
    };
    let grey: Vec<&Record> = records.iter().filter(was_judged).collect();
    let first = grey.first()?;
    Some(format!(
        "{} went grey, {}: {}",
        grey.len(),
        first.case,
        first.detail.chars().take(160).collect::<String>()
    ))
}
