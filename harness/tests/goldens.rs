//! Whole state-save areas, as the model and a real KVM write them.
//!
//! Every case `smm/whole-area-MODE-BITS` raises one SMI in a machine whose registers all have
//! values of their own. The area that the model writes is kept in golden/state-save, decoded
//! and as bytes, so that a change of the model shows as a change of that file. The trial named
//! after a kernel demands of the KVM in it the very same bytes. The same cases under the other
//! profiles give the goldens of the other layouts, `PROFILE-MODE-BITS`.
//!
//! `INSTA_UPDATE=always cargo test -p harness --test goldens` writes the files anew.

mod provisioned;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use harness::case::Case;
use harness::cli::suite::Suite;
use harness::judge::Verdict;
use harness::judge::case::judge_run;
use harness::judge::layout;
use harness::report::{Judgement, text};
use harness::target::{Identity, Mode, Run, RunOptions};
use libtest_mimic::{Arguments, Failed, Trial};
use spec_model::defect::DefectSet;
use spec_model::outcome::Outcome;
use spec_model::profile::{AMD, BOCHS, INTEL, KVM_SVM, Profile, QEMU_TCG};
use spec_model::run::outcomes;
use spec_model::scenario::Scenario;
use spec_model::transcript::Transcript;
use spec_model::x86::save_area::{Content, Layout, Row, SAVE_AREA_SIZE};

use provisioned::Kernel;

/// How the names of the cases begin.
const CASES: &str = "smm/whole-area-";
/// Where the snapshots are, from the root of the repository.
const SNAPSHOTS: &str = "golden/state-save";
/// Modes and formats that need a golden.
const WANTED: [&str; 10] = [
    "real-32",
    "real-64",
    "protected-32",
    "protected-64",
    "paged-32",
    "paged-64",
    "pae-32",
    "pae-64",
    "compatibility-64",
    "64-bit-64",
];

/// Profiles whose layouts are not KVM's.
static OTHERS: [&Profile; 4] = [&AMD, &INTEL, &QEMU_TCG, &BOCHS];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let suite = match Suite::load_folders(&[root().join("cases")]) {
        Ok(suite) => Arc::new(suite),
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let profiles = || std::iter::once(&KVM_SVM).chain(OTHERS);
    let mut trials: Vec<Trial> = goldens(&suite)
        .flat_map(|case| profiles().map(move |profile| (case, profile)))
        .map(|(case, profile)| {
            let (suite, name) = (Arc::clone(&suite), case.name.clone());
            Trial::test(format!("model::{}", golden_name(case, profile)), move || {
                let case = suite.cases.iter().find(|case| case.name == name);
                model_agrees(case.ok_or("the case is gone")?, profile)
            })
        })
        .collect();
    let of_all = Arc::clone(&suite);
    trials.push(Trial::test("every-mode-and-format", move || complete(&of_all)));
    trials.push(match Kernel::find() {
        Ok(kernel) => {
            let name = kernel.identity.name.clone();
            Trial::test(format!("{name}::all"), move || kvm_agrees(&suite, &kernel))
        }
        Err(reason) => {
            Trial::test(format!("svm::all [ignored: {reason}]"), || Ok(())).with_ignored_flag(true)
        }
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn goldens(suite: &Suite) -> impl Iterator<Item = &Case> {
    suite.cases.iter().filter(|case| case.name.starts_with(CASES))
}

/// Mode and format of a golden.
fn short(case: &Case) -> &str {
    case.name.strip_prefix(CASES).unwrap_or(&case.name)
}

/// Name of the snapshot. KVM's are named after mode and format alone.
fn golden_name(case: &Case, profile: &Profile) -> String {
    if profile.is_kvm() {
        short(case).to_owned()
    } else {
        format!("{}-{}", profile.name, short(case))
    }
}

/// A state-save area, and in which bits of it a target may differ.
struct Area {
    bytes: Vec<u8>,
    /// By name of the row.
    free: BTreeMap<String, u64>,
}

/// The area at the first stop in SMM.
fn area_of(transcript: &Transcript) -> Option<(usize, &Vec<u8>)> {
    let areas = transcript
        .observations
        .iter()
        .map(|observation| &observation.save_area);
    areas
        .enumerate()
        .find_map(|(index, area)| Some((index, area.as_ref()?)))
}

impl Area {
    fn of(outcome: &Outcome, layout: &Layout) -> Result<Self, Failed> {
        let (stop, bytes) = area_of(&outcome.transcript).ok_or("the model never stops in SMM")?;
        let size = layout.size();
        if bytes.len() != size {
            return Err(format!("the area has {} bytes instead of {size}", bytes.len()).into());
        }
        let mut free: BTreeMap<String, u64> = BTreeMap::new();
        for allowance in outcome.allowances.iter().filter(|one| one.observation == stop) {
            if let Some(row) = allowance.field.strip_prefix("save.") {
                *free.entry(row.to_owned()).or_default() |= allowance.any_bits;
            }
        }
        for row in layout.rows.iter().filter(|row| layout.leaves_open(row)) {
            free.insert(row.name.to_owned(), u64::MAX >> (64 - 8 * row.width.min(8)));
        }
        let bytes = bytes.clone();
        Ok(Self { bytes, free })
    }

    fn free_bits(&self, row: &Row) -> u64 {
        self.free.get(row.name).copied().unwrap_or(0)
    }

    /// The rows in which another area differs although it may not.
    fn differences(&self, layout: &Layout, other: &[u8]) -> String {
        let mut differences = String::new();
        for row in layout.rows {
            let range = row.range(layout.size());
            let (one, two) = (self.bytes.get(range.clone()), other.get(range));
            let excused = || {
                !row.is_reserved() && (row.read(&self.bytes) ^ row.read(other)) & !self.free_bits(row) == 0
            };
            if one != two && !(other.len() == SAVE_AREA_SIZE && excused()) {
                let _ = writeln!(
                    differences,
                    "  {:04X}h {}: the model has {}, KVM {}",
                    row.offset,
                    row.name,
                    hex(one.unwrap_or_default()),
                    hex(two.unwrap_or_default())
                );
            }
        }
        differences
    }
}

/// The one area that the model writes with these defects on.
fn model_area(case: &Case, profile: &'static Profile, defects: DefectSet) -> Result<Area, Failed> {
    let outcomes = outcomes(&case.scenario, profile, defects).map_err(|error| error.to_string())?;
    let mut areas: Vec<Area> = outcomes
        .iter()
        .map(|outcome| Area::of(outcome, layout(&case.scenario, profile)))
        .collect::<Result<_, _>>()?;
    let area = areas.pop().ok_or("the model allows no outcome")?;
    if areas.iter().any(|other| other.bytes != area.bytes) {
        return Err("the model allows several areas; a golden must not depend on a choice".into());
    }
    Ok(area)
}

fn model_agrees(case: &Case, profile: &'static Profile) -> Result<(), Failed> {
    let area = model_area(case, profile, DefectSet::NONE)?;
    let layout = layout(&case.scenario, profile);
    every_value_is_its_own(layout, &area, profile.is_kvm())?;
    let shown = show(layout, &area)?;
    insta::with_settings!({
        snapshot_path => Path::new("../..").join(SNAPSHOTS),
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => format!("{} ({})", case.title, layout.name),
    }, {
        insta::assert_snapshot!(golden_name(case, profile), shown);
    });
    Ok(())
}

/// Two rows of one width with the same value could be swapped without anybody noticing. The
/// cases fill KVM's formats; in others they leave registers 0 that only those formats hold.
fn every_value_is_its_own(layout: &Layout, area: &Area, zero_counts: bool) -> Result<(), Failed> {
    let mut seen: BTreeMap<(u16, u64), &str> = BTreeMap::new();
    let held = |row: &&Row| matches!(row.content, Content::State | Content::Attributes { .. });
    for row in layout.rows.iter().filter(held) {
        let value = row.read(&area.bytes);
        if value == 0 && !zero_counts {
            continue;
        }
        if let Some(other) = seen.insert((row.width, value), row.name) {
            return Err(format!("{other} and {} both hold {value:#x}; change the case", row.name).into());
        }
    }
    Ok(())
}

/// Decoded, row by row, then as bytes. Offsets count from SMBASE+8000h.
fn show(layout: &Layout, area: &Area) -> Result<String, std::fmt::Error> {
    let mut shown = String::new();
    writeln!(shown, "offset  {:width$}  value", "field", width = NAME)?;
    for row in layout.rows.iter().filter(|row| !row.is_reserved()) {
        let digits = usize::from(row.width.min(8)) * 2;
        let value = row.read(&area.bytes);
        write!(
            shown,
            "{:04X}h   {:NAME$}  0x{value:0digits$x}",
            row.offset, row.name
        )?;
        match area.free_bits(row) {
            0 => writeln!(shown)?,
            bits => writeln!(shown, " (any value in bits {bits:#x})")?,
        }
    }
    writeln!(shown, "\noffset  bytes")?;
    let first = layout.rows.first().map_or(0, |row| usize::from(row.offset));
    for (line, bytes) in area.bytes.chunks(16).enumerate() {
        writeln!(shown, "{:04X}h   {}", first + line * 16, hex(bytes))?;
    }
    Ok(shown)
}

/// Width of the column of names.
const NAME: usize = 28;

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

/// Nothing is missing and nothing is left over.
fn complete(suite: &Suite) -> Result<(), Failed> {
    let wanted: BTreeSet<String> = WANTED.iter().map(|name| (*name).to_owned()).collect();
    let others = OTHERS
        .iter()
        .flat_map(|profile| WANTED.map(|name| format!("{}-{name}", profile.name)));
    let wanted_files: BTreeSet<String> = wanted.iter().cloned().chain(others).collect();
    let cases: BTreeSet<String> = goldens(suite).map(|case| short(case).to_owned()).collect();
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(root().join(SNAPSHOTS))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // An unreviewed `.snap.new` is the business of the trial that wrote it.
        files.extend(name.strip_suffix(".snap").map(str::to_owned));
    }
    for (what, found, wanted) in [("cases", &cases, &wanted), ("snapshots", &files, &wanted_files)] {
        if found != wanted {
            let missing: Vec<_> = wanted.difference(found).collect();
            let surplus: Vec<_> = found.difference(wanted).collect();
            return Err(format!("{what} missing: {missing:?}, without a place here: {surplus:?}").into());
        }
    }
    Ok(())
}

fn kvm_agrees(suite: &Suite, kernel: &Kernel) -> Result<(), Failed> {
    let cases: Vec<&Case> = goldens(suite).collect();
    let scenarios: Vec<Scenario> = cases.iter().map(|case| case.scenario.clone()).collect();
    let runs = kernel.run(&scenarios, RunOptions::default())?;
    let mut failures = String::new();
    for (case, run) in cases.into_iter().zip(&runs) {
        match compare(case, run, suite, &kernel.identity) {
            Ok(remark) => println!("{} {}: {remark}", kernel.identity.name, short(case)),
            Err(failure) => failures += &format!("{}: {failure}\n", case.name),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.into())
    }
}

/// The run must be right, and the area byte for byte that of the model, with the defects on
/// by which the run is a known deviation.
fn compare(case: &Case, run: &Run, suite: &Suite, identity: &Identity) -> Result<&'static str, String> {
    let verdict = judge_run(
        case,
        identity,
        Mode::Normal,
        &suite.deviations,
        DefectSet::NONE,
        &run.clone().into(),
    );
    let (defects, remark) = match &verdict {
        Verdict::Conforms => (DefectSet::NONE, "the golden, byte for byte"),
        Verdict::KnownDeviation(deviations) => {
            let defects = deviations.iter().flat_map(|deviation| &deviation.defects);
            let remark = "known deviation, byte for byte the area of the model with it";
            (defects.copied().collect(), remark)
        }
        _ => {
            let judgement = Judgement {
                case: &case.name,
                target: &identity.name,
                verdict,
                transcript: None,
            };
            let mut message = String::new();
            text::write(&mut message, &judgement).map_err(|error| error.to_string())?;
            return Err(message);
        }
    };
    let Run::Done(transcript) = run else {
        return Err("judged without a transcript".to_owned());
    };
    let (_, seen) = area_of(transcript).ok_or("it never stopped in SMM")?;
    let area = model_area(case, &KVM_SVM, defects)
        .map_err(|error| error.message().unwrap_or_default().to_owned())?;
    let differences = area.differences(layout(&case.scenario, &KVM_SVM), seen);
    if differences.is_empty() {
        Ok(remark)
    } else {
        Err(format!(
            "judged alike, but the bytes of the area differ\n{differences}"
        ))
    }
}
