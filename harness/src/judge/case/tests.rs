//! Deviations and kernels whose version does not tell whether they have them.

use std::path::Path;

use spec_model::defect::Defect;

use super::*;
use crate::deviation::parse;
use crate::judge::VerdictKind;
use crate::target::Processor;
use crate::target::system::System;

const CASE: &str = "smm/auto-halt-restart";

/// `auto-halt-ignored` on kernels before 6.2-rc1.
const DEVIATION: &str = "\
title: RSM goes on after the HLT that an SMI interrupted
targets: [svm]
kernels: '<6.2-rc1'
defects: [auto-halt-ignored]
requirement: SMM-RSM-008
reason: an example for this test
source: none
found: nowhere
upstream: { status: unreported }
";

fn verdict(kernel: &str, deviations: &[Deviation], deviates: bool) -> VerdictKind {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cases");
    let case = Case::load(&cases.join(CASE).with_extension("yaml")).expect("it is right");
    let defects = if deviates {
        DefectSet::NONE.with(Defect::AutoHaltIgnored)
    } else {
        DefectSet::NONE
    };
    let outcomes = outcomes(&case.scenario, &KVM_SVM, defects).expect("the model can run it");
    let run = Run::Done(outcomes.into_iter().next().expect("an outcome").transcript);
    let target = Identity {
        name: "kvm".to_owned(),
        backend: Backend::Svm,
        kernel: kernel.to_owned(),
        processor: Processor::Native,
        smm: true,
        system: System::default(),
    };
    judge_run(
        &case,
        &target,
        Mode::Normal,
        deviations,
        DefectSet::NONE,
        &run.into(),
    )
    .kind()
}

#[test]
fn between_two_tags_a_deviation_may_be_there_or_not() {
    use VerdictKind::{Conforms, Deviates, KnownDeviation, UnexpectedlyConforms};
    let listed = [parse(Path::new("d.yaml"), DEVIATION.as_bytes()).expect("it is right")];
    for (kernel, deviates, expected) in [
        ("6.1.0", true, KnownDeviation),
        ("6.1.0", false, UnexpectedlyConforms),
        ("6.1.0-rc9+", true, KnownDeviation),
        ("6.1.0-rc9+", false, Conforms),
        ("6.1.0-00012-g0123456789ab", false, Conforms),
        ("6.2.0-rc1", true, Deviates),
        ("6.2.0-rc1", false, Conforms),
    ] {
        assert_eq!(
            verdict(kernel, &listed, deviates),
            expected,
            "{kernel} {deviates}"
        );
    }
    // Without the list, as for bisecting, only what happens counts.
    for kernel in ["6.1.0", "6.1.0-rc9+", "6.2.0-rc1"] {
        assert_eq!(verdict(kernel, &[], true), Deviates);
        assert_eq!(verdict(kernel, &[], false), Conforms);
    }
}
