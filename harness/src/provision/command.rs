//! Other programs, run to their end.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{ProvisionError, space};
use crate::interrupt;

/// Lines of a failed command's error output that go into the message.
const STDERR_LINES: usize = 6;
/// How long a command may neither say anything nor change what is free on its file system.
/// apt itself gives a silent server up after two minutes, several times.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a command and returns its standard output.
///
/// # Errors
/// If the program is not there, cannot be started, or fails; the error quotes the
/// command and the end of what it said. Also if the user interrupts it.
pub fn output(command: &mut Command) -> Result<String, ProvisionError> {
    output_into(command, None, PATIENCE)
}

/// The same for a command that fills a folder: it is ended if the file system is full,
/// which apt does not notice, and if nothing happens for as long as `patience`.
///
/// # Errors
/// The same, and [`ProvisionError::NoSpace`] and [`ProvisionError::Stalled`].
pub fn output_into(
    command: &mut Command,
    folder: Option<&Path>,
    patience: Duration,
) -> Result<String, ProvisionError> {
    let line = line_of(command);
    // Messages are quoted and tables are parsed, so neither may be translated. The group
    // is there to be ended as a whole: apt has children that download.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.env("LC_ALL", "C.UTF-8").process_group(0).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProvisionError::ProgramMissing {
                program: command.get_program().to_string_lossy().into_owned(),
            });
        }
        Err(source) => {
            return Err(ProvisionError::Start {
                command: line,
                source,
            });
        }
    };
    let (stdout, stderr) = (
        Said::listen(child.stdout.take()),
        Said::listen(child.stderr.take()),
    );
    let progress = || (stdout.length(), stderr.length(), folder.and_then(space::free));
    let failed = match wait(&mut child, progress, folder, patience) {
        Ok(Ended::Itself(status)) => {
            let (stdout, stderr) = (stdout.all(), stderr.all());
            if status.success() {
                return Ok(stdout);
            }
            ProvisionError::Command {
                command: line,
                status,
                stderr: last_lines(&stderr, STDERR_LINES),
            }
        }
        Ok(Ended::Interrupted) => ProvisionError::Interrupted,
        Ok(Ended::Full(error)) => error,
        Ok(Ended::Stalled) => ProvisionError::Stalled {
            command: line,
            seconds: patience.as_secs(),
            stderr: last_lines(&stderr.so_far(), STDERR_LINES),
        },
        Err(source) => ProvisionError::Start {
            command: line,
            source,
        },
    };
    Err(failed)
}

/// How a command ended.
enum Ended {
    Itself(ExitStatus),
    Interrupted,
    Full(ProvisionError),
    Stalled,
}

fn wait<P: PartialEq>(
    child: &mut Child,
    progress: impl Fn() -> P,
    folder: Option<&Path>,
    patience: Duration,
) -> io::Result<Ended> {
    let (mut last, mut since) = (progress(), Instant::now());
    // Most commands take milliseconds, some minutes.
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        let full = folder.map_or(Ok(()), |folder| space::check(folder, space::FULL));
        let now = progress();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let ended = match full {
            _ if interrupt::interrupted() => Ended::Interrupted,
            Err(error) => Ended::Full(error),
            Ok(()) if since.elapsed() > patience => Ended::Stalled,
            Ok(()) => {
                thread::sleep(nap);
                nap = (nap * 2).min(interrupt::LOOK);
                continue;
            }
        };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // If it has just ended there is nothing left to end.
            let _ = kill_process_group(group, Signal::KILL);
        }
        child.wait()?;
        return Ok(ended);
    }
}

/// What a command says, taken as it comes.
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn listen(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let taken = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let Some(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let chunk = buffer.get(..length).unwrap_or_default();
                taken
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(chunk);
            }
        });
        Self { bytes, reader }
    }

    fn length(&self) -> usize {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn so_far(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything, once the stream has ended.
    fn all(self) -> String {
        // The reader does not panic, and if it did what it took is still there.
        let _ = self.reader.join();
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What may help, judging from what a command said.
#[must_use]
pub fn remedy(stderr: &str) -> &'static str {
    const NETWORK: [&str; 7] = [
        "Failed to fetch",
        "Could not resolve",
        "Could not connect",
        "Unable to connect",
        "Temporary failure",
        "Connection",
        "timed out",
    ];
    if stderr.contains("No space left on device") {
        "Make room, or name a folder elsewhere with CONFORM_CACHE"
    } else if stderr.contains("Permission denied") || stderr.contains("Read-only file system") {
        "Name a folder that can be written with CONFORM_CACHE"
    } else if NETWORK.iter().any(|sign| stderr.contains(sign)) {
        "Check the network and the archive, then try again"
    } else {
        "Run the command yourself to see all that it says"
    }
}

/// A command as one would type it.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// The last `count` lines that are not blank.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_quotes_the_end_of_its_errors() {
        let script = "for i in 1 2 3 4 5 6 7 8; do echo line $i >&2; done; exit 3";
        let error = output(Command::new("sh").args(["-c", script]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c for i"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("line 8") && !error.contains("line 2\n"), "{error}");
    }

    #[test]
    fn what_does_nothing_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "echo waiting >&2; sleep 60 & wait"]);
        let error = output_into(&mut command, None, Duration::from_millis(300)).unwrap_err();
        assert!(
            matches!(&error, ProvisionError::Stalled { stderr, .. } if stderr == "waiting"),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(30));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "for i in 1 2 3 4 5 6 7 8; do echo; sleep 0.2; done; echo done",
        ]);
        let all = output_into(&mut command, Some(folder.path()), Duration::from_secs(1)).unwrap();
        assert!(
            all.ends_with("done\n"),
            "what says something is left alone: {all}"
        );
    }

    #[test]
    fn remedies_fit() {
        for (said, remedy_has) in [
            ("dpkg-deb: error: x: No space left on device", "Make room"),
            ("E: Failed to fetch http://a Could not resolve 'a'", "network"),
            ("E: The value 'x' is invalid", "Run the command"),
        ] {
            assert!(remedy(said).contains(remedy_has), "{said}");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-at-all")).unwrap_err();
        assert!(matches!(error, ProvisionError::ProgramMissing { .. }));
    }

    #[test]
    fn the_last_lines_of_few() {
        assert_eq!(last_lines("a\n\nb\n", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
