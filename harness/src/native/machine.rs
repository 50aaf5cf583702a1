//! Whose processor this is.

use std::fmt;

use spec_model::profile::{AMD, INTEL, Profile};

/// What CPUID says of the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// For instance `AuthenticAMD`.
    pub vendor: String,
    /// Family, with the extended one added.
    pub family: u32,
    /// Model, with the extended one in front.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// The signature of the hypervisor that the machine runs on, if CPUID names one.
    pub hypervisor: Option<String>,
}

impl Processor {
    /// The one that executes this.
    #[must_use]
    pub fn here() -> Self {
        use std::arch::x86_64::__cpuid;
        let text = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
        };
        let first = __cpuid(0);
        let signature = __cpuid(1);
        const HYPERVISOR: u32 = 1 << 31;
        let hypervisor = (signature.ecx & HYPERVISOR != 0).then(|| {
            let leaf = __cpuid(0x4000_0000);
            text(&[leaf.ebx, leaf.ecx, leaf.edx])
        });
        let base = signature.eax >> 8 & 0xf;
        let extended = if base == 0xf {
            signature.eax >> 20 & 0xff
        } else {
            0
        };
        Self {
            vendor: text(&[first.ebx, first.edx, first.ecx]),
            family: base + extended,
            model: signature.eax >> 4 & 0xf | signature.eax >> 12 & 0xf0,
            stepping: signature.eax & 0xf,
            hypervisor,
        }
    }

    /// The profile of the model that makes its vendor's choices, if there is one.
    #[must_use]
    pub fn profile(&self) -> Option<&'static Profile> {
        match self.vendor.as_str() {
            "AuthenticAMD" | "HygonGenuine" => Some(&AMD),
            "GenuineIntel" => Some(&INTEL),
            _ => None,
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vendor,
            family,
            model,
            stepping,
            hypervisor,
        } = self;
        write!(
            formatter,
            "{vendor}, family {family}, model {model}, stepping {stepping}"
        )?;
        match hypervisor {
            Some(name) => write!(formatter, ", in a virtual machine of `{name}`"),
            None => Ok(()),
        }
    }
}
