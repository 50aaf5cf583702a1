use std::collections::BTreeMap;
use std::time::Duration;

use spec_model::requirement::{SMM_ENTRY_006, SMM_RSM_008};
use spec_model::x86::save_area::KVM_64;

use super::summary::TargetSummary;
use super::*;
use crate::judge::difference::{Source, Subject};
use crate::judge::stop::Place;
use crate::judge::value::Value;
use crate::judge::{Against, Cited, Difference, VerdictKind};
use crate::target::{Lack, Mode};

fn at(point: &str, index: usize) -> Place {
    Place::At {
        index,
        point: point.to_owned(),
        nth: 1,
        vcpu: 0,
    }
}

fn rflags(place: Place) -> Difference {
    Difference {
        case: "smm/a".to_owned(),
        place,
        subject: Subject::Field {
            name: "rflags".to_owned(),
        },
        allowed: vec![Value::number(2, 64), Value::number(0x10002, 64)],
        seen: Value::number(0x202, 64),
        cited: Cited::one(&SMM_ENTRY_006),
        source: Source::Model,
    }
}

fn auto_halt() -> Difference {
    Difference {
        subject: Subject::SaveRow {
            layout: "kvm-64",
            name: "auto-halt-restart",
            offset: 0x7ec9,
        },
        allowed: vec![Value::number(1, 8)],
        seen: Value::number(0, 8),
        cited: Cited::one(&SMM_RSM_008),
        ..rflags(at("in-smi", 1))
    }
}

fn judgement(verdict: Verdict<'static>) -> Judgement<'static> {
    Judgement {
        case: "smm/a",
        target: "kvm",
        verdict,
        transcript: None,
    }
}

fn render(verdict: Verdict<'static>) -> String {
    let mut out = String::new();
    text::write(&mut out, &judgement(verdict)).expect("writes to a string");
    out
}

fn deviates(differences: Vec<Difference>) -> Verdict<'static> {
    Verdict::Deviates {
        differences,
        against: Against::Pure,
    }
}

#[test]
fn differences_read_at_a_glance() {
    let rendered = render(deviates(vec![
        rflags(at("in-smi", 1)),
        auto_halt(),
        rflags(at("resumed", 2)),
    ]));
    let (sentence, clause) = (SMM_ENTRY_006.sentence, SMM_ENTRY_006.clause);
    let (sentence_2, clause_2) = (SMM_RSM_008.sentence, SMM_RSM_008.clause);
    let expected = format!(
        "DEVIATES     smm/a on kvm
  at `in-smi` (vCPU 0)
    rflags                          allowed 0x2 or 0x10002  seen 0x202  (IF)
    save.auto-halt-restart (7EC9h)  allowed 0x01            seen 0x00
  and 1 more, the same again or later; --json FILE has all of them
  SMM-ENTRY-006 (architectural): {sentence}
    {clause}
  SMM-RSM-008 ({}): {sentence_2}
    {clause_2}
",
        SMM_RSM_008.strength
    );
    assert_eq!(rendered, expected);
}

#[test]
fn paths_show_where_they_part() {
    let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let difference = Difference {
        subject: Subject::Path {
            agree: 7,
            allowed: names("a b c d e f g h i"),
            seen: names("a b c d e f g"),
        },
        allowed: vec![Value::Text("sync point `h` on vCPU 0".to_owned())],
        seen: Value::Text("end of the run".to_owned()),
        ..rflags(at("g", 6))
    };
    let rendered = render(deviates(vec![difference]));
    assert!(
        rendered.contains("allowed  ... -> b -> c -> d -> e -> f -> g -> [h] -> i\n"),
        "{rendered}"
    );
    assert!(
        rendered.contains("seen     ... -> b -> c -> d -> e -> f -> g -> [end]\n"),
        "{rendered}"
    );
    assert!(
        rendered.contains("sync point `h` on vCPU 0 was allowed, end of the run came"),
        "{rendered}"
    );
}

fn no_smm() -> Lack {
    Lack::Capability {
        text: "KVM_CAP_X86_SMM is 0".to_owned(),
    }
}

#[test]
fn conformance_is_silent_and_the_rest_is_a_line() {
    assert_eq!(render(Verdict::Conforms), "");
    let unsupported = render(Verdict::Unsupported(no_smm()));
    assert_eq!(
        unsupported,
        "unsupported  smm/a on kvm (capability): KVM_CAP_X86_SMM is 0\n"
    );
    assert_eq!(
        render(Verdict::Broken("it died".to_owned())),
        "BROKEN       smm/a on kvm: it died\n"
    );
}

#[test]
fn a_summary_counts_and_says_why() {
    let mut summary = TargetSummary {
        target: "kvm".to_owned(),
        cases: 3,
        took: Duration::from_millis(1500),
        ..TargetSummary::default()
    };
    summary.count("smm/a", &Verdict::Conforms);
    assert!(!summary.is_complete());
    summary.count("smm/b", &Verdict::Unsupported(no_smm()));
    summary.count("smm/c", &Verdict::Unsupported(no_smm()));
    assert!(summary.is_complete());
    assert_eq!(summary.of(VerdictKind::Unsupported), 2);
    let mut out = String::new();
    summary::write(&mut out, &[summary]).expect("writes to a string");
    let expected = "\
target  conforms  known deviation  deviates  unexpectedly conforms  unsupported  broken      time
kvm            1                0         0                      0            2       0     1.50s

unsupported, with the number of cases per target:
  no SMM
    kvm (2)
";
    assert_eq!(out, expected);
}

#[test]
fn json_is_a_line_per_record() {
    let mut out = Vec::new();
    let entry = json::TargetEntry {
        name: "kvm".to_owned(),
        identity: None,
        unusable: Some("none".to_owned()),
    };
    json::write_header(&mut out, &["conform".to_owned()], Mode::Migrate, &[entry]).expect("writes");
    json::write_case(&mut out, &judgement(deviates(vec![auto_halt()]))).expect("writes");
    json::write_footer(&mut out, false, &[]).expect("writes");
    let text = String::from_utf8(out).expect("UTF-8");
    let records: Vec<BTreeMap<String, serde_json::Value>> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(records[0]["header"]["format"], 1);
    assert_eq!(records[0]["header"]["mode"], "migrate");
    let case = &records[1]["case"];
    assert_eq!(case["verdict"], "deviates");
    assert_eq!(case["differences"][0]["requirements"][0], "SMM-RSM-008");
    assert_eq!(case["differences"][0]["subject"]["save-row"]["offset"], 0x7ec9);
    assert_eq!(records[2]["footer"]["complete"], false);
}

#[test]
fn a_layout_is_a_table() {
    let mut out = String::new();
    layout::write(&mut out, &KVM_64).expect("writes to a string");
    assert!(
        out.contains("7EC9h       1  w r  auto-halt-restart             SMM-RSM-008\n"),
        "{out}"
    );
    assert_eq!(out.lines().count(), KVM_64.rows.len() + 6);
}
