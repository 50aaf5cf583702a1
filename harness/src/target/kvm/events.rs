//! The event state: between [`EventState`] and the structure of `KVM_GET_VCPU_EVENTS` and
//! `KVM_SET_VCPU_EVENTS` (KVM API, 4.31 and 4.32).

use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SMM,
    KVM_VCPUEVENT_VALID_TRIPLE_FAULT, KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, kvm_vcpu_events,
    kvm_vcpu_events__bindgen_ty_1 as Exception, kvm_vcpu_events__bindgen_ty_2 as Interrupt,
    kvm_vcpu_events__bindgen_ty_3 as Nmi, kvm_vcpu_events__bindgen_ty_4 as Smi,
    kvm_vcpu_events__bindgen_ty_5 as TripleFault,
};
use spec_model::x86::state::{EventState, PendingException, Shadow};

use super::told::Told;

/// What decides which members of the structure are valid, and what can be in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// KVM_CAP_X86_SMM.
    pub(super) smm: bool,
    /// KVM_CAP_X86_TRIPLE_FAULT_EVENT is enabled.
    pub(super) triple_faults: bool,
    /// A machine check was raised, which may have requested a shutdown.
    pub(super) shutdown_may_wait: bool,
}

/// For `KVM_SET_VCPU_EVENTS`: the whole event state. The SMM part is marked valid only
/// where the device has SMM; a KVM without it refuses the flag or ignores it.
pub(super) fn events(state: &EventState, smm: bool) -> kvm_vcpu_events {
    let mut events = kvm_vcpu_events::default();
    if let Some(exception) = state.exception {
        events.exception.injected = 1;
        events.exception.nr = exception.vector;
        events.exception.has_error_code = u8::from(exception.error_code.is_some());
        events.exception.error_code = exception.error_code.unwrap_or(0);
    }
    events.nmi.injected = u8::from(state.nmi_injected);
    events.nmi.pending = state.nmi_pending;
    events.nmi.masked = u8::from(state.nmi_masked);
    events.interrupt.shadow = shadow_bits(state.shadow);
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    if smm {
        events.smi.smm = u8::from(state.in_smm);
        events.smi.pending = u8::from(state.smi_pending);
        events.smi.smm_inside_nmi = u8::from(state.smm_inside_nmi);
        events.smi.latched_init = u8::from(state.init_latched);
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
    }
    events
}

/// From `KVM_GET_VCPU_EVENTS` of a processor that is stopped at the end of an instruction.
///
/// The sources are the KVM API and, where it is silent, what Linux `kvm_vcpu_ioctl_x86_get_vcpu_events`
/// (arch/x86/kvm/x86.c) does in 5.10, 6.12 and 7.2.
pub(super) fn from_events(events: &kvm_vcpu_events, known: Known, told: &mut Told) -> EventState {
    let kvm_vcpu_events {
        exception,
        interrupt,
        nmi,
        sipi_vector,
        flags,
        smi,
        triple_fault,
        reserved,
        exception_has_payload,
        exception_payload,
    } = *events;
    check_flags(flags, known, told);
    let Nmi {
        injected: nmi_injected,
        pending: nmi_pending,
        masked: nmi_masked,
        pad,
    } = nmi;
    told.must_be("nmi.pad", 0, pad);
    // "Never valid when reporting to user space", and 0.
    told.must_be("sipi_vector", 0, sipi_vector);
    let Smi {
        smm,
        pending: smi_pending,
        smm_inside_nmi,
        latched_init,
    } = smi;
    // In Linux before 6.0 this byte is reserved.
    let TripleFault { pending: shutdown } = triple_fault;
    if known.triple_faults && known.shutdown_may_wait {
        told.flag("triple_fault.pending", shutdown);
    } else {
        told.must_be("triple_fault.pending", 0, shutdown);
    }
    told.zeros("reserved", &reserved);
    // Without KVM_CAP_EXCEPTION_PAYLOAD a payload is in CR2 or DR6 by now.
    told.must_be("exception_has_payload", 0, exception_has_payload);
    told.must_be("exception_payload", 0, exception_payload);
    EventState {
        nmi_masked: told.flag("nmi.masked", nmi_masked),
        nmi_pending,
        nmi_injected: told.flag("nmi.injected", nmi_injected),
        in_smm: told.flag("smi.smm", smm),
        smm_inside_nmi: told.flag("smi.smm_inside_nmi", smm_inside_nmi),
        smi_pending: told.flag("smi.pending", smi_pending),
        init_latched: told.flag("smi.latched_init", latched_init),
        shadow: from_interrupt(interrupt, told),
        exception: from_exception(exception, told),
    }
}

/// `flags` say what is valid. That `KVM_VCPUEVENT_VALID_NMI_PENDING` is among them makes a structure
/// that is put back keep pending NMIs. Whether the SMI part is valid where there is no SMM is open.
fn check_flags(flags: u32, known: Known, told: &mut Told) {
    let mut valid = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    let mut open = 0;
    if known.smm {
        valid |= KVM_VCPUEVENT_VALID_SMM;
    } else {
        open |= KVM_VCPUEVENT_VALID_SMM;
    }
    if known.triple_faults {
        valid |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
    }
    told.must_be("flags", valid.into(), flags & !open);
}

/// A stopped processor is at the end of an instruction, so that no external interrupt is on its way into
/// it; then `nr` is that of the last one.
fn from_interrupt(interrupt: Interrupt, told: &mut Told) -> Shadow {
    let Interrupt {
        injected,
        nr: _,
        soft,
        shadow,
    } = interrupt;
    told.must_be("interrupt.injected", 0, injected);
    told.must_be("interrupt.soft", 0, soft);
    told.defined_bits(
        "interrupt.shadow",
        u64::from(KVM_X86_SHADOW_INT_MOV_SS | KVM_X86_SHADOW_INT_STI),
        shadow,
    );
    from_shadow_bits(shadow)
}

/// An exception is told as injected, and if it is pending as both: what of it is true takes
/// KVM_CAP_EXCEPTION_PAYLOAD (KVM API, 7.17). Without one, vector and error code are those of the last.
fn from_exception(exception: Exception, told: &mut Told) -> Option<PendingException> {
    let Exception {
        injected,
        nr,
        has_error_code,
        pending,
        error_code,
    } = exception;
    let injected = told.flag("exception.injected", injected);
    if told.flag("exception.pending", pending) && !injected {
        told.must_be("exception.injected", 1, 0_u8);
    }
    injected.then(|| PendingException {
        vector: nr,
        error_code: told
            .flag("exception.has_error_code", has_error_code)
            .then_some(error_code),
    })
}

/// A shadow as KVM numbers it.
#[allow(clippy::cast_possible_truncation, reason = "the constants are 1 and 2")]
fn shadow_bits(shadow: Shadow) -> u8 {
    match shadow {
        Shadow::None => 0,
        Shadow::Sti => KVM_X86_SHADOW_INT_STI as u8,
        Shadow::MovSs => KVM_X86_SHADOW_INT_MOV_SS as u8,
    }
}

/// SVM has one bit for both kinds of shadow, and KVM then reports both (Linux
/// `arch/x86/kvm/svm/svm.c`, `svm_get_interrupt_shadow`). That reads as the stronger one.
fn from_shadow_bits(bits: u8) -> Shadow {
    if bits & shadow_bits(Shadow::MovSs) != 0 {
        Shadow::MovSs
    } else if bits & shadow_bits(Shadow::Sti) != 0 {
        Shadow::Sti
    } else {
        Shadow::None
    }
}

#[cfg(test)]
mod tests {
    use spec_model::host_state::{Fault, HostCall};

    use super::*;

    const WITH_ALL: Known = Known {
        smm: true,
        triple_faults: true,
        shutdown_may_wait: false,
    };

    /// As KVM would tell what was set.
    fn told_back(state: &EventState) -> kvm_vcpu_events {
        let mut told = events(state, true);
        told.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        told
    }

    fn faults(events: &kvm_vcpu_events, known: Known) -> Vec<String> {
        let mut told = Told::by(HostCall::GetVcpuEvents);
        from_events(events, known, &mut told);
        let members = told.into_faults().into_iter().map(|fault| match fault {
            Fault::Told { member, .. } => member,
            other => panic!("{other:?}"),
        });
        members.collect()
    }

    #[test]
    fn every_event_survives_the_way_to_kvm_and_back() {
        let states = [
            EventState::default(),
            EventState {
                nmi_masked: true,
                nmi_pending: 2,
                smm_inside_nmi: true,
                init_latched: true,
                shadow: Shadow::Sti,
                exception: Some(PendingException {
                    vector: 13,
                    error_code: Some(0x1234),
                }),
                ..EventState::default()
            },
            EventState {
                nmi_injected: true,
                in_smm: true,
                smi_pending: true,
                shadow: Shadow::MovSs,
                exception: Some(PendingException {
                    vector: 1,
                    error_code: None,
                }),
                ..EventState::default()
            },
        ];
        for state in states {
            let mut told = Told::by(HostCall::GetVcpuEvents);
            assert_eq!(from_events(&told_back(&state), WITH_ALL, &mut told), state);
            assert_eq!(told.into_faults(), []);
        }
    }

    #[test]
    fn without_smm_the_smm_part_of_the_events_is_not_marked_valid() {
        let flags = events(&EventState::default(), false).flags;
        assert_eq!(flags & KVM_VCPUEVENT_VALID_SMM, 0);
    }

    #[test]
    fn both_shadow_bits_read_as_the_shadow_of_mov_ss() {
        assert_eq!(from_shadow_bits(3), Shadow::MovSs);
        for shadow in [Shadow::None, Shadow::Sti, Shadow::MovSs] {
            assert_eq!(from_shadow_bits(shadow_bits(shadow)), shadow);
        }
    }

    #[test]
    fn flags_depend_on_what_there_is() {
        let flags = |flags, known| {
            let events = kvm_vcpu_events {
                flags,
                ..kvm_vcpu_events::default()
            };
            faults(&events, known).is_empty()
        };
        let without = |smm, triple_faults| Known {
            smm,
            triple_faults,
            shutdown_may_wait: false,
        };
        assert!(flags(0x2d, WITH_ALL) && !flags(0x0d, WITH_ALL) && !flags(0x25, WITH_ALL));
        assert!(flags(0x25, without(false, true)) && flags(0x2d, without(false, true)));
        assert!(flags(0x0d, without(true, false)) && !flags(0x2d, without(true, false)));
        assert!(!flags(0x3d, WITH_ALL) && !flags(0x2f, WITH_ALL) && !flags(0x1_002d, WITH_ALL));
    }

    #[test]
    fn a_shutdown_waits_only_after_a_machine_check() {
        let mut events = told_back(&EventState::default());
        events.triple_fault.pending = 1;
        assert_eq!(faults(&events, WITH_ALL), ["triple_fault.pending"]);
        let known = Known {
            shutdown_may_wait: true,
            ..WITH_ALL
        };
        assert!(faults(&events, known).is_empty());
    }

    #[test]
    fn a_pending_exception_is_injected_too() {
        let mut events = told_back(&EventState::default());
        events.exception.pending = 1;
        assert_eq!(faults(&events, WITH_ALL), ["exception.injected"]);
        events.exception.injected = 1;
        assert!(faults(&events, WITH_ALL).is_empty());
    }
}
