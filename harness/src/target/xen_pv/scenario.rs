//! One scenario in a booted guest.

use std::sync::atomic::AtomicBool;

use spec_model::scenario::{Action, Blob, HostEvent, Observe, PointId, PointKind, SYNC_PORT, Scenario};
use spec_model::transcript::{Observation, STACK_SLOTS, Stop, Transcript};
use spec_model::x86::control::flag;
use spec_model::x86::field::Field;
use spec_model::x86::segment::SegmentName;
use spec_model::x86::state::VcpuState;
use spec_model::x86::xen_pv::{HYPERVISOR_MEMORY, XenPv, flat_segment};

use super::debugger::Registers;
use super::guest::{Guest, GuestError, PAGE, Ran};
use super::privileged::DebugRegisters;
use super::settings::{Bases, TrapEntry};

/// First byte of OUT to an immediate port, and the whole of HLT.
const OUT: u8 = 0xe6;
const HLT: u8 = 0xf4;
const OUT_LENGTH: u64 = 2;
const HLT_LENGTH: u64 = 1;
/// Rights in an entry of a page table.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
/// Entries of a page table.
const ENTRIES: u64 = 512;

/// Why the guest cannot run a scenario, if it cannot.
pub(super) fn unsupported(scenario: &Scenario) -> Option<String> {
    let [state] = scenario.vcpus.as_slice() else {
        return Some("the guest of Xen has one processor here".to_owned());
    };
    let settable = |field: &str| {
        let is_general = Field::named(field).is_some() && field.starts_with('r') && field != "rflags";
        is_general || matches!(field, "rflags" | "xen.upcall-mask")
    };
    for action in scenario.events.iter().flat_map(|event| &event.actions) {
        match action {
            Action::WriteMemory { smm: false, .. } => {}
            Action::SetField { field, .. } if settable(field) => {}
            _ => return Some(format!("a guest of Xen cannot be given {action:?} from outside")),
        }
    }
    let flat = |name: &SegmentName| {
        let segment = state.segment(*name);
        let base = if matches!(name, SegmentName::Fs | SegmentName::Gs) {
            segment.base
        } else {
            0
        };
        flat_segment(segment.selector).is_some_and(|mut flat| {
            flat.base = base;
            flat == *segment
        })
    };
    let odd = SegmentName::LOADABLE.iter().find(|name| !flat(name))?;
    Some(format!(
        "{odd:?} cannot be set from outside to anything but Xen's own segments"
    ))
}

/// What became of a scenario.
pub(super) struct Finished {
    pub transcript: Transcript,
    /// Whether the guest can run another one.
    pub usable: bool,
}

/// The guest's memory as scenarios know it, from address 0, and the pages that differ from what Xen
/// has set up.
#[derive(Default)]
pub(super) struct Left {
    memory: Option<Vec<u8>>,
    pages: Vec<u64>,
    callback: u64,
}

/// Runs a scenario in a guest that another may have used before.
pub(super) fn run(
    guest: &mut Guest,
    scenario: &Scenario,
    left: &mut Left,
    stop: &AtomicBool,
) -> Result<Finished, GuestError> {
    let mut state = scenario.vcpus.first().cloned().unwrap_or_default();
    let xen = state.xen_pv.as_deref().cloned().unwrap_or_default();
    let image = image(scenario);
    prepare(guest, scenario, &state, &xen, &image, left)?;
    let stops = stops(scenario);
    for address in &stops {
        guest.set_breakpoint(*address)?;
    }
    resume(guest, &state)?;
    let mut observations = Vec::new();
    let mut reached = vec![0; scenario.points.len()];
    let usable = loop {
        let (mut what, mut seen) = match guest.run(stop)? {
            Ran::Stopped => match stopped(guest, scenario, &state)? {
                Some((what, seen)) => (what, Some(seen)),
                None => continue,
            },
            Ran::Crashed => (Stop::Shutdown, None),
            Ran::Stuck => (Stop::Stuck, None),
        };
        if observations.len() + 1 >= scenario.limits.observations as usize {
            what = Stop::LimitReached;
        }
        let unobserved = scenario.observe == Observe::Ends && what.is_at_point();
        observations.push(observe(
            guest,
            scenario,
            what,
            seen.as_ref().filter(|_| !unobserved),
        )?);
        let Some(seen) = seen.as_mut() else {
            break false;
        };
        let Stop::Sync(point) = what else { break true };
        act(guest, scenario, point, &mut reached, seen)?;
        state.clone_from(seen);
        resume(guest, &state)?;
    };
    let memory = guest.read(0, image.len())?;
    let transcript = Transcript {
        observations,
        memory_changes: changes(&image, &memory),
        smm_memory_changes: Vec::new(),
        remains: Vec::new(),
        stage2: None,
        state_faults: Vec::new(),
    };
    left.memory = Some(memory);
    for address in stops {
        guest.remove_breakpoint(address)?;
    }
    Ok(Finished { transcript, usable })
}

/// Brings a guest into the state in which the scenario starts, up to its registers.
fn prepare(
    guest: &mut Guest,
    scenario: &Scenario,
    state: &VcpuState,
    xen: &XenPv,
    image: &[u8],
    left: &mut Left,
) -> Result<(), GuestError> {
    if guest.leave_program(left.callback)? {
        // The frame of that went somewhere into the memory.
        left.memory = None;
    }
    guest.disarm()?;
    for page in left.pages.drain(..) {
        guest.map(page, Some(true))?;
    }
    let before = match left.memory.take() {
        Some(memory) if memory.len() == image.len() => memory,
        _ => guest.read(0, image.len())?,
    };
    for (number, (new, old)) in (0..).zip(image.chunks(PAGE as usize).zip(before.chunks(PAGE as usize))) {
        if new != old {
            guest.write(number * PAGE, new)?;
        }
    }
    for (page, writable) in changed_pages(scenario, state.cr3) {
        guest.map(page, writable)?;
        left.pages.push(page);
    }
    let entry = |trap: &spec_model::x86::xen_pv::Trap| TrapEntry {
        vector: trap.vector,
        flags: trap.dpl | if trap.masks_events { 4 } else { 0 },
        address: trap.address,
    };
    let traps: Vec<TrapEntry> = xen.traps.iter().map(entry).collect();
    guest.set_traps(&traps)?;
    guest.set_kernel_stack(xen.kernel_stack)?;
    guest.set_syscall_callback(xen.syscall_callback)?;
    left.callback = xen.syscall_callback;
    let (current, other) = (state.segment(SegmentName::Gs).base, state.kernel_gs_base);
    let (gs_of_kernel, gs_of_programs) = if xen.kernel_mode {
        (current, other)
    } else {
        (other, current)
    };
    guest.set_bases(Bases {
        fs: state.segment(SegmentName::Fs).base,
        gs_of_programs,
        gs_of_kernel,
    })?;
    guest.set_cr2(state.cr2)?;
    guest.set_debug_registers(DebugRegisters {
        addresses: state.debug_address,
        status: state.dr6,
        control: state.dr7,
    })?;
    if !xen.kernel_mode {
        guest.enter_program()?;
    }
    guest.set_event_mask(xen.upcall_mask)
}

/// Gives the guest what the host can set at any time.
fn resume(guest: &mut Guest, state: &VcpuState) -> Result<(), GuestError> {
    let registers = guest.registers()?;
    guest.set_registers(&Registers {
        general: state.general,
        rip: state.rip,
        rflags: state.rflags,
        ..registers
    })
}

/// What the breakpoint is at which the guest stands, and the state with that instruction complete;
/// nothing if it is none of the scenario's.
fn stopped(
    guest: &mut Guest,
    scenario: &Scenario,
    constant: &VcpuState,
) -> Result<Option<(Stop, VcpuState)>, GuestError> {
    let registers = guest.registers()?;
    let instruction = match guest.read(registers.rip, 2) {
        Ok(bytes) => bytes,
        Err(GuestError::NoMemory(_)) => return Err(GuestError::Lost("a breakpoint outside its memory")),
        Err(error) => return Err(error),
    };
    let (what, length) = match instruction.as_slice() {
        [OUT, port] => match sync_point(scenario, *port) {
            Some(point) => (Stop::Sync(point), OUT_LENGTH),
            None => return Err(GuestError::Lost("a port that is no sync point")),
        },
        [HLT, _] if guest.is_kernel(&registers) => {
            let resume = registers.rip.wrapping_add(HLT_LENGTH);
            let is_here = |kind: PointKind| kind == PointKind::Halt { resume };
            let position = scenario.points.iter().position(|point| is_here(point.kind));
            let point = position.and_then(|point| u16::try_from(point).ok()).map(PointId);
            (Stop::Halted(point), HLT_LENGTH)
        }
        [HLT, _] => {
            // That of a program is for Xen to deal with.
            guest.remove_breakpoint(registers.rip)?;
            return Ok(None);
        }
        _ => return Err(GuestError::Lost("a call of Xen that the case does not expect")),
    };
    let observes = scenario.observe == Observe::Points || !what.is_at_point();
    let mut state = state_of(guest, &registers, constant, observes)?;
    state.rip = state.rip.wrapping_add(length);
    state.rflags &= !flag::RF;
    Ok(Some((what, state)))
}

/// The state of the guest. What no guest can see or change is as it was.
fn state_of(
    guest: &mut Guest,
    registers: &Registers,
    constant: &VcpuState,
    observes: bool,
) -> Result<VcpuState, GuestError> {
    let (upcall_mask, cr2) = guest.event_mask_and_cr2()?;
    let mut state = constant.clone();
    state.general = registers.general;
    state.rip = registers.rip;
    state.rflags = registers.rflags;
    for (name, selector) in SegmentName::LOADABLE.into_iter().zip(registers.selectors) {
        let segment = flat_segment(selector);
        let mut segment = segment.ok_or(GuestError::Lost("a segment that is not one of Xen's"))?;
        match name {
            SegmentName::Fs => segment.base = registers.fs_base,
            SegmentName::Gs => segment.base = registers.gs_base,
            _ => {}
        }
        *state.segment_mut(name) = segment;
    }
    state.kernel_gs_base = registers.kernel_gs_base;
    state.cr2 = cr2;
    let kernel_mode = guest.is_kernel(registers);
    if kernel_mode && observes {
        let debug = guest.debug_registers(registers)?;
        state.debug_address = debug.addresses;
        (state.dr6, state.dr7) = (debug.status, debug.control);
    }
    if let Some(xen) = state.xen_pv.as_deref_mut() {
        xen.kernel_mode = kernel_mode;
        xen.upcall_mask = upcall_mask;
    }
    Ok(state)
}

fn observe(
    guest: &mut Guest,
    scenario: &Scenario,
    stop: Stop,
    state: Option<&VcpuState>,
) -> Result<Observation, GuestError> {
    let size = memory_size(scenario);
    let mut read = |address: u64, length: usize| {
        let end = address.checked_add(length as u64);
        if end.is_some_and(|end| end <= size) {
            guest.read(address, length)
        } else {
            Ok(Vec::new())
        }
    };
    let stack = match state {
        Some(state) => read(state.stack_top(), STACK_SLOTS * 8)?,
        None => Vec::new(),
    };
    let slot = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    let mut watches = Vec::new();
    for watch in &scenario.watches {
        watches.push(read(watch.address, watch.length as usize)?);
    }
    Ok(Observation {
        vcpu: 0,
        stop,
        state: state.map(|state| Box::new(state.clone().observable())),
        stack: stack.chunks(8).map(slot).collect(),
        save_area: None,
        watches,
        accesses: Vec::new(),
    })
}

/// What the host does at a point.
fn act(
    guest: &mut Guest,
    scenario: &Scenario,
    point: PointId,
    reached: &mut [u32],
    state: &mut VcpuState,
) -> Result<(), GuestError> {
    let Some(count) = reached.get_mut(usize::from(point.0)) else {
        return Ok(());
    };
    *count += 1;
    let count = *count;
    let here = |event: &&HostEvent| {
        event.at == point
            && event.occurrence.is_none_or(|occurrence| occurrence == count)
            && event.by.is_none_or(|vcpu| vcpu == 0)
    };
    for action in scenario
        .events
        .iter()
        .filter(here)
        .flat_map(|event| &event.actions)
    {
        match action {
            Action::WriteMemory { address, bytes, .. } => guest.write(*address, bytes)?,
            Action::SetField { field, value, .. } => {
                if let Some(field) = Field::named(field) {
                    field.write(state, *value);
                }
                let masked = state.xen_pv.as_deref().is_some_and(|xen| xen.upcall_mask);
                guest.set_event_mask(masked)?;
            }
            // `unsupported` has refused the rest.
            _ => {}
        }
    }
    Ok(())
}

fn sync_point(scenario: &Scenario, port: u8) -> Option<PointId> {
    let number = u16::from(port.checked_sub(SYNC_PORT)?);
    let point = scenario.points.get(usize::from(number))?;
    (point.kind == PointKind::Sync).then_some(PointId(number))
}

/// Addresses at which the guest may reach a point or HLT: wherever the bytes are those of one. A
/// place that is never executed costs nothing.
fn stops(scenario: &Scenario) -> Vec<u64> {
    let mut stops = Vec::new();
    for blob in guest_blobs(scenario) {
        for (address, bytes) in (blob.address..).zip(blob.bytes.windows(2)) {
            if bytes[0] == OUT && sync_point(scenario, bytes[1]).is_some() || bytes[0] == HLT {
                stops.push(address);
            }
        }
        if blob.bytes.last() == Some(&HLT) {
            stops.push(blob.address + blob.bytes.len() as u64 - 1);
        }
    }
    stops
}

fn guest_blobs(scenario: &Scenario) -> impl Iterator<Item = &Blob> {
    let regions = scenario.memory.iter();
    let own = regions.filter(|region| region.address < HYPERVISOR_MEMORY);
    own.flat_map(|region| &region.contents)
}

/// Size of the guest's memory, which begins at 0, in bytes.
fn memory_size(scenario: &Scenario) -> u64 {
    let regions = scenario.memory.iter();
    let own = regions.filter(|region| region.address < HYPERVISOR_MEMORY);
    own.map(|region| region.address + region.size).max().unwrap_or(0)
}

/// The guest's memory at the start.
fn image(scenario: &Scenario) -> Vec<u8> {
    let mut image = vec![0; usize::try_from(memory_size(scenario)).unwrap_or(0)];
    for blob in guest_blobs(scenario) {
        let start = usize::try_from(blob.address).unwrap_or(usize::MAX);
        let place = image.get_mut(start..start.saturating_add(blob.bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(&blob.bytes);
        }
    }
    image
}

/// Pages of the guest that the scenario's page tables do not map writable, and whether they are mapped
/// at all.
fn changed_pages(scenario: &Scenario, cr3: u64) -> Vec<(u64, Option<bool>)> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let table = (0..3).fold(cr3, |table, _| {
        quad(scenario, table & ADDRESS).unwrap_or_default()
    }) & ADDRESS;
    let entry = |number: u64| quad(scenario, table + number * 8).unwrap_or_default();
    (0..ENTRIES)
        .map(|number| (number * PAGE, entry(number)))
        .filter(|(_, entry)| entry & (PRESENT | WRITABLE) != PRESENT | WRITABLE)
        .map(|(page, entry)| (page, (entry & PRESENT != 0).then_some(false)))
        .collect()
}

/// The quadword that the scenario's memory holds at an address.
fn quad(scenario: &Scenario, address: u64) -> Option<u64> {
    let blobs = scenario.memory.iter().flat_map(|region| &region.contents);
    let bytes = blobs.filter_map(|blob| {
        let offset = usize::try_from(address.checked_sub(blob.address)?).ok()?;
        blob.bytes.get(offset..offset + 8)?.try_into().ok()
    });
    bytes.map(u64::from_le_bytes).next()
}

/// Runs of bytes that differ.
fn changes(before: &[u8], after: &[u8]) -> Vec<Blob> {
    let mut blobs: Vec<Blob> = Vec::new();
    for (address, (old, new)) in (0..).zip(before.iter().zip(after)) {
        if old == new {
            continue;
        }
        match blobs.last_mut() {
            Some(blob) if blob.address + blob.bytes.len() as u64 == address => blob.bytes.push(*new),
            _ => blobs.push(Blob {
                address,
                bytes: vec![*new],
            }),
        }
    }
    blobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_changes_are_one() {
        let blob = |address, bytes: &[u8]| Blob {
            address,
            bytes: bytes.to_vec(),
        };
        let found = changes(&[0, 0, 0, 0, 0], &[1, 2, 0, 0, 3]);
        assert_eq!(found, [blob(0, &[1, 2]), blob(4, &[3])]);
    }
}
