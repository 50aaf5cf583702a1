//! Processes that try out mutants, one for each processor.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::protocol::{Caught, Ready, Tried};

/// KiB of memory that a process gets. A mutant may want all that there is.
const MEMORY: &str = "4000000";
/// Time for all cases with one mutant. Loops that ask for no mutant end with it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What goes wrong with the processes themselves.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// One cannot be started.
    #[error("{0} cannot be started: {1}")]
    Start(String, std::io::Error),
    /// One does not say what it has.
    #[error("{0} does not start as it should")]
    NotReady(String),
}

/// One process.
struct Runner {
    child: Child,
    lines: Receiver<String>,
}

impl Runner {
    fn start(program: &Path, cases: &Path) -> Result<(Self, Ready), PoolError> {
        let name = || program.display().to_string();
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -v \"$0\"; ulimit -c 0; exec \"$@\"", MEMORY])
            .arg(program)
            .arg(cases)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| PoolError::Start(name(), error))?;
        let (sender, lines) = channel();
        let out = child.stdout.take().ok_or_else(|| PoolError::NotReady(name()))?;
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let runner = Self { child, lines };
        let first = runner.lines.recv().map_err(|_| PoolError::NotReady(name()))?;
        let ready = serde_json::from_str(&first).map_err(|_| PoolError::NotReady(name()))?;
        Ok((runner, ready))
    }

    /// What comes of a mutant, or how the process ended.
    fn try_out(&mut self, mutant: u32) -> Result<Option<Caught>, &'static str> {
        const DIES: &str = "the process dies";
        let stdin = self.child.stdin.as_mut().ok_or(DIES)?;
        writeln!(stdin, "{mutant}").map_err(|_| DIES)?;
        let line = self.lines.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the process does not end",
            RecvTimeoutError::Disconnected => DIES,
        })?;
        let tried: Tried = serde_json::from_str(&line).map_err(|_| DIES)?;
        Ok(tried.caught)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What cases come to without mutants.
///
/// # Errors
/// If the process cannot be started.
pub fn ready(program: &Path, cases: &Path) -> Result<Ready, PoolError> {
    Runner::start(program, cases).map(|(_, ready)| ready)
}

/// Tries out mutants with as many processes. `done` is told each as it comes.
///
/// # Errors
/// If a process cannot be started.
pub fn try_out(
    program: &Path,
    cases: &Path,
    mutants: &[u32],
    jobs: usize,
    done: impl Fn(&Tried) + Sync,
) -> Result<Vec<Tried>, PoolError> {
    let left: Mutex<VecDeque<u32>> = Mutex::new(mutants.iter().copied().collect());
    let work = || -> Result<Vec<Tried>, PoolError> {
        let (mut runner, _) = Runner::start(program, cases)?;
        let mut tried = Vec::new();
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(mutant) = next else { return Ok(tried) };
            let caught = match runner.try_out(mutant) {
                Ok(caught) => caught,
                Err(how) => {
                    (runner, _) = Runner::start(program, cases)?;
                    Some(Caught {
                        case: "-".to_owned(),
                        how: how.to_owned(),
                    })
                }
            };
            let one = Tried { mutant, caught };
            done(&one);
            tried.push(one);
        }
    };
    let found: Vec<Result<Vec<Tried>, PoolError>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Vec::new();
    for found in found {
        all.extend(found?);
    }
    all.sort_by_key(|tried| tried.mutant);
    Ok(all)
}
