//! Sabotages around KVM: the cache, the emulator, the program itself, what it writes to.

use std::fs;
use std::path::{Path, PathBuf};

use harness::provision::{Cache, XenName};

use super::booted::{self, target, use_emulator};
use super::conform::{Conform, Finished, library, program};
use super::emulator::{Damage, Plan};
use super::outcome::{Expected, GREEN, INCOMPLETE, NOT_GREEN, Outcome, RED, Row};

/// Three cases that conform in a booted kernel, in the order in which they run there.
const THREE: [&str; 3] = ["nmi/in-smm-is-latched", "nmi/wakes-hlt", "smm/entry-keeps-cr3"];

pub fn rows() -> Vec<Row> {
    [caches(), emulators(), guests(), vec![xen()], surroundings()]
        .into_iter()
        .flatten()
        .collect()
}

/// A row about what is neither KVM nor the kernel; `needs_kernel` if it boots one.
pub fn row(
    name: &str,
    needs_kernel: bool,
    expected: Expected,
    run: impl Fn() -> Finished + Send + Sync + 'static,
) -> Row {
    Row {
        name: name.to_owned(),
        wanted: expected.to_text(),
        run: Box::new(move || judge(expected, &run())),
        not_run: if needs_kernel { booted::no_kernel() } else { None },
    }
}

fn judge(expected: Expected, finished: &Finished) -> Outcome {
    expected.judge(finished, &[])
}

const fn expected(statuses: &'static [i32], says: &'static [&'static str]) -> Expected {
    Expected {
        statuses,
        says,
        lost: false,
    }
}

/// A capability is hidden, and the user said that nothing may be unsupported.
const fn lost(says: &'static [&'static str]) -> Expected {
    Expected {
        statuses: RED,
        says,
        lost: true,
    }
}

/// A copy of the cache with the kernel that is booted and nothing else; QEMU is linked.
pub struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(None).expect("checked before");
        let kernel = kernel_folder();
        let from = cache.folder().join("kernels").join(&kernel);
        let to = folder.path().join("kernels").join(&kernel);
        copy_folder(&from, &to).expect("a copy of a kernel");
        let qemu = cache.folder().join("qemu");
        if qemu.is_dir() {
            std::os::unix::fs::symlink(qemu, folder.path().join("qemu")).expect("a link in a new folder");
        }
        Self { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of kernels in it.
    pub fn kernels(&self) -> PathBuf {
        self.folder().join("kernels")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.kernels().join(kernel_folder()).join(name)
    }

    /// Changes what a file holds.
    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.file(name);
        let mut bytes = fs::read(&path).expect("a file of the kernel");
        change(&mut bytes);
        fs::write(&path, bytes).expect("a file in a temporary folder");
    }
}

fn half(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

fn kernel_folder() -> String {
    let target = target();
    target.trim_start_matches("svm@").replace(':', "-")
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Damage in the cache: it is found before anything is said of KVM.
fn caches() -> Vec<Row> {
    let damaged = |name: &str, says: &'static [&'static str], damage: fn(&Copy)| {
        row(
            &format!("host::{name}"),
            true,
            expected(INCOMPLETE, says),
            move || {
                let copy = Copy::new();
                damage(&copy);
                let mut conform = Conform::run(&["nmi/wakes-hlt", "--target", &target()]);
                conform.env("CONFORM_CACHE", copy.folder.path());
                conform.finish()
            },
        )
    };
    let by_default = |name: &str, says: &'static [&'static str], damage: fn(&Copy)| {
        row(
            &format!("host::{name}"),
            true,
            expected(INCOMPLETE, says),
            move || {
                let copy = Copy::new();
                damage(&copy);
                let mut conform = Conform::run(&["nmi/wakes-hlt"]);
                conform.env("CONFORM_CACHE", copy.folder.path());
                // No emulator is installed, either.
                conform.env("PATH", "/nonexistent");
                conform.finish()
            },
        )
    };
    vec![
        damaged("kernel-half", &["vmlinuz"], |copy| copy.change("vmlinuz", half)),
        damaged("kernel-empty", &["vmlinuz"], |copy| {
            copy.change("vmlinuz", Vec::clear)
        }),
        damaged("kernel-one-bit", &["vmlinuz"], |copy| {
            copy.change("vmlinuz", |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            });
        }),
        damaged("kernel-gone", &["vmlinuz"], |copy| {
            fs::remove_file(copy.file("vmlinuz")).expect("it was copied");
        }),
        damaged("manifest-half", &["kernel.json"], |copy| {
            copy.change("kernel.json", half)
        }),
        damaged("manifest-empty", &["kernel.json"], |copy| {
            copy.change("kernel.json", Vec::clear)
        }),
        damaged("manifest-of-another-release", &["kernel.json"], |copy| {
            copy.change("kernel.json", |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let mut manifest: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
                manifest["release"] = "6.12.1-another".into();
                *bytes = manifest.to_string().into_bytes();
            });
        }),
        damaged("module-gone", &["kvm-amd"], |copy| {
            fs::remove_file(copy.file("modules/kvm-amd.ko")).expect("it was copied");
        }),
        damaged("module-half", &["kvm-amd"], |copy| {
            copy.change("modules/kvm-amd.ko", half)
        }),
        damaged("module-one-bit", &["kvm-amd"], |copy| {
            copy.change("modules/kvm-amd.ko", |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            });
        }),
        by_default("manifest-half-by-default", &["svm@debian"], |copy| {
            copy.change("kernel.json", half)
        }),
        by_default(
            "qemu-gone-by-default",
            &["no working qemu-system-x86_64"],
            |copy| {
                let link = copy.folder.path().join("qemu");
                if link.exists() {
                    fs::remove_file(link).expect("a link that was made");
                }
            },
        ),
    ]
}

/// Three cases in a booted kernel, with something wrong with the emulator.
fn emulated(name: &str, expected: Expected, change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Row {
    row(&format!("host::{name}"), true, expected, move || {
        let mut conform = Conform::run(&THREE);
        // `vm=N` counts virtual machines.
        conform.command.args(["--fresh-vm", "--target", &target()]);
        if expected.lost {
            conform.command.args(["--fail-on-unsupported", "*"]);
        }
        let mut plan = Plan::new().expect("checked before");
        plan.notes = Some(conform.log());
        change(&mut plan);
        let _path = use_emulator(&mut conform, &plan);
        conform.finish()
    })
}

fn emulators() -> Vec<Row> {
    let frame = |name: &str, damage: Damage, number: usize, says: &'static [&'static str]| {
        emulated(name, expected(NOT_GREEN, says), move |plan| {
            plan.frames = Some((damage, number))
        })
    };
    vec![
        emulated(
            "emulator-says-no",
            expected(INCOMPLETE, &["no memory for you"]),
            |plan| plan.fails = Some(("no memory for you".to_owned(), 1)),
        ),
        emulated(
            "emulator-ends-at-once",
            expected(INCOMPLETE, &["the emulator ended without an error"]),
            |plan| plan.fails = Some((String::new(), 0)),
        ),
        frame("emulator-dies-after-the-greeting", Damage::Dies, 1, &["QEMU"]),
        frame("emulator-dies-between-scenarios", Damage::Dies, 3, &["QEMU"]),
        frame("emulator-dies-in-a-scenario", Damage::Dies, 4, &["QEMU"]),
        frame("emulator-dies-after-the-last-result", Damage::Dies, 7, &["QEMU"]),
        frame("bit-of-a-result-flipped", Damage::Flipped, 3, &["damaged"]),
        frame("result-cut", Damage::Cut, 3, &["damaged"]),
        frame("result-lost", Damage::Lost, 3, &[]),
        frame("result-twice", Damage::Doubled, 3, &[]),
        row(
            "host::nested-paging-not-off",
            true,
            expected(INCOMPLETE, &["nested paging"]),
            || {
                let target = target().replace("svm@", "svm-npt0@");
                let mut conform = Conform::run(&["nmi/wakes-hlt", "--target", &target]);
                let plan = Plan {
                    without: Some("kvm_amd.npt=0".to_owned()),
                    ..Plan::new().expect("checked before")
                };
                let _path = use_emulator(&mut conform, &plan);
                conform.finish()
            },
        ),
    ]
}

/// Xen complains while it boots or runs its first case.
fn xen() -> Row {
    let mut row = row(
        "host::xen-warns",
        true,
        expected(NOT_GREEN, &["Xen WARN at common/domain.c:1"]),
        || {
            let mut conform = Conform::run(&["xen-pv/int3-frame", "--target", "xen-pv@debian"]);
            let plan = Plan {
                console: Some("(XEN) Xen WARN at common/domain.c:1".to_owned()),
                ..Plan::new().expect("checked before")
            };
            let _path = use_emulator(&mut conform, &plan);
            conform.finish()
        },
    );
    let has_xen = Cache::open(None).is_ok_and(|cache| cache.xen(XenName::default()).is_ok());
    if !has_xen {
        row.not_run = Some("Xen is not provisioned, run `cargo conform provision xen`".to_owned());
    }
    row
}

/// The kernel or the agent in it comes to grief.
fn guests() -> Vec<Row> {
    let broken = |name: &str, expected: Expected, sabotage: &'static str| {
        emulated(name, expected, move |plan| {
            plan.preload = Some((library(), sabotage.to_owned()));
        })
    };
    vec![
        broken(
            "kernel-panics-in-a-scenario",
            expected(RED, &["panic", THREE[1]]),
            "KVM_RUN:panic:vm=2:only=2",
        ),
        broken(
            "kernel-warns-before-the-first-scenario",
            expected(NOT_GREEN, &["WARNING"]),
            "KVM_GET_API_VERSION:warn",
        ),
        broken(
            "kernel-warns-in-the-last-scenario",
            expected(RED, &["WARNING", THREE[2]]),
            "KVM_RUN:warn:vm=3:only=2",
        ),
        broken(
            "agent-ends-in-a-scenario",
            expected(NOT_GREEN, &[THREE[1]]),
            "KVM_RUN:exit:vm=2:only=2",
        ),
        broken(
            "device-gone-in-the-guest",
            expected(INCOMPLETE, &["/dev/kvm"]),
            "open:fail=ENOENT",
        ),
        broken(
            "nothing-supported-in-the-guest",
            expected(INCOMPLETE, &["KVM_CAP_USER_NMI"]),
            "KVM_CHECK_EXTENSION:hide=22",
        ),
        broken(
            "smm-hidden-in-the-guest",
            lost(&["KVM_CAP_X86_SMM"]),
            "KVM_CHECK_EXTENSION:hide=117",
        ),
    ]
}

/// What is neither KVM nor the emulator.
fn surroundings() -> Vec<Row> {
    let empty = || tempfile::tempdir().expect("a temporary folder");
    vec![
        row(
            "host::no-kvm-at-all",
            false,
            expected(INCOMPLETE, &["kvm", "/dev/kvm may not be opened"]),
            move || {
                let cache = empty();
                let mut conform = Conform::run(&["nmi"]);
                conform
                    .sabotaged("open:fail=EACCES")
                    .env("CONFORM_CACHE", cache.path());
                conform.env("PATH", "/nonexistent");
                conform.finish()
            },
        ),
        row(
            "host::no-kvm-beside-the-model",
            false,
            expected(INCOMPLETE, &["there is no /dev/kvm"]),
            || {
                let mut conform = Conform::run(&["nmi", "--target", "model", "--target", "kvm"]);
                conform.sabotaged("open:fail=ENOENT");
                conform.finish()
            },
        ),
        row(
            "host::every-case-refused-beside-the-model",
            false,
            expected(NOT_GREEN, &["KVM_SET_SREGS"]),
            || {
                let mut conform = Conform::run(&["nmi", "--target", "model", "--target", "kvm"]);
                conform.sabotaged("KVM_SET_SREGS:fail=EINVAL");
                conform.finish()
            },
        ),
        row(
            "host::report-on-a-full-disk",
            false,
            expected(INCOMPLETE, &["target", "model"]),
            || {
                let mut conform = Conform::new(program());
                conform
                    .command
                    .args(["run", "nmi", "--target", "model", "--json", "/dev/full"]);
                conform.finish()
            },
        ),
        row("host::no-network", false, expected(INCOMPLETE, &[]), move || {
            let cache = empty();
            let mut conform = Conform::run(&["nmi", "--provision"]);
            conform.env("CONFORM_CACHE", cache.path());
            for name in ["http_proxy", "https_proxy"] {
                conform.env(name, "http://127.0.0.1:9");
            }
            conform.finish()
        }),
        ordinary_user(),
        program_replaced(),
    ]
}

/// The program is built anew while it runs: what it puts into the kernel is itself, and not what has its
/// name by then. This is a control row: nothing may come of it.
fn program_replaced() -> Row {
    row(
        "program-replaced",
        true,
        expected(GREEN, &["1 hypervisor was judged"]),
        || {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let copy = folder.path().join("conform");
            fs::copy(program(), &copy).expect("a copy of the program");
            let mut conform = Conform::new(&copy);
            conform.command.args(["run", THREE[1], "--target", &target()]);
            let plan = Plan {
                replaces: Some(copy.clone()),
                ..Plan::new().expect("checked before")
            };
            let _path = use_emulator(&mut conform, &plan);
            let mut finished = conform.finish();
            let now = fs::read(&copy).unwrap_or_default();
            if !now.starts_with(b"#!") {
                finished.status = None;
                finished.text += "\nthe program was not replaced\n";
            }
            finished
        },
    )
}

/// The README's first command, without `--provision`, by a user who may not open the device.
fn ordinary_user() -> Row {
    let mut row = row(
        "host::ordinary-user",
        false,
        expected(INCOMPLETE, &["/dev/kvm may not be opened"]),
        || {
            let cache = tempfile::tempdir().expect("a temporary folder");
            let mut conform = Conform::new(Path::new("setpriv"));
            conform
                .command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
            conform.command.arg(program()).args(["run", "nmi"]);
            conform.env("CONFORM_CACHE", cache.path());
            conform.finish()
        },
    );
    let can = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(program())
        .arg("--version")
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        row.not_run = Some("this process cannot become another user who can read the program".to_owned());
    }
    row
}
