//! The x86 processor of a scenario about stage-2 mappings: flat 32-bit protected mode, with page tables of the
//! scenario's or without. What it is given is read back, as everywhere.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use spec_model::host_state::{HostCall, StateFault};
use spec_model::stage2::scenario::GuestAddress;
use spec_model::x86::state::VcpuState;

use super::super::failure::Failure;
use super::super::lacks;
use super::super::sregs::load_sregs;
use super::super::state::{differences, load_regs, not_kept};
use super::super::told::Told;
use crate::target::Backend;

/// Sets the general registers, RIP and RFLAGS.
///
/// # Errors
/// If KVM refuses, or they read back differently.
pub(super) fn set_registers(vcpu: &VcpuFd, regs: &kvm_regs, backend: Backend) -> Result<(), Failure> {
    vcpu.set_regs(regs).map_err(Failure::host(HostCall::SetRegs, 0))?;
    let read = vcpu.get_regs().map_err(Failure::host(HostCall::GetRegs, 0))?;
    let state = |regs: &kvm_regs| {
        let mut state = VcpuState::default();
        load_regs(&mut state, regs);
        state
    };
    check_kept(&state(regs), &state(&read), Told::by(HostCall::GetRegs), backend)
}

/// Sets flat protected mode, with paging if there are tables.
///
/// # Errors
/// If KVM refuses, or it reads back differently.
pub(super) fn set_mode(vcpu: &VcpuFd, tables: Option<GuestAddress>, backend: Backend) -> Result<(), Failure> {
    let get = || vcpu.get_sregs().map_err(Failure::host(HostCall::GetSregs, 0));
    let mut sregs = get()?;
    make_flat(&mut sregs);
    if let Some(tables) = tables {
        const PAGING: u64 = 1 << 31;
        const LARGE_PAGES: u64 = 1 << 4;
        sregs.cr3 = tables.bytes();
        sregs.cr4 |= LARGE_PAGES;
        sregs.cr0 |= PAGING;
    }
    vcpu.set_sregs(&sregs)
        .map_err(Failure::host(HostCall::SetSregs, 0))?;
    let read = get()?;
    let mut told = Told::by(HostCall::GetSregs);
    let state = |sregs: &kvm_sregs, told: &mut Told| {
        let mut state = VcpuState::default();
        load_sregs(&mut state, sregs, told);
        state
    };
    let set = state(&sregs, &mut Told::by(HostCall::GetSregs));
    let read = state(&read, &mut told);
    check_kept(&set, &read, told, backend)
}

fn check_kept(set: &VcpuState, read: &VcpuState, told: Told, backend: Backend) -> Result<(), Failure> {
    let mut faults = not_kept(&differences(set, read));
    faults.extend(told.into_faults());
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults.into_iter().map(|fault| StateFault::at_start(0, fault));
    Err(lacks::failure(backend, faults.collect()))
}

fn make_flat(sregs: &mut kvm_sregs) {
    let flat = |selector, kind| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    const PROTECTED: u64 = 0x11;
    sregs.cr0 = PROTECTED;
    sregs.cr3 = 0;
    sregs.cr4 = 0;
    sregs.efer = 0;
    sregs.cs = flat(0x08, 0xb);
    let data = flat(0x10, 0x3);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.idt.limit = 0;
}
