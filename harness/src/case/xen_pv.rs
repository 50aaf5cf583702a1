//! Mode `xen-pv`: what a case says of a paravirtual guest of Xen.
//!
//! The keys of other modes carry over where Xen has the like: `idt` is the trap table, `tss.rsp0`
//! the stack for what interrupts a program, and a section `syscall` the callback for system calls.

use spec_model::x86::state::VcpuState;

use super::code::Code;
use super::mistake::Position;
use super::preset::{self, Tables};
use super::resolve::Resolver;
use super::syntax::{GateKind, Machine};

/// Whether a field belongs to what Xen keeps of a guest.
pub(super) fn is_field(name: &str) -> bool {
    name.starts_with("xen.")
}

/// Puts the trap table, the stack and the callback into the state of the processor.
pub(super) fn complete(state: &mut VcpuState, tables: &Tables, code: &Code) {
    if let Some(xen) = state.xen_pv.as_deref_mut() {
        preset::guest(tables, code.system_call.unwrap_or_default(), xen);
    }
}

/// Reports settings that a paravirtual guest does not have.
pub(super) fn check(machine: &Machine, resolver: &mut Resolver<'_>) {
    let mut refuse = |at: Position, what: &str, remedy: &str| {
        resolver
            .mistakes
            .add(at, format!("a guest of Xen has no {what}"), remedy);
    };
    for (key, gate) in &machine.idt.0 {
        if let Some(number) = gate.ist.as_ref().or(gate.selector.as_ref()) {
            refuse(number.at, "IST and no selector in its trap table", "remove it");
        }
        if !matches!(gate.kind, None | Some(GateKind::Interrupt | GateKind::Trap)) {
            let remedy = "write `interrupt`, which masks events, or `trap`, which does not";
            refuse(key.at, "such gates", remedy);
        }
    }
    let tss = &machine.tss;
    let others = [
        &tss.rsp1, &tss.rsp2, &tss.limit, &tss.ss0, &tss.ist1, &tss.ist2, &tss.ist3, &tss.ist4, &tss.ist5,
        &tss.ist6, &tss.ist7,
    ];
    if let Some(number) = others.into_iter().flatten().next() {
        refuse(
            number.at,
            "TSS",
            "give `rsp0` alone: it is the stack of the kernel",
        );
    }
    if let Some((key, _)) = machine.pages.0.iter().find(|(_, page)| page.user.is_some()) {
        refuse(key.at, "pages for itself alone", "remove `user`");
    }
    if let Some(apic) = &machine.apic {
        refuse(apic.at, "local APIC", "remove `apic`");
    }
    if let Some(chipset) = &machine.chipset {
        refuse(chipset.at, "chipset", "remove `chipset`");
    }
    if let Some(entry) = machine.memory.first() {
        refuse(entry.at, "memory of its own choice", "remove `memory`");
    }
    if let Some(vcpus) = machine.vcpus.as_ref().filter(|vcpus| vcpus.value > 1) {
        refuse(vcpus.at, "second processor here", "remove `vcpus`");
    }
}
