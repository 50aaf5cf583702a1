//! What versions of kernels say, and ranges of them.

use proptest::prelude::*;

use crate::deviation::{Answer, BadChange, Change, KernelRange, KernelVersion, Tag};

use Answer::{No, Perhaps, Yes};

fn version(printed: &str) -> KernelVersion {
    KernelVersion::of_release(printed).unwrap_or_else(|| panic!("{printed} is a version"))
}

fn range(text: &str) -> KernelRange {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn bounds_hold_for_kernels() {
    for (text, printed, answer) in [
        ("<=6.1", "6.1.112", Yes),
        ("=6.1", "6.1.112-1-amd64", Yes),
        (">6.1", "6.1.112", No),
        (">6.1", "6.2", Yes),
        ("<6.12", "6.2.0", Yes),
        (">=6.12.9", "6.12.8", No),
        (">=6.12.9", "6.12.9+bpo-cloud-amd64", Yes),
        (">=6.12.118", "6.12.118+deb13-cloud-amd64", Yes),
        ("<6.12.118", "6.12.118+deb13-cloud-amd64", No),
        (">=5.10,<6.2", "6.2.0", No),
        // A candidate comes before its release.
        ("<7.2", "7.2.0-rc3", Yes),
        ("<7.2-rc1", "7.2.0-rc1", No),
        ("<7.2-rc3", "7.2.0-rc2", Yes),
        (">=7.2", "7.2.0-rc8", No),
        ("=6.1", "6.1.0-rc5", No),
        (">6.1", "6.2.0-rc1", Yes),
        ("<=6.2-rc1", "6.2.0-rc1", Yes),
        // Built between two tags.
        ("<6.2-rc1", "6.1.0-rc9+", Perhaps),
        ("<6.2-rc1", "6.1.0-rc9-00012-g0123456789ab", Perhaps),
        ("<6.2-rc1", "6.1.0-00012-g0123456789ab-dirty", Perhaps),
        ("<6.2-rc1", "6.2.0-rc1+", No),
        (">=5.10", "6.1.0-rc9+", Yes),
        ("<5.10", "6.1.0-rc9+", No),
        ("<6.9", "6.8.0-next-20240401", Perhaps),
        // A distribution that does not print the release of the stable branch.
        ("<5.10.200", "5.10.0-37-cloud-amd64", Perhaps),
        ("<5.11", "5.10.0-37-cloud-amd64", Yes),
        (">=5.10", "5.10.0-37-cloud-amd64", Yes),
        ("<5.10", "5.10.0-37-cloud-amd64", No),
        ("=5.15", "5.15.0-91-generic", Yes),
        (
            "<5.10.200",
            "5.10.0-37-cloud-amd64 #1 SMP Debian 5.10.247-1 (2026-10-01)",
            No,
        ),
        (
            "<5.10.248",
            "5.10.0-37-cloud-amd64 #1 SMP Debian 5.10.247-1 (2026-10-01)",
            Yes,
        ),
        ("<6.1", "6.1.0-0-amd64 #1 SMP Debian 6.1~rc3-1~exp1", Yes),
        // Xen.
        (">=4.17, <4.18", "4.17.5", Yes),
    ] {
        assert_eq!(range(text).contains(version(printed)), answer, "{text} {printed}");
    }
}

#[test]
fn bounds_that_are_none_are_refused() {
    for text in [
        "",
        "6.1",
        ">=6",
        ">=6.x",
        ">=6.1.2.3",
        ">=5.10 <6.2",
        "~6.1",
        ">=6.1~rc3",
        "<6.2-rc",
        "<6.2-rc1x",
    ] {
        assert!(text.parse::<KernelRange>().is_err(), "{text} was accepted");
    }
    for none in ["next", "", "6", "rc1", "6."] {
        assert_eq!(KernelVersion::of_release(none), None, "{none}");
    }
}

#[test]
fn ranges_without_a_kernel_are_refused() {
    for (text, why) in [
        (">=6.2, <5.0", "no release and no candidate"),
        (">=6.2, <6.2", "no release and no candidate"),
        (">6.1, <=6.1", "no release and no candidate"),
        (">=6.2, <6.2-rc1", "no release and no candidate"),
        (">6.1.5, <6.1.5", "no release and no candidate"),
        (">6.1.5, <6.1.6", "no release and no candidate"),
        (">6.1.5, <=6.1.5", "no release and no candidate"),
        (">6.1, <6.2-rc1", "no release and no candidate"),
        (">6.2-rc1, <6.2-rc2", "no release and no candidate"),
        (">=6.1.4294967295, <6.1.4294967295", "no release and no candidate"),
        (">=5.10, >=5.15", "keep one"),
        ("=6.1, =6.2", "keep one"),
        ("=6.1, <6.2", "keep one"),
    ] {
        let error = text.parse::<KernelRange>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for one in [
        ">6.1.5, <6.1.7",
        ">6.1, <6.2",
        ">6.2-rc1, <6.2",
        "=6.1.5",
        ">6.4294967295, <7.0",
    ] {
        assert!(one.parse::<KernelRange>().is_ok(), "{one}");
    }
}

const COMMIT: &str = "0123456789ab";

fn change(first_in: &str, stable: &[&str]) -> Change {
    let stable = stable.iter().map(|text| tag(text)).collect();
    Change::new(COMMIT.to_owned(), tag(first_in), stable).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_commit_is_in_the_mainline_and_on_stable_branches() {
    let fix = change("6.2-rc1", &["6.1.20", "5.15.103"]);
    assert_eq!(
        fix.to_string(),
        "0123456789ab (first in 6.2-rc1; stable: 6.1.20, 5.15.103)"
    );
    for (printed, answer) in [
        ("6.2.0-rc1", Yes),
        ("7.0.1", Yes),
        ("6.1.0", No),
        ("6.1.19", No),
        ("6.1.20", Yes),
        ("6.1.20-1-amd64", Yes),
        ("5.15.102", No),
        ("5.15.103", Yes),
        ("6.0.19", No),
        ("5.10.250", No),
        ("6.1.0-rc9+", Perhaps),
        ("6.1.0-37-cloud-amd64", Perhaps),
        ("6.1.0-37-cloud-amd64 #1 SMP Debian 6.1.19-1 (2023)", No),
        ("6.1.0-37-cloud-amd64 #1 SMP Debian 6.1.25-1 (2023)", Yes),
        ("5.10.0-37-cloud-amd64", No),
        ("6.0.0-1-generic", No),
    ] {
        assert_eq!(fix.is_in(version(printed)), answer, "{printed}");
    }
    let range = KernelRange::default();
    let bug = change("5.19-rc1", &[]);
    let range = range.between(Some(bug), Some(fix)).expect("there are kernels");
    assert_eq!(range.contains(version("6.0.0")), Yes);
    assert_eq!(range.contains(version("5.18.3")), No);
    assert_eq!(range.contains(version("6.1.30")), No);
    assert_eq!(range.contains(version("5.19.0-rc1")), Yes);
}

#[test]
fn commits_that_cannot_be_are_refused() {
    let new = |commit: &str, first_in: &str, stable: &[&str]| {
        let stable = stable.iter().map(|text| tag(text)).collect();
        Change::new(commit.to_owned(), tag(first_in), stable).expect_err("it is wrong")
    };
    assert!(matches!(new("0123", "6.2-rc1", &[]), BadChange::Commit(_)));
    assert!(matches!(
        new("v6.2-rc1-merge", "6.2-rc1", &[]),
        BadChange::Commit(_)
    ));
    assert!(matches!(
        new(COMMIT, "6.2-rc1", &["6.1"]),
        BadChange::NotStable(_)
    ));
    assert!(matches!(
        new(COMMIT, "6.2-rc1", &["6.1.3", "6.1.5"]),
        BadChange::SameBranch(..)
    ));
    assert!(matches!(
        new(COMMIT, "6.2-rc1", &["6.2.3"]),
        BadChange::NotBackported(..)
    ));
    let (bug, fix) = (change("6.2-rc1", &[]), change("6.1", &[]));
    assert!(
        KernelRange::default()
            .between(Some(bug), Some(fix.clone()))
            .is_err()
    );
    assert!(range(">=6.2").between(None, Some(fix)).is_err());
}

/// Tags of the mainline in the order in which they were made, as `uname -r` prints them.
fn mainline() -> Vec<String> {
    let mut tags = Vec::new();
    for minor in 0..4 {
        tags.extend((1..8).map(|candidate| format!("6.{minor}.0-rc{candidate}")));
        tags.push(format!("6.{minor}.0"));
    }
    tags
}

/// The tag that a release was built from.
fn tag_of(release: &str) -> Tag {
    tag(&release.replacen(".0-rc", "-rc", 1))
}

#[test]
fn tags_are_ordered_as_they_were_made() {
    let tags: Vec<Tag> = mainline().iter().map(|name| tag_of(name)).collect();
    assert!(tags.is_sorted(), "{tags:?}");
    for tag in tags {
        assert_eq!(tag.to_string().parse(), Ok(tag));
    }
    assert!(tag("6.1") < tag("6.1.1") && tag("6.1.400") < tag("6.2-rc1"));
}

/// What a build prints of a commit that `since` commits came after a tag.
fn printed(tag: &str, since: u32, counted: bool) -> String {
    match (since, counted) {
        (0, _) => tag.to_owned(),
        (_, false) => format!("{tag}+"),
        (_, true) => format!("{tag}-{since:05}-g0123456789ab"),
    }
}

proptest! {
    /// A fix is put on top of one tag and is first in a later one. Whatever is built, from the
    /// mainline or from the branch that the fix was made on, a certain answer is right. A build of
    /// a tag is always told, and on the way to a descendant what was certainly there stays.
    #[test]
    fn what_is_said_of_a_build_is_true(
        base in 0..31_usize,
        later in 1..8_usize,
        built in 0..32_usize,
        since in 0..3_u32,
        on_branch in any::<bool>(),
        counted in any::<bool>(),
    ) {
        let tags = mainline();
        let first = (base + later).min(tags.len() - 1);
        let fix = Change::new(COMMIT.to_owned(), tag_of(&tags[first]), Vec::new()).expect("right");
        // On the branch: the fix itself, a commit after its base.
        let (name, has_it) = if on_branch {
            (printed(&tags[base], since + 1, counted), Some(true))
        } else if since == 0 || built >= first {
            (tags[built].clone(), Some(built >= first))
        } else {
            // Between two tags before the first one that has it: the merge may have come already
            // only right before that one.
            (printed(&tags[built], since, counted), (built + 1 < first).then_some(false))
        };
        let answer = fix.is_in(version(&name));
        match has_it {
            Some(true) => prop_assert_ne!(answer, No, "{} {}", &name, &fix),
            Some(false) => prop_assert_ne!(answer, Yes, "{} {}", &name, &fix),
            None => prop_assert_eq!(answer, Perhaps),
        }
        if !on_branch && since == 0 {
            prop_assert_ne!(answer, Perhaps, "a tag is told: {}", name);
        }
        // A descendant on the mainline.
        for later in &tags[built..] {
            if !on_branch && answer == Yes {
                prop_assert_eq!(fix.is_in(version(later)), Yes);
            }
        }
    }

    #[test]
    fn no_version_and_no_range_panics(text in "[0-9a-z.+~ ,<>=-]{0,40}|\\PC{0,20}") {
        let version = KernelVersion::of_release(&text);
        let range = text.parse::<KernelRange>();
        if let (Some(version), Ok(range)) = (version, range) {
            let _ = range.contains(version);
        }
    }
}
