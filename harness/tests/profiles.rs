//! Every case under every implementation that the model knows.

use std::path::Path;

use harness::cli::suite::Suite;
use harness::judge::VerdictKind;
use harness::judge::case::{is_unspecified, judge_own_uncited};
use harness::target::other_architecture;
use spec_model::architecture::Architecture;
use spec_model::defect::DefectSet;
use spec_model::profile::PROFILES;

/// The model can run every case as every implementation, the hand-written expectations hold
/// where they are meant to, and a case is left out only if the host writes a field of the
/// state-save area that the format of the implementation does not have, or if it is made of
/// another architecture.
#[test]
fn every_case_runs_under_every_profile() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let suite = Suite::load_folders(&[cases]).expect("the repository's cases are right");
    for profile in PROFILES
        .iter()
        .filter(|profile| profile.smm || profile.architecture == Architecture::Arm64)
    {
        for case in &suite.cases {
            let (verdict, _) = judge_own_uncited(case, profile, DefectSet::NONE);
            let expected = match case.row_missing_in(profile) {
                _ if other_architecture(&case.scenario, profile.architecture).is_some() => {
                    assert!(
                        case.profiles.is_empty() || !case.is_about(profile),
                        "{} cannot be about {}",
                        case.name,
                        profile.name
                    );
                    VerdictKind::Unsupported
                }
                Some(_) if case.is_about(profile) => panic!("{} cannot be about {}", case.name, profile.name),
                Some(_) => VerdictKind::Unsupported,
                // An image of RSM about which the manual of this implementation says nothing.
                None if !case.is_about(profile) && is_unspecified(case, profile, DefectSet::NONE) => {
                    VerdictKind::Broken
                }
                None => VerdictKind::Conforms,
            };
            assert_eq!(
                verdict.kind(),
                expected,
                "{} as {}: {verdict:?}",
                case.name,
                profile.name
            );
        }
    }
}
