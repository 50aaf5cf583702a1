//! The local KVM device.
//!
//! One scenario is one run of a virtual machine with anonymous memory. Without local APICs it
//! has no in-kernel interrupt controller either, so that HLT comes back to the host; how it
//! comes back otherwise, see `tick`. A machine is
//! reused for the next scenario of the same shape if the last run ended in order, and
//! every bit of state that scenarios can see is set again.
//!
//! The FPU is not reset: payloads have no instruction that reads it, and no getter that
//! is used here shows it.

mod apic_page;
pub mod bare;
mod device;
mod events;
mod exit;
mod failure;
mod features;
mod host_events;
mod lacks;
mod local_apic;
mod machine;
mod machine_check;
mod mapping;
mod memory;
mod migrate;
mod msrs;
mod observe;
mod saved_state;
mod second_try;
mod session;
mod slots;
mod special_registers;
mod sregs;
mod stage2;
mod state;
mod tick;
mod told;
mod vcpu;
mod watchdog;

use std::time::Duration;

use spec_model::architecture::Architecture;
use spec_model::scenario::{Action, AddressSpace, Observe, SYNC_POINTS, Scenario};

pub use device::OpenError;

use super::kernel_log::KernelLog;
use super::{Event, Identity, Mode, Run, RunOptions, Target, other_architecture, run_watched};
use device::Device;
use failure::Failure;
use machine::Machine;
use stage2::Stage2Machine;
use watchdog::Watchdog;

/// Time that a guest gets to reach its next point.
const BUDGET: Duration = Duration::from_secs(1);
/// The same for the init program of a kernel that is itself emulated. It is also what each guest
/// costs that KVM never comes back from, and some cases have four of them.
const BUDGET_AS_INIT: Duration = Duration::from_secs(3);
/// Machines kept for reuse. Cases have few shapes of memory; generated scenarios must not
/// fill the host with machines that are never used again.
const MACHINES_KEPT: usize = 8;

/// The local KVM device with the virtual machines that are reused between scenarios.
pub struct Kvm {
    device: Device,
    /// Machines that ended in order, the last used one last.
    machines: Vec<Machine>,
    /// The one that ran the last scenario about stage-2 mappings, if it ended in order.
    stage2: Option<Stage2Machine>,
    watchdog: Watchdog,
}

impl Kvm {
    /// Opens `/dev/kvm` and finds out what it can do.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be opened, or it is too old.
    pub fn open() -> Result<Self, OpenError> {
        let device = Device::open()?;
        let is_init = std::process::id() == 1;
        let budget = if is_init { BUDGET_AS_INIT } else { BUDGET };
        Ok(Self {
            device,
            machines: Vec::new(),
            stage2: None,
            watchdog: Watchdog::start(budget).map_err(OpenError::Watchdog)?,
        })
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.device.identity
    }

    /// Runs one scenario.
    pub fn run_one(&mut self, scenario: &Scenario, options: RunOptions) -> Run {
        match self.try_run(scenario, options) {
            Ok(run) => run,
            Err(failure) => failure.into(),
        }
    }

    fn try_run(&mut self, scenario: &Scenario, options: RunOptions) -> Result<Run, Failure> {
        if let Some(reason) = other_architecture(scenario, Architecture::X86) {
            return Ok(Run::Unsupported(reason));
        }
        if let Some(stage2) = &scenario.stage2 {
            return stage2::run(&self.device, &self.watchdog, &mut self.stage2, stage2, options);
        }
        if scenario.observe == Observe::Ends && options.mode != Mode::Normal {
            return Err(Failure::NoSavedEnds);
        }
        check(scenario, &self.device.identity)?;
        if let Some(reason) = self.device.identity.backend.cannot_run(scenario) {
            return Ok(Run::Unsupported(reason));
        }
        if let Some(lack) = features::missing(scenario, &self.device.cpuid) {
            return Ok(Run::Unsupported(lack));
        }
        if scenario.cpuid.shadow_stack {
            return Err(self.device.no_shadow_stack());
        }
        let kept = if options.fresh_vm {
            None
        } else {
            self.take(scenario)
        };
        let mut machine = match kept {
            Some(machine) => machine,
            None => Machine::new(&self.device, scenario)?,
        };
        machine.load(scenario)?;
        // On any failure the machine is dropped: nobody knows what state it is in.
        let ended = session::run(scenario, &mut machine, &self.device, &self.watchdog, options)?;
        if ended.reusable && !options.fresh_vm {
            self.keep(machine);
        }
        Ok(ended.run)
    }

    fn take(&mut self, scenario: &Scenario) -> Option<Machine> {
        let index = self.machines.iter().position(|machine| machine.fits(scenario))?;
        Some(self.machines.remove(index))
    }

    fn keep(&mut self, machine: Machine) {
        if self.machines.len() >= MACHINES_KEPT {
            self.machines.remove(0);
        }
        self.machines.push(machine);
    }
}

impl Target for Kvm {
    fn run(&mut self, scenarios: &[Scenario], options: RunOptions, sink: &mut dyn FnMut(Event)) {
        let mut log = KernelLog::of_host();
        let mut identity = self.identity().clone();
        identity.system.complaints = log.watched().clone();
        sink(Event::Identified(Box::new(identity)));
        run_watched(
            &mut log,
            scenarios,
            |scenario| self.run_one(scenario, options),
            sink,
        );
        self.machines.clear();
        self.stage2 = None;
        let complaints = log.complaints();
        if !complaints.is_empty() {
            sink(Event::Complained(complaints));
        }
    }
}

/// Refuses what would only fail in an obscure way later.
fn check(scenario: &Scenario, identity: &Identity) -> Result<(), Failure> {
    let bad = |what: String| Err(Failure::BadScenario(what));
    if scenario.vcpus.is_empty() {
        return bad("it has no vCPU".to_owned());
    }
    if scenario.vcpus.len() > usize::from(u8::MAX) + 1 {
        return bad(format!(
            "it has {} vCPUs, 256 at most are possible",
            scenario.vcpus.len()
        ));
    }
    if scenario.points.len() > SYNC_POINTS {
        return bad(format!(
            "it has {} points, {SYNC_POINTS} at most are possible",
            scenario.points.len()
        ));
    }
    if scenario.limits.observations == 0 {
        return bad("its limit of observations is 0".to_owned());
    }
    let with_apic = scenario.vcpus.iter().filter(|vcpu| vcpu.apic.is_some()).count();
    if with_apic != 0 && with_apic != scenario.vcpus.len() {
        return bad("some of its vCPUs have a local APIC and some do not".to_owned());
    }
    let missing = |vcpu: &&u8| usize::from(**vcpu) >= scenario.vcpus.len();
    if let Some(vcpu) = scenario.schedule.iter().find(missing) {
        return bad(format!("its schedule names vCPU {vcpu}, which it does not have"));
    }
    const LONG_MODE_ACTIVE: u64 = 1 << 10;
    let starts_in_long_mode = scenario
        .vcpus
        .iter()
        .any(|vcpu| vcpu.efer & LONG_MODE_ACTIVE != 0);
    if starts_in_long_mode && let Some(lack) = lacks::long_mode(identity.backend) {
        return Err(Failure::Lacks(lack));
    }
    match needs_smm(scenario) {
        Some(why) if !identity.smm => Err(Failure::NoSmm(why)),
        _ => Ok(()),
    }
}

/// Whether something lies where a processor with this SMBASE starts to handle SMIs.
fn has_smi_handler(scenario: &Scenario, smbase: u64) -> bool {
    let handler = smbase.wrapping_add(0x8000);
    let mut blobs = scenario.memory.iter().flat_map(|region| &region.contents);
    blobs.any(|blob| (blob.address..blob.address.saturating_add(blob.bytes.len() as u64)).contains(&handler))
}

/// What in the scenario takes SMM.
fn needs_smm(scenario: &Scenario) -> Option<&'static str> {
    let is_smi = |action: &Action| matches!(action, Action::Smi { .. });
    if scenario
        .memory
        .iter()
        .any(|region| region.space == AddressSpace::Smm)
    {
        Some("has memory that only a processor in SMM sees")
    } else if scenario
        .vcpus
        .iter()
        .any(|vcpu| vcpu.events.in_smm || vcpu.events.smi_pending)
    {
        Some("starts in SMM or with an SMI pending")
    } else if scenario
        .events
        .iter()
        .any(|event| event.actions.iter().any(is_smi))
    {
        Some("raises an SMI")
    } else if scenario
        .vcpus
        .iter()
        .any(|vcpu| vcpu.apic.is_some() && has_smi_handler(scenario, vcpu.smbase))
    {
        Some("has local APICs that may send an SMI, and a handler for it")
    } else {
        None
    }
}
