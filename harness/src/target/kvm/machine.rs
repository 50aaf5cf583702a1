//! A virtual machine that runs one scenario after the other.

use kvm_ioctls::VmFd;
use spec_model::chipset::{ChipsetError, HostBridge};
use spec_model::defect::DefectSet;
use spec_model::scenario::{Cpuid, Scenario};

use super::super::Backend;
use super::device::{Device, Paging};
use super::failure::Failure;
use super::local_apic;
use super::memory::GuestMemory;
use super::saved_state;
use super::slots::Slots;
use super::vcpu::{Has, Vcpu};

/// Guest-physical address of the three pages for the TSS that Intel processors without
/// "unrestricted guest" need in real mode (KVM API, KVM_SET_TSS_ADDR).
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine. The members are dropped in this order: nothing runs when the
/// memory goes.
pub(super) struct Machine {
    pub(super) vcpus: Vec<Vcpu>,
    vm: VmFd,
    pub(super) memory: GuestMemory,
    slots: Slots,
    cpuid: Cpuid,
    paging: Paging,
    /// Whether it has held a scenario, of which KVM and processor may remember translations.
    loaded: bool,
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
        let has = Has {
            apic: has_apics,
            triple_faults: saved_state::keep_shutdowns(device, &vm),
        };
        set_tss_address(device, &vm)?;
        let mut slots = Slots::new(device.identity.smm);
        slots.apply(&vm, &memory)?;
        let vcpus = (0..scenario.vcpus.len())
            .map(|index| Vcpu::new(device, &vm, index, scenario.cpuid, has))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            vcpus,
            vm,
            memory,
            slots,
            cpuid: scenario.cpuid,
            paging: device.paging,
            loaded: false,
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
        if std::mem::replace(&mut self.loaded, true) {
            self.forget_translations()?;
        }
        // Memory first: KVM_SET_SREGS reads page directory pointers from it.
        self.memory.load(&scenario.memory)?;
        let bridge = match &scenario.chipset {
            Some(chipset) => Some(HostBridge::new(chipset, DefectSet::NONE)?),
            None => None,
        };
        self.memory.put_behind(bridge);
        self.slots.apply(&self.vm, &self.memory)?;
        for (vcpu, state) in self.vcpus.iter_mut().zip(&scenario.vcpus) {
            vcpu.reset(state)?;
        }
        Ok(())
    }

    /// Makes KVM and the processor forget what they have made of the page tables in memory, which are
    /// about to be written by this process: KVM does not see that.
    ///
    /// Shadow pages stay valid until the guest writes to the tables; CR3 loads and INVLPG
    /// look again only at the tables that KVM lets the guest write to (Linux arch/x86/kvm/mmu/mmu.c,
    /// kvm_mmu_sync_roots). With nested paging there are none, but the processor's TLB has what it has
    /// read, and KVM_SET_SREGS flushes it only if a control register changes (arch/x86/kvm/regs.c or
    /// x86.c, __set_sregs_common).
    fn forget_translations(&mut self) -> Result<(), Failure> {
        match self.paging {
            Paging::Shadow => self.slots.forget_shadow_pages(&self.vm),
            Paging::Nested => self.vcpus.iter_mut().try_for_each(Vcpu::leave_page_tables),
        }
    }

    /// Lets something happen to the chipset, and makes KVM show memory as it is then.
    ///
    /// # Errors
    /// If there is no chipset, or it or KVM refuses.
    pub(super) fn change_chipset<T>(
        &mut self,
        change: impl FnOnce(&mut HostBridge) -> Result<T, ChipsetError>,
    ) -> Result<T, Failure> {
        let none = || Failure::BadScenario("the host uses a chipset, and there is none".to_owned());
        let bridge = self.memory.bridge_mut().ok_or_else(none)?;
        let before = *bridge;
        let result = change(bridge)?;
        if bridge.windows() != before.windows() {
            self.slots.apply(&self.vm, &self.memory)?;
        }
        Ok(result)
    }

    /// Makes the chipset what that of `source` is, registers and lock included, and the slots
    /// what it shows of memory now: closed SMRAM stays closed on the other side.
    ///
    /// # Errors
    /// If KVM refuses a slot.
    pub(super) fn take_over_chipset(&mut self, source: &Self) -> Result<(), Failure> {
        self.memory.put_behind(source.memory.bridge().copied());
        self.slots.apply(&self.vm, &self.memory)
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

/// Gives KVM the memory that Intel processors need in real mode.
///
/// # Errors
/// If KVM refuses.
pub(super) fn set_tss_address(device: &Device, vm: &VmFd) -> Result<(), Failure> {
    if device.identity.backend != Backend::Vmx {
        return Ok(());
    }
    vm.set_tss_address(TSS_ADDRESS)
        .map_err(Failure::ioctl("KVM_SET_TSS_ADDR"))
}

/// KVM_CREATE_VM, which a signal can interrupt.
pub(super) fn create_vm(device: &Device) -> Result<VmFd, Failure> {
    loop {
        match device.kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            outcome => return outcome.map_err(Failure::ioctl("KVM_CREATE_VM")),
        }
    }
}
