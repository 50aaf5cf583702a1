//! The program as a user runs it, with a time limit, and what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No run takes longer than this, sabotaged or not, unless it has much to do.
const LIMIT: Duration = Duration::from_secs(150);

/// What a run of `conform` came to.
#[derive(Debug, Default)]
pub struct Finished {
    /// Its exit status; none if a signal ended it, or this test did.
    pub status: Option<i32>,
    /// Both outputs.
    pub text: String,
    /// What its report says of each case.
    pub records: Vec<Record>,
    /// What the sabotage noted.
    pub applied: String,
}

/// A case on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub case: String,
    pub verdict: String,
    /// All the rest but the transcript, as JSON.
    pub detail: String,
}

impl Record {
    pub fn is_red(&self) -> bool {
        matches!(&*self.verdict, "deviates" | "unexpectedly-conforms")
    }
}

impl Finished {
    /// All that was said.
    pub fn everything(&self) -> String {
        let details = self.records.iter().map(|record| record.detail.as_str());
        format!("{}\n{}", self.text, details.collect::<Vec<_>>().join("\n"))
    }

    /// Status and verdicts.
    pub fn in_short(&self) -> String {
        let mut text = match self.status {
            Some(status) => format!("exit {status}"),
            None => "no exit status".to_owned(),
        };
        for kind in [
            "conforms",
            "known-deviation",
            "deviates",
            "unexpectedly-conforms",
            "unsupported",
            "broken",
        ] {
            let count = self
                .records
                .iter()
                .filter(|record| record.verdict == kind)
                .count();
            if count != 0 && kind != "unsupported" {
                text += &format!(", {count} {kind}");
            }
        }
        text
    }
}

/// A run to be made.
pub struct Conform {
    pub command: Command,
    folder: tempfile::TempDir,
    limit: Duration,
}

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_conform"))
}

/// The library that is preloaded; cargo builds it before this test, into the same folder.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    test.with_file_name("libsabotage.so")
}

impl Conform {
    /// `conform run` with a report.
    pub fn run(arguments: &[&str]) -> Self {
        let mut conform = Self::new(program());
        let report = conform.folder.path().join("report");
        conform
            .command
            .arg("run")
            .args(arguments)
            .arg("--json")
            .arg(report);
        conform
    }

    /// A program, in the repository, with nothing inherited that changes what it does.
    pub fn new(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .env_remove("CONFORM_TARGETS");
        Self {
            command,
            folder,
            limit: LIMIT,
        }
    }

    /// Sets a variable.
    pub fn env(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Gives it more time, if that is more.
    pub fn may_take(&mut self, time: Duration) {
        self.limit = self.limit.max(time);
    }

    /// Breaks the KVM of this process.
    pub fn sabotaged(&mut self, sabotage: &str) -> &mut Self {
        let log = self.log();
        self.env("LD_PRELOAD", library())
            .env("CONFORM_SABOTAGE", sabotage)
            .env("CONFORM_SABOTAGE_LOG", log)
    }

    /// The file that gets a line each time that something was broken.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("applied")
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Finished {
        let (out, err) = (self.folder.path().join("out"), self.folder.path().join("err"));
        let create = |path: &Path| File::create(path).expect("a file in a new folder");
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(create(&out))
            .stderr(create(&err))
            .spawn()
            .expect("the program starts");
        let status = wait(child, self.limit);
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Finished {
            status,
            text: read(&out) + &read(&err),
            records: records(&read(&self.folder.path().join("report"))),
            applied: read(&self.log()),
        }
    }
}

fn wait(mut child: Child, limit: Duration) -> Option<i32> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Ok(Some(status)) => return status.code(),
            Err(_) => return None,
        }
    }
    // It may have ended just now; it is gone afterwards.
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn records(report: &str) -> Vec<Record> {
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).ok()?;
        let case = record.get_mut("case")?.as_object_mut()?;
        case.remove("transcript");
        let text = |key: &str| Some(case.get(key)?.as_str()?.to_owned());
        Some(Record {
            case: text("case")?,
            verdict: text("verdict")?,
            detail: Value::Object(case.clone()).to_string(),
        })
    };
    report.lines().filter_map(record).collect()
}
