//! What a getter tells and cannot be (STATE-019 to STATE-021).
//!
//! A structure of KVM is taken apart in one place and without `..`, so that no member can be forgotten.
//! What becomes of each is one of three things: it goes into the state, which is compared; it is
//! checked here; or it is left out by name, with the reason beside it. `harness/tests/sabotage/sweep`
//! holds the suite to that, byte by byte.

use spec_model::host_state::{Fault, HostCall};

/// Finds what a getter cannot tell.
pub(super) struct Told {
    call: HostCall,
    faults: Vec<Fault>,
}

impl Told {
    /// Nothing yet.
    pub(super) fn by(call: HostCall) -> Self {
        Self {
            call,
            faults: Vec::new(),
        }
    }

    /// What was found.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// A member that can be nothing but `wanted`.
    pub(super) fn must_be(&mut self, member: &str, wanted: u64, read: impl Into<u64>) {
        self.one_of(member, &[wanted], read);
    }

    /// A member that can have these values.
    pub(super) fn one_of(&mut self, member: &str, allowed: &[u64], read: impl Into<u64>) {
        let read = read.into();
        if !allowed.contains(&read) {
            self.faults.push(Fault::Told {
                call: self.call,
                member: member.to_owned(),
                allowed: allowed.to_vec(),
                read,
            });
        }
    }

    /// A member of which only these bits are defined.
    pub(super) fn defined_bits(&mut self, member: &str, defined: u64, read: impl Into<u64>) {
        let read = read.into();
        self.must_be(member, read & defined, read);
    }

    /// A member that is 0 or 1, as a truth value.
    pub(super) fn flag(&mut self, member: &str, read: u8) -> bool {
        self.defined_bits(member, 1, read);
        read != 0
    }

    /// A member of several numbers that are all 0.
    pub(super) fn zeros<T: Copy + Into<u64>>(&mut self, member: &str, read: &[T]) {
        for number in read {
            self.must_be(member, 0, *number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_found_with_what_can() {
        let mut told = Told::by(HostCall::GetVcpuEvents);
        assert!(told.flag("nmi.masked", 1));
        told.must_be("flags", 13, 13_u32);
        told.zeros("reserved", &[0_u8; 26]);
        assert!(told.flag("nmi.injected", 0x11));
        told.defined_bits("interrupt.shadow", 3, 7_u8);
        told.zeros("reserved", &[0_u8, 2]);
        let found: Vec<_> = told
            .into_faults()
            .into_iter()
            .map(|fault| match fault {
                Fault::Told {
                    member,
                    allowed,
                    read,
                    ..
                } => (member, allowed, read),
                other => panic!("{other:?}"),
            })
            .collect();
        let of = |member: &str, allowed: u64, read| (member.to_owned(), vec![allowed], read);
        assert_eq!(
            found,
            [
                of("nmi.injected", 1, 0x11),
                of("interrupt.shadow", 3, 7),
                of("reserved", 0, 2)
            ]
        );
    }
}
