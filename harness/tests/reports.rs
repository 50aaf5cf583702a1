//! The reports in `docs/reports`: each reproducer builds, and shows on a booted kernel what its report says it does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::provision::{Cache, KernelName};

/// How the line of a report begins behind which the output of its reproducer stands.
const COMMAND: &str = "$ docs/reports/run ";

/// What a report says that its reproducer prints.
struct Report {
    name: String,
    kernel: String,
    /// Lines from the reproducer's name to its status.
    output: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reports")
}

/// Names of the files with an extension, without it, in order.
fn names(extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("docs/reports can be read");
    let paths = entries.map(|entry| entry.expect("docs/reports can be read").path());
    let chosen = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let stems = chosen.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let mut names: Vec<_> = stems.filter(|name| name != "README" && name != "init").collect();
    names.sort();
    names
}

/// The lines that one reproducer prints.
fn output<'a>(name: &str, lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (first, last) = (format!("== {name}"), format!("== {name}: status "));
    let mut output = Vec::new();
    for line in lines.skip_while(|line| *line != first) {
        output.push(line.to_owned());
        if line.starts_with(&last) {
            break;
        }
    }
    output
}

impl Report {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.md"))).expect("a report can be read");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(COMMAND));
        let arguments = lines.next().and_then(|line| line.strip_prefix(COMMAND));
        let (kernel, named) = arguments
            .and_then(|arguments| arguments.split_once(' '))
            .unwrap_or_else(|| panic!("{name}.md does not show a run"));
        assert_eq!(named, name, "{name}.md shows another reproducer");
        let output = output(name, lines.take_while(|line| *line != "```"));
        let status = format!("== {name}: status 1");
        assert_eq!(
            output.last(),
            Some(&status),
            "{name}.md shows no run that shows it"
        );
        Self {
            name: name.to_owned(),
            kernel: kernel.to_owned(),
            output,
        }
    }
}

/// Whether this machine can build programs that need nothing else; if not, why.
fn can_build() -> Result<(), String> {
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    let source = scratch.path().join("empty.c");
    fs::write(&source, "int main(void) { return 0; }\n").expect("a file can be written");
    let built = build(&source, &scratch.path().join("empty"))?;
    match built.status.success() {
        true => Ok(()),
        false => Err("cc builds no static programs".to_owned()),
    }
}

fn build(source: &Path, program: &Path) -> Result<Output, String> {
    Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Wextra", "-o"])
        .args([program, source])
        .output()
        .map_err(|error| format!("cannot start cc: {error}"))
}

#[test]
fn each_report_has_a_reproducer_and_stands_in_the_list() {
    let reports = names("md");
    assert_eq!(reports, names("c"));
    assert!(!reports.is_empty());
    let list = fs::read_to_string(folder().join("README.md")).expect("the list can be read");
    for name in reports {
        assert!(
            list.contains(&format!("]({name}.md)")),
            "{name} is not in the list"
        );
    }
}

#[test]
fn each_reproducer_builds_without_a_warning() {
    if let Err(reason) = can_build() {
        eprintln!("not run: {reason}");
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    for name in names("c").iter().map(String::as_str).chain(["init"]) {
        let source = folder().join(format!("{name}.c"));
        let built = build(&source, &scratch.path().join(name)).expect("cc was there");
        let complaints = String::from_utf8_lossy(&built.stderr).into_owned();
        assert!(
            built.status.success() && complaints.is_empty(),
            "{name}: {complaints}"
        );
    }
}

/// One boot for each kernel that a report shows.
#[test]
fn each_bug_shows_as_its_report_says() {
    if let Err(reason) = can_build() {
        eprintln!("not run: {reason}");
        return;
    }
    let cache = Cache::open(None).expect("the cache can be opened");
    if let Err(error) = cache.qemu() {
        eprintln!("not run: {error}");
        return;
    }
    let mut kernels: BTreeMap<String, Vec<Report>> = BTreeMap::new();
    for name in names("md") {
        let report = Report::read(&name);
        kernels.entry(report.kernel.clone()).or_default().push(report);
    }
    for (kernel, reports) in kernels {
        let name: KernelName = kernel.parse().expect("a report names a kernel");
        if let Err(error) = cache.kernel(&name) {
            eprintln!("not run: {error}");
            continue;
        }
        let run = Command::new(folder().join("run"))
            .arg(&kernel)
            .args(reports.iter().map(|report| &report.name))
            .env("CONFORM_CACHE", cache.folder())
            .output()
            .expect("docs/reports/run starts");
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        for report in &reports {
            let seen = output(&report.name, text.lines());
            assert_eq!(seen, report.output, "{} on {kernel}:\n{text}", report.name);
        }
        assert_eq!(run.status.code(), Some(1), "{kernel}: {text}");
    }
}
