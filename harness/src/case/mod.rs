//! Case files: one fact each, written by a person, read into a [`Scenario`] and what must
//! be seen when it runs.
//!
//! `cases/README.md` is the reference of the syntax. Reading goes through four stages, and
//! each goes on after a mistake as far as it can, so that one look shows all mistakes of a
//! file: YAML to a tree with positions (`tree`), the tree against the JSON Schema
//! (`schema`), which puts stand-ins where something is wrong, the tree to Rust types (`document`, `syntax`, `value`), the types to a
//! scenario (`code`, `machine`, `memory`, `host`, `observe`).

mod apic;
mod chipset;
mod claim;
mod code;
mod declared;
mod document;
mod expectation;
mod folder;
mod host;
mod machine;
mod memory;
mod mistake;
mod observation;
mod observe;
mod preset;
mod print;
mod profiles;
mod raise;
mod reach;
mod refused;
mod resolve;
mod schema;
mod stage2;
mod syntax;
mod tree;
mod value;
mod xen_pv;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use spec_model::profile::{KVM_SVM, Profile};
use spec_model::requirement::{self, Requirement};
use spec_model::scenario::{Cpuid, Limits, Observe, Point, PointKind, Scenario, Watch};

pub use claim::{Claim, PointClaim};
pub use expectation::{
    AllowedValue, ENDS, Expectations, FieldExpectation, ObservedField, PathStep, RefusalExpectation,
    StepExpectation, StepFact, errno_name,
};
pub use folder::{BadFile, CaseFolder, load_folder, wrong_ending};
pub use mistake::{Mistake, Position};
pub use print::print;
pub use schema::{case_schema, stage2_schema};

use crate::target::Mode as RunMode;
use code::Code;
use document::{Entries, Misfit};
use mistake::Mistakes;
use resolve::Resolver;
use syntax::{CaseFile, LimitsEntry, Mode, ObserveName, PointEntry, WatchEntry};

use tree::{Node, Value};

/// Number of processors where the file gives one that cannot be used.
const STAND_IN_VCPUS: u8 = 16;

/// A conformance case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Area and fact, for instance `nmi/iret-in-smm-unmasks`.
    pub name: String,
    /// The fact in one sentence.
    pub title: String,
    /// The requirements that it checks.
    pub checks: Vec<&'static Requirement>,
    /// The implementations for which the expectations hold; every KVM if there are none.
    pub profiles: Vec<&'static Profile>,
    /// What runs.
    pub scenario: Scenario,
    /// What must be seen.
    pub expectations: Expectations,
    /// What must hold for every schedule.
    pub explore: Option<Claim>,
    /// The file that it was read from.
    pub file: PathBuf,
}

impl Case {
    /// Reads one case file. Its name is the names of its folder and file.
    ///
    /// # Errors
    /// All mistakes of the file, in their order.
    pub fn load(file: &Path) -> Result<Self, Vec<Mistake>> {
        if let Some(mistake) = wrong_ending(file) {
            return Err(vec![mistake]);
        }
        let full = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let area = full.parent().and_then(Path::file_name);
        let stem = full.file_stem().unwrap_or_default().to_string_lossy();
        let name = match area {
            Some(area) => format!("{}/{stem}", area.to_string_lossy()),
            None => stem.into_owned(),
        };
        Self::load_as(name, file)
    }

    /// Makes the host look at no more than this in a run of that mode. Whoever saves the state at
    /// every point has looked at it; a case that itself is about the ends cannot be run so.
    pub fn observe_at_most(&mut self, observe: Observe, mode: RunMode) {
        if self.scenario.stage2.is_none() && mode == RunMode::Normal {
            self.scenario.observe = self.scenario.observe.max(observe);
        }
    }

    /// Reads one case file under a name that is known already.
    fn load_as(name: String, file: &Path) -> Result<Self, Vec<Mistake>> {
        match std::fs::read(file) {
            Ok(bytes) => Self::parse(name, file, &bytes),
            Err(error) => {
                let mut mistakes = Mistakes::new(file);
                let remedy = "check that it exists and that you may read it";
                mistakes.add(Position::START, format!("cannot read the file: {error}"), remedy);
                Err(mistakes.into_list())
            }
        }
    }

    /// Reads the contents of a case file. `file` is for messages only.
    ///
    /// # Errors
    /// All mistakes of the file, in their order.
    pub fn parse(name: String, file: &Path, bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::new(file);
        let case = read(name, file, bytes, &mut mistakes);
        match case {
            Some(case) if mistakes.is_empty() => Ok(case),
            _ => Err(mistakes.into_list()),
        }
    }
}

fn read(name: String, file: &Path, bytes: &[u8], mistakes: &mut Mistakes) -> Option<Case> {
    let source = text(bytes, mistakes)?;
    let tree = tree::parse(source, mistakes)?;
    let is_stage2 = matches!(&tree.value, Value::Map(map) if map.iter().any(|(key, _)| key.text == "steps"));
    if is_stage2 {
        return stage2::read(name, file, &tree, mistakes);
    }
    let tree = schema::check(&tree, mistakes);
    match CaseFile::deserialize(&tree) {
        Ok(written) => Some(build(name, file, source, &tree, written, mistakes)),
        Err(Misfit { at, message }) => {
            mistakes.add(
                at.unwrap_or(tree.at),
                message,
                "see the reference in cases/README.md",
            );
            None
        }
    }
}

/// What YAML has and the files of a suite do not: anchors, aliases, tags and merge keys, with
/// their places.
#[must_use]
pub fn unread_yaml(file: &Path, source: &str) -> Vec<Mistake> {
    let mut mistakes = Mistakes::new(file);
    tree::refuse_unread(source, &mut mistakes);
    mistakes.into_list()
}

/// The file as text.
fn text<'b>(bytes: &'b [u8], mistakes: &mut Mistakes) -> Option<&'b str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let line_start = valid.rfind('\n').map_or(0, |newline| newline + 1);
            let at = Position {
                line: valid.matches('\n').count() + 1,
                column: valid.get(line_start..).unwrap_or_default().chars().count() + 1,
            };
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            mistakes.add(
                at,
                format!("the byte {byte:#04x} is not UTF-8"),
                "save the file in UTF-8",
            );
            None
        }
    }
}

/// Makes a case of a file whose structure is right. Meaning is checked here.
fn build(
    name: String,
    file: &Path,
    source: &str,
    tree: &Node,
    mut written: CaseFile,
    mistakes: &mut Mistakes,
) -> Case {
    let mode_known = mistakes.trusts(written.machine.mode.at);
    if !mode_known {
        let bare = written.code.0.is_empty() && !written.points.0.is_empty();
        let guess = if bare {
            Mode::Bare
        } else {
            written.machine.mode.value
        };
        written.machine.mode.value = code::likely_mode(&written.code, guess);
    }
    let written = &written;
    let mode = written.machine.mode.value;
    check_texts(written, mode, tree, mistakes);
    let vcpus = written.machine.vcpus.as_ref();
    let vcpus_known = vcpus.is_none_or(|vcpus| vcpus.value != 0 && mistakes.trusts(vcpus.at));
    let vcpus = match vcpus {
        Some(vcpus) if vcpus_known => vcpus.value,
        Some(_) => STAND_IN_VCPUS,
        None => 1,
    };
    if let Some(vcpus) = written.machine.vcpus.as_ref().filter(|vcpus| vcpus.value == 0) {
        mistakes.add(vcpus.at, "a machine without processors", "write 1 or more");
    }
    // Without any code one mistake is enough: that `start` is missing.
    let code_lost = is_lost(tree, "code") || (mode != Mode::Bare && written.code.0.is_empty());
    let mut code = code::assemble(&written.code, mode, vcpus, source, code_lost, mistakes);
    let code_at = key_position(tree, "code");
    if mode != Mode::Bare && !is_lost(tree, "code") {
        let needed = if vcpus_known { vcpus } else { 1 };
        code::check_entries(&code, needed, code_at, mistakes);
    }
    let labels = code.labels.clone();
    let mut resolver = Resolver {
        mistakes,
        labels,
        vcpus,
        vcpus_known,
        mode_known,
    };
    declare_points(&written.points, mode, &mut code, &mut resolver);

    let long_mode = written
        .machine
        .long_mode_cpuid
        .as_ref()
        .is_none_or(|cpuid| cpuid.value);
    let cpuid = Cpuid {
        long_mode,
        shadow_stack: written.machine.shadow_stack_cpuid.unwrap_or(false),
        bus_lock: written.machine.bus_lock_cpuid.unwrap_or(false),
    };
    let profiles = profiles::profiles(&written.profiles, mode, resolver.mistakes);
    let layout = profiles.first().unwrap_or(&&KVM_SVM).layout(cpuid);
    let watches = watches(&written.watch, &mut resolver);
    let tables = machine::tables(&written.machine, &code, &mut resolver);
    let mut vcpus = machine::vcpus(&written.machine, &code, tables.task_state.limit, &mut resolver);
    if let Some(state) = vcpus.first_mut().filter(|_| mode == Mode::XenPv) {
        xen_pv::complete(state, &tables, &code);
    }
    let blobs = preset::tables(mode, &tables, written.machine.apic.is_some());
    let chipset = chipset::chipset(written.machine.chipset.as_ref(), &mut resolver);
    let extended = if mode == Mode::XenPv {
        Some(preset::HYPERVISOR_MEMORY)
    } else {
        chipset::extended_memory(&written.machine, chipset.as_ref())
    };
    let memory = memory::memory(&written.machine, extended, &code, &blobs, &mut resolver);
    let points = host::Points {
        points: &code.points,
        names: &code.point_names,
    };
    let events = host::events(&written.host, &points, layout, &mut resolver);
    let schedule = written
        .schedule
        .iter()
        .filter_map(|vcpu| resolver.vcpu(vcpu))
        .collect();
    let observable = observe::Observable {
        points: &code.points,
        names: &code.point_names,
        watches: &watches,
        layout,
        watches_known: !is_lost(tree, "watch"),
    };
    let mut expectations = observe::expectations(
        written.path.as_ref(),
        &written.expect,
        &written.host,
        &observable,
        &mut resolver,
    );
    expectations.refusals = refused::refusals(written, &mut resolver);
    let explore = written
        .explore
        .as_ref()
        .map(|explore| claim::claim(explore, &observable, &mut resolver));
    let scenario = Scenario {
        name: name.clone(),
        cpuid,
        memory,
        vcpus,
        points: code.points,
        events,
        schedule,
        observe: match written.observe {
            None | Some(ObserveName::Points) => Observe::Points,
            Some(ObserveName::Ends) => Observe::Ends,
        },
        limits: limits(written.limits.as_ref()),
        watches,
        chipset,
        stage2: None,
    };
    observe::check_looked_at(&written.expect, &expectations.paths, &scenario, mistakes);
    if scenario.observe == Observe::Ends && explore.is_some() {
        mistakes.add(
            key_position(tree, "explore"),
            "`explore` is about what is observed at points, and with `observe: ends` nothing is",
            "remove one of them",
        );
    }
    profiles::check_rows(&written.profiles, &profiles, &scenario, &expectations, mistakes);
    let checks = written
        .checks
        .iter()
        .filter_map(|id| requirement::find(&id.value.text));
    Case {
        name,
        title: written.title.value.trim().to_owned(),
        checks: checks.collect(),
        profiles,
        scenario,
        expectations,
        explore,
        file: file.to_owned(),
    }
}

/// Title, requirements and path.
fn check_texts(written: &CaseFile, mode: Mode, tree: &Node, mistakes: &mut Mistakes) {
    if written.title.value.trim().is_empty() {
        mistakes.add(
            written.title.at,
            "the title is empty",
            "say the fact in one sentence",
        );
    }
    for (index, id) in written.checks.iter().enumerate() {
        let earlier = written.checks.iter().take(index);
        let mut sound = earlier.filter(|other| mistakes.trusts(other.at));
        if sound.any(|other| other.value.text == id.value.text) {
            mistakes.add(
                id.at,
                format!("`{}` is given twice", id.value.text),
                "keep one of them",
            );
        }
    }
    if mode == Mode::Bare {
        return;
    }
    if written.checks.is_empty() && !is_lost(tree, "checks") {
        let remedy = "add `checks: [..]` with the ids of the requirements that the case checks";
        mistakes.add(key_position(tree, "checks"), "no requirement is checked", remedy);
    }
    if written.path.is_none() && written.explore.is_none() && written.refused.is_none() {
        let remedy = "add the points in their order and the end, such as `path: [before, halted]`";
        mistakes.add(tree.at, "`path` is missing", remedy);
    }
}

/// Whether a key of the top level is there with a value that cannot be used.
fn is_lost(tree: &Node, name: &str) -> bool {
    let Value::Map(map) = &tree.value else {
        return true;
    };
    map.iter()
        .any(|(key, node)| key.text == name && node.at == Position::NOWHERE)
}

/// Where a key of the top level stands; the beginning if it does not.
fn key_position(tree: &Node, name: &str) -> Position {
    let Value::Map(map) = &tree.value else {
        return tree.at;
    };
    let key = map.iter().find(|(key, _)| key.text == name);
    key.map_or(tree.at, |(key, _)| key.at)
}

/// Points that mode `bare` declares without code.
fn declare_points(points: &Entries<PointEntry>, mode: Mode, code: &mut Code, resolver: &mut Resolver<'_>) {
    for (name, entry) in &points.0 {
        if mode != Mode::Bare && resolver.mode_known {
            resolver.mistakes.add(
                name.at,
                "`points` means nothing in this mode",
                "declare points in the code, with `sync` and `halt`",
            );
            return;
        }
        if crate::judge::stop::end(&name.value).is_some() {
            let what = format!("`{}` is not free as the name of a point", name.value);
            let remedy = "choose another name: this one says how a run ends";
            resolver.mistakes.add(name.at, what, remedy);
        }
        if !code.point_names.names.insert(name.value.clone()) {
            let what = format!("point `{}` is declared by the code already", name.value);
            resolver.mistakes.add(name.at, what, "keep one of them");
        }
        let resume = entry
            .halt
            .as_ref()
            .map(|halt| resolver.number(halt, 64, "a linear address"));
        code.points.push(Point {
            name: name.value.clone(),
            kind: match resume {
                None => PointKind::Sync,
                Some(resume) => PointKind::Halt {
                    resume: resume.unwrap_or_default(),
                },
            },
        });
    }
}

fn watches(entries: &Entries<WatchEntry>, resolver: &mut Resolver<'_>) -> Vec<Watch> {
    let mut watches = Vec::new();
    for (name, entry) in &entries.0 {
        let address = resolver.number(&entry.address, 64, "a guest-physical address");
        let length = resolver.number(&entry.length, 16, "the length of a watch");
        if length == Some(0) {
            let remedy = "write how many bytes to record";
            resolver
                .mistakes
                .add(entry.length.at, "a watch of 0 bytes", remedy);
        }
        watches.push(Watch {
            name: name.value.clone(),
            address: address.unwrap_or_default(),
            length: length
                .and_then(|length| u32::try_from(length).ok())
                .unwrap_or_default(),
            smm: entry.smm.unwrap_or(false),
        });
    }
    watches
}

fn limits(written: Option<&LimitsEntry>) -> Limits {
    let default = Limits::default();
    Limits {
        observations: written
            .and_then(|limits| limits.observations)
            .unwrap_or(default.observations),
        instructions: written
            .and_then(|limits| limits.instructions)
            .unwrap_or(default.instructions),
    }
}
