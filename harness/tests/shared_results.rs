//! What the conformance test shares between the processes of a run stays within the run.

#[path = "conformance/shared.rs"]
mod shared;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use shared::SharedRun;

/// What a process of run `id` sees that would find out `own` itself.
fn seen(parent: &Path, id: &str, own: u32) -> u32 {
    let run = SharedRun::new(parent, id).unwrap().unwrap();
    run.once(7, || own).unwrap()
}

#[test]
fn processes_of_one_run_share_and_those_of_another_do_not() {
    let parent = tempfile::tempdir().unwrap();
    assert_eq!(seen(parent.path(), "run-1", 1), 1);
    assert_eq!(seen(parent.path(), "run-1", 2), 1);
    // Between the runs a module was loaded again, or KVM broke.
    assert_eq!(seen(parent.path(), "run-2", 2), 2);
    assert_eq!(seen(parent.path(), "run-1", 3), 1);
}

#[test]
fn what_is_shared_is_shared_by_key() {
    let parent = tempfile::tempdir().unwrap();
    let run = SharedRun::new(parent.path(), "run").unwrap().unwrap();
    assert_eq!(run.once(1, || "one".to_owned()).unwrap(), "one");
    assert_eq!(run.once(2, || "two".to_owned()).unwrap(), "two");
}

#[test]
fn old_runs_are_removed() {
    let parent = tempfile::tempdir().unwrap();
    seen(parent.path(), "old", 1);
    seen(parent.path(), "new", 1);
    let old = SystemTime::now() - Duration::from_hours(2);
    let folder = File::open(parent.path().join("old")).unwrap();
    folder.set_modified(old).unwrap();
    seen(parent.path(), "now", 1);
    let mut left: Vec<_> = fs::read_dir(parent.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["new", "now"]);
}

#[test]
fn nothing_is_shared_without_an_identifier() {
    let parent = tempfile::tempdir().unwrap();
    for id in ["", "..", "a/b", "a b"] {
        assert!(SharedRun::new(parent.path(), id).unwrap().is_none(), "{id:?}");
    }
}
