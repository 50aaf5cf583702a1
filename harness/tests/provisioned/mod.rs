//! One provisioned kernel with KVM/SVM for tests that need a real KVM with SMM.

use std::path::PathBuf;

use harness::cli::session::{Event, Kind, Prepared, cached_kernels};
use harness::cli::target_name::TargetName;
use harness::provision::{Architecture, Cache, KernelName};
use harness::target::{Identity, LostBoot, Run, RunOptions};
use spec_model::scenario::Scenario;

/// The kernel that tests prefer.
const PREFERRED: &str = "debian:6.12";

/// A kernel that can be booted.
#[derive(Clone)]
pub struct Kernel {
    prepared: Prepared,
    /// What it will be, as far as its files tell.
    pub identity: Identity,
}

impl Kernel {
    /// The preferred kernel if it is in the cache, else the newest one that is.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn find() -> Result<Self, String> {
        Self::find_as(TargetName::Svm)
    }

    /// The same kernel, told to leave nested paging alone.
    ///
    /// # Errors
    /// Why there is none, in one line.
    #[allow(dead_code, reason = "not every test uses it")]
    pub fn find_without_nested_paging() -> Result<Self, String> {
        Self::find_as(TargetName::SvmNpt0)
    }

    fn find_as(target: fn(KernelName) -> TargetName) -> Result<Self, String> {
        let cache = Cache::open(None).map_err(|error| error.to_string())?;
        let mut kernels = cached_kernels(&cache, Architecture::X86);
        kernels.sort_by_key(|name| name.to_string() == PREFERRED);
        let none = || "no kernel with SMM is provisioned, run `cargo conform provision`".to_owned();
        let name = target(kernels.pop().ok_or_else(none)?);
        let prepared = Prepared::new(&name, &cache, &PathBuf::from(env!("CARGO_BIN_EXE_conform")));
        match &prepared.kind {
            Kind::Booted { identity, .. } => Ok(Self {
                identity: identity.clone(),
                prepared,
            }),
            Kind::Unusable(reason) => Err(format!("{name} cannot be used: {reason}")),
            Kind::Model | Kind::Kvm(_) | Kind::XenPv { .. } => Err(format!("{name} is not a kernel to boot")),
        }
    }

    /// Boots once and runs everything.
    ///
    /// # Errors
    /// If a scenario gets no result, a boot is lost or the kernel complains.
    pub fn run(&self, scenarios: &[Scenario], options: RunOptions) -> Result<Vec<Run>, String> {
        let mut runs: Vec<Option<Run>> = vec![None; scenarios.len()];
        for event in self.prepared.start(scenarios.to_vec(), options) {
            let trouble = match event {
                Event::Ran(index, ran) => {
                    if let Some(place) = runs.get_mut(index) {
                        *place = Some(ran.run);
                    }
                    ran.complaints
                }
                Event::Complained(complaints) => complaints,
                Event::BootLost(LostBoot { reason, .. }) | Event::Unusable(reason) => {
                    return Err(format!("{}: {reason}", self.identity.name));
                }
                Event::Identified(_) | Event::Note(_) => Vec::new(),
            };
            if !trouble.is_empty() {
                return Err(format!(
                    "{}: the kernel complained: {trouble:#?}",
                    self.identity.name
                ));
            }
        }
        let whole: Option<Vec<Run>> = runs.into_iter().collect();
        whole.ok_or_else(|| format!("{} ended without a result for every case", self.identity.name))
    }
}
