//! Which targets this process has to run.

use libtest_mimic::{Arguments, FormatSetting};

/// What the test runner asked for.
pub struct Wanted {
    filter: Option<String>,
    only_list: bool,
    nextest: bool,
}

impl Wanted {
    pub fn new(arguments: &Arguments) -> Self {
        // cargo-nextest lists in this format, and runs each trial in a process of its own.
        let terse = arguments.format == Some(FormatSetting::Terse);
        Self {
            filter: arguments.filter.clone(),
            only_list: arguments.list,
            nextest: std::env::var_os("NEXTEST").is_some() || (arguments.list && terse),
        }
    }

    /// The identifier of the test run, if each trial is a process of its own that is told it.
    pub fn run_id(&self) -> Option<String> {
        std::env::var("NEXTEST_RUN_ID").ok().filter(|_| self.nextest)
    }

    /// Whether a target's results are needed, given the names of its trials.
    ///
    /// A person who lists the trials need not wait for kernels to boot. For nextest the list
    /// decides what is ignored, so it has to be the same as when the trials run.
    pub fn target(&self, target: &str, trials: &[String]) -> bool {
        if self.only_list && !self.nextest {
            return false;
        }
        let Some(filter) = &self.filter else {
            return true;
        };
        // The name of an ignored trial is longer than what is known here, and nextest puts
        // the kind before it.
        filter.contains(&format!("{target}::")) || trials.iter().any(|trial| trial.contains(filter))
    }
}
