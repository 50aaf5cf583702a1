//! The rules, each as one sentence with the clause it comes from.
//!
//! Cases and model code name these ids. Manuals are cited by section title, which
//! survives the renumbering between editions.

mod apic;
mod arm64;
mod chipset;
mod debug;
mod exceptions;
mod host;
mod implemented;
mod init;
mod instructions;
mod ist;
mod machine_check;
mod nmi;
mod saved_state;
mod smm;
mod smm_formats;
mod smm_image;
mod stage2;
mod system_call;
mod task_switch;
mod xen_pv;

pub use apic::*;
pub use arm64::*;
pub use chipset::*;
pub use debug::*;
pub use exceptions::*;
pub use host::*;
pub use implemented::{Place, implemented_in};
pub use init::*;
pub use instructions::*;
pub use ist::*;
pub use machine_check::*;
pub use nmi::*;
pub use saved_state::*;
pub use smm::*;
pub use smm_formats::*;
pub use smm_image::*;
pub use stage2::*;
pub use system_call::*;
pub use task_switch::*;
pub use xen_pv::*;

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strength {
    /// Both vendors' manuals say so.
    Architectural,
    /// One vendor's manual says so, or the two differ.
    Vendor,
    /// KVM decided so where the manuals are silent.
    KvmPolicy,
    /// It is the interface of Xen for paravirtual guests: its public headers say so, or Xen does.
    XenInterface,
}

impl std::fmt::Display for Strength {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Architectural => "architectural",
            Self::Vendor => "vendor",
            Self::KvmPolicy => "KVM policy",
            Self::XenInterface => "Xen interface",
        })
    }
}

/// One rule.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Identifier, for instance `SMM-RSM-003`.
    pub id: &'static str,
    /// How binding it is.
    pub strength: Strength,
    /// The rule in one sentence.
    pub sentence: &'static str,
    /// Where it is written.
    pub clause: &'static str,
}

/// Declares one constant per requirement and the list of all of them.
macro_rules! requirements {
    ($list:ident: $($name:ident $id:literal $strength:ident $sentence:literal $clause:literal;)*) => {
        $(
            #[doc = concat!($id, ": ", $sentence)]
            pub static $name: crate::requirement::Requirement = crate::requirement::Requirement {
                id: $id,
                strength: crate::requirement::Strength::$strength,
                sentence: $sentence,
                clause: $clause,
            };
        )*
        /// The requirements of this area.
        pub static $list: &[&crate::requirement::Requirement] = &[$(&$name),*];
    };
}
use requirements;

/// Every requirement that the model implements and cases name, area by area; those of the kernel
/// that runs a guest ([`HOST`]) are not among them.
pub fn all() -> impl Iterator<Item = &'static Requirement> {
    [
        SMM,
        SMM_FORMATS,
        SMM_IMAGE,
        NMI,
        EXCEPTIONS,
        INSTRUCTIONS,
        DEBUG,
        SYSTEM_CALLS,
        TASK_SWITCH,
        IST,
        SAVED_STATE,
        CHIPSET,
        APIC,
        INIT,
        MACHINE_CHECK,
        XEN_PV,
        STAGE2,
        ARM64,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The requirement with that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Requirement> {
    all()
        .chain(HOST.iter().copied())
        .find(|requirement| requirement.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_complete() {
        let mut seen = HashSet::new();
        for requirement in super::all() {
            assert!(
                seen.insert(requirement.id),
                "{} is declared twice",
                requirement.id
            );
            assert!(
                requirement.sentence.ends_with('.'),
                "{}: not a sentence",
                requirement.id
            );
            assert!(!requirement.clause.is_empty(), "{}: no clause", requirement.id);
        }
    }
}
