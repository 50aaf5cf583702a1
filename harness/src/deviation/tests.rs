use std::path::Path;

use super::*;
use crate::target::Processor;
use crate::target::system::System;

mod versions;

const EXAMPLE: &str = "\
title: RSM goes on after the HLT that an SMI interrupted
targets: [svm, vmx]
kernels: '>=5.10, <6.2'
defects: [auto-halt-ignored]
requirement: SMM-RSM-008
reason: KVM never wrote the auto-HALT restart field
source: Linux arch/x86/kvm/smm.c
found: an example for this test
upstream: { status: unreported }
";

fn identity(backend: Backend, kernel: &str) -> Identity {
    Identity {
        name: "kvm".to_owned(),
        backend,
        kernel: kernel.to_owned(),
        processor: Processor::QemuTcg,
        smm: true,
        system: System::default(),
    }
}

fn mistakes(text: &str) -> Vec<String> {
    match parse(Path::new("d.yaml"), text.as_bytes()) {
        Ok(deviation) => panic!("accepted: {deviation:?}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_example_is_read() {
    let with_comment = format!("# yaml-language-server: $schema=deviation.schema.json\n{EXAMPLE}");
    let deviation = parse(Path::new("d.yaml"), with_comment.as_bytes()).expect("valid");
    assert_eq!(deviation.targets, [Backend::Svm, Backend::Vmx]);
    assert_eq!(deviation.defects, [Defect::AutoHaltIgnored]);
    assert_eq!(deviation.requirement.id, "SMM-RSM-008");
    assert_eq!(deviation.kernels.to_string(), ">=5.10, <6.2");
}

#[test]
fn it_applies_by_backend_and_kernel() {
    let deviation = parse(Path::new("d.yaml"), EXAMPLE.as_bytes()).expect("valid");
    for (backend, kernel, applies) in [
        (Backend::Svm, "5.10.0-33-cloud-amd64", Answer::Yes),
        (Backend::Vmx, "6.1.0", Answer::Yes),
        (Backend::Svm, "5.9.16", Answer::No),
        (Backend::Svm, "6.2.0-rc1", Answer::Yes),
        (Backend::Svm, "6.2.0", Answer::No),
        (Backend::Svm, "6.1.0-rc9+", Answer::Perhaps),
        (Backend::Pvm, "6.1.0", Answer::No),
        (Backend::Svm, "unknown", Answer::No),
    ] {
        let target = identity(backend, kernel);
        assert_eq!(
            deviation.applies_to(&target, Mode::Normal),
            applies,
            "{backend:?} {kernel}"
        );
    }
}

#[test]
fn it_applies_in_every_mode_or_in_those_that_it_names() {
    let target = identity(Backend::Svm, "6.1.0");
    let in_modes = |text: &str| {
        let deviation = parse(Path::new("d.yaml"), text.as_bytes()).expect("valid");
        Mode::ALL.map(|mode| deviation.applies_to(&target, mode) == Answer::Yes)
    };
    assert_eq!(in_modes(EXAMPLE), [true, true, true]);
    let some = format!("{EXAMPLE}modes: [migrate, userspace-rewrite]\n");
    assert_eq!(in_modes(&some), [false, true, true]);
    let one = format!("{EXAMPLE}modes: [migrate]\n");
    assert_eq!(in_modes(&one), [false, false, true]);
    let mut found = mistakes(&format!("{EXAMPLE}modes: [migrate, migrate, live]\n"));
    found.extend(mistakes(&format!("{EXAMPLE}modes: []\n")));
    assert_eq!(
        found,
        [
            "d.yaml:10:18: `migrate` is named twice",
            "d.yaml:10:27: no mode is called `live`; there are normal, userspace-rewrite, migrate",
            "d.yaml:10:8: name at least one mode, or leave `modes` out for all of them",
        ]
    );
}

#[test]
fn every_wrong_value_is_reported_with_its_place() {
    let text = EXAMPLE
        .replace("[svm, vmx]", "[svm, tcg]")
        .replace("<6.2", "<six")
        .replace("auto-halt-ignored", "auto-halt")
        .replace("SMM-RSM-008", "SMM-RSM-999")
        .replace("source: Linux arch/x86/kvm/smm.c", "source: ''");
    assert_eq!(
        mistakes(&text),
        [
            "d.yaml:2:16: no target is called `tcg`; there are svm, vmx, pvm and xen-pv",
            "d.yaml:3:10: `<six` is no bound on a kernel version; write bounds such as `>=5.10, <6.2-rc1`, with X.Y, X.Y.Z or X.Y-rcN",
            "d.yaml:4:11: no defect is called `auto-halt`; `conform defects` lists them",
            "d.yaml:5:14: no requirement has the id `SMM-RSM-999`; `conform explain` lists them",
            "d.yaml:7:9: `source` is empty; a deviation without it proves nothing",
        ]
    );
}

#[test]
fn what_means_nothing_is_refused() {
    let empty = mistakes(&EXAMPLE.replace("<6.2", "<5.0"));
    assert_eq!(
        empty,
        ["d.yaml:3:10: no release and no candidate is in the range `>=5.10, <5.0`"]
    );
    let other = mistakes(&EXAMPLE.replace("SMM-RSM-008", "SMM-RSM-009"));
    assert_eq!(
        other,
        ["d.yaml:5:14: no defect of this file breaks SMM-RSM-009; they break SMM-RSM-008"]
    );
    for (targets, said) in [
        ("[xen-pv, svm]", "write a file for each"),
        ("[svm, svm-npt0]", "leave that out"),
    ] {
        let found = mistakes(&EXAMPLE.replace("[svm, vmx]", targets));
        assert!(
            found[0].starts_with("d.yaml:2:10: ") && found[0].ends_with(said),
            "{found:?}"
        );
    }
    let vmx = EXAMPLE.replace("[svm, vmx]", "[vmx]") + "processor: qemu-tcg =10.0\n";
    assert!(mistakes(&vmx)[0].contains("no VMX"));
    let xen = EXAMPLE.replace("[svm, vmx]", "[xen-pv]") + "modes: [migrate]\n";
    assert!(mistakes(&xen)[0].contains("mode normal only"));
}

#[test]
fn a_processor_deviates_in_the_versions_that_were_seen() {
    let text = EXAMPLE
        .replace("targets: [svm, vmx]", "targets: [svm]\nprocessor: qemu-tcg =10.0")
        .replace("'>=5.10, <6.2'", "'>=5.10'");
    let deviation = parse(Path::new("d.yaml"), text.as_bytes()).expect("valid");
    assert_eq!(deviation.owner(), Owner::Emulator);
    let on = |emulator: Option<&str>| {
        let mut target = identity(Backend::Svm, "6.12.118");
        target.system.emulator = emulator.map(str::to_owned);
        target
    };
    for (emulator, applies, untested) in [
        (Some("QEMU 10.0.2 (Debian 1:10.0.2+ds-2)"), Answer::Yes, false),
        (Some("QEMU 10.0.13"), Answer::Yes, false),
        (Some("QEMU 10.1.0"), Answer::No, true),
        (
            Some("QEMU 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"),
            Answer::No,
            true,
        ),
        // A local KVM under an emulator does not know its version.
        (None, Answer::Perhaps, false),
    ] {
        let target = on(emulator);
        assert_eq!(
            deviation.applies_to(&target, Mode::Normal),
            applies,
            "{emulator:?}"
        );
        let known = [deviation.clone()];
        assert_eq!(
            untested_emulator(&known, &target).is_some(),
            untested,
            "{emulator:?}"
        );
    }
    let mut native = on(None);
    native.processor = Processor::Native;
    assert_eq!(deviation.applies_to(&native, Mode::Normal), Answer::No);
    let of_kvm = parse(Path::new("d.yaml"), format!("{text}whose: kvm\n").as_bytes()).expect("valid");
    assert_eq!(of_kvm.owner(), Owner::Kvm);
    for (wrong, said) in [
        ("qemu-tcg", "needs the versions that do it"),
        ("kvm =1.0", "no processor is called `kvm`"),
        ("qemu-tcg 10", "no bound"),
    ] {
        let found = mistakes(&text.replace("qemu-tcg =10.0", wrong));
        assert!(found[0].contains(said), "{found:?}");
    }
}

#[test]
fn what_is_expected_is_known_if_it_happens_and_no_fault_if_not() {
    let text = EXAMPLE.replace("targets: [svm, vmx]", "targets: [svm]\nexpected-on: [vmx]");
    let deviation = parse(Path::new("d.yaml"), text.as_bytes()).expect("valid");
    let applies = |backend| deviation.applies_to(&identity(backend, "6.1.0"), Mode::Normal);
    assert_eq!(
        [Backend::Svm, Backend::Vmx, Backend::Pvm].map(applies),
        [Answer::Yes, Answer::Perhaps, Answer::No]
    );
    let alone = EXAMPLE.replace("targets:", "expected-on:");
    assert!(parse(Path::new("d.yaml"), alone.as_bytes()).is_ok());
    let both = mistakes(&text.replace("[vmx]", "[svm]"));
    assert!(both[0].contains("seen on a backend is more"), "{both:?}");
    let neither = mistakes(&EXAMPLE.replace("targets: [svm, vmx]\n", ""));
    assert!(neither[0].contains("name at least one backend"), "{neither:?}");
}

#[test]
fn what_upstream_says_has_a_place() {
    let known = EXAMPLE.replace(
        "{ status: unreported }",
        "{ status: by-design, where: a comment }",
    );
    let deviation = parse(Path::new("d.yaml"), known.as_bytes()).expect("valid");
    assert_eq!(deviation.upstream.to_string(), "by design: a comment");
    let without = mistakes(&known.replace(", where: a comment", ""));
    assert!(without[0].contains("`where` is missing"), "{without:?}");
}

#[test]
fn the_commits_of_a_bug_can_be_named() {
    let fixed = EXAMPLE.replace(
        "kernels: '>=5.10, <6.2'",
        "fixed: { commit: 0123456789ab, first-in: v6.2-rc1, stable: [6.1.20] }",
    );
    let deviation = parse(Path::new("d.yaml"), fixed.as_bytes()).expect("valid");
    let applies = |kernel| deviation.applies_to(&identity(Backend::Svm, kernel), Mode::Normal);
    assert_eq!(
        ["6.1.19", "6.1.20", "6.2.0-rc1", "6.1.0-rc9+"].map(applies),
        [Answer::Yes, Answer::No, Answer::No, Answer::Perhaps]
    );
    let wrong = mistakes(&fixed.replace("6.1.20", "6.1").replace("v6.2-rc1", "6.2-rcx"));
    assert_eq!(
        wrong,
        ["d.yaml:3:42: `6.2-rcx` is no version of a kernel; write X.Y, X.Y.Z or X.Y-rcN, such as 6.2-rc1",]
    );
    let wrong = mistakes(&fixed.replace("0123456789ab", "0123"));
    assert!(wrong[0].contains("names no commit"), "{wrong:?}");
}

#[test]
fn what_yaml_has_and_is_not_read_is_refused() {
    for (from, to, what) in [
        ("reason: KVM", "reason: &why KVM", "anchor"),
        (
            "source: Linux arch/x86/kvm/smm.c",
            "source: &a x\nfound2: *a",
            "alias",
        ),
        ("reason: KVM", "reason: !!str KVM", "tag"),
        ("reason: KVM", "<<: {}\nreason: KVM", "merges"),
    ] {
        let found = mistakes(&EXAMPLE.replace(from, to));
        assert!(found.iter().any(|mistake| mistake.contains(what)), "{found:?}");
    }
}

#[test]
fn a_complaint_stands_in_the_place_of_defects() {
    let complaint = "complaint: {any-of: [{kind: warning, function: f}], cases: [a/b]}\n";
    let listed = EXAMPLE
        .replace("defects: [auto-halt-ignored]\n", complaint)
        .replace("SMM-RSM-008", "HOST-001");
    let deviation = parse(Path::new("d.yaml"), listed.as_bytes()).expect("valid");
    assert_eq!(deviation.defects, []);
    let complaint = deviation.complaint.expect("it is listed");
    assert!(complaint.comes_in("a/b") && !complaint.comes_in("a/c"));
    for (text, wanted) in [
        (
            listed.replace("HOST-001", "SMM-RSM-008"),
            "it is HOST-001 that is not met",
        ),
        (listed.replace("[a/b]", "[]"), "`cases` is empty"),
        (
            listed.replace("[{kind: warning, function: f}]", "[]"),
            "`any-of` is empty",
        ),
        (
            listed.replace("kind: warning", "kind: overrun"),
            "nobody knows what they said",
        ),
        (
            EXAMPLE.replace("SMM-RSM-008", "HOST-001"),
            "with it comes `complaint`",
        ),
        (
            EXAMPLE.replace("defects: [auto-halt-ignored]\n", ""),
            "`defects` is missing",
        ),
        (
            format!("{listed}defects: [auto-halt-ignored]\n"),
            "leave out one of",
        ),
    ] {
        let mistakes = mistakes(&text);
        assert!(mistakes[0].contains(wanted), "{wanted}: {mistakes:?}");
    }
}

#[test]
fn structure_is_strict() {
    let unknown = mistakes(&EXAMPLE.replace("found:", "fund:"));
    assert!(unknown[0].starts_with("d.yaml:8:1: "), "{unknown:?}");
    assert!(unknown[0].contains("fund"), "{unknown:?}");
    let missing = mistakes(&EXAMPLE.replace("reason: KVM never wrote the auto-HALT restart field\n", ""));
    assert!(missing[0].contains("reason"), "{missing:?}");
    let twice = mistakes(&format!("{EXAMPLE}title: again\n"));
    assert!(twice[0].starts_with("d.yaml:10:1: "), "{twice:?}");
    assert!(mistakes("")[0].contains("empty"));
    let not_text = parse(Path::new("d.yaml"), b"title: x\n\xff").expect_err("not UTF-8");
    assert_eq!(not_text[0].line, 2);
}

#[test]
fn a_folder_is_read_in_order_and_all_its_mistakes_are_shown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("b.yaml", EXAMPLE);
    write("a.yaml", &EXAMPLE.replace("RSM goes", "It goes"));
    write("README.md", "not a deviation");
    let titles: Vec<String> = load_folder(folder.path())
        .expect("valid")
        .into_iter()
        .map(|deviation| deviation.title)
        .collect();
    assert_eq!(titles[0], "It goes on after the HLT that an SMI interrupted");
    assert_eq!(titles.len(), 2);
    write("e.yml", EXAMPLE);
    let unread = load_folder(folder.path()).expect_err("it is not read");
    assert!(unread[0].message.contains("`.yml` are not read"), "{unread:?}");
    std::fs::remove_file(folder.path().join("e.yml")).expect("removed");
    write("c.yaml", "");
    write("d.yaml", "title: [");
    assert_eq!(load_folder(folder.path()).expect_err("two are wrong").len(), 2);
    assert_eq!(load_folder(&folder.path().join("none")), Ok(Vec::new()));
}

/// `UPDATE_EXPECT=1` writes the schema anew.
#[test]
fn the_schema_in_the_repository_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases/deviations/deviation.schema.json");
    let mut schema = serde_json::to_string_pretty(&deviation_schema()).expect("serialises");
    schema.push('\n');
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &schema).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == schema,
        "{} is stale: UPDATE_EXPECT=1 cargo test -p harness",
        path.display()
    );
}

#[test]
fn every_deviation_in_the_repository_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases/deviations");
    assert!(folder.is_dir());
    if let Err(mistakes) = load_folder(&folder) {
        panic!("{mistakes:#?}");
    }
}
