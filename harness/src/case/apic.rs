//! The local APICs of a case.

use schemars::JsonSchema;
use serde::Deserialize;
use spec_model::x86::field::FIELDS;
use spec_model::x86::local_apic::{LocalApic, SOFTWARE_ENABLED, base, x2apic_logical_id};
use spec_model::x86::state::VcpuState;

/// How the local APICs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ApicPreset {
    /// Registers at 0xfee00000, enabled by software.
    Xapic,
    /// Registers in MSRs, enabled by software.
    X2apic,
    /// As after RESET: xAPIC mode, disabled by software.
    Off,
    /// In x2APIC mode, disabled by software.
    X2apicOff,
}

impl ApicPreset {
    /// The name in case files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Xapic => "xapic",
            Self::X2apic => "x2apic",
            Self::Off => "off",
            Self::X2apicOff => "x2apic-off",
        }
    }

    /// The local APIC of processor `number` at the start. In the flat model it has bit `number`
    /// of the logical identifiers.
    pub(super) fn local_apic(self, number: u8) -> LocalApic {
        let mut apic = LocalApic::after_reset(number);
        if number < 8 {
            apic.ldr = 1 << (24 + number);
        }
        if matches!(self, Self::X2apic | Self::X2apicOff) {
            apic.base |= base::X2APIC;
            apic.ldr = x2apic_logical_id(u32::from(number));
        }
        if matches!(self, Self::Xapic | Self::X2apic) {
            apic.svr |= SOFTWARE_ENABLED;
        }
        apic
    }

    /// The preset from which most of these processors differ in no register.
    pub(super) fn nearest(vcpus: &[VcpuState]) -> Option<Self> {
        vcpus.first()?.apic.as_deref()?;
        let same = |preset: &Self| {
            let numbered = (0..=u8::MAX).zip(vcpus);
            let alike =
                numbered.filter(|(number, state)| state.apic.as_deref() == Some(&preset.local_apic(*number)));
            alike.count()
        };
        [Self::Off, Self::X2apicOff, Self::X2apic, Self::Xapic]
            .into_iter()
            .max_by_key(same)
    }
}

/// Whether a field belongs to the local APIC.
pub(super) fn is_apic_field(name: &str) -> bool {
    name.starts_with("apic.") && FIELDS.iter().any(|field| field.name == name)
}
