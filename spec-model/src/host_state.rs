//! What the host makes of a processor's state: the calls of the KVM API that set it and read it, and
//! how they can go wrong; beside them those that make memory slots and complete an instruction.
//!
//! A hypervisor keeps what it is given, and refuses what no processor can be in. Both are rules
//! (STATE-009 to STATE-018), so that a target which breaks one differs like any other. What a getter
//! tells beside the fields of a state has rules, too (STATE-019 to STATE-021).

use serde::{Deserialize, Serialize};

use crate::defect::Defect;
use crate::requirement::{self, Requirement};
use crate::x86::control::{cr0, cr4, efer};
use crate::x86::field::FIELDS;
use crate::x86::local_apic::{DEFAULT_ADDRESS, base};
use crate::x86::processor::Rules;
use crate::x86::segment::SegmentName;
use crate::x86::state::{Shadow, VcpuState};

/// Name of IA32_APIC_BASE, which the host sets with the special registers.
pub const BASE_FIELD: &str = "apic.base";

/// EINVAL, with which KVM refuses a state.
pub const EINVAL: i32 = 22;

macro_rules! host_calls {
    ($($variant:ident $name:literal;)*) => {
        /// A call of the KVM API for one processor, or for the memory of all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum HostCall {
            $(#[doc = $name] $variant,)*
        }

        impl HostCall {
            /// Every call.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in the KVM API document.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

host_calls! {
    GetRegs "KVM_GET_REGS";
    SetRegs "KVM_SET_REGS";
    GetSregs "KVM_GET_SREGS";
    SetSregs "KVM_SET_SREGS";
    GetSregs2 "KVM_GET_SREGS2";
    SetSregs2 "KVM_SET_SREGS2";
    GetDebugRegs "KVM_GET_DEBUGREGS";
    SetDebugRegs "KVM_SET_DEBUGREGS";
    GetMsrs "KVM_GET_MSRS";
    SetMsrs "KVM_SET_MSRS";
    GetVcpuEvents "KVM_GET_VCPU_EVENTS";
    SetVcpuEvents "KVM_SET_VCPU_EVENTS";
    GetLapic "KVM_GET_LAPIC";
    SetLapic "KVM_SET_LAPIC";
    GetMpState "KVM_GET_MP_STATE";
    SetMpState "KVM_SET_MP_STATE";
    GetXsave "KVM_GET_XSAVE";
    SetXsave "KVM_SET_XSAVE";
    GetXcrs "KVM_GET_XCRS";
    SetXcrs "KVM_SET_XCRS";
    GetNestedState "KVM_GET_NESTED_STATE";
    SetNestedState "KVM_SET_NESTED_STATE";
    SetCpuid2 "KVM_SET_CPUID2";
    EnableCap "KVM_ENABLE_CAP";
    Nmi "KVM_NMI";
    Smi "KVM_SMI";
    SetUpMce "KVM_X86_SETUP_MCE";
    SetMce "KVM_X86_SET_MCE";
    GetOneReg "KVM_GET_ONE_REG";
    SetOneReg "KVM_SET_ONE_REG";
    SetUserMemoryRegion "KVM_SET_USER_MEMORY_REGION";
}

/// State that was not taken, or does not read back as it was set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateFault {
    /// The processor.
    pub vcpu: u8,
    /// The observation after which the host set it; at the start of the run if absent.
    pub after: Option<u32>,
    /// What went wrong.
    pub what: Fault,
}

/// What can go wrong when a host sets or reads a processor's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A call failed. That nothing was set does not keep the run from going on.
    Refused {
        /// The call.
        call: HostCall,
        /// Its errno.
        errno: i32,
    },
    /// KVM_SET_MSRS stopped at an MSR.
    MsrRefused {
        /// The MSR.
        index: u32,
        /// The value that it was to have.
        value: u64,
    },
    /// A field reads back as something else than it was set to.
    NotKept {
        /// Its name (see [`crate::x86::field`]).
        field: String,
        /// What was set.
        set: u64,
        /// What was read.
        read: u64,
    },
    /// KVM_RUN that was to complete an OUT and let nothing else run (`immediate_exit`) did something else
    /// than that and EINTR.
    NotCompleted {
        /// What it came to.
        exit: String,
    },
    /// A memory slot that KVM has made, as it says, is not there, or one that it has deleted is.
    Slot {
        /// The address space.
        space: u32,
        /// Guest-physical address of its first byte.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// Whether it was made, and not deleted.
        made: bool,
    },
    /// A getter tells of a member what it cannot be.
    Told {
        /// The getter.
        call: HostCall,
        /// The member of its structure, in the words of the KVM API; of a local APIC's page the register.
        member: String,
        /// What it can be.
        allowed: Vec<u64>,
        /// What was read.
        read: u64,
    },
}

impl StateFault {
    /// At the start of a run.
    #[must_use]
    pub fn at_start(vcpu: u8, what: Fault) -> Self {
        Self {
            vcpu,
            after: None,
            what,
        }
    }

    /// The rule that is broken if this should not have happened (of a processor's state STATE-009 to
    /// STATE-015 and STATE-019 to STATE-021).
    #[must_use]
    pub fn requirement(&self) -> &'static Requirement {
        match &self.what {
            Fault::Refused {
                call: HostCall::SetUserMemoryRegion,
                ..
            } => &requirement::S2_SLOT_007,
            Fault::Refused { .. } | Fault::MsrRefused { .. } => &requirement::STATE_015,
            Fault::NotKept { field, .. } => round_trip(field),
            Fault::NotCompleted { .. } => &requirement::S2_MMIO_002,
            Fault::Slot { made: true, .. } => &requirement::S2_SLOT_007,
            Fault::Slot { made: false, .. } => &requirement::S2_SLOT_004,
            Fault::Told { call, member, .. } => told(*call, member),
        }
    }
}

/// The rule for a member of what a getter tells that is no field of a state (STATE-019 to STATE-021).
fn told(call: HostCall, member: &str) -> &'static Requirement {
    const OF_EVENTS: [&str; 4] = [
        "exception.injected",
        "interrupt.injected",
        "interrupt_bitmap",
        "triple_fault.pending",
    ];
    match call {
        HostCall::GetLapic => &requirement::STATE_021,
        _ if OF_EVENTS.contains(&member) => &requirement::STATE_020,
        _ => &requirement::STATE_019,
    }
}

/// IA32_APIC_BASE that the host gives to a processor without a local APIC: the value after RESET. It is no
/// field of the state, since no guest can see it (SDM vol. 3, "Local APIC Status and Location").
#[must_use]
pub fn base_without_apic(processor: usize) -> u64 {
    let bootstrap = if processor == 0 { base::BSP } else { 0 };
    DEFAULT_ADDRESS | base::ENABLE | bootstrap
}

/// What the host reads beside the fields of a state that it has set: nothing that cannot be, and
/// IA32_APIC_BASE as it was set, but with a defect (STATE-010, STATE-019 to STATE-021).
pub(crate) fn told_wrongly(processor: usize, state: &VcpuState, rules: &Rules) -> Vec<Fault> {
    let wrong = |call, member: &str, allowed: u64, read: u64| Fault::Told {
        call,
        member: member.to_owned(),
        allowed: vec![allowed],
        read,
    };
    let mut faults = Vec::new();
    if rules.broken(Defect::HostReservedMemberTold) {
        faults.push(wrong(HostCall::GetDebugRegs, "flags", 0, 1));
    }
    if rules.broken(Defect::HostShutdownTold) {
        faults.push(wrong(HostCall::GetVcpuEvents, "triple_fault.pending", 0, 1));
    }
    let set = base_without_apic(processor);
    let read = set | base::BSP;
    if rules.broken(Defect::HostMakesBootstrapProcessors) && state.apic.is_none() && read != set {
        let field = BASE_FIELD.to_owned();
        faults.push(Fault::NotKept { field, set, read });
    }
    if let Some(apic) = state.apic.as_deref()
        && rules.broken(Defect::HostProcessorPriorityTold)
    {
        let right = u64::from(apic.processor_priority());
        faults.push(wrong(HostCall::GetLapic, "0A0h", right, right ^ 0x10));
    }
    faults
}

/// The rule by which a field reads back as it was set (STATE-009 to STATE-014). An MSR that no state
/// has is called `msr` with its number.
#[must_use]
pub fn round_trip(field: &str) -> &'static Requirement {
    let general = || FIELDS.iter().take_while(|field| !field.name.contains('.'));
    let debug = |field: &str| matches!(field, "dr0" | "dr1" | "dr2" | "dr3" | "dr6" | "dr7");
    match field {
        BASE_FIELD => &requirement::STATE_010,
        "kernel-gs-base" | "star" | "lstar" | "cstar" | "sfmask" | "sysenter-cs" | "sysenter-esp"
        | "sysenter-eip" | "smbase" | "ssp" | "mcg.status" | "mcg.ctl" | "mc0.ctl" | "mc0.status" => {
            &requirement::STATE_012
        }
        "smm" => &requirement::STATE_013,
        _ if field.starts_with("msr ") => &requirement::STATE_012,
        _ if debug(field) => &requirement::STATE_011,
        _ if field.starts_with("apic.") => &requirement::STATE_014,
        _ if [
            "nmi.",
            "smm.",
            "smi.",
            "init.",
            "shadow.",
            "exception.",
            "interrupt.",
        ]
        .iter()
        .any(|prefix| field.starts_with(prefix)) =>
        {
            &requirement::STATE_013
        }
        _ if general().any(|known| known.name == field) => &requirement::STATE_009,
        _ => &requirement::STATE_010,
    }
}

/// The call by which a host sets a field.
#[must_use]
pub fn setter(field: &str) -> HostCall {
    let rule = round_trip(field);
    let calls = [
        (&requirement::STATE_009, HostCall::SetRegs),
        (&requirement::STATE_011, HostCall::SetDebugRegs),
        (&requirement::STATE_012, HostCall::SetMsrs),
        (&requirement::STATE_013, HostCall::SetVcpuEvents),
        (&requirement::STATE_014, HostCall::SetLapic),
    ];
    let call = calls.into_iter().find(|(known, _)| *known == rule);
    call.map_or(HostCall::SetSregs, |(_, call)| call)
}

/// The rule by which no processor can be in a state, so that the host cannot set it, if there is one
/// (STATE-016 to STATE-018). What takes a feature of the processor is not looked at here: a target
/// says by CPUID whether it has it.
#[must_use]
pub fn illegal(state: &VcpuState) -> Option<&'static Requirement> {
    let paging = state.cr0 & cr0::PG != 0;
    let long = state.efer & efer::LME != 0 && paging;
    let active = state.efer & efer::LMA != 0;
    let code_is_64_bit = state.segment(SegmentName::Cs).attributes.long();
    let modes_agree = if long {
        active && state.cr4 & cr4::PAE != 0
    } else {
        !active && !code_is_64_bit
    };
    if !modes_agree || state.cr4 & !cr4::DEFINED != 0 {
        return Some(&requirement::STATE_018);
    }
    let caches = state.cr0 & cr0::NW != 0 && state.cr0 & cr0::CD == 0;
    let unprotected = paging && state.cr0 & cr0::PE == 0;
    if caches || unprotected || state.cr0 >> 32 != 0 {
        return Some(&requirement::STATE_017);
    }
    (state.efer & !efer::DEFINED != 0).then_some(&requirement::STATE_016)
}

/// What a hypervisor does with a state that the host sets.
pub(crate) enum Taken {
    /// It takes it, and the processor can run.
    Whole,
    /// It takes it, although no processor can be in it: the hardware refuses to enter the guest.
    Unenterable,
    /// It takes it, but for fields that are then as before.
    Without(Vec<&'static str>),
    /// It refuses it (EINVAL).
    Refused,
}

/// What becomes of a state that the host sets: all of it is kept if a processor can be in it
/// (STATE-009 to STATE-015), and none otherwise (STATE-016 to STATE-018).
pub(crate) fn take(before: &VcpuState, state: &VcpuState, rules: &Rules) -> Taken {
    if let Some(rule) = illegal(state) {
        let taken = |defects: [Defect; 2]| {
            defects
                .into_iter()
                .any(|defect| rules.broken(defect) && defect.requirement() == rule)
        };
        return if taken([Defect::HostEferTaken, Defect::HostCr0Unchecked]) {
            Taken::Whole
        } else if taken([Defect::HostEferUnchecked, Defect::HostModeUnchecked]) {
            Taken::Unenterable
        } else {
            Taken::Refused
        };
    }
    if rules.broken(Defect::HostSystemCallsRefused) && state.efer & efer::SCE != 0 {
        return Taken::Refused;
    }
    let lost = [
        (Defect::HostR15Lost, "r15"),
        (Defect::HostCr2Lost, "cr2"),
        (Defect::HostDr6Lost, "dr6"),
        (Defect::HostStarLost, "star"),
        (Defect::HostNmiMaskLost, "nmi.masked"),
        (Defect::HostTaskPriorityLost, "apic.tpr"),
    ];
    let changed = |name: &str| {
        let field = FIELDS.iter().find(|field| field.name == name);
        field.is_some_and(|field| field.read(before) != field.read(state))
    };
    let lost: Vec<&str> = lost
        .into_iter()
        .filter(|(defect, name)| rules.broken(*defect) && changed(name))
        .map(|(_, name)| name)
        .collect();
    if lost.is_empty() {
        Taken::Whole
    } else {
        Taken::Without(lost)
    }
}

/// Whether two shadows are the same to a host: there are backends which do not tell the two kinds
/// apart.
#[must_use]
pub fn same_shadow(one: Shadow, two: Shadow) -> bool {
    (one == Shadow::None) == (two == Shadow::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_the_rule_of_the_call_that_sets_it() {
        for (field, rule) in [
            ("r15", &requirement::STATE_009),
            ("rflags", &requirement::STATE_009),
            ("cr2", &requirement::STATE_010),
            ("cs.base", &requirement::STATE_010),
            ("gdtr.limit", &requirement::STATE_010),
            ("efer", &requirement::STATE_010),
            ("dr6", &requirement::STATE_011),
            ("star", &requirement::STATE_012),
            ("sysenter-eip", &requirement::STATE_012),
            ("apic.base", &requirement::STATE_010),
            ("shadow.sti", &requirement::STATE_013),
            ("smm", &requirement::STATE_013),
            ("apic.tpr", &requirement::STATE_014),
        ] {
            assert_eq!(round_trip(field), rule, "{field}");
        }
        assert_eq!(setter("efer"), HostCall::SetSregs);
        assert_eq!(setter("shadow.sti"), HostCall::SetVcpuEvents);
    }

    #[test]
    fn a_state_that_contradicts_itself_is_illegal() {
        let mut state = VcpuState::default();
        assert_eq!(illegal(&state), None);
        state.efer = 1 << 9;
        assert_eq!(illegal(&state), Some(&requirement::STATE_016));
        state.efer = efer::LMA;
        assert_eq!(illegal(&state), Some(&requirement::STATE_018));
        state.efer = efer::LME;
        assert_eq!(illegal(&state), None);
        state.cr0 |= cr0::PG | cr0::PE;
        assert_eq!(illegal(&state), Some(&requirement::STATE_018));
        state.efer = efer::LME | efer::LMA;
        state.cr4 = cr4::PAE;
        assert_eq!(illegal(&state), None);
        state.cr0 |= cr0::NW;
        assert_eq!(illegal(&state), Some(&requirement::STATE_017));
        state.cr0 |= cr0::CD;
        assert_eq!(illegal(&state), None);
        state.cr4 |= 1 << 31;
        assert_eq!(illegal(&state), Some(&requirement::STATE_018));
    }
}
