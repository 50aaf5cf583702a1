//! The names of everything observable about a virtual processor.
//!
//! One table gives each member of [`VcpuState`] its name, width, reader and writer.
//! Cases, expectations, judging, reports and the case schema all go through it;
//! nothing else spells a field name.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::segment::SegmentAttributes;
use super::state::{PendingException, Shadow, VcpuState};

/// One observable member of [`VcpuState`].
pub struct Field {
    /// Name as cases and reports write it, for instance `cs.selector`.
    pub name: &'static str,
    /// Width in bits; 1 for a truth value.
    pub bits: u8,
    read: fn(&VcpuState) -> u64,
    write: fn(&mut VcpuState, u64),
}

impl Field {
    /// The field of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Field> {
        // SMM entry and RSM look up a field for each row of the state-save area.
        static BY_NAME: OnceLock<HashMap<&str, &Field>> = OnceLock::new();
        let by_name = BY_NAME.get_or_init(|| FIELDS.iter().map(|field| (field.name, field)).collect());
        by_name.get(name).copied()
    }

    /// Whether it can be seen of a processor in this state.
    #[must_use]
    pub fn shows_in(&self, state: &VcpuState) -> bool {
        let is_debug_register = matches!(self.name, "dr0" | "dr1" | "dr2" | "dr3" | "dr6" | "dr7");
        !is_debug_register || state.shows_debug_registers()
    }

    /// The field's value, zero-extended.
    #[must_use]
    pub fn read(&self, state: &VcpuState) -> u64 {
        (self.read)(state)
    }

    /// Whether KVM takes a new value without looking at pending events: those that travel through
    /// KVM_SET_DEBUGREGS and KVM_SET_MSRS.
    pub(in crate::x86) fn is_set_without_events(&self) -> bool {
        const QUIET: [&str; 19] = [
            "dr0",
            "dr1",
            "dr2",
            "dr3",
            "dr6",
            "dr7",
            "kernel-gs-base",
            "star",
            "lstar",
            "cstar",
            "sfmask",
            "sysenter-cs",
            "sysenter-esp",
            "sysenter-eip",
            "smbase",
            "mcg.status",
            "mcg.ctl",
            "mc0.ctl",
            "mc0.status",
        ];
        QUIET.contains(&self.name)
    }

    /// Sets the field. Bits of `value` beyond the field's width are dropped.
    pub fn write(&self, state: &mut VcpuState, value: u64) {
        (self.write)(state, value);
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A member that widens to 64 bits and narrows back.
trait Scalar: Copy {
    fn widen(self) -> u64;
    fn narrow(value: u64) -> Self;
}

macro_rules! integer_scalars {
    ($($integer:ty),*) => { $(impl Scalar for $integer {
        fn widen(self) -> u64 {
            u64::from(self)
        }
        #[allow(clippy::cast_possible_truncation, reason = "narrowing is the purpose")]
        fn narrow(value: u64) -> Self {
            value as $integer
        }
    })* };
}
integer_scalars!(u8, u16, u32, u64);

impl Scalar for bool {
    fn widen(self) -> u64 {
        u64::from(self)
    }
    fn narrow(value: u64) -> Self {
        value != 0
    }
}

impl Scalar for SegmentAttributes {
    fn widen(self) -> u64 {
        u64::from(self.0)
    }
    fn narrow(value: u64) -> Self {
        Self(u32::narrow(value))
    }
}

macro_rules! member {
    ($name:expr, $bits:expr, $($path:tt)+) => {
        Field {
            name: $name,
            bits: $bits,
            read: |state| Scalar::widen(state.$($path)+),
            write: |state, value| state.$($path)+ = Scalar::narrow(value),
        }
    };
}

/// A member of the local APIC: 0 where there is none, and then writes do nothing.
macro_rules! apic_member {
    ($name:expr, $bits:expr, $($path:tt)+) => {
        Field {
            name: $name,
            bits: $bits,
            read: |state| state.apic.as_deref().map_or(0, |apic| Scalar::widen(apic.$($path)+)),
            write: |state, value| {
                if let Some(apic) = state.apic.as_deref_mut() {
                    apic.$($path)+ = Scalar::narrow(value);
                }
            },
        }
    };
}

/// What Xen keeps of a paravirtual guest: 0 where there is none, and then writes do nothing.
macro_rules! xen_member {
    ($name:expr, $bits:expr, $($path:tt)+) => {
        Field {
            name: $name,
            bits: $bits,
            read: |state| state.xen_pv.as_deref().map_or(0, |xen| Scalar::widen(xen.$($path)+)),
            write: |state, value| {
                if let Some(xen) = state.xen_pv.as_deref_mut() {
                    xen.$($path)+ = Scalar::narrow(value);
                }
            },
        }
    };
}

/// Every observable field, in the order in which reports print them.
pub static FIELDS: &[Field] = &[
    member!("rax", 64, general[0]),
    member!("rcx", 64, general[1]),
    member!("rdx", 64, general[2]),
    member!("rbx", 64, general[3]),
    member!("rsp", 64, general[4]),
    member!("rbp", 64, general[5]),
    member!("rsi", 64, general[6]),
    member!("rdi", 64, general[7]),
    member!("r8", 64, general[8]),
    member!("r9", 64, general[9]),
    member!("r10", 64, general[10]),
    member!("r11", 64, general[11]),
    member!("r12", 64, general[12]),
    member!("r13", 64, general[13]),
    member!("r14", 64, general[14]),
    member!("r15", 64, general[15]),
    member!("rip", 64, rip),
    member!("rflags", 64, rflags),
    member!("es.selector", 16, segments[0].selector),
    member!("es.base", 64, segments[0].base),
    member!("es.limit", 32, segments[0].limit),
    member!("es.attributes", 17, segments[0].attributes),
    member!("cs.selector", 16, segments[1].selector),
    member!("cs.base", 64, segments[1].base),
    member!("cs.limit", 32, segments[1].limit),
    member!("cs.attributes", 17, segments[1].attributes),
    member!("ss.selector", 16, segments[2].selector),
    member!("ss.base", 64, segments[2].base),
    member!("ss.limit", 32, segments[2].limit),
    member!("ss.attributes", 17, segments[2].attributes),
    member!("ds.selector", 16, segments[3].selector),
    member!("ds.base", 64, segments[3].base),
    member!("ds.limit", 32, segments[3].limit),
    member!("ds.attributes", 17, segments[3].attributes),
    member!("fs.selector", 16, segments[4].selector),
    member!("fs.base", 64, segments[4].base),
    member!("fs.limit", 32, segments[4].limit),
    member!("fs.attributes", 17, segments[4].attributes),
    member!("gs.selector", 16, segments[5].selector),
    member!("gs.base", 64, segments[5].base),
    member!("gs.limit", 32, segments[5].limit),
    member!("gs.attributes", 17, segments[5].attributes),
    member!("ldtr.selector", 16, segments[6].selector),
    member!("ldtr.base", 64, segments[6].base),
    member!("ldtr.limit", 32, segments[6].limit),
    member!("ldtr.attributes", 17, segments[6].attributes),
    member!("tr.selector", 16, segments[7].selector),
    member!("tr.base", 64, segments[7].base),
    member!("tr.limit", 32, segments[7].limit),
    member!("tr.attributes", 17, segments[7].attributes),
    member!("gdtr.base", 64, gdtr.base),
    member!("gdtr.limit", 16, gdtr.limit),
    member!("idtr.base", 64, idtr.base),
    member!("idtr.limit", 16, idtr.limit),
    member!("cr0", 64, cr0),
    member!("cr2", 64, cr2),
    member!("cr3", 64, cr3),
    member!("cr4", 64, cr4),
    Field {
        name: "cr8",
        bits: 64,
        read: |state| state.cr8,
        write: |state, value| {
            state.cr8 = value;
            if let Some(apic) = state.apic.as_deref_mut() {
                apic.tpr = u8::narrow(value << 4);
            }
        },
    },
    member!("efer", 64, efer),
    member!("ssp", 64, ssp),
    member!("dr0", 64, debug_address[0]),
    member!("dr1", 64, debug_address[1]),
    member!("dr2", 64, debug_address[2]),
    member!("dr3", 64, debug_address[3]),
    member!("dr6", 64, dr6),
    member!("dr7", 64, dr7),
    member!("kernel-gs-base", 64, kernel_gs_base),
    member!("star", 64, star),
    member!("lstar", 64, lstar),
    member!("cstar", 64, cstar),
    member!("sfmask", 64, sfmask),
    member!("sysenter-cs", 64, sysenter_cs),
    member!("sysenter-esp", 64, sysenter_esp),
    member!("sysenter-eip", 64, sysenter_eip),
    member!("smbase", 64, smbase),
    member!("mcg.status", 64, machine_check.global_status),
    member!("mcg.ctl", 64, machine_check.global_control),
    member!("mc0.ctl", 64, machine_check.bank_control),
    member!("mc0.status", 64, machine_check.bank_status),
    member!("nmi.masked", 1, events.nmi_masked),
    member!("nmi.pending", 8, events.nmi_pending),
    member!("nmi.injected", 1, events.nmi_injected),
    member!("smm", 1, events.in_smm),
    member!("smm.inside-nmi", 1, events.smm_inside_nmi),
    member!("smi.pending", 1, events.smi_pending),
    member!("init.latched", 1, events.init_latched),
    Field {
        name: "shadow.sti",
        bits: 1,
        read: |state| u64::from(state.events.shadow == Shadow::Sti),
        write: |state, value| set_shadow(state, Shadow::Sti, value),
    },
    Field {
        name: "shadow.mov-ss",
        bits: 1,
        read: |state| u64::from(state.events.shadow == Shadow::MovSs),
        write: |state, value| set_shadow(state, Shadow::MovSs, value),
    },
    Field {
        name: "exception.pending",
        bits: 1,
        read: |state| u64::from(state.events.exception.is_some()),
        write: |state, value| {
            state.events.exception = (value != 0).then_some(PendingException {
                vector: 0,
                error_code: None,
            });
        },
    },
    Field {
        name: "exception.vector",
        bits: 8,
        read: |state| {
            state
                .events
                .exception
                .map_or(0, |exception| u64::from(exception.vector))
        },
        write: |state, value| {
            if let Some(exception) = &mut state.events.exception {
                exception.vector = Scalar::narrow(value);
            }
        },
    },
    Field {
        name: "exception.error-code",
        bits: 32,
        read: |state| {
            let code = state.events.exception.and_then(|exception| exception.error_code);
            code.map_or(0, u64::from)
        },
        write: |state, value| {
            if let Some(exception) = &mut state.events.exception {
                exception.error_code = Some(Scalar::narrow(value));
            }
        },
    },
    apic_member!("apic.base", 64, base),
    apic_member!("apic.id", 32, id),
    Field {
        name: "apic.tpr",
        bits: 8,
        read: |state| state.apic.as_deref().map_or(0, |apic| u64::from(apic.tpr)),
        write: |state, value| {
            if let Some(apic) = state.apic.as_deref_mut() {
                apic.tpr = Scalar::narrow(value);
                state.cr8 = u64::from(apic.tpr >> 4);
            }
        },
    },
    apic_member!("apic.ldr", 32, ldr),
    apic_member!("apic.dfr", 32, dfr),
    apic_member!("apic.svr", 32, svr),
    apic_member!("apic.esr", 32, esr),
    apic_member!("apic.icr", 32, icr),
    apic_member!("apic.icr2", 32, icr2),
    apic_member!("apic.isr.0", 32, isr[0]),
    apic_member!("apic.isr.1", 32, isr[1]),
    apic_member!("apic.isr.2", 32, isr[2]),
    apic_member!("apic.isr.3", 32, isr[3]),
    apic_member!("apic.isr.4", 32, isr[4]),
    apic_member!("apic.isr.5", 32, isr[5]),
    apic_member!("apic.isr.6", 32, isr[6]),
    apic_member!("apic.isr.7", 32, isr[7]),
    apic_member!("apic.tmr.0", 32, tmr[0]),
    apic_member!("apic.tmr.1", 32, tmr[1]),
    apic_member!("apic.tmr.2", 32, tmr[2]),
    apic_member!("apic.tmr.3", 32, tmr[3]),
    apic_member!("apic.tmr.4", 32, tmr[4]),
    apic_member!("apic.tmr.5", 32, tmr[5]),
    apic_member!("apic.tmr.6", 32, tmr[6]),
    apic_member!("apic.tmr.7", 32, tmr[7]),
    apic_member!("apic.irr.0", 32, irr[0]),
    apic_member!("apic.irr.1", 32, irr[1]),
    apic_member!("apic.irr.2", 32, irr[2]),
    apic_member!("apic.irr.3", 32, irr[3]),
    apic_member!("apic.irr.4", 32, irr[4]),
    apic_member!("apic.irr.5", 32, irr[5]),
    apic_member!("apic.irr.6", 32, irr[6]),
    apic_member!("apic.irr.7", 32, irr[7]),
    apic_member!("apic.lvt-timer", 32, lvt[0]),
    apic_member!("apic.lvt-thermal", 32, lvt[1]),
    apic_member!("apic.lvt-performance", 32, lvt[2]),
    apic_member!("apic.lvt-lint0", 32, lvt[3]),
    apic_member!("apic.lvt-lint1", 32, lvt[4]),
    apic_member!("apic.lvt-error", 32, lvt[5]),
    apic_member!("apic.waiting-for-sipi", 1, waiting_for_sipi),
    xen_member!("xen.kernel-mode", 1, kernel_mode),
    xen_member!("xen.upcall-mask", 1, upcall_mask),
];

fn set_shadow(state: &mut VcpuState, shadow: Shadow, value: u64) {
    state.events.shadow = if value == 0 { Shadow::None } else { shadow };
}
