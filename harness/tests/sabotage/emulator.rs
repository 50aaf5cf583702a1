//! This test as the emulator that `conform` finds: it starts the real one, with something broken.
//!
//! The test puts a link called `qemu-system-x86_64` to itself into the path, and says in
//! the environment what is to be broken, as the agent in the guest has no other way to be reached:
//! the library for it and what it breaks go into a second archive behind the initramfs, and the variables into
//! the kernel's command line, which hands them to init.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use cpio::newc;
use harness::provision::Cache;
use serde::{Deserialize, Serialize};

/// Names the file with the plan, as JSON.
pub const PLAN: &str = "CONFORM_TEST_EMULATOR";
/// Name of the emulator.
pub const NAME: &str = "qemu-system-x86_64";
/// The library inside the guest, and what it breaks.
const LIBRARY: &str = "libsabotage.so";
const SABOTAGE: &str = "sabotage";
/// The port of the guest that carries the library's notes: the third serial one. The first two are
/// the console and the frames.
const NOTES: &str = "/dev/ttyS2";

/// The argument with the file of Xen's console, and what Xen says there of itself.
const CONSOLE: &str = "file,id=console,path=";
const VERSION: &[u8] = b"Xen version ";

/// What is broken.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The real emulator, with the arguments and variables that it needs where it lies.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub variables: BTreeMap<String, String>,
    /// The library to preload into the agent, and what it breaks.
    pub preload: Option<(PathBuf, String)>,
    /// Where the library's notes go.
    pub notes: Option<PathBuf>,
    /// An argument of the kernel that is taken away.
    pub without: Option<String>,
    /// A program that becomes another one when the emulator is first asked for anything.
    pub replaces: Option<PathBuf>,
    /// A line that Xen's console gets once Xen has said its version.
    pub console: Option<String>,
    /// What becomes of the frames.
    pub frames: Option<(Damage, usize)>,
    /// It only says this and ends with this status.
    pub fails: Option<(String, u8)>,
}

/// What becomes of a frame, counted from 1 (1 is the greeting, then two for each scenario).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// The emulator dies once it has passed.
    Dies,
    /// A bit of it is inverted.
    Flipped,
    /// Its second half is lost.
    Cut,
    /// It is lost.
    Lost,
    /// It comes twice.
    Doubled,
}

impl Plan {
    /// One that starts the emulator that `conform` would start.
    ///
    /// # Errors
    /// If there is none.
    pub fn new() -> Result<Self, String> {
        let cache = Cache::open(None).map_err(|error| error.to_string())?;
        let qemu = cache.qemu().map_err(|error| error.to_string())?;
        let command = qemu.command(&[]);
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let variables = command
            .get_envs()
            .filter_map(|(name, value)| Some((text(name), text(value?))));
        Ok(Self {
            program: which(Path::new(command.get_program()))
                .ok_or_else(|| "the emulator has no path".to_owned())?,
            arguments: command.get_args().map(text).collect(),
            variables: variables.collect(),
            ..Self::default()
        })
    }

    /// The plan of this process, if it is an emulator.
    pub fn of_this_process() -> Option<Self> {
        let name = std::env::args_os().next()?;
        if Path::new(&name).file_name()? != NAME {
            return None;
        }
        serde_json::from_str(&fs::read_to_string(std::env::var_os(PLAN)?).ok()?).ok()
    }

    /// Is the emulator.
    pub fn run(self) -> ExitCode {
        match self.start() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("the sabotaged emulator does not start: {error}");
                ExitCode::from(77)
            }
        }
    }

    fn start(self) -> std::io::Result<ExitCode> {
        let mut arguments: Vec<String> = std::env::args().skip(1).collect();
        let asks_version = arguments == ["--version"];
        // Nothing may be left behind if the process that started this one ends.
        let mut command = match which(Path::new("setpriv")) {
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(&self.variables);
        if let Some(program) = &self.replaces {
            replace(program)?;
        }
        if asks_version {
            return Err(command.args(arguments).exec());
        }
        if let Some((text, status)) = &self.fails {
            eprintln!("{text}");
            return Ok(ExitCode::from(*status));
        }
        self.change(&mut arguments)?;
        if let Some(notes) = &self.notes {
            arguments.push("-serial".to_owned());
            arguments.push(format!("file:{}", notes.display()));
        }
        let console = arguments
            .iter_mut()
            .find_map(|argument| Some((PathBuf::from(argument.strip_prefix(CONSOLE)?), argument)));
        let console = console.map(|(path, argument)| {
            // Otherwise the emulator writes over what others have written.
            argument.push_str(",append=on");
            path
        });
        command.args(arguments);
        match (self.frames, console, &self.console) {
            (Some((damage, number)), ..) => pass_frames(command, damage, number),
            (None, Some(console), Some(line)) => say(command, &console, line),
            _ => Err(command.exec()),
        }
    }

    /// Changes the archive and the command line of the kernel.
    fn change(&self, arguments: &mut [String]) -> std::io::Result<()> {
        let after = |name: &str, arguments: &[String]| {
            let place = arguments.iter().position(|argument| argument == name)? + 1;
            (place < arguments.len()).then_some(place)
        };
        let (Some(archive), Some(line)) = (after("-initrd", arguments), after("-append", arguments)) else {
            return Ok(());
        };
        if let Some(without) = &self.without {
            arguments[line] = arguments[line].replace(without.as_str(), "");
        }
        if let Some((library, sabotage)) = &self.preload {
            let files = [
                (LIBRARY, fs::read(library)?),
                (SABOTAGE, sabotage.clone().into_bytes()),
            ];
            add_to_archive(Path::new(&arguments[archive]), &files)?;
            let variables =
                format!("LD_PRELOAD=/{LIBRARY} CONFORM_SABOTAGE=@/{SABOTAGE} CONFORM_SABOTAGE_LOG={NOTES}");
            // What follows two dashes are arguments of init.
            arguments[line] = match arguments[line].split_once(" -- ") {
                Some((kernel, init)) => format!("{kernel} {variables} -- {init}"),
                None => format!("{} {variables}", arguments[line]),
            };
        }
        Ok(())
    }
}

/// Appends a second archive: the kernel unpacks one after the other.
fn add_to_archive(archive: &Path, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(archive)?;
    // Archives start at multiples of four.
    let padding = (4 - file.metadata()?.len() % 4) % 4;
    file.write_all(&[0; 4][..usize::try_from(padding).unwrap_or(0)])?;
    for (name, bytes) in files {
        let entry = newc::Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(newc::ModeFileType::Regular);
        let size = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        let mut writer = entry.write(file, size);
        writer.write_all(bytes)?;
        file = writer.finish()?;
    }
    newc::trailer(file)?.flush()
}

/// Puts a program that only fails in the place of another one, as a build does: under the same name
/// there is another file then.
fn replace(program: &Path) -> std::io::Result<()> {
    let other = program.with_extension("new");
    fs::write(&other, "#!/bin/sh\nexit 66\n")?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755))?;
    fs::rename(other, program)
}

/// Starts the emulator and passes its frames on, but for one.
fn pass_frames(mut command: Command, damage: Damage, number: usize) -> std::io::Result<ExitCode> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let Some(mut output) = child.stdout.take() else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let mut out = std::io::stdout().lock();
    let (mut waiting, mut count) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        waiting.extend_from_slice(&buffer[..length]);
        while let Some(end) = end_of_frame(&waiting) {
            let mut frame: Vec<u8> = waiting.drain(..end).collect();
            count += 1;
            if count == number {
                match damage {
                    Damage::Dies => {}
                    Damage::Flipped => *frame.last_mut().expect("a frame has a header") ^= 1,
                    Damage::Cut => frame.truncate(frame.len() / 2),
                    Damage::Lost => frame.clear(),
                    Damage::Doubled => frame.extend_from_within(..),
                }
            }
            out.write_all(&frame)?;
            out.flush()?;
            if count == number && damage == Damage::Dies {
                child.kill()?;
                child.wait()?;
                // As an emulator that crashes.
                std::process::abort();
            }
        }
    }
    let status = child.wait()?;
    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(70)).unwrap_or(70),
    ))
}

/// Starts the emulator, and writes a line into its console's file once Xen runs.
fn say(mut command: Command, console: &Path, line: &str) -> std::io::Result<ExitCode> {
    let mut child = command.spawn()?;
    while child.try_wait()?.is_none() {
        if fs::read(console)?
            .windows(VERSION.len())
            .any(|bytes| bytes == VERSION)
        {
            let mut file = fs::OpenOptions::new().append(true).open(console)?;
            file.write_all(format!("\n{line}\n").as_bytes())?;
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Where the first frame ends, noise before it included: four bytes that no text has, the build
/// of the agent in 64 bits, a length and a checksum of 32 bits each, and as many bytes (`harness/src/target/booted/frame.rs`).
fn end_of_frame(bytes: &[u8]) -> Option<usize> {
    const MAGIC: [u8; 4] = [0xf5, b'C', b'F', 0x0a];
    let start = bytes.windows(4).position(|window| window == MAGIC)?;
    let length = bytes
        .get(start + 12..start + 16)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)?;
    let end = start + 20 + usize::try_from(length).ok()?;
    (end <= bytes.len()).then_some(end)
}

/// The path of a program that is named without one.
fn which(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return std::path::absolute(program).ok();
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
