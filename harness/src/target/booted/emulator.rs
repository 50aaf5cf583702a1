//! One QEMU process: started, listened to, and never left behind.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::frame::{Corrupt, Decoder, Message};
use crate::provision::{Qemu, last_lines};

/// Lines of the console that go into a message.
const CONSOLE_LINES: usize = 12;

/// How long a process that closed its output may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// Why no further message comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the guest said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("the guest restarted, as it does after a kernel panic")]
    Restarted,
    #[error("QEMU ended ({0})")]
    Ended(ExitStatus),
}

/// What to boot.
pub(super) struct Machine<'a> {
    pub qemu: &'a Qemu,
    pub kernel: &'a Path,
    pub initramfs: &'a [u8],
    pub command_line: &'a str,
}

/// A running QEMU. Dropping it ends the process.
pub(super) struct Emulator {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    reader: Option<JoinHandle<()>>,
    decoder: Decoder,
    folder: TempDir,
}

impl Emulator {
    /// Starts a machine.
    pub fn start(machine: &Machine) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("conform-").tempdir()?;
        let initramfs = folder.path().join("initramfs");
        let console = folder.path().join("console");
        fs::write(&initramfs, machine.initramfs)?;
        File::create(&console)?;
        let errors = File::create(folder.path().join("errors"))?;
        let mut command = machine.qemu.command(launcher());
        // The processor has SVM and long mode; everything that the boot does not need is
        // left out, because probing devices is what takes the time.
        command.args([
            "-machine",
            "pc,usb=off,smbus=off,hpet=off",
            "-accel",
            "tcg",
            "-cpu",
            "EPYC,+svm",
        ]);
        command.args([
            "-m",
            "512",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command
            .arg("-kernel")
            .arg(machine.kernel)
            .arg("-initrd")
            .arg(&initramfs);
        command.args(["-append", machine.command_line]);
        // In the path of a character device a comma is written twice.
        let path = console.to_string_lossy().replace(',', ",,");
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={path}"));
        command.args([
            "-serial",
            "chardev:console",
            "-chardev",
            "stdio,id=frames,signal=off",
        ]);
        command.args(["-serial", "chardev:frames"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(errors))
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
            folder,
        })
    }

    /// Waits for the next message.
    pub fn next(&mut self, patience: Duration) -> Result<Message, Lost> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(message);
            }
            match self
                .chunks
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(chunk) => self.decoder.push(&chunk),
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
                Ok(Some(status)) if status.success() => return Lost::Restarted,
                Ok(Some(status)) => return Lost::Ended(status),
                Ok(None) | Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        Lost::Silent(ENDING)
    }

    /// The last lines of the console and what QEMU itself said, and where all of it was
    /// kept if that worked.
    pub fn last_words(&self, logs: &Path, name: &str) -> String {
        let text = |file: &str| {
            let bytes = fs::read(self.folder.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (console, errors) = (text("console"), text("errors"));
        let mut words = match keep(logs, name, &console) {
            Ok(path) => format!("end of the console, kept in {path}:"),
            Err(error) => format!(
                "end of the console (it could not be kept in {}: {error}):",
                logs.display()
            ),
        };
        for part in [
            last_lines(&console, CONSOLE_LINES),
            last_lines(&errors, CONSOLE_LINES),
        ] {
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
fn launcher() -> &'static [&'static str] {
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
