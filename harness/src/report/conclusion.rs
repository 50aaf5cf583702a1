//! What a run shows, in one sentence.
//!
//! It says how many hypervisors were judged by how many cases of which areas, what is red, and
//! about what nothing could be said. A reader who stops behind it must not take a run that proves
//! little for one that proves much.

use std::collections::BTreeSet;

use super::summary::TargetSummary;
use crate::judge::VerdictKind;
use crate::provision::TESTED;

/// The sentence about these targets, behind a line for each emulator that was never tested.
#[must_use]
pub fn sentence(summaries: &[TargetSummary]) -> String {
    let untested: Vec<String> = summaries.iter().filter_map(untested).collect();
    untested.concat() + &proven(summaries)
}

/// What a reader has to know first if a target runs on another emulator than the suite was tested with.
fn untested(summary: &TargetSummary) -> Option<String> {
    let emulator = summary.identity.as_ref()?.system.emulator.as_deref()?;
    let version = emulator.split_whitespace().nth(1).unwrap_or(emulator);
    let is_tested = version
        .strip_prefix(TESTED)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    (!is_tested).then(|| {
        format!(
            "{} runs on {emulator}, and the suite was tested with QEMU {TESTED}: what only that one is listed to do \
             wrong is not excused here.\n",
            summary.target
        )
    })
}

fn proven(summaries: &[TargetSummary]) -> String {
    let judged: Vec<&TargetSummary> = summaries
        .iter()
        .filter(|summary| summary.is_judged_hypervisor())
        .collect();
    let mut parts = vec![if judged.is_empty() {
        "no hypervisor was judged".to_owned()
    } else {
        judged_by(&judged)
    }];
    parts.extend(red(summaries));
    parts.extend(unsaid(summaries, &judged));
    let mut text = parts.join("; ") + ".\n";
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn judged_by(judged: &[&TargetSummary]) -> String {
    let names: Vec<&str> = judged.iter().map(|summary| summary.target.as_str()).collect();
    let about = about_hypervisors(judged);
    let areas: BTreeSet<&str> = about.iter().map(|case| area(case)).collect();
    let areas: Vec<&str> = areas.into_iter().collect();
    format!(
        "{} judged by {} of {}: {}",
        counted(judged.len(), "hypervisor was", "hypervisors were"),
        counted(about.len(), "case", "cases"),
        and(&areas),
        and(&names)
    )
}

/// The cases with a verdict about one of the hypervisors.
fn about_hypervisors<'a>(judged: &[&'a TargetSummary]) -> BTreeSet<&'a str> {
    let verdicts = judged.iter().flat_map(|summary| &summary.verdicts);
    verdicts
        .filter(|(_, verdict)| verdict.is_about_the_target())
        .map(|(case, _)| case.as_str())
        .collect()
}

fn red(summaries: &[TargetSummary]) -> Vec<String> {
    let mut parts = Vec::new();
    for (kind, one, more) in [
        (VerdictKind::Deviates, "case deviates", "cases deviate"),
        (
            VerdictKind::UnexpectedlyConforms,
            "case conforms where a deviation is listed",
            "cases conform where a deviation is listed",
        ),
    ] {
        for summary in summaries {
            match summary.of(kind) {
                0 => {}
                count => parts.push(format!("{} on {}", counted(count, one, more), summary.target)),
            }
        }
    }
    if parts.is_empty() && summaries.iter().any(|summary| summary.judged() > 0) {
        let known = summaries
            .iter()
            .any(|summary| summary.of(VerdictKind::KnownDeviation) > 0);
        parts.push(if known {
            "nothing deviates but as listed".to_owned()
        } else {
            "nothing deviates".to_owned()
        });
    }
    parts
}

/// About what nothing could be said.
fn unsaid(summaries: &[TargetSummary], judged: &[&TargetSummary]) -> Vec<String> {
    let mut parts = Vec::new();
    let about = about_hypervisors(judged);
    let wanted: BTreeSet<&str> = summaries
        .iter()
        .flat_map(|summary| summary.verdicts.keys().map(String::as_str))
        .collect();
    let nowhere = wanted.difference(&about).count();
    if !judged.is_empty() && nowhere > 0 {
        parts.push(format!(
            "{} nothing about {}",
            counted(nowhere, "case says", "cases say"),
            if judged.len() == 1 { "it" } else { "any of them" }
        ));
    }
    for summary in summaries {
        let name = &summary.target;
        let missing = summary.cases.saturating_sub(summary.judged());
        let broken = summary.of(VerdictKind::Broken);
        if summary.unusable.is_some() {
            parts.push(format!("{name} could not be used"));
        } else if summary.judged() > 0 && summary.judged() == summary.of(VerdictKind::Unsupported) {
            parts.push(format!("nothing could be said about {name}"));
        }
        if broken > 0 {
            parts.push(format!(
                "{} on {name}",
                counted(broken, "case is broken", "cases are broken")
            ));
        }
        if summary.unusable.is_none() && missing > 0 {
            parts.push(format!(
                "{} no verdict on {name}",
                counted(missing, "case has", "cases have")
            ));
        }
    }
    parts
}

fn area(case: &str) -> &str {
    case.split('/').next().unwrap_or(case)
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// `a, b and c`.
fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verdict;
    use crate::target::system::System;
    use crate::target::{Backend, Identity, Lack, Processor};

    fn summary(target: &str, verdicts: &[(&str, Verdict<'static>)]) -> TargetSummary {
        let mut summary = TargetSummary {
            target: target.to_owned(),
            cases: verdicts.len(),
            ..TargetSummary::default()
        };
        for (case, verdict) in verdicts {
            summary.count(case, verdict);
        }
        summary
    }

    fn unexpected() -> Verdict<'static> {
        Verdict::UnexpectedlyConforms(Vec::new())
    }

    fn deviates() -> Verdict<'static> {
        Verdict::Deviates {
            differences: Vec::new(),
            against: crate::judge::Against::Pure,
        }
    }

    #[test]
    fn the_model_is_no_hypervisor() {
        let text = sentence(&[summary("model", &[("smm/a", Verdict::Conforms)])]);
        assert_eq!(text, "No hypervisor was judged; nothing deviates.\n");
    }

    #[test]
    fn an_emulator_that_was_not_tested_is_told_first() {
        let on = |emulator: &str| {
            let mut svm = summary("svm@debian:6.12", &[("smm/a", Verdict::Conforms)]);
            let system = System {
                emulator: Some(emulator.to_owned()),
                ..System::default()
            };
            svm.identity = Some(Identity {
                name: svm.target.clone(),
                backend: Backend::Svm,
                processor: Processor::QemuTcg,
                kernel: "6.12.118".to_owned(),
                smm: true,
                system,
            });
            sentence(&[svm])
        };
        assert!(on("QEMU 10.0.2 (Debian 1:10.0.2+ds-2)").starts_with("1 hypervisor was judged"));
        for other in ["QEMU 9.2.0", "QEMU 10.01", "QEMU 11.0.0-rc1"] {
            let text = on(other);
            let first = format!("svm@debian:6.12 runs on {other}, and the suite was tested with QEMU 10.0");
            assert!(text.starts_with(&first), "{text}");
        }
    }

    #[test]
    fn it_says_who_was_judged_by_what() {
        let model = summary(
            "model",
            &[("smm/a", Verdict::Conforms), ("nmi/b", Verdict::Conforms)],
        );
        let svm = summary(
            "svm@debian:6.12",
            &[("smm/a", deviates()), ("nmi/b", Verdict::Conforms)],
        );
        let mut broken = summary("svm@debian:7.2", &[("smm/a", Verdict::Broken(String::new()))]);
        broken.cases = 2;
        let mut unusable = summary("kvm", &[]);
        unusable.unusable = Some("permission denied".to_owned());
        assert_eq!(
            sentence(&[model, svm, broken, unusable]),
            "1 hypervisor was judged by 2 cases of nmi and smm: svm@debian:6.12; 1 case deviates on \
             svm@debian:6.12; 1 case is broken on svm@debian:7.2; 1 case has no verdict on \
             svm@debian:7.2; kvm could not be used.\n"
        );
    }

    #[test]
    fn what_is_green_and_what_is_listed_are_told_apart() {
        let kvm = summary("kvm", &[("smm/a", Verdict::KnownDeviation(Vec::new()))]);
        assert!(sentence(&[kvm]).contains("; nothing deviates but as listed."));
        let kvm = summary("kvm", &[("smm/a", unexpected())]);
        assert!(sentence(&[kvm]).contains("1 case conforms where a deviation is listed on kvm"));
    }

    #[test]
    fn cases_that_say_nothing_are_counted_once() {
        let none = || Verdict::Unsupported(Lack::suite("it lacks something"));
        let one = summary("kvm", &[("smm/a", none()), ("smm/b", Verdict::Conforms)]);
        let two = summary("svm@debian:6.12", &[("smm/a", none()), ("smm/b", none())]);
        assert_eq!(
            sentence(&[one, two]),
            "1 hypervisor was judged by 1 case of smm: kvm; nothing deviates; 1 case says nothing about \
             it; nothing could be said about svm@debian:6.12.\n"
        );
    }
}
