//! What the program has made so far: virtual machines, their slots and their vCPUs.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;

use crate::abi::run;

/// Everything, by file descriptor. A descriptor that is used anew replaces the old entry.
#[derive(Default)]
pub(crate) struct Machines {
    used: u64,
    vms: HashMap<c_int, Vm>,
    vcpus: HashMap<c_int, Vcpu>,
}

/// A virtual machine.
#[derive(Default)]
struct Vm {
    /// Counted from 1 among those that have a slot or a vCPU: others only try something out.
    number: Option<u64>,
    slots: BTreeMap<u32, Slot>,
    /// `struct kvm_userspace_memory_region` of each slot.
    regions: BTreeMap<u32, Vec<u8>>,
}

/// A memory slot's host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) host: u64,
    /// In bytes.
    pub(crate) size: u64,
}

/// A processor.
pub(crate) struct Vcpu {
    vm: c_int,
    pub(crate) run: Option<RunPage>,
    /// What each getter gave first, and gave last, in truth.
    pub(crate) first: HashMap<u32, Vec<u8>>,
    pub(crate) last: HashMap<u32, Vec<u8>>,
    /// What each setter was given last.
    pub(crate) set: HashMap<u32, Vec<u8>>,
    /// Calls to be done after the next KVM_RUN.
    pub(crate) late: Vec<Late>,
}

/// A call that waits.
pub(crate) struct Late {
    pub(crate) request: u32,
    pub(crate) argument: Vec<u8>,
    pub(crate) text: String,
}

impl Machines {
    pub(crate) fn vm_created(&mut self, fd: c_int) {
        self.vcpus.remove(&fd);
        self.vms.insert(fd, Vm::default());
    }

    /// A virtual machine is about to get a slot or a vCPU.
    pub(crate) fn vm_used(&mut self, fd: c_int) {
        let machine = self.vms.entry(fd).or_default();
        if machine.number.is_none() {
            self.used += 1;
            machine.number = Some(self.used);
        }
    }

    pub(crate) fn vcpu_created(&mut self, vm: c_int, fd: c_int) {
        let vcpu = Vcpu {
            vm,
            run: None,
            first: HashMap::new(),
            last: HashMap::new(),
            set: HashMap::new(),
            late: Vec::new(),
        };
        self.vms.remove(&fd);
        self.vcpus.insert(fd, vcpu);
    }

    /// A file was mapped from its start: for a vCPU that is its `struct kvm_run`.
    pub(crate) fn mapped(&mut self, fd: c_int, address: *mut u8) {
        if let Some(vcpu) = self.vcpus.get_mut(&fd)
            && vcpu.run.is_none()
        {
            vcpu.run = Some(RunPage(address as usize));
        }
    }

    /// `struct kvm_userspace_memory_region` as KVM took it.
    pub(crate) fn slot_set(&mut self, vm: c_int, region: &[u8]) {
        let (Some(number), Some(size), Some(host)) = (word(region, 0), long(region, 16), long(region, 24))
        else {
            return;
        };
        let vm = self.vms.entry(vm).or_default();
        if size == 0 {
            vm.slots.remove(&number);
            vm.regions.remove(&number);
        } else {
            vm.slots.insert(number, Slot { host, size });
            vm.regions.insert(number, region.to_vec());
        }
    }

    /// Whether a region is another than its slot is now.
    pub(crate) fn changes_slot(&self, vm: c_int, region: &[u8]) -> bool {
        let (Some(number), Some(size)) = (word(region, 0), long(region, 16)) else {
            return true;
        };
        let now = self.vms.get(&vm).and_then(|vm| vm.regions.get(&number));
        match now {
            None => size != 0,
            Some(now) => now != region,
        }
    }

    /// The number of the virtual machine that a descriptor is about.
    pub(crate) fn number(&self, fd: c_int) -> Option<u64> {
        let vm = self.vcpus.get(&fd).map_or(fd, |vcpu| vcpu.vm);
        self.vms.get(&vm)?.number
    }

    pub(crate) fn vcpu(&mut self, fd: c_int) -> Option<&mut Vcpu> {
        self.vcpus.get_mut(&fd)
    }

    /// Another vCPU of the same virtual machine.
    pub(crate) fn other_vcpu(&self, fd: c_int) -> Option<c_int> {
        let vm = self.vcpus.get(&fd)?.vm;
        let others = self
            .vcpus
            .iter()
            .filter(|(other, vcpu)| **other != fd && vcpu.vm == vm);
        others.map(|(other, _)| *other).min()
    }

    /// The slots of the virtual machine that a descriptor is about, by their number.
    pub(crate) fn slots(&self, fd: c_int) -> BTreeMap<u32, Slot> {
        let vm = self.vcpus.get(&fd).map_or(fd, |vcpu| vcpu.vm);
        self.vms.get(&vm).map(|vm| vm.slots.clone()).unwrap_or_default()
    }
}

/// The mapped `struct kvm_run` of a vCPU, by its address: the mapping lives as long as the
/// program uses the vCPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunPage(usize);

impl RunPage {
    /// Reads a member.
    pub(crate) fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: this is the program's mapping of a vCPU, which it unmaps only once it makes no
        // more calls for it; all members are plain integers, aligned as in the structure.
        unsafe { ((self.0 + offset) as *const T).read_volatile() }
    }

    /// Writes a member.
    pub(crate) fn write<T: Copy>(self, offset: usize, value: T) {
        // SAFETY: as for reading; only the thread that is in this vCPU's call writes there.
        unsafe { ((self.0 + offset) as *mut T).write_volatile(value) }
    }

    pub(crate) fn is_to_exit_at_once(self) -> bool {
        self.read::<u8>(run::IMMEDIATE_EXIT) != 0
    }
}

/// 32 bits of a structure.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// 64 bits of a structure.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}
