//! Bits of CR4, EFER and DR6 that take a feature of the processor, and whether it is there.

use kvm_bindings::CpuId;
use spec_model::scenario::{Action, Scenario};

use super::super::Lack;

/// A register of a CPUID leaf.
#[derive(Clone, Copy)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

/// A bit of a register that takes a feature.
struct Feature {
    /// The field, `cr4` or `efer`.
    field: &'static str,
    bit: u32,
    name: &'static str,
    leaf: u32,
    register: Register,
    leaf_bit: u32,
}

const fn feature(
    field: &'static str,
    bit: u32,
    name: &'static str,
    leaf: u32,
    register: Register,
    leaf_bit: u32,
) -> Feature {
    Feature {
        field,
        bit,
        name,
        leaf,
        register,
        leaf_bit,
    }
}

/// SDM vol. 2A, CPUID, and vol. 3A, "Control Registers"; APM vol. 2, 3.1.3 and 3.1.7. Without the
/// bits of CR4 that have no feature of their own (TSD, OSFXSR, OSXMMEXCPT, PCE) and without LME and
/// LMA, whose feature is part of a scenario.
const FEATURES: &[Feature] = &[
    feature("cr4", 0, "CR4.VME", 1, Edx, 1),
    feature("cr4", 1, "CR4.PVI", 1, Edx, 1),
    feature("cr4", 3, "CR4.DE", 1, Edx, 2),
    feature("cr4", 4, "CR4.PSE", 1, Edx, 3),
    feature("cr4", 5, "CR4.PAE", 1, Edx, 6),
    feature("cr4", 6, "CR4.MCE", 1, Edx, 7),
    feature("cr4", 7, "CR4.PGE", 1, Edx, 13),
    feature("cr4", 11, "CR4.UMIP", 7, Ecx, 2),
    feature("cr4", 12, "CR4.LA57", 7, Ecx, 16),
    feature("cr4", 13, "CR4.VMXE", 1, Ecx, 5),
    feature("cr4", 14, "CR4.SMXE", 1, Ecx, 6),
    feature("cr4", 16, "CR4.FSGSBASE", 7, Ebx, 0),
    feature("cr4", 17, "CR4.PCIDE", 1, Ecx, 17),
    feature("cr4", 18, "CR4.OSXSAVE", 1, Ecx, 26),
    feature("cr4", 20, "CR4.SMEP", 7, Ebx, 7),
    feature("cr4", 21, "CR4.SMAP", 7, Ebx, 20),
    feature("cr4", 22, "CR4.PKE", 7, Ecx, 3),
    feature("cr4", 23, "CR4.CET", 7, Ecx, 7),
    feature("cr4", 24, "CR4.PKS", 7, Ecx, 31),
    feature("efer", 0, "EFER.SCE", 0x8000_0001, Edx, 11),
    feature("efer", 11, "EFER.NXE", 0x8000_0001, Edx, 20),
    feature("efer", 12, "EFER.SVME", 0x8000_0001, Ecx, 2),
    feature("efer", 14, "EFER.FFXSR", 0x8000_0001, Edx, 25),
    feature("efer", 15, "EFER.TCE", 0x8000_0001, Ecx, 17),
    feature("efer", 21, "EFER.AIBRSE", 0x8000_0021, Eax, 8),
];

/// CPUID (EAX=7,ECX=0) ECX bit 24: debug exceptions for bus locks.
pub(super) const BUS_LOCK: u32 = 1 << 24;

/// Why a scenario that clears bit 11 of DR6 cannot run, if it cannot.
fn no_bus_lock(scenario: &Scenario, cpuid: &CpuId) -> Option<Lack> {
    let leaf = cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == 7 && entry.index == 0);
    let there = leaf.is_some_and(|entry| entry.ecx & BUS_LOCK != 0);
    (scenario.cpuid.bus_lock && !there).then(|| Lack::Cpuid {
        text: "the scenario needs debug exceptions for bus locks, and KVM_GET_SUPPORTED_CPUID does not report them \
               (leaf 0x7, ECX bit 24)"
            .to_owned(),
    })
}

/// A feature that a scenario turns on, at its start or by what the host sets at a point, and that
/// KVM does not have for guests.
pub(super) fn missing(scenario: &Scenario, cpuid: &CpuId) -> Option<Lack> {
    if let Some(lack) = no_bus_lock(scenario, cpuid) {
        return Some(lack);
    }
    let starts = scenario
        .vcpus
        .iter()
        .flat_map(|vcpu| [("cr4", vcpu.cr4), ("efer", vcpu.efer)]);
    let sets = scenario
        .events
        .iter()
        .flat_map(|event| &event.actions)
        .filter_map(|action| match action {
            Action::SetField { field, value, .. } => Some((field.as_str(), *value)),
            _ => None,
        });
    let mut values = starts.chain(sets);
    let lacks = |field: &str, value: u64| {
        FEATURES
            .iter()
            .find(|feature| feature.field == field && value >> feature.bit & 1 != 0 && !has(cpuid, feature))
    };
    let feature = values.find_map(|(field, value)| lacks(field, value))?;
    let register = match feature.register {
        Eax => "EAX",
        Ebx => "EBX",
        Ecx => "ECX",
        Edx => "EDX",
    };
    Some(Lack::Cpuid {
        text: format!(
            "the scenario sets {}, and KVM_GET_SUPPORTED_CPUID does not report it (leaf {:#x}, {register} bit {})",
            feature.name, feature.leaf, feature.leaf_bit
        ),
    })
}

fn has(cpuid: &CpuId, feature: &Feature) -> bool {
    let entry = cpuid
        .as_slice()
        .iter()
        .find(|entry| entry.function == feature.leaf && entry.index == 0);
    entry.is_some_and(|entry| {
        let value = match feature.register {
            Eax => entry.eax,
            Ebx => entry.ebx,
            Ecx => entry.ecx,
            Edx => entry.edx,
        };
        value >> feature.leaf_bit & 1 != 0
    })
}
