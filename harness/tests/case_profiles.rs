//! Cases about implementations other than KVM.

use std::path::Path;

use harness::case::Case;
use harness::judge::Verdict;
use harness::judge::case::{judge_own, judge_run};
use harness::target::{Backend, Identity, Lack, Mode, Processor, Run};
use spec_model::defect::DefectSet;
use spec_model::profile::{AMD, BOCHS, INTEL, KVM_PVM, KVM_SVM, KVM_VMX};

fn text(profiles: &str, expect: &str) -> String {
    format!(
        "title: t\nchecks: [SMM-IO-002]\n{profiles}machine: {{ mode: real }}\ncode:\n  start: |\n    sync a\n    hlt\n  smi: |\n    sync b\n    rsm\nhost:\n  - {{ at: a, do: smi }}\npath: [a, b, halted]\nexpect:\n  - {{ at: b, {expect} }}\n"
    )
}

fn parse(profiles: &str, expect: &str) -> Result<Case, Vec<String>> {
    let text = text(profiles, expect);
    Case::parse("area/case".to_owned(), Path::new("case.yaml"), text.as_bytes())
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn a_case_without_profiles_is_about_every_kvm() {
    let case = parse("", "smm: true").expect("no mistakes");
    for profile in [&KVM_SVM, &KVM_VMX, &KVM_PVM] {
        assert!(case.is_about(profile), "{}", profile.name);
    }
    assert!(!case.is_about(&INTEL) && !case.is_about(&BOCHS));
    assert_eq!(case.own_profile(), &KVM_SVM);
}

#[test]
fn rows_are_those_of_the_first_profile_and_the_others_need_them_too() {
    let case = parse("profiles: [intel, amd]\n", "save.io-restart: 0").expect("no mistakes");
    assert_eq!(case.own_profile(), &INTEL);
    assert!(case.is_about(&AMD) && !case.is_about(&KVM_SVM));
    for profile in [&INTEL, &AMD] {
        let (verdict, _) = judge_own(&case, profile, DefectSet::NONE);
        assert_eq!(verdict, Verdict::Conforms, "{}", profile.name);
    }
    let mistakes = parse("profiles: [intel, amd]\n", "save.io.state: 0").expect_err("AMD has no such row");
    assert_eq!(
        mistakes,
        [
            "case.yaml:3:19: the save area `amd-64` of `amd` has no `io.state`; write a case of its own for that profile"
        ]
    );
    let mistakes = parse("profiles: [kvm-svm]\n", "save.io.state: 0").expect_err("KVM has no such row");
    assert!(
        mistakes[0].contains("the save area `kvm-64` has no `io.state`"),
        "{mistakes:?}"
    );
}

#[test]
fn unknown_and_repeated_profiles_are_mistakes() {
    let mistakes = parse("profiles: [intle]\n", "smm: true").expect_err("unknown");
    assert_eq!(
        mistakes,
        ["case.yaml:3:12: `intle` is unknown; did you mean `intel`?"]
    );
    let mistakes = parse("profiles: [intel, intel]\n", "smm: true").expect_err("repeated");
    assert_eq!(
        mistakes,
        ["case.yaml:3:19: `intel` is given twice; keep one of them"]
    );
}

/// An expectation that fails for the implementation that it is about, and is not looked at for
/// another.
#[test]
fn expectations_count_only_for_the_profiles_of_the_case() {
    let case = parse("profiles: [amd]\n", "save.revision-id: 1").expect("no mistakes");
    assert!(matches!(
        judge_own(&case, &AMD, DefectSet::NONE).0,
        Verdict::Broken(_) | Verdict::Deviates { .. }
    ));
    assert_eq!(
        judge_own(&case, &INTEL, DefectSet::NONE).0,
        Verdict::Unsupported(Lack::nature(
            "nothing is judged as intel: what is written by hand in the case is about amd"
        ))
    );
}

#[test]
fn a_kvm_does_not_support_a_case_about_others() {
    let case = parse("profiles: [intel, amd]\n", "smm: true").expect("no mistakes");
    let target = Identity {
        name: "kvm".to_owned(),
        backend: Backend::Svm,
        processor: Processor::Native,
        kernel: "6.12.0".to_owned(),
        smm: true,
    };
    let run = Run::Broken("it does not matter".to_owned());
    assert_eq!(
        judge_run(&case, &target, Mode::Normal, &[], DefectSet::NONE, &run),
        Verdict::Unsupported(Lack::nature(
            "the case is about what intel and amd may choose, and this is kvm-svm"
        ))
    );
}
