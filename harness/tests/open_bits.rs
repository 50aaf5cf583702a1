//! What the model leaves open no case may demand: with every open bit of the processor's registers
//! the other way, each case must still hold.

use std::path::Path;

use harness::cli::suite::Suite;
use harness::judge::case::view;
use harness::judge::{AllowedOutcomes, Verdict, judge};
use harness::target::{Run, other_architecture};
use spec_model::defect::DefectSet;
use spec_model::outcome::Outcome;
use spec_model::profile::{KVM_SVM, KVM_VMX};
use spec_model::transcript::Transcript;
use spec_model::x86::field::Field;

#[test]
fn no_case_demands_a_bit_that_is_open() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = Suite::load_folders(&[cases]).expect("the project's cases can be read");
    let (mut judged, mut failures) = (0, Vec::new());
    for case in &suite.cases {
        for profile in [&KVM_SVM, &KVM_VMX] {
            if !case.is_about(profile) || other_architecture(&case.scenario, profile.architecture).is_some() {
                continue;
            }
            let allowed = AllowedOutcomes::of(&case.scenario, profile, DefectSet::NONE, &[])
                .expect("the model runs every case");
            for outcome in &allowed.pure {
                let Some(other_way) = other_way(outcome) else {
                    continue;
                };
                judged += 1;
                let verdict = judge(&view(case, profile), &allowed, &Run::Done(other_way));
                if verdict != Verdict::Conforms {
                    failures.push(format!("{} with {}: {verdict:?}", case.name, profile.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(judged > 0, "no case has an open bit");
}

/// The run with every open bit of a register inverted; none if it has none.
fn other_way(outcome: &Outcome) -> Option<Transcript> {
    let mut transcript = outcome.transcript.clone();
    let mut inverted = false;
    for allowance in &outcome.allowances {
        let Some(field) = Field::named(&allowance.field) else {
            continue;
        };
        let state = transcript
            .observations
            .get_mut(allowance.observation)?
            .state
            .as_deref_mut()?;
        field.write(state, field.read(state) ^ allowance.any_bits);
        inverted = true;
    }
    inverted.then_some(transcript)
}
