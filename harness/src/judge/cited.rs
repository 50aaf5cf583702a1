//! The requirements that a difference cites: those of what differs, never all that a case checks.

use serde::{Serialize, Serializer};
use spec_model::requirement::{self, Requirement};

/// The rules that decide what differs.
///
/// There is no way to make one of a case's `checks`: they come from the person who wrote the very
/// expectation, from the table of a format, from the table below, or from the model (`rules`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cited {
    /// Nobody has looked yet. A report that shows this has left out [`super::case::cite`].
    #[default]
    NotSought,
    /// No rule is known for what differs.
    Unknown,
    /// At least one.
    Rules(Rules),
}

/// One or more requirements, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<&'static Requirement>);

impl Cited {
    /// One requirement.
    #[must_use]
    pub fn one(requirement: &'static Requirement) -> Self {
        Self::Rules(Rules(vec![requirement]))
    }

    /// Those that were found, in their order, each once.
    #[must_use]
    pub(super) fn found(found: impl IntoIterator<Item = &'static Requirement>) -> Self {
        let mut rules: Vec<&'static Requirement> = Vec::new();
        for requirement in found {
            if rules.iter().all(|known| known.id != requirement.id) {
                rules.push(requirement);
            }
        }
        if rules.is_empty() {
            Self::Unknown
        } else {
            Self::Rules(Rules(rules))
        }
    }

    /// The requirements; none if none is known or nobody has looked.
    #[must_use]
    pub fn requirements(&self) -> &[&'static Requirement] {
        match self {
            Self::Rules(rules) => &rules.0,
            Self::NotSought | Self::Unknown => &[],
        }
    }
}

impl Serialize for Cited {
    /// The ids.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.requirements().iter().map(|requirement| requirement.id))
    }
}

/// The rules that say what a member of the state, or a part of a step about stage-2 mappings,
/// holds, for what no defect of the model changes.
pub(super) fn of_field(name: &str) -> Cited {
    let group = name.split('.').take(2).collect::<Vec<_>>().join(".");
    let rules: &[&'static Requirement] = match group.as_str() {
        "nmi.masked" => &[&requirement::NMI_MASK_001, &requirement::NMI_MASK_002],
        "nmi.pending" => &[&requirement::NMI_API_001],
        "smm.inside-nmi" => &[&requirement::NMI_SMM_002],
        "smi.pending" => &[&requirement::SMM_LATCH_001],
        "init.latched" => &[&requirement::INIT_SMM_001],
        "shadow.sti" | "shadow.mov-ss" => &[&requirement::SHADOW_KIND_001],
        "cr2" => &[&requirement::EXC_PF_001],
        "dr6" => &[&requirement::DBG_DR6_001],
        "smbase" => &[&requirement::SMM_RSM_006],
        "ssp" => &[&requirement::SMM_SSP_001],
        "mcg.status" => &[&requirement::MC_EXC_002],
        "mcg.ctl" | "mc0.ctl" => &[&requirement::MC_MSR_004],
        "mc0.status" => &[&requirement::MC_MSR_003],
        "cr8" | "apic.tpr" => &[&requirement::APIC_INT_007],
        "apic.isr" | "apic.irr" => &[&requirement::APIC_INT_001],
        "apic.base" => &[&requirement::APIC_BASE_001],
        "apic.icr" | "apic.icr2" => &[&requirement::APIC_ICR_001],
        "apic.waiting-for-sipi" => &[&requirement::INIT_SIPI_001],
        "dirty log" => &[&requirement::S2_DIRTY_001],
        "exits" => &[&requirement::S2_MMIO_001],
        "after immediate_exit" => &[&requirement::S2_MMIO_002],
        "bytes in a new page that are not zero" => &[&requirement::S2_HOST_001],
        _ => &[],
    };
    Cited::found(rules.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_cites_its_own_rules_and_another_none() {
        let ids = |name: &str| {
            let cited = of_field(name);
            let ids: Vec<&str> = cited.requirements().iter().map(|rule| rule.id).collect();
            ids.join(" ")
        };
        assert_eq!(ids("apic.isr.3"), "APIC-INT-001");
        assert_eq!(ids("nmi.masked"), "NMI-MASK-001 NMI-MASK-002");
        assert_eq!(of_field("rip"), Cited::Unknown);
    }

    #[test]
    fn a_rule_is_cited_once_and_none_is_unknown() {
        let twice = Cited::found([&requirement::SMM_RSM_008, &requirement::SMM_RSM_008]);
        assert_eq!(twice, Cited::one(&requirement::SMM_RSM_008));
        assert_eq!(Cited::found([]), Cited::Unknown);
        assert!(Cited::NotSought.requirements().is_empty());
    }
}
