//! Tries out every operation on every kind of guest memory.

use super::device::Device;
use super::effect::{Place, expected, in_memory, words, words_with_registers};
use super::machine::{DATA, End, Machine, Shape};
use super::mapping::Mapping;
use super::watchdog::Watchdog;
use super::{Failure, register};
use crate::target::arm64_operation::{ALL, FETCH, Needs, Operation, READS, RETURN, WRITES};
use crate::target::probe::Probe;

/// What X1 and X2 hold: no byte is 0 or appears twice.
const VALUES: [u64; 2] = [0x8877_6655_4433_2211, 0x1f2e_3d4c_5b6a_7988];
/// What memory holds that is not to be zero.
const BEFORE: [u64; 2] = [0xf1e2_d3c4_b5a6_9788, 0x0102_0408_1020_4080];
/// Bytes of memory that probes look at.
const LOOK: usize = 16;

/// Makes all probes, each in a machine of its own, and hands each result to `told`.
pub(super) fn probe(device: &Device, watchdog: &Watchdog, told: &mut dyn FnMut(Probe)) {
    let mut tell = |what: String, result: Result<(Option<String>, String), Failure>| {
        let (expected, seen) = match result {
            Ok(result) => result,
            Err(failure) => (Some("no failure of the host".to_owned()), failure.to_string()),
        };
        told(Probe { what, expected, seen });
    };
    for translation in [false, true] {
        let result = flash(device, watchdog, translation);
        let how = if translation {
            "with the guest's MMU on"
        } else {
            "with the guest's MMU off"
        };
        tell(
            format!("a load and then a store in a read-only slot over untouched memory, {how}"),
            result,
        );
    }
    for operation in ALL {
        let name = operation.name;
        tell(
            format!("{name} in memory"),
            on_memory(device, watchdog, &operation),
        );
        for (place, what) in [
            (Place::ReadOnly, "in a read-only slot over untouched memory"),
            (Place::Hole, "without memory"),
        ] {
            tell(
                format!("{name} {what}"),
                elsewhere(device, watchdog, &operation, place, false),
            );
        }
        tell(
            format!("{name} in a read-only slot after a load from the same page"),
            elsewhere(device, watchdog, &operation, Place::ReadOnly, true),
        );
    }
}

/// What was reported in 2014: after the load the slot was writable, and the store went to the host's
/// page of zeros.
fn flash(
    device: &Device,
    watchdog: &Watchdog,
    translation: bool,
) -> Result<(Option<String>, String), Failure> {
    let shape = Shape {
        read_only: true,
        translation,
    };
    let mut machine = Machine::new(device, watchdog, shape)?;
    let load = machine.operate(&READS[3], [DATA, VALUES[0], VALUES[1]])?;
    let store = machine.operate(&WRITES[2], [DATA, VALUES[0], VALUES[1]])?;
    let untouched = Mapping::anonymous(LOOK).map_err(|source| Failure::Call { call: "mmap", source })?;
    let line = |load: &str, store: &str, page: &str| {
        format!("load: {load}; store: {store}; a new page of the host: {page}")
    };
    let zero = "0".repeat(2 * LOOK);
    let seen = line(
        &words_with_registers(&load, look(&machine)),
        &words(&store, look(&machine)),
        &untouched
            .bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat(),
    );
    let load_expected = format!("done, memory {zero}, x1 0x0, x2 {:#x}", VALUES[1]);
    let store_expected = expected(&WRITES[2], Place::ReadOnly, VALUES).unwrap_or_default();
    Ok((Some(line(&load_expected, &store_expected, &zero)), seen))
}

fn on_memory(
    device: &Device,
    watchdog: &Watchdog,
    operation: &Operation,
) -> Result<(Option<String>, String), Failure> {
    let shape = Shape {
        read_only: false,
        translation: true,
    };
    let mut machine = Machine::new(device, watchdog, shape)?;
    let mut before = BEFORE;
    if *operation == FETCH {
        before[0] = u64::from(RETURN);
    }
    let bytes = before.map(u64::to_le_bytes).concat();
    if let Some(place) = machine.data.bytes_mut().get_mut(..LOOK) {
        place.copy_from_slice(&bytes);
    }
    let lacks = lacks(&machine, operation)?;
    let outcome = machine.operate(operation, [DATA, VALUES[0], VALUES[1]])?;
    let seen = words_with_registers(&outcome, look(&machine));
    let undefined = || {
        let outcome = super::machine::Outcome {
            end: End::Exception {
                syndrome: 0,
                address: 0,
            },
            exits: Vec::new(),
            registers: [DATA, VALUES[0], VALUES[1], u64::MAX],
        };
        words_with_registers(&outcome, &bytes)
    };
    let expected = if lacks {
        undefined()
    } else {
        in_memory(operation, before, VALUES)
    };
    Ok((Some(expected), seen))
}

fn elsewhere(
    device: &Device,
    watchdog: &Watchdog,
    operation: &Operation,
    place: Place,
    loaded_before: bool,
) -> Result<(Option<String>, String), Failure> {
    let shape = Shape {
        read_only: place == Place::ReadOnly,
        translation: true,
    };
    let mut machine = Machine::new(device, watchdog, shape)?;
    let lacks = lacks(&machine, operation)?;
    if loaded_before {
        machine.operate(&READS[3], [place.address(), 0, 0])?;
    }
    let outcome = machine.operate(operation, [place.address(), VALUES[0], VALUES[1]])?;
    let expected = if lacks {
        let zero = "0".repeat(2 * LOOK);
        Some(format!("undefined instruction, memory {zero}"))
    } else {
        expected(operation, place, VALUES)
    };
    Ok((expected, words(&outcome, look(&machine))))
}

/// Whether the processor has no such instruction.
fn lacks(machine: &Machine, operation: &Operation) -> Result<bool, Failure> {
    let atomic = machine.get(register::ID_AA64ISAR0_EL1)? >> 20 & 0xf;
    Ok(operation.needs == Needs::Lse && atomic < 2)
}

/// The start of the data slot.
fn look<'a>(machine: &'a Machine) -> &'a [u8] {
    machine.data.bytes().get(..LOOK).unwrap_or_default()
}
