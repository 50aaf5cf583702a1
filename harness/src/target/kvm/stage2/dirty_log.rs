//! Dirty logs: which pages a guest has written.

use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_INITIALLY_SET, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
    KVMIO, kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_enable_cap,
};
use kvm_ioctls::VmFd;
use spec_model::stage2::scenario::DirtyLogMode;
use spec_model::stage2::transcript::{End, StepSeen};
use vmm_sys_util::errno::Error as Errno;

use super::ring::Ring;
use super::{Failure, PAGE, Session};

vmm_sys_util::ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

/// Says how dirty logs are to be cleared, or that there is a ring instead.
///
/// # Errors
/// If KVM cannot.
pub(super) fn set_mode(vm: &VmFd, mode: DirtyLogMode) -> Result<(), Failure> {
    let bits = match mode {
        DirtyLogMode::ReadClears => return Ok(()),
        DirtyLogMode::Ring => return Ring::enable(vm),
        DirtyLogMode::Manual => KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
        DirtyLogMode::ManualInitiallySet => KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET,
    };
    let mut cap = kvm_enable_cap {
        cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        ..kvm_enable_cap::default()
    };
    cap.args[0] = u64::from(bits);
    vm.enable_cap(&cap).map_err(Failure::ioctl(
        "KVM_ENABLE_CAP(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)",
    ))
}

impl Session<'_> {
    pub(super) fn dirty_log(&mut self, id: u16, space: u16, seen: &mut StepSeen) {
        let slot = u32::from(space) << 16 | u32::from(id);
        // Long enough for every slot that fits a backing.
        const LONGEST: usize = 8192 * PAGE;
        match self.machine.vm.get_dirty_log(slot, LONGEST) {
            Ok(words) => {
                let pages = (0_u64..).zip(words).flat_map(|(word, bits)| {
                    (0..64_u64)
                        .filter(move |bit| bits & 1 << bit != 0)
                        .map(move |bit| word * 64 + bit)
                });
                seen.dirty = Some(pages.collect());
            }
            Err(error) => seen.end = End::Failed(error.errno()),
        }
    }

    pub(super) fn clear_dirty_log(&mut self, id: u16, space: u16, first: u64, pages: u32) -> End {
        let mut bits = vec![u64::MAX; pages.div_ceil(64) as usize];
        let request = kvm_clear_dirty_log {
            slot: u32::from(space) << 16 | u32::from(id),
            num_pages: pages,
            first_page: first,
            __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 {
                dirty_bitmap: bits.as_mut_ptr().cast(),
            },
        };
        // SAFETY: the descriptor is a virtual machine's, and the request names as many bits as
        // `bits` has, which lives until the call is over.
        let result =
            unsafe { vmm_sys_util::ioctl::ioctl_with_ref(&self.machine.vm, KVM_CLEAR_DIRTY_LOG(), &request) };
        match result {
            0.. => End::Done,
            _ => End::Failed(Errno::last().errno()),
        }
    }
}
