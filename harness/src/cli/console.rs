//! Output: results to standard output, one updating line of progress to a terminal.

use std::io::{self, IsTerminal, Write};

/// Prints a finished piece of text.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One updating line on standard error, if that is a terminal.
pub(super) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Replaces the line.
    pub(super) fn show(&mut self, text: &str) {
        if self.terminal {
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.shown = true;
        }
    }

    /// Replaces the line; where there is none, in the log of a CI job for instance, prints
    /// one of its own. For the few steps that take long.
    pub(super) fn step(&mut self, text: &str) {
        if self.terminal {
            self.show(text);
        } else {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Prints a finished piece of text, if there is any, where the line was.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.clear();
        print(text)
    }

    /// Removes the line, before other output.
    pub(super) fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
