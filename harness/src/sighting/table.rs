//! The findings as tables for the README, counted and not typed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{SeenRun, Sightings};
use crate::deviation::{Deviation, Owner};
use crate::target::{Backend, Mode};

/// What stands before and behind a table in a text, with the name of the section in the place of `{}`.
pub const MARKERS: (&str, &str) = ("<!-- begin {} -->\n", "<!-- end {} -->\n");

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// How many deviations are whose.
    Owners,
    /// What the cases say about each target.
    Targets,
    /// KVM's own on x86, on a processor with virtualization.
    KvmX86,
    /// KVM's own on arm64.
    KvmArm64,
    /// Those of the software backend alone.
    Pvm,
}

impl Section {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Owners,
        Self::Targets,
        Self::KvmX86,
        Self::KvmArm64,
        Self::Pvm,
    ];

    /// Its name between the markers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owners => "findings by owner",
            Self::Targets => "findings by target",
            Self::KvmX86 => "findings of KVM on x86",
            Self::KvmArm64 => "findings of KVM on arm64",
            Self::Pvm => "findings of the software backend",
        }
    }

    /// The table.
    #[must_use]
    pub fn render(self, sightings: &Sightings, deviations: &[Deviation]) -> String {
        match self {
            Self::Owners => owners(sightings, deviations),
            Self::Targets => targets(sightings),
            Self::KvmX86 | Self::KvmArm64 | Self::Pvm => {
                let of_section = deviations.iter().filter(|one| section_of(one) == Some(self));
                findings(sightings, of_section)
            }
        }
    }
}

/// The table of findings in which a deviation stands: those of the emulator and of Xen stand in none.
fn section_of(deviation: &Deviation) -> Option<Section> {
    if deviation.owner() != Owner::Kvm {
        return None;
    }
    let backends: Vec<Backend> = deviation
        .targets
        .iter()
        .chain(&deviation.expected)
        .copied()
        .collect();
    let only = |all: &[Backend]| backends.iter().all(|backend| all.contains(backend));
    Some(if only(&[Backend::Arm64Nvhe, Backend::Arm64Vhe]) {
        Section::KvmArm64
    } else if only(&[Backend::Pvm]) {
        Section::Pvm
    } else {
        Section::KvmX86
    })
}

/// The same text with every table written anew that it has markers for.
#[must_use]
pub fn rendered_in(text: &str, sightings: &Sightings, deviations: &[Deviation]) -> String {
    let mut text = text.to_owned();
    for section in Section::ALL {
        let marker = |form: &str| form.replace("{}", section.name());
        let (begin, end) = (marker(MARKERS.0), marker(MARKERS.1));
        let Some((before, rest)) = text.split_once(&begin) else {
            continue;
        };
        let Some((_, after)) = rest.split_once(&end) else {
            continue;
        };
        let table = section.render(sightings, deviations);
        text = format!("{before}{begin}{table}{end}{after}");
    }
    text
}

fn owners(sightings: &Sightings, deviations: &[Deviation]) -> String {
    let mut out = String::from(
        "| whose | listed | seen | expected on further backends, by reading |\n|---|---|---|---|\n",
    );
    type Belongs = fn(&Deviation) -> bool;
    let rows: [(&str, Belongs); 5] = [
        ("KVM's on x86", |one| section_of(one) == Some(Section::KvmX86)),
        ("KVM's on arm64", |one| section_of(one) == Some(Section::KvmArm64)),
        ("the software backend's (PVM) alone", |one| {
            section_of(one) == Some(Section::Pvm)
        }),
        ("Xen's", |one| one.owner() == Owner::Xen),
        ("the emulated processor's (QEMU)", |one| {
            one.owner() == Owner::Emulator
        }),
    ];
    for (whose, belongs) in rows {
        let own: Vec<&Deviation> = deviations.iter().filter(|one| belongs(one)).collect();
        let seen = own
            .iter()
            .filter(|one| sightings.seen.contains_key(&one.name()))
            .count();
        let expected = own.iter().filter(|one| !one.expected.is_empty()).count();
        // Writing to a string does not fail.
        let _ = writeln!(out, "| {whose} | {} | {seen} | {expected} |", own.len());
    }
    out
}

fn targets(sightings: &Sightings) -> String {
    let mut out = String::from(
        "| run | version | emulator | cases judged | deviate: the hypervisor's | the emulator's | both |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, run) in &sightings.runs {
        let emulator = run.emulator.as_deref().unwrap_or("none");
        let emulator = emulator.split(" (").next().unwrap_or(emulator);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| `{name}` | {} | {emulator} | {} | {} | {} | {} |",
            run.version(),
            run.cases,
            run.of_hypervisor,
            run.of_emulator,
            run.of_both
        );
    }
    out
}

fn findings<'d>(sightings: &Sightings, deviations: impl Iterator<Item = &'d Deviation>) -> String {
    let mut out = String::from("| finding | seen on | requirement | upstream |\n|---|---|---|---|\n");
    for deviation in deviations {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| [{}](cases/deviations/{}.yaml) | {} | {} | {} |",
            deviation.title,
            deviation.name(),
            seen_on(sightings, deviation),
            deviation.requirement.id,
            deviation.upstream.status.name()
        );
    }
    out
}

/// The versions on which it was seen, and what is peculiar to the runs that showed it.
#[must_use]
pub fn seen_on(sightings: &Sightings, deviation: &Deviation) -> String {
    let runs: Vec<&SeenRun> = sightings
        .seen
        .get(&deviation.name())
        .into_iter()
        .flatten()
        .filter_map(|(run, _)| sightings.runs.get(run))
        .collect();
    if runs.is_empty() {
        return "nothing".to_owned();
    }
    let mut by_series: BTreeMap<(u32, u32), BTreeSet<String>> = BTreeMap::new();
    for run in &runs {
        let version = run.version();
        by_series.entry(series(&version)).or_default().insert(version);
    }
    let mut text = by_series
        .values()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if runs.iter().all(|run| run.backend == Backend::SvmNpt0) {
        text += "; without nested paging";
    }
    if runs.iter().all(|run| run.mode != Mode::Normal) {
        text += "; when state is put back";
    }
    text
}

fn series(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

impl SeenRun {
    /// The upstream version of the kernel, or Xen's. Debian says it in `uname -v` alone.
    #[must_use]
    pub fn version(&self) -> String {
        let numbers = |text: &str| {
            let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
            text.get(..end.unwrap_or(text.len())).unwrap_or(text).to_owned()
        };
        match self.build.split_once("Debian ") {
            Some((_, upstream)) if self.backend != Backend::XenPv => numbers(upstream),
            _ => numbers(&self.kernel),
        }
    }
}
