//! This program as the init program of a booted kernel.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use spec_model::scenario::Scenario;

#[cfg(feature = "suite")]
use super::batch;
use super::frame::{BOUNDARY, JOB, Job, MODULES, Message, Told, encode};
use crate::batch::item::Seen;
use crate::target::kernel_log::KernelLog;
use crate::target::kvm::Kvm;
use crate::target::probe::Probe;
use crate::target::{Identity, Run, RunOptions};

/// The serial port that carries frames to the host. On x86-64 the first one is the console; on
/// arm64 the console is of another kind, with names of its own.
const CHANNEL: &str = if cfg!(target_arch = "aarch64") {
    "/dev/ttyS0"
} else {
    "/dev/ttyS1"
};

/// Something that runs scenarios one by one, with the identity that it has by itself.
pub(super) trait Executor {
    fn identity(&self) -> Identity;
    fn run_one(&mut self, scenario: &Scenario, options: RunOptions) -> Run;
    /// Tries out what the target does without any scenario.
    fn probe(&mut self, _told: &mut dyn FnMut(Probe)) {}
}

impl Executor for Kvm {
    fn identity(&self) -> Identity {
        Kvm::identity(self).clone()
    }
    fn run_one(&mut self, scenario: &Scenario, options: RunOptions) -> Run {
        Kvm::run_one(self, scenario, options)
    }
    #[cfg(target_arch = "aarch64")]
    fn probe(&mut self, told: &mut dyn FnMut(Probe)) {
        Kvm::probe(self, told);
    }
}

/// What the program does when it is the init program of a kernel that
/// [`super::Booted`] booted: loads the KVM modules, runs the scenarios that came with
/// it, reports each result as soon as it is there, and ends the machine.
///
/// To be called first thing in `main` when `std::process::id()` is 1.
pub fn agent_main() -> ! {
    init(Kvm::open)
}

/// [`agent_main`] with whatever runs the scenarios.
pub(super) fn init<E: Executor, F: std::fmt::Display>(open: impl Fn() -> Result<E, F>) -> ! {
    // There is nobody else to tell: standard error is the console, and the host quotes it.
    if let Err(error) = serve(open) {
        eprintln!("conform agent: {error}");
    }
    // QEMU is told to end when the machine restarts. If even this fails, init ends, and
    // the kernel panics and restarts.
    if let Err(error) = reboot(RebootCommand::Restart) {
        eprintln!("conform agent: cannot restart: {error}");
    }
    std::process::exit(1)
}

fn serve<E: Executor, F: std::fmt::Display>(open: impl Fn() -> Result<E, F>) -> io::Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(kind, target, kind, MountFlags::empty(), None::<&CStr>)?;
    }
    // Not every kernel has it; without it a warning that comes once comes once.
    let _ = mount(
        "debugfs",
        "/sys/kernel/debug",
        "debugfs",
        MountFlags::empty(),
        None::<&CStr>,
    );
    let mut channel = Channel::open()?;
    let job = fs::read(JOB)?;
    let job = match Job::decode(&job) {
        Ok(job) => job,
        Err(error) => return channel.send(&Message::Fatal(error.to_string())),
    };
    // From here on complaints are about KVM, so the console is to have them.
    fs::write("/proc/sys/kernel/printk", "7")?;
    fs::write("/dev/kmsg", format!("<5>{BOUNDARY}\n"))?;
    let mut log = KernelLog::of_own_kernel();
    let refused = load_modules()?;
    let mut executor = match open() {
        Ok(executor) => executor,
        Err(error) => {
            let modules = match (Path::new(MODULES).exists(), refused.as_slice()) {
                (false, _) => "no KVM modules were found with the kernel".to_owned(),
                (true, []) => "all modules loaded".to_owned(),
                (true, refused) => format!("modules that did not load: {}", refused.join("; ")),
            };
            return channel.send(&Message::Fatal(format!("{error} ({modules})")));
        }
    };
    let mut identity = executor.identity();
    identity.system.complaints = log.watched().clone();
    channel.send(&Message::Hello(Box::new(identity)))?;
    channel.complained(None, &mut log)?;
    if job.probe {
        let mut sent = Ok(());
        executor.probe(&mut |probe| {
            if sent.is_ok() {
                sent = channel.send(&Message::Probed(probe));
            }
        });
        sent?;
    }
    let mut before = None;
    for (index, scenario) in &job.scenarios {
        channel.complained(before, &mut log)?;
        channel.send(&Message::Starting(*index))?;
        let run = catch_unwind(AssertUnwindSafe(|| executor.run_one(scenario, job.options)));
        let run = match run {
            Ok(run) => run,
            Err(payload) => {
                // What the panic left half done is not to be used any more.
                executor = open().map_err(|error| io::Error::other(error.to_string()))?;
                Run::Broken(format!("the agent panicked: {}", panic_text(payload.as_ref())))
            }
        };
        channel.send(&Message::Results(vec![Told {
            number: *index,
            seen: Seen::Other(Box::new(run)),
            complaints: log.complaints(),
        }]))?;
        before = Some(*index);
    }
    #[cfg(feature = "suite")]
    batch::run(&job, &mut executor, &open, &mut channel, &mut log)?;
    // With it its virtual machines, whose end may be what KVM complains of.
    drop(executor);
    channel.complained(None, &mut log)?;
    channel.send(&Message::Finished)
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

/// Loads the modules in order until there is a KVM. Returns those that refused and why:
/// a vendor module does if it is for another processor.
fn load_modules() -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    if Path::new(MODULES).exists() {
        for entry in fs::read_dir(MODULES)? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let mut refused = Vec::new();
    for path in paths {
        if Path::new("/dev/kvm").exists() {
            break;
        }
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let parameters = CString::new(parameters(&name, &command_line)).map_err(io::Error::other)?;
        if let Err(error) = finit_module(File::open(&path)?, &parameters, 0) {
            refused.push(format!("{name}: {error}"));
        }
    }
    Ok(refused)
}

/// What the kernel's command line says to a module, which only built-in ones hear by themselves.
fn parameters(module: &str, command_line: &str) -> String {
    // Files are numbered in the order of loading, and have dashes where modules have underscores.
    let name = module.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '-');
    let name = name.replace('-', "_");
    let own = command_line.split_whitespace().filter_map(|word| {
        let (module, parameter) = word.split_once('.')?;
        (module.replace('-', "_") == name).then_some(parameter)
    });
    own.collect::<Vec<&str>>().join(" ")
}

/// The way to the host.
pub(super) struct Channel {
    port: File,
}

impl Channel {
    fn open() -> io::Result<Self> {
        let port = OpenOptions::new().read(true).write(true).open(CHANNEL)?;
        let mut settings = tcgetattr(&port)?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings)?;
        Ok(Self { port })
    }

    /// Tells what the kernel complained of since the scenario with that number was over.
    pub(super) fn complained(&mut self, after: Option<u32>, log: &mut KernelLog) -> io::Result<()> {
        match log.complaints() {
            none if none.is_empty() => Ok(()),
            complaints => self.send(&Message::Complained(after, complaints)),
        }
    }

    /// Returns when the message has left the machine: should the next scenario kill the
    /// kernel, the host already has everything before it.
    pub(super) fn send(&mut self, message: &Message) -> io::Result<()> {
        let frame = encode(message).map_err(io::Error::other)?;
        self.port.write_all(&frame)?;
        tcdrain(&self.port)?;
        Ok(())
    }
}
