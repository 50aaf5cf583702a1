//! What the model leaves open: golden/open.txt is exact, so that a model that has become milder shows as a change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::cli::suite::Suite;
use harness::judge::left_open::list;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A line with the case, or the format, that it is about.
fn lines(text: &str) -> BTreeSet<String> {
    let mut about = "";
    let mut lines = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(line) => {
                lines.insert(format!("{about} {line}"));
            }
            None => about = line,
        }
    }
    lines
}

/// What is written above the list.
const HEAD: &str = "\
# What the model leaves open, per case and rule, for the implementations that a target can be: fields, with the bits
# that are open unless it is all of them, and the points where. Kept exact by `cargo test -p harness --test left_open`;
# UPDATE_EXPECT=1 writes it anew. A line that is new or longer is a milder model.
";

/// `UPDATE_EXPECT=1` writes the list anew.
#[test]
fn what_the_model_leaves_open_is_listed() {
    let suite = Suite::load_folders(&[root().join("cases")]).expect("the repository's cases are right");
    let now = HEAD.to_owned() + &list(&suite.cases);
    let path = root().join("golden/open.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &now).expect("it can be written");
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let (new, old) = (lines(&now), lines(&listed));
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        one.difference(other).cloned().collect()
    };
    assert!(
        now == listed,
        "golden/open.txt is not what the model leaves open.\nOpen and not listed: {:#?}\nListed and not open: {:#?}\n\
         If the manuals leave that open: UPDATE_EXPECT=1 cargo test -p harness --test left_open",
        only(&new, &old),
        only(&old, &new)
    );
}
