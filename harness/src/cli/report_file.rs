//! The file of `--json`: never a file that is no report, and a full disk loses nothing else.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::exit::Failure;

/// How a report of this program begins, so that one may be written over an old one.
const BEGINNINGS: [&[u8]; 2] = [b"{\"header\":{\"format\":", b"{\"target\":"];

/// A report that is being written.
///
/// Writing never fails for the caller: the first error is kept, and [`Self::finish`] tells it when
/// the run is over.
pub(super) struct ReportFile {
    path: PathBuf,
    writer: BufWriter<File>,
    failed: Option<io::Error>,
}

impl ReportFile {
    /// Creates the file, or empties an old report.
    ///
    /// # Errors
    /// If there is a file already that is no report, or it cannot be written.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |problem: &dyn std::fmt::Display| Failure::wrong(format_args!("{}: {problem}", path.display()));
        if !may_be_replaced(path).map_err(|error| wrong(&format!("cannot be read: {error}")))? {
            return Err(wrong(
                &"this file is there already and is no report; give --json another name, or remove it",
            ));
        }
        let file = File::create(path).map_err(|error| wrong(&format!("cannot be written: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            writer: BufWriter::new(file),
            failed: None,
        })
    }

    /// Lets `write` add to it, unless that failed before.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.writer).and_then(|()| self.writer.flush()).err();
        }
    }

    /// What went wrong, if anything did.
    pub(super) fn finish(self) -> Option<String> {
        let error = self.failed?;
        Some(format!(
            "{}: cannot be written: {error}; what is there is not the whole report",
            self.path.display()
        ))
    }
}

fn may_be_replaced(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        // A pipe, or a device: nothing is lost.
        return Ok(true);
    }
    let mut start = Vec::new();
    file.take(32).read_to_end(&mut start)?;
    Ok(start.is_empty() || BEGINNINGS.iter().any(|beginning| start.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_are_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let create = || ReportFile::create(&path).map(drop);
        create().unwrap();
        create().unwrap();
        for report in ["{\"header\":{\"format\":1", "{\"target\":\"kvm\""] {
            std::fs::write(&path, report).unwrap();
            create().unwrap();
        }
        for other in ["title: a case\n", "{\"a\": 1}", "x"] {
            std::fs::write(&path, other).unwrap();
            let failure = create().expect_err(other);
            assert_eq!(failure.status.code(), 2);
            assert!(failure.to_string().contains("is no report"), "{failure}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let mut file = ReportFile::create(Path::new("/dev/full")).unwrap();
        let mut calls = 0;
        for _ in 0..2 {
            file.add(|out| {
                calls += 1;
                out.write_all(b"line\n")
            });
        }
        assert_eq!(calls, 1);
        let told = file.finish().expect("it is full");
        assert!(told.starts_with("/dev/full: cannot be written: "), "{told}");
    }
}
