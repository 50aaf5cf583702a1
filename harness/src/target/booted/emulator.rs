//! One QEMU process: started, listened to, and never left behind.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::frame::{BOUNDARY, Corrupt, Decoder, Job, Message};
use super::initramfs::{Contents, InitramfsError};
use super::platform::Platform;
use crate::interrupt;
use crate::provision::Qemu;
use crate::target::complaint::{Complaint, find};

/// Lines from the first complaint on the console, and from its end, that go into a message.
const ALARM_LINES: usize = 8;
/// Lines of what QEMU said that a message shows.
const QEMU_LINES: usize = 4;
const LAST_LINES: usize = 4;

/// Options for every machine. What the boot does not need is left out, because probing devices
/// takes time. The cache of translated code is small because a short run gains nothing from a
/// large one, and memory of the whole run counts.
const OPTIONS: &str = "-accel tcg,tb-size=32 -m 256 -nodefaults -no-user-config -display none -no-reboot";

/// Where the console goes; the frames go over standard output.
const CONSOLE: &str = "-serial chardev:console -chardev stdio,id=frames,signal=off";

/// How long a process that closed its output may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// Why no further message comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the guest said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("the emulator ended without an error, as when the guest restarts after a kernel panic")]
    Restarted,
    #[error("QEMU ended ({0})")]
    Ended(ExitStatus),
    #[error("QEMU was ended from outside: {0}")]
    Killed(String),
    #[error("it was asked to stop")]
    Stopped,
}

/// Why QEMU does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error("cannot start QEMU: {0}")]
    Io(#[from] io::Error),
}

/// What to boot.
pub(super) struct Machine<'a> {
    pub qemu: &'a Qemu,
    pub kernel: &'a Path,
    pub initramfs: &'a Contents,
    pub job: &'a Job<'a>,
    pub command_line: &'a str,
    /// What is emulated.
    pub platform: Platform,
}

/// A running QEMU. Dropping it ends the process.
pub(super) struct Emulator {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    reader: Option<JoinHandle<()>>,
    decoder: Decoder,
    console: File,
    errors: File,
    /// Until the guest runs: QEMU has opened its files by then, and without their names
    /// nothing is left behind if this process is killed.
    folder: Option<TempDir>,
}

impl Emulator {
    /// Starts a machine.
    pub fn start(machine: &Machine) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new().prefix("conform-").tempdir()?;
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
        };
        let create = |path: &Path| {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path);
            file.map_err(|error| named(path, error))
        };
        let initramfs = folder.path().join("initramfs");
        machine.initramfs.write(machine.job, create(&initramfs)?)?;
        let console_path = folder.path().join("console");
        let console = create(&console_path)?;
        let errors = create(&folder.path().join("errors"))?;
        let mut command = machine.qemu.command(launcher());
        command.args(machine.platform.options().split(' '));
        command.args(OPTIONS.split(' '));
        command.arg("-kernel").arg(machine.kernel);
        command.arg("-initrd").arg(&initramfs);
        command.arg("-append").arg(machine.command_line);
        // In the path of a character device a comma is written twice.
        let path = console_path.to_string_lossy().replace(',', ",,");
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={path}"));
        command.args(CONSOLE.split(' '));
        command.args(machine.platform.frames().split(' '));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()?;
        let (sender, chunks) = channel();
        let output = child.stdout.take();
        let reader = thread::spawn(move || {
            let Some(mut output) = output else { return };
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let chunk = buffer.get(..length).unwrap_or_default().to_vec();
                if sender.send(chunk).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            chunks,
            reader: Some(reader),
            decoder: Decoder::default(),
            console,
            errors,
            folder: Some(folder),
        })
    }

    /// Waits for the next message, or until `stop` is set or the user interrupts the run.
    pub fn next(&mut self, patience: Duration, stop: &AtomicBool) -> Result<Message, Lost> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(message) = self.decoder.next()? {
                self.folder = None;
                return Ok(message);
            }
            if stop.load(Ordering::Relaxed) || interrupt::interrupted() {
                return Err(Lost::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left.min(interrupt::LOOK)) {
                Ok(chunk) => self.decoder.push(&chunk),
                Err(RecvTimeoutError::Timeout) if left > interrupt::LOOK => {}
                Err(RecvTimeoutError::Timeout) => return Err(Lost::Silent(patience)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ending()),
            }
        }
    }

    fn ending(&mut self) -> Lost {
        let deadline = Instant::now() + ENDING;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                // With -no-reboot, QEMU ends in success when the guest restarts.
                // It does so as well when it is asked to end by a signal, and says so.
                Ok(Some(status)) if status.success() => {
                    let errors = text(&self.errors);
                    let said = errors.lines().find(|line| line.contains("terminating on signal"));
                    return said.map_or(Lost::Restarted, |said| Lost::Killed(said.to_owned()));
                }
                Ok(Some(status)) => return Lost::Ended(status),
                Ok(None) | Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        Lost::Silent(ENDING)
    }

    /// All that the console shows.
    pub fn console(&self) -> String {
        text(&self.console)
    }

    /// What the kernel complains of on the console since it is KVM that is tested. Where the console
    /// does not show since when that is, it is from the beginning if the agent has reported.
    pub fn complaints(&self, reported: bool) -> Vec<Complaint> {
        let console = self.console();
        let otherwise = if reported { console.as_str() } else { "" };
        let behind = console
            .split_once(BOUNDARY)
            .map_or(otherwise, |(_, behind)| behind);
        find(behind.lines())
    }

    /// The part of the console that tells most and what QEMU itself said, and where all of
    /// it was kept if that worked.
    pub fn last_words(&self, logs: &Path, name: &str) -> String {
        let (console, errors) = (text(&self.console), text(&self.errors));
        let mut words = match keep(logs, name, &format!("{console}\n{errors}")) {
            Ok(path) => format!("from the console, kept in {path}:"),
            Err(error) => format!(
                "from the console (it could not be kept in {}: {error}):",
                logs.display()
            ),
        };
        for part in [essence(&console), said_by_qemu(&errors)] {
            if !part.is_empty() {
                words.push('\n');
                words.push_str(&part);
            }
        }
        words
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards, and so the reader
        // sees the end of its output.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// What a file holds from its start; as much as can be read.
fn text(mut file: &File) -> String {
    let mut bytes = Vec::new();
    if file.rewind().is_ok() {
        // A part of a console is better than none.
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first complaint and the end of a console.
fn essence(console: &str) -> String {
    let lines: Vec<&str> = console
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = lines.len().saturating_sub(LAST_LINES);
    let first = find(lines.iter().copied())
        .first()
        .and_then(|complaint| lines.iter().position(|line| line.contains(&complaint.headline)))
        .unwrap_or(tail);
    let end = lines.len().min(first + ALARM_LINES);
    let mut chosen = lines.get(first..end).unwrap_or_default().to_vec();
    if end < tail {
        chosen.push("[...]");
    }
    chosen.extend(lines.get(end.max(tail)..).unwrap_or_default());
    chosen.join("\n")
}

/// How QEMU's errors begin, without its complaints about processor features that TCG lacks,
/// which are the same in every run. When it aborts, the reason stands first and a dump of
/// all registers follows.
fn said_by_qemu(errors: &str) -> String {
    let telling = |line: &&str| !line.contains("TCG doesn't support requested feature");
    let lines: Vec<&str> = errors.lines().filter(telling).collect();
    lines
        .get(..lines.len().min(QEMU_LINES))
        .unwrap_or_default()
        .join("\n")
}

fn keep(logs: &Path, name: &str, console: &str) -> io::Result<String> {
    fs::create_dir_all(logs)?;
    let plain = name.replace(
        |character: char| !(character.is_ascii_alphanumeric() || character == '.'),
        "-",
    );
    let file = tempfile::Builder::new()
        .prefix(&format!("{plain}-"))
        .suffix(".console.log")
        .tempfile_in(logs)?;
    fs::write(file.path(), console)?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path.display().to_string())
}

/// A program that makes QEMU end with the thread that started it, however that ends, if
/// this machine has one (util-linux does).
pub(crate) fn launcher() -> &'static [&'static str] {
    const LAUNCHER: &[&str] = &["setpriv", "--pdeathsig", "KILL", "--"];
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let [program, arguments @ ..] = LAUNCHER else {
            return false;
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    if works { LAUNCHER } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_essence_of_a_console_is_its_first_complaint_and_its_end() {
        let quiet: String = (0..20).map(|number| format!("line {number}\r\n")).collect();
        assert_eq!(essence(&quiet), "line 16\nline 17\nline 18\nline 19");
        let alarm = essence(&quiet.replace("line 3\r", "[ 1.0] BUG: kernel NULL pointer\r"));
        assert!(alarm.starts_with("[ 1.0] BUG: kernel"), "{alarm}");
        assert!(alarm.contains("line 10\n[...]\nline 16\n"), "{alarm}");
        assert!(alarm.ends_with("line 19"), "{alarm}");
        assert_eq!(essence(""), "");
        assert_eq!(essence("Kernel panic\nend"), "Kernel panic\nend");
    }

    #[test]
    fn complaints_about_features_are_left_out() {
        let errors = "warning: TCG doesn't support requested feature: x\nCould not open kernel\n";
        assert_eq!(said_by_qemu(errors), "Could not open kernel");
    }
}
