//! Compares guest memory at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::outcome::Outcome;
use spec_model::requirement::Requirement;
use spec_model::scenario::{AddressSpace, Blob, Scenario};
use spec_model::transcript::Transcript;
use spec_model::x86::save_area::Row;

use super::CaseView;
use super::cited::Cited;
use super::difference::{Difference, SavedRow, Source, Subject};
use super::stop::Place;
use super::value::Value;

/// Every difference in memory. Bytes of one row of a save area, and neighbouring bytes
/// elsewhere, are one difference.
pub(super) fn compare(case: &CaseView<'_>, outcome: &Outcome, seen: &Transcript) -> Vec<Difference> {
    let allowed = &outcome.transcript;
    let areas = SaveAreas::of(case, outcome, seen);
    let mut differences = Vec::new();
    for (smm, one, two) in [
        (false, &allowed.memory_changes, &seen.memory_changes),
        (true, &allowed.smm_memory_changes, &seen.smm_memory_changes),
    ] {
        if one != two {
            differences.extend(compare_space(case, &areas, smm, one, two));
        }
    }
    differences
}

/// A run of differing bytes.
struct Run {
    address: u64,
    row: Option<(SavedRow, &'static Requirement)>,
    allowed: Vec<u8>,
    seen: Vec<u8>,
}

fn compare_space(
    case: &CaseView<'_>,
    areas: &SaveAreas,
    smm: bool,
    allowed: &[Blob],
    seen: &[Blob],
) -> Vec<Difference> {
    let (allowed, seen) = (bytes_of(allowed), bytes_of(seen));
    let addresses: BTreeSet<u64> = allowed.keys().chain(seen.keys()).copied().collect();
    let mut runs: Vec<Run> = Vec::new();
    for address in addresses {
        // A byte that only one side changed has its initial value on the other.
        let initial = || initial_byte(case.scenario, address, smm);
        let one = allowed.get(&address).copied().unwrap_or_else(initial);
        let two = seen.get(&address).copied().unwrap_or_else(initial);
        let found = areas.row_at(case, address);
        if (one ^ two) & !areas.free_bits(address) == 0 {
            continue;
        }
        let row = found.map(|(row, saved)| (saved, case.layout.requirement(row)));
        match runs.last_mut() {
            Some(run)
                if run.address.wrapping_add(run.seen.len() as u64) == address
                    && run.row.map(|(row, _)| row) == row.map(|(row, _)| row) =>
            {
                run.allowed.push(one);
                run.seen.push(two);
            }
            _ => runs.push(Run {
                address,
                row,
                allowed: vec![one],
                seen: vec![two],
            }),
        }
    }
    runs.into_iter().map(|run| difference(case, smm, run)).collect()
}

fn difference(case: &CaseView<'_>, smm: bool, run: Run) -> Difference {
    Difference {
        case: case.name.to_owned(),
        place: Place::End,
        subject: Subject::Memory {
            address: run.address,
            smm,
            row: run.row.map(|(row, _)| row),
        },
        allowed: vec![Value::Bytes(run.allowed)],
        seen: Value::Bytes(run.seen),
        cited: run
            .row
            .map_or(Cited::NotSought, |(_, requirement)| Cited::one(requirement)),
        source: Source::Model,
    }
}

fn bytes_of(changes: &[Blob]) -> BTreeMap<u64, u8> {
    let each = |blob: &Blob| {
        let address = blob.address;
        let byte = move |(offset, byte): (usize, u8)| (address.wrapping_add(offset as u64), byte);
        blob.bytes.clone().into_iter().enumerate().map(byte)
    };
    changes.iter().flat_map(each).collect()
}

/// What a byte held at the start; 0 where no blob says anything.
fn initial_byte(scenario: &Scenario, address: u64, smm: bool) -> u8 {
    let of_space = |space: AddressSpace| (space == AddressSpace::Smm) == smm;
    let regions = scenario.memory.iter().filter(|region| of_space(region.space));
    let mut blobs = regions.flat_map(|region| &region.contents);
    let byte = blobs.find_map(|blob| {
        let offset = usize::try_from(address.checked_sub(blob.address)?).ok()?;
        blob.bytes.get(offset).copied()
    });
    byte.unwrap_or(0)
}

/// Where state-save areas lie, and what in them may be anything.
struct SaveAreas {
    /// Every SMBASE that any processor had.
    smbases: BTreeSet<u64>,
    /// Free bits by guest-physical address.
    free: BTreeMap<u64, u8>,
}

impl SaveAreas {
    fn of(case: &CaseView<'_>, outcome: &Outcome, seen: &Transcript) -> Self {
        let allowed = &outcome.transcript;
        let observed = allowed.observations.iter().chain(&seen.observations);
        let observed = observed.filter_map(|observation| observation.state.as_deref());
        let states = observed.chain(&case.scenario.vcpus);
        Self {
            smbases: states.map(|state| state.smbase).collect(),
            free: free_bytes(case, outcome),
        }
    }

    fn row_at(&self, case: &CaseView<'_>, address: u64) -> Option<(&'static Row, SavedRow)> {
        self.smbases.iter().find_map(|smbase| {
            let index = address.checked_sub(smbase.checked_add(case.layout.offset())?)?;
            let row = case.layout.row_at(usize::try_from(index).ok()?)?;
            let saved = SavedRow {
                name: row.name,
                offset: row.offset,
                smbase: *smbase,
            };
            Some((row, saved))
        })
    }

    fn free_bits(&self, address: u64) -> u8 {
        self.free.get(&address).copied().unwrap_or(0)
    }
}

/// The bits that allowances leave free in a save area are free in memory too: that is
/// where the area stays when the run is over.
fn free_bytes(case: &CaseView<'_>, outcome: &Outcome) -> BTreeMap<u64, u8> {
    let mut free = BTreeMap::new();
    for allowance in &outcome.allowances {
        let observation = outcome.transcript.observations.get(allowance.observation);
        let state = observation.and_then(|observation| observation.state.as_deref());
        let row = allowance
            .field
            .strip_prefix("save.")
            .and_then(|row| case.layout.row(row));
        let (Some(state), Some(row)) = (state, row) else {
            continue;
        };
        let start = state.smbase.wrapping_add(row.from_smbase());
        let width = usize::from(row.width).min(8);
        for (offset, bits) in allowance.any_bits.to_le_bytes().iter().take(width).enumerate() {
            *free.entry(start.wrapping_add(offset as u64)).or_insert(0) |= bits;
        }
    }
    for observation in &outcome.transcript.observations {
        let Some(state) = observation.state.as_deref().filter(|state| state.events.in_smm) else {
            continue;
        };
        for row in case.layout.rows.iter().filter(|row| case.layout.leaves_open(row)) {
            let start = state.smbase.wrapping_add(row.from_smbase());
            free.extend((0..u64::from(row.width)).map(|byte| (start.wrapping_add(byte), 0xff)));
        }
    }
    free
}
