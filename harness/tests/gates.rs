//! The gate sweep: laws that every combination obeys on the model, written from the manuals and not
//! from the model's code, and what the sweep shows on the local device and on a provisioned kernel.

mod command;

use harness::batch::Family as _;
use harness::cli::session::cached_kernels;
use harness::gates::row::{DoubleFault, Event, Faults, Offset, Row, Selector, Stack};
use harness::gates::{Payload, sweep};
use harness::provision::{Architecture, Cache};
use spec_model::defect::{Defect, DefectSet};
use spec_model::profile::KVM_SVM;
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;
use spec_model::transcript::{Stop, Transcript};

/// The name of the first stop that is not the host's own, and the error code and frame there.
fn first_stop(scenario: &Scenario, transcript: &Transcript) -> (String, Vec<u64>, u64) {
    let mut observations = transcript.observations.iter();
    let found = observations.find_map(|observation| match observation.stop {
        Stop::Sync(point) => {
            let name = &scenario.points[usize::from(point.0)].name;
            let rsp = observation.state.as_ref().map_or(0, |state| state.general[4]);
            (name != "nmi").then(|| (name.clone(), observation.stack.clone(), rsp))
        }
        other => Some((format!("{other:?}"), Vec::new(), 0)),
    });
    found.expect("a run stops")
}

fn vector(event: Event) -> u64 {
    match event {
        Event::De => 0,
        Event::Nmi => 2,
        Event::Int3 => 3,
        Event::Ud => 6,
        Event::Np => 11,
        Event::Ss => 12,
        Event::Gp => 13,
        Event::Pf => 14,
        Event::Int => 0x20,
    }
}

fn is_software(row: &Row) -> bool {
    matches!(row.event, Event::Int | Event::Int3)
}

/// Whether nothing is wrong with the gate itself, its DPL and its code segment.
fn gate_is_good(row: &Row) -> bool {
    let dpl_of_code = match row.selector {
        Selector::Code0
        | Selector::Rpl3
        | Selector::ExecuteOnly
        | Selector::NotAccessed
        | Selector::Ldt
        | Selector::Conforming0 => 0,
        Selector::Code1 => 1,
        Selector::Code2 => 2,
        Selector::Code3 | Selector::Conforming3 => 3,
        _ => return false,
    };
    matches!(row.kind, 0xe | 0xf)
        && row.present
        && row.cut == 0
        && dpl_of_code <= row.cpl
        && (!is_software(row) || row.dpl >= row.cpl)
}

/// A handler is entered only through a good gate, and its frame is aligned; a gate that is not good
/// gives the error code that the manuals say where one handler of the fault tells it.
fn law(row: &Row, (stop, stack, rsp): &(String, Vec<u64>, u64)) -> Result<(), String> {
    let has_error_code = matches!(row.event, Event::Gp | Event::Np | Event::Ss | Event::Pf);
    if stop == "handler" {
        if !gate_is_good(row) || row.offset != Offset::Handler {
            return Err("entered through a gate that is not good".to_owned());
        }
        if matches!(
            row.stack,
            Stack::NonCanonical | Stack::Absent | Stack::Beyond | Stack::ReadOnly
        ) {
            return Err("entered on a stack that cannot be written".to_owned());
        }
        let pushed = if has_error_code { 48 } else { 40 };
        if (rsp + pushed) % 16 != 0 {
            return Err(format!("the frame ends at {:#x}", rsp + pushed));
        }
        return Ok(());
    }
    let all_good = gate_is_good(row)
        && row.offset == Offset::Handler
        && row.tss == 0x67
        && matches!(row.stack, Stack::Good | Stack::Off(_));
    if all_good {
        return Err("a good gate is not entered".to_owned());
    }
    let tells = row.faults == Faults::Good && row.double == DoubleFault::Good;
    let benign = !has_error_code && row.event != Event::De;
    if !tells || !benign || row.cut != 0 || row.tss != 0x67 || (row.ist == 7 && row.stack != Stack::Good) {
        return Ok(());
    }
    let ext = u64::from(!is_software(row));
    let of_gate = vector(row.event) * 8 + 2 + ext;
    let wrong_type = !matches!(row.kind, 0xe | 0xf);
    let wanted = if wrong_type || is_software(row) && row.dpl < row.cpl {
        Some(("in-gp", of_gate))
    } else if !row.present {
        Some(("in-np", of_gate))
    } else if matches!(row.selector, Selector::Null | Selector::NullRpl3) {
        Some(("in-gp", ext))
    } else {
        None
    };
    match wanted {
        Some((point, code)) if stop != point || stack.first() != Some(&code) => Err(format!(
            "{stop} with {:x?}, not {point} with {code:#x}",
            stack.first()
        )),
        _ => Ok(()),
    }
}

fn violations(defects: DefectSet, step: usize) -> Vec<String> {
    let payload = Payload::new().unwrap();
    let mut scenario = payload.template();
    let mut violations = Vec::new();
    for (_, row) in sweep().iter().step_by(step) {
        payload.set(&mut scenario, row);
        for outcome in outcomes(&scenario, &KVM_SVM, defects).unwrap() {
            let seen = first_stop(&scenario, &outcome.transcript);
            if let Err(broken) = law(row, &seen) {
                violations.push(format!("{row}: {broken}"));
            }
        }
    }
    violations
}

#[test]
fn every_combination_obeys_the_laws() {
    let violations = violations(DefectSet::NONE, 1);
    assert!(
        violations.is_empty(),
        "{}: {:#?}",
        violations.len(),
        violations.first()
    );
}

#[test]
fn a_defect_breaks_a_law() {
    for defect in [
        Defect::SoftwareInterruptIgnoresDpl,
        Defect::StackNotAligned,
        Defect::ErrorCodeWithoutExt,
        Defect::HandlerCodeUnchecked,
        Defect::SpareGateBitsChecked,
    ] {
        let violations = violations(DefectSet::NONE.with(defect), 1);
        assert!(!violations.is_empty(), "{defect} breaks no law");
    }
}

fn conform(arguments: &[&str]) -> (Option<i32>, String) {
    command::conform("gates", arguments)
}

/// One small group on the first kernel there is; the whole sweep is for `conform gates`.
#[test]
fn a_group_conforms_on_a_provisioned_kernel() {
    let cache = Cache::open(None).unwrap();
    if cache.qemu().is_err() {
        eprintln!("not run: there is no QEMU");
        return;
    }
    let Some(kernel) = cached_kernels(&cache, Architecture::X86).into_iter().next() else {
        eprintln!("not run: no kernel is provisioned");
        return;
    };
    let (status, text) = conform(&[&format!("svm@{kernel}"), "--groups", "bits"]);
    assert_eq!(status, Some(0), "{kernel}: {text}");
}

/// The comparison is worth nothing if it cannot fail. The model with a defect takes the place of a target.
#[test]
fn a_model_with_a_defect_is_told_and_prints_a_case_file() {
    let (status, text) = conform(&["model", "--groups", "bits", "--defect", "spare-gate-bits-checked"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("DEVIATES     gates/bit-104 on model"), "{text}");
    assert!(text.contains("# gates/bit-104 as a case file:"), "{text}");
    assert!(text.contains("in-gp instead of handler"), "{text}");
}

#[test]
fn a_combination_prints_as_a_case_file_that_runs() {
    let (status, text) = conform(&["--print", "event=nmi,cpl=3,ist=1,stack=partial-2"]);
    assert_eq!(status, Some(0), "{text}");
    command::runs_on_the_model(&text);
}

#[test]
fn wrong_commands_say_what_is_possible() {
    for (arguments, wanted) in [
        (["--groups", "all"], "selectors"),
        (["--print", "cpl=4"], "0, 1, 2, 3"),
        (["--print", "level=0"], "cpl"),
    ] {
        let (status, text) = conform(&arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}
