//! Scenarios about stage-2 mappings: one virtual processor, whose memory slots come and go.
//!
//! The target has a few pages of its own, with the code of `guest`; everything else in guest
//! memory is the scenario's. A virtual machine is used again if the last run ended in order: all
//! slots of the scenario are deleted, and registers are set for each operation anyway.
//!
//! Everything here but `guest` is the same on every architecture: host memory (`area`,
//! `own_memory`), what the host does to it and to slots (`host_side`), also while the guest runs (`spin`), the
//! process that fork makes (`child`) and dirty logs.
//! `guest` has the processor and its machine code, and the same functions in each of its files.

mod area;
mod child;
mod dirty_log;
#[cfg(target_arch = "x86_64")]
mod flat;
#[cfg(target_arch = "x86_64")]
#[path = "x86.rs"]
mod guest;
#[cfg(target_arch = "aarch64")]
#[path = "arm64/mod.rs"]
mod guest;
mod host_side;
mod merging;
mod own_memory;
mod ring;
mod spin;

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileExt;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use spec_model::stage2::scenario::{
    Backing, BackingKind, DirtyLogMode, Fill, GuestStep, HostStep, Operation, PAGE_SIZE, SERVER_PAGE,
    SERVER_PAGES, SERVER_SLOT, Stage2, Step,
};
use spec_model::stage2::transcript::{Change, End, MemoryExit, Stage2Seen, StepSeen};
use spec_model::transcript::Transcript;

use super::device::Device;
use super::failure::Failure;
use super::mapping::Mapping;
use super::second_try;
use super::watchdog::Watchdog;
use crate::target::{Mode, Run, RunOptions};
use area::Area;
use child::Child;
use guest::Guest;
use host_side::{HostSide, done, value};
use ring::Ring;

/// Most accesses of one operation that may reach the host.
const MOST_EXITS: usize = 10_000;
/// Bytes of a page.
const PAGE: usize = PAGE_SIZE as usize;

/// A virtual machine for scenarios about stage-2 mappings. The members are dropped in this order.
pub(super) struct Stage2Machine {
    ring: Option<Ring>,
    guest: Guest,
    vm: VmFd,
    server: Mapping,
    mode: DirtyLogMode,
}

/// What a scenario did, and whether its machine can be used again.
struct Ended {
    seen: Stage2Seen,
    reusable: bool,
}

/// Runs a scenario, in the machine that the last one left if it fits.
///
/// # Errors
/// If the scenario cannot run here, or the host or KVM refuses something that it may not be about.
pub(super) fn run(
    device: &Device,
    watchdog: &Watchdog,
    kept: &mut Option<Stage2Machine>,
    scenario: &Stage2,
    options: RunOptions,
) -> Result<Run, Failure> {
    scenario
        .check()
        .map_err(|error| Failure::BadScenario(error.to_string()))?;
    // A booted kernel is nobody's host.
    let allowed = options.allow_host_risk || std::process::id() == 1;
    if scenario.host_risk && !allowed {
        return Err(Failure::HostRisk);
    }
    if options.mode != Mode::Normal {
        return Err(Failure::NoSavedStage2);
    }
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if u64::try_from(page) != Ok(PAGE_SIZE) {
        return Err(Failure::PageSize(page));
    }
    let fitting = kept
        .take()
        .filter(|kept| !options.fresh_vm && kept.fits(scenario));
    let mut machine = match fitting {
        Some(machine) => machine,
        None => Stage2Machine::new(device, scenario)?,
    };
    let ended = machine.run(scenario, watchdog)?;
    *kept = ended.reusable.then_some(machine);
    Ok(Run::Done(Transcript::of_stage2(ended.seen)))
}

impl Stage2Machine {
    /// Creates a virtual machine for a scenario.
    ///
    /// # Errors
    /// If KVM refuses.
    fn new(device: &Device, scenario: &Stage2) -> Result<Self, Failure> {
        let mode = scenario.dirty_log;
        let vm = Guest::create_vm(device, scenario)?;
        dirty_log::set_mode(&vm, mode)?;
        let mut server = Mapping::anonymous(PAGE * SERVER_PAGES as usize).map_err(call("mmap"))?;
        for (to, from) in server.bytes_mut().iter_mut().zip(guest::program()) {
            *to = from;
        }
        let region = kvm_userspace_memory_region {
            slot: u32::from(SERVER_SLOT),
            flags: 0,
            guest_phys_addr: SERVER_PAGE * PAGE_SIZE,
            memory_size: guest::PAGES * PAGE_SIZE,
            userspace_addr: server.host_address() as u64,
        };
        // SAFETY: the mapping is the machine's own and is unmapped after the machine is gone.
        unsafe { vm.set_user_memory_region(region) }.map_err(Failure::ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        second_try::check(&vm, &region, 0)?;
        let guest = Guest::new(device, &vm, scenario, &mut server)?;
        let ring = match mode {
            DirtyLogMode::Ring => {
                Some(Ring::map(guest.descriptor()).map_err(call("mmap of the dirty ring"))?)
            }
            _ => None,
        };
        Ok(Self {
            ring,
            guest,
            vm,
            server,
            mode,
        })
    }

    /// Whether a scenario can run here.
    fn fits(&self, scenario: &Stage2) -> bool {
        self.mode == scenario.dirty_log && self.guest.fits(scenario)
    }

    /// Runs a scenario.
    ///
    /// # Errors
    /// If the host or KVM refuses something that a scenario may not be about.
    fn run(&mut self, scenario: &Stage2, watchdog: &Watchdog) -> Result<Ended, Failure> {
        let areas = scenario.backings.iter().map(|backing| {
            let what = |source| Failure::Backing {
                name: backing.name.clone(),
                source,
            };
            Area::new(backing).map_err(what)
        });
        let areas = areas.collect::<Result<Vec<Area>, Failure>>()?;
        for (backing, area) in scenario.backings.iter().zip(&areas) {
            let written = backing.fill != Fill::Untouched;
            if backing.huge && written && !area.is_huge().map_err(call("read(/proc/self/smaps)"))? {
                return Err(Failure::NoHugePages);
            }
        }
        let mut session = Session {
            machine: self,
            watchdog,
            scenario,
            areas,
            child: None,
            slots: BTreeSet::new(),
            pending: false,
            reusable: true,
        };
        let seen = session.run();
        let deleted = session.delete_slots();
        let reusable = session.reusable;
        Ok(Ended {
            seen: seen?,
            reusable: deleted? && reusable,
        })
    }
}

/// For `map_err` on a system call.
fn call(call: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Call { call, source }
}

struct Session<'a> {
    machine: &'a mut Stage2Machine,
    watchdog: &'a Watchdog,
    scenario: &'a Stage2,
    areas: Vec<Area>,
    child: Option<Child>,
    /// The slots that are there: address space and number.
    slots: BTreeSet<(u16, u16)>,
    /// KVM_RUN failed in the last operation.
    pending: bool,
    reusable: bool,
}

impl Session<'_> {
    fn run(&mut self) -> Result<Stage2Seen, Failure> {
        for slot in &self.scenario.slots {
            self.host_side().set_slot(slot)?.map_err(|errno| Failure::Call {
                call: "KVM_SET_USER_MEMORY_REGION",
                source: io::Error::from_raw_os_error(errno),
            })?;
        }
        self.machine.guest.use_tables(None)?;
        if let Some(ring) = &mut self.machine.ring {
            // What the last scenario has left there.
            ring.take(&self.machine.vm)
                .map_err(call("KVM_RESET_DIRTY_RINGS"))?;
        }
        let mut steps = Vec::with_capacity(self.scenario.steps.len());
        for step in &self.scenario.steps {
            let seen = match step {
                Step::Guest(guest) => self.guest(guest)?,
                Step::Host(host) => self.host(host)?,
            };
            let lost = matches!(seen.end, End::Stuck | End::Shutdown);
            steps.push(seen);
            if lost {
                self.reusable = false;
                break;
            }
        }
        Ok(Stage2Seen {
            steps,
            changes: self.changes(),
            canary: canary()?,
        })
    }

    /// Deletes every slot of the scenario; whether that worked.
    ///
    /// # Errors
    /// If KVM has not done what it says.
    fn delete_slots(&mut self) -> Result<bool, Failure> {
        for (space, id) in &self.slots {
            let slot = u32::from(*space) << 16 | u32::from(*id);
            let region = kvm_userspace_memory_region {
                slot,
                ..kvm_userspace_memory_region::default()
            };
            // SAFETY: a slot of size 0 is deleted; it names no memory.
            if unsafe { self.machine.vm.set_user_memory_region(region) }.is_err() {
                return Ok(false);
            }
            second_try::check(&self.machine.vm, &region, slot)?;
        }
        Ok(true)
    }

    fn guest(&mut self, step: &GuestStep) -> Result<StepSeen, Failure> {
        let pending = std::mem::take(&mut self.pending);
        match step.operation {
            Operation::Retry if pending => {}
            // What should have failed was done.
            Operation::Retry => return Ok(StepSeen::default()),
            Operation::UseTables { at } => {
                self.machine.guest.use_tables(Some(at))?;
                return Ok(StepSeen::default());
            }
            operation => {
                if let Some(flag) = self.machine.server.bytes_mut().get_mut(guest::SPINS) {
                    *flag = 0;
                }
                self.machine.guest.begin(operation, &mut self.machine.server)?;
            }
        }
        let mut seen = StepSeen::default();
        seen.end = match step.operation {
            Operation::Spin { .. } => self.spin(step, &mut seen)?,
            _ => {
                self.watchdog.arm();
                let end = self.until_done(step, &mut seen);
                self.watchdog.disarm();
                end?
            }
        };
        match seen.end {
            End::Done => seen.value = self.machine.guest.value()?,
            End::Exception { .. } => {}
            _ => self.pending = true,
        }
        Ok(seen)
    }

    /// Runs the guest until its operation is done or cannot be.
    fn until_done(&mut self, step: &GuestStep, seen: &mut StepSeen) -> Result<End, Failure> {
        loop {
            let exit = match self.machine.guest.enter(step.answer)? {
                Entered::Access(exit) => exit,
                Entered::Ended(end) => return Ok(end),
                Entered::Again if self.watchdog.expired() => return Ok(End::Stuck),
                Entered::Again => continue,
            };
            seen.exits.push(exit);
            if seen.exits.len() > MOST_EXITS {
                return Ok(End::Stuck);
            }
            if seen.exits.len() > 1 {
                continue;
            }
            if step.interrupted {
                seen.interrupted = Some(self.machine.guest.complete_only()?);
            }
            for host in &step.at_exit {
                let done = self.host(host)?;
                if done != StepSeen::default() {
                    return Err(Failure::BadScenario(format!(
                        "what the host does at an access must succeed and read nothing, and {host:?} gives {done:?}"
                    )));
                }
            }
        }
    }

    fn host(&mut self, step: &HostStep) -> Result<StepSeen, Failure> {
        if let Some(seen) = self.host_side().step(step)? {
            return Ok(seen);
        }
        let mut seen = StepSeen::default();
        match *step {
            HostStep::DirtyLog { id, space } => self.dirty_log(id, space, &mut seen),
            HostStep::ClearDirtyLog {
                id,
                space,
                first,
                pages,
            } => {
                seen.end = self.clear_dirty_log(id, space, first, pages);
            }
            HostStep::TakeRing { id, space } => {
                let machine = &mut *self.machine;
                let missing = || Failure::BadScenario("this virtual machine has no dirty ring".to_owned());
                let ring = machine.ring.as_mut().ok_or_else(missing)?;
                let taken = ring.take(&machine.vm).map_err(call("KVM_RESET_DIRTY_RINGS"))?;
                let wanted = u32::from(space) << 16 | u32::from(id);
                let pages = taken.into_iter().filter(|(slot, _)| *slot == wanted);
                let pages: BTreeSet<u64> = pages.map(|(_, page)| page).collect();
                seen.dirty = Some(pages.into_iter().collect());
            }
            HostStep::Fork => self.child = Some(Child::fork().map_err(call("fork"))?),
            HostStep::ChildRead(at) => {
                let address = self.host_side().address(at)?;
                value(&mut seen, self.child()?.read(address));
            }
            HostStep::ChildWrite(at, data) => {
                let address = self.host_side().address(at)?;
                done(&mut seen, self.child()?.write(address, data));
            }
            HostStep::ChildRun => {
                let vcpu = self.machine.guest.descriptor();
                done(&mut seen, self.child()?.run(vcpu));
            }
            HostStep::Canary => seen.value = Some(canary()?),
            HostStep::InjectAbort => self.machine.guest.inject_abort()?,
            // `host_side` has dealt with the rest.
            _ => return Err(Failure::BadScenario(format!("{step:?} means nothing here"))),
        }
        Ok(seen)
    }

    fn host_side(&mut self) -> HostSide<'_> {
        HostSide {
            vm: &self.machine.vm,
            areas: &self.areas,
            slots: &mut self.slots,
        }
    }

    fn child(&mut self) -> Result<&mut Child, Failure> {
        let missing = || Failure::BadScenario("there is no child before a fork".to_owned());
        self.child.as_mut().ok_or_else(missing)
    }

    /// What differs from the start.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for ((index, backing), area) in (0..).zip(&self.scenario.backings).zip(&self.areas) {
            for page in 0..backing.pages {
                let mut held = vec![0; PAGE];
                if area.read(page, 0, &mut held).is_ok() {
                    note(&mut changes, index, false, page, backing, &held);
                } else if backing.kind != BackingKind::Hole {
                    note(&mut changes, index, false, page, backing, &[]);
                }
                if let Some(file) = area.file() {
                    match file.read_exact_at(&mut held, u64::from(page) * PAGE_SIZE) {
                        Ok(()) => note(&mut changes, index, true, page, backing, &held),
                        Err(_) => note(&mut changes, index, true, page, backing, &[]),
                    }
                }
            }
        }
        changes.sort();
        changes
    }
}

/// Adds the stretches of a page that are not what it was filled with; all of it if it is empty,
/// which says that the page cannot be read.
fn note(changes: &mut Vec<Change>, index: u16, file: bool, page: u32, backing: &Backing, held: &[u8]) {
    let change = |offset, bytes| Change {
        backing: index,
        file,
        page,
        offset,
        bytes,
    };
    if held.is_empty() {
        changes.push(change(0, Vec::new()));
        return;
    }
    let fill = backing.fill.byte(page);
    // Most pages are as they were, and whole ones are compared fast.
    if held.iter().all(|byte| *byte == fill) {
        return;
    }
    let mut offset = 0;
    for stretch in held.chunk_by(|one, next| (*one == fill) == (*next == fill)) {
        if stretch.first() != Some(&fill) {
            changes.push(change(offset, stretch.to_vec()));
        }
        offset += stretch.len() as u16;
    }
}

/// Bytes that are not zero in a new anonymous page.
fn canary() -> Result<u64, Failure> {
    let page = Mapping::anonymous(PAGE).map_err(call("mmap"))?;
    Ok(page.bytes().iter().filter(|byte| **byte != 0).count() as u64)
}

/// Why KVM_RUN returned.
enum Entered {
    Access(MemoryExit),
    Ended(End),
    Again,
}
