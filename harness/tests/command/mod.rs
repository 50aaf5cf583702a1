//! The program itself, as a user runs it.

use std::process::Command;

/// Exit status and output of a subcommand of `conform`.
pub(crate) fn conform(subcommand: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_conform"))
        .arg(subcommand)
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs the text of a case file on the model; it must conform.
pub(crate) fn runs_on_the_model(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.yaml");
    std::fs::write(&file, text).unwrap();
    let (status, text) = conform("run", &["--target", "model", &file.to_string_lossy()]);
    assert_eq!(status, Some(0), "{text}");
}
