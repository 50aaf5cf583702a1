//! Whether a call changes anything: a lie about one that does not is none.

use std::ffi::c_int;

use crate::machines::word;
use crate::{abi, kernel, library};

const KVM_SET_LAPIC: u32 = 0x4400_ae8f;
const KVM_SET_VCPU_EVENTS: u32 = 0x4040_aea0;
/// The processor priority, which KVM reckons itself.
const PPR: std::ops::Range<usize> = 0xa0..0xa4;

/// Whether a call changes what its getter tells, or the slots; of all other calls it is taken for granted.
/// `wanted` is the structure that it is given.
pub(crate) fn is_one(fd: c_int, request: u32, wanted: &[u8]) -> bool {
    let getter = match request {
        abi::KVM_SET_USER_MEMORY_REGION => return library().machines.changes_slot(fd, wanted),
        abi::KVM_SET_MSRS => abi::KVM_GET_MSRS,
        _ => match abi::getter_of(request) {
            Some(getter) => getter,
            None => return true,
        },
    };
    // A list of MSRs says which ones.
    let mut present = wanted.to_vec();
    present.resize(wanted.len().max(abi::size(getter)), 0);
    if kernel::ioctl_with(fd, getter, &mut present) < 0 {
        return true;
    }
    match request {
        KVM_SET_VCPU_EVENTS => are_other_events(wanted, &present),
        KVM_SET_LAPIC => {
            present[PPR].copy_from_slice(&wanted[PPR]);
            present != wanted
        }
        _ => !present.starts_with(wanted),
    }
}

/// Whether `struct kvm_vcpu_events` sets other events than there are: `flags` say what of it counts, and
/// vector and error code mean something only where an event is (KVM API, 4.31 and 4.32).
fn are_other_events(wanted: &[u8], present: &[u8]) -> bool {
    const VALID_NMI_PENDING: u32 = 1;
    const VALID_SHADOW: u32 = 4;
    const VALID_SMM: u32 = 8;
    const VALID_PAYLOAD: u32 = 16;
    const VALID_TRIPLE_FAULT: u32 = 32;
    let flags = word(wanted, 20).unwrap_or(0);
    let has_exception = wanted[0] | wanted[3] != 0;
    let members = [
        // Exception: injected, pending, and what it is.
        (0..1, true),
        (3..4, true),
        (1..3, has_exception),
        (4..8, has_exception),
        // Interrupt: injected, what it is, and the shadow.
        (8..9, true),
        (9..11, wanted[8] != 0),
        (11..12, flags & VALID_SHADOW != 0),
        // NMI: injected, pending, masked.
        (12..13, true),
        (13..14, flags & VALID_NMI_PENDING != 0),
        (14..15, true),
        (24..28, flags & VALID_SMM != 0),
        (28..29, flags & VALID_TRIPLE_FAULT != 0),
        (55..64, flags & VALID_PAYLOAD != 0),
    ];
    let mut counting = members.into_iter().filter(|(_, counts)| *counts);
    counting.any(|(member, _)| wanted[member.clone()] != present[member])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_differ_where_they_count() {
        let nothing = [0; 64];
        let with = |changes: &[(usize, u8)]| {
            let mut events = nothing;
            for (at, value) in changes {
                events[*at] = *value;
            }
            events
        };
        // What is valid is no event, nor is the vector of the last one.
        assert!(!are_other_events(
            &with(&[(20, 13)]),
            &with(&[(1, 14), (9, 0x80)])
        ));
        assert!(are_other_events(&with(&[(14, 1)]), &nothing));
        assert!(are_other_events(&nothing, &with(&[(0, 1)])));
        assert!(are_other_events(
            &with(&[(0, 1), (1, 6)]),
            &with(&[(0, 1), (1, 13)])
        ));
        for (member, flag) in [(11, 4), (13, 1), (24, 8)] {
            assert!(!are_other_events(&nothing, &with(&[(member, 1)])));
            assert!(are_other_events(&with(&[(20, flag)]), &with(&[(member, 1)])));
        }
    }
}
