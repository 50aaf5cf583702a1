//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use spec_model::defect::Defect;
use spec_model::profile::Profile;
use spec_model::scenario::Observe;

use super::findings::FindingsArguments;
use super::layout::LayoutArguments;
use super::target_name::TargetName;
use crate::provision::Bootable;
use crate::target::{Mode, RunOptions};

/// Runs conformance cases on the reference model and on real KVM.
///
/// Exit status: 0 every target conforms (known deviations and unsupported cases allowed),
/// 1 something deviates, unexpectedly conforms, or is unsupported that must not be, 2 the
/// command or a file is wrong, 3 the run is incomplete or a target proved nothing, 130 or 143
/// it was interrupted (SIGINT, SIGTERM), 141 nobody reads the output to its end.
#[derive(Debug, Parser)]
#[command(name = "conform", version, verbatim_doc_comment, infer_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run cases and judge what happens.
    Run(RunArguments),
    /// Follow every schedule of cases with several processors, and replay each way to end.
    ///
    /// Without CASES: those that make a claim about all schedules (key `explore`). Prints the
    /// number of states, the ways in which the run can end, and a shortest schedule to a crash
    /// as a sequence diagram.
    Explore(ExploreArguments),
    /// Run every sequence of NMI, SMI, IRET, RSM, INT3, a fault and interrupt shadows.
    ///
    /// On the model with its invariants, on a KVM judged against the model to the last field.
    /// Prints how many sequences and distinct behaviours there are, and sequences that deviate
    /// as case files.
    Sequences(SequencesArguments),
    /// Run the gate sweep: an event through every kind of gate, to every kind of stack.
    ///
    /// On a KVM, judged against the model to the last field. Prints how many combinations there
    /// are, and the first one of each way to deviate as a case file.
    Gates(GatesArguments),
    /// Make random single steps of user-mode code on this machine's own processor, against the model.
    ///
    /// Needs neither root nor /dev/kvm, but ptrace and modify_ldt. Prints how many steps agree, and
    /// the first one of each way to differ.
    Native(NativeArguments),
    /// Check case and deviation files, the cases also against the model, and show every mistake.
    Check {
        /// A file or folder; the repository's cases if absent.
        path: Option<PathBuf>,
    },
    /// Say which targets there are, and what would help where one cannot be used.
    Targets,
    /// Boot targets, say what they turn out to be, and try them out without any case.
    ///
    /// On arm64 every kind of memory access is made to memory, to a read-only slot over
    /// untouched pages and to no memory. Exit status 1 if something else came of it than must.
    Probe {
        /// For instance `arm64@debian:6.12`; every provisioned kernel if absent.
        targets: Vec<TargetName>,
    },
    /// Find or fetch QEMU, and kernels or Xen to boot.
    Provision {
        /// `debian:X.Y`, for instance `debian:6.12`, which is the default, a single build `debian:X.Y.Z`,
        /// `arm64:debian:X.Y`, `xen`, which is that of the machine's Debian release, or `xen:X.Y`.
        #[arg(value_name = "KERNEL")]
        wanted: Vec<Bootable>,
        /// List the builds of Debian's kernels that can be had, and which of them have KVM modules, and fetch
        /// none: all for x86-64, or those that KERNEL means.
        #[arg(long)]
        list: bool,
    },
    /// Show a requirement with its clause, and the cases, defects and deviations about it.
    Explain {
        /// The id, for instance SMM-RSM-008; all ids if absent.
        requirement: Option<String>,
        /// List what cases say they check and do not prove: with the requirement broken in the
        /// model, they conform all the same.
        #[arg(long, conflicts_with = "requirement")]
        unproven: bool,
        /// List what people wrote that cases expect and that no target has ever confirmed, by the
        /// reason, and the requirements that count as covered by that alone (golden/confirmed.yaml).
        #[arg(long, conflicts_with_all = ["requirement", "unproven"])]
        unconfirmed: bool,
        /// A further folder of cases.
        #[arg(long, value_name = "DIR")]
        cases: Vec<PathBuf>,
    },
    /// Say where known deviations were seen, whose they are, and which were not seen where their files say.
    ///
    /// Without REPORTS: by golden/seen.yaml. Exit status 1 if a deviation was not seen on something that its
    /// file says, or a report has a run that cases and deviations of today do not explain.
    Findings(FindingsArguments),
    /// List the defects that can be switched on in the model.
    Defects,
    /// List bugs of the past, the defects that express them and the cases that catch those.
    Bugs {
        /// A further folder of cases.
        #[arg(long, value_name = "DIR")]
        cases: Vec<PathBuf>,
    },
    /// Print a layout of the state-save area, decode a dump by it, or compare two.
    Layout(LayoutArguments),
    /// List the cases.
    List {
        /// Only these, for instance `smm/*`.
        globs: Vec<String>,
        /// A further folder of cases.
        #[arg(long, value_name = "DIR")]
        cases: Vec<PathBuf>,
    },
}

/// What `conform run` takes.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Only these cases, for instance `nmi` or `smm/rsm-*`, or a case file anywhere.
    pub(super) globs: Vec<String>,
    /// Where to run: `model`, `kvm`, `svm@debian:6.12`, `svm@/path/to/vmlinuz`, `xen-pv@debian`,
    /// `xen-pv@debian:4.20`. Repeatable.
    /// The default is the model, the local device, and every kernel and Xen that is provisioned.
    #[arg(long = "target", short, value_name = "T")]
    pub(super) targets: Vec<TargetName>,
    /// Fetch what the targets need; without --target also the kernel debian:6.12.
    #[arg(long)]
    pub(super) provision: bool,
    /// Write the whole report there, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) coverage: CoverageArguments,
    /// A new virtual machine for every case, rather than one that is reset.
    #[arg(long)]
    pub(super) fresh_vm: bool,
    /// Run on the local device also what harms this host if it has the bug in question.
    #[arg(long)]
    pub(super) allow_host_risk: bool,
    /// At every point, read the whole state through the KVM API and go on with it in a new
    /// virtual machine. Nothing may change by that.
    #[arg(long, conflicts_with = "userspace_rewrite")]
    pub(super) migrate: bool,
    /// At every point, read the whole state through the KVM API and put it back. Nothing may
    /// change by that.
    #[arg(long)]
    pub(super) userspace_rewrite: bool,
    /// What the host looks at: the whole state at every `points`, or only at the `ends` of the run,
    /// so that looking cannot put right what a hypervisor forgot. Then expectations about the
    /// state at points do not count.
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "points",
        value_parser = observe,
        conflicts_with_all = ["migrate", "userspace_rewrite"]
    )]
    pub(super) observe: Observe,
    /// Show the model's instructions and stops beside what the target did.
    #[arg(long)]
    pub(super) trace: bool,
    /// Run the cases in another order.
    #[arg(long, value_name = "SEED")]
    pub(super) shuffle: Option<u64>,
    /// Take no deviation for known: what deviates is red, also where a file lists it.
    #[arg(long)]
    pub(super) no_deviations: bool,
    /// Switch a defect on in the model. Repeatable; `conform defects` lists them.
    #[arg(long = "defect", value_name = "NAME")]
    pub(super) defects: Vec<Defect>,
    /// A further folder of cases. Repeatable.
    #[arg(long, value_name = "DIR")]
    pub(super) cases: Vec<PathBuf>,
    /// The implementation whose choices the target `model` makes; for each case the first
    /// one that it is about if absent, which is kvm-svm for most.
    #[arg(long, value_name = "NAME", value_parser = profile)]
    pub(super) profile: Option<&'static Profile>,
}

impl RunArguments {
    /// How the cases are run.
    pub(super) fn options(&self) -> RunOptions {
        RunOptions {
            fresh_vm: self.fresh_vm,
            mode: self.mode(),
            observe: self.observe,
            allow_host_risk: self.allow_host_risk,
        }
    }

    /// What the host does at every point.
    pub(super) fn mode(&self) -> Mode {
        match (self.migrate, self.userspace_rewrite) {
            (true, _) => Mode::Migrate,
            (_, true) => Mode::UserspaceRewrite,
            _ => Mode::Normal,
        }
    }
}

/// What a command takes about what must not be unsupported.
#[derive(Debug, Args)]
pub(super) struct CoverageArguments {
    /// Fail where something is unsupported that ran when this baseline was written. Unless targets are named, it
    /// has to have those that are here, and those that it has have to be here. The repository's own,
    /// golden/baseline.yaml, is used unless another one is given.
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Run on the targets that the baseline has, whether they are here or not, and on no others.
    #[arg(long, conflicts_with = "targets")]
    pub(super) baseline_targets: bool,
    /// Write down what ran on which target, for --baseline. What the file says of other targets, and of what
    /// this run was not about, stays. If something ran by the file and does not now, it is named, and
    /// the file is left as it is.
    #[arg(long, value_name = "FILE")]
    pub(super) write_baseline: Option<PathBuf>,
    /// Let --write-baseline forget what does not run any more.
    #[arg(long, requires = "write_baseline")]
    pub(super) drop: bool,
    /// Fail where one of these is unsupported, on whatever target: cases, or scenarios as they are called in
    /// reports. Repeatable.
    #[arg(long, value_name = "GLOB")]
    pub(super) fail_on_unsupported: Vec<String>,
}

/// What `conform explore` takes.
#[derive(Debug, Args)]
pub(super) struct ExploreArguments {
    /// These cases, for instance `s3/as-reported`.
    pub(super) globs: Vec<String>,
    /// Where to replay the endings: `model` (nowhere), `kvm`, `svm@debian:6.12`. Repeatable.
    /// The default is the local device and every kernel that is provisioned.
    #[arg(long = "target", short, value_name = "T")]
    pub(super) targets: Vec<TargetName>,
    #[command(flatten)]
    pub(super) coverage: CoverageArguments,
    /// Give up after this many distinct states.
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub(super) states: usize,
    /// Show a schedule as a diagram even where no schedule crashes.
    #[arg(long)]
    pub(super) diagram: bool,
    /// Take no deviation for known: what deviates is red, also where a file lists it.
    #[arg(long)]
    pub(super) no_deviations: bool,
    /// Switch a defect on in the model. Repeatable; `conform defects` lists them.
    #[arg(long = "defect", value_name = "NAME")]
    pub(super) defects: Vec<Defect>,
    /// A further folder of cases. Repeatable.
    #[arg(long, value_name = "DIR")]
    pub(super) cases: Vec<PathBuf>,
    /// The implementation whose choices the model makes.
    #[arg(long, value_name = "NAME", default_value = "kvm-svm", value_parser = profile)]
    pub(super) profile: &'static Profile,
}

/// What `conform sequences` takes.
#[derive(Debug, Args)]
pub(super) struct SequencesArguments {
    #[command(flatten)]
    pub(super) family: FamilyArguments,
    /// Events of the longest sequences; 5 on a KVM and 7 in the model unless given.
    #[arg(long, short, value_name = "N")]
    pub(super) length: Option<usize>,
    /// Only these events, for instance `nmi,smi,iret,rsm`.
    #[arg(long, value_name = "EVENTS")]
    pub(super) symbols: Option<String>,
    /// Print this sequence as a case file and do nothing else, for instance `nmi,smi,rsm`.
    #[arg(long, value_name = "SEQUENCE")]
    pub(super) print: Option<String>,
}

/// What `conform gates` takes.
#[derive(Debug, Args)]
pub(super) struct GatesArguments {
    #[command(flatten)]
    pub(super) family: FamilyArguments,
    /// Only these groups, for instance `core,stacks`.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    pub(super) groups: Vec<String>,
    /// Print this combination as a case file and do nothing else, for instance
    /// `event=ud,cpl=3,ist=1,stack=absent`; what is left out is as it should be.
    #[arg(long, value_name = "ROW")]
    pub(super) print: Option<String>,
}

/// What `conform native` takes.
#[derive(Debug, Args)]
pub(super) struct NativeArguments {
    /// How many steps.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(super) steps: u64,
    /// The same seed makes the same steps.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// Number of the first step; with --steps 1, of the only one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) first: u64,
    /// Code of this width only; of all three in turn if absent.
    #[arg(long, value_name = "BITS", value_parser = width)]
    pub(super) code: Option<u32>,
    /// Switch a defect on in the model. Repeatable; `conform defects` lists them.
    #[arg(long = "defect", value_name = "NAME")]
    pub(super) defects: Vec<Defect>,
}

fn width(text: &str) -> Result<u32, String> {
    match text {
        "16" => Ok(16),
        "32" => Ok(32),
        "64" => Ok(64),
        _ => Err(format!("`{text}` is no width of code; write 16, 32 or 64")),
    }
}

/// What a command takes that runs a family of scenarios.
#[derive(Debug, Args)]
pub(super) struct FamilyArguments {
    /// Where to run: `model`, `kvm`, `svm@debian:6.12`, `svm@/path/to/vmlinuz`. The default is
    /// the model, the local device and every kernel that is provisioned.
    pub(super) targets: Vec<TargetName>,
    /// Write the counts there, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) coverage: CoverageArguments,
    /// Save the first ones of each way to deviate there as case files, for `conform run FILE`.
    #[arg(long, value_name = "DIR")]
    pub(super) save: Option<PathBuf>,
    /// Boot a kernel this many times at once, each for a share of the scenarios.
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub(super) jobs: usize,
    /// Take no deviation for known: what deviates is red, also where a file lists it.
    #[arg(long)]
    pub(super) no_deviations: bool,
    /// What the host looks at: the whole state at every `points`, or only at the `ends` of each run.
    #[arg(long, value_name = "WHERE", default_value = "points", value_parser = observe)]
    pub(super) observe: Observe,
    /// Switch a defect on in the model. Repeatable; `conform defects` lists them.
    #[arg(long = "defect", value_name = "NAME")]
    pub(super) defects: Vec<Defect>,
    /// The implementation whose choices the target `model` makes.
    #[arg(long, value_name = "NAME", default_value = "kvm-svm", value_parser = profile)]
    pub(super) profile: &'static Profile,
}

fn observe(name: &str) -> Result<Observe, String> {
    let found = Observe::ALL.into_iter().find(|observe| observe.name() == name);
    found.ok_or_else(|| format!("`{name}` is not a place to look; write `points` or `ends`"))
}

fn profile(name: &str) -> Result<&'static Profile, String> {
    Profile::named(name).ok_or_else(|| {
        let known = spec_model::profile::PROFILES.iter().map(|profile| profile.name);
        let known: Vec<&str> = known.collect();
        format!("no profile is called `{name}`; there are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_modes_of_a_run_exclude_each_other() {
        let mode = |options: &[&str]| {
            let arguments = ["conform", "run"].iter().chain(options);
            Arguments::try_parse_from(arguments).map(|arguments| match arguments.command {
                Command::Run(run) => run.mode(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(mode(&[]).expect("right"), Mode::Normal);
        assert_eq!(mode(&["--migrate"]).expect("right"), Mode::Migrate);
        assert_eq!(
            mode(&["--userspace-rewrite"]).expect("right"),
            Mode::UserspaceRewrite
        );
        for both in [
            ["--userspace-rewrite", "--migrate"],
            ["--observe=ends", "--migrate"],
        ] {
            let error = mode(&both).expect_err("wrong");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn wrong_values_are_refused_with_a_remedy() {
        for (arguments, remedy) in [
            (["conform", "run", "--target", "vmx"], "svm@debian:6.12"),
            (["conform", "run", "--target", "svm@debian:6"], "debian:X.Y"),
            (["conform", "run", "--defect", "none"], "conform defects"),
            (["conform", "run", "--profile", "xen"], "kvm-svm"),
            (["conform", "run", "--observe", "all"], "`ends`"),
        ] {
            let error = Arguments::try_parse_from(arguments).expect_err("wrong");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }
}
