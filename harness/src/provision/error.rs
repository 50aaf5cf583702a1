//! Why something could not be found or fetched.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::{Architecture, Damage, KernelName, Provision, XenName, command};

/// Why something could not be found or fetched.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// There is no QEMU.
    #[error(
        "there is no working {}: install it, or let `conform provision` fetch it where apt is",
        .0.qemu_program()
    )]
    QemuMissing(Architecture),
    /// This program was not built yet for kernels of another architecture.
    #[error("{problem}: `conform provision {kernel}` builds it")]
    AgentMissing {
        /// What is missing or stale.
        problem: String,
        /// The kernel whose provisioning builds it.
        kernel: KernelName,
    },
    /// The sources of this program are not where it was built.
    #[error(
        "{folder} does not hold the sources of this program any more, and what runs in an arm64 kernel is \
         built from them: run `cargo conform` in a checkout"
    )]
    NoSources {
        /// The folder of the workspace.
        folder: PathBuf,
    },
    /// There is no Rust standard library for another architecture.
    #[error(
        "there is no Rust standard library for {target} and rustup cannot add it ({problem}): \
         `rustup target add {target}` does it where there is a network"
    )]
    NoCrossStandardLibrary {
        /// Rust's name of the target.
        target: &'static str,
        /// Why.
        problem: String,
    },
    /// The kernel was not fetched yet.
    #[error("kernel {name} is not in the cache: fetch it with `conform provision {name}`")]
    KernelMissing {
        /// The kernel asked for.
        name: KernelName,
    },
    /// Xen was not fetched yet.
    #[error("Xen is not in the cache: fetch it with `conform provision {name}`")]
    XenMissing {
        /// Which one was asked for.
        name: XenName,
    },
    /// No release that was searched has this Xen.
    #[error("no package of a hypervisor is there for `{name}`; searched: {searched}{failures}")]
    NoXen {
        /// Which one was asked for.
        name: XenName,
        /// The suites that were searched.
        searched: String,
        /// Why others were not, a line each.
        failures: String,
    },
    /// A program is not there.
    #[error(
        "`{program}` is not on this machine, so packages cannot be fetched: install QEMU yourself and \
         give a kernel by its path instead of `debian:X.Y`"
    )]
    ProgramMissing {
        /// The program.
        program: String,
    },
    /// The machine has no Debian archive configured.
    #[error(
        "no Debian archive is configured in /etc/apt, so packages cannot be fetched: install QEMU \
         yourself and give a kernel by its path instead of `debian:X.Y`"
    )]
    NoArchive,
    /// A command could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed ({status}):\n{stderr}\n{}", command::remedy(stderr))]
    Command {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its error output.
        stderr: String,
    },
    /// A command did nothing for a long time, and was ended.
    #[error(
        "`{command}` did nothing for {seconds} s and was ended:\n{stderr}\nCheck the network and the \
         archive, then try again"
    )]
    Stalled {
        /// The command.
        command: String,
        /// For how long, in seconds.
        seconds: u64,
        /// The last lines of its error output.
        stderr: String,
    },
    /// The cache that the user named is not there.
    #[error(
        "CONFORM_CACHE names {folder}, which cannot be used as a cache: {source}; unset it, name the folder that \
         was filled, or fill this one with `conform provision`"
    )]
    NoSuchCache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system of the cache is full.
    #[error(
        "there is too little space for the cache in {folder}: {free} MiB are free, and at least {needed} \
         MiB are needed; make room, or name a folder elsewhere with CONFORM_CACHE"
    )]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// What is free, in MiB.
        free: u64,
        /// What is needed, in MiB.
        needed: u64,
    },
    /// The user interrupted it.
    #[error("interrupted: what was not finished is removed by the next `conform provision`")]
    Interrupted,
    /// No suite has that kernel.
    #[error(
        "{name} is not in the archive (searched: {searched}); {}{failures}",
        instead(nearest)
    )]
    NotInArchive {
        /// The kernel asked for.
        name: KernelName,
        /// The suites that could be searched.
        searched: String,
        /// Builds that could be had instead.
        nearest: Vec<KernelName>,
        /// What went wrong with the others, on a line each.
        failures: String,
    },
    /// The archive has the image of a kernel, and not its modules.
    #[error(
        "{name} cannot be booted with KVM: the archive has its image, {release}, and not {}; {}",
        missing.join(" and "),
        instead(nearest)
    )]
    NoModules {
        /// The kernel asked for.
        name: KernelName,
        /// The build.
        release: String,
        /// Names of the packages that are not there.
        missing: Vec<String>,
        /// Builds that could be had instead.
        nearest: Vec<KernelName>,
    },
    /// A file is not a kernel image that can be booted.
    #[error("{path} cannot be booted: {problem}; give the path of a bzImage or of a folder with one")]
    NotAKernel {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A module cannot be used.
    #[error("kernel module {path} cannot be used: {problem}")]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A module that another one needs is not there.
    #[error("kernel module `{needed_by}` needs `{name}`, which is not beside it; copy it there")]
    ModuleMissing {
        /// The module.
        name: String,
        /// The one that needs it.
        needed_by: String,
    },
    /// Something was provisioned, and is not any more what it was then.
    #[error("{what} in the cache is damaged: {folder} {damage}; {} fetches it again", what.command())]
    Damaged {
        /// What it is.
        what: Provision,
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What to ask for where something is not there.
fn instead(nearest: &[KernelName]) -> String {
    let names: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    let nearest = match names.len() {
        0 => return "give a kernel by its path".to_owned(),
        1 => "the nearest is",
        _ => "the nearest are",
    };
    format!(
        "{nearest} {}, `conform provision --list` shows all, and a kernel can be given by its path",
        names.join(" and ")
    )
}

impl ProvisionError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
