//! A virtual machine that runs one scenario after the other.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use spec_model::scenario::{AddressSpace, Cpuid, Scenario};

use super::super::Backend;
use super::device::Device;
use super::failure::Failure;
use super::local_apic;
use super::memory::GuestMemory;
use super::vcpu::Vcpu;

/// Guest-physical address of the three pages for the TSS that Intel processors without
/// "unrestricted guest" need in real mode (KVM API, KVM_SET_TSS_ADDR).
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine. The members are dropped in this order: nothing runs when the
/// memory goes.
pub(super) struct Machine {
    pub(super) vcpus: Vec<Vcpu>,
    _vm: VmFd,
    pub(super) memory: GuestMemory,
    cpuid: Cpuid,
    /// Whether the processors have local APICs.
    pub(super) has_apics: bool,
}

impl Machine {
    /// Creates a virtual machine that the scenario fits into.
    ///
    /// # Errors
    /// If the scenario's memory makes no sense or KVM refuses.
    pub(super) fn new(device: &Device, scenario: &Scenario) -> Result<Self, Failure> {
        let memory = GuestMemory::new(&scenario.memory)?;
        let vm = create_vm(device)?;
        let has_apics = scenario.vcpus.iter().any(|vcpu| vcpu.apic.is_some());
        if has_apics {
            local_apic::create(device, &vm)?;
        }
        if device.identity.backend == Backend::Vmx {
            vm.set_tss_address(TSS_ADDRESS)
                .map_err(Failure::ioctl("KVM_SET_TSS_ADDR"))?;
        }
        register(&vm, &memory, device.identity.smm)?;
        let vcpus = (0..scenario.vcpus.len())
            .map(|index| Vcpu::new(device, &vm, index, scenario.cpuid.long_mode, has_apics))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            vcpus,
            _vm: vm,
            memory,
            cpuid: scenario.cpuid,
            has_apics,
        })
    }

    /// Whether the scenario can run here: memory of the same shape, the same CPUID, as
    /// many processors.
    pub(super) fn fits(&self, scenario: &Scenario) -> bool {
        self.cpuid == scenario.cpuid
            && self.has_apics == scenario.vcpus.iter().any(|vcpu| vcpu.apic.is_some())
            && self.vcpus.len() == scenario.vcpus.len()
            && self.memory.fits(&scenario.memory)
    }

    /// Makes memory and processors what the scenario says, whatever ran before.
    ///
    /// # Errors
    /// If KVM refuses or does not keep a part of it.
    pub(super) fn load(&mut self, scenario: &Scenario) -> Result<(), Failure> {
        // Memory first: KVM_SET_SREGS reads page directory pointers from it.
        self.memory.load(&scenario.memory)?;
        for (vcpu, state) in self.vcpus.iter_mut().zip(&scenario.vcpus) {
            vcpu.reset(state)?;
        }
        Ok(())
    }

    /// One processor.
    ///
    /// # Errors
    /// If the scenario names one that it does not have.
    pub(super) fn vcpu(&mut self, index: u8) -> Result<&mut Vcpu, Failure> {
        let count = self.vcpus.len();
        self.vcpus.get_mut(usize::from(index)).ok_or_else(|| {
            Failure::BadScenario(format!(
                "it names vCPU {index}, but has {count} of them, counted from 0"
            ))
        })
    }
}

/// KVM_CREATE_VM, which a signal can interrupt.
fn create_vm(device: &Device) -> Result<VmFd, Failure> {
    loop {
        match device.kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            outcome => return outcome.map_err(Failure::ioctl("KVM_CREATE_VM")),
        }
    }
}

/// Registers every region in the address spaces that see it: space 0 outside SMM, space 1
/// in SMM. They are numbered in bits 31:16 of the slot (KVM API,
/// KVM_SET_USER_MEMORY_REGION).
fn register(vm: &VmFd, memory: &GuestMemory, smm: bool) -> Result<(), Failure> {
    let number_of = |error| Failure::BadScenario(format!("too many memory regions: {error}"));
    for (number, region) in memory.regions().iter().enumerate() {
        let number = u32::from(u16::try_from(number).map_err(number_of)?);
        let spaces: &[u32] = match region.space {
            AddressSpace::Both if smm => &[0, 1],
            AddressSpace::Both | AddressSpace::Normal => &[0],
            AddressSpace::Smm => &[1],
        };
        for space in spaces {
            let slot = kvm_userspace_memory_region {
                slot: space << 16 | number,
                flags: 0,
                guest_phys_addr: region.address,
                memory_size: region.mapping.len() as u64,
                userspace_addr: region.mapping.host_address() as u64,
            };
            // SAFETY: the slot lies wholly in a mapping that the machine owns and unmaps
            // only after its vCPUs are gone.
            unsafe { vm.set_user_memory_region(slot) }
                .map_err(Failure::ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        }
    }
    Ok(())
}
